"""Scripts, one question each: `python -m experiments.NAME --help`."""
