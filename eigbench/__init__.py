"""eigbench: how to differentiate through an eigendecomposition, settled by measurement."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eigbench._version import __version__

if TYPE_CHECKING:
    from eigbench import methods
    from eigbench.diagnosis.diagnose import diagnose
    from eigbench.diagnosis.watch import watch
    from eigbench.functional import eigh, matrix_function
    from eigbench.methods.leading import leading_eigh
    from eigbench.singular.polar import polar
    from eigbench.singular.svd_function import svd_function
    from eigbench.singular.triples import svd

__all__ = [
    "__version__",
    "diagnose",
    "eigh",
    "leading_eigh",
    "matrix_function",
    "methods",
    "polar",
    "svd",
    "svd_function",
    "watch",
]

_HOMES = {
    "diagnose": "eigbench.diagnosis.diagnose",
    "eigh": "eigbench.functional",
    "leading_eigh": "eigbench.methods.leading",
    "matrix_function": "eigbench.functional",
    "polar": "eigbench.singular.polar",
    "svd": "eigbench.singular.triples",
    "svd_function": "eigbench.singular.svd_function",
    "watch": "eigbench.diagnosis.watch",
}


def __getattr__(name: str) -> Any:
    # Late, because these import torch, which takes seconds, and the command line must not.
    # `methods` needs no torch and becomes an attribute by being imported.
    if name in _HOMES:
        errors = import_module("eigbench.errors")
        with errors.needing_report():
            globals()[name] = getattr(import_module(_HOMES[name]), name)
        return globals()[name]
    if name == "methods":
        return import_module("eigbench.methods")
    raise AttributeError(f"module 'eigbench' has no attribute {name!r}")
