"""The condition number of a covariance, before and after it is whitened."""

from __future__ import annotations

from eigbench.report.field.measured import Measured
from eigbench.report.markdown import scientific, table
from eigbench.report.rows import median, pooled, values_of, where

SPECTRA = ("gap", "cifar-patches", "cifar-conv", "rank-deficient")


def sections(measured: Measured) -> list[str]:
    """Medians by method and spectrum; a perfect whitening gives 1."""
    rows = where(measured.rows, loss="whitening", dtype="float32", epsilon=1e-4, scale=1.0)
    rows = [row for row in rows if row.case.d > 3 and len(row.metric("condition_after"))]
    spectra = [name for name in SPECTRA if where(rows, spectrum=name)]
    if not spectra:
        return []
    body = [["*before*", *(_middle(where(rows, spectrum=s), "condition_number") for s in spectra)]]
    for method in values_of(rows, "method"):
        own = where(rows, method=method)
        body.append(
            [method, *(_middle(where(own, spectrum=s), "condition_after") for s in spectra)]
        )
    sizes = ", ".join(map(str, values_of(rows, "d")))
    return [
        "## The condition number before and after whitening",
        "Of M + εI, and of S(M + εI)Sᵀ with the S that a method computes: 1 if it whitens "
        f"(medians over d = {sizes}, as far as a spectrum has them; float32, ε = 1e-4). This is "
        "the forward pass, without the truncation that a whitening layer may add.",
        table(["method \\ spectrum", *spectra], body),
    ]


def _middle(rows: object, metric: str) -> str:
    values = pooled(rows, lambda row: row.metric(metric))  # type: ignore[arg-type]
    return scientific(median(values))
