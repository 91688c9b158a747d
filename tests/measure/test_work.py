"""Floating-point operations and saved memory, against what can be counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from eigbench.measure.anatomy import PEAK_SAMPLES, flops, matmul_flops_per_second, saved_bytes
from eigbench.measure.contestants import make
from eigbench.measure.timing import Contestant
from tests.measure.profiles import case


def run_of(*inputs: Tensor, forward: Callable[..., Tensor]) -> Contestant:
    def backward(output: Tensor) -> Any:
        return torch.autograd.grad(output.sum(), [x for x in inputs if x.requires_grad])

    return Contestant(
        lambda: inputs, {"forward": lambda given: forward(*given), "backward": backward}
    )


def test_a_product_is_counted_exactly() -> None:
    A, B = torch.randn(3, 4, 5, requires_grad=True), torch.randn(3, 5, 6, requires_grad=True)
    product = 2 * 3 * 4 * 5 * 6
    assert flops(run_of(A, B, forward=torch.bmm)) == {"forward": product, "backward": 2 * product}


def test_a_product_that_is_added_in_place_is_counted() -> None:
    A, B, C = torch.randn(3, 4, 5), torch.randn(3, 5, 6), torch.randn(3, 4, 6)
    contestant = Contestant(lambda: (C, A, B), {"forward": lambda x: x[0].baddbmm_(x[1], x[2])})
    assert flops(contestant) == {"forward": 2 * 3 * 4 * 5 * 6}


@pytest.mark.parametrize(("decompose", "factor"), [(torch.linalg.eigh, 9), (torch.linalg.svd, 21)])
def test_decompositions_are_counted_by_convention(
    decompose: Callable[[Tensor], Any], factor: int
) -> None:
    M = torch.eye(6).expand(2, 6, 6).contiguous()
    contestant = Contestant(lambda: (M,), {"forward": lambda x: decompose(x[0])})
    assert flops(contestant) == {"forward": factor * 2 * 6**3}


def test_a_methods_own_backward_is_counted() -> None:
    counted = flops(make(case(batch=2, d=8)))
    assert counted["forward"] == 9 * 2 * 8**3
    # Two products on the left and on the right of the table, and one before it: VᵀG.
    assert counted["backward"] == 3 * 2 * 2 * 8**3


def test_saved_memory_is_what_a_graph_keeps_beside_its_inputs() -> None:
    X = torch.randn(1000, requires_grad=True)
    # exp keeps its result; the product keeps both factors, of which one is that result already.
    assert saved_bytes(run_of(X, forward=lambda x: x * x.exp())) == 4 * 1000
    assert saved_bytes(run_of(X, forward=lambda x: x * x)) == 0


def test_parameters_are_not_saved_memory() -> None:
    X, W = torch.randn(4, 5, requires_grad=True), torch.randn(5, 5, requires_grad=True)
    contestant = run_of(X, forward=lambda x: x @ W)
    owned = Contestant(contestant.prepare, contestant.passes, parameters=(W,))
    assert saved_bytes(owned) == 0
    assert saved_bytes(contestant) == 4 * 25


def test_a_view_keeps_what_it_is_a_view_of() -> None:
    X = torch.randn(100, requires_grad=True)
    assert saved_bytes(run_of(X, forward=lambda x: (x + 1)[:3].square())) == 4 * 100


def test_a_decomposition_keeps_its_eigenpairs() -> None:
    assert saved_bytes(make(case(batch=2, d=8))) == 4 * 2 * (8 + 64)


def test_the_peak_is_measured_once_a_process() -> None:
    found = matmul_flops_per_second(torch.float32, torch.device("cpu"))
    assert len(found) == PEAK_SAMPLES
    assert all(rate > 0 for rate in found)
    assert matmul_flops_per_second(torch.float32, torch.device("cpu")) is found
