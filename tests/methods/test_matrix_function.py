"""What every method's `matrix_function` promises, against references that are no method of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods.functions import (
    Identity,
    InverseSquareRoot,
    Projector,
    SpectralFunction,
    Truncated,
    Whitening,
)
from eigbench.methods.registry import configured
from eigbench.truncation import kept_mask, truncate
from tests.methods.declared import (
    ACCURATE,
    ALL,
    DECOMPOSING,
    EXACT,
    WITH_PAIRS,
    converged,
    few,
    takes,
)
from tests.methods.matrices import relative, separated, weights

LEADING = np.array([0.0, 0.0, 0.0, 1.0, 1.0])

FUNCTIONS: dict[str, SpectralFunction] = {
    "inverse-square-root": InverseSquareRoot(),
    "identity": Identity(),
    "projector": Projector(LEADING),
    "truncated": Truncated(InverseSquareRoot(), LEADING),
}
ROOT = "inverse-square-root"
OTHER = "whitening"
"""By another matrix than `ROOT`: asked only of methods that refuse that."""
FUNCTIONS[OTHER] = Whitening()


def both(*functions: str, of: Iterable[str] = ALL) -> pytest.MarkDecorator:
    """Each of the methods with each function of `FUNCTIONS` that it does not refuse."""
    pairs = [(m, f) for m in of for f in functions or FUNCTIONS if takes(m, FUNCTIONS[f])]
    other = [(m, f) for m, f in pairs if f != OTHER or not takes(m, FUNCTIONS[ROOT])]
    return pytest.mark.parametrize(("method", "name"), other)


def written_out(M: Tensor, name: str) -> Tensor:
    """The functions above for 5×5 matrices, from torch's own eigenpairs, or its own factor."""
    if name == OTHER:
        factor: Tensor = torch.linalg.inv(torch.linalg.cholesky((M + M.mT) / 2))
        return factor
    values, V = torch.linalg.eigh(M)
    kept = torch.tensor(LEADING, dtype=M.dtype)
    of = {
        "inverse-square-root": values.rsqrt(),
        "identity": values,
        "projector": kept.expand_as(values),
        "truncated": values.rsqrt() * kept,
    }[name]
    composed: Tensor = (V * of[..., None, :]) @ V.mT
    return composed


def call(method: str, name: str, **parameters: Any) -> Callable[[Tensor], Tensor]:
    return partial(
        eigbench.matrix_function,
        function=FUNCTIONS[name],
        method=method,
        **(parameters or converged(method)),
    )


def gradient(function: Callable[[Tensor], Tensor], M: Tensor) -> Tensor:
    """Of ⟨W, f(M)⟩ with a symmetric W."""
    X = M.clone().requires_grad_()
    return torch.autograd.grad((weights(M) * function(X)).sum(), X)[0]


def mapped_gradient(function: Callable[[Tensor], Tensor], M: Tensor) -> Tensor:
    """The same through `vmap` of `grad`."""
    W = weights(M)
    found: Tensor = torch.func.vmap(torch.func.grad(lambda X: (W * function(X)).sum()))(M)
    return found


def central_differences(name: str, M: Tensor) -> Tensor:
    """Of `written_out`, in the symmetric directions that a symmetric M can move in."""
    step = 1e-5
    truth = torch.zeros_like(M)
    for i in range(5):
        for j in range(5):
            E = torch.zeros_like(M)
            E[i, j] += step / 2
            E[j, i] += step / 2
            up, down = (written_out(M + sign * E, name) for sign in (1, -1))
            truth[i, j] = (weights(M) * (up - down)).sum() / (2 * step)
    return truth


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@both(of=ACCURATE)
def test_values(method: str, name: str, batch: tuple[int, ...], dtype: torch.dtype) -> None:
    M = separated(5, batch, dtype)
    found = call(method, name)(M)
    assert found.shape == M.shape
    assert found.dtype == dtype
    assert relative(found, written_out(M.double(), name)) < 100 * torch.finfo(dtype).eps


@both(of=EXACT)
def test_gradient_is_that_of_central_differences(method: str, name: str) -> None:
    M = separated(5)
    # Differences of step 1e-5 are good to about step² and to rounding/step: 1e-10.
    assert relative(gradient(call(method, name), M), central_differences(name, M)) < 1e-8


@both(ROOT, OTHER)
def test_gradient_is_symmetric(method: str, name: str) -> None:
    M = separated(5, (3,)).requires_grad_()
    W = torch.arange(25.0, dtype=torch.float64).reshape(5, 5)  # not symmetric itself
    (G,) = torch.autograd.grad((W * call(method, name)(M)).sum(), M)
    assert relative(G.mT, G) < 1e-12


# Not of hybrid-loop, whose terms cancel for f steep near 0, as its docstring says: 3e-4 here.
@both(ROOT, OTHER, of=[name for name in ALL if name != "hybrid-loop"])
def test_float32_agrees_with_float64(method: str, name: str) -> None:
    M, function = separated(5).float(), call(method, name)
    # Condition number 20 and gaps of a half: some hundred float32 roundings at most.
    assert relative(gradient(function, M), gradient(function, M.double())) < 200 * 1.2e-7


