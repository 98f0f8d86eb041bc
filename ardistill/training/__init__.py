"""The loop that trains any method: phases, optimisers, averages, checkpoints and the journal."""
