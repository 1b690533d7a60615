"""A run's folder: the documentation names what is in it, and its hashes name what changed."""

import json
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from evaluation.run_folder import hash_folder, read_hashes, read_run_folder, write_hashes
from inspect_compress.errors import EvidenceError

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"


@pytest.fixture
def summary(done: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((done / "summary.json").read_text(encoding="utf-8"))
    return content


def test_every_key_of_a_summary_is_documented_and_every_documented_key_is_there(summary: dict[str, Any]) -> None:
    keys = set(keys_of(summary))
    documented = documented_keys()

    assert {key for key in keys if not any(fnmatchcase(key, pattern) for pattern in documented)} == set()
    absent = {pattern for pattern in documented if not any(fnmatchcase(key, pattern) for key in keys)}
    assert {pattern for pattern in absent if not is_empty(summary, pattern)} == set()


def test_every_file_of_a_run_is_documented(done: Path) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    for path in done.iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text


def test_what_was_written_is_read_again(done: Path) -> None:
    measured = read_run_folder(done)

    assert [scored.column for scored in measured.run.scored][:2] == ["plant-spots", "plant-trained"]
    assert measured.primary.column == "plant-spots"
    assert set(measured.originals["frame_id"]) == set(measured.results["frame_id"])
    assert measured.config.seed == 3
    assert measured.shifts is not None


def test_the_fingerprint_depends_on_what_was_measured_alone(done: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(done, tmp_path / "run"))
    (run / "roi.toml").write_text("currency = 1")
    (run / "report.html").write_text("")
    assert hash_folder(run).fingerprint == hash_folder(done).fingerprint

    (run / "manifest.csv").write_text("")
    assert hash_folder(run).fingerprint != hash_folder(done).fingerprint


def test_hashes_that_were_changed_by_hand_are_refused(done: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(done, tmp_path / "run"))
    assert read_hashes(run) == write_hashes(run)
    text = (run / "hashes.json").read_text()
    (run / "hashes.json").write_text(text.replace("results.parquet", "other.parquet"))

    with pytest.raises(EvidenceError, match="the fingerprint is not that of the files listed"):
        read_hashes(run)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("results.parquet", "is no Parquet table any more"),
        ("crops.parquet", "is no Parquet table any more"),
        ("run.json", "restore it as it was written"),
        ("manifest.csv", "is no manifest"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(done: Path, tmp_path: Path, name: str, words: str) -> None:
    run = Path(shutil.copytree(done, tmp_path / "run"))
    (run / name).write_text("nonsense")

    with pytest.raises(Exception, match=rf"{re.escape(name)}.*{words}"):
        read_run_folder(run)


def documented_keys() -> list[str]:
    """The keys of the table in docs/report.md, as patterns."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("## `summary.json`")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [key.replace("[]", "[[]]") for cell in cells for key in re.findall("`([^`]+)`", cell)]


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """The paths of a JSON value's leaves, `[]` for each item of a list of objects; none for what is empty."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from keys_of(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from keys_of(item, f"{path}[]")
    elif value not in ({}, []):
        yield path


def is_empty(summary: dict[str, Any], pattern: str) -> bool:
    """Whether the list or object that a documented key belongs to has nothing in it in this summary."""
    value: Any = summary
    for part in pattern.replace("[[]]", "").split(".")[:-1]:
        value = value.get(part) if isinstance(value, dict) else None
    return value in ({}, [])
