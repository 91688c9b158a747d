"""How fast `eigbench.eigh` is beside torch's own decompositions: ratios, never seconds.

Forward and backward in float32 on one thread. Both sides of a ratio are timed in turn in one
process, so a slow machine slows both. `nox -s bench` runs this.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from torch import Tensor

import eigbench
from tests.benchmarks.gating import Gate, record_ratio
from tests.benchmarks.problems import (
    Decomposition,
    covariances,
    forward_and_backward,
    torch_eigh,
    torch_svd,
)

pytestmark = [pytest.mark.speed, pytest.mark.usefixtures("one_thread")]

SECONDS = 2.5

hybrid: Decomposition = eigbench.eigh
hybrid_loop: Decomposition = partial(eigbench.eigh, method="hybrid-loop")


def measured_ratio(
    gate: Gate, decompositions: tuple[Decomposition, Decomposition], M: Tensor
) -> float:
    """first/second."""
    first, second = (forward_and_backward(decompose, M) for decompose in decompositions)
    return gate(first, second, seconds=SECONDS).ratio


@pytest.mark.parametrize(
    ("count", "n", "limit"),
    # One 64×64 takes a third of a millisecond, of which calling from Python is a visible part.
    [(64, 64, 1.15), (1, 256, 1.15), (1, 64, 1.4)],
)
def test_costs_little_more_than_torch_eigh(gate: Gate, count: int, n: int, limit: float) -> None:
    assert measured_ratio(gate, (hybrid, torch_eigh), covariances(count, n)) <= limit


@pytest.mark.parametrize(
    ("count", "n"), [(1, 64), (64, 64), (1, 128), (1, 256), (64, 16), (64, 32)]
)
def test_is_faster_than_torch_svd(gate: Gate, count: int, n: int) -> None:
    assert measured_ratio(gate, (hybrid, torch_svd), covariances(count, n)) < 1


@pytest.mark.parametrize(
    ("count", "least"),
    # Wanted: 50. Measured in turn: 43 to 55 for one matrix, 43 to 48 for 64, in blocks 60 and 51:
    # after each loop `hybrid` finds its caches cold. The limit guards what is always reached.
    [(1, 40), (16, 40)],
)
def test_is_many_times_faster_than_the_literal_loop(benchmark: Any, count: int, least: int) -> None:
    # Not gated: so small a ratio spreads too far. The loop has its gate in test_regression.py.
    M = covariances(count, 64)
    first, second = (forward_and_backward(decompose, M) for decompose in (hybrid, hybrid_loop))
    times_faster = 1 / record_ratio(benchmark, first, second, limit=1 / least, seconds=5)
    benchmark.extra_info["times_faster"] = times_faster
    assert times_faster >= least
