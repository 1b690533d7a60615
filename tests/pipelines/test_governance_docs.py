"""docs/governance.md: its blocks run as they stand there, one after the other."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inspect_compress.images import write_png

DOCS = (Path(__file__).parents[2] / "docs" / "governance.md").read_text(encoding="utf-8")
LINE = '[source]\nkind = "folder"\npath = "frames"\n[compress]\ncodec = "png"\n[archive]\nuri = "archive"\n'


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("jq") is None, reason="the commands need jq")
def test_the_commands_of_the_page_run_in_their_order(tmp_path: Path) -> None:
    def shell(script: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, (script, done.stderr)
        return done.stdout

    def frame(number: int) -> None:
        write_png(tmp_path / "frames" / f"{number}.png", np.full((20, 30), number, np.uint8))
        shell("inspect-compress run line.toml")

    (tmp_path / "line.toml").write_text(LINE)
    frame(1)
    for language, block in re.findall(r"```(sh|toml|python)\n(.*?)```", DOCS, re.DOTALL):
        if language == "sh":
            shell(block)
        elif language == "toml":
            (tmp_path / "line.toml").write_text(LINE + block)
            frame(2)
        else:
            (tmp_path / "page.py").write_text(block)
            assert len(shell(f"{sys.executable} page.py").splitlines()) == 2

    report = json.loads(shell("inspect-compress archive verify archive --keys keys.toml --json"))
    assert (report["sound"], report["rows"]) == (True, 2)
    assert "rotation ended" in shell("inspect-compress audit list archive")
