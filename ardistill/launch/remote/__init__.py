"""Runs handed over to other processes: jobs through submitit, the traces they leave, their state from outside."""
