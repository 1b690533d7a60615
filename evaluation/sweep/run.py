"""Runs a sweep from beginning to end, or from where an earlier run was killed. See the package's docstring."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from evaluation.kpis import ORIGINAL
from evaluation.pilot_config import PilotConfig
from evaluation.scored import Scored
from evaluation.sweep.coding import Coder, DecodedFrames, Setting, settings_of
from evaluation.sweep.encoding import Encodings, Task
from evaluation.sweep.frames import chunked, frame_id, read_frames
from evaluation.sweep.parts import Parts
from evaluation.sweep.rows import original_row, result_row, scored_table, threshold_rows
from evaluation.sweep.school import School
from evaluation.sweep.training import TrainedDetector, see
from pipelines.archive import Archive
from pipelines.datasets import Dataset, Item
from pipelines.engines import Engine, LocalEngine

ARCHIVE, PARTS = "archive", "parts"
"""Below the folder of work: the encoded test frames, which are evidence; and what only a resumed run needs."""
WORKERS = 2
"""Threads that encode, decode and describe. They leave Python's lock most of the time."""

Step = Callable[[str, int, int], None]
"""Told after each step: the phase (`train`, `retrain` or `measure`), steps done in it, and steps in all."""


@dataclass(frozen=True)
class Sweep:
    """What was measured. A detector's columns are `score_C` (float64) and `flag_C` (bool), C being `Scored.column`.

    `originals` has a row per test frame: `frame_id`, `image`, `mask`, `defect`, `group`, `width`, `height`,
    `channels`, `bytes` (of the original's file), `raw_bytes`, `psnr` and `ms_ssim` (NaN), and the columns of all
    frozen and aware detectors. `results` has a row per codec, quality and test frame: besides `frame_id`,
    `defect`, `group` and the sizes, `codec`, `model`, `quality`, `bytes` (of the encoded file), `original_bytes`,
    `bpp`, `psnr` (dB), `ms_ssim`, `mask_psnr` (dB), `edges_kept`, `contrast_kept`, and the columns of all
    detectors. Decibels are NaN where nothing changed, what is of a defect NaN where there is no mask.

    `thresholds`: `detector`, `scenario`, `codec` (`original` where not of one), `quality` (NA likewise),
    `threshold`, whether it is the detector's `own`, and whether the detector `came_trained`. `scored`: who judged,
    frozen first, in the order of the settings. `left_out`: per column of a detector that could not be trained,
    why: `TOO_FEW` defective train frames, or `FIXED`, not to be retrained.
    """

    originals: pd.DataFrame
    results: pd.DataFrame
    thresholds: pd.DataFrame
    scored: tuple[Scored, ...]
    left_out: Mapping[str, str]


def sweep(dataset: Dataset, config: PilotConfig, work: Path, *, step: Step, engine: Engine | None = None) -> Sweep:
    """Run the chain on a dataset with splits (`split_dataset`); the encoded frames go to `work / ARCHIVE`.

    Frames are encoded on `engine`, by default a process per core; the tables are the same on any.

    What an earlier run of the same dataset and settings left in `work` is used. `work / PARTS` may be removed
    once the tables that are returned are safe. Raises ConfigError for an unknown codec or detector, ImageError
    for an image that cannot be read, DetectorError for a detector that fails, DatasetError where no detector
    can be trained, EngineError for a codec that fails.
    """
    settings = settings_of(config)
    with _workers() as pool, closing(Encodings(dataset.root, config, engine or LocalEngine())) as encodings:
        return _Run(dataset, settings, School(dataset, config, pool), work, step, pool, encodings).run()


def train_detectors(
    dataset: Dataset, config: PilotConfig, *, step: Step
) -> tuple[list[TrainedDetector], Mapping[str, str]]:
    """The frozen detectors of a sweep, trained on the originals; and why others are left out. Errors as `sweep`."""
    with _workers() as pool:
        school = School(dataset, config, pool)
        trained = school.frozen(_Phase(step, "train", 0, school.frames))
    return trained, school.left_out


