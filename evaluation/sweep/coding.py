"""Frames through a codec and an archive: encoded once, stored, read back, decoded once. Measures nothing."""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import NamedTuple

import pyarrow.compute as pc

from evaluation.pilot_config import PilotConfig, load_codecs
from evaluation.sweep.frames import Frame
from inspect_compress.codecs import Codec, ScalableCodec
from inspect_compress.demand import Demand
from inspect_compress.fidelity import psnr
from inspect_compress.images import Image
from pipelines.archive import Archive, ArchivedFrame, FrameKey

CACHE_BYTES = 512 * 2**20
"""Most pixels' bytes of decoded frames that are kept for when the same file is decoded again."""


class Setting(NamedTuple):
    """A codec at a quality."""

    codec: Codec
    quality: int

    def __str__(self) -> str:
        return f"{self.codec.codec_id} at quality {self.quality}"


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

    def __init__(self, archive: Archive, decoded: DecodedFrames, pool: Executor, *, trust_encoder: bool) -> None:
        self._archive, self._decoded, self._pool = archive, decoded, pool
        self._trust_encoder = trust_encoder

    def code(self, frames: Sequence[Frame], setting: Setting, stepped: Callable[[], None]) -> list[Coded]:
        """Store what is not stored yet, and give back all, in the order of `frames`; `stepped` is called for each.

        Raises ArchiveError, and what the codec raises.
        """
        stored = self._archive.ids()
        missing = [frame for frame in frames if _key(frame, setting) not in stored]
        for _ in range(len(frames) - len(missing)):
            stepped()
        records = self._pool.map(lambda frame: self._encode(frame, setting), missing)
        self._archive.append(_counted(records, stepped))
        read = self._read_back(frames, setting)
        images = self._pool.map(lambda record: self._decoded.decode(setting.codec, record.payload), read)
        return [Coded(*pair) for pair in zip(read, images, strict=True)]

    def _encode(self, frame: Frame, setting: Setting) -> ArchivedFrame:
        payload = self._payload(frame.image, setting)
        fidelity = psnr(frame.image, self._decoded.decode(setting.codec, payload))
        return ArchivedFrame(
            frame_id=frame.frame_id,
            captured_at=frame.captured_at,
            codec=setting.codec.codec_id,
            model=setting.codec.model,
            quality=setting.quality,
            width=frame.image.shape[1],
            height=frame.image.shape[0],
            channels=1 if frame.image.ndim == 2 else 3,
            payload=payload,
            pixels_sha256=hashlib.sha256(frame.image.tobytes()).hexdigest(),
            psnr=fidelity if math.isfinite(fidelity) else None,
        )

    def _payload(self, image: Image, setting: Setting) -> bytes:
        codec = setting.codec
        if not (self._trust_encoder and isinstance(codec, ScalableCodec)):
            return codec.encode(image, quality=setting.quality)
        draft = codec.draft(image, Demand(quality=setting.quality))
        payload = draft.data
        self._decoded.keep(codec, payload, draft.reconstruction)
        return payload

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


def _counted(records: Iterable[ArchivedFrame], stepped: Callable[[], None]) -> Iterator[ArchivedFrame]:
    for record in records:
        yield record
        stepped()


def _key(frame: Frame, setting: Setting) -> FrameKey:
    return FrameKey(frame.frame_id, setting.codec.codec_id, setting.codec.model, setting.quality)


def _content(codec: Codec, payload: bytes) -> tuple[str, bytes]:
    return codec.codec_id, hashlib.sha256(payload).digest()
