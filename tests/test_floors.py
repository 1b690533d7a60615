"""The architecture's one rule: imports run down the floors only (see the layers in pyproject.toml)."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def test_imports_run_down_the_floors() -> None:
    result = subprocess.run([LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_rule_would_be_noticed_broken(tmp_path: Path) -> None:
    for package in ("inspect_compress", "pipelines", "evaluation"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "inspect_compress" / "climber.py").write_text("import evaluation\n")
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text("utf-8"), "utf-8")
    result = subprocess.run([LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "inspect_compress is not allowed to import evaluation" in result.stdout
