"""Writers, rewriting, removal and compaction on one archive at once: nothing is lost, nothing is there twice."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.archive import Archive

SECONDS = 20

WORK = """
import json, sys, time
from dataclasses import replace
from inspect_compress.errors import ArchiveError
from pipelines.archive import Archive
from pipelines.archive.care import compact
from tests.pipelines.archive_records import encoded

uri, role, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
archive, plain, end, done = Archive(uri), encoded(1), time.monotonic() + seconds, []
columns = ["frame_id", "codec", "model", "quality", "date", "line", "bytes"]

def marked(record):
    return replace(record, meta={"marks": str(int(record.meta.get("marks", "0")) + 1)})

while time.monotonic() < end:
    if role.startswith("write"):
        names = [f"{role}-{len(done) + number:06}" for number in range(8)]
        archive.commit([replace(plain, frame_id=name) for name in names])
        done += names
    elif role == "rewrite":
        done.append(archive.rewrite(marked))
    elif role == "remove":
        rows = [row for batch in archive.scan(columns=columns) for row in batch.to_pylist()]
        rows = [row for row in rows if row["frame_id"].endswith("7")]
        archive.remove(rows)
        done += [row["frame_id"] for row in rows]
    else:
        try:
            done.append(compact(uri, keep_hours=24).files_after)
        except ArchiveError as error:
            assert "run again" in str(error), error
print(json.dumps(done))
"""


@pytest.mark.slow
def test_many_at_work_lose_and_double_nothing(tmp_path: Path) -> None:
    Archive(tmp_path)
    workers = {
        role: subprocess.Popen(
            [sys.executable, "-c", WORK, tmp_path, role, str(SECONDS)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for role in ("write-1", "write-2", "rewrite", "remove", "compact")
    }
    done = {role: json.loads(worker.communicate(timeout=300)[0]) for role, worker in workers.items()}

    stored = [record.frame_id for record in Archive(tmp_path).frames()]
    written = {*done["write-1"], *done["write-2"]}
    assert len(stored) == len(set(stored))
    assert set(stored) == written - set(done["remove"])
    assert all(done.values())
