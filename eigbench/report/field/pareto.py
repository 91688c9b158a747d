"""A ranking without one score: who is not beaten in accuracy, success and time at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from eigbench.report.field.measured import Measured
from eigbench.report.field.uses import USES, Standing, faster, standings
from eigbench.report.markdown import NOTHING, figure, percent, table
from eigbench.report.plots import legend_below, panels, save, style
from eigbench.report.rows import differ


def sections(measured: Measured, folder: Path) -> list[str]:
    """For each use the front and who beats the others, and a picture."""
    found = {use.title: _timed(standings(measured, use)) for use in USES}
    found = {title: some for title, some in found.items() if len(some) > 1}
    if not found:
        return []
    body = []
    for title, some in found.items():
        front, beaten = split(some)
        body.append([title, _listed(front), _beaten(beaten)])
    return [
        "## The Pareto front of accuracy, success and time",
        "A method is *beaten* if another is at least as good in all three (share of seeds that "
        "are right, share of finite gradients, median time of a forward and backward pass) and "
        "shown to be better in one: shares further apart than twice the standard error of their "
        "difference from case to case, times with intervals that do not meet. The others are the "
        "front; between them you choose.",
        table(["use", "the front (right, finite, time over `eigh`)", "beaten, by"], body),
        _picture(found, folder),
    ]


def split(
    found: Sequence[Standing],
) -> tuple[list[Standing], list[tuple[Standing, Standing]]]:
    """The front, and each other method with one that beats it."""
    front, beaten = [], []
    for one in found:
        better = next((other for other in found if beats(other, one)), None)
        if better is None:
            front.append(one)
        else:
            beaten.append((one, better))
    return front, beaten


def beats(one: Standing, other: Standing) -> bool:
    """Whether `one` is at least as good in all three, and shown to be better in one."""
    as_good = one.right >= other.right and one.finite >= other.finite and one.ratio <= other.ratio
    return as_good and (
        differ(one.right_by_case, other.right_by_case)
        or differ(one.finite_by_case, other.finite_by_case)
        or faster(one, other) > 0
    )


def _timed(found: Sequence[Standing]) -> list[Standing]:
    return [one for one in found if not math.isnan(one.ratio)]


def _listed(front: Sequence[Standing]) -> str:
    ordered = sorted(front, key=lambda one: (-one.right, one.ratio))
    return ", ".join(
        f"`{one.method}` ({percent(one.right)}, {percent(one.finite)}, {one.ratio:.2g})"
        for one in ordered
    )


def _beaten(pairs: Sequence[tuple[Standing, Standing]]) -> str:
    return ", ".join(f"`{one.method}` by `{better.method}`" for one, better in pairs) or NOTHING


def _picture(found: dict[str, list[Standing]], folder: Path) -> str:
    picture, axes = panels(len(found))
    for panel, (title, some) in zip(axes, found.items(), strict=True):
        front = {one.method for one in split(some)[0]}
        for one in some:
            look = {**style(one.method), "linestyle": "none", "markersize": 7}
            if one.method not in front:
                look["fillstyle"] = "none"
            panel.plot([one.ratio], [100 * one.right], label=one.method, **look)
        panel.set(xscale="log", ylim=(-3, 103))
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("time over torch.linalg.eigh, no unit")
        panel.set_ylabel("right to 1 %, % of seeds")
    legend_below(picture, axes)
    link = save(picture, folder, "pareto")
    return figure(link, "Filled: the front of accuracy, success and time. Hollow: beaten.")
