"""How a number is written: only with the digits that its samples support."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from eigbench.report.stats import Interval, share

NOTHING = "–"
NOT_FINITE = "not finite"
NOISY_MARK = "≈"
MOST_DIGITS = 3
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB")


def percent(part: float) -> str:
    """A share in whole per cent; 100 and 0 only where it is all or none."""
    if math.isnan(part):
        return NOTHING
    text = f"{100 * part:.0f}"
    if part < 1 and text == "100":
        text = ">99"
    elif part > 0 and text == "0":
        text = "<1"
    return f"{text} %"


def percentage(value: float) -> str:
    """A share that is a parameter, such as an energy of 99.5 %: all of its digits."""
    return f"{100 * value:.6g} %"


def rounded_share(value: float) -> str:
    """A share that was measured, to two digits."""
    return percentage(float(f"{value:.2g}"))


def counted(successes: int, trials: int) -> str:
    """A share with the ends of its 95 % interval, such as "2 of 3 (21 to 94 %)"."""
    found = share(successes, trials)
    return f"{successes} of {trials} ({100 * found.low:.0f} to {100 * found.high:.0f} %)"


def scientific(value: float | None) -> str:
    """Two digits; plain between 0.01 and 1000."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return NOT_FINITE if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        text = f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−", 1) if value < 0 else text


def cosine(value: float | None) -> str:
    """A cosine to two decimals; 1 only where it is 1 beyond them."""
    if value is None or math.isnan(value):
        return NOTHING
    text = f"{abs(value):.2f}"
    return f"{'−' if value < 0 and text != '0.00' else ''}{text}"


def axis_value(value: object) -> str:
    """A value of an axis as it is typed on the command line."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def supported(one: Interval | None, scale: float = 1.0) -> str:
    """A median, down to the leading digit of how far its interval reaches; ≈ if it is noisy."""
    if one is None:
        return NOTHING
    mark = NOISY_MARK if one.noisy else ""
    return mark + fixed(scale * one.value, _decimals(one, scale))


def with_interval(one: Interval | None, scale: float = 1.0) -> str:
    """The same with the ends of its interval, to the same digit."""
    if one is None:
        return NOTHING
    decimals = _decimals(one, scale)
    return supported(one, scale) + _ends(one, scale, decimals, signed=False)


def difference(one: Interval | None, scale: float = 1.0) -> str:
    """A difference with its sign and its interval; ≈ where there is none.

    Not where it is wide: near 0 a share of the difference says nothing.
    """
    if one is None:
        return NOTHING
    value, reach = scale * one.value, scale * one.reach
    if math.isnan(reach):
        return NOISY_MARK + fixed(value, _most(value) - 1, signed=True)
    decimals = min(_most(value), -_exponent(reach)) if reach else _most(value)
    return fixed(value, decimals, signed=True) + _ends(one, scale, decimals, signed=True)


def significant(value: float, digits: int = MOST_DIGITS) -> str:
    """So many digits, or as many as a whole number has."""
    if not math.isfinite(value):
        return NOTHING
    decimals = digits - 1 - _exponent(value)
    return fixed(value, max(0, decimals) if digits == MOST_DIGITS else decimals)


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def amount(size_bytes: float) -> str:
    """An amount of memory in the unit in which it has up to three digits before the point."""
    if not math.isfinite(size_bytes):
        return NOTHING
    value, power = size_bytes, 0
    while abs(value) >= 1000 and power < len(_BYTES) - 1:
        value, power = value / 1024, power + 1
    decimals = 0 if power == 0 or abs(value) >= 100 else 1
    return f"{value:.{decimals}f} {_BYTES[power]}"


def duration(seconds: float) -> str:
    """A time in seconds, milliseconds or microseconds, to three digits."""
    if not 1e-9 <= seconds < 1e9:
        return f"{scientific(seconds)} s"
    scale, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    return f"{significant(scale * seconds)} {unit}"


def factor(ratio: float) -> str:
    """A ratio to three digits, such as "1.15"."""
    if math.isnan(ratio) or math.isinf(ratio):
        return NOTHING if math.isnan(ratio) else "∞"
    return significant(ratio) if 0.01 <= ratio < 1000 else scientific(ratio)


def span(values: Iterable[float], write: Callable[[float], str] = significant) -> str:
    """From the least to the largest of the finite values; one of them if they are written alike."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(write(value) for value in (min(known), max(known))))


def interval_span(some: Iterable[Interval | None], scale: float = 1.0) -> str:
    """From the least to the largest of several medians."""
    known = sorted((one for one in some if one), key=lambda one: one.value)
    if not known:
        return NOTHING
    return " to ".join(dict.fromkeys(supported(one, scale) for one in (known[0], known[-1])))


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """So many digits after the point; zeros before it where there are fewer than none."""
    if not math.isfinite(value):
        return NOTHING
    value = round(value, decimals) + 0.0  # no −0
    text = f"{abs(value):.{max(0, decimals)}f}"
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    return sign + text


def rate(one: Interval) -> str:
    """A hazard with its interval, such as "1 in 20 steps (1 in 9 to 1 in 50)".

    Without a failure it is what the hazard is below.
    """
    if not math.isfinite(one.value):
        return NOTHING
    if one.value == 0:
        return f"0 (below 1 in {math.floor(1 / one.high):,} steps)"
    often, usual, seldom = (f"{1 / value:,.0f}" for value in (one.high, one.value, one.low))
    return f"1 in {usual} steps (1 in {often} to 1 in {seldom})"


def plural(number: int, noun: str) -> str:
    """Such as "1 trial" or "3 trials"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _decimals(one: Interval, scale: float) -> int:
    """Digits after the point that the samples support: at least one digit, at most three."""
    value, reach = scale * one.value, scale * one.reach
    if math.isnan(reach):
        return _most(value) - 1
    if reach == 0:
        return _most(value)
    return min(_most(value), max(-_exponent(reach), -_exponent(value)))


def _ends(one: Interval, scale: float, decimals: int, *, signed: bool) -> str:
    if math.isnan(one.reach):
        return ""
    low, high = (fixed(scale * end, decimals, signed=signed) for end in (one.low, one.high))
    return f" ({low} to {high})" if signed else f" ({low}–{high})"


def _most(value: float) -> int:
    return MOST_DIGITS - 1 - _exponent(value)


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value and math.isfinite(value) else 0
