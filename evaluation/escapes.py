"""Which defects compression lost, and which good parts it made suspicious: each frame, most harmful first.

Judges no codec: that is `evaluation.decision`'s part. Pictures come from `evaluation.crops`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluation.report.samples import Crop

SHOWN_ESCAPES, SHOWN_FALSE_ALARMS = 12, 8
"""How many get pictures at most; a page with hundreds would neither load nor be read."""


class Turned(NamedTuple):
    """A test frame whose verdict compression turned.

    `quality`: the best quality at which it turned. `score_before`: on the original. `score_after`: quality and
    score, best quality first. `threshold`: the frozen detector's. `harm`: for each quality at which the verdict is
    turned, how far beyond the threshold the score went, in standard deviations of the good test frames' scores
    on the originals, summed: a defect that is far below the threshold, and at many qualities, is the worst.
    """

    frame_id: str
    defect: str
    codec: str
    quality: int
    score_before: float
    threshold: float
    score_after: tuple[tuple[int, float], ...]
    harm: float


@dataclass(frozen=True)
class Change:
    """A turned frame (see `Turned` for what its fields share), with pictures.

    `original`: a PNG file of the original's crop; `crops`: of the decoded ones, in the order of `score_after`.
    `bits`: a PNG file of where the bits of the crop went at `quality`; None for codecs that do not tell.
    """

    frame_id: str
    defect: str
    codec: str
    quality: int
    score_before: float
    threshold: float
    score_after: tuple[tuple[int, float], ...]
    harm: float
    original: bytes
    crops: tuple[Crop, ...]
    bits: bytes | None


@dataclass(frozen=True)
class Changes:
    """The most harmful changes, with pictures, and how many there are in all.

    `escapes`: defective frames that were found on the originals and are missed at some quality. `false_alarms`:
    good frames that passed and are flagged at some quality.
    """

    escapes: tuple[Change, ...]
    false_alarms: tuple[Change, ...]
    escapes_total: int
    false_alarms_total: int


def find_turned(
    originals: pd.DataFrame, results: pd.DataFrame, column: str, threshold: float
) -> tuple[list[Turned], list[Turned]]:
    """Escapes and false alarms that the first codec of `results` caused, most harmful first.

    `originals` and `results`: as in `evaluation.sweep.Sweep`. `column`: of a frozen detector.
    """
    score, flag = f"score_{column}", f"flag_{column}"
    spread = _spread(originals.loc[originals["defect"] == "", score].to_numpy(np.float64))
    of_codec = results[results["codec"] == results["codec"].iloc[0]].sort_values("quality", ascending=False)
    before = originals.set_index("frame_id")
    right = before[flag].astype(bool) == (before["defect"] != "")
    found = []
    for frame_id, rows in of_codec.groupby("frame_id", sort=False):
        if not right[frame_id]:
            continue
        turned = rows[rows[flag].astype(bool) != bool(before.at[frame_id, flag])]
        if len(turned):
            found.append(
                Turned(
                    str(frame_id),
                    str(before.at[frame_id, "defect"]),
                    str(rows["codec"].iloc[0]),
                    int(turned["quality"].iloc[0]),
                    float(before.at[frame_id, score]),
                    threshold,
                    tuple(zip(rows["quality"].astype(int).tolist(), rows[score].astype(float).tolist(), strict=True)),
                    float((turned[score] - threshold).abs().sum() / spread),
                )
            )
    found.sort(key=lambda turned: (-turned.harm, turned.frame_id))
    return [t for t in found if t.defect], [t for t in found if not t.defect]


def _spread(scores: Sequence[float] | np.ndarray) -> float:
    """The standard deviation; one where there is none to measure with."""
    spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan
    return spread if spread > 0 else 1.0
