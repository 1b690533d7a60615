"""Hand-made evidence for the page's tests and for looking at it: figures of a made-up plant, no sweep needed."""

import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.curves import compare_codecs
from evaluation.decision import Margins, decide
from evaluation.economics import Economics, economics
from evaluation.escapes import Change, Changes
from evaluation.evidence import Evidence, Facts
from evaluation.kpis import ORIGINAL, ClassRecall, Kpi
from evaluation.leakage import Leakage, Pair
from evaluation.outcome import Outcome
from evaluation.ranking import auroc
from evaluation.report.samples import Crop, Sample
from evaluation.roi_config import example_settings
from evaluation.shift_kpis import ShiftRow
from evaluation.statistics import Design, Estimate, paired_difference, proportion

CODECS = ("qarv", "jpeg", "jxl")
QUALITIES = (95, 85, 70, 50, 30, 10)
KINDS = ("scratch", "pit", "crack")
THRESHOLD = 1.6
PIXELS = 300 * 300
DESIGN = Design(effect=1.3, groups=31)
MARGINS = Margins(recall=0.05, false_alarms=0.05)

FACTS = Facts(
    dataset="gears & <shafts>",
    made_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    splits={"train": (420, 96), "calibration": (140, 40), "test": (240, 180)},
    kinds=dict.fromkeys(KINDS, 60),
    groups=31,
    raw_bytes=420 * PIXELS,
    target_false_alarm_rate=0.05,
    alpha=0.025,
    seed=0,
    thresholds={"classifier": THRESHOLD, "anomaly": THRESHOLD},
    own_thresholds=[],
    came_trained=[],
    scenarios=["frozen", "adapted", "aware"],
    left_out={"learner": "too_few", "plant_adapted": "fixed", "plant_aware": "fixed"},
    needed=8,
    models={"qarv": "0123456789abcdef", "jpeg": "", "jxl": ""},
    qualities=list(QUALITIES),
    versions={"inspect-compress": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
    settings='codecs = ["qarv", "jpeg", "jxl"]\nqualities = [10, 30, 50, 70, 85, 95]\nrecall_margin = 0.05',
    command="inspect-compress pilot gears --out out --config pilot.toml --lang both",
    manifest_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    fingerprint="60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
)


@dataclass(frozen=True)
class Scores:
    """A detector's scores on good and on defective frames, the kinds of defect in turn."""

    good: NDArray[np.float64]
    defective: NDArray[np.float64]


@cache
def make_evidence(
    damage: float = 0.35, *, frames: tuple[int, int] = (240, 180), scenarios: tuple[str, ...] = tuple(FACTS.scenarios)
) -> Evidence:
    """Two detectors and three codecs at six qualities. `damage`: how far a defect's score falls at the worst one."""
    kpis = tuple(kpi for scenario in scenarios for kpi in _rows(scenario, damage, frames))
    kpis = tuple(sorted(kpis, key=lambda kpi: (kpi.detector != "classifier", list(scenarios).index(kpi.scenario))))
    own = [kpi for kpi in kpis if kpi.detector == "classifier"]
    return Evidence(
        facts=FACTS,
        margins=MARGINS,
        kpis=kpis,
        decision=decide(own, MARGINS),
        scenario_decisions={name: decide(own, MARGINS, scenario=name) for name in scenarios},
        curves=tuple(compare_codecs(kpis, CODECS[0])),
        leakage=LEAKAGE,
        shifts=_shifts(),
        changes=_changes(),
        samples=tuple(_sample(kind, place) for place, kind in enumerate(KINDS)),
        economics=_economics(frames),
    )


LEAKAGE = Leakage(
    exact=(Pair("images/0007.png", "images/0311.png", "train", "test", 0),),
    near=(
        Pair("images/0012.png", "images/0340.png", "train", "test", 3),
        Pair("images/lot-7/a-very-long-folder-name/0013.png", "images/0341.png", "calibration", "test", 5),
    ),
    duplicates=(Pair("images/0020.png", "images/0021.png", "train", "train", 0),),
    groups=("lot 7",),
    method="SHA-256 of the pixels; 64-bit perceptual hash",
)


def _rows(scenario: str, damage: float, frames: tuple[int, int]) -> list[Kpi]:
    """One scenario's KPIs: both detectors, the originals first."""
    kept = {"frozen": 1.0, "adapted": 0.2, "aware": 0.45}[scenario]
    rows = []
    for place, detector in enumerate(("classifier", "anomaly")):
        rng = np.random.default_rng(place)
        before = Scores(rng.normal(0, 0.75, frames[0]), rng.normal(4.2 - place, 1.1, frames[1]))
        if scenario != "adapted":
            rows.append(_kpi(detector, scenario, ORIGINAL, None, before, before, 38_000, math.nan))
        for order, codec in enumerate(CODECS):
            for quality in QUALITIES:
                strength = kept * damage * (1 + 0.5 * order) * (100 - quality) / 10
                after = Scores(
                    before.good + 0.12 * strength * rng.normal(0, 1, frames[0]),
                    before.defective - strength * rng.uniform(0.1, 1, frames[1]),
                )
                size = int((order + 2) * 180 * 1.04**quality)
                rows.append(_kpi(detector, scenario, codec, quality, before, after, size, 27 + quality / 6 - order))
    return rows


def _kpi(
    detector: str,
    scenario: str,
    codec: str,
    quality: int | None,
    before: Scores,
    after: Scores,
    size: int,
    psnr: float,
) -> Kpi:
    found = [scores.defective >= THRESHOLD for scores in (before, after)]
    flagged = [scores.good >= THRESHOLD for scores in (before, after)]
    lost, gained = int((found[0] & ~found[1]).sum()), int((found[1] & ~found[0]).sum())
    added, removed = int((flagged[1] & ~flagged[0]).sum()), int((flagged[0] & ~flagged[1]).sum())
    good, defective = len(after.good), len(after.defective)
    labels = np.r_[np.zeros(good, bool), np.ones(defective, bool)]
    area = auroc(np.r_[after.good, after.defective], labels)
    fall = auroc(np.r_[before.good, before.defective], labels).value - area.value
    classes = []
    for place, kind in enumerate(KINDS):
        of_kind = found[1][place :: len(KINDS)]
        detected = int(of_kind.sum())
        classes.append(ClassRecall(kind, len(of_kind), detected, proportion(detected, len(of_kind))))
    return Kpi(
        detector=detector,
        scenario=scenario,
        codec=codec,
        quality=quality,
        bytes=size * (good + defective),
        bpp=8 * size / PIXELS,
        psnr=psnr,
        ms_ssim=1 - 10 ** (-psnr / 18),
        mask_psnr=psnr - 1.4,
        edges_kept=min(1.0, psnr / 45),
        contrast_kept=min(1.0, psnr / 43),
        defective=defective,
        good=good,
        detected=int(found[1].sum()),
        false_alarms=int(flagged[1].sum()),
        recall=proportion(int(found[1].sum()), defective),
        false_alarm_rate=proportion(int(flagged[1].sum()), good),
        auroc=area,
        ap=Estimate(area.value - 0.01, area.low - 0.02, min(1.0, area.high)),
        auroc_loss=Estimate(fall, fall - 0.012, fall + 0.012),
        lost=lost,
        gained=gained,
        recall_loss=paired_difference(lost, gained, defective, design=DESIGN),
        added=added,
        removed=removed,
        false_alarm_rise=paired_difference(added, removed, good, design=DESIGN),
        classes=tuple(classes),
        loss_design=DESIGN,
        rise_design=DESIGN,
    )


def _shifts() -> tuple[ShiftRow, ...]:
    rows = []
    for shift, unit, amounts in (("exposure", "stops", (0.25, 0.5, 1.0)), ("focus", "px", (2.0, 4.0, 8.0))):
        for step, amount in enumerate(amounts, 1):
            for quality in (None, *QUALITIES):
                by_shift = 0.04 * step**2 - 0.03
                by_codec = 0.0 if quality is None else (100 - quality) / 100 * 0.05 * step
                culprit = _culprit(by_shift, by_codec)
                recall = max(0.05, 0.96 - by_shift - by_codec)
                rows.append(
                    ShiftRow(
                        shift=shift,
                        step=step,
                        amount=amount,
                        unit=unit,
                        codec=ORIGINAL if quality is None else "qarv",
                        quality=quality,
                        frames=120,
                        recall=proportion(round(60 * recall), 60),
                        false_alarm_rate=proportion(3, 60),
                        lost_by_shift=Estimate(by_shift, by_shift - 0.05, by_shift + 0.05),
                        lost_by_codec=Estimate(by_codec, by_codec - 0.05, by_codec + 0.05),
                        culprit=culprit,
                    )
                )
    return tuple(rows)


def _culprit(by_shift: float, by_codec: float) -> str:
    if by_shift > 0.05 and by_codec > 0.05:
        return "both"
    return "shift" if by_shift > 0.05 else "codec" if by_codec > 0.05 else "none"


def _economics(frames: tuple[int, int]) -> Economics:
    """The example's prices, and a codec that shrinks frames to a seventh, loses one defect and adds one alarm."""
    good, defective = frames
    labels = np.r_[np.zeros(good, bool), np.ones(defective, bool)]
    after = labels.copy()
    after[[0, -1]] = True, False
    sizes = np.full(good + defective, 38_000, np.int64)
    return economics(example_settings(), Outcome(sizes, sizes // 7, labels, labels, after))


def _changes() -> Changes:
    escapes = tuple(_change(f"images/0{300 + place}.png", KINDS[place % 3], place) for place in range(3))
    return Changes(escapes, (_change("images/<b>&.png", "", 9),), 11, 1)


def _change(frame_id: str, defect: str, seed: int) -> Change:
    surface = _surface(seed, defect != "")
    toward = -1 if defect else 1
    before = THRESHOLD - toward * 0.4
    scores = tuple((quality, before + toward * (100 - quality) / 100) for quality in QUALITIES)
    crops = tuple(
        Crop("qarv", quality, 0.02 * 1.04**quality, score >= THRESHOLD, _png(_lossy(surface, quality)))
        for quality, score in scores
    )
    first = next(quality for quality, score in scores if (score >= THRESHOLD) != (before >= THRESHOLD))
    heat = np.kron(np.random.default_rng(seed).integers(0, 255, (12, 12), np.uint8), np.ones((8, 8), np.uint8))
    return Change(
        frame_id, defect, "qarv", first, before, THRESHOLD, scores, 3.2 - seed, _png(surface), crops, _png(heat)
    )


def _sample(kind: str, seed: int) -> Sample:
    surface = _surface(seed + 20, True)
    crops = tuple(
        Crop(codec, quality, 0.02 * 1.04**quality, quality > 20, _png(_lossy(surface, quality)))
        for codec in CODECS
        for quality in QUALITIES
    )
    return Sample(f"images/0{400 + seed}.png", kind, True, _png(surface), crops)


def _surface(seed: int, scratched: bool) -> NDArray[np.uint8]:
    """A brushed surface of 96 by 96 pixels, with a dark scratch where asked for."""
    rng = np.random.default_rng(seed)
    grain = rng.normal(0, 9, (96, 1)) + rng.normal(0, 5, (96, 96))
    y, x = np.mgrid[:96, :96]
    surface = 140 + grain + 0.3 * x
    if scratched:
        off = np.abs((y - 48) - (0.5 + 0.1 * seed) * (x - 48))
        surface -= 75 * np.exp(-(off**2) / 3) * (np.hypot(x - 48, y - 48) < 34)
    return surface.clip(0, 255).astype(np.uint8)


def _lossy(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
