"""Trains many runs side by side, and compares them."""
