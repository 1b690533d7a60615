"""The files that a plant installs: each is checked against what a line really does."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pipelines.config import read_config
from pipelines.observe import observers_for
from tests.pipelines.observed import EVENTS, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "inspect-compress@.service"
METRIC = re.compile(r"\b(?:inspect_compress|process)_\w+")
LABELS = re.compile(r"\{([^}]*)\}|\bby \(([^)]*)\)|label_values\(\w+, (\w+)\)")


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Each sample that a line with everything switched on exposes, and its labels."""
    port, folder = free_port(), tmp_path_factory.mktemp("line")
    (folder / "line.toml").write_text(
        '[source]\nkind = "folder"\npath = "."\nline = "L1"\n[archive]\nuri = "archive"\n[logs]\nfile = "log"\n'
        f'[metrics]\nport = {port}\n[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\n'
    )
    with observers_for(read_config(folder / "line.toml")) as observers:
        for event in EVENTS:
            for observer in observers:
                observer(event)
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def queries() -> Iterator[tuple[str, str]]:
    """What is asked of Prometheus, and the text beside it that uses the answer's labels."""
    dashboard = json.loads((DEPLOY / "grafana" / "inspect-compress.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], " ".join(f".labels.{x}" for x in re.findall(r"{{(\w+)}}", target["legendFormat"]))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"], ""
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["expr"], ""
    for rule in alerts():
        yield rule["expr"], rule["annotations"]["summary"]


def alerts() -> list[dict[str, Any]]:
    text = (DEPLOY / "prometheus" / "inspect-compress-alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_every_query_asks_for_figures_and_labels_that_there_are(exposed: dict[str, set[str]]) -> None:
    asked = list(queries())

    assert len(asked) > 30
    for query, beside in asked:
        names = METRIC.findall(query)
        assert names or query.startswith("up{"), query
        assert set(names) <= exposed.keys(), query
        known = {"job", "instance"}.union(*(exposed[name] for name in names))
        used = set(re.findall(r"\.labels\.(\w+)", beside))
        for parts in LABELS.findall(re.sub(r'"[^"]*"', "", query)):
            used |= set(re.findall(r"\w+", " ".join(parts)))
        assert used <= known, query


def test_the_dashboard_shows_every_figure(exposed: dict[str, set[str]]) -> None:
    shown = {
        re.sub(r"_(bucket|sum|count|created)$", "", name) for query, _ in queries() for name in METRIC.findall(query)
    }
    there = {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in exposed
        if name.startswith("inspect_compress_") and not name.endswith("_created")
    }

    assert there - shown == {"inspect_compress_line_info"}


def test_every_figure_is_explained(exposed: dict[str, set[str]]) -> None:
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    names = {
        re.sub(r"_(bucket|sum|count)$", "", name.removeprefix("inspect_compress_"))
        for name in exposed
        if name.startswith("inspect_compress_") and not name.endswith("_created")
    }

    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_accepts_the_alerts_and_the_configuration() -> None:
    subprocess.run(["promtool", "check", "config", "prometheus.yml"], cwd=DEPLOY / "prometheus", check=True)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/inspect-compress/bin/inspect-compress", sys.executable))

    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_alert_is_explained() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert [rule["alert"] for rule in alerts() if f"**{rule['alert']}**" not in text] == []


def test_the_documented_tables_are_valid(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    (tables,) = re.findall(r"^```toml\n(.*?)^```", text, re.S | re.M)
    (tmp_path / "line.toml").write_text(
        f'[source]\nkind = "folder"\npath = "."\n[archive]\nuri = "archive"\n{tables}', encoding="utf-8"
    )

    config = read_config(tmp_path / "line.toml")

    assert config.mqtt
    assert config.mqtt.model_fields_set == set(type(config.mqtt).model_fields)
