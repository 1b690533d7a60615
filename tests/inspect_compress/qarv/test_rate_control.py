"""Demands for size and fidelity are met, by the step of λ that they mean, in few attempts."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inspect_compress.demand import Demand
from inspect_compress.errors import ConfigError, ImageError
from inspect_compress.fidelity import ms_ssim, psnr
from inspect_compress.images import Image, read_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.draft import Draft
from inspect_compress.qarv.search import Search

CODEC = QarvCodec()
FRAMES = sorted((Path(__file__).parents[3] / "sample_data" / "images").rglob("*.png"))


def frame(seed: int, *, colour: bool = False) -> Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:110, :150]
    grain = rng.choice([0.5, 4, 12])
    plate = 120 + 40 * np.sin(x / rng.integers(8, 60)) + 0.2 * y + rng.normal(0, grain, x.shape)
    if colour:
        plate = plate[..., None] * (1.0, 0.8, 0.5)
    return np.clip(plate, 0, 255).astype(np.uint8)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.floats(0.02, 0.98))
@example(27, False, 0.021484375)  # of a tiny file less is true than expected
@example(967, True, 0.47)  # in the gap between difference planes at half size and whole ones
def test_a_budget_is_never_exceeded_and_97_percent_of_it_is_used(seed: int, colour: bool, part: float) -> None:
    image = frame(seed, colour=colour)
    smallest, largest = (len(CODEC.encode_at(image, index).data) for index in (0, 255))
    budget = round(smallest * (largest / smallest) ** part)
    size = len(CODEC.encode(image, max_bytes=budget))
    assert min(0.97 * budget, budget - 8) <= size <= budget


def test_more_than_the_best_file_needs_gives_the_best_file() -> None:
    image = frame(1)
    assert CODEC.encode(image, max_bytes=10**6) == CODEC.encode(image, quality=100)


def test_bits_per_pixel_are_a_budget_too() -> None:
    image = frame(2)
    assert CODEC.encode(image, bpp=1.0) == CODEC.encode(image, max_bytes=image.size // 8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("floor", [36.0, 41.5, 47.0])
def test_a_psnr_is_met_and_by_no_lower_lambda(seed: int, floor: float) -> None:
    image = frame(seed)
    draft = CODEC.draft(image, Demand(min_psnr=floor))
    picture = CODEC.decode(draft.data)
    np.testing.assert_array_equal(picture, draft.reconstruction)
    assert psnr(image, picture) >= floor
    index = draft.header.lmbda_index
    assert psnr(image, CODEC.encode_at(image, index).reconstruction) >= floor
    assert index == 0 or psnr(image, CODEC.encode_at(image, index - 1).reconstruction) < floor


def test_an_ms_ssim_is_met_and_by_no_lower_lambda() -> None:
    image = frame(3, colour=True)
    draft = CODEC.draft(image, Demand(min_ms_ssim=0.97))
    assert ms_ssim(image, CODEC.decode(draft.data)) >= 0.97
    lower = CODEC.encode_at(image, draft.header.lmbda_index - 1).reconstruction
    assert ms_ssim(image, lower) < 0.97


def test_the_closest_possible_is_named() -> None:
    image = frame(4)
    smallest, best = CODEC.encode_at(image, 0), CODEC.encode_at(image, 255)
    with pytest.raises(ConfigError, match=f"at most 30 bytes is impossible: the smallest has {len(smallest.data)}"):
        CODEC.encode(image, max_bytes=30)
    most = f"{psnr(image, best.reconstruction):.4g}, in {len(best.data)} bytes"
    with pytest.raises(ConfigError, match=f"min_psnr 70 is impossible: the most is {most}"):
        CODEC.encode(image, min_psnr=70)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_grey_meets_what_it_can(grey: int) -> None:
    image = np.full((64, 80), grey, np.uint8)
    assert len(CODEC.encode(image, max_bytes=200)) <= 200
    assert psnr(image, CODEC.decode(CODEC.encode(image, min_psnr=40))) >= 40


def test_attempts_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    before = Draft.__init__

    def counted(self: Draft, *arguments: object) -> None:
        attempts.append(self)
        before(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Draft, "__init__", counted)
    frames = [read_image(path)[:256, :256] for path in FRAMES[::30]]
    for image in frames:
        CODEC.encode(image, bpp=0.5)
    assert len(attempts) <= 3 * len(frames)
    attempts.clear()
    for image in frames:
        CODEC.encode(image, min_psnr=38)
    assert len(attempts) <= 4 * len(frames)


@pytest.mark.parametrize("demand", [{}, {"quality": 50, "bpp": 1.0}, {"bpp": 0}, {"max_bytes": -5}, {"min_psnr": 0}])
def test_a_demand_is_one_and_can_be_meant(demand: dict) -> None:
    with pytest.raises(ConfigError, match=r"exactly one|more than 0"):
        CODEC.encode(frame(0), **demand)


def test_what_is_not_a_frame_is_refused_with_a_demand_too() -> None:
    with pytest.raises(ImageError):
        CODEC.encode(np.zeros((8, 8), np.uint16), max_bytes=100)


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=256).map(np.cumsum),
    st.lists(st.floats(-5, 5), min_size=256, max_size=256),
    st.floats(-1, 200),
)
def test_a_search_ends_at_the_limit_whatever_was_guessed(true: np.ndarray, guess: list[float], limit: float) -> None:
    search = Search(np.array(guess[: len(true)]), limit)
    for _ in range(len(true) + 1):
        if search.over:
            break
        index = search.next(limit)
        assert search.below < index < search.above
        search.add(index, true[index])
    assert search.over
    assert search.above == np.searchsorted(true, limit)
