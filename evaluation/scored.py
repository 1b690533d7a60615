"""Names one judge of frames: a detector and how it was trained. Scores nothing itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scored:
    """One judge of frames: a detector and how it was trained.

    `scenario`: "frozen" (trained on originals), "adapted" (retrained on decoded frames of that codec and
    quality) or "aware" (trained once on originals and decoded frames of all qualities mixed).
    """

    detector: str
    scenario: str

    @property
    def column(self) -> str:
        """What its columns in the tables end with: `classifier`, `classifier_adapted`, `classifier_aware`."""
        return self.detector if self.scenario == "frozen" else f"{self.detector}_{self.scenario}"
