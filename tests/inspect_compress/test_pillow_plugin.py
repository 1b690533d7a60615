"""`.qarv` files through Pillow alone, as installed: the scripts run in processes that import nothing of ours."""

import io
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from inspect_compress.images import Image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container import write_container
from inspect_compress.qarv.container_reader import read_container

CODEC = QarvCodec()


def plate(*shape: int, seed: int = 0) -> Image:
    """A picture, `(H, W)` or `(H, W, 3)`."""
    noise = np.random.default_rng(seed).normal(0, 4, shape)
    return (noise.cumsum(axis=1) / 6 + 128).clip(0, 255).astype(np.uint8)


def script(source: str, folder: Path, **environment: str) -> Any:
    """What a script prints as JSON, run with `folder` as its working directory, in silence otherwise."""
    result = subprocess.run(
        [sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, env=environment or None
    )
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def loaded(*names: str) -> str:
    """An expression: which of the modules have been imported."""
    return f"[name for name in {names!r} if name in sys.modules]"


_THERE_AND_BACK = """
import json
from PIL import Image
Image.open("part.png").save("part.qarv", quality=70)
with Image.open("part.qarv") as part:
    print(json.dumps([part.format, part.mode, part.size, part.get_format_mimetype()]))
    part.save("back.png")
"""


@pytest.mark.parametrize(("shape", "mode"), [((60, 80), "L"), ((31, 47, 3), "RGB"), ((1, 1), "L")])
def test_a_frame_there_and_back(tmp_path: Path, shape: tuple[int, ...], mode: str) -> None:
    PillowImage.fromarray(plate(*shape)).save(tmp_path / "part.png")
    assert script(_THERE_AND_BACK, tmp_path) == ["QARV", mode, [shape[1], shape[0]], "image/x-qarv"]
    data = (tmp_path / "part.qarv").read_bytes()
    assert data == CODEC.encode(plate(*shape), quality=70)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(tmp_path / "back.png")), CODEC.decode(data))


def test_better_quality_makes_larger_files_and_60_is_what_is_not_said(tmp_path: Path) -> None:
    image = PillowImage.fromarray(plate(64, 96))
    for quality in (5, 60, 95):
        image.save(tmp_path / f"{quality}.qarv", quality=quality)
    sizes = [(tmp_path / f"{quality}.qarv").stat().st_size for quality in (5, 60, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    image.save(tmp_path / "unsaid.QARV")
    assert (tmp_path / "unsaid.QARV").read_bytes() == (tmp_path / "60.qarv").read_bytes()


def test_a_budget_instead_of_a_quality(tmp_path: Path) -> None:
    PillowImage.fromarray(plate(90, 120)).save(tmp_path / "part.qarv", max_bytes=500)
    assert 485 <= (tmp_path / "part.qarv").stat().st_size <= 500
    with pytest.raises(ValueError, match="impossible: the smallest has"):
        PillowImage.fromarray(plate(90, 120)).save(tmp_path / "tiny.qarv", max_bytes=10)


def test_nothing_is_decoded_before_pixels_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "part.qarv").write_bytes(CODEC.encode(plate(60, 80), quality=50))
    source = f"""
import json, sys
from PIL import Image
part = Image.open("part.qarv")
before = [part.size, part.mode, {loaded("torch")}]
part.load()
print(json.dumps([before, {loaded("torch")}]))
"""
    assert script(source, tmp_path) == [[[80, 60], "L", []], ["torch"]]


def test_other_programs_pay_next_to_nothing(tmp_path: Path) -> None:
    PillowImage.fromarray(plate(9, 9)).save(tmp_path / "part.png")
    heavy = loaded("PIL", "numpy", "torch", "inspect_compress")
    source = f"import sys; start = {heavy}; ours = {loaded('inspect_compress_pillow')}; import json"
    assert script(f"{source}; print(json.dumps([start, ours]))", tmp_path) == [[], ["inspect_compress_pillow"]]
    uses = "from PIL import Image; Image.open('part.png').save('back.jpg')"
    seen = loaded("numpy", "torch", "inspect_compress")
    assert script(f"import json, sys; {uses}; print(json.dumps({seen}))", tmp_path) == []


def test_streams(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PillowImage.fromarray(plate(40, 50)).save(stream, "QARV", quality=80)
    (tmp_path / "part").write_bytes(stream.getvalue())
    expected = CODEC.decode(stream.getvalue())
    np.testing.assert_array_equal(np.asarray(PillowImage.open(stream)), expected)
    with (tmp_path / "part").open("rb") as file:
        np.testing.assert_array_equal(np.asarray(PillowImage.open(file)), expected)
        assert not file.closed


def test_an_image_is_one_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "part.qarv"
    PillowImage.fromarray(plate(40, 50, 3)).save(path, quality=80)
    expected = CODEC.decode(path.read_bytes())
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(PillowImage.open(path)))), expected)
    np.testing.assert_array_equal(np.asarray(PillowImage.open(path).crop((5, 6, 30, 31))), expected[6:31, 5:30])
    image = PillowImage.open(path)
    pixels = image.load()
    assert pixels is not None
    pixels[7, 3] = (1, 2, 3)
    assert image.getpixel((7, 3)) == (1, 2, 3)
    PillowImage.open(path).save(path, quality=80)
    assert path.read_bytes() == CODEC.encode(expected, quality=80)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "I;16", "I", "F", "CMYK", "YCbCr"])
def test_other_modes_are_refused_with_what_to_do(tmp_path: Path, mode: str) -> None:
    with pytest.raises(OSError, match=rf"cannot write mode {mode} as QARV.*convert\('L'\)"):
        PillowImage.new(mode, (8, 8)).save(tmp_path / "part.qarv")
    assert not (tmp_path / "part.qarv").exists()


