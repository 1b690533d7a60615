"""Shifts are what their units say; the sweep under them can be repeated; the table blames what is to blame."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation.decision import Margins
from evaluation.pilot_config import PilotConfig, read_pilot_config
from evaluation.scored import Scored
from evaluation.shift_kpis import ShiftRow, first_lost, is_beyond, shift_rows
from evaluation.shift_sweep import chosen_frames, sweep_shifts
from evaluation.shifts import FULL_WELL, READ_NOISE, SHIFTS, shifted
from evaluation.statistics import Estimate
from evaluation.sweep import TrainedDetector
from inspect_compress.errors import ConfigError, DetectorError
from inspect_compress.images import Image, write_png
from pipelines.datasets import Dataset, Item

NAMES = st.sampled_from(sorted(SHIFTS))
IDS = st.text(max_size=8)
SIDES = st.integers(1, 24)
IMAGES = st.tuples(SIDES, SIDES, st.sampled_from([(), (3,)])).flatmap(
    lambda size: arrays(np.uint8, (size[0], size[1], *size[2]))
)
MARGINS = Margins(0.05, 0.05)


def texture(side: int = 96) -> Image:
    """A rough surface with structure at all scales."""
    rng = np.random.default_rng(5)
    fields = [np.kron(rng.normal(0, 14, (side // n, side // n)), np.ones((n, n))) for n in (2, 8, 16)]
    return np.clip(110 + sum(fields), 0, 255).astype(np.uint8)


def apply(image: Image, name: str, amount: float, frame_id: str = "frame") -> np.ndarray:
    return shifted(image, name, amount, seed=0, frame_id=frame_id).astype(float)


# Properties of all shifts


@settings(deadline=None, max_examples=60)
@given(image=IMAGES, name=NAMES, step=st.integers(0, 2), seed=st.integers(0, 2**31), frame_id=IDS)
def test_a_shift_keeps_shape_and_type_and_can_be_repeated(
    image: Image, name: str, step: int, seed: int, frame_id: str
) -> None:
    before, amount = image.copy(), SHIFTS[name].amounts[step]

    once = shifted(image, name, amount, seed=seed, frame_id=frame_id)

    assert once.shape == image.shape
    assert once.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(shifted(image, name, amount, seed=seed, frame_id=frame_id), once)


@settings(deadline=None, max_examples=40)
@given(image=IMAGES, name=NAMES, seed=st.integers(0, 2**31), frame_id=IDS)
def test_the_neutral_amount_changes_nothing(image: Image, name: str, seed: int, frame_id: str) -> None:
    neutral = SHIFTS[name].neutral

    np.testing.assert_array_equal(shifted(image, name, neutral, seed=seed, frame_id=frame_id), image)
    barely = shifted(image, name, neutral + 1e-9, seed=seed, frame_id=frame_id)
    assert np.abs(barely.astype(int) - image).max() <= 1


@settings(deadline=None, max_examples=40)
@given(
    image=IMAGES,
    name=st.sampled_from(["exposure", "gamma", "lighting", "noise"]),
    frame_id=IDS,
    amounts=st.tuples(st.floats(0, 30), st.floats(0, 30)),
)
def test_more_of_a_shift_of_light_moves_no_pixel_back(
    image: Image, name: str, frame_id: str, amounts: tuple[float, float]
) -> None:
    less, more = (SHIFTS[name].neutral + amount for amount in sorted(amounts))

    small, large = (np.abs(apply(image, name, amount, frame_id) - image) for amount in (less, more))

    assert (large >= small - 1).all()  # both are rounded


@settings(deadline=None, max_examples=40)
@given(name=NAMES, frame_id=IDS)
def test_each_step_changes_a_frame_more_than_the_one_before(name: str, frame_id: str) -> None:
    surface = texture()

    changes = [np.abs(apply(surface, name, amount, frame_id) - surface).mean() for amount in SHIFTS[name].amounts]

    assert 0 < changes[0] < changes[1] < changes[2]


@settings(deadline=None, max_examples=40)
@given(name=st.sampled_from(["focus", "motion", "rotation", "viewpoint"]), level=st.integers(0, 255), frame_id=IDS)
def test_nothing_comes_in_from_beyond_the_border(name: str, level: int, frame_id: str) -> None:
    plain = np.full((40, 56), level, np.uint8)

    np.testing.assert_allclose(apply(plain, name, SHIFTS[name].amounts[2], frame_id), level, atol=1)


def test_frames_and_seeds_have_directions_of_their_own() -> None:
    surface = texture()

    one, other = (apply(surface, "lighting", 40, frame_id) for frame_id in ("a", "b"))

    assert not np.array_equal(one, other)
    assert not np.array_equal(one, shifted(surface, "lighting", 40, seed=1, frame_id="a"))


# What the units mean


def test_a_stop_doubles_or_halves_the_light() -> None:
    levels = {float(apply(np.full((4, 4), 60, np.uint8), "exposure", 1, str(n)).mean()) for n in range(20)}

    assert levels == {30, 120}


def test_gamma_is_the_exponent_of_the_tone_curve() -> None:
    levels = {float(apply(np.full((4, 4), 64, np.uint8), "gamma", 2, str(n)).mean()) for n in range(20)}

    assert levels == {16, 128}


def test_lighting_differs_by_its_percentage_between_opposite_ends() -> None:
    lit = apply(np.full((50, 70), 100, np.uint8), "lighting", 40)

    assert lit.max() - lit.min() == pytest.approx(40, abs=1)
    assert lit.mean() == pytest.approx(100, abs=0.5)


def test_defocus_spreads_a_point_over_a_disk_of_its_diameter() -> None:
    point = np.zeros((41, 41), np.uint8)
    point[20, 20] = 255
    y, x = np.indices(point.shape) - 20

    disk = apply(point, "focus", 8)

    assert (disk[np.hypot(y, x) < 3.2] > 0).all()
    assert (disk[np.hypot(y, x) > 4.8] == 0).all()
    assert disk.max() == pytest.approx(255 / (math.pi * 16), abs=1)


def test_motion_spreads_a_point_over_a_line_of_its_length() -> None:
    point = np.zeros((61, 61), np.uint8)
    point[30, 30] = 255
    y, x = np.indices(point.shape) - 30

    for frame_id in "abcdef":
        line = apply(point, "motion", 12, frame_id)
        spread = np.cov(np.vstack([x.ravel(), y.ravel()]), aweights=line.ravel())
        across, along = np.sqrt(12 * np.linalg.eigvalsh(spread))
        assert along == pytest.approx(12, abs=0.6)
        assert across < 1.7


def test_rotation_turns_about_the_centre() -> None:
    marked = np.zeros((101, 101), np.uint8)
    marked[48:53, 88:93] = 255  # 40 px to the right of the centre
    y, x = np.indices(marked.shape) - 50

    turned = apply(marked, "rotation", 8)

    angle = math.degrees(math.atan2((y * turned).sum(), (x * turned).sum()))
    assert abs(angle) == pytest.approx(8, abs=0.2)


def test_a_tilt_foreshortens_across_its_axis_and_keeps_the_centre() -> None:
    """By cos(tilt) on average along the steepest direction, and by nothing along the axis."""
    side = 201
    y, x = np.indices((side, side)) - side // 2
    disk = np.where(np.hypot(y, x) < 30, 255, 0).astype(np.uint8)

    tilted = apply(disk, "viewpoint", 30)

    spread = np.cov(np.vstack([x.ravel(), y.ravel()]), aweights=tilted.ravel())
    short, long = np.sqrt(np.linalg.eigvalsh(spread))
    assert short / long == pytest.approx(math.cos(math.radians(30)), abs=0.02)
    assert abs((x * tilted).sum() / tilted.sum()) < 2


@pytest.mark.parametrize("decibels", SHIFTS["noise"].amounts)
def test_noise_has_the_variance_of_a_sensor_at_that_gain(decibels: float) -> None:
    """What a gain of g adds to the noise at gain one, in grey levels squared."""
    gain, grey = 10 ** (decibels / 20), 255 / FULL_WELL

    noisy = apply(np.full((256, 256), 120, np.uint8), "noise", decibels)

    expected = 120 * grey * (gain - 1) + (READ_NOISE * grey) ** 2 * (gain**2 - 1)
    assert noisy.mean() == pytest.approx(120, abs=0.5)
    assert noisy.var() == pytest.approx(expected + 1 / 12, rel=0.05)


def test_an_unknown_shift_or_amount_is_named() -> None:
    image = texture()

    with pytest.raises(ConfigError, match="unknown shift 'fog'; known: exposure, gamma"):
        shifted(image, "fog", 1, seed=0, frame_id="a")
    with pytest.raises(ConfigError, match=r"gamma: the amount is 0\.5; give 1 or more"):
        shifted(image, "gamma", 0.5, seed=0, frame_id="a")


def test_settings_name_shifts_that_exist(tmp_path: Path) -> None:
    path = tmp_path / "pilot.toml"

    path.write_text('shifts = ["exposure", "fog"]')
    with pytest.raises(ConfigError, match="shifts: names 'fog'; known: exposure"):
        read_pilot_config(path)
    path.write_text('shifts = ["noise", "focus"]\nshift_frames = 40')
    assert read_pilot_config(path).shifts == ("noise", "focus")
    assert PilotConfig().shifts == ()


# The sweep under shifts


class Checks:
    """Scores how strongly neighbouring pixels alternate, in the part of the frame where they do most."""

    needs_defects = False
    threshold = math.nan

    def fit(self, images: Sequence[Image], labels: object, *, seed: int = 0) -> "Checks":
        return self

    def score(self, images: Sequence[Image]) -> np.ndarray:
        return np.array([self._strength(image.astype(float)) for image in images])

    def _strength(self, image: np.ndarray) -> float:
        sign = 1 - 2 * (np.indices(image.shape).sum(axis=0) % 2)
        return float(np.abs((image * sign).reshape(4, 16, 4, 16).mean(axis=(1, 3))).max())


FROZEN = (TrainedDetector(Scored("checks", "frozen"), Checks(), 3.0),)
CONFIG = PilotConfig(codecs=("jpeg",), qualities=(5, 50, 95), shifts=("exposure",), shift_frames=48)
"""JPEG's coarsest step at quality 50 is 99: it keeps checks of amplitude 12 (a coefficient of 96) and loses 6."""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Forty-eight grey frames, half of them with a patch of checks of amplitude 12, which no good frame has."""
    folder = tmp_path_factory.mktemp("checked")
    checks = 12 * (1 - 2 * (np.indices((16, 16)).sum(axis=0) % 2))
    items = []
    for number in range(48):
        image = np.full((64, 64), 80 + number % 7)
        if number % 2:
            image[16:32, 32:48] += checks
        path = folder / f"{number:02}.png"
        write_png(path, image.astype(np.uint8))
        items.append(Item(path, "checks" if number % 2 else "", None, "test", f"lot {number // 8}"))
    return Dataset(folder, tuple(items))


