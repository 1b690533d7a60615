"""The words and figures of the report's part on money, ready for `roi.html`. Computes no figure."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from evaluation.economics import COMPONENTS, Answer, Case, Economics, Traffic
from evaluation.report.money import count, money, share, size
from evaluation.report.roi_charts import cash_chart, npv_chart, probability, setting, tornado_chart
from evaluation.report.texts import Texts


@dataclass(frozen=True)
class Row:
    """A row of a table: `name` ends the catalogue's name of its label; `cells` are ready to be shown."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Key:
    """A headline: a number, and a line below it. `name` as in `Row`."""

    name: str
    number: str
    note: str


@dataclass(frozen=True)
class Figure:
    """A chart as an address that needs no network; `name` as in `Row`."""

    name: str
    address: str


@dataclass(frozen=True)
class RoiView:
    """All of the section: `notice` is empty where no assumption is the example's any more."""

    lead: str
    notice: str
    evidence: str
    keys: tuple[Key, ...]
    cases: tuple[Row, ...]
    traffic: tuple[Row, ...]
    link: str
    figures: tuple[Figure, ...]
    stages: tuple[Row, ...]
    assumptions: tuple[Row, ...]


def roi_view(economics: Economics, texts: Texts) -> RoiView:
    """Write out the figures in the language of `texts`."""
    return RoiView(
        lead=_lead(economics, texts),
        notice=_notice(economics, texts),
        evidence=_evidence(economics, texts),
        keys=_keys(economics, texts),
        cases=_cases(economics, texts),
        traffic=_traffic(economics, texts),
        link=_link(economics, texts),
        figures=_figures(economics, texts),
        stages=_stages(economics, texts),
        assumptions=_assumptions(economics, texts),
    )


def _lead(economics: Economics, texts: Texts) -> str:
    npv, years = economics.expected.npv, economics.settings.finance.horizon_years
    if npv.value is None:
        return texts("roi.lead_unknown", reason=texts(f"roi.why_{npv.reason}"))
    values = {"npv": _money(abs(npv.value), economics, texts), "years": years, "pays": _pays(economics)}
    low, *_, high = (_money(value, economics, texts) for value in economics.npv_quantiles)
    name = "roi.lead_pays" if npv.value > 0 else "roi.lead_loses"
    return texts(name, **values, low=low, high=high)


def _notice(economics: Economics, texts: Texts) -> str:
    if economics.example:
        return texts("roi.notice_example")
    same = sum(assumption.example for assumption in economics.assumptions)
    return texts("roi.notice_some", same=same, count=len(economics.assumptions)) if same else ""


def _evidence(economics: Economics, texts: Texts) -> str:
    measured = economics.measured
    sides = measured.defective, measured.good
    values = {"defective": sides[0].frames, "good": sides[1].frames}
    values |= {"lost": sides[0].worse, "gained": sides[0].better, "added": sides[1].worse, "removed": sides[1].better}
    words = texts("roi.evidence", **values)
    return words if measured.groups is None else words + texts("roi.evidence_groups", groups=measured.groups)


def _keys(economics: Economics, texts: Texts) -> tuple[Key, ...]:
    case, months = economics.expected, economics.settings.horizon_months
    rate = share(economics.settings.finance.discount_rate)
    range_ = ""
    if economics.npv_quantiles:
        low, *_, high = (_money(value, economics, texts) for value in economics.npv_quantiles)
        range_ = texts("roi.note_npv", low=low, high=high)
    below = texts("roi.note_below" if case.pays_below else "roi.note_above") if case.break_even.value else ""
    return (
        _key("npv", case.npv, lambda v: _money(v, economics, texts), range_, texts),
        _key("pays", economics.pays, probability, texts("roi.note_pays"), texts),
        _key("payback", case.payback, lambda v: _month(v, texts), texts("roi.note_payback"), texts),
        _key(
            "monthly_savings",
            case.monthly_savings,
            lambda v: _money(v, economics, texts),
            texts("roi.note_monthly_savings", month=months),
            texts,
        ),
        _key("irr", case.irr, share, texts("roi.note_irr", rate=rate), texts),
        _key("break_even", case.break_even, share, below, texts),
    )


def _key(name: str, answer: Answer, write: Callable[[float], str], note: str, texts: Texts) -> Key:
    if answer.value is None:
        return Key(name, texts("roi.none"), texts(f"roi.why_{answer.reason}"))
    return Key(name, write(answer.value), note)


def _cases(economics: Economics, texts: Texts) -> tuple[Row, ...]:
    """As measured, and at the upper limits."""

    def row(name: str, pick: Callable[[Case], Answer], write: Callable[[float], str]) -> Row:
        both = (pick(economics.expected), pick(economics.pessimistic))
        return Row(name, tuple(_answer(answer, write, texts) for answer in both))

    def points(value: float) -> str:
        return setting("recall_loss", value, economics.settings.currency, texts)

    def signed(value: float) -> str:
        return money(value, economics.settings.currency, texts, sign=True)

    return (
        row("recall_loss", lambda case: case.recall_loss, points),
        row("false_alarm_rise", lambda case: case.false_alarm_rise, points),
        row("more_escapes", lambda case: case.escapes, lambda v: count(v, sign=True)),
        row("more_false_alarms", lambda case: case.false_alarms, lambda v: count(v, sign=True)),
        *(row(f"of_{name}", lambda case, name=name: case.components[name], signed) for name in COMPONENTS),  # type: ignore[misc]
        row("monthly_savings", lambda case: case.monthly_savings, signed),
        row("payback", lambda case: case.payback, lambda v: _month(v, texts)),
        row("npv", lambda case: case.npv, signed),
        row("irr", lambda case: case.irr, share),
        row("break_even", lambda case: case.break_even, share),
    )


