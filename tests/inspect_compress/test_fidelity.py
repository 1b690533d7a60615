"""PSNR and MS-SSIM give what their definitions say."""

import numpy as np
import pytest
from scipy.signal import convolve2d

from inspect_compress.errors import ImageError
from inspect_compress.fidelity import MS_SSIM_WEIGHTS, ms_ssim, psnr
from inspect_compress.images import Image

C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def noisy(image: Image, sigma: float) -> Image:
    noise = np.random.default_rng(1).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def texture(*shape: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_equal_images_have_infinite_psnr() -> None:
    assert psnr(texture(5, 4), texture(5, 4)) == float("inf")


def test_psnr_of_a_difference_of_one_everywhere() -> None:
    image = np.full((3, 3), 100, np.uint8)
    assert psnr(image, image + np.uint8(1)) == pytest.approx(48.1308, abs=1e-4)  # 20 log10 255


@pytest.mark.parametrize(("largest", "depth"), [(0, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 16), (65534, 16)])
def test_psnr_of_a_deep_image_is_against_the_peak_of_its_depth(largest: int, depth: int) -> None:
    image = np.array([[0, largest]], np.uint16)
    assert psnr(image, image + np.uint16(1)) == pytest.approx(20 * np.log10(2**depth - 1))


def test_16_bits_and_the_same_picture_of_8_are_alike() -> None:
    first, second = texture(200, 180), noisy(texture(200, 180), 20)
    deep = [image.astype(np.uint16) * 257 for image in (first, second)]  # 255 · 257 = 65535
    assert psnr(*deep) == pytest.approx(psnr(first, second))
    assert ms_ssim(*deep) == pytest.approx(ms_ssim(first, second))


def test_psnr_counts_all_samples_of_colour() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    red = black.copy()
    red[..., 0] = 255
    assert psnr(black, red) == pytest.approx(10 * np.log10(3))


def test_psnr_of_opposites_is_zero() -> None:
    assert psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)) == pytest.approx(0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 300), (11, 11), (23, 40), (200, 180), (40, 30, 3)], ids=str)
def test_equal_images_have_ms_ssim_one(shape: tuple[int, ...]) -> None:
    assert ms_ssim(texture(*shape), texture(*shape)) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(200, 180), (30, 30), (7, 9)], ids=str)
def test_more_noise_lowers_ms_ssim(shape: tuple[int, int]) -> None:
    image = texture(*shape)
    figures = [ms_ssim(image, noisy(image, sigma)) for sigma in (2, 10, 40)]
    assert figures == sorted(figures, reverse=True)
    assert 0 <= figures[-1] < figures[0] < 1


def test_ms_ssim_of_two_flat_images_is_their_luminance_term() -> None:
    """Without variance, contrast and structure are 1 and only the coarsest scale's luminance counts."""
    a, b = 100, 120
    luminance = (2 * a * b + C1) / (a**2 + b**2 + C1)
    first, second = np.full((200, 200), a, np.uint8), np.full((200, 200), b, np.uint8)
    assert ms_ssim(first, second) == pytest.approx(luminance ** MS_SSIM_WEIGHTS[4])


def test_ms_ssim_agrees_with_its_formula_written_out() -> None:
    first = texture(200, 190)
    second = noisy(first, 25)
    assert ms_ssim(first, second) == pytest.approx(_ms_ssim_by_the_book(first, second, scales=5), rel=1e-9)


def test_a_small_image_uses_fewer_scales() -> None:
    first = texture(50, 60)  # 50, 25 and 12 pixels hold a window of 11; 6 do not
    second = noisy(first, 25)
    assert ms_ssim(first, second) == pytest.approx(_ms_ssim_by_the_book(first, second, scales=3), rel=1e-9)


def test_colour_is_compared_by_luma() -> None:
    grey, other = texture(60, 60), noisy(texture(60, 60), 20)
    as_rgb = [np.repeat(image[:, :, None], 3, axis=2) for image in (grey, other)]
    assert ms_ssim(*as_rgb) == pytest.approx(ms_ssim(grey, other))


@pytest.mark.parametrize("measure", [psnr, ms_ssim])
def test_images_of_two_shapes_are_no_pair(measure) -> None:
    with pytest.raises(ImageError, match="shape"):
        measure(texture(4, 5), texture(5, 4))


@pytest.mark.parametrize("measure", [psnr, ms_ssim])
def test_images_of_two_types_are_no_pair(measure) -> None:
    with pytest.raises(ImageError, match="of type uint16, its original of uint8"):
        measure(texture(4, 5), texture(4, 5).astype(np.uint16))


def _ms_ssim_by_the_book(first: Image, second: Image, scales: int) -> float:
    """Wang, Simoncelli and Bovik 2003, equation 7, by plain two-dimensional convolution."""
    x, y = first.astype(float), second.astype(float)
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(plane: np.ndarray) -> np.ndarray:
        return convolve2d(plane, window, mode="valid")

    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights = weights / weights.sum()
    product = 1.0
    for scale in range(scales):
        mx, my = mean(x), mean(y)
        cs = (2 * (mean(x * y) - mx * my) + C2) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + C2)
        term = cs if scale < scales - 1 else cs * (2 * mx * my + C1) / (mx**2 + my**2 + C1)
        product *= term.mean() ** weights[scale]
        x, y = (convolve2d(p, np.full((2, 2), 0.25), mode="valid")[::2, ::2] for p in (x, y))
    return product
