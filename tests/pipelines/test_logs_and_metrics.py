"""A line's logs and its figures for Prometheus, as those who read them get them."""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from inspect_compress.errors import ConfigError
from inspect_compress.images import write_png
from pipelines.config import LineConfig, read_config
from pipelines.flow.events import Alarm, Captured, Event, Failed, Judged
from pipelines.observe import observers_for
from pipelines.observe.config import LogsConfig, MetricsConfig
from pipelines.observe.logs import Logs
from pipelines.observe.metrics import Metrics
from pipelines.runner import run_line
from tests.pipelines.observed import EVENTS, LATE, NOON, free_port

ROOT = Path(__file__).parents[2]


def logged(file: Path, events: Iterator[Event] | tuple[Event, ...], level: str = "debug") -> list[dict[str, Any]]:
    with Logs(LogsConfig.model_validate({"file": file, "level": level}), "L1") as logs:
        for event in events:
            logs(event)
    return [json.loads(line) for line in file.read_bytes().decode().split("\n")[:-1]]


def test_each_event_is_one_json_object_with_its_fields(tmp_path: Path) -> None:
    entries = logged(tmp_path / "logs" / "line.jsonl", EVENTS)

    assert [entry["event"] for entry in entries] == [type(event).__name__.lower() for event in EVENTS]
    assert {entry["line"] for entry in entries} == {"L1"}
    assert all(entry["time"].endswith("Z") for entry in entries)
    stored = entries[6]
    assert stored["captured_at"] == "2027-05-04T12:00:00.250000Z"
    assert (stored["codec"], stored["psnr"], stored["bytes"]) == ("jpeg", 41.5, 1536)
    assert stored["level"] == "debug"
    fell_back = entries[7]
    assert fell_back["level"] == "warning"
    assert "PSNR is 30 dB" in fell_back["message"]


def test_a_level_leaves_out_what_is_below_it(tmp_path: Path) -> None:
    entries = logged(tmp_path / "line.jsonl", EVENTS, "error")

    assert [entry["event"] for entry in entries] == ["dropped", "failed", "alarm"]


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.text(st.characters()), min_size=1, max_size=5), score=st.floats())
def test_no_name_and_no_number_breaks_a_line(names: list[str], score: float) -> None:
    events = [Judged(name, name, score, float("inf"), True, name) for name in names]
    with tempfile.TemporaryDirectory() as folder:
        entries = logged(Path(folder) / "line.jsonl", tuple(events))

    assert len(entries) == len(names)
    for name, entry in zip(names, entries, strict=True):
        assert entry["image"] == name.encode("utf-8", "backslashreplace").decode()
        assert entry["threshold"] is None
        assert entry["message"].isprintable()


def test_what_pythons_logging_says_goes_to_the_same_file(tmp_path: Path) -> None:
    with Logs(LogsConfig(file=tmp_path / "line.jsonl"), "L1"):
        logging.getLogger("pipelines.flow.events").error("an observer failed")
        logging.getLogger("somebody.else").warning("a warning")
        logging.getLogger("somebody.else").info("not of interest")

    entries = [json.loads(line) for line in (tmp_path / "line.jsonl").read_text().splitlines()]
    assert [(entry["logger"], entry["message"]) for entry in entries] == [
        ("pipelines.flow.events", "an observer failed"),
        ("somebody.else", "a warning"),
    ]


def test_on_a_terminal_people_read_sentences_and_no_name_moves_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with Logs(LogsConfig(), "L1") as logs:
            logs(Failed("decode", "\x1b[2Jd\n.png", "f4", "it does not decode"))
        shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert shown.endswith("  error: failed \\x1b[2Jd\\n.png (decode): it does not decode\r\n")


def test_what_ends_a_run_is_its_logs_last_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), Logs(LogsConfig(file=tmp_path / "line.jsonl"), "L1"):
        raise ConfigError("there is no such folder")

    (entry,) = map(json.loads, (tmp_path / "line.jsonl").read_text().splitlines())
    assert (entry["level"], entry["message"]) == ("error", "the run ended: there is no such folder")


def test_a_reader_that_does_not_read_holds_nothing_up() -> None:
    script = (
        "from pipelines.observe.config import LogsConfig\n"
        "from pipelines.observe.logs import Logs\n"
        "from tests.pipelines.observed import EVENTS\n"
        "logs = Logs(LogsConfig(level='debug'), 'L1')\n"
        "with logs:\n"
        "    for _ in range(2000):\n"
        "        for event in EVENTS:\n"
        "            logs(event)\n"
        "print(logs.discarded(), flush=True)\n"
        "import os; os._exit(0)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert writer.stdout
    assert writer.stderr
    discarded = int(writer.stdout.readline())  # before a byte of standard error is read
    written = writer.stderr.read()
    writer.wait(timeout=60)

    assert discarded > 0
    assert json.loads(written.splitlines()[0])["event"] == "started"


def test_a_log_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"\[logs\] file: .*file/line\.jsonl cannot be written"):
        Logs(LogsConfig(file=tmp_path / "file" / "line.jsonl"), "L1")


