"""How it was measured, in words: the statistics and whether they are grouped, thresholds, scenarios, definitions."""

from collections.abc import Mapping

from evaluation.evidence import Evidence
from evaluation.report.formats import detector_name, level
from evaluation.report.section_front import independence
from evaluation.report.texts import Texts
from evaluation.statistics import CONFIDENCE


def method_view(evidence: Evidence, texts: Texts) -> Mapping[str, str]:
    """Texts by the name of their heading in `[method]`, in the order of the page."""
    facts, alpha = evidence.facts, evidence.decision.alpha
    thresholds = [
        texts("method.threshold", detector=detector_name(name, texts), threshold=f"{threshold:.4g}")
        for name, threshold in facts.thresholds.items()
    ]
    entries = {
        "chain": texts("method.chain_text"),
        "detectors": texts("method.detectors_text", thresholds=" · ".join(thresholds)),
        "rule": texts("method.rule_text", alpha=level(alpha), confidence=level(1 - 2 * alpha)),
        "statistics": texts("method.statistics_text", confidence=level(CONFIDENCE)),
        "groups": independence(evidence, texts) + " " + texts("method.groups_text"),
        "fidelity": texts("method.fidelity_text"),
        "curves": texts("method.curves_text"),
    }
    if len(facts.scenarios) > 1:
        entries["scenarios"] = texts("method.scenarios_text")
    if evidence.shifts:
        entries["shifts"] = texts("method.shifts_text")
    entries["harm"] = texts("method.harm_text")
    return entries
