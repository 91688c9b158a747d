"""One well separated eigenvector, or a subspace, while other eigenvalues repeat exactly."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.field.measured import Measured, largest
from eigbench.report.markdown import NOTHING, scientific, table
from eigbench.report.rows import Row, values_of, where

LOSSES = ("eigenvector", "subspace")


def repeated_rows(rows: Sequence[Row], loss: str) -> list[Row]:
    """Where eigenvalues repeat exactly and the loss sees none of them for itself."""
    return [
        row
        for row in where(rows, loss=loss)
        if (row.case.spectrum == "cluster" and row.case.gap == 0)
        or row.case.spectrum == "laplacian"
    ]


def sections(measured: Measured) -> list[str]:
    """Errors by method for each spectrum and loss."""
    columns = [
        (spectrum, loss)
        for spectrum in ("cluster", "laplacian")
        for loss in LOSSES
        if where(repeated_rows(measured.rows, loss), spectrum=spectrum)
    ]
    if not columns:
        return []
    body = []
    for method in measured.methods:
        cells = []
        for spectrum, loss in columns:
            own = where(repeated_rows(measured.rows, loss), method=method, spectrum=spectrum)
            cells.append(scientific(largest(own, lambda row: row.error)) if own else NOTHING)
        if set(cells) != {NOTHING}:
            body.append([method, *cells])
    dtypes = ", ".join(values_of(repeated_rows(measured.rows, columns[0][1]), "dtype"))
    return [
        "## Repeated eigenvalues elsewhere",
        "Half of the spectrum is exactly equal (*cluster*), or a graph has two nodes without "
        "an edge and the eigenvalue 0 comes three times (*laplacian*), while the loss sees an "
        "eigenvector or a subspace that is well separated from them: the exact gradient exists. "
        f"Largest error over all scales, {dtypes}:",
        table(["method", *(f"{spectrum}, {loss}" for spectrum, loss in columns)], body),
    ]
