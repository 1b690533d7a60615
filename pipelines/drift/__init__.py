"""Drift: whether a line's frames still look, to codec and detector, as they did when it was approved."""