@pytest.fixture(scope="module")
def table(checked: Dataset, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return sweep_shifts(checked, CONFIG, FROZEN, tmp_path_factory.mktemp("work"), step=quiet)


def quiet(phase: str, done: int, total: int) -> None:
    """Show nothing."""


def row(rows: Sequence[ShiftRow], step: int, quality: int | None, shift: str = "exposure") -> ShiftRow:
    return next(r for r in rows if (r.shift, r.step, r.quality) == (shift, step, quality))


def test_the_table_has_each_frame_once_per_condition(table: pd.DataFrame) -> None:
    assert list(table.columns) == [
        *("frame_id", "defect", "group", "shift", "step", "amount", "codec", "quality", "bytes"),
        *("score_checks", "flag_checks"),
    ]
    conditions = table.groupby(["shift", "step", "codec", "quality"], dropna=False)["frame_id"]
    counts = conditions.agg(["size", "nunique"])
    assert len(counts) == (1 + 3) * (1 + 3)
    assert (counts == 48).all(axis=None)
    assert set(table.loc[table["codec"] == "original", "shift"]) == {"none", "exposure"}
    assert (table["flag_checks"] == (table["score_checks"] >= 3.0)).all()
    assert table.loc[table["codec"] == "original", "bytes"].eq(64 * 64).all()
    assert table.loc[table["codec"] == "jpeg", "bytes"].lt(64 * 64).all()


def test_the_codec_is_blamed_for_what_only_coding_loses(table: pd.DataFrame) -> None:
    """A stop less leaves checks of 6, which the detector still sees, but JPEG at quality 50 loses."""
    rows = shift_rows(table, "checks", MARGINS)

    assert [(r.step, r.quality) for r in rows] == [(s, q) for s in (1, 2, 3) for q in (None, 95, 50, 5)]
    assert {r.culprit for r in rows if r.quality in (None, 95)} == {"none"}
    blamed = row(rows, 3, 50)
    assert blamed.culprit == "codec"
    assert blamed.lost_by_shift.value == 0
    assert 0.2 < blamed.lost_by_codec.value < 0.8
    assert blamed.lost_by_codec_plain.value == 0
    assert blamed.recall.value == pytest.approx(1 - blamed.lost_by_codec.value)
    assert (blamed.amount, blamed.unit, blamed.frames) == (1.0, "EV", 48)
    assert first_lost(rows) == blamed


def test_a_quality_that_fails_without_a_shift_is_passed_over(table: pd.DataFrame) -> None:
    worst = row(shift_rows(table, "checks", MARGINS), 1, 5)

    assert worst.culprit == "codec"
    assert worst.lost_by_codec_plain.value == 1
    assert not worst.plain_holds


def test_the_shift_is_blamed_for_what_is_lost_before_coding(checked: Dataset, tmp_path: Path) -> None:
    """A threshold of 9 misses what is half a stop darker, whatever is done to the frame after that."""
    strict = [TrainedDetector(Scored("checks", "frozen"), Checks(), 9.0)]
    config = CONFIG.model_copy(update={"codecs": ("png",), "qualities": (100,)})

    rows = shift_rows(sweep_shifts(checked, config, strict, tmp_path, step=quiet), "checks", MARGINS)

    blamed = first_lost(rows)
    assert blamed == row(rows, 2, None)
    assert blamed is not None
    assert (blamed.shift, blamed.amount, blamed.culprit) == ("exposure", 0.5, "shift")
    assert row(rows, 2, 100).culprit == "shift"
    assert row(rows, 2, 100).lost_by_codec.value == 0
    assert row(rows, 1, None).culprit == "none"


def test_false_alarms_count_as_losses_too(checked: Dataset, tmp_path: Path) -> None:
    """Sensor noise on good frames looks like checks to a detector that is set low."""
    low = [TrainedDetector(Scored("checks", "frozen"), Checks(), 0.5)]
    config = CONFIG.model_copy(update={"qualities": (95,), "shifts": ("noise",)})

    rows = shift_rows(sweep_shifts(checked, config, low, tmp_path, step=quiet), "checks", MARGINS)

    strong = row(rows, 3, None, "noise")
    assert strong.recall.value == 1
    assert strong.false_alarm_rate.value > 0.5
    assert strong.alarms_by_shift.value == strong.false_alarm_rate.value
    assert strong.culprit == "shift"


def test_a_sweep_that_was_cut_off_goes_on_and_ends_the_same(
    checked: Dataset, table: pd.DataFrame, tmp_path: Path
) -> None:
    def cut_off(phase: str, done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep_shifts(checked, CONFIG, FROZEN, tmp_path, step=cut_off)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    told: list[tuple[str, int, int]] = []
    again = sweep_shifts(checked, CONFIG, FROZEN, tmp_path, step=lambda *now: told.append(now))

    pd.testing.assert_frame_equal(again, table)
    assert sorted(path.name for path in kept) == ["exposure-1.parquet", "none-0.parquet"]
    assert all(path.stat().st_mtime_ns == modified for path, modified in kept.items())
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("shifts", 4 * 48 * 3, 4 * 48 * 3)


def test_a_detector_that_fails_under_a_shift_is_named_with_the_frame(checked: Dataset, tmp_path: Path) -> None:
    class NoNumber(Checks):
        def score(self, images: Sequence[Image]) -> np.ndarray:
            return np.full(len(images), np.nan)

    with pytest.raises(DetectorError, match=r"^detector broken, frame 01\.png under shift none, step 0: .*nan"):
        sweep_shifts(
            checked, CONFIG, [TrainedDetector(Scored("broken", "frozen"), NoNumber(), 0.0)], tmp_path, step=quiet
        )


@given(
    limit=st.integers(2, 60),
    defects=st.lists(st.sampled_from(["", "", "crack", "spot"]), min_size=1, max_size=40),
)
def test_frames_are_taken_from_both_classes_alike(limit: int, defects: list[str]) -> None:
    items = tuple(Item(Path(f"{n}.png"), defect, None, "test", "") for n, defect in enumerate(defects))
    dataset = Dataset(Path(), (*items, Item(Path("other.png"), "", None, "train", "")))

    taken = chosen_frames(dataset, limit)

    defective, good = sum(map(bool, defects)), sum(not defect for defect in defects)
    found = sum(item.is_defective for item in taken)
    assert len(set(taken)) == len(taken) == min(limit, len(items))
    assert all(item.split == "test" for item in taken)
    assert found >= min(defective, limit // 2)
    assert len(taken) - found >= min(good, limit // 2)
    assert taken == chosen_frames(replace(dataset, items=dataset.items[::-1]), limit)


def test_a_loss_has_to_be_shown_and_too_large() -> None:
    assert is_beyond(Estimate(0.06, 0.01, 0.15), 0.05)
    assert not is_beyond(Estimate(0.06, -0.01, 0.15), 0.05)
    assert not is_beyond(Estimate(0.04, 0.01, 0.15), 0.05)
    assert not is_beyond(Estimate(math.nan, math.nan, math.nan), 0.05)
