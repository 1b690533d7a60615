"""Files that are put into an archive and frames that are taken out of it; and that nothing leaves its folder."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspect_compress.codecs import load_codec
from inspect_compress.errors import ArchiveError, ImageError, OutputError
from inspect_compress.images import read_image, write_png
from pipelines.archive import Archive
from pipelines.archive.export import INDEX, Form, file_name
from pipelines.governance.audit import AuditLog
from tests.pipelines.archive_records import encoded, picture
from tests.pipelines.test_archive_commands import judged, run


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    for number in range(3):
        write_png(folder / "lot" / f"{number}.png", picture(number))
    return folder


def test_images_are_stored_once_and_checked(tmp_path: Path, frames: Path) -> None:
    options = [tmp_path / "archive", frames, "--codec", "png", "--line", "line-1", "--product", "disc", "--json"]

    assert json.loads(run("append", *options)) == {"files": 3, "stored": 3, "already_stored": 0, "failures": []}
    assert json.loads(run("append", *options))["already_stored"] == 3

    rows = sorted(Archive(tmp_path / "archive").frames(), key=lambda record: record.meta["path"])
    assert [(r.meta["path"], r.line, r.product, r.rule) for r in rows] == [
        (f"lot/{number}.png", "line-1", "disc", "append") for number in range(3)
    ]
    assert rows[0].captured_at.timestamp() == pytest.approx((frames / "lot" / "0.png").stat().st_mtime, abs=1e-5)
    assert json.loads(run("verify", tmp_path / "archive", "--json"))["sound"]
    assert [entry.action for entry in AuditLog(str(tmp_path / "archive")).entries()] == [
        "frames appended",
        "frames appended",
    ]


def test_a_qarv_file_is_stored_as_it_is(tmp_path: Path) -> None:
    data = load_codec("qarv").encode(picture(1), quality=70)
    (tmp_path / "part.qarv").write_bytes(data)

    run("append", tmp_path / "archive", tmp_path / "part.qarv")

    record = next(Archive(tmp_path / "archive").frames())
    assert (record.payload, record.codec, record.quality) == (data, "qarv", 70)
    assert json.loads(run("verify", tmp_path / "archive", "--json"))["sound"]


def test_a_file_that_is_no_image_is_named_and_the_others_are_stored(tmp_path: Path, frames: Path) -> None:
    (frames / "broken.png").write_bytes(b"no picture")
    (frames / "broken.qarv").write_bytes(b"no picture")

    result = json.loads(run("append", tmp_path / "archive", frames, "--codec", "png", "--json", status=1))

    assert (result["files"], result["stored"]) == (5, 3)
    assert sorted(failure["image"] for failure in result["failures"]) == ["broken.png", "broken.qarv"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no images"):
        run("append", tmp_path / "archive", tmp_path / "empty")


def test_frames_are_exported_with_an_index(tmp_path: Path) -> None:
    archive, out = tmp_path / "archive", tmp_path / "out"
    Archive(archive).append(encoded(number, "png" if number % 2 else "jpeg") for number in range(1, 7))

    result = json.loads(run("export", archive, out, "--codec", "png", "--json", "--by", "an auditor"))

    index = [json.loads(line) for line in (out / INDEX).read_text(encoding="utf-8").splitlines()]
    assert (result["files"], result["failures"]) == (3, [])
    assert {path.name for path in out.iterdir()} == {INDEX, *(entry["file"] for entry in index)}
    for entry in index:
        assert np.array_equal(read_image(out / entry["file"]), picture(entry["sequence"]))
    entries = list(AuditLog(str(archive)).entries())
    assert [(entry.action, entry.by) for entry in entries] == [
        ("export begun", "an auditor"),
        ("export ended", "an auditor"),
    ]
    assert entries[0].details["selection"] == {"codec": "png"}


def test_stored_files_are_exported_as_they_are(tmp_path: Path) -> None:
    Archive(tmp_path / "archive").append([encoded(1, "jpeg"), encoded(2)])

    run("export", tmp_path / "archive", tmp_path / "out", "--payload", "--limit", 1)

    files = [path for path in (tmp_path / "out").iterdir() if path.name != INDEX]
    assert [(path.suffix, path.read_bytes()) for path in files] == [(".jpg", encoded(1, "jpeg").payload)]


def test_an_export_by_verdict_has_those_frames_only(tmp_path: Path) -> None:
    from pipelines.archive import Verdicts

    records = [encoded(number) for number in range(1, 4)]
    Archive(tmp_path / "archive").append(records)
    Verdicts(str(tmp_path / "archive")).append([judged(record, defective=record is records[1]) for record in records])

    result = json.loads(run("export", tmp_path / "archive", tmp_path / "out", "--verdict", "defective", "--json"))

    assert result["files"] == 1
    assert '"frame_id": "frame-00002"' in (tmp_path / "out" / INDEX).read_text()


def test_a_damaged_frame_is_left_out_of_an_export_and_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    archive.append([encoded(1), replace(encoded(2), payload=b"no picture")])

    result = json.loads(run("export", tmp_path / "archive", tmp_path / "out", "--json", status=1))

    assert result["files"] == 1
    assert [failure["frame_id"] for failure in result["failures"]] == ["frame-00002"]


def test_an_export_replaces_nothing_unasked(tmp_path: Path) -> None:
    Archive(tmp_path / "archive").append([encoded(1)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(OutputError, match="exists already"):
        run("export", tmp_path / "archive", tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"


@settings(max_examples=100, deadline=None)
@given(path=st.text(max_size=300), frame_id=st.text(max_size=20))
def test_a_file_name_is_harmless_whatever_the_archive_says(path: str, frame_id: str) -> None:
    record = replace(encoded(1), frame_id=frame_id, meta={"path": path})

    name = file_name(record, Form.payload)

    assert re.fullmatch(r"2026-03-04T130000\.000000_([\w.-]+_)?[0-9a-f]{16}\.png", name)
    assert len(name.encode()) <= 255
    assert Path(name).name == name


@pytest.mark.parametrize("path", ["../../outside", "/etc/outside", "..\\outside", "a/\x00b", ".hidden", "CON", ""])
def test_hostile_paths_stay_in_the_folder(tmp_path: Path, path: str) -> None:
    Archive(tmp_path / "archive").append([replace(encoded(1), meta={"path": path}, frame_id=f"../{path}")])

    run("export", tmp_path / "archive", tmp_path / "out")

    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["archive", "out"]
    assert len([entry for entry in (tmp_path / "out").iterdir() if entry.is_file()]) == 2


def test_an_encrypted_archive_is_exported_with_its_keys_only(tmp_path: Path) -> None:
    from pipelines.governance.encryption import add_new_key, read_keys

    key_file, archive = tmp_path / "keys.toml", tmp_path / "archive"
    add_new_key(key_file, "2027")
    Archive(archive, keys=read_keys(key_file)).append([encoded(1)])

    assert json.loads(run("verify", archive, "--keys", key_file, "--json"))["sound"]
    assert "encrypted with key '2027'" in run("verify", archive, status=1)
    run("export", archive, tmp_path / "out", "--keys", key_file)
    with pytest.raises(ArchiveError, match="encrypted with key '2027'"):
        run("get", archive, "frame-00001", tmp_path / "part.png")
