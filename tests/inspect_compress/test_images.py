"""Image files are read as they are or refused by name; files are written whole or not at all."""

import io
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from inspect_compress.errors import ImageError, OutputError
from inspect_compress.files import output_errors, staged_folder, write_file
from inspect_compress.images import (
    MAX_SIDE,
    bit_depth,
    check_image,
    list_images,
    read_8_bit_image,
    read_image,
    sample_bytes,
    write_png,
)

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 50), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 4096, (40, 50), dtype=np.uint16)


def saved(image: PillowImage.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey() -> PillowImage.Image:
    return PillowImage.fromarray(GREY)


def colour() -> PillowImage.Image:
    return PillowImage.fromarray(COLOUR)


def by_opencv(suffix: str, array: np.ndarray) -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def tiff(order: str, *, white_is_zero: bool = False, bits: int = 16) -> bytes:
    """DEEP as a bare TIFF of one strip; `order` is `<` or `>`."""
    data = DEEP.astype(f"{order}u2").tobytes()[: DEEP.size * bits // 8]
    photometric = 0 if white_is_zero else 1
    tags = {256: 50, 257: 40, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1, 278: 40, 279: len(data)}
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, 3, 1) + struct.pack(f"{order}HH", value, 0) for tag, value in tags.items()
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + data


def rotated_by_exif() -> bytes:
    exif = grey().getexif()
    exif[274] = 6
    return saved(grey(), "PNG", exif=exif)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_files_come_back_as_they_are(tmp_path: Path, kind: str, pixels: np.ndarray) -> None:
    path = tmp_path / "frame"
    path.write_bytes(saved(PillowImage.fromarray(pixels), kind))
    image = read_image(path)
    np.testing.assert_array_equal(image, pixels)
    assert image.flags.writeable


DEEP_FILES = {
    "PNG": lambda: by_opencv(".png", DEEP),
    "PNG by Pillow": lambda: saved(PillowImage.fromarray(DEEP), "PNG"),
    "TIFF, compressed": lambda: by_opencv(".tif", DEEP),
    "TIFF, little-endian": lambda: tiff("<"),
    "TIFF, big-endian": lambda: tiff(">"),
}


@pytest.mark.parametrize("case", DEEP_FILES)
def test_16_bit_grey_comes_back_as_it_is(tmp_path: Path, case: str) -> None:
    path = tmp_path / "frame"
    path.write_bytes(DEEP_FILES[case]())
    image = read_image(path)
    assert image.dtype == np.dtype("=u2")
    np.testing.assert_array_equal(image, DEEP)
    assert image.flags.writeable


@pytest.mark.parametrize(("largest", "depth"), [(0, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 16), (65535, 16)])
def test_the_depth_is_the_least_that_holds_the_samples(largest: int, depth: int) -> None:
    assert bit_depth(np.array([[0, largest]], np.uint16)) == depth
    assert bit_depth(GREY) == bit_depth(COLOUR) == 8


def test_where_8_bits_are_needed_a_deep_file_is_refused_with_its_depth(tmp_path: Path) -> None:
    write_png(tmp_path / "deep.png", DEEP)
    with pytest.raises(ImageError, match=r"deep\.png: has 12 bits .* or jxl at quality 100"):
        read_8_bit_image(tmp_path / "deep.png")


def test_samples_are_hashed_in_one_byte_order() -> None:
    assert sample_bytes(np.array([[1, 515]], np.uint16)) == sample_bytes(np.array([[1, 515]], ">u2")) == b"\1\0\3\2"
    assert sample_bytes(COLOUR[::2]) == COLOUR[::2].tobytes()


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "JPEG"])
def test_a_format_is_known_from_the_first_call(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "frame"
    path.write_bytes(saved(colour(), kind))
    code = "import sys; from inspect_compress.images import read_image; print(read_image(sys.argv[1]).shape)"
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert run.stdout == "(40, 50, 3)\n", run.stderr


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(rotated_by_exif())
    np.testing.assert_array_equal(read_image(path), GREY)


REFUSED = {
    "16-bit colour PNG": (lambda: by_opencv(".png", COLOUR.astype(np.uint16)), "16 bits"),
    "16-bit TIFF, white is zero": (lambda: tiff("<", white_is_zero=True), "black as zero"),
    "12-bit TIFF": (lambda: tiff("<", bits=12), "12 bits"),
    "16-bit colour TIFF": (lambda: by_opencv(".tif", COLOUR.astype(np.uint16)), "16 bits"),
    "16-bit PPM": (lambda: b"P6 # camera 3\n2 1\n65535\n" + bytes(12), "16 bits"),
    "16-bit PGM": (lambda: b"P5 2 1 65535\n" + bytes(4), "more than 8 bits"),
    "PGM of fewer levels": (lambda: b"P5 2 1 100\n" + bytes(2), "6 bits"),
    "4-bit PNG": (lambda: saved(grey(), "PNG", bits=4), "4 bits"),
    "1-bit PNG": (lambda: saved(grey().convert("1"), "PNG"), "1 bit"),
    "float TIFF": (lambda: by_opencv(".tif", GREY.astype(np.float32)), "floating-point"),
    "palette": (lambda: saved(grey().convert("P"), "PNG"), "palette"),
    "RGBA": (lambda: saved(colour().convert("RGBA"), "PNG"), "alpha"),
    "LA": (lambda: saved(grey().convert("LA"), "PNG"), "alpha"),
    "transparent colour": (lambda: saved(colour(), "PNG", transparency=(1, 2, 3)), "alpha"),
    "CMYK JPEG": (lambda: saved(colour().convert("CMYK"), "JPEG"), "CMYK"),
    "two-page TIFF": (lambda: saved(grey(), "TIFF", save_all=True, append_images=[grey()]), "2 frames"),
    "animated PNG": (
        lambda: saved(grey(), "PNG", save_all=True, append_images=[PillowImage.fromarray(255 - GREY)]),
        "2 frames",
    ),
    "animated WebP": (
        lambda: saved(colour(), "WEBP", save_all=True, append_images=[PillowImage.fromarray(255 - COLOUR)]),
        "2 frames",
    ),
    "GIF": (lambda: saved(grey(), "GIF"), "known format"),
    "PostScript": (lambda: saved(grey(), "EPS"), "known format"),
    "text": (lambda: b"frame,score\n", "known format"),
    "zero bytes": (lambda: b"", "empty"),
    "one side too long": (lambda: png_claiming(MAX_SIDE + 1, 1), "sides must be 1 to 8192"),
    "a bomb": (lambda: png_claiming(30_000, 30_000), "sides must be 1 to 8192"),
    "the largest bomb": (lambda: png_claiming(2**31 - 1, 2**31 - 1), "sides must be 1 to 8192"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name(tmp_path: Path, case: str) -> None:
    make, reason = REFUSED[case]
    path = tmp_path / "frame.img"
    path.write_bytes(make())
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # Pillow comments on damaged TIFF
@pytest.mark.parametrize("picture", [COLOUR, DEEP], ids=["colour", "deep"])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("PPM", {}),
        ("WEBP", {}),
    ],
    ids=str,
)
def test_a_cut_file_is_never_taken_for_another_image(
    tmp_path: Path, kind: str, options: dict, picture: np.ndarray
) -> None:
    if picture is DEEP and kind not in ("PNG", "TIFF"):
        pytest.skip("holds 8 bits only, or is not read")
    whole = saved(PillowImage.fromarray(picture), kind, **options)
    path = tmp_path / "frame"
    path.write_bytes(whole)
    expected = read_image(path)
    places = {*range(0, len(whole), max(1, len(whole) // 40)), *range(len(whole) - 30, len(whole))}
    for length in sorted(places):
        path.write_bytes(whole[:length])
        if length < len(whole) - 4:
            with pytest.raises(ImageError, match=r"frame: "):
                read_image(path)
        else:  # a last checksum or padding may be missing, but no pixel
            with suppress(ImageError):
                np.testing.assert_array_equal(read_image(path), expected)


def test_a_folder_and_a_missing_file_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize(
    "array",
    [
        GREY.astype(np.uint16),
        COLOUR.astype(np.uint16),
        GREY.astype(float),
        GREY[:, :, None],
        GREY[0],
        np.zeros((0, 5), np.uint8),
        [[1]],
    ],
    ids=["16 bit", "16-bit colour", "float", "one channel", "one row", "no pixels", "list"],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"^image: "):
        check_image(array)


def test_16_bit_mono_is_an_image_where_that_is_said() -> None:
    assert check_image(DEEP, deep=True) is DEEP
    for array in (COLOUR.astype(np.uint16), DEEP.astype(">u2"), DEEP.astype(np.int16)):
        with pytest.raises(ImageError, match=r"^image: "):
            check_image(array, deep=True)


def test_images_are_listed_below_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["c.jpg", "b.PNG"]
    with pytest.raises(ImageError, match="holds no images"):
        list_images(_folder(tmp_path / "empty"))
    with pytest.raises(ImageError, match="is not a folder"):
        list_images(tmp_path / "notes.txt")


@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "colour", "deep"])
def test_a_written_png_comes_back(tmp_path: Path, pixels: np.ndarray) -> None:
    write_png(tmp_path / "new" / "frame.png", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "frame.png"), pixels)


def test_a_file_is_replaced_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    with pytest.raises(OutputError, match="exists already"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    write_file(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_path_through_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="part of this path is a file"):
        write_file(tmp_path / "file" / "below", b"")


def test_a_full_disk_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    disk = _folder(tmp_path / "disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk can be mounted by root only")
    try:
        write_file(disk / "file", b"old")
        with pytest.raises(OutputError, match="the disk is full; nothing was written"):
            write_file(disk / "file", bytes(1_000_000), overwrite=True)
        assert [(entry.name, entry.read_bytes()) for entry in disk.iterdir()] == [("file", b"old")]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_the_systems_full_disk_error_is_named() -> None:
    def write() -> None:
        with output_errors(Path("report.html")), open("/dev/full", "wb", buffering=0) as full:
            full.write(b"1")

    with pytest.raises(OutputError, match=r"^report\.html: the disk is full"):
        write()


def test_a_staged_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with staged_folder(tmp_path / "out") as stage:
            (stage / "one").touch()
            raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []
    with staged_folder(tmp_path / "out") as stage:
        (stage / "one").touch()
        assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]


def test_a_staged_folder_replaces_only_when_told_to(tmp_path: Path) -> None:
    (_folder(tmp_path / "out") / "old").touch()
    with pytest.raises(OutputError, match="exists already"), staged_folder(tmp_path / "out"):
        pass
    with staged_folder(tmp_path / "out", overwrite=True) as stage:
        (stage / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]


@pytest.mark.parametrize("where", ["home", "working folder", "above it", "repository"])
def test_a_folder_that_others_stand_in_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    inner = _folder(tmp_path / "out" / "inner")
    if where == "home":
        monkeypatch.setenv("HOME", str(inner.parent))
    elif where == "repository":
        _folder(inner.parent / ".git")
    else:
        monkeypatch.chdir(inner.parent if where == "working folder" else inner)
    with pytest.raises(OutputError, match="whole folder"), staged_folder(inner.parent, overwrite=True):
        pass
    assert inner.is_dir()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path
