"""Who computes the jobs of a run: this process, several workers, ddp or Ray."""
