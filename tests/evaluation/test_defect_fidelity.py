"""What decoding leaves of a defect, on frames whose loss is known because it was made."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.defect_fidelity import defect_fidelity
from inspect_compress.errors import ImageError

SIDE = 48


def surface(noise: float = 4, *, colour: bool = False) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (SIDE, SIDE, 3) if colour else (SIDE, SIDE)
    return np.full(shape, 120.0) + rng.normal(0, noise, shape)


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return x**2 + y**2 <= radius**2


def as_image(plane: np.ndarray) -> np.ndarray:
    return plane.round().clip(0, 255).astype(np.uint8)


def stain(strength: float, radius: int = 6, noise: float = 4) -> tuple[np.ndarray, np.ndarray]:
    return as_image(surface(noise) + strength * disc(radius)), disc(radius)


@pytest.mark.parametrize("colour", [False, True])
def test_an_unchanged_defect_is_kept_whole(colour: bool) -> None:
    mask = disc(5)
    image = as_image(surface(colour=colour) + 40 * (mask[..., None] if colour else mask))

    found = defect_fidelity(image, image.copy(), mask)

    assert (found.mask_psnr, found.edges_kept, found.contrast_kept) == (math.inf, 1.0, 1.0)


def test_a_defect_may_have_more_pixels_than_an_image_has_on_a_side() -> None:
    image, mask = np.full((200, 200), 100, np.uint8), np.ones((200, 200), bool)

    assert defect_fidelity(image, image + 1, mask).mask_psnr == pytest.approx(20 * math.log10(255))


def test_psnr_counts_samples_in_the_mask_only() -> None:
    image, mask = stain(40)
    decoded = image.copy()
    decoded[mask] += 3
    decoded[~mask] -= 50

    assert defect_fidelity(image, decoded, mask).mask_psnr == pytest.approx(20 * math.log10(255 / 3))


def test_a_stain_at_half_its_strength_keeps_half_its_contrast() -> None:
    """Whatever the codec does to the noise, which is no part of the defect."""
    (image, mask), (half, _) = stain(40), stain(20, noise=0)

    assert defect_fidelity(image, half, mask).contrast_kept == pytest.approx(0.5, abs=0.03)


def test_noise_that_is_smoothed_away_is_no_loss_of_a_stain() -> None:
    (image, mask), (smooth, _) = stain(25), stain(25, noise=0)

    found = defect_fidelity(image, smooth, mask)

    assert found.contrast_kept > 0.95
    assert found.edges_kept > 0.9


def test_a_stain_that_is_painted_over_is_gone() -> None:
    (image, mask), (gone, _) = stain(25), stain(0)

    found = defect_fidelity(image, gone, mask)

    assert found.contrast_kept < 0.1
    assert found.edges_kept < 0.25


def test_blur_takes_edges_before_contrast() -> None:
    image, mask = stain(60, noise=0)

    found = defect_fidelity(image, cv2.GaussianBlur(image, (0, 0), 2), mask)

    assert found.edges_kept < 0.7 < found.contrast_kept


def test_texture_as_bright_as_its_surroundings_counts_as_contrast() -> None:
    mask = disc(8)
    checks = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * 40 - 20
    image = as_image(surface(0) + mask * checks)

    found = defect_fidelity(image, as_image(surface(0)), mask)

    assert (found.edges_kept, found.contrast_kept) == (0.0, 0.0)


def test_a_smooth_patch_in_a_rough_surface_is_lost_when_the_roughness_is() -> None:
    rough = surface(20)
    mask = disc(9)
    image = as_image(np.where(mask, 120, rough))
    softer = as_image(np.where(mask, 120, 120 + 0.5 * (rough - 120)))

    assert defect_fidelity(image, softer, mask).contrast_kept == pytest.approx(0.5, abs=0.05)


def test_a_coloured_stain_of_the_same_brightness_counts() -> None:
    mask = disc(6)
    tint = np.array([40.0, -20.4, 0.0]) * mask[..., None]
    image, grey = as_image(surface(0, colour=True) + tint), as_image(surface(0, colour=True))

    assert defect_fidelity(image, grey, mask).contrast_kept < 0.1


def test_a_mask_of_one_pixel_has_all_three_figures() -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[0, -1] = True
    image = as_image(surface(1))
    image[0, -1] = 250

    found = defect_fidelity(image, cv2.blur(image, (3, 3)), mask)

    assert 0 <= found.edges_kept < 1
    assert 0 <= found.contrast_kept < 0.7
    assert found.mask_psnr < 20


def test_a_mask_over_the_whole_frame_has_no_surroundings_but_still_spread_and_edges() -> None:
    image = as_image(surface(20))
    half = as_image(120 + 0.5 * (image - 120.0))

    found = defect_fidelity(image, half, np.ones((SIDE, SIDE), bool))

    assert found.edges_kept == pytest.approx(0.5, abs=0.02)
    assert found.contrast_kept == pytest.approx(0.5, abs=0.02)


def test_a_defect_that_never_stood_out_has_nothing_to_lose() -> None:
    flat = np.full((SIDE, SIDE), 90, np.uint8)

    found = defect_fidelity(flat, flat, disc(5))

    assert math.isnan(found.edges_kept)
    assert math.isnan(found.contrast_kept)


@pytest.mark.parametrize("mask", [None, np.zeros((SIDE, SIDE), bool)])
def test_without_a_defect_there_is_nothing_to_measure(mask: np.ndarray | None) -> None:
    image = as_image(surface())

    assert all(math.isnan(v) for v in vars(defect_fidelity(image, image, mask)).values())


def test_a_mask_of_another_size_is_refused() -> None:
    image = as_image(surface())
    with pytest.raises(ImageError, match="mask: has shape"):
        defect_fidelity(image, image, np.ones((4, 4), bool))


@given(seed=st.integers(0, 10_000), side=st.integers(1, 30), share=st.floats(0, 1))
def test_kept_shares_lie_between_nothing_and_all(seed: int, side: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image, decoded = rng.integers(0, 256, (2, side, side + 3), dtype=np.uint8)

    found = defect_fidelity(image, decoded, rng.random((side, side + 3)) < share)

    for kept in (found.edges_kept, found.contrast_kept):
        assert math.isnan(kept) or 0 <= kept <= 1
