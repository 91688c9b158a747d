"""How the numbers of profiles are written: with the digits that their samples support."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from eigbench.report.markdown import NOTHING
from eigbench.report.profile.estimates import Estimate

MOST_DIGITS = 3
MILLI = 1e3
MARK = "≈"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def supported(one: Estimate | None, scale: float = 1.0) -> str:
    """The median, down to the leading digit of how far its interval reaches; ≈ if it is noisy."""
    if one is None:
        return NOTHING
    mark = MARK if one.noisy else ""
    return mark + fixed(scale * one.middle, _decimals(one, scale))


def with_interval(one: Estimate | None, scale: float = 1.0) -> str:
    """The same with the ends of its interval, to the same digit."""
    if one is None:
        return NOTHING
    return supported(one, scale) + _interval(one, scale, _decimals(one, scale), signed=False)


def difference(one: Estimate | None, scale: float = 1.0) -> str:
    """A difference with its sign and its interval; ≈ where there is none.

    Not where it is wide: near 0 a share of the difference says nothing.
    """
    if one is None:
        return NOTHING
    middle, reach = scale * one.middle, scale * one.reach
    if math.isnan(reach):
        return MARK + fixed(middle, _most(middle) - 1, signed=True)
    decimals = min(_most(middle), -_exponent(reach)) if reach else _most(middle)
    return fixed(middle, decimals, signed=True) + _interval(one, scale, decimals, signed=True)


def span(some: Iterable[Estimate | None], scale: float = 1.0) -> str:
    """From the least to the largest of several medians."""
    known = sorted((one for one in some if one), key=lambda one: one.middle)
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(supported(one, scale) for one in (known[0], known[-1])))


def count_span(values: Iterable[float]) -> str:
    """From the least to the largest of whole numbers."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(count(value) for value in (min(known), max(known))))


def plain_span(values: Iterable[float]) -> str:
    """From the least to the largest of numbers that no sampling made."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(plain(value) for value in (min(known), max(known))))


def plain(value: float) -> str:
    """Three digits, or as many as a whole number has."""
    if not math.isfinite(value):
        return NOTHING
    return fixed(value, max(0, _most(value)))


def rough(value: float) -> str:
    """Two digits: of what was seen once, and varies."""
    if not math.isfinite(value):
        return NOTHING
    return fixed(value, _most(value) - 1)


def rough_span(values: Iterable[float]) -> str:
    """From the least to the largest of numbers that were seen once each."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(rough(value) for value in (min(known), max(known))))


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def amount(size_bytes: float) -> str:
    """An amount of memory in the unit in which it has up to three digits before the point."""
    return _in_units(size_bytes, 1024, _UNITS)


def operations(flops: float) -> str:
    """A number of floating-point operations, likewise."""
    return _in_units(flops, 1000, ("", "k", "M", "G", "T"))


def _in_units(value: float, step: int, units: Sequence[str]) -> str:
    if not math.isfinite(value):
        return NOTHING
    power = 0
    while abs(value) >= 1000 and power < len(units) - 1:
        value, power = value / step, power + 1
    decimals = 0 if power == 0 or abs(value) >= 100 else 1
    return f"{value:.{decimals}f} {units[power]}".rstrip()


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """So many digits after the point; zeros before it where there are fewer than none."""
    value = round(value, decimals) + 0.0  # no −0
    text = f"{abs(value):.{max(0, decimals)}f}"
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def _decimals(one: Estimate, scale: float) -> int:
    """Digits after the point that the samples support: at least one digit, at most three."""
    middle, reach = scale * one.middle, scale * one.reach
    if math.isnan(reach):
        return _most(middle) - 1
    if reach == 0:
        return _most(middle)
    return min(_most(middle), max(-_exponent(reach), -_exponent(middle)))


def _interval(one: Estimate, scale: float, decimals: int, *, signed: bool) -> str:
    if math.isnan(one.reach):
        return ""
    low, high = (fixed(scale * end, decimals, signed=signed) for end in (one.low, one.high))
    return f" ({low} to {high})" if signed else f" ({low}–{high})"


def _most(value: float) -> int:
    return MOST_DIGITS - 1 - _exponent(value)


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0
