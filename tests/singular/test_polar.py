"""The polar factor against mpmath, finite differences and torch's own decomposition."""

from __future__ import annotations

from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.singular import polar as module
from tests.singular.making import relative

SHAPES = [(3, 3), (2, 3, 3), (2, 2), (4, 4), (1, 1), (5, 3), (3, 5), (2, 4, 2)]


@pytest.fixture(autouse=True, params=["one by one", "at once"])
def _route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """3×3 matrices by a decomposition of each, as of few, and by rotations, as of many."""
    least = 0 if request.param == "at once" else 10**9
    monkeypatch.setattr(module, "MANY", {"cpu": least})


def drawn(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def literal(M: Tensor, determinant: int | None) -> Tensor:
    """The factor by mpmath in 40 digits, batched by hand."""
    with mpmath.workdps(40):
        U, s, V = mpmath.svd(mpmath.matrix(M.tolist()))
        signs = [1] * len(s)
        if determinant == 1 and mpmath.det(U) * mpmath.det(V) < 0:
            signs[-1] = -1
        Q = U * mpmath.diag(signs) * V
        return torch.tensor([[float(x) for x in row] for row in Q.tolist()], dtype=torch.float64)


@pytest.mark.parametrize("determinant", [None, 1])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_value_is_that_of_40_digits(n: int, determinant: int | None) -> None:
    for seed in range(6):  # some of these are reflections
        M = drawn((n, n), seed=seed)
        found = eigbench.polar(M, determinant=determinant)
        assert relative(found, literal(M, determinant)) < 1e-14
        if determinant:
            assert torch.linalg.det(found) > 0.999


@pytest.mark.parametrize("determinant", [None, 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_derivative(shape: tuple[int, ...], dtype: torch.dtype, determinant: Any) -> None:
    if determinant and (dtype.is_complex or shape[-1] != shape[-2]):
        with pytest.raises(ValueError, match="for real square matrices"):
            eigbench.polar(drawn(shape, dtype), determinant=determinant)
        return
    M = drawn(shape, dtype).requires_grad_()

    def factor(M: Tensor) -> Tensor:
        return eigbench.polar(M, determinant=determinant)

    assert gradcheck(factor, M, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(factor, M, check_fwd_over_rev=True, check_rev_over_rev=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("singular", "determinant"),
    [
        *(((1, 1, 1), x) for x in (None, 1)),
        *(((2, 2, 1), x) for x in (None, 1)),
        *(((3, 1, 1), x) for x in (None, 1)),
        *(((1, 1e-3, 1e-6), x) for x in (None, 1)),
        # Of these there are two orthogonal factors, but one rotation.
        ((2, 1, 0), 1),
        ((1, 1, 0), 1),
    ],
)
def test_ties_and_a_zero_do_no_harm(
    singular: tuple[float, ...], dtype: torch.dtype, determinant: int | None
) -> None:
    """Truth: `dQ = U X Wᵀ` with `X = (A − Aᵀ)/(σi + σj)`, in float64 from known U, σ and W."""
    for n in (3, 4):  # by rotations, and by torch's decomposition
        U, _ = torch.linalg.qr(drawn((n, n), seed=1))
        W, _ = torch.linalg.qr(drawn((n, n), seed=2))
        U = U * torch.linalg.det(U).sign() * torch.linalg.det(W).sign()
        if n == 4 and torch.linalg.det(U @ W.mT) < 0:
            U[:, 0] *= -1
        s = torch.tensor([*singular, *[5.0] * (n - 3)], dtype=torch.float64)
        M = ((U * s) @ W.mT).to(dtype).requires_grad_()
        G = drawn((n, n), seed=3)
        A = U.mT @ G @ W
        truth = U @ ((A - A.mT) / (s[:, None] + s + torch.eye(n))) @ W.mT
        Q = eigbench.polar(M, determinant=determinant)
        (found,) = torch.autograd.grad(Q, M, G.to(dtype))
        condition = s.max() / (s.sort().values[:2].sum())
        assert relative(Q, U @ W.mT) < 30 * torch.finfo(dtype).eps * condition
        assert relative(found, truth) < 60 * torch.finfo(dtype).eps * condition


def test_a_reflection_counts_its_smallest_value_as_negative() -> None:
    M = torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)).requires_grad_()
    Q = eigbench.polar(M, determinant=1)
    assert torch.allclose(Q, torch.eye(3, dtype=torch.float64))
    (G,) = torch.autograd.grad(Q[1, 2], M)
    assert torch.isclose(G[1, 2], torch.tensor(1.0).double())  # 1/(2 + (−1))
    assert torch.isclose(G[2, 1], torch.tensor(-1.0).double())
    nearest = torch.diag(torch.tensor([1.0, 1, -1]).double())
    assert torch.allclose(eigbench.polar(M), nearest, rtol=0, atol=1e-15)


@pytest.mark.parametrize("determinant", [None, 1])
def test_of_singular_matrices_there_is_an_orthogonal_factor(determinant: int | None) -> None:
    row = torch.tensor([[1.0, 2.0, -0.5]])
    M = torch.stack(
        [torch.zeros(3, 3), row.mT @ row, row.T @ row[:, [2, 0, 1]], 1e-30 * torch.eye(3)]
    )
    Q = eigbench.polar(M, determinant=determinant)
    assert torch.allclose(Q @ Q.mT, torch.eye(3).expand(4, 3, 3), atol=1e-6)
    H = Q.mT @ M
    assert torch.allclose(H, H.mT, atol=1e-6)
    assert (torch.linalg.eigvalsh(H) > -1e-6).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_3x3_are_accurate(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random, graded, nearly tied, rounded; torch's own decomposition is 50 roundings off here."""
    monkeypatch.setattr(module, "MANY", {})
    count = 20_000
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    powers = 10 ** (-6 * torch.rand(count, 1, 3, generator=generator, dtype=torch.float64))
    P, _ = torch.linalg.qr(some(count, 3, 3))
    R, _ = torch.linalg.qr(some(count, 3, 3))
    matrices = [
        some(count, 3, 3),
        some(count, 3, 3) * powers,
        some(count, 3, 3) * powers.mT,
        P * powers @ R,
        P * (1 + powers**2) @ R,
        some(count, 3, 3).round() + 1e-7 * some(count, 3, 3),
        P,  # all of MᵀM but I is rounding
        P[:, :, :1] @ R[:, :1],
        P[:, :, :2] @ R[:, :2],
    ]
    for M in (X.to(dtype) for X in matrices):
        Q = eigbench.polar(M, determinant=1).double()
        identity = torch.eye(3, dtype=torch.float64)
        assert (Q.mT @ Q - identity).abs().max() < 20 * torch.finfo(dtype).eps
        assert (torch.linalg.det(Q) - 1).abs().max() < 20 * torch.finfo(dtype).eps
        # No rotation is nearer: QᵀM is symmetric.
        H = Q.mT @ M.double()
        asymmetry = (H - H.mT).abs().amax((-2, -1)) / M.double().abs().amax((-2, -1))
        assert asymmetry.max() < 30 * torch.finfo(dtype).eps


def test_transforms_and_what_is_empty() -> None:
    M = drawn((4, 3, 3))
    one_by_one = torch.stack([eigbench.polar(X, determinant=1) for X in M])
    assert torch.allclose(
        torch.func.vmap(lambda X: eigbench.polar(X, determinant=1))(M), one_by_one
    )

    def entry(X: Tensor) -> Tensor:
        return eigbench.polar(X, determinant=1)[0, 1]

    hessian = torch.func.hessian(entry)(M[0])
    assert torch.allclose(hessian, torch.func.jacrev(torch.func.jacrev(entry))(M[0]))
    with pytest.raises(NotImplementedError, match="no forward mode of forward mode"):
        torch.func.jacfwd(torch.func.jacfwd(entry))(M[0])
    compiled = torch.compile(eigbench.polar, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(M), eigbench.polar(M))
    for shape in [(0, 3, 3), (0, 4, 4), (2, 0, 0), (0, 0), (3, 0), (2, 5, 0)]:
        X = torch.zeros(shape, requires_grad=True)
        Q = eigbench.polar(X)
        assert Q.shape == shape
        assert torch.autograd.grad(Q.sum(), X)[0].shape == shape


def test_a_neighbour_that_is_not_finite_does_no_harm() -> None:
    M = torch.stack([drawn((3, 3)), torch.full((3, 3), torch.nan).double(), torch.eye(3).double()])
    X, G = M.requires_grad_(), drawn((3, 3, 3), seed=1)
    try:
        Q = eigbench.polar(X)
    except RuntimeError as error:  # one by one
        assert "non-finite" in str(error)  # noqa: PT017
        return
    (found,) = torch.autograd.grad(Q, X, G)
    for i in (0, 2):
        alone = M[i].detach().requires_grad_()
        factor = eigbench.polar(alone)
        (expected,) = torch.autograd.grad(factor, alone, G[i])
        assert torch.allclose(Q[i], factor)
        assert torch.allclose(found[i], expected)
    assert Q[1].isnan().all()


def test_half_precision_and_autocast() -> None:
    M = drawn((2, 3, 3)).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu"):
        Q = eigbench.polar(M)
        (G,) = torch.autograd.grad(Q[0, 1, 2], M)
    assert Q.dtype == torch.float32
    assert G.dtype == torch.bfloat16
    assert torch.equal(Q, eigbench.polar(M.float()))


@pytest.mark.parametrize(
    ("M", "determinant", "error", "says"),
    [
        (torch.ones(3), None, ValueError, "must be matrices"),
        (torch.ones(3, 3), -1, ValueError, "determinant must be 1 or None, not -1"),
        (torch.ones(3, 3), True, ValueError, "determinant must be 1 or None"),
        (torch.ones(3, 2), 1, ValueError, "real square matrices, not float32 of shape"),
        (torch.ones(3, 3).int(), None, TypeError, "not int32"),
    ],
)
def test_bad_input(M: Tensor, determinant: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        eigbench.polar(M, determinant=determinant)
