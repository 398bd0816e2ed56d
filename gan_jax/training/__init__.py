"""Trains one run in one folder: loop, input pipeline, checkpoints, metrics, report."""
