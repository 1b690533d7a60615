"""From a pilot with a plant's own model to the gate that admits it, with the files that the pilot really writes."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from inspect_compress.cli import main
from tests.evaluation.conftest import PLANT
from tests.models_for_tests import make_model

SETTINGS = """
codecs = ["qarv"]
qualities = [90]
detectors = ["plant-spots"]
scenarios = ["frozen"]
recall_margin = 0.5
false_alarm_margin = 0.5
"""


def test_a_pilot_measures_the_model_that_it_is_given_and_admits_it(
    spots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INSPECT_COMPRESS_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("INSPECT_COMPRESS_BROWSER", "")
    monkeypatch.syspath_prepend(PLANT)

    def command(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["inspect-compress", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        assert not end.value.code, printed.err
        return printed.out

    weights, card, fingerprint = make_model(tmp_path)
    settings, out = tmp_path / "pilot.toml", tmp_path / "out"
    settings.write_text(SETTINGS)
    add = ("models", "add", weights, "--card", card, "--json")
    command(*add)

    command("pilot", spots, "--config", settings, "--model", fingerprint[:8], "--out", out)

    assert set(pd.read_parquet(out / "results.parquet")["model"]) == {fingerprint}
    assert json.loads((out / "summary.json").read_text())["models"] == {"qarv": fingerprint}
    (gate,) = json.loads(command(*add, "--pilot", out))["gates"]
    assert (gate["kind"], gate["quality"], gate["detector"]) == ("pilot", 90, "plant-spots")
