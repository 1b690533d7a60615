"""A plant's own network as a detector: any ONNX file that takes one image, and a small TOML file beside it.

The TOML says what the file cannot: how pixels become numbers, and how the output becomes one score. Nothing is
trained here, and nothing is downloaded.
"""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from pydantic import Field
from scipy.special import softmax

from inspect_compress.errors import DetectorError
from inspect_compress.files import read_file
from inspect_compress.images import MAX_SIDE, Image, check_image
from inspect_compress.settings import Settings, read_settings
from pipelines.detectors import Labels, Scores

Kind = Literal["score", "logits", "probabilities", "map"]
Layout = Literal["NCHW", "NHWC"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Positive = Annotated[float, Field(gt=0)]

THREADS = 2
"""Frames scored at once, each on one thread, so that a score depends on neither batch mates nor cores."""
CHANNELS = {"grey": 1, "rgb": 3, "bgr": 3}
SAMPLES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}
"""The inputs' types that are fed, by ONNX Runtime's names for them."""
OUTPUTS = ("pred_score", "anomaly_map")
"""Where a file has several outputs and none is named: anomalib's names of a score and of a heat map."""
MODEL_BYTES = 2**30
"""Most bytes of an ONNX file; its format ends at twice that."""
SILENT = 4
"""ONNX Runtime's log level at which it writes nothing itself: errors come back as exceptions."""


class InputSettings(Settings):
    """`[input]`: what the network was trained to see. What is left out is taken from the model's input."""

    size: tuple[Side, Side] | None = None
    channels: Literal["grey", "rgb", "bgr"] | None = None
    layout: Layout | None = None
    range: tuple[float, float] | None = None
    mean: Annotated[tuple[float, ...], Field(min_length=1)] = (0.0,)
    std: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)


class OutputSettings(Settings):
    """`[output]`: which output it is, and how it becomes one score."""

    name: str | None = None
    kind: Kind | None = None
    defective: tuple[Annotated[int, Field(ge=0)], ...] = ()


class ModelSettings(Settings):
    """The file beside the model."""

    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    input: InputSettings = InputSettings()
    output: OutputSettings = OutputSettings()


class _Input(NamedTuple):
    """The model's input, as the file and the TOML agree on it. `size` is width and height."""

    name: str
    size: tuple[int, int]
    channels: str
    layout: Layout
    samples: type[np.generic]


