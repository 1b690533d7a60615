"""What compression did to the test frames, class by class, and how sure that is. Knows no money.

How sure: a Bayesian bootstrap (D. B. Rubin, Ann. Stat. 9 (1981) 130). Each draw gives every test frame a random
weight and keeps its sizes and its verdicts, before and after, together. Per class, three imagined frames of half a
frame's weight are mixed in (verdict worse, better, the same; of average size), so that the shares follow Jeffreys'
Dirichlet posterior of the paired outcomes. Without them a class in which no loss was seen would show no risk in any
draw, however few its frames. Frames of one group share one weight, and an imagined frame then weighs half an average
group: frames that resemble each other are not counted as independent evidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.statistics import UNKNOWN, Estimate, paired_difference
from inspect_compress.errors import DatasetError

DRAWS = 5_000
SEED = 20_260_101
PRIOR = 0.5
"""Weight of each imagined frame: Jeffreys' prior."""
_WEIGHTS_AT_ONCE = 4_000_000

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """A detector on the same test frames before and after compression; arrays `(n,)` in the same order.

    Bytes are those of the frame's own file and of the coded one. `flagged_*`: the detector called it defective.
    `groups`: strings, equal for frames of one lot or panel; a frame without one ("") stands by itself.
    `recall_loss`, `false_alarm_rise`: with intervals that are shown elsewhere; None to make them here.
    Raises DatasetError without frames, ValueError for lengths that differ.
    """

    original_bytes: NDArray[np.int64]
    coded_bytes: NDArray[np.int64]
    defective: Bools
    flagged_before: Bools
    flagged_after: Bools
    groups: NDArray[np.str_] | None = None
    recall_loss: Estimate | None = None
    false_alarm_rise: Estimate | None = None

    def __post_init__(self) -> None:
        arrays = [self.original_bytes, self.coded_bytes, self.defective, self.flagged_before, self.flagged_after]
        lengths = {len(array) for array in (*arrays, *([] if self.groups is None else [self.groups]))}
        if len(lengths) > 1:
            raise ValueError(f"the arrays of an outcome differ in length: {sorted(lengths)}")
        if lengths == {0}:
            raise DatasetError("there are no test frames, so that nothing is known of what compression would save")


@dataclass(frozen=True)
class Side:
    """The defective test frames, or the good ones.

    Bytes are means per frame. `worse`: the verdict was right before only; `better`: right after only. `change`:
    (worse - better) / frames, that is the loss of recall or the rise of the false-alarm rate, with its 95 %
    interval: as given, else Tango's, or the draws' where there are groups; UNKNOWN without frames.
    """

    frames: int
    original_bytes: float
    coded_bytes: float
    worse: int
    better: int
    change: Estimate


@dataclass(frozen=True)
class Effect:
    """What compression does to a frame: bytes saved and shares of one, each a float or an array of draws `(d,)`."""

    saved_defective: float | Floats
    saved_good: float | Floats
    recall_loss: float | Floats
    false_alarm_rise: float | Floats


@dataclass(frozen=True)
class Measured:
    """Both classes as observed, and `draws` of what they may be beyond these frames (see the module).

    A class without frames takes its sizes from the other; its change is UNKNOWN, and NaN in `draws`.
    """

    defective: Side
    good: Side
    groups: int | None
    draws: Effect

    @property
    def effect(self) -> Effect:
        """As observed."""
        return Effect(
            self.defective.original_bytes - self.defective.coded_bytes,
            self.good.original_bytes - self.good.coded_bytes,
            self.defective.change.value,
            self.good.change.value,
        )


