"""Runs one program on many devices and many processes: maps, sharding, processes, compilers."""
