"""A source of a plant's own package, written as docs/extending.md shows."""

import re
import threading
from pathlib import Path

import pytest

from inspect_compress.errors import ConfigError
from pipelines.config import read_config
from pipelines.sources import open_source

EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"
OLD = '''
class Tape:
    """Takes neither `stop` nor `on_stall`, and declares no keys."""

    def __init__(self, *, path, line, station, product, camera, on_failure):
        self.path = path

    def __iter__(self):
        return iter(())
'''


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package installed, for a line.toml to name its sources."""
    (shown,) = re.findall(r"```python\n# plant/sources\.py\n(.*?)```", EXTENDING.read_text("utf-8"), re.DOTALL)
    installed = tmp_path / "installed"
    about = installed / "plant_sources_docs-0.1.0.dist-info"
    about.mkdir(parents=True)
    (installed / "plant_sources_docs.py").write_text(shown + OLD)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plant-sources-docs\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text(
        "[inspect_compress.sources]\ndarkroom = plant_sources_docs:Darkroom\ntape = plant_sources_docs:Tape\n"
    )
    monkeypatch.syspath_prepend(installed)
    return tmp_path


def line(folder: Path, source: str) -> Path:
    (folder / "line.toml").write_text(f'[source]\n{source}[archive]\nuri = "archive"\n')
    return folder / "line.toml"


def test_a_plants_source_has_its_own_keys_and_ends_when_asked(plant: Path) -> None:
    config = read_config(line(plant, 'kind = "darkroom"\nframes = 5\nline = "L"\n'))
    stop = threading.Event()

    frames = iter(open_source(config.source, stop=stop))
    taken = [next(frames), next(frames)]
    stop.set()

    assert [(frame.sequence, frame.line) for frame in taken] == [(1, "L"), (2, "L")]
    assert list(frames) == []


def test_its_keys_are_checked_and_listed(plant: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[source\] frame: is not known; known keys: kind, .*, frames"):
        read_config(line(plant, 'kind = "darkroom"\nframe = 5\n'))
    with pytest.raises(ConfigError, match=r"\[source\] frames: .*integer"):
        read_config(line(plant, 'kind = "darkroom"\nframes = "5"\n'))


def test_a_source_that_declares_and_takes_nothing_more_has_a_path(plant: Path) -> None:
    config = read_config(line(plant, 'kind = "tape"\npath = "tapes"\n'))

    source = open_source(config.source, stop=threading.Event())

    assert source.path == plant / "tapes"  # type: ignore[attr-defined]
    assert list(source) == []
