"""Activation maximization: from picture to loss, and what keeps one bad picture from affecting the others."""