@contextmanager
def served() -> Iterator[tuple[Metrics, int]]:
    port = free_port()
    with Metrics(MetricsConfig(port=port), "L1") as metrics:
        yield metrics, port


def scraped(port: int) -> dict[str, float]:
    """Each sample as `name{label="value"}`, without the prefix and the label `line`."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("inspect_compress_"):
                assert sample.labels["line"] == "L1"
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()) if key != "line")
                name = sample.name.removeprefix("inspect_compress_")
                samples[name + (f"{{{labels}}}" if labels else "")] = sample.value
    return samples


def test_prometheus_gets_what_the_events_say() -> None:
    with served() as (metrics, port):
        for event in EVENTS[:-1]:
            metrics(event)
        figures = scraped(port)

    expected = {
        "frames_captured_total": 2,
        "frames_stored_total": 2,
        "frames_spilled_total": 1,
        "frames_degraded_total": 1,
        "frames_dropped_total": 1,
        "frames_failed_total": 1,
        "frames_missing_total": 2,
        "captured_bytes_total": 6144,
        "stored_bytes_total": 4536,
        "stored_pixels_total": 6144,
        "verify_failures_total": 2,
        "fallbacks_total": 1,
        "source_stalls_total": 1,
        "source_stalled": 1,
        "alarms_total": 1,
        "running": 1,
        'verdicts_total{verdict="good"}': 1,
        'verdicts_total{verdict="defective"}': 1,
        'frames_waiting{queue="compress"}': 3,
        'frames_waiting_limit{queue="compress"}': 16,
        'stage_seconds_count{stage="encode"}': 2,
        'stage_seconds_bucket{le="0.025",stage="encode"}': 1,
        "psnr_db_count": 1,
        "frame_age_seconds_count": 2,
    }
    assert {name: figures.get(name) for name in expected} == expected
    assert figures['last_alarm_timestamp_seconds{kind="bpp"}'] > 0


def test_a_frame_that_was_late_has_failed_no_check() -> None:
    with served() as (metrics, port):
        metrics(LATE)
        figures = scraped(port)

    assert (figures["frames_stored_total"], figures["fallbacks_total"], figures["verify_failures_total"]) == (1, 0, 0)


def test_a_frame_ends_a_stall_and_the_end_of_a_run_is_seen() -> None:
    with served() as (metrics, port):
        for event in EVENTS:
            metrics(event)
        metrics(Captured("f5", "e.png", 11, NOON, 3072))
        figures = scraped(port)

    assert (figures["source_stalled"], figures["running"]) == (0, 0)


def test_counts_are_there_before_anything_happened() -> None:
    with served() as (_, port):
        figures = scraped(port)

    counts = {name: value for name, value in figures.items() if "_total" in name}
    assert {"frames_dropped_total", "alarms_total", 'verdicts_total{verdict="defective"}'} <= counts.keys()
    assert set(counts.values()) == {0.0}


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be opened"), served_at(port):
            pass


def served_at(port: int) -> Metrics:
    return Metrics(MetricsConfig(port=port), "L1")


def observed_line(folder: Path, tables: str) -> LineConfig:
    for number in range(3):
        pixels = np.random.default_rng(number).normal(170, 4, (48, 64)).clip(0, 255).astype(np.uint8)
        write_png(folder / "frames" / f"{number}.png", pixels)
    (folder / "line.toml").write_text(
        '[source]\nkind = "folder"\npath = "frames"\nline = "L1"\n[compress]\ncodec = "jpeg"\n'
        f'[archive]\nuri = "archive"\n{tables}'
    )
    return read_config(folder / "line.toml")


def test_a_run_is_logged_and_counted_as_its_file_says(tmp_path: Path) -> None:
    port = free_port()
    config = observed_line(tmp_path, f'[logs]\nfile = "line.jsonl"\nlevel = "debug"\n[metrics]\nport = {port}\n')

    with observers_for(config) as observers:
        run_line(config, observers=observers)
        figures = scraped(port)

    assert figures["frames_captured_total"] == figures["frames_stored_total"] == 3
    assert figures["captured_bytes_total"] == 3 * 48 * 64
    assert figures['stage_seconds_count{stage="compress"}'] == 3
    assert figures["log_lines_discarded_total"] == 0
    entries = map(json.loads, (tmp_path / "line.jsonl").read_text().splitlines())
    events = [entry["event"] for entry in entries if entry["event"] != "log"]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert events.count("stored") == 3


def test_a_file_without_these_tables_is_observed_by_nobody(tmp_path: Path) -> None:
    with observers_for(observed_line(tmp_path, "")) as observers:
        assert observers == []


def test_an_alarm_says_what_is_wrong_in_words(tmp_path: Path) -> None:
    (entry,) = logged(tmp_path / "line.jsonl", (Alarm("scores", "scores fell", 0.2, 0.6),), "info")

    assert (entry["level"], entry["kind"], entry["message"]) == ("error", "scores", "alarm (scores): scores fell")
