"""Stability: the gradient through one method, on one family of matrices, beside the exact one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eigbench.kinds.base import Counts, Kind, MethodCase, Parameters, Span

STABILITY_METRICS = (
    "forward_finite", "function_finite", "gradient_finite", "gradient_error", "gradient_cosine",
    "gradient_norm", "exact_gradient_norm", "gradient_bound", "inside_bound", "rounding_floor",
    "condition_number",
)  # fmt: skip
"""What every measured stability case has, of whatever version: a value a matrix."""
FILE_SPECTRUM = "file"
"""The spectrum of the user's own matrices, which come from a file instead of a family."""


class StabilityCase(MethodCase, tag="stability", tag_field="kind", frozen=True, kw_only=True):
    """One method on one family of matrices, differentiated for a batch of seeds."""

    method: str
    parameters: Parameters
    d: int
    spectrum: str
    gap: float | None
    """Relative eigengap; None where the spectrum has none to choose."""
    scale: float
    dtype: str
    epsilon: float
    loss: str
    seeds: int
    seed: int
    device: str
    matrices: str | None = None
    """For the user's own matrices: the start of the file's SHA-256."""

    def counts(self, lengths: Mapping[str, int]) -> Counts:
        """A value a matrix; a label may be one for all."""
        samples = (name for name in lengths if not name.startswith(":"))
        yield (*STABILITY_METRICS, *samples), {self.seeds}
        yield (name for name in lengths if name.startswith(":")), {1, self.seeds}


_OF_A_PROBLEM = ("dtype", "epsilon", "scale", "loss", "gap")
"""The axes of a problem besides its family and size, the slowest first."""


def expand(span: Span) -> Iterator[StabilityCase]:
    """Every family, size and setting."""
    from eigbench.spectra import SPECTRA  # late: NumPy

    sha256 = span.matrices.sha256[:16] if span.matrices else None
    for spectrum, d, seeds in _families(span):
        takes_gap = spectrum in SPECTRA and SPECTRA[spectrum].uses_gap
        for point in span.runs_of_methods(*_OF_A_PROBLEM):
            if not takes_gap:
                point["gap"] = None
            yield StabilityCase(**point, d=d, spectrum=spectrum, seeds=seeds, matrices=sha256)


def _families(span: Span) -> list[tuple[str, int, int]]:
    """Spectrum, d and number of matrices: the suite's own, or those of the user's file."""
    if span.matrices is None:
        return [(s, d, span.seeds) for s in span.values["spectrum"] for d in span.values["d"]]
    return [(FILE_SPECTRUM, int(d), count) for d, count in span.matrices.count.items()]


STABILITY = Kind(
    case=StabilityCase,
    required=lambda _: {"method", "iterations", "start", "d", "spectrum", *_OF_A_PROBLEM},
    expand=expand,
    measurer="eigbench.measure.stability:measurer",
    part="eigbench.report.chapters.stability:part",
    comparison="eigbench.compare.rules:stability",
    may_differ=("device", "seeds"),  # the first seeds of more are the same matrices
)
