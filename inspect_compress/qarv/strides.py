"""The strides of the latents, coarse first. A module of its own: a file's header is read without the network."""

STRIDES = (32, 16, 8)
