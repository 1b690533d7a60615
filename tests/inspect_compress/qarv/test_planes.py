"""Colour planes: nothing lost, grey stays grey, and squared error means the same as in RGB."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inspect_compress.images import Image
from inspect_compress.qarv.planes import from_planes, plane_shapes, to_planes

images = st.one_of(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))),
)


@given(images)
def test_planes_come_back_as_the_same_image(image: Image) -> None:
    np.testing.assert_array_equal(from_planes(to_planes(image)), image)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_halved_differences_keep_size_and_grey(image: Image) -> None:
    planes = to_planes(image, halved=True)
    assert [plane.shape for plane in planes] == plane_shapes(*image.shape, halved=True)
    back = from_planes(planes)
    assert back.shape == image.shape
    flat = np.broadcast_to(image[:1, :1], image.shape)
    np.testing.assert_array_equal(from_planes(to_planes(flat, halved=True)), flat)


def test_halved_differences_of_a_colour_ramp_lose_little() -> None:
    ramp = np.stack([np.arange(100, 164), np.arange(200, 72, -2), np.full(64, 90)], -1).astype(np.uint8)
    image = np.broadcast_to(ramp, (32, 64, 3))
    error = from_planes(to_planes(image, halved=True)).astype(int) - image
    assert np.abs(error).max() <= 1


@given(arrays(np.uint8, (5, 7)))
def test_a_grey_picture_has_its_mono_plane_and_two_flat_ones(grey: Image) -> None:
    planes = to_planes(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_allclose(planes[0], to_planes(grey)[0], atol=1e-6)
    np.testing.assert_allclose(planes[1:], 0.5, atol=1e-6)


@given(arrays(np.uint8, (4, 4, 3)), arrays(np.uint8, (4, 4, 3)))
def test_squared_error_is_the_mean_over_r_g_and_b(one: Image, other: Image) -> None:
    in_planes = np.sum((np.stack(to_planes(one)).astype(float) - np.stack(to_planes(other))) ** 2)
    in_rgb = np.sum((one.astype(float) - other) ** 2) / 255**2 / 3
    np.testing.assert_allclose(in_planes, in_rgb, rtol=1e-4, atol=1e-6)
