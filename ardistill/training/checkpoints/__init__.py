"""The parts of a checkpoint: its names, its manifest, writing it, copying the states for it, the thread that writes."""
