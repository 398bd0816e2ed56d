"""Writes the report of a run: verdict, evidence, charts, samples and commands in one HTML file."""

from gan_jax.training.report.page import write_run_page, write_verdict_page
from gan_jax.training.report.picture_embedding import save_verdict_pictures

__all__ = ['save_verdict_pictures', 'write_run_page', 'write_verdict_page']
