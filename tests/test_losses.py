"""The exact gradients against differences of losses written out at 50 digits."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eigbench.errors import NotApplicable
from eigbench.losses import LOSSES, OPEN_GAP, exact_gradient, kept_by_algorithm_1, weights
from eigbench.methods.base import Eigenpairs
from eigbench.methods.functions import InverseSquareRoot, Projector
from eigbench.spectra import Floats, Sample, ascending, random_orthogonal
from eigbench.truncation import algorithm_1

Exact = Any  # mpmath has no types

STEP = mpmath.mpf("1e-18")
"""At 50 digits: central differences are off by step² and by 1e-50/step, far below a double."""


def sample(values: list[float], seed: int = 0) -> Sample:
    d = len(values)
    return ascending(np.array([values]), random_orthogonal(d, seed)[None])


def whitened(values: list[Exact]) -> list[Exact]:
    return [1 / mpmath.sqrt(value) for value in values]


def itself(values: list[Exact]) -> list[Exact]:
    return values


def chosen(*indices: int) -> Callable[[list[Exact]], list[Exact]]:
    """1 for these of the ascending eigenvalues, 0 for the others: a projector."""
    return lambda values: [mpmath.mpf(i in indices) for i in range(len(values))]


def differences(drawn: Sample, f: Callable[[list[Exact]], list[Exact]], W: Floats) -> Floats:
    """`∂⟨W, f(M)⟩/∂M` entry by entry, M decomposed anew at each step."""
    with mpmath.workdps(50):
        V = mpmath.matrix(drawn.eigenvectors[0].tolist())
        M = V * mpmath.diag(drawn.eigenvalues[0].tolist()) * V.T
        M = (M + M.T) / 2
        weight = mpmath.matrix(W.tolist())

        def loss(X: Exact) -> Exact:
            values, Q = mpmath.eigsy(X)
            Y = Q * mpmath.diag(f(list(values))) * Q.T
            return mpmath.fsum(weight[i, j] * Y[i, j] for i, j in entries)

        n = M.rows
        entries = list(itertools.product(range(n), range(n)))
        gradient = np.zeros((n, n))
        for i, j in itertools.combinations_with_replacement(range(n), 2):
            step = mpmath.zeros(n)
            # On both sides of the diagonal: what a symmetric M can do.
            step[i, j] += STEP / 2
            step[j, i] += STEP / 2
            slope = (loss(M + step) - loss(M - step)) / (2 * STEP)
            gradient[i, j] = gradient[j, i] = float(slope)
    return gradient


def norm(matrix: Floats) -> float:
    return float(np.linalg.norm(matrix))


def relative_error(found: Floats, truth: Floats) -> float:
    return norm(found - truth) / norm(truth)


def exact(name: str, drawn: Sample, W: Floats) -> Floats:
    function = LOSSES[name].function(drawn.eigenvalues)
    found: Floats = exact_gradient(drawn, function, W[None])[0]
    return found


# V is orthogonal to 1e-15 only, so M's eigenvalues are off by as much, relative to the largest;
# the tolerances below are that over the smallest gap or eigenvalue, squared, and a factor of ten.
positive = st.lists(st.sampled_from([0.05, 0.1, 0.3, 0.3 + 1e-9, 0.6, 1.0]), min_size=2, max_size=4)
seeds = st.integers(0, 500)


@settings(max_examples=25)
@given(values=positive, seed=seeds)
def test_whitening_at_any_gap(values: list[float], seed: int) -> None:
    """Ties and near ties among the examples: M^(−1/2) is smooth there."""
    drawn, W = sample(values, seed), weights(len(values), range(seed, seed + 1))[0]
    assert relative_error(exact("whitening", drawn, W), differences(drawn, whitened, W)) < 1e-11


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [0.5, 0.5, 2.0], [0.2, 0.2, 0.2, 0.2]])
def test_whitening_at_exact_ties(values: list[float]) -> None:
    drawn, W = sample(values), weights(len(values), range(1))[0]
    assert relative_error(exact("whitening", drawn, W), differences(drawn, whitened, W)) < 1e-13


def test_whitening_of_a_multiple_of_the_identity() -> None:
    """M^(−1/2) of λI is linear in M to first order: −½ λ^(−3/2) W."""
    drawn = Sample(np.full((1, 3), 4.0), np.eye(3)[None])
    W = weights(3, range(1))[0]
    assert np.allclose(exact("whitening", drawn, W), -W / 16, rtol=1e-15, atol=0)


@settings(max_examples=10)
@given(values=positive, seed=seeds)
def test_reconstruction_is_the_matrix_itself(values: list[float], seed: int) -> None:
    drawn, W = sample(values, seed), weights(len(values), range(seed, seed + 1))[0]
    found = exact("reconstruction", drawn, W)
    # V W' Vᵀ with W' = VᵀWV: each product rounds.
    assert relative_error(found, W) < 1e-14
    assert relative_error(found, differences(drawn, itself, W)) < 1e-14


def test_reconstruction_is_exactly_its_weights_in_the_standard_basis() -> None:
    drawn = Sample(np.array([[-1.0, 0.0, 0.0, 2.0]]), np.eye(4)[None])
    W = weights(4, range(1))[0]
    assert np.array_equal(exact("reconstruction", drawn, W), W)


@pytest.mark.parametrize(
    ("values", "leading"),
    # A tie on either side of the cut must not matter; a negative eigenvalue is one like another.
    [
        ([0.1, 0.2, 1.0, 1.1], (2, 3)),
        ([0.1, 0.1, 1.0, 1.0], (2, 3)),
        ([0.6, 0.61, 0.62, 1.0], (3,)),
        ([0.1, 1.0, 1.0, 1.0], (1, 2, 3)),
        ([-1.0, 1.0, 1.2], (1, 2)),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_subspace_is_cut_at_the_widest_gap(
    values: list[float], leading: tuple[int, ...], seed: int
) -> None:
    drawn, W = sample(values, seed), weights(len(values), range(seed, seed + 1))[0]
    truth = differences(drawn, chosen(*leading), W)
    assert relative_error(exact("subspace", drawn, W), truth) < 1e-13


@pytest.mark.parametrize(
    ("name", "values", "index"),
    [
        ("eigenvector", [0.1, 0.9, 1.0, 1.05], 0),
        ("eigenvector", [0.09, 0.1, 0.4, 1.0], 2),
        ("eigenvector", [0.2, 0.2, 0.21, 1.0], 3),
        ("closing-eigenvector", [0.1, 0.9, 1.0, 2.0], 2),
        ("closing-eigenvector", [0.1, 0.101, 0.3, 1.0], 1),
        ("closing-eigenvector", [0.1, 0.2, 0.5, 0.5005], 3),
    ],
)
def test_single_eigenvectors(name: str, values: list[float], index: int) -> None:
    drawn, W = sample(values), weights(4, range(1))[0]
    truth = differences(drawn, chosen(index), W)
    # Relative gaps down to 1e-3.
    assert relative_error(exact(name, drawn, W), truth) < 1e-11


@settings(max_examples=25)
@given(
    # In hundredths: relative gaps to an eigenvalue of almost zero mean nothing.
    values=st.lists(st.integers(-100, 100), min_size=2, max_size=4, unique=True).map(
        lambda hundredths: [value / 100 for value in hundredths]
    ),
    seed=seeds,
    name=st.sampled_from(["subspace", "eigenvector"]),
)
def test_projectors_of_chance_spectra(values: list[float], seed: int, name: str) -> None:
    drawn, W = sample(values, seed), weights(len(values), range(seed, seed + 1))[0]
    function: Any = LOSSES[name].function(drawn.eigenvalues)
    picked = np.flatnonzero(function.values(drawn.eigenvalues)[0])
    if name == "subspace":
        assert picked.tolist() == list(range(picked[0], len(values)))
    else:
        assert len(picked) == 1
    truth = differences(drawn, chosen(*picked.tolist()), W)
    # Gaps of 0.01 amplify V's rounding of 1e-15 to 1e-11 of an unamplified gradient.
    assert norm(exact(name, drawn, W) - truth) < 1e-10 * max(1.0, norm(truth))


@given(st.floats(0.01, 10), st.floats(0.01, 10))
def test_divided_differences_of_the_inverse_root(one: float, other: float) -> None:
    """Free of cancellation however close the eigenvalues are, and f′ where they coincide."""
    found = InverseSquareRoot().divided_differences(np.array([one, other]))
    with mpmath.workdps(50):
        a, b = mpmath.mpf(one), mpmath.mpf(other)
        rise = 1 / mpmath.sqrt(a) - 1 / mpmath.sqrt(b)
        slope = rise / (a - b) if a != b else -1 / (2 * a**1.5)
    # Seven roundings.
    assert found[0, 1] == found[1, 0] == pytest.approx(float(slope), rel=7 * 2.3e-16)
    assert found[0, 0] == pytest.approx(-0.5 * one**-1.5, rel=7 * 2.3e-16)


def test_divided_differences_of_a_projector() -> None:
    # Gaps of 0 and 1 within what is chosen and within what is not.
    eigenvalues = np.array([0.0, 1.0, 1.0, 3.0, 4.0])
    found = Projector(np.array([0.0, 0, 0, 1, 1])).divided_differences(eigenvalues)
    across = np.array([[1 / 3, 1 / 4], [1 / 2, 1 / 3], [1 / 2, 1 / 3]])
    expected = np.block([[np.zeros((3, 3)), across], [across.T, np.zeros((2, 2))]])
    assert found == pytest.approx(expected, rel=1e-15)


def test_divided_differences_beside_a_tie() -> None:
    close = np.array([1.0, np.nextafter(1.0, 2.0)])
    found = InverseSquareRoot().divided_differences(close)
    assert found == pytest.approx(np.full((2, 2), -0.5), rel=1e-15)


@given(d=st.integers(1, 16), seed=seeds)
def test_weights_are_symmetric_of_norm_one_and_float32(d: int, seed: int) -> None:
    W = weights(d, range(seed, seed + 2))
    assert W.shape == (2, d, d)
    assert np.array_equal(W, W.swapaxes(-1, -2))
    assert np.array_equal(W, W.astype(np.float32))
    # Each entry rounds to float32: the norm is off by at most half its eps.
    assert np.abs(np.linalg.norm(W, axis=(1, 2)) - 1).max() <= np.finfo(np.float32).eps
    assert np.array_equal(W[1:], weights(d, range(seed + 1, seed + 2)))
    assert d == 1 or not np.array_equal(W[0], W[1])


@pytest.mark.parametrize(
    ("values", "epsilon", "kept"),
    [
        ([0.1, 0.2, 0.4], 0.0, 2),  # the last pair is always dropped
        ([0.1, 0.2, 0.4], 0.15, 2),
        ([0.1, 0.2, 0.4], 0.2, 1),  # λ ≤ ε
        ([1e-5, 0.4, 0.6], 0.0, 1),  # the energy is reached at the second
        ([1e-6, 1e-5, 1.0], 0.0, 1),  # at the first that reaches it; one is kept
        ([0.1], 1.0, 1),
        ([1e-4 + 1e-17, 1e-4, 1e-4, 0.3, 0.7], 1e-4, 2),  # a tail that equals ε but for rounding
        ([1e-4 + 2e-15, 1e-4 + 4e-15, 0.3, 0.3001], 1e-4, 3),  # one above it, of energy 1e-4
    ],
)
def test_the_pairs_that_algorithm_1_keeps(values: list[float], epsilon: float, kept: int) -> None:
    found = kept_by_algorithm_1(np.array([values]), epsilon)[0]
    assert found.tolist() == [place >= len(values) - kept for place in range(len(values))]
    given = torch.tensor(values, dtype=torch.float64)
    pairs = Eigenpairs(given, torch.eye(len(values), dtype=torch.float64))
    assert int(algorithm_1(torch.diag(given), pairs, epsilon).rank) == kept


@pytest.mark.parametrize(
    ("values", "epsilon"),
    [
        ([0.05, 0.3, 0.6, 1.0], 0.0),
        ([0.1, 0.1, 0.3, 1.0], 0.1),
        ([0.1, 0.5, 0.5, 1.0], 0.0),  # a tie among the kept ones: smooth
        ([0.05, 0.1, 0.1 + 1e-7, 1.0], 0.0),
    ],
)
def test_truncated_whitening_by_differences(values: list[float], epsilon: float) -> None:
    """Of V f(λ) Vᵀ with f = 0 on what was dropped: the cut stays with its pairs."""
    drawn, W = sample(values), weights(len(values), range(1))[0]
    function: Any = LOSSES["whitening-truncated"].function(drawn.eigenvalues, epsilon)
    kept = function.kept[0] > 0

    def truncated(found: list[Exact]) -> list[Exact]:
        return [1 / mpmath.sqrt(x) if keep else 0 * x for x, keep in zip(found, kept, strict=True)]

    found = exact_gradient(drawn, function, W[None])[0]
    assert relative_error(found, differences(drawn, truncated, W)) < 1e-10


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("whitening", [0.0, 1.0], r"M \+ εI has an eigenvalue ≤ 0"),
        ("whitening", [-1e-20, 1.0], r"M \+ εI has an eigenvalue ≤ 0"),
        ("subspace", [1.0, 1.0, 1.0], "no gap at which to cut: the widest relative gap is 0.0e"),
        ("subspace", [1.0, 1.0005], "no gap at which to cut: the widest relative gap is 5.0e-04"),
        ("subspace", [1.0], "d must be 2 or more"),
        ("eigenvector", [0.1, 0.1, 1.0, 1.0], "no eigenvector is well separated"),
        ("eigenvector", [1.0], "d must be 2 or more"),
        ("closing-eigenvector", [0.1, 1.0, 1.0], "has no derivative"),
        ("closing-eigenvector", [1.0], "d must be 2 or more"),
        ("whitening-truncated", [1.0, 1.0, 1.0], "cuts through equal eigenvalues"),
        ("whitening-truncated", [1e-5, 1.0, 1.0 + 2e-16], "cuts through equal eigenvalues"),
        ("whitening-truncated", [-2.0, -1.0], "nothing is left after truncation"),
    ],
)
def test_what_does_not_apply_says_why(name: str, values: list[float], reason: str) -> None:
    with pytest.raises(NotApplicable, match=reason):
        LOSSES[name].function(np.array([values]))


def test_one_seed_without_a_gap_is_enough_to_refuse() -> None:
    with pytest.raises(NotApplicable, match="no gap at which to cut"):
        LOSSES["subspace"].function(np.array([[0.1, 1.0], [1.0, 1.0]]))


def test_a_gap_is_open_from_its_threshold_on() -> None:
    LOSSES["subspace"].function(np.array([[1 - 1.01 * OPEN_GAP, 1.0]]))
    with pytest.raises(NotApplicable):
        LOSSES["subspace"].function(np.array([[1 - 0.99 * OPEN_GAP, 1.0]]))
