"""How money, shares, counts and sizes are written in the report, as each language does, with a true minus sign."""

from evaluation.report.texts import Texts

MINUS = "−\u2060"
"""A true minus sign that no line break parts from what follows."""

_NAMES = {"JPY": "unit.yen", "USD": "unit.dollar", "EUR": "unit.euro"}
_STEPS = {"en": (1e6, 1e9), "ja": (1e4, 1e8)}
"""Where a language goes over to millions and billions, or to 万 and 億."""
_LARGE = {"en": 1e6, "ja": 1e5}
"""The least amount that is written with them."""


def money(value: float, currency: str, texts: Texts, *, sign: bool = False) -> str:
    """An amount to three or so digits, e.g. `¥1.24 million` or `124万円`; with `sign`, also a plus."""
    amount, (large, huge) = abs(value), _STEPS[texts.lang]
    if amount >= huge:
        name, number = "unit.money_huge", _digits(amount / huge)
    elif amount >= _LARGE[texts.lang]:
        name, number = "unit.money_large", _digits(amount / large)
    else:
        name, number = "unit.money", _plain(amount, currency)
    return texts(name, sign=_sign(value, number, plus=sign), value=number, currency=_currency(currency, texts))


def price(value: float, currency: str, texts: Texts) -> str:
    """A price as it stands in roi.toml, e.g. `¥4` or `0.023 USD`, all its digits shown."""
    number = f"{value:,.10f}".rstrip("0").rstrip(".")
    return texts("unit.money", sign="", value=number, currency=_currency(currency, texts))


def share(value: float) -> str:
    """A share of one in percent with three significant digits, e.g. `0.05%` or `12.3%`."""
    percent = 100 * value
    return f"{percent:.3g}%" if abs(percent) < 1000 else f"{percent:,.0f}%"


def count(value: float, *, sign: bool = False) -> str:
    """A number of things: whole from ten on, else two digits, e.g. `1,250` or `+3.3`."""
    number = f"{abs(value):,.0f}" if abs(value) >= 10 else f"{abs(value):.2g}"
    return _sign(value, number, plus=sign) + number


def size(value: float, texts: Texts) -> str:
    """A number of bytes in decimal units, up to terabytes."""
    if value >= 1e12:
        return texts("unit.terabytes", value=_digits(value / 1e12))
    if value >= 1e9:
        return texts("unit.gigabytes", value=_digits(value / 1e9))
    if value >= 1e6:
        return texts("unit.megabytes", value=_digits(value / 1e6))
    return texts("unit.kilobytes", value=_digits(value / 1e3))


def _digits(value: float) -> str:
    """Three significant digits, and all digits before the point."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def _plain(amount: float, currency: str) -> str:
    decimals = 0 if currency in ("JPY", "KRW") or amount >= 100 else 2
    return f"{amount:,.{decimals}f}"


def _sign(value: float, number: str, *, plus: bool) -> str:
    if not number.strip("0.,"):
        return ""
    return MINUS if value < 0 else "+" if plus else ""


def _currency(currency: str, texts: Texts) -> str:
    return texts(_NAMES[currency]) if currency in _NAMES else texts("unit.currency", code=currency)
