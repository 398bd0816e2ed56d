"""Samplers and runs whose fault is known because it was planted: what the referee is tested on."""
