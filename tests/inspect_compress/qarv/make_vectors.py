"""Makes vectors/: `.qarv` files of the default model, and the PNGs that they decode to, from sample frames.

Run it once for each new default model: `python tests/inspect_compress/qarv/make_vectors.py`. Old ones stay.
"""

from pathlib import Path

from inspect_compress.images import read_image, write_png
from inspect_compress.qarv.codec import QarvCodec

HERE = Path(__file__).parent
FRAMES = sorted((HERE.parents[2] / "sample_data" / "images").rglob("*.png"))
CROPS = {"tiny": (1, 1), "odd": (37, 53), "plate": (96, 128)}


def main() -> None:
    codec = QarvCodec()
    for number, (name, (height, width)) in enumerate(CROPS.items()):
        for kind, frame in (("colour", FRAMES[number]), ("mono", FRAMES[-1 - number])):
            for quality in (5, 90):
                encoded = codec.encode_and_reconstruct(read_image(frame)[:height, :width], quality=quality)
                path = HERE / "vectors" / f"{codec.model}-{name}-{kind}-{quality}.qarv"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(encoded.data)
                write_png(path.with_suffix(".png"), encoded.reconstruction, overwrite=True)


if __name__ == "__main__":
    main()
