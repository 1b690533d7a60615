"""`models list|add|show|retire` as a user runs them, and what lines and pilots make of the registry."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspect_compress import write_png
from inspect_compress.cli import main
from inspect_compress.qarv.weights import default_fingerprint
from pipelines.archive import Archive
from pipelines.governance.audit import AuditLog
from tests.models_for_tests import make_model

LINE = """
[source]
kind = "folder"
path = "frames"
[archive]
uri = "archive"
[compress]
model = "{model}"
quality = {quality}
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `inspect-compress` in this process, in a folder with an empty registry: status, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INSPECT_COMPRESS_MODELS", str(tmp_path / "models"))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["inspect-compress", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def model(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of `models add` for a model of the plant's own; its fingerprint comes first."""
    weights, card, fingerprint = make_model(tmp_path, note=tmp_path.name)
    return fingerprint, str(weights), "--card", str(card)


def line(folder: Path, model: str, quality: int = 60) -> str:
    (folder / "frames").mkdir(exist_ok=True)
    picture = np.random.default_rng(0).normal(0, 3, (40, 50)).cumsum(axis=1).clip(-90, 90) + 120
    write_png(folder / "frames" / "part.png", picture.astype(np.uint8), overwrite=True)
    (folder / "line.toml").write_text(LINE.format(model=model, quality=quality))
    return "line.toml"


def summary(path: Path, fingerprint: str, verdict: str = "safe", **changes: Any) -> str:
    content = {
        "schema": 2,
        "decision": {"verdict": verdict, "codec": "qarv", "quality": 50, "detector": "classifier"},
        "models": {"qarv": fingerprint, "jpeg": ""},
        "dataset": {"name": "housings"},
    }
    path.write_text(json.dumps(content | changes))
    return str(path)


def test_a_line_takes_a_model_once_a_pilot_judged_it_safe(
    command: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    fingerprint, *arguments = model
    assert command("models", "add", *arguments)[0] == 0
    status, _, errors = command("run", line(tmp_path, fingerprint))
    assert status == 1
    assert f"model {fingerprint} has passed no gate" in errors

    pilot = summary(tmp_path / "summary.json", fingerprint)
    status, printed, _ = command("models", "add", *arguments, "--pilot", pilot, "--json")
    assert status == 0
    (gate,) = json.loads(printed)["gates"]
    assert (gate["kind"], gate["quality"], gate["dataset"]) == ("pilot", 50, "housings")

    assert "safe from quality 50 on" in command("run", line(tmp_path, fingerprint, quality=49))[2]
    assert command("run", line(tmp_path, fingerprint, quality=50))[0] == 0
    (row,) = Archive("archive").frames()
    assert row.model == fingerprint


def test_what_does_not_judge_this_model_safe_admits_nothing(
    command: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    fingerprint, *arguments = model
    path = tmp_path / "summary.json"

    def refused(pilot: str) -> str:
        status, _, errors = command("models", "add", *arguments, "--pilot", pilot)
        assert status == 1
        return errors

    assert "the verdict is inconclusive" in refused(summary(path, fingerprint, "inconclusive"))
    assert f"judged {default_fingerprint()}, not model {fingerprint}" in refused(summary(path, default_fingerprint()))
    assert "decision.verdict" in refused(summary(path, fingerprint, decision={"codec": "qarv"}))
    assert "schema 2" in refused(summary(path, fingerprint, schema=1))
    assert "is not JSON" in refused(str(Path(arguments[2])))
    assert "cannot be read" in refused(str(tmp_path / "none"))
    summary(path, fingerprint)
    (tmp_path / "hashes.json").write_text(json.dumps({"derived": {"summary.json": "0" * 64}}))
    assert "is not as the pilot wrote it" in refused(str(tmp_path))
    assert not (tmp_path / "models").exists()


def test_an_override_is_recorded_with_name_reason_and_verdict(
    command: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    fingerprint, *arguments = model
    pilot = summary(tmp_path / "summary.json", fingerprint, "unsafe")
    assert "belong together" in command("models", "add", *arguments, "--override-by", "A. Mori")[2]

    override = ("--pilot", pilot, "--override-by", "A. Mori", "--reason", "trial week, all frames kept as PNG too")
    assert command("models", "add", *arguments, *override, "--by", "sato")[0] == 0

    shown = command("models", "show", fingerprint[:6])[1]
    assert "by A. Mori: overridden: trial week, all frames kept as PNG too" in shown
    assert "the verdict is unsafe" in shown
    assert command("run", line(tmp_path, fingerprint, quality=1))[0] == 0
    added, admitted = AuditLog(str(tmp_path / "models")).entries()
    assert (added.action, added.by) == ("model added", "sato")
    assert added.details["fingerprint"] == fingerprint
    assert admitted.action == "model admitted"
    assert admitted.details["gate"]["by"] == "A. Mori"


def test_a_retired_model_stops_the_line_and_its_frames_still_decode(
    command: Command, model: tuple[str, ...], tmp_path: Path
) -> None:
    fingerprint, *arguments = model
    pilot = summary(tmp_path / "summary.json", fingerprint)
    command("models", "add", *arguments, "--pilot", pilot)
    command("run", line(tmp_path, fingerprint))

    assert command("models", "retire", fingerprint, "--reason", "new lens", "--by", "sato")[0] == 0

    assert "by sato (new lens)" in command("run", line(tmp_path, fingerprint))[2]
    assert "by sato (new lens)" in command("models", "add", *arguments, "--pilot", pilot)[2]
    (row,) = Archive("archive").frames()
    (tmp_path / "part.qarv").write_bytes(row.payload)
    assert command("decompress", "part.qarv", "part.png")[0] == 0
    models = json.loads(command("models", "list", "--json")[1])
    states = {one["fingerprint"]: one["state"] for one in models}
    assert states[fingerprint].startswith("retired ")
    assert states[default_fingerprint()] == "admitted; the default"
    log = AuditLog(str(tmp_path / "models"))
    assert [entry.action for entry in log.entries()] == ["model added", "model admitted", "model retired"]
    assert log.verify() == []
    assert "is shipped" in command("models", "retire", default_fingerprint(), "--reason", "x")[2]


def test_models_are_listed_for_people(command: Command, model: tuple[str, ...]) -> None:
    fingerprint, *arguments = model
    command("models", "add", *arguments, "--by", "sato")
    printed = command("models", "list")[1]
    assert fingerprint in printed
    assert "no gate" in printed
    assert command("models", "show", "ffffffff")[2].startswith("error: model ffffffff is not installed")


def test_a_model_that_is_unknown_or_for_another_codec_stops_the_line(command: Command, tmp_path: Path) -> None:
    assert "model ffff is not installed" in command("run", line(tmp_path, "ffff"))[2]
    config = tmp_path / line(tmp_path, "760294b7")
    config.write_text(config.read_text() + 'codec = "jpeg"\n')
    assert "codec jpeg: has no models to choose from" in command("run", "line.toml")[2]
