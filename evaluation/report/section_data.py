"""The data's part of the page: what of the training was seen again in the test, pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.evidence import Evidence
from evaluation.leakage import Pair
from evaluation.report.section_front import leakage_words
from evaluation.report.texts import Texts

SHOWN = 12
"""Pairs listed at most per kind."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of one kind, and how many more there are than are listed."""

    title: str
    pairs: Sequence[Pair]
    more: int


@dataclass(frozen=True)
class DataView:
    """What the section shows; `leaks`: whether anything crosses the splits."""

    leaks: bool
    leakage: str
    leakage_method: str
    pairs: Sequence[Pairs]


def data_view(evidence: Evidence, texts: Texts) -> DataView:
    """Leakage between splits, and duplicates inside one."""
    found = evidence.leakage
    kinds = (("exact", found.exact), ("near", found.near), ("duplicates", found.duplicates))
    pairs = [
        Pairs(texts(f"leakage.{name}", count=len(some)), some[:SHOWN], len(some) - SHOWN if len(some) > SHOWN else 0)
        for name, some in kinds
        if some
    ]
    method = texts("leakage.method")
    if found.groups:
        method = texts("leakage.groups", groups=", ".join(found.groups[:SHOWN])) + " " + method
    return DataView(bool(found.exact or found.near or found.groups), leakage_words(evidence, texts), method, pairs)
