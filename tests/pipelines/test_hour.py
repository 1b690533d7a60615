"""The line that runs for years, in short: an hour of frames, whose run is killed again and again; none is lost."""

from pathlib import Path

import pytest

from tests.pipelines.hour import Hour, by_the_command, check_balance, in_a_fork, kill_again_and_again, line

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data"
FRAMES_PER_HOUR = 3600
"""One part each second."""
QUICK = "settle_seconds = 0.1\npoll_seconds = 0.1\n"


def test_minutes_of_frames_are_all_stored_once_however_often_the_run_is_killed(tmp_path: Path) -> None:
    hour = Hour(tmp_path / "frames", sorted(SAMPLES.glob("images/*/*.png"))[::6], count=120, seconds=0.01, portions=5)
    archive = tmp_path / "archive"
    text = f'[source]\nkind = "folder"\npath = "frames"\nfollow = false\n{QUICK}[compress]\ncodec = "jpeg"\n'
    text += '[archive]\nuri = "archive"\n[flow]\ncommit_seconds = 0.2\n'

    kill_again_and_again(hour, lambda: in_a_fork(line(tmp_path, text, follow=True)), archive)

    check_balance(hour, line(tmp_path, text, follow=False), archive)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_an_hour_of_frames_is_stored_once_however_often_the_run_is_killed(tmp_path: Path) -> None:
    """`inspect-compress run` with examples/line.toml: QARV, verified, and judged by the detector."""
    example = (ROOT / "examples" / "line.toml").read_text("utf-8")
    pictures = sorted(SAMPLES.glob("images/*/*.png"))
    hour = Hour(tmp_path / "frames", pictures, count=FRAMES_PER_HOUR, seconds=0.02, portions=40)
    archive = tmp_path / "archive"
    text = example.replace('"../sample_data/images"', f'"frames"\nfollow = false\n{QUICK}')
    text = text.replace('"../sample_data"', f'"{SAMPLES}"').replace('"../archive"', '"archive"')

    kill_again_and_again(hour, lambda: by_the_command(line(tmp_path, text, follow=True)), archive)

    check_balance(hour, line(tmp_path, text, follow=False), archive)
