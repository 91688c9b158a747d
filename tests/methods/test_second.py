"""Second derivatives and forward mode: right, or refused with a sentence that names the way out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import eigbench
from eigbench.methods import available
from eigbench.methods.functions import Whitening
from tests.methods.declared import DECOMPOSING, WITH_PAIRS, few
from tests.methods.matrices import relative, separated, symmetric, weights

Loss = Callable[[Tensor], Tensor]


def log_determinant(M: Tensor, method: str) -> Tensor:
    """Σ log λ, whose gradient is M⁻¹ and whose second derivative along E is −M⁻¹EM⁻¹."""
    return eigbench.eigh(M, method=method).eigenvalues.log().sum()


def double_backward(loss: Loss, M: Tensor, E: Tensor) -> Tensor:
    X = M.clone().requires_grad_()
    (G,) = torch.autograd.grad(loss(X), X, create_graph=True)
    return torch.autograd.grad((E * G).sum(), X)[0]


def dual_over_backward(loss: Loss, M: Tensor, E: Tensor) -> Tensor:
    """Forward mode of torch.autograd: no graph is recorded, and no transform is active."""
    with forward_ad.dual_level():
        X = forward_ad.make_dual(M.clone().requires_grad_(), E)  # type: ignore[no-untyped-call]
        (G,) = torch.autograd.grad(loss(X), X)
        found: Tensor = forward_ad.unpack_dual(G).tangent  # type: ignore[no-untyped-call]
        return found


def along(hessian: Any) -> Callable[[Loss, Tensor, Tensor], Tensor]:
    def product(loss: Loss, M: Tensor, E: Tensor) -> Tensor:
        found: Tensor = (hessian(lambda M: loss((M + M.mT) / 2))(M) * E).sum((-2, -1))
        return found

    return product


func = torch.func
WAYS: dict[str, Callable[[Loss, Tensor, Tensor], Tensor]] = {
    "double backward": double_backward,
    "dual over backward": dual_over_backward,
    "hessian": along(func.hessian),
    "jacrev of jacrev": along(lambda loss: func.jacrev(func.jacrev(loss))),
    "jacrev of jacfwd": along(lambda loss: func.jacrev(func.jacfwd(loss))),
    "jacfwd of jacfwd": along(lambda loss: func.jacfwd(func.jacfwd(loss))),
    "older hessian": along(
        lambda loss: lambda M: torch.autograd.functional.hessian(loss, M)  # type: ignore[no-untyped-call]
    ),
}
OPEN = {"halves": (0.5, 1.0, 2.0), "1 %": (0.99, 1.0, 3.0), "both signs": (2.0, 5.0, -2.0)}
TIED = {
    "axes": torch.diag(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64)),
    "turned": symmetric(torch.tensor([0.3, 0.3, 1.1, 1.1], dtype=torch.float64)),
    "to rounding": symmetric(torch.tensor([1.0, 1.0 + 1e-14, 3.0], dtype=torch.float64)),
    "all": 0.7 * torch.eye(4, dtype=torch.float64),
    "float32": symmetric(torch.tensor([2.0, 2.0, 5.0])),
}


# `jitter` has those of another matrix, of which no gap is closed.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("matrix", TIED)
@pytest.mark.parametrize("method", [name for name in DECOMPOSING if name != "jitter"])
def test_at_a_tie_there_is_none_and_that_is_said(method: str, matrix: str, way: str) -> None:
    """Finite and 10 to 110 % off, or NaN, before. In no method is it right."""
    M = TIED[matrix]
    # torch's own assertion, where a function that has no forward mode is nested in two.
    unsaid = (AssertionError,) if way == "jacfwd of jacfwd" else ()
    with pytest.raises((NotImplementedError, *unsaid)) as refusal:
        WAYS[way](partial(log_determinant, method=method), M, weights(M))
    if refusal.type is NotImplementedError:
        assert "'eigh'" in str(refusal.value) or "matrix_function" in str(refusal.value) or (
            "hessian" in str(refusal.value)
        )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("spectrum", ["halves", "1 %"])
@pytest.mark.parametrize("method", DECOMPOSING)
def test_at_open_gaps_it_is_right_or_refused(method: str, spectrum: str, way: str) -> None:
    M = symmetric(torch.tensor(OPEN[spectrum], dtype=torch.float64))
    E, inverse = weights(M), torch.linalg.inv(M)
    try:
        found = WAYS[way](partial(log_determinant, method=method), M, E)
    except (NotImplementedError, AssertionError):
        always = way == "double backward" and method in ("eigh", "svd", "trunc", "pade", "implicit")
        assert not always
        return
    assert relative(found, -inverse @ E @ inverse) < 1e-2
    if method in ("eigh", "svd", "trunc", "pade", "lorentzian", "implicit"):
        assert relative(found, -inverse @ E @ inverse) < 1e-8


@pytest.mark.parametrize("method", ["hybrid", "taylor", "pi", "hybrid-loop"])
def test_what_has_converged_has_one(method: str) -> None:
    """K terms are enough where the ratios of neighbours are small, and not where they are not."""
    M = symmetric(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))
    assert double_backward(partial(log_determinant, method=method), M, weights(M)).isfinite().all()
    close = symmetric(torch.tensor([0.9, 1.0, 2.0], dtype=torch.float64))
    with pytest.raises(NotImplementedError, match=f"{method} has no second derivative here"):
        double_backward(partial(log_determinant, method=method), close, weights(M))


@pytest.mark.parametrize("spectrum", OPEN)
def test_singular_values_of_both_signs_are_a_tie(spectrum: str) -> None:
    M = symmetric(torch.tensor(OPEN[spectrum], dtype=torch.float64))

    def cubes(M: Tensor) -> Tensor:
        return eigbench.eigh(M, method="svd").eigenvalues.pow(3).sum()

    if spectrum == "both signs":
        with pytest.raises(NotImplementedError, match="svd has no second derivative here"):
            double_backward(cubes, M, weights(M))
    else:
        E = weights(M)
        assert relative(double_backward(cubes, M, E), 3 * (M @ E + E @ M)) < 1e-10


def test_over_a_batch_it_is_nan_where_numbers_cannot_be_seen() -> None:
    M = torch.stack([TIED["axes"], torch.diag(torch.tensor([1.0, 2.0, 5.0]).double())])
    for method in ("eigh", "hybrid"):
        found = func.vmap(func.hessian(partial(log_determinant, method=method)))(M)
        assert found[0].isnan().any()
        assert found[1].isfinite().all()


def test_a_gradient_may_be_recorded_at_a_tie() -> None:
    """Only a second derivative is refused, not that somebody might ask for one."""
    for method in DECOMPOSING:
        X = TIED["axes"].clone().requires_grad_()
        plain, recorded = (
            torch.autograd.grad(log_determinant(X, method), X, create_graph=record)[0]
            for record in (False, True)
        )
        assert torch.equal(plain, recorded), method


@pytest.mark.parametrize("n", [3, 5])
def test_the_way_out_is_one(n: int) -> None:
    """The second derivative of tr M^(1/2) along E at ties: −¼ λ^(−3/2) E, by Newton–Schulz."""
    M = 0.49 * torch.eye(n, dtype=torch.float64)
    root = partial(
        eigbench.matrix_function, function="square-root", method="newton-schulz", steps=30
    )
    found = double_backward(lambda M: root(M).diagonal().sum(), M, weights(M))
    assert relative(found, -0.25 * 0.49**-1.5 * weights(M)) < 1e-10


# Forward mode

FORWARD = tuple(name for name in available() if name not in ("implicit", "hybrid-loop"))


def of_function(M: Tensor, method: str) -> Tensor:
    function = Whitening() if method == "cholesky" else "inverse-square-root"
    return eigbench.matrix_function(M, function, method=method, **few(method))


def of_pairs(M: Tensor, method: str) -> Tensor:
    values, V = eigbench.eigh(M, method=method, **few(method))
    return torch.cat([values[..., None], V], -1)


def dual(function: Loss, M: Tensor, E: Tensor) -> Tensor:
    mode: Any = torch.autograd.forward_ad
    with mode.dual_level():
        tangent: Tensor = mode.unpack_dual(function(mode.make_dual(M, E))).tangent
    return tangent


def pushed(function: Loss, M: Tensor, E: Tensor) -> Tensor:
    jvp: Any = func.jvp
    tangent: Tensor = jvp(function, (M,), (E,))[1]
    return tangent


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("of", [of_function, of_pairs])
@pytest.mark.parametrize("method", FORWARD)
def test_forward_mode_is_the_transpose_of_the_gradient(
    method: str, of: Callable[..., Tensor], batch: tuple[int, ...]
) -> None:
    if of is of_pairs and method not in WITH_PAIRS:
        pytest.skip("eigenvectors have no gradient")
    M = separated(4, batch)
    function = partial(of, method=method)
    E, X = weights(M).expand(M.shape), M.clone().requires_grad_()
    value = function(X)
    W = torch.randn(value.shape, dtype=M.dtype, generator=torch.Generator().manual_seed(5))
    (G,) = torch.autograd.grad((W * value).sum(), X)
    wanted = (G * E).sum()
    tangent = pushed(function, M, E)
    size = float(W.norm() * tangent.norm())
    assert abs(float((W * tangent).sum() - wanted)) < 1e-12 * size
    assert relative(dual(function, M, E), tangent) < 1e-13
    jacobian = func.jacfwd(function)(M)
    assert relative((jacobian * E).flatten(-M.dim()).sum(-1), tangent) < 1e-13


@pytest.mark.parametrize("name", ["inverse-square-root", "square-root", "logarithm", "exponential"])
def test_forward_mode_of_functions_is_exact_at_ties(name: str) -> None:
    M, E = TIED["turned"], weights(TIED["turned"])
    step = 1e-3

    def at(t: float) -> Tensor:  # where E has split the ties, by torch alone
        values, V = torch.linalg.eigh(M + t * E)
        f = {"inverse-square-root": torch.rsqrt, "square-root": torch.sqrt,
             "logarithm": torch.log, "exponential": torch.exp}[name]  # fmt: skip
        made: Tensor = (V * f(values)) @ V.mT
        return made

    truth = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    tangent = pushed(partial(eigbench.matrix_function, function=name), M, E)
    assert relative(tangent, truth) < 1e-6


@pytest.mark.parametrize("method", ["implicit", "hybrid-loop"])
@pytest.mark.parametrize("way", [func.jacfwd, func.hessian, lambda f: lambda M: dual(f, M, M)])
def test_without_a_forward_mode_the_way_out_is_named(method: str, way: Any) -> None:
    with pytest.raises(NotImplementedError, match=r"reverse mode, as torch\.func\.jacrev does"):
        way(partial(log_determinant, method=method))(separated(3))


@pytest.mark.parametrize("method", ["spectral", "svd-newton"])
def test_forward_mode_of_eigenvectors_without_a_gradient(method: str) -> None:
    M = separated(3)
    with pytest.raises(NotImplementedError, match=r"call eigbench\.matrix_function"):
        func.jvp(partial(log_determinant, method=method), (M,), (M,))


def test_forward_over_forward_is_refused_where_it_would_be_wrong() -> None:
    for method in ("hybrid", "clip", "mpa-lyapunov"):
        function = partial(of_function, method=method)
        with pytest.raises(NotImplementedError, match="forward over reverse"):
            func.jacfwd(func.jacfwd(function))(separated(3))


def test_hessians_of_functions_by_pairs() -> None:
    """Against differences of the gradient, at open gaps."""
    M, E, W = separated(4), weights(separated(4)), weights(separated(4), seed=1)

    def loss(M: Tensor) -> Tensor:
        S = (M + M.mT) / 2
        return (W * eigbench.matrix_function(S, "inverse-square-root", method="trunc")).sum()

    step = 1e-4
    gradient = func.grad(loss)
    truth = (gradient(M + step * E) - gradient(M - step * E)) / (2 * step)
    found = (func.hessian(loss)(M) * E).sum((-2, -1))
    assert relative(found, truth) < 1e-5