@pytest.mark.parametrize("quality", [0, 101, 50.5, "best"])
def test_a_quality_out_of_range_is_refused(tmp_path: Path, quality: Any) -> None:
    with pytest.raises(ValueError, match=r"quality .*1 to 100"):
        PillowImage.new("L", (8, 8)).save(tmp_path / "part.qarv", quality=quality)
    assert not (tmp_path / "part.qarv").exists()


def test_a_side_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="8193x1"):
        PillowImage.new("L", (8193, 1)).save(tmp_path / "part.qarv")


def test_no_change_of_a_byte_and_no_cut_gives_a_picture() -> None:
    data = CODEC.encode(plate(16, 16), quality=20)
    assert PillowImage.open(io.BytesIO(data)).tobytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x10
        for damaged in (bytes(changed), data[:position], data + bytes(position + 1)):
            with pytest.raises(OSError, match=r"cannot identify|QARV file: "):
                PillowImage.open(io.BytesIO(damaged)).load()


def test_a_damaged_file_is_named_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "part.qarv"
    path.write_bytes(CODEC.encode(plate(16, 16), quality=50)[:-1])
    with pytest.raises(UnidentifiedImageError, match=r"part\.qarv: is cut short: it has"):
        PillowImage.open(path)


def test_a_file_that_is_not_ours_is_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.qarv").write_text("no picture at all")
    with pytest.raises(UnidentifiedImageError, match="cannot identify"):
        PillowImage.open(tmp_path / "text.qarv")
    PillowImage.fromarray(plate(8, 8)).save(tmp_path / "png.qarv", "PNG")
    assert PillowImage.open(tmp_path / "png.qarv").format == "PNG"


def test_sound_bytes_that_cannot_be_decoded_are_refused_at_load_every_time(tmp_path: Path) -> None:
    container = read_container(CODEC.encode(plate(60, 80), quality=50))
    first, *others = container.levels
    lost = write_container(container.header, [replace(first, symbols_crc=first.symbols_crc ^ 1), *others])
    foreign = write_container(replace(container.header, model="01234567"), container.levels)
    for changed, reason in ((lost, "lost step"), (foreign, "01234567 is not installed")):
        (tmp_path / "part.qarv").write_bytes(changed)
        image = PillowImage.open(tmp_path / "part.qarv")
        assert image.size == (80, 60)
        for _ in range(2):
            with pytest.raises(OSError, match=rf"part\.qarv: .*{reason}"):
                image.load()


def test_pillow_works_where_this_package_does_not(tmp_path: Path) -> None:
    (tmp_path / "part.qarv").write_bytes(CODEC.encode(plate(16, 16), quality=50))
    PillowImage.fromarray(plate(9, 9)).save(tmp_path / "part.png")
    source = """
import json, sys
sys.modules["inspect_compress"] = None
from PIL import Image
Image.open("part.png").save("back.jpg")
try:
    Image.open("part.qarv")
except ImportError as error:
    print(json.dumps(str(error)))
"""
    assert "inspect_compress" in script(source, tmp_path)
    assert PillowImage.open(tmp_path / "back.jpg").size == (9, 9)


def test_python_starts_in_silence_where_the_hook_is_broken(tmp_path: Path) -> None:
    (tmp_path / "inspect_compress_pillow.py").write_text("open('met', 'w').close(); raise RuntimeError('broken')")
    source = "import json; from PIL import Image; Image.new('L', (3, 4)).save('part.png'); print(json.dumps(1))"
    assert script(source, tmp_path, PYTHONPATH=str(tmp_path)) == 1
    assert (tmp_path / "met").exists()
    assert PillowImage.open(tmp_path / "part.png").size == (3, 4)


def test_pillow_is_imported_where_its_registration_fails(tmp_path: Path) -> None:
    source = """
import json, inspect_compress_pillow
inspect_compress_pillow.FORMAT = None
from PIL import Image
print(json.dumps([".qarv" in Image.registered_extensions(), ".png" in Image.registered_extensions()]))
"""
    assert script(source, tmp_path) == [False, True]


def test_it_lives_beside_other_hooks_of_its_kind(tmp_path: Path) -> None:
    source = """
import json, sys

class Legacy:
    def find_module(self, name, path=None):
        return None

class Other:
    asked = 0
    def find_spec(self, name, path=None, target=None):
        if name != "PIL.Image":
            return None
        Other.asked += 1
        found = (f.find_spec(name, path, target) for f in sys.meta_path if f is not self and hasattr(f, "find_spec"))
        return next((spec for spec in found if spec is not None), None)

sys.meta_path[:0] = [Legacy(), Other()]
sys.meta_path.append(Other())
import PIL.Image as Image
own = type(Image.__loader__).__name__, type(Image.__spec__.loader).__name__
print(json.dumps([own, Other.asked > 0, Image.registered_extensions()[".qarv"]]))
"""
    assert script(source, tmp_path) == [["SourceFileLoader", "SourceFileLoader"], True, "QARV"]


def test_importing_the_package_does_the_same_where_no_start_file_was_read(tmp_path: Path) -> None:
    source = """
import json, sys
sys.meta_path = [finder for finder in sys.meta_path if "inspect_compress_pillow" != type(finder).__module__]
from PIL import Image
before = ".qarv" in Image.registered_extensions()
import inspect_compress
print(json.dumps([before, ".qarv" in Image.registered_extensions()]))
"""
    assert script(source, tmp_path) == [False, True]
