"""Engines compute the jobs of a run: in this process, in several workers, with ddp or on Ray."""