class _Run:
    """One sweep: parts that are missing are measured, and then all of them are put together."""

    def __init__(
        self,
        dataset: Dataset,
        settings: Sequence[Setting],
        school: School,
        work: Path,
        step: Step,
        pool: Executor,
        encodings: Encodings,
    ) -> None:
        self._root, self._settings, self._school, self._pool = dataset.root, settings, school, pool
        self._chunks = chunked([item for item in dataset.items if item.split == "test"])
        self._parts = Parts(work / PARTS)
        decoded = DecodedFrames()
        self._encodings = encodings
        self._coder = Coder(Archive(work / ARCHIVE), decoded, pool, encodings, trust_encoder=False)
        lessons = Archive(work / PARTS / "lessons")
        self._lessons = Coder(lessons, decoded, pool, encodings, trust_encoder=True)
        self._phases = {name: _Phase(step, name, *counts) for name, counts in self._counts().items()}

    def run(self) -> Sweep:
        if any(name not in self._parts for name in [*self._originals(), *self._results()]):
            for chunk in self._chunks:  # a file that cannot be read is better met now than after the training
                read_frames(self._root, chunk, self._pool)
            self._measure_missing()
        adapting = [_thresholds(place) for place in range(len(self._settings))] if self._runs("adapted") else []
        return Sweep(
            self._gathered(self._originals()),
            self._gathered(self._results()),
            self._gathered([_thresholds(None), *adapting]),
            tuple(self._school.scored),
            self._school.left_out,
        )

    def _measure_missing(self) -> None:
        self._encodings.begin(self._tasks())
        frozen = self._school.frozen(self._phases["train"])
        aware = self._school.aware(self._settings, self._lessons, self._phases["retrain"])
        self._parts.write(_thresholds(None), threshold_rows([*frozen, *aware], ORIGINAL, None))
        for name, chunk in self._originals().items():
            if name not in self._parts:
                self._measure_originals(name, chunk, [*frozen, *aware])
        for place, setting in enumerate(self._settings):
            missing = self._missing(place)
            if missing:
                adapted = self._school.adapted(setting, self._lessons, self._phases["retrain"])
                rows = threshold_rows(adapted, setting.codec.codec_id, setting.quality)
                self._parts.write(_thresholds(place), rows)
            for name, chunk in missing.items():
                self._measure(name, chunk, setting, [*frozen, *adapted, *aware])

    def _measure_originals(self, name: str, chunk: Sequence[Item], judges: Sequence[TrainedDetector]) -> None:
        frames = read_frames(self._root, chunk, self._pool)
        views = see([frame.image for frame in frames], self._school.describers, self._pool)
        rows = [original_row(frame) for frame in frames]
        self._parts.write(name, scored_table(rows, views, judges, self._pool))

    def _measure(self, name: str, chunk: Sequence[Item], setting: Setting, judges: Sequence[TrainedDetector]) -> None:
        frames = read_frames(self._root, chunk, self._pool)
        coded = self._coder.code(frames, setting, self._phases["measure"])
        views = see([one.image for one in coded], self._school.describers, self._pool)
        rows = list(self._pool.map(result_row, frames, coded))
        self._parts.write(name, scored_table(rows, views, judges, self._pool))

    def _tasks(self) -> list[Task]:
        """All that is to be encoded, in the order in which `_measure_missing` asks for it."""
        tasks = list(self._lessons.plan(self._school.aware_lessons(self._settings)))
        for place, setting in enumerate(self._settings):
            missing = self._missing(place)
            if missing:
                tasks += self._lessons.plan(self._school.adapted_lessons(setting))
            for chunk in missing.values():
                tasks += self._coder.plan((frame_id(self._root, item), item, setting) for item in chunk)
        return tasks

    def _missing(self, place: int) -> dict[str, Sequence[Item]]:
        """The parts of one setting that no earlier run measured."""
        return {name: chunk for name, chunk in self._results(place).items() if name not in self._parts}

    def _originals(self) -> dict[str, Sequence[Item]]:
        """The parts of the table of originals, and the frames that each is about."""
        return {f"originals-{number:05}": chunk for number, chunk in enumerate(self._chunks)}

    def _results(self, place: int | None = None) -> dict[str, Sequence[Item]]:
        """The parts of the table of results, of one of the settings or of all."""
        places = range(len(self._settings)) if place is None else [place]
        chunks = list(enumerate(self._chunks))
        return {f"results-{place:04}-{number:05}": chunk for place in places for number, chunk in chunks}

    def _gathered(self, names: Iterable[str]) -> pd.DataFrame:
        return pd.concat([self._parts.read(name) for name in names], ignore_index=True)

    def _runs(self, scenario: str) -> bool:
        return any(scored.scenario == scenario for scored in self._school.scored)

    def _counts(self) -> dict[str, tuple[int, int]]:
        """Per phase the frames that an earlier run did, and all frames."""
        parts = [self._results(place) for place in range(len(self._settings))]
        measured = sum(len(chunk) for of_one in parts for name, chunk in of_one.items() if name in self._parts)
        settled = sum(all(name in self._parts for name in of_one) for of_one in parts)
        frames, adapting, aware = self._school.frames, self._runs("adapted"), self._runs("aware")
        return {
            "train": (0, frames),
            "retrain": (frames * settled * adapting, frames * (len(parts) * adapting + aware)),
            "measure": (measured, sum(map(len, self._chunks)) * len(parts)),
        }


class _Phase:
    """Counts the frames of one phase, from those on that an earlier run did."""

    def __init__(self, step: Step, name: str, done: int, total: int) -> None:
        self._step, self._name, self._done, self._total = step, name, done, total
        self._begun = False

    def __call__(self) -> None:
        if not self._begun:  # told apart from the first step, so that no estimate takes it for this run's speed
            self._step(self._name, self._done, self._total)
            self._begun = True
        self._done += 1
        self._step(self._name, self._done, self._total)


def _thresholds(place: int | None) -> str:
    """The part with the thresholds of the detectors of one setting; None: of those of none."""
    return "thresholds" if place is None else f"thresholds-{place:04}"


@contextmanager
def _workers() -> Iterator[Executor]:
    """Threads for the work; the libraries below them start none of their own, and so sum in one order."""
    pool = ThreadPoolExecutor(WORKERS)
    try:
        with threadpool_limits(1):
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)
