"""The policy: which rule chooses a frame's quality. The first that applies wins, and no frame is left out."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspect_compress.classical import JpegCodec, JxlCodec
from inspect_compress.images import Image
from pipelines.frame import Frame
from pipelines.policy import Policy, Setting, choose

DEFAULT, BRASS, SUSPECT, GOOD = (Setting(JpegCodec(), quality) for quality in (60, 70, 95, 40))
LOSSLESS = Setting(JxlCodec(), 100)


class Brightness:
    """Dark frames are good; a frame of value 13 brings it down, and one of 14 has no score."""

    needs_defects = False
    threshold = 127.0

    def fit(self, images: Sequence[Image], labels: object, *, seed: int = 0) -> "Brightness":
        return self

    def score(self, images: Sequence[Image]) -> np.ndarray:
        if any(image[0, 0] == 13 for image in images):
            raise RuntimeError("unlucky")
        return np.array([np.nan if image[0, 0] == 14 else float(image[0, 0]) for image in images])


def frame(level: int, product: str = "steel") -> Frame:
    pixels = np.full((2, 2), level, np.uint8)
    return Frame(pixels, f"{level}", datetime(2025, 1, 2, tzinfo=UTC), product=product)


def chosen(policy: Policy, *frames: Frame, detector: Brightness | None = None) -> list[tuple[str, Setting]]:
    requests = list(choose(frames, policy, detector))
    assert [request.frame for request in requests] == list(frames)
    return [(request.rule, Setting(request.codec, request.quality)) for request in requests]


def test_without_rules_every_frame_has_the_default() -> None:
    assert chosen(Policy(DEFAULT), frame(10), frame(200), detector=Brightness()) == [("default", DEFAULT)] * 2


def test_the_rules_come_in_their_order() -> None:
    policy = Policy(DEFAULT, {"brass": BRASS}, suspect=SUSPECT, good=GOOD, audit=LOSSLESS, audit_every=3)
    bad, fine, brass, unlucky = frame(127), frame(126), frame(126, "brass"), frame(13, "brass")

    assert chosen(policy, bad, brass, bad, unlucky, detector=Brightness()) == [
        ("suspect", SUSPECT),
        ("good", GOOD),
        ("audit", LOSSLESS),
        ("unscored", SUSPECT),
    ]
    assert chosen(policy, brass, fine) == [("product", BRASS), ("default", DEFAULT)]


def test_a_verdict_without_a_setting_leaves_the_frame_to_the_next_rule() -> None:
    products = {"brass": BRASS}
    frames = [frame(200, "brass"), frame(10, "brass"), frame(14, "brass"), frame(10)]

    only_suspect = chosen(Policy(DEFAULT, products, suspect=SUSPECT), *frames, detector=Brightness())
    only_good = chosen(Policy(DEFAULT, products, good=GOOD), *frames, detector=Brightness())

    assert [rule for rule, _ in only_suspect] == ["suspect", "product", "unscored", "default"]
    assert [rule for rule, _ in only_good] == ["product", "good", "product", "good"]


@pytest.mark.parametrize("level", [13, 14], ids=["raises", "no number"])
def test_a_frame_that_cannot_be_scored_is_never_taken_for_good(level: int) -> None:
    policy = Policy(DEFAULT, suspect=SUSPECT, good=GOOD)

    assert chosen(policy, frame(level), frame(10), detector=Brightness()) == [("unscored", SUSPECT), ("good", GOOD)]


def test_the_detector_is_asked_only_where_it_makes_a_difference() -> None:
    class NeverAsked(Brightness):
        def score(self, images: Sequence[Image]) -> np.ndarray:
            raise AssertionError("asked")

    asked = []

    class Counts(Brightness):
        def score(self, images: Sequence[Image]) -> np.ndarray:
            asked.append(len(images))
            return super().score(images)

    chosen(Policy(DEFAULT, {"steel": BRASS}, audit=LOSSLESS), frame(200), detector=NeverAsked())
    chosen(Policy(DEFAULT, suspect=SUSPECT, audit=LOSSLESS, audit_every=2), *[frame(9)] * 5, detector=Counts())

    assert asked == [1, 1, 1]


@given(every=st.integers(1, 20), levels=st.lists(st.integers(0, 255), max_size=60))
def test_every_nth_frame_is_audited_exactly(every: int, levels: list[int]) -> None:
    policy = Policy(DEFAULT, suspect=SUSPECT, good=GOOD, audit=LOSSLESS, audit_every=every)

    rules = [rule for rule, _ in chosen(policy, *map(frame, levels), detector=Brightness())]

    audited = [position for position, rule in enumerate(rules, 1) if rule == "audit"]
    assert audited == list(range(every, len(levels) + 1, every))
