"""Frames in motion: sources, stages, the archive, detectors and the runner that joins them."""
