"""The ranges that a profiler's trace shows: where they are, and that they change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.profiler import ProfilerActivity, profile, record_function

import eigbench
from eigbench.layers import PCADenoising2d, ZCAWhitening2d
from eigbench.layers.base import SpectralLayer
from eigbench.methods.functions import InverseSquareRoot
from eigbench.methods.registry import configured
from eigbench.phases import PHASES, PREFIX, phase, recording
from tests.layers.making import fits
from tests.methods.declared import ALL, DECOMPOSING, WHITENING, WITH_PAIRS, takes
from tests.methods.matrices import separated

WITH_TABLE = [method for method in WITH_PAIRS if method not in ("pi", "pi-released")]
LAYERS: dict[str, Callable[..., SpectralLayer]] = {
    "zca": partial(ZCAWhitening2d, 8, 4),
    "pca": partial(PCADenoising2d, 8, energy=0.9),
}
FITTING = [(name, method) for name in LAYERS for method in ALL if fits(name, method)]
WITH_ROOT = tuple(method for method in ALL if takes(method, InverseSquareRoot()))


class Trace:
    """The ranges of a profile, and those of them that lie in another."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.nested: set[tuple[str, str]] = set()

    def read(self, events: Any) -> None:
        for event in events:
            if event.name.startswith(PREFIX):
                self.names.append(event.name.removeprefix(PREFIX))
                outer = event.cpu_parent
                while outer is not None:
                    if outer.name.startswith(PREFIX):
                        pair = (outer.name.removeprefix(PREFIX), self.names[-1])
                        self.nested.add(pair)
                    outer = outer.cpu_parent


@contextmanager
def traced() -> Iterator[Trace]:
    """What torch's profiler sees inside; to be read afterwards."""
    trace = Trace()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        yield trace
    trace.read(profiled.events())


def passes(function: Callable[[Tensor], Tensor], X: Tensor) -> tuple[Trace, Trace]:
    """The ranges of a forward and of a backward pass."""
    X = X.clone().requires_grad_()
    with recording():
        with traced() as forward:
            loss = function(X).sum()
        with traced() as backward:
            loss.backward()  # type: ignore[no-untyped-call]
    return forward, backward


def has_own_backward(output: Tensor) -> bool:
    """Whether an autograd function of ours is in the graph: autograd's own have no names."""
    nodes, seen = [output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, BackwardCFunction):
            return True
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
    return False


def pairs(method: str) -> Callable[[Tensor], Tensor]:
    """Of eigenpairs, as far as `method` differentiates them."""

    def function(M: Tensor) -> Tensor:
        values, V = eigbench.eigh(M, method=method)
        return values + V[..., 0, :] if method in WITH_PAIRS else values

    return function


def root(method: str) -> Callable[[Tensor], Tensor]:
    return partial(eigbench.matrix_function, function="inverse-square-root", method=method)


