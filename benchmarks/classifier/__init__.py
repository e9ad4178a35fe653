"""The classifier that says "foreign object": network, training, checkpoints."""