def measure(outcome: Outcome) -> Measured:
    """Count and weigh; the same outcome gives the same draws."""
    wrong = outcome.flagged_before != outcome.defective, outcome.flagged_after != outcome.defective
    table = np.stack(
        [
            np.ones(len(outcome.defective)),
            outcome.original_bytes,
            outcome.coded_bytes,
            ~wrong[0] & wrong[1],
            wrong[0] & ~wrong[1],
        ],
        axis=1,
    ).astype(np.float64)
    classes = [outcome.defective, ~outcome.defective]
    places = _places(outcome)
    drawn = _draw(table, classes, np.arange(len(table)) if places is None else places)
    sides = [
        _side(table[chosen], None if places is None else draws[:, 1], given)
        for chosen, draws, given in zip(classes, drawn, (outcome.recall_loss, outcome.false_alarm_rise), strict=True)
    ]
    defective, good = (_sized(side, other) for side, other in zip(sides, reversed(sides), strict=True))
    saved_defective, saved_good = (
        draws[:, 0] if side.frames else other[:, 0]
        for side, draws, other in zip(sides, drawn, reversed(drawn), strict=True)
    )
    groups = None if places is None else int(places.max()) + 1
    return Measured(defective, good, groups, Effect(saved_defective, saved_good, drawn[0][:, 1], drawn[1][:, 1]))


def _places(outcome: Outcome) -> NDArray[np.intp] | None:
    """The number of each frame's group; None where no frames share one or all do, so that groups tell nothing."""
    if outcome.groups is None:
        return None
    known: dict[str | int, int] = {}
    names = enumerate(outcome.groups.tolist())
    places = np.array([known.setdefault(name or place, len(known)) for place, name in names], np.intp)
    return places if 1 < len(known) < len(places) else None


def _side(rows: Floats, grouped: Floats | None, given: Estimate | None) -> Side:
    """`rows` `(n, 5)`: one, original bytes, coded bytes, worse, better; `grouped` `(d,)`: draws of the change."""
    count = len(rows)
    if not count:
        return Side(0, np.nan, np.nan, 0, 0, UNKNOWN)
    worse, better = int(rows[:, 3].sum()), int(rows[:, 4].sum())
    change = paired_difference(worse, better, count)
    if given is not None:
        change = Estimate(change.value, given.low, given.high)
    elif grouped is not None:
        low, high = np.quantile(grouped, [0.025, 0.975])
        change = Estimate(change.value, min(float(low), change.value), max(float(high), change.value))
    return Side(count, float(rows[:, 1].mean()), float(rows[:, 2].mean()), worse, better, change)


def _sized(side: Side, other: Side) -> Side:
    if side.frames:
        return side
    return Side(0, other.original_bytes, other.coded_bytes, 0, 0, UNKNOWN)


def _draw(table: Floats, classes: list[Bools], places: NDArray[np.intp]) -> list[Floats]:
    """Per class, `(DRAWS, 2)`: bytes saved per frame and the change of verdicts; NaN for a class without frames."""
    rng = np.random.default_rng(SEED)
    count = int(places.max()) + 1
    sums = [np.zeros((count, table.shape[1])) for _ in classes]
    for total, chosen in zip(sums, classes, strict=True):
        np.add.at(total, places[chosen], table[chosen])
    both = np.concatenate(sums, axis=1)
    step = max(1, _WEIGHTS_AT_ONCE // count)
    weighed = np.concatenate(
        [rng.standard_exponential((min(step, DRAWS - start), count)) @ both for start in range(0, DRAWS, step)]
    )
    return [
        _class_draws(weighed[:, 5 * place : 5 * place + 5], table[chosen], places[chosen], rng)
        for place, chosen in enumerate(classes)
    ]


def _class_draws(weighed: Floats, rows: Floats, places: NDArray[np.intp], rng: np.random.Generator) -> Floats:
    """Mix the imagined frames into the `weighed` sums `(d, 5)` of one class's `rows`."""
    if not len(rows):
        return np.full((len(weighed), 2), np.nan)
    group = len(rows) / len(np.unique(places))
    imagined = group * rng.standard_gamma(PRIOR, (len(weighed), 3))
    extra = imagined.sum(axis=1)
    frames = weighed[:, 0] + extra
    saved = weighed[:, 1] - weighed[:, 2] + extra * (rows[:, 1] - rows[:, 2]).mean()
    change = weighed[:, 3] + imagined[:, 0] - weighed[:, 4] - imagined[:, 1]
    return np.stack([saved / frames, change / frames], axis=1)
