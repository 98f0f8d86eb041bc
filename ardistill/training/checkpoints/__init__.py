"""The parts of a checkpoint: its names, its manifest, writing it, its tensors in pieces, copying the states for it."""
