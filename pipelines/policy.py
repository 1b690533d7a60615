"""How each frame is to be encoded: by which codec, at which quality, and which rule says so. It encodes nothing.

docs/policy.md explains the rules to those who write them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from inspect_compress.codecs import Codec
from inspect_compress.errors import DetectorError
from pipelines.archive import ArchivedFrame, FrameKey
from pipelines.detectors import Detector
from pipelines.detectors.scoring import scores_or_errors
from pipelines.frame import Frame

AUDIT, SUSPECT, UNSCORED, GOOD, PRODUCT, DEFAULT = "audit", "suspect", "unscored", "good", "product", "default"
"""The rules, as the archive names them; the first that applies to a frame wins."""
DEGRADABLE = frozenset({GOOD, PRODUCT, DEFAULT})
"""The rules whose frames may be given a lower quality when there is no time for theirs."""
DEGRADED = "degraded: "
"""How the `fallback` of a row begins whose frame was given a lower quality so."""


class Setting(NamedTuple):
    """A codec and its quality, 1 to 100."""

    codec: Codec
    quality: int


@dataclass(frozen=True)
class Policy:
    """The settings that a frame may be given; a rule whose setting is None does not apply.

    `audit` is for every `audit_every`-th frame; `suspect` for a frame that a detector calls defective or cannot
    score; `good` for one that it calls good; `products` for those of a product.
    """

    default: Setting
    products: Mapping[str, Setting] = field(default_factory=dict)
    suspect: Setting | None = None
    good: Setting | None = None
    audit: Setting | None = None
    audit_every: int = 1

    @property
    def asks_a_detector(self) -> bool:
        """Whether a frame's verdict makes a difference."""
        return self.suspect is not None or self.good is not None


@dataclass(frozen=True)
class Request:
    """A frame, how it is to be encoded, and the rule that says so.

    `instead_of` is what the rule says, where there is no time for that; `reason` says why there is none.
    """

    frame: Frame
    codec: Codec
    quality: int
    rule: str = DEFAULT
    instead_of: Setting | None = None
    reason: str = ""

    @property
    def asked(self) -> Setting:
        """What the rule says."""
        return self.instead_of or Setting(self.codec, self.quality)

    @property
    def key(self) -> FrameKey:
        """What the archive knows the frame by, once it is encoded as the rule says."""
        codec, quality = self.asked
        return FrameKey(self.frame.frame_id, codec.codec_id, codec.model, quality)


def choose(frames: Iterable[Frame], policy: Policy, detector: Detector | None = None) -> Iterator[Request]:
    """Say for each frame how it is to be encoded. Frames are counted from 1, so that frame N is the first audited.

    The detector scores the original, and is asked only where its verdict makes a difference.
    """
    for position, frame in enumerate(frames, 1):
        rule, setting = _chosen(frame, position, policy, detector)
        yield Request(frame, setting.codec, setting.quality, rule)


def degrade(requests: Iterable[Request], is_late: Callable[[Frame], bool], setting: Setting) -> Iterator[Request]:
    """Give late frames `setting` where that is less than what was asked for.

    Audited and suspect frames, and those without a score, keep theirs.
    """
    for request in requests:
        less = request.codec != setting.codec or request.quality > setting.quality
        if is_late(request.frame) and request.rule in DEGRADABLE and less:
            late = replace(request, codec=setting.codec, quality=setting.quality, instead_of=request.asked)
            yield replace(late, reason=f"{DEGRADED}the queue was full")
        else:
            yield request


def is_degraded(record: ArchivedFrame) -> bool:
    """Whether a frame was given a lower quality than the rule says because there was no time for it."""
    return record.fallback.startswith(DEGRADED)


def _chosen(frame: Frame, position: int, policy: Policy, detector: Detector | None) -> tuple[str, Setting]:
    if policy.audit and position % policy.audit_every == 0:
        return AUDIT, policy.audit
    if detector and policy.asks_a_detector:
        verdict = _verdict(frame, detector)
        setting = policy.good if verdict == GOOD else policy.suspect
        if setting:
            return verdict, setting
    if frame.product in policy.products:
        return PRODUCT, policy.products[frame.product]
    return DEFAULT, policy.default


def _verdict(frame: Frame, detector: Detector) -> str:
    """What the detector says. It does not stand between a frame and the archive: where it fails, it says nothing."""
    (score,) = scores_or_errors(detector, [frame.pixels])
    if isinstance(score, DetectorError):
        return UNSCORED
    return GOOD if score < detector.threshold else SUSPECT
