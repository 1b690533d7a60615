"""Puts the kept crops beside what the detector said of their frames. Cuts none: that is `evaluation.crops`' part."""

from collections.abc import Iterable, Sequence

import pandas as pd

from evaluation.escapes import SHOWN_ESCAPES, SHOWN_FALSE_ALARMS, Change, Changes, Turned
from evaluation.kpis import ORIGINAL
from evaluation.report.samples import Crop, Sample, closest_calls


def take_samples(
    originals: pd.DataFrame, results: pd.DataFrame, crops: pd.DataFrame, column: str, threshold: float
) -> list[Sample]:
    """The frames that the detector found on the originals with the least to spare, one per kind of defect."""
    order = list(results["codec"].unique())
    samples = []
    for row in closest_calls(originals, f"score_{column}", threshold).to_dict("records"):
        frame_id = row["frame_id"]
        own = _decoded_crops(results, crops, frame_id, column, order)
        flag = bool(row[f"flag_{column}"])
        samples.append(Sample(frame_id, row["defect"], flag, _original_png(crops, frame_id), own))
    return samples


def take_changes(
    turned: tuple[Sequence[Turned], Sequence[Turned]], results: pd.DataFrame, crops: pd.DataFrame, column: str
) -> Changes:
    """The most harmful of what `find_turned` found, with their pictures."""

    def change(turned: Turned) -> Change:
        own = crops[(crops["frame_id"] == turned.frame_id) & (crops["codec"] == turned.codec)]
        bits = own.loc[own["quality"] == turned.quality, "bits"].iloc[0]
        decoded = _decoded_crops(results, crops, turned.frame_id, column, [turned.codec])
        return Change(
            *turned, _original_png(crops, turned.frame_id), decoded, bits if isinstance(bits, bytes) else None
        )

    escapes, false_alarms = turned
    return Changes(
        tuple(map(change, escapes[:SHOWN_ESCAPES])),
        tuple(map(change, false_alarms[:SHOWN_FALSE_ALARMS])),
        len(escapes),
        len(false_alarms),
    )


def _original_png(crops: pd.DataFrame, frame_id: str) -> bytes:
    own = crops[(crops["frame_id"] == frame_id) & (crops["codec"] == ORIGINAL)]
    return bytes(own["png"].iloc[0])


def _decoded_crops(
    results: pd.DataFrame, crops: pd.DataFrame, frame_id: str, column: str, codecs: Iterable[str]
) -> tuple[Crop, ...]:
    """Of a frame: codecs in the order given, best quality first."""
    keys = ["frame_id", "codec", "quality"]
    own = crops[crops["frame_id"] == frame_id].merge(results, on=keys, how="inner")
    found = []
    for codec in codecs:
        for row in own[own["codec"] == codec].sort_values("quality", ascending=False).to_dict("records"):
            found.append(
                Crop(codec, int(row["quality"]), float(row["bpp"]), bool(row[f"flag_{column}"]), bytes(row["png"]))
            )
    return tuple(found)
