"""Frames encoded on an engine, in the order in which the sweep asks for them, and a little ahead of it."""

import hashlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation.pilot_config import PilotConfig, load_codecs
from evaluation.sweep.frames import Frame, read_frame
from inspect_compress.codecs import Codec, ScalableCodec
from inspect_compress.demand import Demand
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from pipelines.archive import ArchivedFrame
from pipelines.datasets import Item
from pipelines.engines import Engine

FRAMES_AT_ONCE = 8
"""Frames that a worker is given at a time."""


class Task(NamedTuple):
    """A frame to encode. One that is `trusted` is not decoded where its encoder says what it decodes to."""

    item: Item
    codec: str
    quality: int
    trusted: bool


class Encoded(NamedTuple):
    """A record for the archive, and the image that it decodes to."""

    record: ArchivedFrame
    image: Image


class Encodings:
    """Does tasks on an engine; the answers are to be taken in the tasks' order."""

    def __init__(self, root: Path, config: PilotConfig, engine: Engine) -> None:
        self._job, self._engine = EncodeFrames(root, config), engine
        self._answers = self._done([])

    def begin(self, tasks: Sequence[Task]) -> None:
        """Say all tasks that answers will be taken for. The work begins when the first is."""
        self._answers = self._done(tasks)

    def take(self, count: int) -> Iterator[Encoded]:
        """The next `count` answers, as they come. Raises EngineError where a frame cannot be encoded."""
        for _ in range(count):
            yield next(self._answers)

    def close(self) -> None:
        """End the work."""
        self._answers.close()

    def _done(self, tasks: Sequence[Task]) -> Generator[Encoded, None, None]:
        batches = [tasks[start : start + FRAMES_AT_ONCE] for start in range(0, len(tasks), FRAMES_AT_ONCE)]
        with closing(self._engine.map(self._job, batches)) as answers:
            for batch in answers:
                yield from batch


@dataclass(frozen=True)
class EncodeFrames:
    """The job: reads frames of the dataset at `root`, and encodes them with the codecs of `config`."""

    root: Path
    config: PilotConfig

    def start(self) -> Callable[[Sequence[Task]], list[Encoded]]:
        """Load the codecs."""
        codecs = {codec.codec_id: codec for codec in load_codecs(self.config)}

        def work(tasks: Sequence[Task]) -> list[Encoded]:
            return [_encoded(read_frame(self.root, task.item), codecs[task.codec], task) for task in tasks]

        return work


def _encoded(frame: Frame, codec: Codec, task: Task) -> Encoded:
    payload, image = _coded(frame.image, codec, task)
    fidelity = psnr(frame.image, image)
    record = ArchivedFrame(
        frame_id=frame.frame_id,
        captured_at=frame.captured_at,
        codec=codec.codec_id,
        model=codec.model,
        quality=task.quality,
        width=frame.image.shape[1],
        height=frame.image.shape[0],
        channels=1 if frame.image.ndim == 2 else 3,
        payload=payload,
        pixels_sha256=hashlib.sha256(frame.image.tobytes()).hexdigest(),
        psnr=fidelity if math.isfinite(fidelity) else None,
    )
    return Encoded(record, image)


def _coded(image: Image, codec: Codec, task: Task) -> tuple[bytes, Image]:
    if task.trusted and isinstance(codec, ScalableCodec):
        draft = codec.draft(image, Demand(quality=task.quality))
        return draft.data, draft.reconstruction
    payload = codec.encode(image, quality=task.quality)
    return payload, codec.decode(payload)
