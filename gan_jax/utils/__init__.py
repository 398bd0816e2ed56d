"""Helpers without a subject of their own: errors and files."""