class OnnxDetector:
    """Scores of an ONNX model. `fit` changes nothing, and the model's own threshold is kept where it has one.

    `model` is a fingerprint of both files, 16 hex digits; weights that the ONNX file keeps in further files are not
    part of it.
    """

    needs_defects = False
    trainable = False

    def __init__(self, path: Path) -> None:
        """Load `path` and the TOML of the same name beside it, and try it on one grey frame.

        Raises DetectorError where the model cannot be used, ConfigError for a setting that is not understood.
        """
        self._path, self._toml = path, path.with_suffix(".toml")
        self._settings = _settings(path, self._toml)
        self.model = hashlib.sha256(_model_bytes(path) + self._toml.read_bytes()).hexdigest()[:16]
        self._session = _session(path)
        self._input = self._agreed_input()
        self._check_normalisation()
        self._output = self._chosen_output()
        sample = self._run(np.full(self._input.size[::-1], 128, np.uint8))
        self._kind, self._shape = self._agreed_kind(sample), sample.shape
        self.own_threshold = self._settings.threshold
        self.threshold = math.nan if self.own_threshold is None else self.own_threshold

    def fit(self, images: Sequence[Image], labels: Labels, *, seed: int = 0) -> "OnnxDetector":
        """Return itself: the model comes trained."""
        return self

    def score(self, images: Sequence[Image]) -> Scores:
        """One float64 per image of `uint8`. Raises DetectorError where the model fails or gives no number."""
        with ThreadPoolExecutor(THREADS) as pool:
            return np.array(list(pool.map(self._score_one, images)), np.float64)

    def _score_one(self, image: Image) -> float:
        output = self._run(check_image(image))
        if output.shape != self._shape:
            raise self._unfit(f"gives {_shape(output.shape)} for one frame and {_shape(self._shape)} for another")
        score = _as_score(output, self._kind, self._settings.output.defective)
        if not math.isfinite(score):
            raise DetectorError(
                f"{self._path}: gave the score {score} for a frame; check range, mean and std in {self._toml}"
            )
        return score

    def _run(self, image: Image) -> NDArray[np.float64]:
        """The output for one image, whatever its shape."""
        try:
            found = self._session.run([self._output], {self._input.name: self._fed(image)})[0]
            return np.asarray(found, np.float64)
        except Exception as error:  # ONNX Runtime's exceptions have no common class of their own
            raise DetectorError(f"{self._path}: does not run: {_one_line(error)}") from error

    def _fed(self, image: Image) -> NDArray[Any]:
        """The image as the model takes it: a batch of one."""
        settings, pixels = self._settings.input, _resized(_in_channels(image, self._input.channels), self._input.size)
        fed = pixels[..., None] if pixels.ndim == 2 else pixels
        if settings.range:
            low, high = settings.range
            fed = (low + fed * ((high - low) / 255) - np.array(settings.mean)) / np.array(settings.std)
        if self._input.layout == "NCHW":
            fed = fed.transpose(2, 0, 1)
        return np.ascontiguousarray(fed[None], self._input.samples)

    def _agreed_input(self) -> _Input:
        """Raises DetectorError where the model takes no images, or other ones than the TOML says."""
        found, settings = self._session.get_inputs(), self._settings.input
        if len(found) != 1:
            names = ", ".join(value.name for value in found)
            raise self._unfit(f"takes {len(found)} inputs ({names}); a detector gets an image and nothing else")
        shape, samples = list(found[0].shape), SAMPLES.get(found[0].type)
        if samples is None:
            raise self._unfit(f"takes {found[0].type}; known are {', '.join(SAMPLES)}")
        if len(shape) != 4:
            raise self._unfit(f"takes shape {_shape(shape)}; four axes are needed: batch, channels, height, width")
        if isinstance(shape[0], int) and shape[0] != 1:
            raise self._unfit(f"takes batches of {shape[0]}; export it for batches of 1 or of any size")
        layout = settings.layout or self._told_layout(shape)
        count, height, width = shape[1:] if layout == "NCHW" else (shape[3], *shape[1:3])
        return _Input(found[0].name, self._size(width, height), self._channels(count), layout, samples)

    def _told_layout(self, shape: Sequence[Any]) -> Layout:
        first, last = (shape[axis] in (1, 3) for axis in (1, 3))
        if first == last:
            raise self._unfit(
                f"takes shape {_shape(shape)}, which does not tell where the channels are; "
                f'write layout = "NCHW" or "NHWC" in [input] of {self._toml}'
            )
        return "NCHW" if first else "NHWC"

    def _size(self, width: Any, height: Any) -> tuple[int, int]:
        asked = self._settings.input.size
        sides = (width, height)
        if asked is None and not all(isinstance(side, int) for side in sides):
            raise self._unfit(f"takes frames of any size; write size = [width, height] in [input] of {self._toml}")
        if asked and any(isinstance(side, int) and side != wish for side, wish in zip(sides, asked, strict=True)):
            raise self._unfit(f"takes {width}x{height} pixels, but {self._toml} says {asked[0]}x{asked[1]}")
        return asked or (width, height)

    def _channels(self, count: Any) -> str:
        asked = self._settings.input.channels
        if isinstance(count, int) and count not in CHANNELS.values():
            raise self._unfit(f"takes {count} channels; frames have 1 or 3")
        if asked is None and not isinstance(count, int):
            raise self._unfit(f'takes any channels; write channels = "grey", "rgb" or "bgr" in {self._toml}')
        channels = asked or ("grey" if count == 1 else "rgb")
        if isinstance(count, int) and CHANNELS[channels] != count:
            raise self._unfit(f"takes {count} channels, but {self._toml} says {channels} ({CHANNELS[channels]})")
        return channels

    def _check_normalisation(self) -> None:
        settings = self._settings.input
        if self._input.samples is np.uint8 and settings.model_fields_set & {"range", "mean", "std"}:
            raise self._unfit(f"takes pixels as they are (uint8); leave range, mean and std out of {self._toml}")
        if self._input.samples is not np.uint8 and settings.range is None:
            choices = "[0, 1], [0, 255] or [-1, 1]"
            raise self._unfit(f"needs to know what black and white become; write range = {choices} in {self._toml}")
        for name in ("mean", "std"):
            given = len(getattr(settings, name))
            if given not in (1, CHANNELS[self._input.channels]):
                raise self._unfit(
                    f"has {CHANNELS[self._input.channels]} channels, but {name} in {self._toml} has {given} values"
                )

    def _chosen_output(self) -> str:
        found, asked = [output.name for output in self._session.get_outputs()], self._settings.output.name
        if asked is not None and asked not in found:
            raise self._unfit(f"has no output {asked!r}; known: {', '.join(found)}")
        for name in (asked, *(OUTPUTS if len(found) > 1 else found)):
            if name in found:
                return str(name)
        raise self._unfit(f"has {len(found)} outputs; write in [output] of {self._toml} which: {', '.join(found)}")

    def _agreed_kind(self, sample: NDArray[np.float64]) -> Kind:
        """How the output is read. Raises DetectorError where its shape is not that of the kind."""
        settings, shape = self._settings.output, sample.shape
        longer = [side for side in shape if side > 1]
        fits: dict[Kind, bool] = {
            "score": sample.size == 1,
            "logits": longer == [sample.size],
            "map": len(shape) > 2 and min(shape[-2:]) > 1 and sample.size == math.prod(shape[-2:]),
        }
        fits["probabilities"] = fits["logits"]
        kind = settings.kind or next((kind for kind in ("score", "map") if fits[kind]), None)
        where = f"output {self._output} has shape {_shape(shape)} for one frame"
        if kind is None:
            raise self._unfit(f'{where}; write kind = "logits", "probabilities" or "map" in [output] of {self._toml}')
        if not fits[kind]:
            raise self._unfit(f"{where}, which is no {kind}; change kind in [output] of {self._toml}")
        self._check_classes(kind, sample.size)
        return kind

    def _check_classes(self, kind: Kind, count: int) -> None:
        of_classes, defective = kind in ("logits", "probabilities"), self._settings.output.defective
        if not of_classes and defective:
            raise self._unfit(f"gives a {kind}, not classes; leave defective out of [output] of {self._toml}")
        if of_classes and not (defective and max(defective) < count and len(set(defective)) < count):
            raise self._unfit(
                f"gives {count} classes; write in [output] of {self._toml} which are defects, "
                f"defective = [1] for the second (0 to {count - 1}, not all)"
            )

    def _unfit(self, why: str) -> DetectorError:
        return DetectorError(f"{self._path}: {why}")


