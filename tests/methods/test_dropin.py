"""What users bring to `eigh` and `matrix_function`: half precision, one triangle, few samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

import eigbench
from eigbench.methods import available, get
from eigbench.methods.functions import OnRange, Projector, SquareRoot, Truncated, Whitening
from eigbench.methods.smooth import Logarithm, Smooth
from tests.methods.declared import DECOMPOSING, few
from tests.methods.matrices import relative, separated, symmetric, weights

HALF = [torch.float16, torch.bfloat16]


def autocast() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def whitened(M: Tensor, method: str) -> Tensor:
    function = Whitening() if method == "cholesky" else "inverse-square-root"
    return eigbench.matrix_function(M, function, method=method)


def eigenvalues(M: Tensor, method: str) -> Tensor:
    return eigbench.eigh(M, method=method).eigenvalues


# Half precision


@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward outside"])
@pytest.mark.parametrize("function", [whitened, eigenvalues])
@pytest.mark.parametrize("method", available())
def test_autocast_changes_nothing(
    method: str, function: Callable[[Tensor, str], Tensor], inside: bool
) -> None:
    if function is eigenvalues and method not in DECOMPOSING:
        pytest.skip("no eigenpairs")
    M = separated(6, dtype=torch.float32)
    plain, cast = M.clone().requires_grad_(), M.clone().requires_grad_()
    expected = function(plain, method)
    W = torch.linspace(0.5, 2, expected.numel()).view(expected.shape)
    (expected * W).sum().backward()  # type: ignore[no-untyped-call]
    with autocast():
        found = function(cast, method)
        loss = (found * W).sum()
        if inside:
            loss.backward()  # type: ignore[no-untyped-call]
    if not inside:
        loss.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(found, expected)
    assert plain.grad is not None
    assert cast.grad is not None
    assert torch.equal(cast.grad, plain.grad)


def test_float64_stays_under_autocast() -> None:
    M = separated(5)
    with autocast():
        found = eigbench.matrix_function(M, "square-root")
    assert torch.equal(found, eigbench.matrix_function(M, "square-root"))


def test_a_second_derivative_under_autocast() -> None:
    M = torch.diag(torch.tensor([1.0, 2.0, 5.0])).requires_grad_()
    with autocast():
        loss = eigbench.eigh(M, method="eigh").eigenvalues.log().sum()
        (G,) = torch.autograd.grad(loss, M, create_graph=True)
        inverse = torch.diag(1 / torch.tensor([1.0, 2.0, 5.0]))
        drawn = eigbench.eigh(M, method="pi", seed=None).eigenvectors[0].sum()
    (H,) = torch.autograd.grad(G.sum(), M)
    torch.testing.assert_close(H, -inverse @ torch.ones(3, 3) @ inverse)
    with pytest.raises(NotImplementedError, match="draws at random: give it a seed"):
        torch.autograd.grad(drawn, M, create_graph=True)


def test_forward_mode_under_autocast_says_what_to_do() -> None:
    M = separated(3, dtype=torch.float32).requires_grad_()
    mode: Any = torch.autograd.forward_ad
    with autocast(), mode.dual_level():
        dual = mode.make_dual(M, M.detach())
        with pytest.raises(NotImplementedError, match="outside of it"):
            eigbench.matrix_function(dual, "square-root")


@pytest.mark.parametrize("cast", [True, False])
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_taken_as_float32(dtype: torch.dtype, cast: bool) -> None:
    """As torch does under autocast on the CPU; without, it has no decomposition of it."""
    M = separated(5, (2,)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
        values, V = eigbench.eigh(M, method="hybrid")
        root = eigbench.matrix_function(M, "inverse-square-root")
    assert values.dtype == V.dtype == root.dtype == torch.float32
    exact = M.detach().double()
    whitened = root.detach().double()
    assert relative(whitened @ exact @ whitened, torch.eye(5).expand(2, 5, 5)) < 1e-5
    (G,) = torch.autograd.grad((weights(root.detach()) * root).sum(), M)
    single = M.detach().float().requires_grad_()
    truth = eigbench.matrix_function(single, "inverse-square-root")
    (wanted,) = torch.autograd.grad((weights(root.detach()) * truth).sum(), single)
    assert G.dtype == dtype
    assert relative(G, wanted) < 2 * torch.finfo(dtype).eps
    if cast:
        with autocast():
            assert torch.linalg.eigh(M)[0].dtype == torch.float32


# One triangle


@pytest.mark.parametrize("method", DECOMPOSING)
def test_a_matrix_without_rows_is_taken(method: str) -> None:
    M = torch.zeros(2, 0, 0, requires_grad=True)
    values, vectors = eigbench.eigh(M, method=method)
    assert (values.shape, vectors.shape) == ((2, 0), (2, 0, 0))
    assert torch.autograd.grad(values.sum() + vectors.sum(), M)[0].shape == M.shape


class Decomposing(torch.nn.Module):
    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def forward(self, M: Tensor) -> tuple[Tensor, ...]:
        return tuple(eigbench.eigh(M, method=self.method, **few(self.method)))


@pytest.mark.parametrize("method", ["eigh", "svd", "pi"])
def test_an_exported_program_takes_any_number_of_matrices(method: str) -> None:
    module, sizes = Decomposing(method), ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(module, (separated(4, (3,)),), dynamic_shapes=sizes)
    M = separated(4, (5,))
    assert relative(exported.module()(M)[0], module(M)[0]) < 1e-14


@pytest.mark.parametrize("uplo", ["L", "U", "l", "u"])
@pytest.mark.parametrize("method", DECOMPOSING)
def test_one_triangle_is_read(method: str, uplo: str) -> None:
    S = separated(4, (2,))
    keep = torch.triu if uplo in "Uu" else torch.tril
    M = keep(S) + 7 * (1 - keep(torch.ones(4, 4, dtype=S.dtype)))  # the rest is anything
    exact = torch.linalg.eigh(S)[0]
    assert relative(torch.linalg.eigh(M, uplo.upper())[0], exact) < 1e-14
    if method not in ("pi", "pi-released", "topn", "jitter"):  # whose own eigenvalues are others
        assert relative(eigbench.eigh(M, uplo, method=method)[0], exact) < 1e-14
    gradients = []
    for matrix, triangle in ((M, uplo), (S, None)):
        X = matrix.clone().requires_grad_()
        values, V = eigbench.eigh(X, triangle, method=method)
        loss = (values**2 * torch.arange(1.0, 5)).sum()
        if get(method).differentiates == "eigenpairs":
            loss = loss + (V[..., -1] ** 3).sum().abs()
        gradients.append(torch.autograd.grad(loss, X)[0])
    assert relative(gradients[0], gradients[1]) < 1e-14 or not gradients[1].any()
    assert relative(gradients[0].mT, gradients[0]) < 1e-13 or not gradients[1].any()


def test_another_triangle_is_refused() -> None:
    with pytest.raises(ValueError, match="UPLO must be 'L' or 'U', not 'X'"):
        eigbench.eigh(torch.eye(3), "X")


# Fewer samples than dimensions


def of_the_samples(x: Tensor, W: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """⟨W, (xᵀx/N)^power⟩ on the range, and its gradient by x, in 40 digits.

    By the singular values of x, without an eigenvalue that is zero: `x = U S Rᵀ` and central
    differences along every entry.
    """
    count, n = x.shape

    def value(X: Any) -> Any:
        gram = X * X.T / count  # (N, N), regular: (xᵀx)^p = xᵀ (xxᵀ)^(p−1) x
        values, Q = mpmath.eigsy(gram)
        inner = Q * mpmath.diag([v ** (power - 1) for v in values]) * Q.T
        whole = X.T * inner * X / count
        return mpmath.fsum(W[i, j].item() * whole[i, j] for i in range(n) for j in range(n))

    with mpmath.workdps(40):
        X, step = mpmath.matrix(x.tolist()), mpmath.mpf(10) ** -12
        slopes = torch.zeros_like(x)
        for i in range(count):
            for j in range(n):
                ends = []
                for sign in (1, -1):
                    moved = X.copy()
                    moved[i, j] += sign * step
                    ends.append(value(moved))
                slopes[i, j] = float((ends[0] - ends[1]) / (2 * step))
        return torch.tensor(float(value(X)), dtype=x.dtype), slopes


@pytest.mark.parametrize("rank", [3, "numerical"])
@pytest.mark.parametrize(("name", "power"), [("square-root", 0.5), ("inverse-square-root", -0.5)])
def test_functions_on_the_range(name: str, power: float, rank: int | str) -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    W = weights(torch.empty(5, 5, dtype=torch.float64))
    value, truth = of_the_samples(x, W, power)
    X = x.clone().requires_grad_()
    found = (W * eigbench.matrix_function(X.mT @ X / 3, name, rank=rank)).sum()
    assert found.item() == pytest.approx(value.item(), rel=1e-11)
    (G,) = torch.autograd.grad(found, X)
    assert relative(G, truth) < 1e-9


def test_the_range_of_every_matrix_of_a_batch_and_by_other_methods() -> None:
    values = torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 0.5, 1.0, 3.0]], dtype=torch.float64)
    M = symmetric(values)
    for method in ("spectral", "eigh", "hybrid"):
        found = eigbench.matrix_function(M, "inverse-square-root", rank="numerical", method=method)
        assert relative(found @ found, torch.linalg.pinv(M, hermitian=True)) < 1e-12
    with pytest.raises(ValueError, match="no other function of M"):
        eigbench.matrix_function(M, "square-root", rank=2, method="newton-schulz")


def test_it_is_truncated_of_the_leading() -> None:
    M = separated(5)
    kept = torch.tensor([0.0, 0, 1, 1, 1])
    found = eigbench.matrix_function(M, "logarithm", rank=3)
    assert torch.equal(found, eigbench.matrix_function(M, Truncated(Logarithm(), kept)))


@pytest.mark.parametrize("rank", [0, 6, -1, 2.0, True, "all"])
def test_a_rank_that_there_is_not_is_refused(rank: Any) -> None:
    with pytest.raises(ValueError, match="from 1 to 5, or 'numerical', not"):
        eigbench.matrix_function(separated(5), "square-root", rank=rank)


def test_what_is_zero_depends_on_the_precision_that_was_given() -> None:
    """Rounding of bfloat16 is 0.4 % of the largest eigenvalue, also after its conversion."""
    x = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    M = x.mT @ x / 4
    for given in (M, M.bfloat16()):
        root = eigbench.matrix_function(given, "square-root", rank="numerical")
        assert torch.linalg.matrix_rank(root.double(), hermitian=True, rtol=1e-3) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_root_of_a_singular_matrix_is_not_nan(dtype: torch.dtype) -> None:
    """49 samples in 64 dimensions: of 15 zeros rounding makes some negative."""
    x = torch.randn(8, 49, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    x = x - x.mean(1, keepdim=True)
    M = x.mT @ x / 48
    assert (torch.linalg.eigvalsh(M) < 0).any(-1).all()
    root = eigbench.matrix_function(M, "square-root")
    assert relative(root @ root, M) < 100 * torch.finfo(dtype).eps
    exact = eigbench.matrix_function(M, "square-root", rank=48)
    # A zero is known to n·ε, its root to the root of that.
    assert relative(root, exact) < 64 * torch.finfo(dtype).eps ** 0.5


def test_the_root_of_an_indefinite_matrix_is_nan() -> None:
    assert (
        eigbench.matrix_function(torch.diag(torch.tensor([-0.1, 1.0])), "square-root").isnan().any()
    )
    assert SquareRoot().values(torch.tensor([-1e-9, 1.0]))[0] == 0


# Projectors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize(
    "chosen",
    [[False, True, True, False], torch.tensor([False, True, True, False]), [0, 1, 1, 0],
     torch.tensor([0.0, 1, 1, 0]), torch.tensor([0.0, 1, 1, 0], dtype=torch.float64)],
    ids=lambda x: f"{type(x).__name__}",
)  # fmt: skip
def test_a_projector_from_any_choice(
    chosen: Any, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    M = separated(4, batch, dtype).requires_grad_()
    P = eigbench.matrix_function(M, Projector(chosen))
    V = torch.linalg.eigh(M.detach())[1][..., 1:3]
    assert P.dtype == dtype
    assert relative(P.detach(), V @ V.mT) < 10 * torch.finfo(dtype).eps
    assert torch.autograd.grad((weights(M.detach()) * P).sum(), M)[0].isfinite().all()


@pytest.mark.parametrize("chosen", [[True, False], torch.ones(5), torch.tensor(1.0)])
def test_a_choice_of_another_length_is_refused(chosen: Any) -> None:
    with pytest.raises(ValueError, match="each of the 4 ascending eigenvalues"):
        eigbench.matrix_function(separated(4), Projector(chosen))


# Complex Hermitian matrices


def hermitian(values: Tensor, seed: int = 0) -> Tensor:
    """`(n, n)` in complex128 with these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(*values.shape, len(values), generator=generator, dtype=torch.complex128)
    Q, _ = torch.linalg.qr(drawn)
    M: Tensor = (Q * values) @ Q.mH
    return (M + M.mH) / 2


