"""Checks a run's folder against itself, against the frames that it was made from, and against what they say anew.

It shows that the folder is what the run wrote, not that the run was honest: docs/report.md says what is not proven.
"""

import hashlib
import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.gather import gather
from evaluation.kpis import ORIGINAL
from evaluation.manifest import check_files
from evaluation.report.page import render_report
from evaluation.report.texts import LANGUAGES, load_texts
from evaluation.run_folder import (
    ARCHIVE,
    ASSUMPTIONS,
    CROPS,
    DERIVED,
    JAPANESE,
    MANIFEST,
    ORIGINALS,
    REPORT,
    RESULTS,
    SUMMARY,
    Hashes,
    Measured,
    hash_folder,
    read_hashes,
    read_run_folder,
    versions,
)
from evaluation.summary import summarise
from evaluation.sweep.coding import Coded
from evaluation.sweep.frames import read_frames
from evaluation.sweep.rows import result_row
from inspect_compress.codecs import load_codec
from inspect_compress.errors import EvidenceError, InspectCompressError
from inspect_compress.files import read_file, read_text
from inspect_compress.images import Image, image_from_bytes
from pipelines.archive import Archive, ArchivedFrame
from pipelines.datasets import Item

DECODED = 32
"""Encoded frames that are decoded and measured anew, drawn at random, other ones each time."""
CLOSE, CLOSE_SHARE = 1e-9, 1e-6
"""How far a figure may be from the one recorded, absolutely or as a share: other machines round otherwise."""
KEYS = ["codec", "quality", "frame_id"]
"""What a row of the results is known by."""
AROUND = 40
"""Characters of a page that are shown around what differs."""

_CHART = re.compile(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]*")
_LANGUAGE = re.compile(r'<html lang="([a-z]+)"')


@dataclass(frozen=True)
class Verified:
    """What was found. `problems`: one line each, naming the file or the number; none for a sound folder.

    `files` of the folder were hashed; `images` of the dataset are the manifest's and `images_missing` are not there;
    `decoded` frames of the archive were decoded and measured anew. `notes`: what could not be checked, and why.
    """

    problems: tuple[str, ...]
    fingerprint: str
    files: int
    images: int
    images_missing: int
    decoded: int
    notes: tuple[str, ...]


def verify(folder: Path, drawn: random.Random) -> Verified:
    """Check a run's folder. `drawn` chooses which frames are decoded.

    Raises EvidenceError where the folder is no run's or a file in it cannot be read at all.
    """
    recorded, found = read_hashes(folder), hash_folder(folder)
    problems = list(_changed_files(recorded, found))
    try:
        measured = read_run_folder(folder)
    except InspectCompressError as error:
        if not problems:
            raise
        raise EvidenceError("; ".join([*problems, str(error)])) from error
    images = check_files(measured.manifest, Path(measured.run.path))
    problems += [f"{name}: the dataset's image is not the one that was tested" for name in images.changed]
    problems += _disagreeing_tables(measured)
    if problems:  # figures of tables that do not fit together would only repeat it
        return Verified(tuple(problems), found.fingerprint, len(found.all()), images.same, len(images.missing), 0, ())
    decoded, wrong = _remeasured(measured, drawn)
    notes = list(_notes(measured, len(images.missing)))
    problems += [*wrong, *_derived(measured, found, recorded.made_with, notes)]
    missing = len(images.missing)
    return Verified(tuple(problems), found.fingerprint, len(found.all()), images.same, missing, decoded, tuple(notes))


def _notes(measured: Measured, missing: int) -> Iterator[str]:
    if missing:
        yield (
            f"{missing} of the dataset's files are not at {measured.run.path}, so that they were not compared; "
            "bring the dataset back there to check them too"
        )


def _changed_files(recorded: Hashes, found: Hashes) -> Iterator[str]:
    before, now = recorded.all(), found.all()
    for name, sha256 in before.items():
        if name not in now:
            yield f"{name}: is missing"
        elif now[name] != sha256 and name in ASSUMPTIONS:
            yield f"{name}: was edited after the report was made; run `inspect-compress report` to make it again"
        elif now[name] != sha256:
            yield f"{name}: was changed after the {'report was made' if name in DERIVED else 'run'}"
    for name in now:
        if name not in before:
            yield f"{name}: is not part of the run; remove it"


# Tables against each other


def _disagreeing_tables(measured: Measured) -> Iterator[str]:
    yield from _wrong_labels(measured)
    yield from _wrong_flags(measured)
    yield from _wrong_sizes(measured)


