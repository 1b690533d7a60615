"""Converting many files side by side: every file is tried, and each failure is kept with its reason."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache, partial
from os import cpu_count
from pathlib import Path

from inspect_compress.codecs import Codec, ScalableCodec, codec_names, load_codec
from inspect_compress.demand import Demand
from inspect_compress.errors import (
    ConfigError,
    CutShortError,
    FormatError,
    ImageError,
    InspectCompressError,
    VerificationError,
)
from inspect_compress.files import read_file, refuse_existing, write_file
from inspect_compress.guard import BEST, Floor, Guarded, encode_guarded
from inspect_compress.images import Image, list_images, read_image, write_png


@dataclass(frozen=True)
class Job:
    """One file to read and one to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Result:
    """What became of a job: bytes read and written, or the reason why it failed (and nothing was written).

    `note` is what is to be known of one that ended otherwise than was asked for.
    """

    job: Job
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    note: str = ""


@dataclass(frozen=True)
class Written:
    """The file that a job wrote, and what is to be known of it; nothing as a rule."""

    path: Path
    note: str = ""


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


def compress_file(
    job: Job, codec: Codec, demand_for: Callable[[Path], Demand], *, verify: bool = False, overwrite: bool
) -> Written:
    """Encode an image file as `demand_for` its path says.

    With `verify` the file is decoded and checked first (see `guard`); what fails is written as PNG beside the target.
    Raises ImageError, ConfigError, VerificationError or OutputError, and then has written nothing.
    """
    refuse_existing(job.target, overwrite=overwrite)
    image = read_image(job.source)
    try:
        demand = demand_for(job.source)
        if not verify:
            write_file(job.target, _encode(image, codec, demand), overwrite=overwrite)
            return Written(job.target)
        guarded = _encode_guarded(image, codec, demand)
    except (ConfigError, ImageError, VerificationError) as error:
        error.args = (f"{job.source}: {error}",)
        raise
    target = job.target if guarded.codec is codec else job.target.with_suffix(guarded.codec.suffix)
    write_file(target, guarded.data, overwrite=overwrite)
    if not guarded.attempts:
        return Written(target)
    kept = f"kept as {guarded.codec.codec_id} of quality {guarded.quality}"
    return Written(target, f"{target}: {kept}: {'; '.join(map(str, guarded.attempts))}")


def _encode(image: Image, codec: Codec, demand: Demand) -> bytes:
    if demand.quality is not None:
        return codec.encode(image, quality=demand.quality)
    return _scalable(codec).draft(image, demand).data


def _scalable(codec: Codec) -> ScalableCodec:
    if isinstance(codec, ScalableCodec):
        return codec
    raise ConfigError(f"codec {codec.codec_id} takes a quality only; use the codec qarv")


def _encode_guarded(image: Image, codec: Codec, demand: Demand) -> Guarded:
    """A quality may climb; a file that any other demand led to is kept, or else the lossless one."""
    check = partial(encode_guarded, codec, image, lossless=load_codec("png"))
    if demand.quality is not None:
        return check(quality=demand.quality)
    draft = _scalable(codec).draft(image, demand)
    floor = Floor(demand.min_psnr, demand.min_ms_ssim)
    return check(quality=BEST, floor=floor, encode=lambda quality: draft)


def decompress_file(job: Job, *, overwrite: bool, levels: int | None = None) -> Written:
    """Decode a compressed file to a PNG; its suffix tells the codec. With `levels` a preview of a `.qarv` file.

    Raises FormatError, ImageError, ConfigError or OutputError, and then has written nothing.
    """
    check_png_target(job.target, overwrite=overwrite)
    write_png(job.target, _decode(job.source, levels), overwrite=overwrite)
    return Written(job.target)


def check_png_target(path: Path, *, overwrite: bool) -> None:
    """Raise ConfigError where `path` is not named as a PNG, OutputError where it exists and may not be replaced."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path}: pictures are written as PNG; end the name in .png")
    refuse_existing(path, overwrite=overwrite)


def write_previews(file: Path, target: Path, *, wait: float, overwrite: bool) -> Iterator[str]:
    """Write each preview of a `.qarv` file to `target`, a PNG, as its bytes arrive; yields a line about each.

    Raises ImageError, FormatError and OutputError.
    """
    from inspect_compress.qarv.preview import growing, previews

    check_png_target(target, overwrite=overwrite)
    shown = 0
    try:
        for preview in previews(growing(file, wait)):
            write_png(target, preview.image, overwrite=overwrite or shown > 0)
            shown = preview.levels
            state = "the whole frame" if preview.whole else f"level {preview.levels} of {preview.count}"
            yield f"{target}: {state}, from {preview.needed:,} bytes"
    except FormatError as error:
        if isinstance(error, CutShortError) and shown:
            yield f"{file}: is not whole yet: {error}"
            return
        error.args = (f"{file}: {error}",)
        raise


def run_jobs(jobs: Sequence[Job], convert: Callable[[Job], Written]) -> Iterator[Result]:
    """Convert on all cores; yields a result for each job as it ends."""

    def attempt(job: Job) -> Result:
        try:
            written = convert(job)
        except InspectCompressError as error:
            return Result(job, error=str(error))
        return Result(job, job.source.stat().st_size, written.path.stat().st_size, note=written.note)

    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        for future in as_completed([pool.submit(attempt, job) for job in jobs]):
            yield future.result()


def _decode(path: Path, levels: int | None) -> Image:
    codecs = _codecs_by_suffix()
    name = codecs.get(path.suffix.lower())
    if name is None:
        raise ConfigError(f"{path}: no codec has this suffix; known: {', '.join(sorted(codecs))}")
    codec = load_codec(name)
    scalable = codec if isinstance(codec, ScalableCodec) else None
    if levels is not None and scalable is None:
        raise ConfigError(f"{path}: only .qarv files have levels")
    try:
        data = read_file(path)
        return scalable.decode(data, levels=levels) if scalable else codec.decode(data)
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
