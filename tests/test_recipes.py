"""The functions of docs/recipes.md against truths that share no code with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text("utf-8")
RECIPES: dict[str, Any] = {}
CODE = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
exec(compile(CODE, "docs/recipes.md", "exec"), RECIPES)  # noqa: S102


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def compare(
    recipe: Callable[[Tensor], Tensor],
    literal: Callable[[np.ndarray[Any, Any]], Any],
    X: Tensor,
    *,
    step: float = 1e-5,
    direction: Tensor | None = None,
) -> None:
    """Value and directional derivative of scalars, the latter by central differences of NumPy."""
    X = X.clone().requires_grad_()
    value = recipe(X)
    assert np.isclose(value.item(), literal(X.detach().numpy()), rtol=1e-9)
    (G,) = torch.autograd.grad(value, X)
    E = drawn(*X.shape, seed=9, dtype=X.dtype) if direction is None else direction
    ends = [literal((X.detach() + sign * step * E).numpy()) for sign in (1, -1)]
    assert np.isclose((G.conj() * E).real.sum().item(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize("kind", ["noise", "plane", "mirrored", "round"])
def test_kabsch(kind: str) -> None:
    X, Y = drawn(7, 3), drawn(7, 3, seed=1)
    if kind == "plane":
        X[:, 2] = 0
    if kind == "mirrored":
        Y = X * torch.tensor([1.0, 1.0, -1.0]) + 0.1 * Y
    if kind == "round":  # all singular values equal
        X = torch.cat([torch.eye(3), -torch.eye(3)]).double()
        Y = X @ torch.from_numpy(Rotation.from_rotvec([0.3, -0.5, 0.2]).as_matrix()).mT

    def recipe(Y: Tensor) -> Tensor:
        R, t = RECIPES["kabsch"](X, Y)
        assert torch.isclose(torch.linalg.det(R), torch.tensor(1.0).double())
        total: Tensor = (R * torch.arange(9.0).reshape(3, 3)).sum() + t[0]
        return total

    def literal(Y: np.ndarray[Any, Any]) -> Any:
        x, y = X.numpy() - X.numpy().mean(0), Y - Y.mean(0)
        R = Rotation.align_vectors(y, x)[0].as_matrix()
        t = Y.mean(0) - R @ X.numpy().mean(0)
        return (R * np.arange(9.0).reshape(3, 3)).sum() + t[0]

    compare(recipe, literal, Y)


def state(n: int, seed: int) -> Tensor:
    A = drawn(n, n, seed=seed, dtype=torch.complex128)
    rho = A @ A.mH
    return rho / rho.trace().real


@pytest.mark.parametrize("rho", [state(4, 1), torch.eye(4, dtype=torch.complex128) / 4])
def test_fidelity_of_mixed_states(rho: Tensor) -> None:
    sigma = state(4, 2)

    def literal(rho: np.ndarray[Any, Any]) -> Any:
        rho = (rho + rho.conj().T) / 2
        root = scipy.linalg.sqrtm(rho)
        return scipy.linalg.sqrtm(root @ sigma.numpy() @ root).trace().real ** 2

    def recipe(rho: Tensor) -> Tensor:
        found: Tensor = RECIPES["fidelity"]((rho + rho.mH) / 2, sigma)
        return found

    compare(recipe, literal, rho)


def test_fidelity_of_pure_states_is_their_overlap() -> None:
    psi, phi = (drawn(4, seed=s, dtype=torch.complex128) for s in (1, 2))
    psi, phi = psi / psi.norm(), phi / phi.norm()

    def recipe(x: Tensor) -> Tensor:
        unit = x / x.norm()
        found: Tensor = RECIPES["fidelity"](torch.outer(unit, unit.conj()), state_of_phi, rank=1)
        return found

    state_of_phi = torch.outer(phi, phi.conj())
    compare(recipe, lambda x: abs(np.vdot(phi.numpy(), x / np.linalg.norm(x))) ** 2, psi)


def test_fiedler() -> None:
    """Of a path whose ends are stars: the largest eigenvalues repeat, the second does not."""
    weights = torch.zeros(8, 8, dtype=torch.float64)
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (0, 6), (0, 7)]:
        weights[i, j] = weights[j, i] = 1
    change = drawn(8, 8, seed=3) * (weights > 0)
    change = change + change.T
    values = torch.linalg.eigvalsh(torch.diag(weights.sum(0)) - weights)
    assert (values.diff() < 1e-9).any()

    def recipe(W: Tensor) -> Tensor:
        value, v = RECIPES["fiedler"](W)
        total: Tensor = value + v[4] ** 2 + v[0] * v[4]
        return total

    def literal(W: np.ndarray[Any, Any]) -> Any:
        values, V = np.linalg.eigh(np.diag(W.sum(0)) - W)
        return values[1] + V[4, 1] ** 2 + V[0, 1] * V[4, 1]

    compare(recipe, literal, weights, direction=change)


def test_normals() -> None:
    """A round patch: two equal eigenvalues beside the one that counts."""
    angle = torch.arange(8.0, dtype=torch.float64) * torch.pi / 4
    height = torch.tensor([0.1, -0.1], dtype=torch.float64).repeat(4)
    points = torch.stack([angle.cos(), angle.sin(), height], -1)

    def recipe(X: Tensor) -> Tensor:
        n = RECIPES["normals"](X.expand(2, 8, 3))[1]
        total: Tensor = n[0] * n[2] + 2 * n[1] ** 2 + n[1] * n[2]
        return total

    def literal(X: np.ndarray[Any, Any]) -> Any:
        n = np.linalg.svd(X - X.mean(0))[2][2]
        return n[0] * n[2] + 2 * n[1] ** 2 + n[1] * n[2]

    compare(recipe, literal, points)


@pytest.mark.parametrize("samples", [4, 9])
def test_pooled(samples: int) -> None:
    """tr(W M^(1/2)) is that of the right polar factor: |X| = W Σ Wᵀ."""
    weights = drawn(6, 6, seed=5)

    def literal(X: np.ndarray[Any, Any]) -> Any:
        _, s, Vt = np.linalg.svd((X - X.mean(0)) / np.sqrt(samples), full_matrices=False)
        return (weights.numpy() * ((Vt.T * s) @ Vt)).sum()

    compare(lambda X: (weights * RECIPES["pooled"](X)).sum(), literal, drawn(samples, 6))


@pytest.mark.parametrize("values", [[1e-5, 1e-5, 0.3, 0.3], [1e-6, 0.2, 0.5, 1.2]])
def test_reeig_and_logeig(values: list[float]) -> None:
    Q, _ = torch.linalg.qr(drawn(4, 4))
    M = (Q * torch.tensor(values, dtype=torch.float64)) @ Q.mT
    weights = drawn(4, 4, seed=5)

    def literal(M: np.ndarray[Any, Any]) -> Any:
        values, V = np.linalg.eigh((M + M.T) / 2)
        return (weights.numpy() * ((V * np.log(np.maximum(values, 1e-4))) @ V.T)).sum()

    def recipe(M: Tensor) -> Tensor:
        M = (M + M.mT) / 2
        total: Tensor = (weights * RECIPES["logeig"](RECIPES["reeig"](M))).sum()
        return total

    compare(recipe, literal, M, step=1e-7 if values[0] > 1e-6 else 1e-6)


def test_density_with_degenerate_levels() -> None:
    X = drawn(5, 5, seed=2)
    B = X @ X.mT / 5 + torch.eye(5)
    L = torch.linalg.cholesky(B)
    Q, _ = torch.linalg.qr(drawn(5, 5))
    A = L @ (Q * torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0])) @ Q.mT @ L.mT
    weights = drawn(5, 5, seed=5)
    for which in (0, 1):

        def recipe(M: Tensor, which: int = which) -> Tensor:
            M = (M + M.mT) / 2
            total: Tensor = (weights * RECIPES["density"](*((M, B), (A, M))[which], 2)).sum()
            return total

        def literal(M: np.ndarray[Any, Any], which: int = which) -> Any:
            M = (M + M.T) / 2
            pencil = ((M, B.numpy()), (A.numpy(), M))[which]
            V = scipy.linalg.eigh(*pencil)[1][:, :2]
            return (weights.numpy() * (V @ V.T)).sum()

        compare(recipe, literal, (A, B)[which])


def test_losses_of_values_alone() -> None:
    M = torch.diag(torch.tensor([2.0, 2.0, 5.0], dtype=torch.float64))
    compare(
        lambda M: RECIPES["log_determinant"]((M + M.mT) / 2),
        lambda M: np.linalg.slogdet((M + M.T) / 2)[1],
        M,
    )
    compare(RECIPES["nuclear_norm"], lambda M: np.linalg.svd(M)[1].sum(), drawn(4, 3))
    compare(RECIPES["nuclear_norm"], lambda M: np.linalg.svd(M)[1].sum(), M)


def test_signs_and_bases_are_those_of_the_step_before() -> None:
    """Along a path with a tie, at steps of 1e-3: each step is small, unlike those of torch."""
    Q, _ = torch.linalg.qr(drawn(4, 4))
    E = drawn(4, 4, seed=4)
    generator = torch.Generator().manual_seed(0)

    def decomposed(t: float) -> Tensor:
        tied = torch.tensor([1.0, 1.0, 2.0, 3.0], dtype=torch.float64)
        turn = torch.linalg.matrix_exp(t * (E - E.mT))
        V = torch.linalg.eigh(turn @ (Q * tied) @ Q.mT @ turn.mT).eigenvectors
        signed: Tensor = V * (1 - 2 * torch.randint(2, (4,), generator=generator))
        return signed

    before = decomposed(0.0)
    for i in range(1, 20):
        V = decomposed(i * 1e-3)
        pair = RECIPES["in_basis_of"](V[:, :2], before[:, :2])
        ends = RECIPES["with_signs_of"](V[:, 2:], before[:, 2:])
        assert torch.allclose(pair @ pair.mT, V[:, :2] @ V[:, :2].mT)
        now = torch.cat([pair, ends], -1)
        assert (now - before).norm() < 1e-2
        before = now
