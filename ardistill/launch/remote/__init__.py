"""Runs handed over to launchers' jobs: the traces they leave, their state from outside."""
