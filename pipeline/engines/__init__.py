"""Engines move records between stages and do nothing else."""
