"""BD-rate and BD-recall of swept codecs, on curves whose difference is known because they were drawn so."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.curves import bd_recall, compare_codecs
from evaluation.kpis import Kpi, compute_kpis
from evaluation.scored import Scored
from inspect_compress.errors import ConfigError

QUALITIES = (90, 70, 50, 30, 10)
FRAMES = 100
Setting = tuple[str, int, int, int]
"""Codec, quality, bytes per frame (of 80 pixels, so a byte is 0.1 bpp), and defective frames found, of 100."""


def swept(settings: list[Setting], group_size: int = 1) -> tuple[list[Kpi], pd.DataFrame]:
    frames = {"frame_id": [f"{n}.png" for n in range(2 * FRAMES)], "defect": [""] * FRAMES + ["pit"] * FRAMES}
    frames |= {"group": [f"lot-{n // group_size}" for n in range(2 * FRAMES)], "width": 10, "height": 8}
    originals = pd.DataFrame(frames).assign(bytes=80, **flags(FRAMES))
    results = [
        pd.DataFrame(frames).assign(
            codec=codec, quality=quality, bytes=size, psnr=fidelity(size, codec), mask_psnr=fidelity(size, codec) - 3,
            ms_ssim=1 - 10 ** (-fidelity(size, codec) / 20), **flags(found)
        )
        for codec, quality, size, found in settings
    ]  # fmt: skip
    table = pd.concat(results, ignore_index=True)
    return compute_kpis(originals, table, [Scored("d", "frozen")]), table


def flags(found: int) -> dict[str, np.ndarray]:
    flagged = np.arange(2 * FRAMES) >= 2 * FRAMES - found
    return {"flag_d": flagged, "score_d": flagged.astype(float)}


def fidelity(size: int, codec: str) -> float:
    """6 dB per doubling of bits; codec `b` needs a quarter more bits than `a` for the same."""
    return 30 + 6 * math.log2(size / (1.25 if codec == "b" else 1.0) / 5)


def codec(name: str, sizes: list[int], found: list[int]) -> list[Setting]:
    return [(name, *setting) for setting in zip(QUALITIES, sizes, found, strict=False)]


SIZES = [80, 40, 20, 10, 5]


def test_bd_rates_are_those_of_the_curves_on_every_measure_of_fidelity() -> None:
    kpis, _ = swept(codec("a", SIZES, [100] * 5) + codec("b", SIZES, [100] * 5))

    (curve,) = compare_codecs(kpis, "a")

    assert (curve.codec, curve.anchor) == ("b", "a")
    for rate in (curve.bd_rate_psnr, curve.bd_rate_ms_ssim, curve.bd_rate_mask_psnr):
        assert rate.percent == pytest.approx(25)
        assert rate.reliable
    assert curve.bd_rate_mask_psnr.span == pytest.approx((27, 30 + 24 - 3 - 6 * math.log2(1.25)))


def test_bd_rate_without_masks_says_why_there_is_none() -> None:
    kpis, table = swept(codec("a", SIZES, [100] * 5) + codec("b", SIZES, [100] * 5))

    (curve,) = compare_codecs([replace(kpi, mask_psnr=math.nan) for kpi in kpis], "a", table)

    assert curve.bd_rate_mask_psnr.reason == "the anchor has 0 usable points; 4 are needed"


def test_a_codec_that_finds_a_tenth_less_at_every_rate() -> None:
    found = [95, 90, 80, 60, 30]
    kpis, _ = swept(codec("a", SIZES, found) + codec("b", SIZES, [n - 10 for n in found]))

    recall = compare_codecs(kpis, "a")[0].bd_recall

    assert recall.difference is not None
    assert recall.difference.value == pytest.approx(-0.10)
    assert math.isnan(recall.difference.low)
    assert (recall.span, recall.overlap, recall.reliable) == (pytest.approx((0.5, 8.0)), 1.0, True)


def test_a_fall_and_rise_of_recall_is_followed_as_measured() -> None:
    """Recall need not rise with the rate; between two qualities it is a straight line over log bpp."""
    kpis, _ = swept(codec("a", [40, 20, 10], [80] * 3) + codec("b", [40, 20, 10], [80, 60, 80]))

    recall = compare_codecs(kpis, "a")[0].bd_recall

    assert recall.difference is not None
    assert recall.difference.value == pytest.approx(-0.10)


def test_the_mean_is_over_the_shared_range_of_log_bpp() -> None:
    """Shared are 10 to 40 bytes: two octaves. There `a` rises from 0.6 to 0.8, and `b` stays at 0.8."""
    kpis, _ = swept(codec("a", [40, 10, 5], [80, 60, 0]) + codec("b", [160, 40, 20, 10], [0, 80, 80, 80]))

    recall = compare_codecs(kpis, "a")[0].bd_recall

    assert recall.difference is not None
    assert recall.difference.value == pytest.approx(0.10)
    assert recall.overlap == pytest.approx(2 / 3)


def test_the_limits_hold_the_truth_of_a_resampled_plant_and_widen_with_groups() -> None:
    settings = codec("a", SIZES, [95, 90, 80, 60, 30]) + codec("b", SIZES, [95, 85, 70, 40, 20])
    (kpis, table), (_, grouped) = swept(settings), swept(settings, group_size=10)

    single, lots = (compare_codecs(kpis, "a", t)[0].bd_recall.difference for t in (table, grouped))

    assert single is not None
    assert lots is not None
    rng = np.random.default_rng(0)
    frame = table[table["defect"] != ""].pivot(index="frame_id", columns=["codec", "quality"], values="flag_d")
    drawn = rng.integers(0, FRAMES, (1000, FRAMES))
    own = [k for k in kpis if k.codec != "original"]
    repeats = []
    for picked in frame.to_numpy(float)[drawn].mean(axis=1):
        recall = dict(zip(frame.columns, picked, strict=True))
        again = [replace(k, recall=k.recall._replace(value=recall[k.codec, k.quality])) for k in own]
        difference = bd_recall(again[5:], again[:5]).difference
        assert difference is not None
        repeats.append(difference.value)
    assert (single.low, single.high) == pytest.approx(np.quantile(repeats, [0.025, 0.975]), abs=0.01)
    assert lots.high - lots.low > 1.5 * (single.high - single.low)


def test_a_small_overlap_makes_it_unreliable_and_none_impossible() -> None:
    kpis, _ = swept(codec("a", [80, 40, 20, 10], [80] * 4) + codec("b", [14, 7, 4], [80] * 3))
    recall = compare_codecs(kpis, "a")[0].bd_recall
    assert recall.difference is not None
    assert not recall.reliable
    assert recall.doubt == "the curves share only 16% of the anchor's range; 50% are needed"

    kpis, _ = swept(codec("a", [80, 40], [80] * 2) + codec("b", [20, 10], [80] * 2))
    recall = compare_codecs(kpis, "a")[0].bd_recall
    assert recall.difference is None
    assert recall.reason == "the curves share no range of bits (4-8 bpp and 1-2 bpp)"

    kpis, _ = swept(codec("a", [80, 40], [80] * 2) + codec("b", [20], [80]))
    assert compare_codecs(kpis, "a")[0].bd_recall.reason.startswith("the codec was measured at one rate only")


def test_an_anchor_that_was_not_swept_is_refused_by_name() -> None:
    kpis, _ = swept(codec("a", SIZES, [80] * 5))

    with pytest.raises(ConfigError, match="anchor jxl: was not swept; choose one of a"):
        compare_codecs(kpis, "jxl")
    assert compare_codecs(kpis, "a") == []


@given(
    st.lists(st.integers(1, 90), min_size=2, max_size=5, unique=True),
    st.lists(st.integers(1, 90), min_size=2, max_size=5, unique=True),
    st.lists(st.integers(0, 100), min_size=10, max_size=10),
)
def test_exchanging_the_codecs_turns_the_sign_and_no_mean_leaves_the_extremes(
    first: list[int], second: list[int], found: list[int]
) -> None:
    points = zip([("a", size) for size in first] + [("b", size) for size in second], found, strict=False)
    recalls_of = {point: TEMPLATE.recall._replace(value=count / 100) for point, count in points}
    kpis = [replace(TEMPLATE, codec=c, bpp=size / 10, recall=recall) for (c, size), recall in recalls_of.items()]
    own, other = kpis[: len(first)], kpis[len(first) :]

    there, back = bd_recall(own, other).difference, bd_recall(other, own).difference

    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.value == pytest.approx(-back.value)
        recalls = [[k.recall.value for k in curve] for curve in (own, other)]
        assert min(recalls[0]) - max(recalls[1]) - 1e-9 <= there.value <= max(recalls[0]) - min(recalls[1]) + 1e-9


TEMPLATE = swept(codec("a", SIZES, [80] * 5))[0][1]