@both(ROOT, OTHER)
def test_empty_batches_and_one_by_one(method: str, name: str) -> None:
    function = partial(eigbench.matrix_function, function=FUNCTIONS[name], method=method)
    assert function(torch.zeros(0, 4, 4)).shape == (0, 4, 4)
    X = torch.tensor([[4.0]], requires_grad=True)
    found = function(X)
    assert found.item() == pytest.approx(0.5)
    # Of one number everything comes through the eigenvalue, which Eq. 10 leaves out.
    slope = 0 if method == "hybrid-eq10" else -0.5 * 4**-1.5
    assert torch.autograd.grad(found.sum(), X)[0].item() == pytest.approx(slope)


@both()
def test_a_gradient_does_not_depend_on_its_neighbours(method: str, name: str) -> None:
    M = separated(5, (4,))
    together = gradient(call(method, name), M)
    apart = torch.stack([gradient(call(method, name), one) for one in M])
    # Other kernels, other roundings: each counts as often as there are iterations, 120 at most.
    assert relative(together, apart) < 120 * 2.2e-16 * 16


@both(ROOT, OTHER)
def test_no_neighbour_does_harm(method: str, name: str) -> None:
    """One that is singular but for 1e-9, one with ties, and one that is not finite."""
    good, function = separated(5), call(method, name)
    V = torch.linalg.eigh(good).eigenvectors
    spectra = torch.tensor([[1e-9, 1, 2, 3, 4], [1, 1, 2, 3, 3]], dtype=good.dtype)
    deficient, tied = (V * spectra[:, None]) @ V.mT
    batch = torch.stack([deficient, good, tied, torch.full_like(good, torch.nan)])
    try:
        found = gradient(function, batch)
    except RuntimeError as error:
        assert "element 3" in str(error)  # noqa: PT017  # those without one give NaN
        found = gradient(function, batch[:3])
    assert relative(found[1], gradient(function, good)) < 120 * 2.2e-16 * 16


@both()
def test_vmap_of_grad_is_the_loop(method: str, name: str) -> None:
    M, function = separated(5, (3,)), call(method, name, **few(method))
    looped = torch.stack([gradient(function, one) for one in M])
    assert relative(mapped_gradient(function, M), looped) < 1e-12


@both(ROOT, OTHER)  # with a cut: see below
def test_compiles_whole(method: str, name: str) -> None:
    torch.compiler.reset()
    M = separated(3, (2,))
    constant = FUNCTIONS[name].like(M)  # as a layer would hold it: no NumPy in the graph
    parameters = few(method, 2)  # loops are unrolled, n times each

    def function(M: Tensor) -> Tensor:
        return eigbench.matrix_function(M, constant, method=method, **parameters)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert relative(gradient(compiled, M), gradient(function, M)) < 1e-12


@pytest.mark.parametrize("transform", ["vmap", "compile"])
@pytest.mark.parametrize("method", [m for m in DECOMPOSING if takes(m, FUNCTIONS["truncated"])])
def test_a_cut_that_depends_on_the_matrix(method: str, transform: str) -> None:
    """As in a layer: each matrix's own truncation, from its own eigenvalues."""
    chosen = configured(method, **few(method))

    def function(M: Tensor) -> Tensor:
        pairs = chosen.eigh(M.detach())
        rank, _ = truncate("algorithm-1", M, pairs, 0.15)
        kept = kept_mask(rank, pairs.eigenvalues)
        return chosen.matrix_function(M, Truncated(InverseSquareRoot(), kept))

    M = separated(5, (3,)) * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)[:, None, None]
    truth = gradient(function, M)
    if transform == "vmap":
        found = mapped_gradient(function, M)
    else:
        torch.compiler.reset()
        found = gradient(torch.compile(function, fullgraph=True, backend="aot_eager"), M)
    assert relative(found, truth) < 1e-12


@pytest.mark.parametrize("method", WITH_PAIRS)
def test_is_what_the_eigenpairs_give(method: str) -> None:
    M = separated(5)
    values, V = eigbench.eigh(M, method=method)
    found = eigbench.matrix_function(M, "inverse-square-root", method=method)
    assert torch.equal(found, (V * values[..., None, :] ** -0.5) @ V.mT)


def test_names_stand_for_functions() -> None:
    M = separated(5)
    for name in ("inverse-square-root", "identity"):
        named = eigbench.matrix_function(M, name)
        assert torch.equal(named, eigbench.matrix_function(M, FUNCTIONS[name]))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown function 'sqrt'; there are inverse-square-root"):
        eigbench.matrix_function(torch.eye(3), "sqrt")
    with pytest.raises(ValueError, match=r"square matrices .*, not shape \(3, 4\)"):
        eigbench.matrix_function(torch.zeros(3, 4), "identity")
    with pytest.raises(ValueError, match="unknown method 'qr'"):
        eigbench.matrix_function(torch.eye(3), "identity", method="qr")
    with pytest.raises(ValueError, match="'spectral' has no parameter 'iterations'"):
        eigbench.matrix_function(torch.eye(3), "identity", iterations=3)
    with pytest.raises(TypeError, match=r"spectral takes float32, .*complex128, not int64"):
        eigbench.matrix_function(torch.eye(3, dtype=torch.int64), "identity")
