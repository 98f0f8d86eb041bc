"""Seconds and bytes: taking turns, compiling, CUDA graphs, precision, the largest batch, what a device reaches."""
