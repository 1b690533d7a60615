"""Shows what exact arithmetic is for, and what it costs: files decoded under other instruction sets, and BD-rate.

`python -m evaluation.exactness FRAMES` encodes frames of the test split here and decodes them in processes that are
told to use other instructions, as another machine would; `--model` names any installed model, the older float ones
too. With `--against WEIGHTS`, the float weights that a model was exported from, it prints its BD-rate to them.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.bench import evenly_spaced
from evaluation.image_paths import image_paths
from inspect_compress.bd import Point, bd_rate
from inspect_compress.errors import InspectCompressError
from inspect_compress.images import Image, read_8_bit_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.weights import Model, default_fingerprint, installed_model, read_weights
from inspect_compress.training.validation import rd_curve

MACHINES = {
    "as encoded": {},
    "one thread": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
    "AVX2 instead of AVX-512": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "SSE4 only": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
}
"""What a process is told by its environment, by the machine it then stands for."""

_DECODE = """
import hashlib, sys
from pathlib import Path
from inspect_compress.errors import OutOfStepError
from inspect_compress.qarv.codec import QarvCodec
for file in sys.argv[1:]:
    try:
        print(hashlib.sha256(QarvCodec().decode(Path(file).read_bytes()).tobytes()).hexdigest())
    except OutOfStepError:
        print("refused")
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        paths = image_paths(options.frames)
        images = [read_8_bit_image(path) for path in evenly_spaced(paths, options.limit)]
        model = installed_model(options.model)
        if options.against:
            cost = bd_rate(curve(read_weights(options.against), images), curve(model, images))
            print(
                f"BD-rate of {options.model} to {options.against.stem}: {cost.percent:+.2f} %, {len(images)} frames"
            )
        else:
            for machine, (refused, different) in survival(model, images, options.quality).items():
                print(f"{machine:25} {refused:4} refused  {different:4} other pixels  of {len(images)} files")
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def survival(model: Model, images: Sequence[Image], quality: int) -> dict[str, tuple[int, int]]:
    """For each of MACHINES, how many files it refuses as out of step, and how many it decodes to other pixels."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        files, digests = [], []
        for number, image in enumerate(images):
            encoded = QarvCodec(model).encode_and_reconstruct(image, quality=quality)
            files.append(Path(folder) / f"{number}.qarv")
            files[-1].write_bytes(encoded.data)
            digests.append(hashlib.sha256(encoded.reconstruction.tobytes()).hexdigest())
        for machine, environment in MACHINES.items():
            command = [sys.executable, "-c", _DECODE, *map(str, files)]
            ran = subprocess.run(
                command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
            )
            decoded = ran.stdout.split()
            refused = decoded.count("refused")
            different = sum(a != b for a, b in zip(decoded, digests, strict=True)) - refused
            found[machine] = (refused, different)
    return found


def curve(model: Model, images: Sequence[Image]) -> list[Point]:
    """Mean bpp and PSNR (dB) from real files."""
    return [(point["bpp"], point["psnr"]) for point in rd_curve(model, images)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="a labelled set or a folder of images")
    parser.add_argument("--model", default=default_fingerprint(), help="fingerprint of an installed model")
    parser.add_argument("--limit", type=int, default=100, help="frames, evenly spaced")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--against", type=Path, help="float weights to compare with")
    return parser


if __name__ == "__main__":
    sys.exit(main())
