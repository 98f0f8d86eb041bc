"""Seconds and bytes: taking turns, compiling, the largest batch that fits."""
