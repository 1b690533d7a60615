"""The defects: what compression lost and what it made suspicious, frame by frame, and the closest calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.escapes import Change
from evaluation.evidence import Evidence
from evaluation.report.formats import bits, detector_name, number
from evaluation.report.samples import Sample
from evaluation.report.texts import Texts

SCORE_DECIMALS = 3


@dataclass(frozen=True)
class Picture:
    """A crop: its name, what is noted below it, and the detector's verdict; `right`: whether that is correct."""

    png: bytes
    label: str
    note: str
    mark: str
    flagged: bool
    right: bool
    alt: str


@dataclass(frozen=True)
class Strip:
    """A codec's crops, best quality first; `name` is empty where only one codec is shown."""

    name: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Case:
    """A frame."""

    title: str
    summary: str
    original: Picture
    strips: Sequence[Strip]
    bits: bytes | None
    bits_quality: int | None


@dataclass(frozen=True)
class Group:
    """Frames of one sort under a heading."""

    title: str
    note: str
    cases: Sequence[Case]


@dataclass(frozen=True)
class DefectsView:
    """What the section shows."""

    lead: str
    groups: Sequence[Group]


def defects_view(evidence: Evidence, texts: Texts) -> DefectsView:
    """Escapes first, then false alarms, most harmful first in each; then the closest calls per kind of defect."""
    changes, shown = evidence.changes, evidence.decision.kpi
    detector = detector_name(shown.detector, texts)
    lead = texts(
        "defects.lead",
        codec=shown.codec,
        detector=detector,
        escapes=changes.escapes_total,
        false_alarms=changes.false_alarms_total,
    )
    groups = []
    for name, found, total in (
        ("escapes", changes.escapes, changes.escapes_total),
        ("false_alarms", changes.false_alarms, changes.false_alarms_total),
    ):
        if found:
            note = texts("defects.sorted", shown=len(found), total=total)
            cases = [_changed(place, change, texts) for place, change in enumerate(found, 1)]
            groups.append(Group(texts(f"defects.{name}"), note, cases))
    if evidence.samples:
        note = texts("defects.samples_note", count=len(evidence.samples), detector=detector)
        groups.append(Group(texts("defects.samples"), note, [_sampled(sample, texts) for sample in evidence.samples]))
    return DefectsView(lead, groups)


def _changed(place: int, change: Change, texts: Texts) -> Case:
    """`change.crops` are in the order of `change.score_after`."""
    kind = change.defect or texts("defects.good_part")
    defective = bool(change.defect)
    flagged_before = change.score_before >= change.threshold
    strip = [
        _picture(
            crop.png,
            texts("table.quality", quality=crop.quality),
            texts("defects.score", bpp=bits(crop.bpp), score=number(score, SCORE_DECIMALS)),
            kind,
            score >= change.threshold,
            defective,
            texts,
        )
        for crop, (_, score) in zip(change.crops, change.score_after, strict=True)
    ]
    words = "defects.escape_summary" if defective else "defects.false_alarm_summary"
    return Case(
        title=texts("defects.case", place=place, defect=kind, frame=change.frame_id),
        summary=texts(
            words,
            before=number(change.score_before, SCORE_DECIMALS),
            threshold=number(change.threshold, SCORE_DECIMALS),
            quality=change.quality,
            harm=number(change.harm),
        ),
        original=_picture(
            change.original,
            texts("defects.original"),
            texts("defects.score_only", score=number(change.score_before, SCORE_DECIMALS)),
            kind,
            flagged_before,
            defective,
            texts,
        ),
        strips=[Strip("", strip)],
        bits=change.bits,
        bits_quality=change.quality,
    )


def _sampled(sample: Sample, texts: Texts) -> Case:
    codecs = list(dict.fromkeys(crop.codec for crop in sample.crops))
    strips = [
        Strip(
            codec,
            [
                _picture(
                    crop.png,
                    texts("defects.setting", codec=codec, quality=crop.quality),
                    texts("defects.bpp", bpp=bits(crop.bpp)),
                    sample.defect,
                    crop.found,
                    True,
                    texts,
                )
                for crop in sample.crops
                if crop.codec == codec
            ],
        )
        for codec in codecs
    ]
    original = _picture(sample.original, texts("defects.original"), "", sample.defect, sample.found, True, texts)
    title = texts("defects.sample", defect=sample.defect, frame=sample.frame_id)
    return Case(title, "", original, strips, None, None)


def _picture(png: bytes, label: str, note: str, kind: str, flagged: bool, defective: bool, texts: Texts) -> Picture:
    verdict = ("found" if flagged else "missed") if defective else ("false_alarm" if flagged else "passed")
    mark = texts(f"mark.{verdict}")
    alt = texts("defects.alt", defect=kind, setting=label, mark=mark)
    return Picture(png, label, note, mark, flagged, flagged == defective, alt)
