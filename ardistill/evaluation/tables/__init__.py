"""Rows side by side: a run's, several runs', and those that papers published."""
