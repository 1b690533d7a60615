"""Makes golden/: `.qarv` files of the default model, from sample frames, and the SHA-256 of their pixels.

Run it once for each new default model, and for each new version of the format:
`python tests/inspect_compress/qarv/make_golden.py`. Old ones stay.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from inspect_compress.images import Image, read_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.container import VERSION
from inspect_compress.qarv.lmbda_map import LmbdaMap, grid, index_of

HERE = Path(__file__).parent
FOLDER = HERE / "golden"
FRAMES = sorted((HERE.parents[2] / "sample_data" / "images").rglob("*.png"))
SIZES = {"tiny": (1, 1), "odd": (37, 53), "plate": (96, 128), "frame": (280, 303)}
QUALITIES = (1, 60, 100)


def main() -> None:
    codec = QarvCodec()
    beginning = f"{codec.model}-{VERSION}"
    digests = {}
    FOLDER.mkdir(exist_ok=True)
    for number, (name, (height, width)) in enumerate(SIZES.items()):
        for kind, frame in (("colour", FRAMES[number]), ("mono", FRAMES[-1 - number])):
            image = _repeated(read_image(frame), height, width)
            indexes: dict[str, int | LmbdaMap] = {str(quality): index_of(quality) for quality in QUALITIES}
            rng = np.random.default_rng(number)
            for highest in (160, 250):  # the difference planes of colour are halved at the lower one
                indexes[f"map-{highest}"] = rng.choice(
                    np.array((40, 120, highest), np.uint8), grid(height, width, codec.margin)
                )
            for label, index in indexes.items():
                encoded = codec.encode_at(image, index)
                path = FOLDER / f"{beginning}-{name}-{kind}-{label}.qarv"
                path.write_bytes(encoded.data)
                digests[path.name] = hashlib.sha256(encoded.reconstruction.tobytes()).hexdigest()
    (FOLDER / f"{beginning}.json").write_text(json.dumps(digests, indent=1) + "\n")


def _repeated(image: Image, height: int, width: int) -> Image:
    times = [-(-wanted // side) for wanted, side in zip((height, width), image.shape, strict=False)]
    return np.tile(image, times + [1] * (image.ndim - 2))[:height, :width]


if __name__ == "__main__":
    main()
