"""Sweeps: words with several values, the runs that their combinations make, and the record of them."""
