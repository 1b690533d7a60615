"""`[drift]`: what a line is compared with, how many frames are compared at once, and how often that may be wrong."""

from pydantic import Field

from inspect_compress.settings import FilePath
from pipelines.section import Section


class DriftConfig(Section):
    """`[drift]`. Every key may be left out; docs/drift.md explains them."""

    pilot: FilePath | None = None
    """A pilot's folder, whose good test frames are the baseline; without it, the line's first frames are."""
    baseline: int = Field(default=500, ge=50, le=100_000)
    """Frames of the line that a baseline is learned from, where no pilot is named."""
    window: int = Field(default=200, ge=20, le=10_000)
    """Frames that are compared with the baseline at once."""
    false_alarm_rate: float = Field(default=1e-6, gt=0, lt=0.5)
    """The chance that a window of an unchanged line raises an alarm: one in 230 days at 10 frames a second."""
