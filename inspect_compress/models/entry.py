"""What the registry writes down about a model: when it was added and by whom, its gates, its retirement."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from inspect_compress.models.card import CurvePoint
from inspect_compress.settings import Settings


class Gate(Settings):
    """What admits a model to production lines: a pilot that judged it safe, or a person who answers for it.

    `quality`: the smallest that the pilot showed safe. `summary_sha256`: of the pilot's `summary.json`, in
    hexadecimal. `reason` is the person's.
    """

    at: datetime
    by: str
    kind: Literal["pilot", "override"]
    quality: int = Field(default=1, ge=1, le=100)
    dataset: str = ""
    detector: str = ""
    summary_sha256: str = ""
    reason: str = ""


class Retirement(Settings):
    """When, by whom and why a model was taken out of use for new frames."""

    at: datetime
    by: str
    reason: str


class Entry(Settings):
    """A model of the registry. `curve` is the last one of its card, by rising quality."""

    fingerprint: str
    added_at: datetime
    added_by: str
    curve: tuple[CurvePoint, ...]
    gates: tuple[Gate, ...] = ()
    retired: Retirement | None = None

    @property
    def lowest_quality(self) -> int | None:
        """The lowest quality that a gate admits; None where the model has passed none."""
        return min((gate.quality for gate in self.gates), default=None)
