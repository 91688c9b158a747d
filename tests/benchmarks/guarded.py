"""Which methods the gate guards. The others are measured by suites, and may become slower."""

from __future__ import annotations

from collections.abc import Iterable

from tests.benchmarks.gate import ACCEPT

METHODS = ("eigh", "svd", "pi", "hybrid", "hybrid-loop", "spectral", "svd-released")
"""Each takes CI some four seconds at two sizes, and needs a baseline."""

TEST = "test_method_beside_torch_eigh"
"""The benchmark of `test_regression.py` that is made for each of them."""


def named(benchmarks: Iterable[str]) -> set[str]:
    """The methods of which benchmarks, `file.py::test[method-1x64x64]`, are among these."""
    of_methods = (name for name in benchmarks if f"::{TEST}[" in name)
    return {name.partition("[")[2].rpartition("-")[0] for name in of_methods}


def how_to_guard(method: str) -> str:
    """What to do so that the gate guards a further method, or the rest of it."""
    return (
        f"To guard {method}, add it to METHODS in tests/benchmarks/guarded.py, run\n"
        f"    {ACCEPT} -k '{TEST} and {method}'\n"
        "and commit tests/benchmarks/baseline.json."
    )


def left_out(methods: Iterable[str]) -> list[str]:
    """Lines that say which of these methods are not guarded, and how to guard one; or none."""
    others = [method for method in methods if method not in METHODS]
    if not others:
        return []
    return [f"not guarded: {', '.join(others)}", *how_to_guard(others[0]).splitlines()]
