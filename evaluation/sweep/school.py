"""The detectors of each scenario, trained and calibrated. What they are then asked is the business of others."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np

from evaluation.pilot_config import PilotConfig
from evaluation.scored import Scored
from evaluation.sweep.coding import Asked, Coder, Setting
from evaluation.sweep.frames import chunked, frame_id, read_frames
from evaluation.sweep.lessons import train_items, versions
from evaluation.sweep.training import (
    MIN_TRAIN_DEFECTIVE,
    Lesson,
    TrainedDetector,
    cast,
    describers,
    joined,
    see,
    train,
)
from inspect_compress.errors import DatasetError
from pipelines.datasets import Dataset, Item
from pipelines.detectors import short_name

Stepped = Callable[[], None]


class School:
    """Trains the detectors of a dataset's train split, and fixes thresholds on its calibration split.

    `scored` are those that can be trained, frozen ones first; `left_out` says why others cannot. Raises
    ConfigError for a detector that is not known, DatasetError where none can be trained.
    """

    def __init__(self, dataset: Dataset, config: PilotConfig, pool: Executor) -> None:
        self._root, self._config, self._pool = dataset.root, config, pool
        self._train = train_items(dataset, config.train_frames, config.seed)
        self._calibration = [item for item in dataset.items if item.split == "calibration"]
        defective = sum(item.is_defective for item in self._train)
        self.scored, self.left_out = cast(config.detectors, config.scenarios, defective)
        self._sources = {short_name(name): name for name in config.detectors}
        self.describers = describers(self.scored, self._sources)
        if not self.scored:
            raise DatasetError(
                f"{dataset.root}: has {defective} defective train frames, {', '.join(self.left_out)} needs "
                f"{MIN_TRAIN_DEFECTIVE} or more; add frames, or use a detector that learns from good ones"
            )

    @property
    def frames(self) -> int:
        """Frames that a scenario's detectors are trained and calibrated on."""
        return len(self._train) + len(self._calibration)

    def frozen(self, stepped: Stepped) -> list[TrainedDetector]:
        """Those trained on the originals; `stepped` is called for each frame, here and below."""
        return self._teach("frozen", [None] * self.frames, None, stepped)

    def adapted(self, setting: Setting, coder: Coder, stepped: Stepped) -> list[TrainedDetector]:
        """Those trained on what `setting` makes of the frames."""
        return self._teach("adapted", [setting] * self.frames, coder, stepped)

    def aware(self, settings: Sequence[Setting], coder: Coder, stepped: Stepped) -> list[TrainedDetector]:
        """Those trained on a mix of the originals and of what all `settings` make of the frames."""
        return self._teach("aware", self._mix(settings), coder, stepped)

    def aware_lessons(self, settings: Sequence[Setting]) -> Iterator[Asked]:
        """What `aware` asks its coder for, in that order."""
        return self._asked("aware", self._mix(settings))

    def adapted_lessons(self, setting: Setting) -> Iterator[Asked]:
        """What `adapted` asks its coder for, in that order."""
        return self._asked("adapted", [setting] * self.frames)

    def _mix(self, settings: Sequence[Setting]) -> list[Setting | None]:
        seed = self._config.seed
        return versions(self._train, settings, seed) + versions(self._calibration, settings, seed)

    def _asked(self, scenario: str, mix: Sequence[Setting | None]) -> Iterator[Asked]:
        if not self._pupils(scenario):
            return
        first = len(self._train)
        for items, its_mix in ((self._train, mix[:first]), (self._calibration, mix[first:])):
            for version, chunk in _by_version(items, its_mix):
                if version:
                    yield from ((frame_id(self._root, item), item, version) for item in chunk)

    def _pupils(self, scenario: str) -> list[Scored]:
        return [one for one in self.scored if one.scenario == scenario]

    def _teach(
        self, scenario: str, mix: Sequence[Setting | None], coder: Coder | None, stepped: Stepped
    ) -> list[TrainedDetector]:
        pupils = self._pupils(scenario)
        if not pupils:
            return []
        first = len(self._train)
        lesson = self._lesson(self._train, mix[:first], coder, stepped)
        calibration = self._lesson(self._calibration, mix[first:], coder, stepped)
        far, seed = self._config.target_false_alarm_rate, self._config.seed
        return train(pupils, self._sources, lesson, calibration, target_far=far, seed=seed, pool=self._pool)

    def _lesson(
        self, items: Sequence[Item], mix: Sequence[Setting | None], coder: Coder | None, stepped: Stepped
    ) -> Lesson:
        """The frames in their versions, version by version."""
        views, labels = [], []
        for version, chunk in _by_version(items, mix):
            frames = read_frames(self._root, chunk, self._pool)
            images = [frame.image for frame in frames]
            if version and coder:
                images = [coded.image for coded in coder.code(frames, version, stepped)]
            else:
                for _ in frames:
                    stepped()
            views.append(see(images, self.describers, self._pool))
            labels += [item.is_defective for item in chunk]
        return Lesson(joined(views), np.array(labels, bool))


def _by_version(
    items: Sequence[Item], mix: Sequence[Setting | None]
) -> Iterator[tuple[Setting | None, Sequence[Item]]]:
    """Frames of the same version, a chunk at a time."""
    for version in dict.fromkeys(mix):
        for chunk in chunked([item for item, its in zip(items, mix, strict=True) if its == version]):
            yield version, chunk
