"""Training of the QARV model: data, loop, checkpoints. Not needed to encode or decode."""
