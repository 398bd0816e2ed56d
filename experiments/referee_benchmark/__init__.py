"""Builds samplers, discriminators and runs of a known fault, on which the referee is tested."""
