"""How many copies `evaluation.leakage` finds again: of real frames, each altered as copies usually are.

`python -m evaluation.leakage_trial DATASET` prints it for the test frames. How many pairs it reports wrongly cannot
be counted like this: look at what `python -m evaluation.leakage DATASET` lists.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from evaluation.frames import frames_from
from evaluation.leakage import NEAR
from evaluation.signatures import common_patterns, most_alike, signature
from inspect_compress.codecs import load_codec
from inspect_compress.errors import InspectCompressError
from inspect_compress.images import Image

Alteration = Callable[[Image], Image]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        frames = frames_from(__doc__, arguments)
    except InspectCompressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("| copy | found again | likeness, median | least |\n|---|---|---|---|")
    for name, likeness in likeness_of_copies(frames, ALTERATIONS).items():
        found = 100 * float(np.mean(likeness >= NEAR))
        print(f"| {name} | {found:.1f} % | {np.median(likeness):.2f} | {likeness.min():.2f} |")
    print(f"\n{len(frames)} frames; found: with a likeness of {NEAR} or more")
    return 0


def likeness_of_copies(frames: Sequence[Image], alterations: Mapping[str, Alteration]) -> dict[str, np.ndarray]:
    """For each alteration how like its own frame each altered frame is, float `(frames,)`."""
    signatures = np.stack([signature(frame) for frame in frames])
    patterns = common_patterns(signatures)
    return {
        name: np.array(
            [
                most_alike(signature(altered(frame))[None], own[None], patterns)[0][0]
                for frame, own in zip(frames, signatures, strict=True)
            ]
        )
        for name, altered in alterations.items()
    }


def _encoded(quality: int) -> Alteration:
    jpeg = load_codec("jpeg")
    return lambda image: jpeg.decode(jpeg.encode(image, quality=quality))


def _brighter(image: Image) -> Image:
    return np.clip(1.1 * image.astype(np.float32) + 5, 0, 255).astype(np.uint8)


def _noisy(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def _shifted(pixels: int) -> Alteration:
    return lambda image: np.roll(image, (pixels, pixels), axis=(0, 1))


def _resized(scale: float) -> Alteration:
    def alter(image: Image) -> Image:
        size = (round(scale * image.shape[1]), round(scale * image.shape[0]))
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)

    return alter


def _all_at_once(image: Image) -> Image:
    return _encoded(75)(_brighter(_shifted(1)(_resized(0.8)(image))))


ALTERATIONS: Mapping[str, Alteration] = {
    "JPEG, quality 90": _encoded(90),
    "JPEG, quality 50": _encoded(50),
    "10 % brighter": _brighter,
    "noise of 3 grey levels": _noisy,
    "shifted by 1 pixel": _shifted(1),
    "shifted by 3 pixels": _shifted(3),
    "half the size": _resized(0.5),
    "1.3 times the size": _resized(1.3),
    "0.8 times the size, shifted by 1, brighter, JPEG 75": _all_at_once,
}


if __name__ == "__main__":
    sys.exit(main())