def _as_score(output: NDArray[np.float64], kind: Kind, defective: Sequence[int]) -> float:
    if kind in ("score", "map"):
        return float(output.max())
    classes = output.ravel()
    shares = softmax(classes) if kind == "logits" else classes
    return float(shares[sorted(set(defective))].sum())


def _in_channels(image: Image, channels: str) -> Image:
    """The image with as many channels as asked for; grey by Pillow's weights (ITU-R BT.601)."""
    if channels == "grey":
        return image if image.ndim == 2 else np.asarray(PillowImage.fromarray(image).convert("L"))
    colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return colour if channels == "rgb" else colour[..., ::-1]


def _resized(pixels: Image, size: tuple[int, int]) -> Image:
    """`pixels` at `size` (width, height), whatever their proportions: bilinear, as torchvision resizes."""
    if pixels.shape[1::-1] == size:
        return pixels
    picture = PillowImage.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(picture.resize(size, PillowImage.Resampling.BILINEAR))


def _settings(path: Path, toml: Path) -> ModelSettings:
    if not path.is_file():
        raise DetectorError(f"{path}: there is no such file; name an ONNX model")
    if not toml.is_file():
        raise DetectorError(f"{path}: needs a file {toml.name} beside it that says how frames are fed to it")
    return read_settings(toml, ModelSettings)


def _model_bytes(path: Path) -> bytes:
    try:
        return read_file(path, limit=MODEL_BYTES)
    except OSError as error:
        raise DetectorError(f"{path}: cannot be read: {error.strerror or error}") from error


def _session(path: Path) -> Any:
    runtime = _runtime(path)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = SILENT
    try:
        return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common class of their own
        raise DetectorError(f"{path}: is not an ONNX model that can be loaded: {_one_line(error)}") from error


def _runtime(path: Path) -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise DetectorError(f"{path}: needs ONNX Runtime; run pip install 'inspect-compress[onnx]'") from error
    return onnxruntime


def _shape(sides: Sequence[Any]) -> str:
    return "×".join(str(side) for side in sides) or "of one number"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
