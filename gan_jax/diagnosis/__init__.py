"""Tells whether training worked, and if not, why."""
