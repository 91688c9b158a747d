"""Which methods a test is for, and with what parameters: by the methods' own declarations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eigbench.contract.subject import Subject
from eigbench.methods import available, get
from eigbench.methods.functions import SpectralFunction, Whitening

ALL = available()
SUBJECTS = {name: Subject.of(name, get(name)) for name in ALL}


def those(are: Callable[[Subject], bool]) -> tuple[str, ...]:
    """The names of the methods that declare something."""
    return tuple(name for name, subject in SUBJECTS.items() if are(subject))


def takes(name: str, function: SpectralFunction) -> bool:
    """Whether a method does not refuse a function of M."""
    return SUBJECTS[name].method.function_refusal(function) is None


def _is_exact(subject: Subject) -> bool:
    method = subject.method
    promised = bool({"exact", "functions"} & method.promises)
    # A whitening that is no function of the eigenvalues has nothing to approximate.
    return subject.is_accurate and (promised or bool(method.converged) or not subject.functions)


DECOMPOSING = those(lambda subject: subject.method.decomposes)
WITH_PAIRS = those(lambda subject: subject.has_pairs)
"""Whose eigenpairs have a gradient."""
WITHOUT_VECTORS = tuple(name for name in DECOMPOSING if name not in WITH_PAIRS)
"""Whose eigenvalues alone have one."""
WHITENING = tuple(name for name in ALL if takes(name, Whitening()))
ACCURATE = those(lambda subject: subject.is_accurate)
"""Whose forward pass is right, with the parameters of `converged`."""
EXACT = those(_is_exact)
"""Whose gradient is that of their forward pass, likewise, where gaps are open."""


def converged(name: str) -> dict[str, Any]:
    """Parameters with which an approximation has reached what it approximates."""
    return dict(SUBJECTS[name].method.converged)


def few(name: str, count: int = 3) -> dict[str, Any]:
    """As few steps, terms or pairs as that, so that a compiler gets through unrolled loops."""
    return {key: count for key, value in converged(name).items() if type(value) is int}
