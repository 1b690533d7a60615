"""How figures are written in the report, the same everywhere: percent, points, bits, sizes, data addresses."""

import base64
import math
from typing import Any

from evaluation.report.texts import Texts
from evaluation.statistics import Estimate

UNKNOWN = "–"


def percent(share: float) -> str:
    """A share of one as a percentage with one decimal, e.g. `97.5%`."""
    return UNKNOWN if math.isnan(share) else f"{100 * share:.1f}%"


def level(share: float) -> str:
    """A share of one as a percentage without needless decimals, e.g. `95%` or `97.5%`."""
    return f"{100 * share:.6g}%"


def points(share: float, *, sign: bool = False) -> str:
    """A difference of shares in percentage points with one decimal, e.g. `2.5`; a true minus sign."""
    if math.isnan(share):
        return UNKNOWN
    text = f"{100 * share:+.1f}" if sign else f"{100 * share:.1f}"
    return text.replace("+0.0", "0.0").replace("-0.0", "0.0").replace("-", "−")


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """A plain number with a true minus sign; a dash where it is not known."""
    if math.isnan(value):
        return UNKNOWN
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−")


def bits(bpp: float) -> str:
    """Bits per pixel with three significant digits."""
    return f"{bpp:.2f}" if bpp >= 1 else f"{bpp:.3f}"


def size(count: float, texts: Texts) -> str:
    """A number of bytes in decimal units."""
    for unit, factor in (("gigabytes", 1e9), ("megabytes", 1e6), ("kilobytes", 1e3)):
        if count >= factor:
            return texts(f"unit.{unit}", value=f"{count / factor:.3g}")
    return texts("unit.bytes", value=f"{count:.0f}")


def detector_name(name: str, texts: Texts) -> str:
    """What a detector is called in the language; a plant's own keeps its name."""
    return texts.entries.get(f"detector.{name}", name)


def change_of(loss: Estimate) -> Estimate:
    """A loss as a change: the sign turned, the limits swapped."""
    return Estimate(-loss.value, -loss.high, -loss.low)


def png(data: bytes) -> str:
    """A PNG file as an address that needs no network."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def svg(data: bytes) -> str:
    """An SVG file as an address that needs no network."""
    return "data:image/svg+xml;base64," + base64.b64encode(data).decode()


def filters(texts: Texts) -> dict[str, Any]:
    """The templates' filters."""
    return {
        "percent": percent,
        "level": level,
        "points": points,
        "number": number,
        "bits": bits,
        "png": png,
        "svg": svg,
        "change": change_of,
        "isnan": math.isnan,
        "detector": lambda name: detector_name(name, texts),
        "size": lambda count: size(count, texts),
    }
