"""Engines: the same answers in the same order, wherever they are computed, and whatever happens to a worker."""

import os
import sys
from pathlib import Path

import pytest

from inspect_compress.errors import EngineError
from pipelines.engines import Engine, EngineName, load_engine
from pipelines.engines.local_engine import LocalEngine

JOBS = Path(__file__).parent / "plant_jobs"
sys.path.append(str(JOBS))  # processes get the path of the one that starts them; Ray's are given it below

from plant_jobs import DiesOnce, Fails, Square  # noqa: E402

ENGINES = ["alone", "processes", "ray"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine; the local one within this process, and with others."""
    if request.param == "ray":
        request.getfixturevalue("ray_here")
        return load_engine(EngineName.ray)
    return LocalEngine(2, alone_seconds=0 if request.param == "processes" else 60)


def test_answers_come_in_the_order_of_the_items(engine: Engine) -> None:
    answers = list(engine.map(Square(), range(40)))

    assert [square for square, _ in answers] == [number * number for number in range(40)]


def test_short_work_needs_no_other_process() -> None:
    assert {process for _, process in LocalEngine(2).map(Square(), range(40))} == {os.getpid()}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("archive", "frame 3: is damaged"),
        ("step", "lost step with the encoder"),
        ("any", "a worker failed: ValueError: no 3"),
    ],
)
def test_an_error_of_a_worker_is_told_in_one_line(how: str, message: str) -> None:
    with pytest.raises(EngineError, match=message) as raised:
        list(LocalEngine(2, alone_seconds=0).map(Fails(how), range(8)))

    assert "\n" not in str(raised.value)


def test_an_error_of_a_worker_of_ray_is_told_in_one_line(ray_here: None) -> None:
    with pytest.raises(EngineError, match=r"^the decoder has lost step with the encoder\.[^\n]*$"):
        list(load_engine(EngineName.ray).map(Fails("step"), range(8)))


def test_ray_goes_on_where_a_worker_is_killed(ray_here: None, tmp_path: Path) -> None:
    answers = list(load_engine(EngineName.ray).map(DiesOnce(tmp_path, 7), range(20)))

    assert answers == [number * number for number in range(20)]
    assert (tmp_path / "died").exists()


def test_processes_say_that_one_was_killed(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="a worker process was killed"):
        list(LocalEngine(2, alone_seconds=0).map(DiesOnce(tmp_path, 7), range(20)))


@pytest.mark.parametrize("alone", [0, 60])
def test_work_ends_where_no_more_answers_are_wanted(alone: float) -> None:
    answers = LocalEngine(2, alone_seconds=alone).map(Square(), range(10**9))

    assert next(answers)[0] == 0
    answers.close()


def test_nothing_to_do_is_nothing_done(engine: Engine) -> None:
    assert list(engine.map(Square(), [])) == []
