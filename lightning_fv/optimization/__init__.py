"""Activation maximization: the way from picture to loss, and what keeps one bad picture from affecting others."""
