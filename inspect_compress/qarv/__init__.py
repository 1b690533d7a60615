"""QARV: the learned codec. Network, file format, entropy coding and the codec made of them."""
