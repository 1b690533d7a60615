"""Converting many files side by side: every file is tried, and each failure is kept with its reason."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from os import cpu_count
from pathlib import Path

from inspect_compress.codecs import Codec, codec_names, load_codec
from inspect_compress.errors import ConfigError, FormatError, ImageError, InspectCompressError
from inspect_compress.files import refuse_existing, write_file
from inspect_compress.images import Image, list_images, read_image, write_png


@dataclass(frozen=True)
class Job:
    """One file to read and one to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Result:
    """What became of a job: bytes read and written, or the reason why it failed (and nothing was written)."""

    job: Job
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""


def compress_jobs(source: Path, target: Path, codec: Codec) -> list[Job]:
    """The job for a file, or one for each image below a folder. Raises ImageError where there is none."""
    if source.is_dir():
        return _mirrored(list_images(source), source, target, codec.suffix)
    return [Job(source, target)]


def decompress_jobs(source: Path, target: Path) -> list[Job]:
    """The job for a compressed file, or one for each below a folder. Raises ImageError where there is none."""
    if not source.is_dir():
        return [Job(source, target)]
    suffixes = sorted(_codecs_by_suffix())
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not found:
        raise ImageError(f"{source}: holds no compressed files ({', '.join(suffixes)})")
    return _mirrored(found, source, target, ".png")


def compress_file(job: Job, codec: Codec, *, quality: int, overwrite: bool) -> None:
    """Encode an image file. Raises ImageError, ConfigError or OutputError, and then has written nothing."""
    refuse_existing(job.target, overwrite=overwrite)
    image = read_image(job.source)
    try:
        data = codec.encode(image, quality=quality)
    except ImageError as error:
        raise ImageError(f"{job.source}: {error}") from error
    write_file(job.target, data, overwrite=overwrite)


def decompress_file(job: Job, *, overwrite: bool) -> None:
    """Decode a compressed file to a PNG; its suffix tells the codec.

    Raises FormatError, ImageError, ConfigError or OutputError, and then has written nothing.
    """
    if job.target.suffix.lower() != ".png":
        raise ConfigError(f"{job.target}: decoded images are written as PNG; end the name in .png")
    refuse_existing(job.target, overwrite=overwrite)
    write_png(job.target, _decode(job.source), overwrite=overwrite)


def run_jobs(jobs: Sequence[Job], convert: Callable[[Job], None]) -> Iterator[Result]:
    """Convert on all cores; yields a result for each job as it ends."""

    def attempt(job: Job) -> Result:
        try:
            convert(job)
        except InspectCompressError as error:
            return Result(job, error=str(error))
        return Result(job, job.source.stat().st_size, job.target.stat().st_size)

    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        for future in as_completed([pool.submit(attempt, job) for job in jobs]):
            yield future.result()


def _decode(path: Path) -> Image:
    codecs = _codecs_by_suffix()
    name = codecs.get(path.suffix.lower())
    if name is None:
        raise ConfigError(f"{path}: no codec has this suffix; known: {', '.join(sorted(codecs))}")
    try:
        return load_codec(name).decode(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except FormatError as error:
        error.args = (f"{path}: {error}",)
        raise


@cache
def _codecs_by_suffix() -> dict[str, str]:
    return {load_codec(name).suffix: name for name in codec_names()}


def _mirrored(files: Sequence[Path], folder: Path, out: Path, suffix: str) -> list[Job]:
    """One job a file, below `out` as it lies below `folder`.

    `part.png` becomes `part` + suffix; where several files would become the same, they keep their own suffix
    too: `part.png.qarv`, `part.jpg.qarv`.
    """
    targets = [out / file.relative_to(folder).with_suffix(suffix) for file in files]
    uses = Counter(targets)
    return [
        Job(file, target if uses[target] == 1 else target.with_name(file.name + suffix))
        for file, target in zip(files, targets, strict=True)
    ]
