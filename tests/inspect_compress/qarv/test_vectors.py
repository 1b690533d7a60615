"""Files of the two older models, whose decoder is floating point, still decode where its arithmetic is the same.

Files of newer models decode everywhere: see test_exactness.py.
"""

from pathlib import Path

import numpy as np
import pytest

from inspect_compress.errors import OutOfStepError
from inspect_compress.images import read_image
from inspect_compress.qarv.codec import QarvCodec
from inspect_compress.qarv.describe import describe

FILES = sorted((Path(__file__).parent / "vectors").glob("*.qarv"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_vector_decodes_to_its_picture(file: Path) -> None:
    expected = read_image(file.with_suffix(".png"))
    facts = describe(file)
    assert (facts["height"], facts["width"]) == expected.shape[:2]
    assert facts["channels"] == (3 if expected.ndim == 3 else 1)
    try:
        decoded = QarvCodec().decode(file.read_bytes())
    except OutOfStepError:
        pytest.skip("this machine's float arithmetic is not that of the machine that made the vectors")
    assert np.abs(decoded.astype(int) - expected).max() <= 1
