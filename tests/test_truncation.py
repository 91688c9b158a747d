"""The three conditions on which Algorithm 1 stops, one at a time and in a batch."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from eigbench.algorithm_1 import ENERGY_KEPT, RAYLEIGH_MISMATCH
from eigbench.methods.base import Eigenpairs
from eigbench.truncation import (
    REASONS,
    RULES,
    _rayleigh_quotients,
    algorithm_1,
    kept_mask,
    truncate,
)

NONE, EIGENVALUE, RAYLEIGH, ENERGY, ABOVE = REASONS


def diagonal(*values: float) -> tuple[Tensor, Eigenpairs]:
    """One matrix `(1, n, n)` with these ascending eigenvalues, and its eigenpairs."""
    eigenvalues = torch.tensor([values], dtype=torch.float64)
    eye = torch.eye(len(values), dtype=torch.float64)[None]
    return torch.diag_embed(eigenvalues), Eigenpairs(eigenvalues, eye)


def kept(
    M: Tensor, pairs: Eigenpairs, epsilon: float = 0.0, **limits: float
) -> list[tuple[int, str]]:
    """`(rank, reason)` of each matrix."""
    rank, reason = algorithm_1(M, pairs, epsilon, **limits)
    return [(r, REASONS[why]) for r, why in zip(rank.tolist(), reason.tolist(), strict=True)]


def test_limits_are_those_of_the_paper() -> None:
    assert RAYLEIGH_MISMATCH == 0.1
    assert pytest.approx(0.9999) == ENERGY_KEPT


def test_stops_at_an_eigenvalue_not_above_epsilon() -> None:
    M, pairs = diagonal(0.1, 0.2, 0.3, 0.4)
    assert kept(M, pairs, epsilon=0.15) == [(3, EIGENVALUE)]
    # Equal counts as not above.
    assert kept(M, pairs, epsilon=0.2) == [(2, EIGENVALUE)]
    assert kept(M, pairs, epsilon=0.199) == [(3, EIGENVALUE)]
    below = 0.2 - 1e-16
    assert kept(M, pairs, epsilon=below) == [(3, EIGENVALUE)]
    assert kept(M, pairs, epsilon=below, roundings=1) == [(2, EIGENVALUE)]


def test_stops_where_the_share_of_the_trace_is_reached() -> None:
    M, pairs = diagonal(0.1, 0.2, 0.3, 0.4)
    # Shares from the largest on: 0.4, 0.7, 0.9, 1.
    assert kept(M, pairs, energy=0.65) == [(1, ENERGY)]
    assert kept(M, pairs, energy=0.75) == [(2, ENERGY)]
    assert kept(M, pairs, energy=0.95) == [(3, ENERGY)]
    assert kept(M, pairs, energy=1.5) == [(4, NONE)]


def test_by_default_a_ten_thousandth_of_the_trace_may_be_left() -> None:
    M, pairs = diagonal(1e-6, 0.4, 0.6)
    assert kept(M, pairs) == [(1, ENERGY)]
    M, pairs = diagonal(1e-3, 0.4, 0.6)
    assert kept(M, pairs) == [(2, ENERGY)]


@pytest.mark.parametrize(("off", "stops"), [(0.05, False), (0.099, False), (0.101, True)])
def test_stops_where_the_rayleigh_quotient_is_off_by_a_tenth(off: float, stops: bool) -> None:
    M, (eigenvalues, V) = diagonal(0.1, 0.2, 0.3, 0.4)
    # The third largest is said to be larger than what the matrix has in its direction.
    wrong = eigenvalues.clone()
    wrong[0, 1] = 0.2 / (1 - off)
    expected = (2, RAYLEIGH) if stops else (4, NONE)
    assert kept(M, Eigenpairs(wrong, V), energy=2.0) == [expected]


def test_a_direction_that_deflation_has_removed_is_off() -> None:
    """The same eigenvector twice, as power iteration finds it: nothing is left of it."""
    M, (eigenvalues, V) = diagonal(0.1, 0.3, 0.3, 0.4)
    again = V.clone()
    # On the matrix itself its quotient would be right.
    again[0, :, 1] = V[0, :, 2]
    assert kept(M, Eigenpairs(eigenvalues, again), energy=2.0) == [(2, RAYLEIGH)]


def test_nan_stops() -> None:
    M, (eigenvalues, V) = diagonal(0.1, 0.2, 0.3, 0.4)
    spoiled = V.clone()
    spoiled[0, 0, 1] = torch.nan
    assert kept(M, Eigenpairs(eigenvalues, spoiled), energy=2.0) == [(2, RAYLEIGH)]


def test_of_several_conditions_the_first_is_named() -> None:
    M, (eigenvalues, V) = diagonal(0.1, 0.2, 0.3, 0.4)
    wrong = eigenvalues.clone()
    wrong[0, 1] = 1e-9
    # The third pair is at once below ε, off, and beyond the share.
    assert kept(M, Eigenpairs(wrong, V), epsilon=1e-6, energy=0.71) == [(1, ENERGY)]
    assert kept(M, Eigenpairs(wrong, V), epsilon=1e-6, energy=0.88) == [(2, EIGENVALUE)]


@pytest.mark.parametrize("epsilon", [0.4, 1.0])
def test_one_pair_is_kept_at_least(epsilon: float) -> None:
    M, pairs = diagonal(0.1, 0.2, 0.3, 0.4)
    assert kept(M, pairs, epsilon=epsilon) == [(1, EIGENVALUE)]


def test_one_pair_of_one_is_kept() -> None:
    assert kept(*diagonal(1.0))[0][0] == 1


def test_each_matrix_of_a_batch_stops_by_itself() -> None:
    singles = [
        diagonal(0.1, 0.2, 0.3, 0.4),
        diagonal(0.0, 0.0, 0.0, 1.0),
        diagonal(1e-7, 0.3, 0.3, 0.4),
        diagonal(1e-9, 1e-9, 0.5, 0.5),
    ]
    M = torch.cat([matrix for matrix, _ in singles])
    pairs = Eigenpairs(
        torch.cat([pairs.eigenvalues for _, pairs in singles]),
        torch.cat([pairs.eigenvectors for _, pairs in singles]),
    )
    together = kept(M, pairs, epsilon=1e-8)
    assert together == [(3, ENERGY), (1, ENERGY), (2, ENERGY), (1, ENERGY)]
    assert together == [kept(*single, epsilon=1e-8)[0] for single in singles]
    # Without a share to reach it is ε that stops the middle two.
    assert kept(M, pairs, epsilon=1e-8, energy=2.0) == [
        (4, NONE),
        (1, EIGENVALUE),
        (4, NONE),
        (2, EIGENVALUE),
    ]


@given(
    values=st.lists(st.floats(1e-6, 1), min_size=1, max_size=6),
    epsilon=st.floats(0, 1),
    energy=st.floats(0.1, 0.99999),
    seed=st.integers(0, 100),
)
def test_rank_is_what_counting_gives(
    values: list[float], epsilon: float, energy: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    Q, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    eigenvalues = torch.tensor(sorted(values), dtype=torch.float64)
    M = (Q * eigenvalues) @ Q.T
    # Exact eigenpairs, so Rayleigh quotients are off by rounding of the largest over the pair's
    # own eigenvalue: 1e-10 at most here, no tenth.
    rank, _ = kept(M[None], Eigenpairs(eigenvalues[None], Q[None]), epsilon, energy=energy)[0]
    counted = 0
    total, so_far = sum(values), 0.0
    for value in sorted(values, reverse=True):
        so_far += value
        if value <= epsilon or so_far / total >= energy:
            break
        counted += 1
    assert rank == max(counted, 1)


def quotients_of_the_loop(M: Tensor, vectors: Tensor) -> Tensor:
    """Algorithm 1 as it is printed: deflate, take the quotient, go on."""
    quotients = []
    for v in vectors.unbind(-1):
        image = torch.einsum("bij,bj->bi", M, v)
        quotients.append((v * image).sum(-1) / (v * v).sum(-1))
        M = M - image[:, :, None] * v[:, None, :]
    return torch.stack(quotients, -1)


@pytest.mark.parametrize("n", [1, 2, 5, 16, 64])
def test_quotients_are_those_of_the_loop(n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    X, noise = (torch.randn(3, n, n, generator=generator, dtype=torch.float64) for _ in range(2))
    M = X @ X.mT / n
    orthonormal = torch.linalg.eigh(M).eigenvectors.flip(-1)
    # As power iteration leaves them: neither of length 1 nor orthogonal.
    skewed = orthonormal + 0.3 * noise / n**0.5
    # The smallest quotients of the loop carry rounding errors of the largest eigenvalue.
    scale = torch.linalg.matrix_norm(M, 2).max().item()
    for vectors in (orthonormal, skewed):
        found, truth = _rayleigh_quotients(M, vectors), quotients_of_the_loop(M, vectors)
        torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("spoiled", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 7, 15])
def test_a_vector_that_is_not_finite_does_not_reach_those_before_it(
    place: int, spoiled: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(1, 16, 16, generator=generator, dtype=torch.float64)
    M = X @ X.mT
    vectors = torch.linalg.eigh(M).eigenvectors.flip(-1)
    whole = _rayleigh_quotients(M, vectors)
    vectors[0, 3, place] = spoiled
    found = _rayleigh_quotients(M, vectors)
    torch.testing.assert_close(found[0, :place], whole[0, :place], rtol=1e-12, atol=1e-12)
    assert torch.isnan(found[0, place])


def test_a_matrix_that_is_not_finite_keeps_one_pair() -> None:
    M, pairs = diagonal(0.1, 0.2, 0.3, 0.4)
    assert kept(M * torch.nan, pairs, energy=2.0) == [(1, RAYLEIGH)]


def ranks(rule: str, *values: float, epsilon: float = 0.15, **limits: float) -> tuple[int, str]:
    M, pairs = diagonal(*values)
    rank, reason = truncate(rule, M, pairs, epsilon, **limits)
    assert rank.dtype == reason.dtype == torch.int64
    return int(rank), REASONS[int(reason)]


def test_rules_by_name() -> None:
    assert RULES == ("algorithm-1", "none", "released", "pi-released")
    assert ranks("algorithm-1", 0.1, 0.2, 0.3, 0.4) == (3, EIGENVALUE)
    assert ranks("algorithm-1", 0.1, 0.2, 0.3, 0.4, energy=0.65) == (1, ENERGY)
    assert ranks("none", 0.1, 0.2, 0.3, 0.4) == (4, NONE)
    assert ranks("none", -1.0, torch.nan) == (2, NONE)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.2, 0.3, 0.4), (1, NONE)),  # nothing small: the leading pair alone
        ((0.1, 0.3, 0.4), (3, EIGENVALUE)),  # down to the first small one, which is kept
        ((0.1, 0.15, 0.4), (2, EIGENVALUE)),  # equal to ε counts as small
        ((0.1, 0.1, 0.1), (1, EIGENVALUE)),
        ((0.4,), (1, NONE)),
    ],
)
def test_the_released_rule(values: tuple[float, ...], expected: tuple[int, str]) -> None:
    assert ranks("released", *values) == expected
    # As the released program counts, `ZCANormOrg`.
    counter = 1
    for place, value in enumerate(sorted(values, reverse=True)):
        if value <= 0.15:
            counter = place + 1
            break
    assert counter == expected[0]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # In the order in which power iteration found them.
        ((0.4, 0.3, 0.2), (3, NONE)),
        ((0.4, 0.1, 0.2), (1, EIGENVALUE)),  # below ε
        ((0.4, 0.15, 0.1), (2, EIGENVALUE)),  # equal to ε is not below it
        ((0.3, 0.4, 0.2), (1, ABOVE)),
        ((0.4, 0.3, 0.35, 0.1), (2, ABOVE)),
        ((0.4, 0.4, 0.3), (3, NONE)),  # equal to the one before is not above it
        ((0.1, 0.05), (1, EIGENVALUE)),
        ((0.1,), (1, NONE)),  # the first is kept whatever it is
        ((-0.1, -0.2), (1, EIGENVALUE)),
        ((0.4, math.nan, 0.2), (3, NONE)),  # NaN stops nothing
    ],
)
def test_the_released_rule_of_power_iteration(
    found: tuple[float, ...], expected: tuple[int, str]
) -> None:
    n = len(found)
    values = torch.tensor(found, dtype=torch.float64).flip(-1)
    pairs = Eigenpairs(values, torch.eye(n, dtype=torch.float64))
    rank, reason = truncate("pi-released", torch.diag(values), pairs, 0.15)
    assert (int(rank), REASONS[int(reason)]) == expected
    # As the released program counts, `ZCANormPIunstable`.
    kept = 1
    while kept < n and not (found[kept - 1] < found[kept] or found[kept] < 0.15):
        kept += 1
    assert kept == expected[0]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown truncation 'half'; there are algorithm-1, none"):
        ranks("half", 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mask_of_kept_pairs_ascends(dtype: torch.dtype) -> None:
    eigenvalues = torch.zeros(2, 2, 3, dtype=dtype)
    mask = kept_mask(torch.tensor([[1, 2], [3, 0]]), eigenvalues)
    assert mask.dtype == dtype
    assert mask.tolist() == [[[0, 0, 1], [0, 1, 1]], [[1, 1, 1], [0, 0, 0]]]


@pytest.mark.parametrize("rule", RULES)
def test_rules_take_any_batch_and_vmap(rule: str) -> None:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2, 3, 5, 5, generator=generator, dtype=torch.float64)
    M = X @ X.mT
    pairs = Eigenpairs(*torch.linalg.eigh(M))
    rank, reason = truncate(rule, M, pairs, 0.5)
    assert rank.shape == reason.shape == (2, 3)

    def one(M: Tensor, values: Tensor, V: Tensor) -> Tensor:
        return torch.stack(truncate(rule, M, Eigenpairs(values, V), 0.5))

    apart = torch.func.vmap(torch.func.vmap(one))(M, *pairs)
    assert torch.equal(apart[..., 0], rank)
    assert torch.equal(apart[..., 1], reason)
