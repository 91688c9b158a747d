"""Markdown: how numbers, tables and headings are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tabulate import tabulate

NOTHING = "–"
NOT_FINITE = "not finite"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads as well in a terminal as on a code host; numbers to the right."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(headers)
    alignment = ["left", *("right" if all(map(_numeric, c)) else "left" for c in columns[1:])]
    text: str = tabulate(rows, headers, tablefmt="pipe", colalign=alignment, disable_numparse=True)
    return text


def _numeric(cell: str) -> bool:
    return (
        cell in {NOTHING, NOT_FINITE, ""} or re.fullmatch(r"[-−–<>≈×()\d.e+ %]+", cell) is not None
    )


def percent(share: float) -> str:
    """A share as a percentage; 100 and 0 only where it is all or none."""
    if math.isnan(share):
        return NOTHING
    text = f"{100 * share:.1f}"
    if share < 1 and text == "100.0":
        text = ">99.9"
    elif share > 0 and text == "0.0":
        text = "<0.1"
    return f"{text.removesuffix('.0')} %"


def scientific(value: float) -> str:
    """Two digits; plain between 0.01 and 1000."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return NOT_FINITE if value > 0 else "−∞"
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1e}"


def axis_value(value: object) -> str:
    """A value of an axis as it is typed on the command line."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def figure(path: str, caption: str) -> str:
    """A linked picture with its caption."""
    return f"[![{caption}]({path})]({path})\n\n*{caption}*"
