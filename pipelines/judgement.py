"""What detectors say of a frame, all together. How a verdict is reached is not known here."""

from enum import StrEnum


class Judgement(StrEnum):
    """One detector at least says that the frame is defective, or all say that it is good."""

    defective = "defective"
    good = "good"