def _wrong_labels(measured: Measured) -> Iterator[str]:
    """Frames and their labels are those of the manifest's test split, in both tables."""
    entries = [entry for entry in measured.manifest.entries if entry.split == "test"]
    listed = {entry.path: (entry.defect, entry.group) for entry in entries}
    tables = [(ORIGINALS, "", measured.originals)]
    tables += [
        (RESULTS, f" of {codec} at quality {quality}", rows)
        for (codec, quality), rows in measured.results.groupby(["codec", "quality"], sort=False)
    ]
    for name, of, rows in tables:
        found = dict(zip(rows["frame_id"], zip(rows["defect"], rows["group"], strict=True), strict=True))
        wrong = [frame for frame in {**listed, **found} if listed.get(frame) != found.get(frame)]
        if wrong or len(rows) != len(listed):
            frame = f", frame {wrong[0]}" if wrong else ""
            yield f"{name}: the rows{of} are not the test frames of {MANIFEST}, or other labels{frame}"
            return


def _wrong_flags(measured: Measured) -> Iterator[str]:
    """Every flag is its score held against its threshold."""
    for scored in measured.run.scored:
        own = measured.thresholds[
            (measured.thresholds["detector"] == scored.detector)
            & (measured.thresholds["scenario"] == scored.scenario)
        ]
        by_setting = {
            (codec, None if pd.isna(quality) else int(quality)): threshold
            for codec, quality, threshold in own[["codec", "quality", "threshold"]].itertuples(index=False)
        }
        tables = [(RESULTS, measured.results)]
        if scored.scenario != "adapted":
            tables.append((ORIGINALS, measured.originals))
        for name, rows in tables:
            settings = zip(rows["codec"], rows["quality"], strict=True) if name == RESULTS else [None] * len(rows)
            common = by_setting.get((ORIGINAL, None), math.nan)
            thresholds = np.array([common if s is None else by_setting.get(s, common) for s in settings])
            wrong = (rows[f"score_{scored.column}"] >= thresholds) != rows[f"flag_{scored.column}"].astype(bool)
            if wrong.any():
                row = rows[wrong].iloc[0]
                score = f"{row[f'score_{scored.column}']:.6g}"
                yield f"{name}: {_row_name(row)}: score_{scored.column} {score} does not give its flag"


def _wrong_sizes(measured: Measured) -> Iterator[str]:
    """Bits per pixel are the bytes over the pixels, and the originals' bytes are the same in both tables."""
    results = measured.results
    bpp = 8 * results["bytes"] / (results["width"] * results["height"])
    sizes = results["frame_id"].map(measured.originals.set_index("frame_id")["bytes"])
    for name, wrong in (
        ("bpp", (bpp - results["bpp"]).abs() > CLOSE),
        ("original_bytes", sizes != results["original_bytes"]),
    ):
        if wrong.any():
            yield f"{RESULTS}: {_row_name(results[wrong].iloc[0])}: {name} is not what its bytes give"


def _row_name(row: Any) -> str:
    setting = f", {row['codec']} at quality {row['quality']}" if "codec" in row else ""
    return f"frame {row['frame_id']}{setting}"


# Tables against the archive and the dataset


def _remeasured(measured: Measured, drawn: random.Random) -> tuple[int, list[str]]:
    """How many frames were decoded anew, and what in the results or crops is not what they give."""
    rows = {tuple(row[key] for key in KEYS): row for row in measured.results.to_dict("records")}
    chosen = set(drawn.sample(sorted(rows), min(DECODED, len(rows))))
    cropped = measured.crops[measured.crops["codec"] != ORIGINAL]
    problems: list[str] = []
    decoded = 0
    try:
        for record in Archive(measured.folder / ARCHIVE, create=False).frames():
            key = (record.codec, record.quality, record.frame_id)
            row = rows.pop(key, None)
            if row is None:
                problems.append(f"{ARCHIVE}: holds {_key_name(key)}, which {RESULTS} does not have")
                continue
            problems += _wrong_record(row, record)
            if key in chosen:
                decoded += 1
                problems += _wrong_pixels(measured, row, record, cropped)
    except InspectCompressError as error:
        problems.append(str(error))
    problems += [f"{ARCHIVE}: lacks {_key_name(key)}, which {RESULTS} has" for key in rows][:1]
    return decoded, problems


def _key_name(key: tuple[str, int, str]) -> str:
    return f"frame {key[2]}, {key[0]} at quality {key[1]}"


def _wrong_record(row: dict[Any, Any], record: ArchivedFrame) -> Iterator[str]:
    stored = {
        "bytes": len(record.payload),
        "model": record.model,
        "psnr": math.nan if record.psnr is None else record.psnr,
    }
    for name, value in stored.items():
        if not _same(row[name], value):
            yield f"{RESULTS}: {_row_name(row)}: {name} is {row[name]}, in the archive it is {value}"