def _traffic(economics: Economics, texts: Texts) -> tuple[Row, ...]:
    """Today, and once the last stage is in force."""
    both = economics.before, economics.after

    def row(name: str, write: Callable[[Traffic], str]) -> Row:
        return Row(name, tuple(write(traffic) for traffic in both))

    def paid(name: str) -> Row:
        return row(name, lambda traffic: _money(getattr(traffic, name), economics, texts))

    return (
        row("bytes_per_frame", lambda traffic: size(traffic.bytes_per_frame, texts)),
        row("sent", lambda traffic: size(traffic.sent, texts)),
        paid("sent_cost"),
        row("kept_at_end", lambda traffic: size(traffic.kept_at_end, texts)),
        paid("kept_at_end_cost"),
        row("kept_for_good", lambda traffic: size(traffic.kept_for_good, texts)),
        paid("kept_for_good_cost"),
        row("link_load", lambda traffic: share(traffic.link_load)),
    )


def _link(economics: Economics, texts: Texts) -> str:
    if not economics.after.keeps_up:
        return texts("roi.link_never")
    return texts("roi.link_both" if economics.before.keeps_up else "roi.link_after")


def _figures(economics: Economics, texts: Texts) -> tuple[Figure, ...]:
    if not len(economics.npv_draws):
        return ()
    charts = {
        "tornado": tornado_chart(economics, texts),
        "cash": cash_chart(economics, texts),
        "distribution": npv_chart(economics, texts),
    }
    prefix = "data:image/svg+xml;base64,"
    return tuple(Figure(name, prefix + base64.b64encode(svg).decode()) for name, svg in charts.items())


def _stages(economics: Economics, texts: Texts) -> tuple[Row, ...]:
    return tuple(
        Row(
            stage.name,
            (
                texts("roi.months", first=stage.first_month, last=stage.last_month),
                share(stage.share_of_frames),
                texts("roi.judged_decoded" if stage.verdict_on == "decoded" else "roi.judged_original"),
                _money(stage.paid_once, economics, texts),
                _money(stage.paid_per_month, economics, texts),
                _answer(stage.adds, lambda v: money(v, economics.settings.currency, texts, sign=True), texts),
                _answer(stage.cumulative, lambda v: money(v, economics.settings.currency, texts, sign=True), texts),
            ),
        )
        for stage in economics.stages
    )


def _assumptions(economics: Economics, texts: Texts) -> tuple[Row, ...]:
    """The plant's, then what was measured."""
    currency, sides = economics.settings.currency, (economics.measured.defective, economics.measured.good)
    assumed = [
        Row(a.name, (_written(a.name, a.value, currency, texts), _source(a.example, texts)))
        for a in economics.assumptions
    ]
    frames = texts("roi.source_measured", count=sum(side.frames for side in sides))
    sizes = {"original_bytes": economics.before.bytes_per_frame, "coded_bytes": _coded(economics)}
    measured = [Row(name, (size(value, texts), frames)) for name, value in sizes.items()]
    for name, side in (("recall_loss", sides[0]), ("false_alarm_rise", sides[1])):
        if side.frames:
            value, low, high = (setting(name, limit, currency, texts) for limit in side.change)
            limits = texts("roi.interval", value=value, low=low, high=high)
            measured.append(Row(name, (limits, texts("roi.source_measured", count=side.frames))))
    return (*assumed, *measured)


def _coded(economics: Economics) -> float:
    measured, prevalence = economics.measured, economics.settings.plant.defect_prevalence
    return prevalence * measured.defective.coded_bytes + (1 - prevalence) * measured.good.coded_bytes


def _written(name: str, value: float, currency: str, texts: Texts) -> str:
    if name in ("speed_mbit_s", "hours_per_day", "retention_months", "horizon_years", "replicas"):
        return f"{value:g}"
    return setting(name, value, currency, texts)


def _source(example: bool, texts: Texts) -> str:
    return texts("roi.source_example" if example else "roi.source_plant")


def _answer(answer: Answer, write: Callable[[float], str], texts: Texts) -> str:
    return texts(f"roi.why_{answer.reason}") if answer.value is None else write(answer.value)


def _money(value: float, economics: Economics, texts: Texts) -> str:
    return money(value, economics.settings.currency, texts)


def _month(value: float, texts: Texts) -> str:
    return texts("roi.month", month=f"{value:.0f}")


def _pays(economics: Economics) -> str:
    return "" if economics.pays.value is None else probability(economics.pays.value)
