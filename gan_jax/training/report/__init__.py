"""The page of a run: its verdict, the evidence as plots, and how to get there again, in one HTML file."""

from gan_jax.training.report.page import write, write_verdict

__all__ = ['write', 'write_verdict']
