"""The commands that look into an archive, as people and scripts call them."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from inspect_compress.cli import build_app
from inspect_compress.errors import ArchiveError, InspectCompressError, OutputError
from inspect_compress.images import read_image
from pipelines.archive import Archive, ArchivedFrame, JudgedFrame, Verdicts
from tests.pipelines.archive_records import NOON, encoded, picture


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """30 frames of two days, two lines, two codecs; the first six were judged."""
    folder = tmp_path_factory.mktemp("query") / "archive"
    records = [
        encoded(
            number,
            "png" if number % 2 else "jpeg",
            line="line-1" if number % 3 else "",
            station="press" if number < 20 else "saw",
            product="disc" if number != 7 else "ring",
        )
        for number in range(1, 31)
    ]
    Archive(folder).append(reversed(records))
    Verdicts(str(folder)).append([judged(record, defective=record.sequence in (2, 5)) for record in records[:6]])
    Verdicts(str(folder)).append([judged(records[4], defective=False, hours=1)])  # judged again: good after all
    return str(folder)


def judged(record: ArchivedFrame, *, defective: bool, hours: int = 0) -> JudgedFrame:
    return JudgedFrame(
        *record.key,
        line=record.line,
        captured_at=record.captured_at,
        detector="anomaly",
        score=0.75 if defective else 0.25,
        threshold=0.5,
        defective=defective,
        judged_at=NOON + timedelta(days=2, hours=hours),
    )


def run(*arguments: object, status: int = 0) -> str:
    result: Result = CliRunner().invoke(build_app(), ["archive", *map(str, arguments)])
    if isinstance(result.exception, InspectCompressError):
        raise result.exception
    assert result.exit_code == status, result.output
    return result.stdout


def numbers(*arguments: object) -> list[int]:
    return [json.loads(line)["sequence"] for line in run("query", *arguments, "--json").splitlines()]


def test_all_frames_are_listed_in_the_order_of_their_capture(uri: str) -> None:
    assert numbers(uri) == list(range(1, 31))
    assert numbers(uri, "--limit", 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--since", "2026-03-05"], range(12, 31)),
        (["--since", "2026-03-05", "--until", "2026-03-05T02:00"], [12, 13]),
        (["--until", "2026-03-05T09:00:00+09:00"], range(1, 12)),
        (["--line", "line-1", "--until", "2026-03-04T20:00Z"], [1, 2, 4, 5, 7]),
        (["--line", ""], range(3, 31, 3)),
        (["--station", "saw"], range(20, 31)),
        (["--product", "ring"], [7]),
        (["--camera", "none"], []),
        (["--codec", "jpeg", "--station", "saw"], range(20, 31, 2)),
        (["--verdict", "defective"], [2]),
        (["--verdict", "good"], [1, 3, 4, 5, 6]),
        (["--verdict", "good", "--line", ""], [3, 6]),
        (["--verdict", "good", "--detector", "other"], []),
    ],
)
def test_a_query_selects(uri: str, options: list[str], expected: range) -> None:
    assert numbers(uri, *options) == list(expected)


def test_a_listed_frame_has_all_columns_but_the_payload_and_its_latest_verdicts(uri: str) -> None:
    found: dict[str, Any] = json.loads(run("query", uri, "--json", "--since", "2026-03-04T17:00", "--limit", 1))

    assert found["frame_id"] == "frame-00005"
    assert found["captured_at"] == "2026-03-04T17:00:00+00:00"
    assert found["meta"] == {"path": "5.png"}
    assert found["psnr"] is None
    assert "payload" not in found
    assert [(v["detector"], v["defective"], v["judged_at"]) for v in found["verdicts"]] == [
        ("anomaly", False, "2026-03-06T13:00:00+00:00")
    ]


def test_a_query_does_not_open_the_files_of_other_days_and_lines(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([encoded(1), encoded(2, line="line-2"), encoded(30)])
    for file in [*tmp_path.glob("date=2026-03-04/line=line-2/*"), *tmp_path.glob("date=2026-03-05/*/*")]:
        file.write_bytes(b"")

    assert numbers(tmp_path, "--line", "line-1", "--until", "2026-03-05") == [1]


def test_a_query_for_people_shows_no_control_characters(tmp_path: Path) -> None:
    Archive(tmp_path).append([encoded(1, station="\x1b[2Jpress")])

    assert "\x1b" not in run("query", tmp_path)
    assert "\\x1b[2Jpress" in run("query", tmp_path)


def test_a_frame_is_taken_out_as_a_picture_and_as_it_is_stored(uri: str, tmp_path: Path) -> None:
    run("get", uri, "frame-00007", tmp_path / "part.png")
    run("get", uri, "frame-00008", tmp_path / "part.jpg", "--payload")

    assert np.array_equal(read_image(tmp_path / "part.png"), picture(7))
    assert (tmp_path / "part.jpg").read_bytes() == encoded(8, "jpeg").payload
    with pytest.raises(OutputError, match="exists already"):
        run("get", uri, "frame-00008", tmp_path / "part.png")
    with pytest.raises(ArchiveError, match="no frame 'frame-99999'"):
        run("get", uri, "frame-99999", tmp_path / "none.png")


def test_a_frame_that_is_stored_twice_has_to_be_chosen(tmp_path: Path) -> None:
    Archive(tmp_path / "archive").append([encoded(1), encoded(1, "jpeg"), encoded(1, "jpeg", quality=50)])

    with pytest.raises(ArchiveError, match="jpeg at quality 50"):
        run("get", tmp_path / "archive", "frame-00001", tmp_path / "part.png", "--codec", "jpeg")
    run("get", tmp_path / "archive", "frame-00001", tmp_path / "part.png", "--codec", "jpeg", "--quality", 50)
    assert (tmp_path / "part.png").is_file()


def test_the_sums_are_those_of_the_rows(uri: str) -> None:
    stats = json.loads(run("stats", uri, "--json"))

    assert (stats["frames"], stats["raw_bytes"]) == (30, 30 * 12 * 16)
    assert stats["bytes"] == Archive(uri).total_bytes()
    assert stats["by_line"][""]["frames"] == 10
    assert stats["by_codec"]["jpeg"]["frames"] == 15
    assert {month: amount["frames"] for month, amount in stats["by_month"].items()} == {"2026-03": 30}
    assert (stats["first"], stats["last"]) == ("2026-03-04T13:00:00+00:00", "2026-03-05T18:00:00+00:00")
    assert "line-1  20 frames" in run("stats", uri)


def test_an_empty_archive_has_no_frames_and_is_sound(tmp_path: Path) -> None:
    Archive(tmp_path)

    assert json.loads(run("stats", tmp_path, "--json"))["frames"] == 0
    assert run("query", tmp_path) == ""
    assert json.loads(run("verify", tmp_path, "--json")) == {
        "archive": str(tmp_path),
        "sound": True,
        "rows": 0,
        "unsound": [],
        "damaged_files": [],
    }


def test_a_sound_archive_is_verified(uri: str) -> None:
    assert json.loads(run("verify", uri, "--json"))["rows"] == 30
    assert "30 sound, 0 not" in run("verify", uri)


def test_damaged_rows_and_files_are_named_and_the_others_checked(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([encoded(1), encoded(2, pixels_sha256="ab" * 32, decoded_sha256="")])
    archive.append([encoded(12), encoded(13)])
    archive.append([encoded(1, line="line-2", quality=50)])
    cut = next(tmp_path.glob("date=2026-03-05/**/*.parquet"))
    cut.write_bytes(cut.read_bytes()[:-40])

    result = json.loads(run("verify", tmp_path, "--json", status=1))

    assert (result["sound"], result["rows"]) == (False, 3)
    assert [(row["frame_id"], row["reason"]) for row in result["unsound"]] == [
        ("frame-00002", "it decodes to other pixels than when it was stored")
    ]
    assert [file["file"] for file in result["damaged_files"]] == [cut.relative_to(tmp_path).as_posix()]
    text = run("verify", tmp_path, status=1)
    assert "frame-00002" in text
    assert cut.name in text


def test_what_a_damaged_file_leaves_is_read_and_the_file_is_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    for number in (1, 12, 40):  # three days
        archive.append([encoded(number)])
    cut = next((tmp_path / "archive").glob("date=2026-03-05/**/*.parquet"))
    cut.write_bytes(cut.read_bytes()[:-40])

    for command in (["query", archive.uri], ["stats", archive.uri], ["export", archive.uri, tmp_path / "out"]):
        result = CliRunner().invoke(build_app(), ["archive", *map(str, command)])
        assert result.exit_code == 1
        assert cut.name in result.stderr
        assert "\n" not in result.stderr.strip()
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    for number in (1, 40):
        run("get", archive.uri, f"frame-{number:05}", tmp_path / f"{number}.png")
    with pytest.raises(ArchiveError, match=cut.name):
        run("get", archive.uri, "frame-00012", tmp_path / "12.png")


def test_a_place_without_an_archive_is_an_error_and_stays_as_it_is(tmp_path: Path) -> None:
    for command in ("query", "verify", "stats"):
        with pytest.raises(ArchiveError, match="no archive here"):
            run(command, tmp_path / "none")
    assert not (tmp_path / "none").exists()
