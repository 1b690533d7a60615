"""The archive: atomic, never twice, checked on the way out, and open to other tools."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from inspect_compress.errors import ArchiveError
from pipelines.archive import ADDED, COMMIT_FRAMES, IDENTITY, SCHEMA, Archive, ArchivedFrame, FrameKey


def record(number: int, **changes: object) -> ArchivedFrame:
    plain = ArchivedFrame(
        frame_id=f"frame-{number:05}",
        captured_at=datetime(2025, 3, 4, 23, 59, 59, 123456, tzinfo=UTC),
        codec="png",
        model="",
        quality=60,
        width=20,
        height=10,
        channels=1,
        payload=number.to_bytes(4, "big") * 50,
        pixels_sha256="ab" * 32,
        psnr=41.5,
        line="line 1/ä=%",
        station="s",
        product="p",
        camera="c",
        meta={"path": "部品/a.png"},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def parquet_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("date=*/**/*.parquet"))


def test_what_is_stored_is_what_is_read(tmp_path: Path) -> None:
    records = [record(number) for number in range(3)]

    assert Archive(tmp_path / "archive").append(records) == 3

    read = Archive(tmp_path / "archive")
    assert sorted(read.frames(), key=lambda r: r.frame_id) == records
    assert len(read) == 3
    assert read.total_bytes() == 600
    assert read.ids() == {r.key for r in records}


def test_a_record_is_stored_once_however_often_it_is_offered(tmp_path: Path) -> None:
    archive = Archive(tmp_path)

    assert archive.append([record(1), record(1)]) == 1
    assert archive.append([record(1), record(2)]) == 1
    assert Archive(tmp_path).append([record(1), record(2)]) == 0
    assert len(archive) == 2


def test_one_frame_may_be_stored_by_several_codecs_and_qualities(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    records = [record(1), record(1, quality=70), record(1, codec="jpeg"), record(1, model="0123456789abcdef")]

    assert archive.append(records) == 4
    assert {r.key for r in archive.get("frame-00001")} == {r.key for r in records}


def test_a_capture_with_another_time_is_still_the_same_frame(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1)])

    assert archive.append([record(1, captured_at=datetime(2026, 1, 1, tzinfo=UTC))]) == 0


def test_many_records_are_committed_in_batches(tmp_path: Path) -> None:
    archive = Archive(tmp_path)

    assert archive.append(record(number) for number in range(COMMIT_FRAMES + 1)) == COMMIT_FRAMES + 1
    assert DeltaTable(tmp_path).version() == 2


def test_an_infinite_psnr_is_null_and_an_empty_line_stays_empty(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1, psnr=float("inf"), line="")])

    read = archive.get("frame-00001")[0]

    assert read.psnr is None
    assert read.line == ""


FELL_BACK = {
    "codec": "png",
    "quality": 100,
    "rule": "default",
    "fallback": "qarv at quality 60: out of step",
    "asked_codec": "qarv",
    "asked_model": "",
    "asked_quality": 60,
}


def test_what_was_asked_for_is_found_where_the_guard_fell_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1, **FELL_BACK), record(2)])
    asked = FrameKey("frame-00001", "qarv", "", 60)

    for reader in (archive, Archive(tmp_path)):
        assert reader.get("frame-00001") == [record(1, **FELL_BACK)]
        assert reader.get("frame-00001")[0].asked == asked
        assert reader.answers() == {asked: FrameKey("frame-00001", "png", "", 100)}
        assert asked not in reader.ids()
    DeltaTable(tmp_path).delete("frame_id = 'frame-00001'")
    assert archive.answers() == {}


def old_archive(folder: Path) -> None:
    """A table as it was before the guard and the policy, with one row."""
    Archive(folder / "new").append([record(1)])
    rows = DeltaTable(folder / "new").to_pyarrow_table().select([n for n in SCHEMA.names if n not in ADDED])
    write_deltalake(folder / "old", rows, partition_by=["date", "line"])


def test_an_older_archive_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    old_archive(tmp_path)

    archive = Archive(tmp_path / "old", create=False)

    assert list(archive.frames()) == [record(1)]
    assert archive.ids() == {record(1).key}
    assert archive.answers() == {}
    assert list(archive.frames(where=pc.field("rule") == "audit")) == []
    assert DeltaTable(tmp_path / "old").version() == 0


def test_an_older_archive_is_added_to(tmp_path: Path) -> None:
    old_archive(tmp_path)
    archive, beside = Archive(tmp_path / "old"), Archive(tmp_path / "old")

    assert archive.append([record(1), record(2, **FELL_BACK)]) == 1
    assert beside.append([record(2, **FELL_BACK), record(3, rule="audit")]) == 1

    records = [record(1), record(2, **FELL_BACK), record(3, rule="audit")]
    assert sorted(Archive(tmp_path / "old").frames(), key=lambda r: r.frame_id) == records
    frame = DeltaTable(tmp_path / "old").to_pandas(columns=["frame_id", "rule", "fallback"])
    assert frame.sort_values("frame_id")["rule"].tolist()[1:] == ["default", "audit"]
    assert frame["fallback"].notna().sum() == 1


def test_a_scan_selects_columns_and_rows(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append(record(number, quality=number) for number in range(1, 100))

    batches = list(archive.scan(columns=["quality", "line"], where=pc.field("quality") > 90))

    assert sorted(q for batch in batches for q in batch.column("quality").to_pylist()) == list(range(91, 100))
    assert {line for batch in batches for line in batch.column("line").to_pylist()} == {"line 1/ä=%"}


def test_rows_are_read_a_few_dozen_at_a_time(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append(record(number) for number in range(150))

    assert max(batch.num_rows for batch in archive.scan()) <= 64


def test_another_table_reader_sees_the_documented_schema(tmp_path: Path) -> None:
    Archive(tmp_path).append([record(1)])

    table = DeltaTable(tmp_path).to_pyarrow_table()
    frame: pd.DataFrame = DeltaTable(tmp_path).to_pandas()

    assert set(table.schema.names) == set(SCHEMA.names)
    assert DeltaTable(tmp_path).metadata().partition_columns == ["date", "line"]
    assert str(frame["captured_at"].iloc[0]) == "2025-03-04 23:59:59.123456+00:00"
    assert frame["bytes"].iloc[0] == len(frame["payload"].iloc[0]) == 200


def test_compaction_and_deletion_by_others_are_noticed(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    for number in range(3):
        archive.append([record(number)])

    DeltaTable(tmp_path).optimize.compact()
    assert archive.append([record(number) for number in range(3)]) == 0

    DeltaTable(tmp_path).delete("frame_id = 'frame-00001'")
    assert len(archive) == 2
    assert archive.append([record(1)]) == 1


WRITE = """
import sys
from dataclasses import replace
from pipelines.archive import Archive
template = Archive(sys.argv[1], create=False).get("frame-00000")[0]
archive = Archive(sys.argv[2])
numbers = range(*map(int, sys.argv[3:]))
print(sum(archive.append([replace(template, frame_id=f"frame-{number:05}")]) for number in numbers))
"""


def test_two_processes_that_write_the_same_frames_at_once_store_each_once(tmp_path: Path) -> None:
    Archive(tmp_path / "template").append([record(0)])
    orders = [["0", "12", "1"], ["15", "-1", "-1"]]

    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, tmp_path / "template", tmp_path / "archive", *order],
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    new = [int(writer.communicate(timeout=300)[0]) for writer in writers]

    archive = Archive(tmp_path / "archive")
    stored = [r.key for r in archive.frames()]
    assert sum(new) == len(stored) == 16
    assert set(stored) == archive.ids()


def test_a_changed_payload_byte_is_found_and_the_frame_is_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1), record(2)])
    file = parquet_files(tmp_path)[0]
    data = bytearray(file.read_bytes())
    data[data.index(record(2).payload) + 7] ^= 1
    file.write_bytes(data)

    with pytest.raises(ArchiveError, match=r"frame-00002.*changed"):
        list(archive.frames())

    damaged: list[FrameKey] = []
    sound = list(archive.frames(on_damaged=lambda key, error: damaged.append(key)))
    assert [r.frame_id for r in sound] == ["frame-00001"]
    assert damaged == [record(2).key]


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_cut_file_is_named(tmp_path: Path, size: int) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1)])
    file = parquet_files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:size])

    with pytest.raises(ArchiveError, match=r"part-.*\.parquet") as caught:
        list(archive.frames())
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append([record(1)])
    parquet_files(tmp_path)[0].unlink()

    with pytest.raises(ArchiveError, match=r"part-.*\.parquet"):
        list(archive.frames())


def test_a_damaged_log_is_an_archive_error(tmp_path: Path) -> None:
    Archive(tmp_path).append([record(1)])
    (tmp_path / "_delta_log" / "00000000000000000001.json").write_text("{garbage")

    with pytest.raises(ArchiveError) as caught:
        Archive(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ArchiveError, match="other files"):
        Archive(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(ArchiveError, match="is a file"):
        Archive(tmp_path / "file")


def test_another_delta_table_is_refused(tmp_path: Path) -> None:
    DeltaTable.create(tmp_path, schema=SCHEMA.remove(0))

    with pytest.raises(ArchiveError, match="no column frame_id"):
        Archive(tmp_path)


def test_an_archive_that_is_only_read_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no archive here"):
        Archive(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["50% [a]", "a%20b", "a^b"])
def test_a_path_that_the_table_library_fails_on_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="cannot use a path"):
        Archive(tmp_path / name)


def test_a_path_in_any_language_with_spaces_works(tmp_path: Path) -> None:
    folder = tmp_path / "検査 #1 ä"

    assert Archive(folder).append([record(1)]) == 1
    assert len(Archive(folder)) == 1
    assert (folder / "_delta_log").is_dir()


def test_an_unknown_frame_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no-such-frame"):
        Archive(tmp_path).get("no-such-frame")


def test_identity_and_partitions_are_columns() -> None:
    assert set(IDENTITY) <= set(SCHEMA.names)


FILL = """
import resource, signal, sys
from dataclasses import replace
from test_archive import record
from inspect_compress.errors import ArchiveError
from pipelines.archive import Archive
archive = Archive(sys.argv[1])
archive.append([record(1)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    archive.append([record(2, payload=bytes(range(256)) * 4096 * 4)])
except ArchiveError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files by a POSIX call")
def test_a_commit_that_cannot_be_written_leaves_the_archive_as_it_was(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    command = [sys.executable, "-c", FILL, str(tmp_path / "archive")]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    assert done.stdout.startswith(str(tmp_path / "archive")), done.stderr
    assert done.stdout.count("\n") == 1
    assert {r.frame_id for r in Archive(tmp_path / "archive").frames()} == {"frame-00001"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace, to see what the system is asked for")
def test_what_is_stored_is_on_the_disk_before_it_counts_as_stored(tmp_path: Path) -> None:
    folder = tmp_path / "検査 #1 ä"
    Archive(tmp_path / "template").append([record(0)])
    command = ["strace", "-f", "-y", "-e", "trace=fsync", "-o", tmp_path / "calls"]
    command += [sys.executable, "-c", WRITE, tmp_path / "template", folder, "0", "1"]

    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)

    calls = (tmp_path / "calls").read_bytes().decode("unicode_escape").encode("latin-1").decode()
    synced = re.findall(r"fsync\(\d+<(.*)>\)", calls)
    (file,) = parquet_files(folder)
    log = folder / "_delta_log"
    assert synced.index(str(file)) < synced.index(str(log / f"{1:020}.json")) < synced.index(str(log))
    assert {str(file.parent), str(file.parent.parent), str(folder)} <= set(synced)
