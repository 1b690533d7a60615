"""docs/archive.md says what is true: its commands run, its queries answer, its table of columns is whole."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from deltalake import DeltaTable

from inspect_compress.images import write_png
from pipelines.archive import SCHEMA, Archive, Verdicts
from pipelines.archive.retention import read_policy
from tests.pipelines.archive_records import encoded, picture
from tests.pipelines.test_archive_commands import judged, run

DOCS = (Path(__file__).parents[2] / "docs" / "archive.md").read_text(encoding="utf-8")
SAMPLE_FRAME = "4f0c8ab37d21e65f9b10"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS, flags=re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the page speaks of: frames, an archive with verdicts, a policy."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_png(tmp_path / "frames" / f"{number}.png", picture(number))
    records = [encoded(number) for number in range(1, 5)]
    Archive("archive").append([*records, encoded(5, "jpeg", 60, frame_id=SAMPLE_FRAME)])
    Verdicts("archive").append([judged(record, defective=record is records[2]) for record in records])
    (tmp_path / "retention.toml").write_text(blocks("toml")[0])
    return tmp_path


def test_every_command_of_the_page_runs(place: Path) -> None:
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) > 15

    for program, group, *arguments in commands:
        assert (program, group) == ("inspect-compress", "archive")
        if "export" in arguments and Path("out").exists():
            arguments.append("--overwrite")
        run(*arguments)

    assert (place / "part.png").is_file()
    assert len(read_policy(place / "retention.toml").rule) == 3


def test_every_query_of_the_page_answers(place: Path) -> None:
    names: dict[str, object] = {}
    answers = []
    for block in blocks("python"):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(block, names)  # it is the page's own code that is tested
        answers.append(printed.getvalue())

    repaired, read, by_pandas, by_duckdb, defective = answers
    assert (repaired, read) == ("", "")
    assert re.search(r"jpeg\s+60\s+1\s+\d+", by_pandas)
    assert re.search(r"line-1 .* 2026-03-04 .* 5 ", by_duckdb)
    assert "frame-00003" in defective
    assert "frame-00002" not in defective


def test_every_column_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", DOCS, flags=re.MULTILINE))))

    assert set(SCHEMA.names) <= described


def test_a_file_that_is_lost_can_be_taken_out_and_writers_go_on(place: Path) -> None:
    archive = Archive("archive")
    archive.append([encoded(30)])
    next(place.glob("archive/date=2026-03-05/**/*.parquet")).unlink()

    exec(blocks("python")[0], {})  # it is the page's own code that is tested

    assert len(list(Archive("archive").frames())) == 5
    assert archive.append([encoded(30)]) == 1
    assert DeltaTable("archive").count() == 6
