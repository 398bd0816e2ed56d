"""Writes the report of a run: verdict, evidence, charts, samples and commands in one HTML file."""

from gan_jax.training.report.page import write_run_page, write_verdict_page

__all__ = ['write_run_page', 'write_verdict_page']
