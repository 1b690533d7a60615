"""For detectors that see an image through a fixed description: it is made once, and learned from and scored often.

Describing takes most of the built-in detectors' time. Detectors without descriptions work as well; they see images.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from inspect_compress.images import Image
from pipelines.detectors import Detector, Labels, Scores

Describe = Callable[[Image], Any]


@runtime_checkable
class DescribingDetector(Detector, Protocol):
    """A detector whose `fit` and `score` are `fit_described` and `score_described` of every image's description."""

    @property
    def describe(self) -> Describe:
        """What does not depend on any training: the same function in all detectors that share it."""
        ...

    def fit_described(self, descriptions: Sequence[Any], labels: Labels, *, seed: int = 0) -> "DescribingDetector":
        """As `fit`."""
        ...

    def score_described(self, descriptions: Sequence[Any]) -> Scores:
        """As `score`."""
        ...