def images() -> Tensor:
    return torch.randn(6, 8, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("method", DECOMPOSING)
def test_the_phases_of_eigenpairs(method: str) -> None:
    M = separated(4, (2,)).requires_grad_()
    forward, backward = passes(pairs(method), M.detach())
    assert set(forward.names) == {"decomposition"}
    # Of eigenvalues alone nothing is made but V diag(∂L/∂λ) Vᵀ; power iteration has no table.
    own = {"coefficients", "products"} if method in WITH_TABLE else {"products"}
    assert set(backward.names) == (own if has_own_backward(pairs(method)(M)) else set())
    assert not forward.nested | backward.nested


@pytest.mark.parametrize("method", WITH_ROOT)
def test_the_phases_of_a_function(method: str) -> None:
    M = separated(4, (2,)).requires_grad_()
    forward, backward = passes(root(method), M.detach())
    # Without eigenpairs there is nothing but products.
    of_pairs = {"decomposition", "coefficients"} if method in DECOMPOSING else set()
    assert set(forward.names) == {"products"} | of_pairs
    # What is made of eigenvalues is made forward, unless eigenpairs themselves have a gradient.
    own = {"coefficients", "products"} if method in WITH_TABLE else {"products"}
    assert set(backward.names) == (own if has_own_backward(root(method)(M)) else set())
    assert not forward.nested | backward.nested


@pytest.mark.parametrize("method", [name for name in WHITENING if name not in WITH_ROOT])
def test_the_phases_of_another_whitening(method: str) -> None:
    """By a factor of M that is no function of its eigenvalues."""
    forward, _ = passes(configured(method).whitening, separated(4, (2,)))
    assert set(forward.names) == {"decomposition", "products"}
    assert not forward.nested


@pytest.mark.parametrize(("name", "method"), FITTING)
def test_the_phases_of_a_layer(method: str, name: str) -> None:
    layer = LAYERS[name](method=method).double()
    forward, backward = passes(layer, images())
    apart = {"coefficients"} if method not in DECOMPOSING else set()
    if method in WITH_ROOT and method not in DECOMPOSING:
        apart |= {"decomposition"}
    assert set(forward.names) == set(PHASES) - apart
    assert set(backward.names) == {"coefficients", "products"}
    assert not forward.nested
    # The gradient by the covariance, in which a method names its own.
    assert {outer for outer, _ in backward.nested} <= {"coefficients"}


@pytest.mark.parametrize("name", LAYERS)
def test_the_phase_of_a_layer_in_evaluation(name: str) -> None:
    forward, _ = passes(LAYERS[name]().double().eval(), images())
    assert forward.names == ["products"]


def test_nothing_is_seen_unless_recorded() -> None:
    with traced() as trace:
        ZCAWhitening2d(8).double()(images().requires_grad_()).sum().backward()
    assert trace.names == []


def test_recording_ends_even_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="broken"), recording():
        raise RuntimeError("broken")
    assert not isinstance(phase("products"), record_function)


def test_recording_inside_recording() -> None:
    with recording():
        with recording():
            pass
        assert isinstance(phase("products"), record_function)


def test_every_thread_records() -> None:
    with recording(), ThreadPoolExecutor() as pool:
        assert isinstance(pool.submit(phase, "products").result(), record_function)


def _step(method: str) -> list[Tensor]:
    """All numbers that come out of a method and of both layers."""
    M = separated(4, (2,)).requires_grad_()
    found: list[Tensor] = []
    if method in DECOMPOSING:
        found += torch.autograd.grad(pairs(method)(M).sum(), M)
    if method in WITH_ROOT:
        composed = root(method)(M)
        found += [composed, *torch.autograd.grad(composed.sum(), M)]
    for name in (name for name, other in FITTING if other == method):
        torch.manual_seed(1)  # for the starts of `pi`
        layer, X = LAYERS[name](method=method).double(), images().requires_grad_()
        Y = layer(X)
        found += [Y, *torch.autograd.grad(Y.square().sum(), [X, *layer.parameters()])]
        found += layer.buffers()
    return found


@pytest.mark.parametrize("method", ALL)
def test_recording_changes_no_number(method: str) -> None:
    plain = _step(method)
    with recording(), traced():
        recorded = _step(method)
    for one, other in zip(plain, recorded, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("method", ["hybrid", "spectral"])
def test_a_compiler_sees_neither_a_range_nor_a_switch(method: str) -> None:
    torch.compiler.reset()

    def loss(M: Tensor) -> Tensor:
        return eigbench.matrix_function(M, "inverse-square-root", method=method).sum()

    compiled: Any = torch.compile(loss, fullgraph=True, backend="aot_eager")
    M = separated(4).requires_grad_()
    (plain,) = torch.autograd.grad(compiled(M), M)
    stance: Any = torch.compiler.set_stance
    with stance("fail_on_recompile"), recording(), traced() as trace:
        (recorded,) = torch.autograd.grad(compiled(M), M)
    assert trace.names == []
    assert torch.equal(recorded, plain)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_compiles_whole_while_recording(name: str) -> None:
    torch.compiler.reset()
    layer = LAYERS[name]().double()
    compiled: Any = torch.compile(layer, fullgraph=True, backend="aot_eager")
    X = images().requires_grad_()
    with recording(), traced() as trace:
        torch.autograd.grad(compiled(X).square().sum(), X)
    assert trace.names == []


def test_transforms_while_recording() -> None:
    def loss(M: Tensor) -> Tensor:
        return eigbench.matrix_function(M, "inverse-square-root", method="hybrid").sum()

    M = separated(4, (3,))
    mapped = torch.func.vmap(torch.func.grad(loss))
    plain = mapped(M)
    with recording():
        assert torch.equal(mapped(M), plain)
