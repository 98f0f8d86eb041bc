"""Putting a configured run together and carrying it out."""
