"""One effect in words: how much, how sure, and from what to what."""

from __future__ import annotations

import math
import textwrap

from eigbench.report.compare.result import CaseComparison, Effect
from eigbench.report.markdown import NOTHING, percent, scientific

WIDTH = 80
"""Columns of a narrow terminal."""

_TIED = "\N{NO-BREAK SPACE}"

_BYTES = ("peak bytes", "saved bytes")
_MULTIPLES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def bullet(text: str) -> str:
    """A list's entry, broken so that it fits."""
    return _filled(text, "- ", "  ")


def paragraph(text: str) -> str:
    """A paragraph, broken so that it fits."""
    return _filled(text)


def _filled(text: str, first: str = "", others: str = "") -> str:
    """No line ends within "5 %" or "d = 4"."""
    tied = text.replace(" %", f"{_TIED}%").replace(" = ", f"{_TIED}={_TIED}")
    filled = textwrap.fill(
        tied,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled.replace(_TIED, " ")


def change(effect: Effect) -> str:
    """How much, such as "1.15×" or "+2.1 points"."""
    if effect.scale == "ratio":
        return factor(effect.change)
    return _points(effect) if _is_share(effect) else f"{effect.change:+g}"


def factor(ratio: float) -> str:
    """A ratio to three digits."""
    if math.isnan(ratio):
        return NOTHING
    if math.isinf(ratio):
        return "∞×"
    digits = 2 if ratio >= 0.1 else 3
    return f"{ratio:.{digits}f}×" if 0.01 <= ratio < 100 else f"{scientific(ratio)}×"


def interval(effect: Effect) -> str:
    """Such as "(1.10 to 1.20)"; nothing where there is none."""
    if math.isnan(effect.low):
        return ""
    if effect.scale == "ratio":
        low, high = (factor(end).removesuffix("×") for end in (effect.low, effect.high))
    else:
        low, high = (_signed(end) for end in (effect.low, effect.high))
    return f"({low} to {high})"


def from_to(effect: Effect) -> str:
    """Such as "time ÷ torch.linalg.eigh 1.32 → 1.52"."""
    name = effect.quantity
    if effect.relative_to:
        name = f"{name} ÷ {effect.relative_to}"
    return f"{name} {_value(effect, effect.a)} → {_value(effect, effect.b)}"


def ended(case: CaseComparison) -> str:
    """How the case ended in A and in B, such as "measured → failed"."""
    ways = [
        ", ".join(f"{way} {count}" if count > 1 else way for way, count in side.ended.items())
        for side in (case.a, case.b)
    ]
    return ways[0] if ways[0] == ways[1] else " → ".join(ways)


def _is_share(effect: Effect) -> bool:
    return effect.quantity in {"success", "test error"}


def _points(effect: Effect) -> str:
    return f"{_signed(effect.change)} points"


def _signed(share: float) -> str:
    """In percentage points, with a sign that is no hyphen."""
    return f"{'−' if share < 0 else '+'}{abs(100 * share):.1f}"


def _value(effect: Effect, value: float) -> str:
    if math.isnan(value):
        return NOTHING
    if _is_share(effect):
        return percent(value) if effect.quantity == "success" else f"{100 * value:.2f} %"
    if effect.quantity in _BYTES:
        return _bytes(value)
    if effect.relative_to:
        return _digits(value)
    if effect.quantity in {"time", "forward", "backward", "update", "step time", "first call"}:
        return _seconds(value)
    return f"{value:g}" if value == int(value) else scientific(value)


def _digits(value: float) -> str:
    """Three digits, as 0.0123, 1.00 or 123."""
    if not 1e-3 <= value < 1e4:
        return scientific(value)
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def _seconds(value: float) -> str:
    for size, unit in ((1, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{_digits(value / size)} {unit}"
    return f"{_digits(value / 1e-6)} µs"


def _bytes(value: float) -> str:
    for size, unit in _MULTIPLES:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g} B"
