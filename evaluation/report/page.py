"""Puts the evidence into the page: one self-contained HTML file. Computes no figure; words are in the catalogues."""

from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from evaluation.decision import judge
from evaluation.evidence import Evidence
from evaluation.report.formats import filters, level
from evaluation.report.section_conditions import conditions_view
from evaluation.report.section_curves import curves_view
from evaluation.report.section_data import data_view
from evaluation.report.section_defects import defects_view
from evaluation.report.section_evidence import evidence_view, select
from evaluation.report.section_front import front_view
from evaluation.report.section_method import method_view
from evaluation.report.section_roi import roi_view
from evaluation.report.texts import Texts
from evaluation.report.wording import sentence
from evaluation.statistics import CONFIDENCE

__all__ = ["render_report", "sentence"]

SECTIONS = ("evidence", "conditions", "defects", "money", "method", "data", "reproduction")
"""The tabs, in their order; each has a template of its name. `money` is left out where there are no prices."""


def render_report(evidence: Evidence, texts: Texts) -> str:
    """Return the page in the language of `texts`."""
    shown = evidence.decision.kpi
    judged = select(evidence.kpis, detector=shown.detector, codec=shown.codec)
    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters(texts) | {"roi_view": roi_view}
    environment.globals["m"] = environment.get_template("macros.html").module
    return environment.get_template("report.html").render(
        t=texts,
        e=evidence,
        facts=evidence.facts,
        css=_source("report.css"),
        js=_source("report.js"),
        sections=[name for name in SECTIONS if name != "money" or evidence.economics is not None],
        judge=lambda kpi: judge(kpi, evidence.margins, evidence.decision.alpha),
        confidence=level(CONFIDENCE),
        front=front_view(evidence, judged, texts),
        evidence=evidence_view(evidence, texts),
        curves=curves_view(evidence, texts),
        conditions=conditions_view(evidence, texts),
        defects=defects_view(evidence, texts),
        method=method_view(evidence, texts),
        data=data_view(evidence, texts),
    )


def _source(name: str) -> str:
    """A file beside this one."""
    return files("evaluation.report").joinpath(name).read_text(encoding="utf-8")
