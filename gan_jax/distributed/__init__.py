"""Runs a program on many devices and processes: maps, sharding, process groups, compiler estimates."""
