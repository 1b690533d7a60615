"""A line without `[logs]`, as a user meets it: what keeps it from working is said at once."""

import signal
import subprocess
from pathlib import Path

from tests.pipelines.hour import CLI


def test_a_folder_that_is_not_there_is_said_and_waited_for(tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    text = '[source]\nkind = "folder"\npath = "share"\nfollow = true\n[compress]\ncodec = "jpeg"\n'
    config.write_text(text + '[archive]\nuri = "archive"\n')
    running = subprocess.Popen([*CLI, "run", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr

    said = running.stderr.readline()
    running.send_signal(signal.SIGTERM)
    result, rest = running.communicate(timeout=120)

    assert f"{tmp_path / 'share'}: cannot be read" in said
    assert rest == ""
    assert running.returncode == 0
    assert "0 captured" in result
