"""Scores generated samples: pure functions from arrays to numbers."""
