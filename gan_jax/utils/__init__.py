"""Defines errors, file writing and the command line: helpers that all packages share."""
