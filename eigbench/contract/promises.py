"""The promises of accuracy: held to gradients that NumPy knows in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from eigbench.contract.check import check
from eigbench.contract.finding import Log
from eigbench.contract.matrices import (
    DIFFERENCES,
    TRUTH,
    central_differences,
    sample,
    separated,
    weights,
)
from eigbench.contract.subject import Subject, gradient, losses, pair_loss, relative
from eigbench.losses import LOSSES, exact_gradient
from eigbench.measure.differentiate import differentiate
from eigbench.methods.functions import SpectralFunction
from eigbench.spectra import Floats, Sample

OPEN = (0.1, 0.2, 0.5, 1.1)
TIED = {
    "two tied": (0.2, 0.5, 0.5, 1.1),
    "three tied": (0.3, 0.9, 0.9, 0.9),
    "all tied": (0.7, 0.7, 0.7, 0.7),
}
BASES = {False: "along the axes", True: "in a random basis"}


@check("exact", "the analytic gradient of the eigenpairs wherever gaps are open")
def exact(subject: Subject, log: Log) -> None:
    """Against central differences, and for each spectral loss against Daleckii–Krein."""
    subject.require_pairs()
    if not subject.method.converged:
        subject.require_promise("exact")
    M, W, ranks = separated(5), weights(5), np.arange(5.0)

    def loss(stack: Floats) -> Any:
        return pair_loss(*np.linalg.eigh(stack), W, ranks)

    with log.at("central differences"):
        truth = torch.from_numpy(central_differences(loss, M.numpy()))
        found = gradient(losses(subject, subject.converged, 5, M.dtype)["eigenpairs"], M)
        log.within("relative error", relative(found, truth), DIFFERENCES)
    known = sample(OPEN)
    for name in ("whitening", "subspace", "reconstruction", "eigenvector"):
        function = LOSSES[name].function(known.eigenvalues)
        _compare(subject, log, name, known, function)


def _compare(
    subject: Subject, log: Log, place: str, known: Sample, function: SpectralFunction
) -> None:
    """Hold the gradient of ⟨W, f(M)⟩ to the one that follows from known eigenpairs."""
    W = weights(known.eigenvalues.shape[-1])[None]
    with log.at(place):
        M = torch.from_numpy(known.matrices())
        found = differentiate(subject.converged, M, function, torch.from_numpy(W)).gradient
        truth = torch.from_numpy(exact_gradient(known, function, W))
        log.within("relative error", relative(found, truth), TRUTH)


@check("functions", "the exact gradient of f(M) at any gap, zero included (Daleckii–Krein)")
def functions(subject: Subject, log: Log) -> None:
    """At open gaps and, of what promises it, at ties: exact ones, and rounded ones."""
    promised = "functions" in subject.method.promises
    if subject.has_pairs or not subject.method.converged:
        subject.require_promise("functions")
    # What only converges to the exact gradient need not do so at a tie.
    for spectrum, values in {"open gaps": OPEN, **(TIED if promised else {})}.items():
        for rotate_basis, basis in BASES.items():
            known = sample(values, rotate_basis=rotate_basis)
            for name, function in subject.functions.items():
                _compare(subject, log, f"{name}, {spectrum}, {basis}", known, function)


@check("isolated", "the gradient of a separated eigenvector while others repeat")
def isolated(subject: Subject, log: Log) -> None:
    """Its projector's; the tie is elsewhere."""
    subject.require_promise("isolated")
    for spectrum in ("two tied", "three tied"):
        _compare_both(subject, log, "eigenvector", spectrum, TIED[spectrum])


@check("subspace", "the gradient of the leading subspace, whatever repeats on either side")
def subspace(subject: Subject, log: Log) -> None:
    """The projector's on what lies above the widest relative gap."""
    subject.require_promise("subspace")
    places = {"two below": (0.2, 0.2, 1.0, 1.4), "two above": (0.2, 0.3, 1.1, 1.1),
              "both": (0.2, 0.2, 1.1, 1.1)}  # fmt: skip
    for place, values in places.items():
        _compare_both(subject, log, "subspace", place, values)


def _compare_both(
    subject: Subject, log: Log, loss: str, place: str, values: tuple[float, ...]
) -> None:
    """A spectrum with a tie: exact, along the axes, and rounded, in another basis."""
    for rotate_basis, basis in BASES.items():
        known = sample(values, rotate_basis=rotate_basis)
        _compare(subject, log, f"{place}, {basis}", known, LOSSES[loss].function(known.eigenvalues))
