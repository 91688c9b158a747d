"""Times that others printed, beside those of the same sizes here."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import NOTHING, table
from eigbench.report.profile import writing
from eigbench.report.profile.naming import Names
from eigbench.report.profile.profiles import Profile, timed, values_of, where

SIZES = ((1, 64), (64, 48))
"""Batch and d."""

PRINTED_MILLISECONDS: dict[str, tuple[str, tuple[float, float]]] = {
    "hybrid": ("SVD-PI", (3.49, 83.43)),
    "taylor": ("SVD-Taylor", (3.41, 83.29)),
    "pade": ("SVD-Padé", (3.39, 83.25)),
    "newton-schulz": ("Newton–Schulz", (2.96, 10.38)),
}
"""By method here: its name there, and its time at each of the sizes.

Song, Sebe and Wang, Fast Differentiable Matrix Square Root, ICLR 2022: forward and backward of a
matrix square root on a Tesla K40.
"""


def sections(profiles: Sequence[Profile], names: Names) -> list[str]:
    """A table, if one of the sizes was measured with one of the methods; never a verdict."""
    operations = timed(where(profiles, subject="operation"))
    body = []
    for column, (batch, d) in enumerate(SIZES):
        for dtype in values_of(operations, "dtype"):
            own = where(operations, batch=batch, d=d, dtype=dtype)
            for label, same in names.group(own).items():
                there, times = PRINTED_MILLISECONDS.get(same[0].case.method, (NOTHING, ()))
                if times:
                    here = writing.supported(same[0].time, writing.MILLI)
                    printed = f"{times[column]:.2f}"
                    body.append([f"{batch}×{d}×{d}", there, printed, label, dtype, here])
    if not body:
        return []
    return [
        "## Times that others printed",
        "Milliseconds, forward and backward. *Printed*: Song, Sebe and Wang, Fast Differentiable "
        "Matrix Square Root (ICLR 2022), on a Tesla K40, of a matrix square root, which is a "
        "decomposition and two products. *Here*: the decomposition, on this machine. Other "
        "hardware, another library: nothing follows from one beside the other.",
        table(["batch×d×d", "there", "printed", "here called", "precision", "here"], body),
    ]
