"""The configuration: paths beside the file, and every mistake one line that names file, key and remedy."""

from pathlib import Path

import pytest

from inspect_compress.errors import ConfigError
from pipelines.config import read_config

SOURCE = '[source]\nkind = "folder"\npath = "frames"\n'
ARCHIVE = '[archive]\nuri = "archive"\n'
DETECT = '[detect]\ndetector = "anomaly"\ntrain = "frames"\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "line.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_is_valid_and_its_paths_are_beside_it() -> None:
    config = read_config(EXAMPLE)

    assert config.source.path.is_absolute()
    assert config.detect is not None
    assert config.detect.train.resolve() == EXAMPLE.parents[1] / "sample_data"


@pytest.mark.parametrize("name", ["follow", "video", "rtsp", "genicam", "policy"])
def test_the_other_examples_are_valid(name: str) -> None:
    assert read_config(EXAMPLE.with_name(f"{name}.toml")).source.line == "line-1"


def test_what_is_left_out_has_defaults(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, SOURCE + ARCHIVE))

    assert (config.compress.codec, config.compress.quality) == ("qarv", 60)
    assert config.source.path == tmp_path / "frames"
    assert config.archive.uri == str(tmp_path / "archive")
    assert config.detect is None
    assert (config.compress.verify, config.compress.lossless) == (True, "jxl")
    assert (config.compress.min_psnr, config.compress.min_ms_ssim) == (None, None)
    assert config.policy.audit_every is config.policy.suspect is config.policy.good is None
    assert config.policy.products == {}


def test_a_policy_is_read_as_it_is_written(tmp_path: Path) -> None:
    rules = '[policy]\naudit_every = 50\nsuspect = "lossless"\ngood = 40\n'
    rules += '[policy.products]\n"gear box" = 90\nb = "lossless"\n'
    floors = "[compress]\nmin_psnr = 40\nmin_ms_ssim = 0.98\n"

    config = read_config(written(tmp_path, SOURCE + ARCHIVE + DETECT + floors + rules))

    assert config.policy.audit_every == 50
    assert (config.policy.suspect, config.policy.good) == ("lossless", 40)
    assert config.policy.products == {"gear box": 90, "b": "lossless"}
    assert (config.compress.min_psnr, config.compress.min_ms_ssim) == (40.0, 0.98)


def test_absolute_paths_and_uris_stay(tmp_path: Path) -> None:
    text = SOURCE.replace("frames", "/data/frames") + '[archive]\nuri = "s3://bucket/frames"\n'

    config = read_config(written(tmp_path, text))

    assert config.source.path == Path("/data/frames")
    assert config.archive.uri == "s3://bucket/frames"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (SOURCE + ARCHIVE).encode())

    assert read_config(path).source.kind == "folder"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["[source]", "missing", "and 1 more"]),
        (SOURCE, ["[archive]", "is missing; add it"]),
        (SOURCE + ARCHIVE + "[compres]\n", ["[compres]", "known settings", "compress"]),
        (SOURCE + ARCHIVE + "[compress]\nqualty = 3\n", ["[compress] qualty", "known keys: codec, model, quality"]),
        (SOURCE + ARCHIVE + "[compress]\nquality = 101\n", ["[compress] quality", "100", "101"]),
        (SOURCE + ARCHIVE + '[compress]\nquality = "60"\n', ["[compress] quality", "integer", "'60'"]),
        (SOURCE + ARCHIVE + '[compress]\ncodec = "jpg"\n', ["[compress] codec", "'jpg'", "jpeg, jpeg2000"]),
        (SOURCE + ARCHIVE + '[detect]\ndetector = "x"\n', ["[detect] detector", "'x'", "anomaly"]),
        (SOURCE.replace("folder", "tape") + ARCHIVE, ["[source] kind", "'tape'", "known: folder"]),
        (SOURCE + "folow = true\n" + ARCHIVE, ["[source] folow", "known keys: kind, line", "path"]),
        (SOURCE.replace('path = "frames"\n', "") + ARCHIVE, ["[source] path", "is missing; add it"]),
        (SOURCE.replace("frames", "") + ARCHIVE, ["[source] path", "empty"]),
        (SOURCE.replace('"frames"', "3") + ARCHIVE, ["[source] path", "3"]),
        ("source = 3\n" + ARCHIVE, ["[source]", "not a section"]),
        ("[source\n", ["not valid TOML", "line 1"]),
        (SOURCE + ARCHIVE + '[compress]\nlossless = "jpeg"\n', ["[compress] lossless", "'jxl' or 'png'", "'jpeg'"]),
        (SOURCE + ARCHIVE + "[compress]\nverify = false\nmin_psnr = 40\n", ["[compress]: min_psnr", "verify"]),
        (SOURCE + ARCHIVE + "[compress]\nmin_ms_ssim = 1.5\n", ["[compress] min_ms_ssim", "1.5"]),
        (SOURCE + ARCHIVE + "[policy]\naudit_every = 0\n", ["[policy] audit_every", "1", "0"]),
        (SOURCE + ARCHIVE + "[policy]\ngood = 40\n", ["[policy]: suspect and good", "[detect]"]),
        (SOURCE + ARCHIVE + DETECT + "[policy]\ngood = 101\n", ["[policy] good", "101", '"lossless"']),
        (SOURCE + ARCHIVE + DETECT + "[policy]\nsuspect = true\n", ["[policy] suspect", "True", "1 to 100"]),
        (SOURCE + ARCHIVE + '[policy.products]\nbrass = "best"\n', ["[policy.products] brass", "'best'", "lossless"]),
        (SOURCE + ARCHIVE + "[policy]\nevery = 3\n", ["[policy] every", "known keys: audit_every, suspect, good"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(tmp_path: Path, text: str, says: list[str]) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        read_config(path)

    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(part in message for part in says), message


def test_a_missing_file_and_one_that_is_not_text_are_named(tmp_path: Path) -> None:
    (tmp_path / "line.toml").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="UTF-8"):
        read_config(tmp_path / "line.toml")
    with pytest.raises(ConfigError, match="no such file"):
        read_config(tmp_path / "other.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)
