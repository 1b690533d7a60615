"""Rows that are replaced whole or not at all, beside other writers; sealed payloads; verdicts."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from inspect_compress.errors import ArchiveError, EncryptionError
from pipelines.archive import ADDED, SCHEMA, Archive, ArchivedFrame, JudgedFrame, Verdicts, check_row
from tests.pipelines.archive_records import NOON, OneKey, encoded


def rows(archive: Archive) -> list[dict]:
    return sorted(
        (row for batch in archive.scan() for row in batch.to_pylist()),
        key=lambda row: (row["frame_id"], row["codec"]),
    )


def marked(record: ArchivedFrame) -> ArchivedFrame:
    return replace(record, meta=record.meta | {"marked": "yes"})


def test_sealed_payloads_are_read_with_the_keys_only(tmp_path: Path) -> None:
    record = encoded(1)
    Archive(tmp_path, keys=OneKey("2026")).append([record])

    assert Archive(tmp_path, keys=OneKey("2026")).get(record.frame_id) == [replace(record, key_id="2026")]
    with pytest.raises(ArchiveError, match=r"frame-00001.*encrypted with key '2026'"):
        Archive(tmp_path).get(record.frame_id)
    with pytest.raises(EncryptionError, match="no key '2026'"):
        Archive(tmp_path, keys=OneKey("2027")).get(record.frame_id)
    assert record.payload not in next(tmp_path.glob("date=*/**/*.parquet")).read_bytes()


def test_a_payload_that_was_moved_to_another_row_does_not_unseal(tmp_path: Path) -> None:
    keys = OneKey("2026")
    archive = Archive(tmp_path, keys=keys)
    archive.append([encoded(1), encoded(2)])
    first, second = rows(archive)
    moved = first | {name: second[name] for name in ("payload", "bytes", "payload_crc32c")}

    assert check_row(first, keys) == ""
    assert "does not fit" in check_row(moved, keys)


@pytest.mark.parametrize("line", ["line-1", "", "o'brien's 1/ä=%"])
def test_selected_rows_are_replaced_and_the_others_left_as_they_are(tmp_path: Path, line: str) -> None:
    archive = Archive(tmp_path)
    archive.append(encoded(number, line=line) for number in range(1, 31))  # of two days
    archive.append([encoded(3, "jpeg", line=line)])
    before = rows(archive)

    replaced = archive.rewrite(marked, where=(pc.field("sequence") <= 20) & (pc.field("codec") == "png"))

    after = rows(archive)
    assert replaced == 20
    assert [row["frame_id"] for row in after] == [row["frame_id"] for row in before]
    assert {(r["frame_id"], r["codec"]) for r in after if "marked" in r["meta"]} == {
        (f"frame-{number:05}", "png") for number in range(1, 21)
    }
    assert [row | {"meta": ""} for row in after] == [row | {"meta": ""} for row in before]


def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append(encoded(number) for number in range(3))

    assert archive.rewrite(marked, dry_run=True) == 3
    assert DeltaTable(tmp_path).version() == 1
    assert archive.rewrite(lambda record: None) == 0
    assert DeltaTable(tmp_path).version() == 1


def test_a_row_keeps_its_identity(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([encoded(1)])

    with pytest.raises(ValueError, match="identity"):
        archive.rewrite(lambda record: replace(record, quality=1))


def test_what_another_writer_removed_meanwhile_is_not_put_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append(encoded(number) for number in range(4))
    meddled = []

    def change(record: ArchivedFrame) -> ArchivedFrame:
        if not meddled:
            DeltaTable(tmp_path).delete("frame_id = 'frame-00001'")
            Archive(tmp_path).append([encoded(9)])
            meddled.append(record)
        return marked(record)

    assert archive.rewrite(change) == 3
    assert {row["frame_id"]: "marked" in row["meta"] for row in rows(archive)} == {
        "frame-00000": True,
        "frame-00002": True,
        "frame-00003": True,
        "frame-00009": False,
    }


def test_a_writer_beside_a_rewriting_stores_nothing_twice(tmp_path: Path) -> None:
    writer = Archive(tmp_path)
    writer.append(encoded(number) for number in range(4))

    Archive(tmp_path).rewrite(marked)

    assert writer.append(encoded(number) for number in range(6)) == 2
    assert len(rows(writer)) == 6


def test_the_rows_of_an_older_table_are_replaced(tmp_path: Path) -> None:
    Archive(tmp_path / "new").append([encoded(1)])
    older = DeltaTable(tmp_path / "new").to_pyarrow_table().select([n for n in SCHEMA.names if n not in ADDED])
    write_deltalake(tmp_path / "old", older, partition_by=["date", "line"])

    keys = OneKey("2026")
    assert Archive(tmp_path / "old", keys=keys).rewrite(lambda record: record) == 1

    record = Archive(tmp_path / "old", keys=keys).get("frame-00001")[0]
    assert record == replace(encoded(1), key_id="2026", decoded_sha256="", sequence=0)


def judged(number: int, hours: int = 0, **changes: object) -> JudgedFrame:
    record = encoded(number)
    verdict = JudgedFrame(
        *record.key,
        line=record.line,
        captured_at=record.captured_at,
        detector="anomaly",
        score=0.25,
        threshold=0.5,
        defective=False,
        judged_at=NOON + timedelta(days=1, hours=hours),
    )
    return replace(verdict, **changes)  # type: ignore[arg-type]


def test_the_latest_verdict_of_each_detector_counts(tmp_path: Path) -> None:
    Archive(tmp_path).append([encoded(1), encoded(2)])
    verdicts = Verdicts(str(tmp_path))
    late = judged(1, hours=2, score=0.75, defective=True)

    assert list(verdicts.latest()) == []
    verdicts.append([judged(1), late, judged(2, line="")])
    verdicts.append([judged(1, hours=1), late, judged(1, detector="other")])

    found = {(verdict.key, verdict.detector): verdict for verdict in verdicts.latest()}
    assert found == {
        (late.key, "anomaly"): late,
        (late.key, "other"): judged(1, detector="other"),
        (judged(2).key, "anomaly"): judged(2, line=""),
    }
    assert [verdict.key for verdict in verdicts.latest(pc.field("frame_id") == "frame-00002")] == [judged(2).key]


def test_verdicts_beside_the_frames_are_no_part_of_their_table(tmp_path: Path) -> None:
    Verdicts(str(tmp_path)).append([judged(1)])
    archive = Archive(tmp_path)
    archive.append([encoded(1)])

    assert [record.frame_id for record in archive.frames()] == ["frame-00001"]
    DeltaTable(tmp_path).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert list(Verdicts(str(tmp_path)).latest()) == [judged(1)]
