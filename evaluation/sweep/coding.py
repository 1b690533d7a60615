"""Frames through a codec and an archive: encoded once, stored, read back, decoded once. Measures nothing."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import pyarrow.compute as pc

from evaluation.pilot_config import PilotConfig, load_codecs
from evaluation.sweep.encoding import Encodings, Task
from evaluation.sweep.frames import Frame
from inspect_compress.codecs import Codec
from inspect_compress.images import Image
from pipelines.archive import Archive, ArchivedFrame, FrameKey
from pipelines.datasets import Item

CACHE_BYTES = 512 * 2**20
"""Most pixels' bytes of decoded frames that are kept for when the same file is decoded again."""


class Setting(NamedTuple):
    """A codec at a quality."""

    codec: Codec
    quality: int

    def __str__(self) -> str:
        return f"{self.codec.codec_id} at quality {self.quality}"


Asked = tuple[str, Item, Setting]
"""A frame's id, the frame, and how it is wanted."""


class Coded(NamedTuple):
    """What the archive gave back, and the image that it decodes to."""

    record: ArchivedFrame
    image: Image


def settings_of(config: PilotConfig) -> list[Setting]:
    """Codecs in their order, each from its best quality down. Raises ConfigError for an unknown codec."""
    return [
        Setting(codec, quality) for codec in load_codecs(config) for quality in sorted(config.qualities, reverse=True)
    ]


class DecodedFrames:
    """Decodes, and keeps the latest frames by the content of their files. Safe to use from several threads."""

    def __init__(self, capacity: int = CACHE_BYTES) -> None:
        self._images: OrderedDict[tuple[str, bytes], Image] = OrderedDict()
        self._bytes, self._capacity = 0, capacity
        self._lock = threading.Lock()

    def decode(self, codec: Codec, payload: bytes) -> Image:
        """The image in `payload`; do not change it. Raises DamagedFileError."""
        key = _content(codec, payload)
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
        image = codec.decode(payload)
        self._keep(key, image)
        return image

    def keep(self, codec: Codec, payload: bytes, image: Image) -> None:
        """Keep what `payload` is known to decode to."""
        self._keep(_content(codec, payload), image)

    def _keep(self, key: tuple[str, bytes], image: Image) -> None:
        with self._lock:
            if key not in self._images:
                self._images[key] = image
                self._bytes += image.nbytes
            while self._bytes > self._capacity:
                self._bytes -= self._images.popitem(last=False)[1].nbytes


class Coder:
    """Encodes frames into an archive and decodes what lies there.

    With `trust_encoder` a file that was just encoded is not decoded where its encoder says what it decodes to.
    """

    def __init__(
        self,
        archive: Archive,
        decoded: DecodedFrames,
        pool: Executor,
        encodings: Encodings,
        *,
        trust_encoder: bool,
    ) -> None:
        self._archive, self._decoded, self._pool, self._encodings = archive, decoded, pool, encodings
        self._trust_encoder = trust_encoder
        self._planned = set(archive.ids())

    def plan(self, asked: Iterable[Asked]) -> Iterator[Task]:
        """What has to be encoded for `asked`, in its order: neither stored nor planned already."""
        for frame_id, item, setting in asked:
            key = _key(frame_id, setting)
            if key not in self._planned:
                self._planned.add(key)
                yield Task(item, setting.codec.codec_id, setting.quality, self._trust_encoder)

    def code(self, frames: Sequence[Frame], setting: Setting, stepped: Callable[[], None]) -> list[Coded]:
        """Store what is not stored yet, and give back all, in the order of `frames`; `stepped` is called for each.

        What is not stored is taken from the encodings. Raises ArchiveError and EngineError.
        """
        stored = self._archive.ids()
        missing = sum(_key(frame.frame_id, setting) not in stored for frame in frames)
        for _ in range(len(frames) - missing):
            stepped()
        self._archive.append(self._encoded(missing, setting, stepped))
        read = self._read_back(frames, setting)
        images = self._pool.map(lambda record: self._decoded.decode(setting.codec, record.payload), read)
        return [Coded(*pair) for pair in zip(read, images, strict=True)]

    def _encoded(self, count: int, setting: Setting, stepped: Callable[[], None]) -> Iterator[ArchivedFrame]:
        for record, image in self._encodings.take(count):
            self._decoded.keep(setting.codec, record.payload, image)
            yield record
            stepped()

    def _read_back(self, frames: Sequence[Frame], setting: Setting) -> list[ArchivedFrame]:
        ids = [frame.frame_id for frame in frames]
        where = (
            (pc.field("codec") == setting.codec.codec_id)
            & (pc.field("model") == setting.codec.model)
            & (pc.field("quality") == setting.quality)
            & pc.field("frame_id").isin(ids)
        )
        found = {record.frame_id: record for record in self._archive.frames(where=where)}
        return [found[frame_id] for frame_id in ids]


def _key(frame_id: str, setting: Setting) -> FrameKey:
    return FrameKey(frame_id, setting.codec.codec_id, setting.codec.model, setting.quality)


def _content(codec: Codec, payload: bytes) -> tuple[str, bytes]:
    return codec.codec_id, hashlib.sha256(payload).digest()
