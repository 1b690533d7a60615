"""An archive on an object store: all that a local one can do, by the same commands, against a real S3 server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest
from deltalake import DeltaTable

from inspect_compress.errors import ArchiveError
from inspect_compress.images import read_image, write_png
from pipelines.archive import Archive, Verdicts
from pipelines.governance.audit import AuditLog
from tests.pipelines.archive_records import encoded, picture
from tests.pipelines.s3_server import s3_server
from tests.pipelines.test_archive_commands import judged, run

pytest.importorskip("boto3")


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(autouse=True)
def use_the_server(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_an_archive_lives_on_an_object_store(tmp_path: Path) -> None:
    uri = "s3://plant/line-1/archive"
    for number in range(1, 4):
        write_png(tmp_path / "frames" / f"{number}.png", picture(number))

    run("append", uri, tmp_path / "frames", "--codec", "png", "--line", "o'brien's 1/ä=%")
    archive = Archive(uri)
    archive.append([encoded(number) for number in range(1, 5)])
    Verdicts(uri).append([judged(encoded(2), defective=True)])

    assert len(run("query", uri, "--json").splitlines()) == 7
    assert json.loads(run("query", uri, "--verdict", "defective", "--json"))["frame_id"] == "frame-00002"
    run("get", uri, "frame-00003", tmp_path / "part.png")
    assert np.array_equal(read_image(tmp_path / "part.png"), picture(3))
    assert json.loads(run("export", uri, tmp_path / "out", "--line", "line-1", "--json"))["files"] == 4
    assert json.loads(run("stats", uri, "--json"))["frames"] == 7
    run("hold", "add", uri, "claim-7", "--reason", "claim 7", "--frame", "frame-00001")
    assert "claim-7" in run("hold", "list", uri)
    assert json.loads(run("expire", uri, "--older-than", 1, "--line", "line-1", "--json"))["frames"] == 3
    run("hold", "release", uri, "claim-7", "--reason", "settled")
    assert "claim-7" not in run("hold", "list", uri)
    assert json.loads(run("compact", uri, "--json"))["files_before"] > 0
    assert json.loads(run("verify", uri, "--json")) == {
        "archive": uri,
        "sound": True,
        "rows": 4,
        "unsound": [],
        "damaged_files": [],
    }
    assert AuditLog(uri).verify() == []
    frames = DeltaTable(uri).to_pyarrow_dataset()  # noqa: F841 (DuckDB finds it by its name)
    assert duckdb.sql("SELECT count(*) FROM frames WHERE line = 'line-1'").fetchall() == [(1,)]


WRITE = """
import sys
from tests.pipelines.archive_records import encoded
from pipelines.archive import Archive
archive = Archive("s3://plant/two-writers")
print(sum(archive.append([encoded(number)]) for number in range(*map(int, sys.argv[1:]))))
"""


def test_two_writers_at_once_store_each_frame_once(environment: dict[str, str]) -> None:
    orders = [["0", "6", "1"], ["7", "-1", "-1"]]
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, *order],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    new = [int(writer.communicate(timeout=120)[0]) for writer in writers]

    assert sum(new) == 8
    assert sorted(record.frame_id for record in Archive("s3://plant/two-writers").frames()) == [
        f"frame-{number:05}" for number in range(8)
    ]


def test_a_place_without_an_archive_or_a_bucket_is_named() -> None:
    for uri in ("s3://plant/none", "s3://none/none"):
        with pytest.raises(ArchiveError, match=uri) as caught:
            run("verify", uri)
        assert "\n" not in str(caught.value)