COMPLEX: dict[str, Any] = {
    "inverse-square-root": ("inverse-square-root", lambda x: 1 / mpmath.sqrt(x)),
    "square-root": ("square-root", mpmath.sqrt),
    "logarithm": ("logarithm", mpmath.log),
    "exponential": ("exponential", mpmath.exp),
    "sine": (Smooth(torch.sin, torch.cos), mpmath.sin),
    "projector": (Projector([False, False, True, False]), None),
}


def complex_value(M: Tensor, W: Tensor, f: Any) -> Any:
    """Re⟨W, f(M)⟩ in 40 digits; without f of the projector on the third eigenvector."""
    n = len(M)
    values, Q = mpmath.eighe(mpmath.matrix(M.tolist()))
    of = [1 if i == 2 else 0 for i in range(n)] if f is None else [f(v) for v in values]
    whole = Q * mpmath.diag(of) * Q.H
    return mpmath.re(mpmath.fsum(
        mpmath.conj(W[i, j].item()) * whole[i, j] for i in range(n) for j in range(n)
    ))  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
@pytest.mark.parametrize("values", [(0.4, 0.9, 1.5, 2.0), (0.7, 0.7, 1.5, 0.7)])
def test_complex_matrices_have_the_derivative_of_differences(
    name: str, values: tuple[float, ...]
) -> None:
    function, formula = COMPLEX[name]
    if formula is None:  # the third alone, and the last higher
        values = (*values[:3], 2.0)
    M = hermitian(torch.tensor(values, dtype=torch.float64))
    W = hermitian(torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64), seed=1)
    W = W + 0.3j * torch.ones(4, 4)  # not Hermitian itself
    X = M.clone().requires_grad_()
    found = eigbench.matrix_function(X, function)
    loss = (W.conj() * found).sum().real
    (G,) = torch.autograd.grad(loss, X)
    E = hermitian(torch.tensor([0.3, -1.0, 0.7, 0.2], dtype=torch.float64), seed=2)
    with mpmath.workdps(40):
        step = 1e-4  # of doubles, so that M ± step·E is rounded to 1e-16 of 1e-4
        exact = [complex_value(M + s * step * E, W, formula) for s in (-2, -1, 1, 2)]
        slope = (8 * (exact[2] - exact[1]) - (exact[3] - exact[0])) / (12 * mpmath.mpf(step))
        value = complex_value(M, W, formula)
    assert loss.item() == pytest.approx(float(value), rel=1e-13)
    assert (G.conj() * E).sum().real.item() == pytest.approx(float(slope), rel=1e-9)
    assert relative_complex(G.mH, G) < 1e-14
    jvp: Any = torch.func.jvp
    _, tangent = jvp(lambda M: eigbench.matrix_function(M, function), (M,), (E,))
    assert (W.conj() * tangent).sum().real.item() == pytest.approx(float(slope), rel=1e-9)
    single = eigbench.matrix_function(M.to(torch.complex64), function)
    assert single.dtype == torch.complex64
    assert relative_complex(single.to(torch.complex128), found.detach()) < 1e-5


def relative_complex(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


def test_a_truncated_root_by_hand_is_the_short_way() -> None:
    kept = torch.tensor([False, True, True])
    M = torch.diag(torch.tensor([0.0, 1.0, 4.0]))
    for function in (Truncated(SquareRoot(), kept), OnRange(SquareRoot(), 2)):
        root = eigbench.matrix_function(M, function)
        torch.testing.assert_close(root, torch.diag(torch.tensor([0.0, 1.0, 2.0])))


@pytest.mark.parametrize("method", ["eigh", "svd", "hybrid"])
def test_a_loss_of_complex_eigenvalues_alone(method: str) -> None:
    M = hermitian(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)).requires_grad_()
    (G,) = torch.autograd.grad(eigbench.eigh(M, method=method).eigenvalues.sum(), M)
    torch.testing.assert_close(G, torch.eye(3, dtype=G.dtype))  # of the trace