def _wrong_pixels(
    measured: Measured, row: dict[Any, Any], record: ArchivedFrame, cropped: pd.DataFrame
) -> Iterator[str]:
    """Decode a frame; compare what it shows with the crops, and with the original where that is there."""
    image = load_codec(record.codec).decode(record.payload)
    own = cropped[
        (cropped["frame_id"] == record.frame_id)
        & (cropped["codec"] == record.codec)
        & (cropped["quality"] == record.quality)
    ]
    for crop in own.to_dict("records"):
        if not np.array_equal(image_from_bytes(crop["png"], CROPS), _cut(image, crop)):
            yield f"{CROPS}: {_row_name(crop)}: is not what the archive's file shows"
    item = _item(measured, record.frame_id)
    if not item.image.is_file():
        return
    with ThreadPoolExecutor(1) as pool:
        frame = read_frames(Path(measured.run.path), [item], pool)[0]
    if hashlib.sha256(frame.image.tobytes()).hexdigest() != record.pixels_sha256:
        yield f"{ARCHIVE}: {_row_name(row)}: was not made from {item.image}"
        return
    for name, value in result_row(frame, Coded(record, image)).items():
        if name != "frame_id" and not _same(row[name], value):
            yield f"{RESULTS}: {_row_name(row)}: {name} is {row[name]}, measured anew it is {value}"


def _item(measured: Measured, frame_id: str) -> Item:
    entry = next(entry for entry in measured.manifest.entries if entry.path == frame_id)
    root = Path(measured.run.path)
    return Item(root / entry.path, entry.defect, root / entry.mask if entry.mask else None, entry.split, entry.group)


def _cut(image: Image, crop: dict[Any, Any]) -> Image:
    part: Image = image[crop["top"] : crop["bottom"], crop["left"] : crop["right"]]
    return part


# What is derived


def _derived(measured: Measured, hashes: Hashes, made_with: Mapping[str, str], notes: list[str]) -> Iterator[str]:
    """The summary and the pages are what the tables give; `made_with`: the versions that made them."""
    evidence = gather(measured, hashes)
    recorded = _read_summary(measured.folder / SUMMARY)
    texts = load_texts(_known(recorded.get("language")))
    for words in _differences("", recorded, summarise(evidence, measured, texts)):
        yield f"{SUMMARY}: {words}"
    for name in (REPORT, JAPANESE):
        path = measured.folder / name
        if not path.exists():
            continue
        try:
            html = read_file(path).decode(errors="replace")
        except OSError as error:
            yield f"{name}: cannot be read: {error.strerror or error}"
            continue
        language = _LANGUAGE.search(html)
        made = render_report(evidence, load_texts(_known(language[1] if language else None)))
        before, now = _CHART.sub("chart", html), _CHART.sub("chart", made)
        if before != now:
            yield f"{name}: is not the page that the tables give, at {_first_difference(before, now)!r}"
        elif html != made and made_with == versions():
            yield f"{name}: a chart is not what the tables give"
        elif html != made:
            notes.append(f"{name} was made with {_named(made_with)}, so that its charts could not be compared")


def _known(language: str | None) -> str:
    """A language of the report's; whatever else is written there is a difference from any of them."""
    return language if language in LANGUAGES else LANGUAGES[0]


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _first_difference(one: str, other: str) -> str:
    """What stands in `one` around the place from which on the two differ."""
    place = next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(other))
    return " ".join(one[max(0, place - AROUND) : place + AROUND].split())


def _named(versions: Mapping[str, str]) -> str:
    return " and ".join(f"{package} {number}" for package, number in versions.items())


def _differences(path: str, recorded: Any, expected: Any) -> Iterator[str]:
    """Where two JSON values differ, with both values."""
    if isinstance(recorded, dict) and isinstance(expected, dict):
        for key in {**expected, **recorded}:
            inner = f"{path}.{key}" if path else key
            if key not in recorded or key not in expected:
                yield f"{inner} is {'missing' if key in expected else 'not one of its keys'}"
            else:
                yield from _differences(inner, recorded[key], expected[key])
    elif isinstance(recorded, list) and isinstance(expected, list) and len(recorded) == len(expected):
        for place, pair in enumerate(zip(recorded, expected, strict=True)):
            yield from _differences(f"{path}[{place}]", *pair)
    elif not _same(recorded, expected):
        yield f"{path} is {json.dumps(recorded)}, the tables give {json.dumps(expected)}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, str | bool | None) or isinstance(other, str | bool | None | list | dict):
        return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
    if isinstance(one, list | dict):
        return False
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=CLOSE_SHARE, abs_tol=CLOSE)


def first_and_more(problems: Iterable[str]) -> str:
    """The first problem and how many more there are, for one line."""
    first, *others = problems
    return first + (f" (and {len(others)} more)" if others else "")
