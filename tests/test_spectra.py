"""Every spectrum's matrices have the eigenpairs that they are said to have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigbench.algorithm_1 import NEIGHBOUR_RATIO
from eigbench.errors import NotApplicable
from eigbench.spectra import (
    SPECTRA,
    Floats,
    Sample,
    ascending,
    decompose,
    draw,
    random_orthogonal,
    relative_gaps,
)

SYNTHETIC = ("gap", "cluster", "geometric", "rank-deficient", "identity")
REAL = ("cifar-patches", "cifar-conv")
LAPACK = (
    *("lapack-zero", "lapack-even-diagonal", "lapack-geometric-diagonal", "lapack-even"),
    *("lapack-clustered-diagonal", "lapack-geometric", "lapack-clustered", "lapack-banded"),
)

names = st.sampled_from((*SYNTHETIC, *LAPACK))
sizes = st.sampled_from([2, 3, 4, 5, 8, 16, 33])
gaps = st.one_of(st.sampled_from([0.0, 1e-15, 1e-6, 0.5]), st.floats(0, 0.9))
firsts = st.integers(0, 1000)


def sample(name: str, d: int, gap: float | None, seeds: range = range(2)) -> Sample:
    return draw(SPECTRA[name], d, gap if SPECTRA[name].uses_gap else None, seeds)


@given(name=names, d=sizes, gap=gaps, first=firsts)
def test_eigenpairs_are_those_of_the_matrices(name: str, d: int, gap: float, first: int) -> None:
    drawn = sample(name, d, gap, range(first, first + 2))
    M = drawn.matrices()
    assert M.shape == (2, d, d)
    assert np.array_equal(M, M.swapaxes(-1, -2))
    assert (np.diff(drawn.eigenvalues) >= 0).all()
    # Backward stability: LAPACK's eigenvalues and the product V diag(λ) Vᵀ are each off by a small
    # multiple of d·eps·‖M‖, and every ‖M‖ is 1 here, or 0.
    rounding = 4 * d * np.finfo(np.float64).eps
    assert np.abs(np.linalg.eigvalsh(M) - drawn.eigenvalues).max() <= rounding
    V = drawn.eigenvectors
    assert np.abs(V.swapaxes(-1, -2) @ V - np.eye(d)).max() <= 1e-12
    assert np.abs(M @ V - V * drawn.eigenvalues[:, None, :]).max() <= rounding


@given(name=names, d=sizes, gap=gaps, first=firsts)
def test_a_seed_s_matrix_does_not_depend_on_the_others(
    name: str, d: int, gap: float, first: int
) -> None:
    alone = sample(name, d, gap, range(first + 1, first + 2))
    among = sample(name, d, gap, range(first, first + 3))
    assert np.array_equal(alone.eigenvalues[0], among.eigenvalues[1])
    assert np.array_equal(alone.eigenvectors[0], among.eigenvectors[1])


@pytest.mark.parametrize("name", ["gap", "cluster", "geometric", "rank-deficient", "lapack-random"])
def test_seeds_differ(name: str) -> None:
    one, other = sample(name, 6, 0.1).matrices()
    assert np.abs(one - other).max() > 0.01


@given(d=sizes, gap=st.floats(1e-12, 0.9))
def test_gap_is_between_the_middle_pair(d: int, gap: float) -> None:
    found = relative_gaps(sample("gap", d, gap).eigenvalues)
    # The gap of two doubles near each other is off by a rounding of each, not by less.
    rounding = 4 * np.finfo(np.float64).eps
    middle = d - 1 - d // 2  # the d//2-th largest and the one after it
    assert np.abs(found[:, middle] - gap).max() <= rounding
    others = np.delete(found, middle, axis=1)
    assert np.abs(others - (1 - NEIGHBOUR_RATIO)).max(initial=0) <= rounding


@given(d=sizes, gap=st.floats(1e-12, 0.9))
def test_geometric_has_every_gap(d: int, gap: float) -> None:
    found = relative_gaps(sample("geometric", d, gap).eigenvalues)
    assert np.abs(found - gap).max() <= 4 * np.finfo(np.float64).eps


@given(d=sizes, gap=st.floats(1e-12, 0.4))
def test_cluster_leads_within_its_gap(d: int, gap: float) -> None:
    values = sample("cluster", d, gap).eigenvalues
    members, others = values[:, -max(2, d // 2) :], values[:, : -max(2, d // 2)]
    spread = (members.max(axis=1) - members.min(axis=1)) / members.max(axis=1)
    assert np.abs(spread - gap).max() <= 4 * np.finfo(np.float64).eps
    assert (members.min(axis=1) > others.max(axis=1, initial=0.5)).all()


@pytest.mark.parametrize("name", ["gap", "geometric", "cluster"])
def test_a_gap_of_zero_is_an_exact_tie(name: str) -> None:
    assert relative_gaps(sample(name, 8, 0.0).eigenvalues).min() == 0


def test_identity_is_the_identity() -> None:
    assert np.array_equal(sample("identity", 5, None).matrices(), np.stack([np.eye(5)] * 2))


@given(d=sizes, first=firsts)
def test_dead_channels_are_exactly_zero(d: int, first: int) -> None:
    M = sample("rank-deficient", d, None, range(first, first + 1)).matrices()[0]
    alive = (d + 1) // 2
    assert not M[alive:].any()
    assert not M[:, alive:].any()
    assert np.linalg.eigvalsh(M[:alive, :alive]).min() > 0.5 * NEIGHBOUR_RATIO**alive


@pytest.mark.parametrize("name", ["gap", "cluster", "geometric", "rank-deficient"])
def test_one_eigenvalue_has_no_gap(name: str) -> None:
    with pytest.raises(NotApplicable, match="d must be 2 or more"):
        sample(name, 1, 0.1)


def test_one_eigenvalue_may_be_an_identity() -> None:
    drawn = sample("identity", 1, None)
    assert drawn.eigenvalues.tolist() == [[1.0], [1.0]]
    assert drawn.matrices().tolist() == [[[1.0]], [[1.0]]]


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("d", [4, 16, 64])
def test_real_covariances_are_positive_semi_definite(name: str, d: int) -> None:
    drawn = sample(name, d, None, range(3))
    assert (drawn.eigenvalues >= 0).all()
    M = drawn.matrices()
    # Put together again from clipped eigenvalues: negative by rounding at most.
    rounding = 4 * d * np.finfo(np.float64).eps * drawn.eigenvalues[:, -1]
    assert (np.linalg.eigvalsh(M)[:, 0] >= -rounding).all()
    assert np.array_equal(M, M.swapaxes(-1, -2))
    assert (drawn.eigenvalues[:, -1] > 0).all()


@pytest.mark.parametrize("name", REAL)
def test_a_real_seed_s_matrix_does_not_depend_on_the_others(name: str) -> None:
    alone, among = sample(name, 4, None, range(1, 2)), sample(name, 4, None, range(3))
    assert np.array_equal(alone.matrices()[0], among.matrices()[1])
    assert not np.array_equal(among.matrices()[0], among.matrices()[1])


def test_the_first_convolution_has_rank_27_at_most() -> None:
    values = sample("cifar-conv", 64, None, range(2)).eigenvalues
    # 27 inputs make 64 outputs; what is left is rounding of the decomposition.
    rounding = 64 * np.finfo(np.float64).eps * values[:, -1:]
    assert (values[:, :-27] <= rounding).all()
    assert (values[:, -27] > 1e3 * rounding[:, 0]).all()


@pytest.mark.parametrize(("name", "channels"), [("cifar-patches", 192), ("cifar-conv", 64)])
def test_more_channels_than_there_are_do_not_apply(name: str, channels: int) -> None:
    assert sample(name, channels, None, range(1)).eigenvalues.shape == (1, channels)
    with pytest.raises(NotApplicable, match=f"{channels} channels, fewer than {channels + 1}"):
        sample(name, channels + 1, None)


@given(d=sizes, seed=firsts)
def test_random_bases_are_orthogonal(d: int, seed: int) -> None:
    Q = random_orthogonal(d, seed)
    assert np.abs(Q.T @ Q - np.eye(d)).max() <= 1e-12
    assert np.array_equal(Q, random_orthogonal(d, seed))


def test_random_bases_have_no_preferred_sign() -> None:
    """Haar: the first entry is as often negative. QR alone would give it one sign."""
    drawn = np.array([random_orthogonal(3, seed) for seed in range(400)])
    # 5 standard deviations of the mean of 400 signs.
    assert np.abs(np.sign(drawn).mean(axis=0)).max() < 5 / 400**0.5


@given(scale=st.sampled_from([1e-5, 0.5, 1e5]), epsilon=st.sampled_from([0.0, 1e-4, 1.0]))
def test_shifted_is_scale_and_ridge(scale: float, epsilon: float) -> None:
    drawn = sample("gap", 6, 0.1)
    found = drawn.shifted(scale, epsilon).matrices()
    expected = scale * drawn.matrices() + epsilon * np.eye(6)
    assert np.abs(found - expected).max() <= 1e-14 * (scale + epsilon)


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), firsts)
def test_decompose_gives_the_matrices_back(values: list[float], seed: int) -> None:
    Q = random_orthogonal(3, seed)
    given_pairs = ascending(np.array([values]), Q[None])
    again = decompose(given_pairs.matrices())
    size = 10 * np.finfo(np.float64).eps * max(map(abs, values))
    assert np.abs(again.matrices() - given_pairs.matrices()).max() <= 4 * size
    assert np.abs(again.eigenvalues - np.sort([values])).max() <= 4 * size


def test_ascending_keeps_pairs_together() -> None:
    vectors: Floats = np.eye(3)[None]
    sorted_pairs = ascending(np.array([[3.0, 1.0, 2.0]]), vectors)
    assert sorted_pairs.eigenvalues.tolist() == [[1.0, 2.0, 3.0]]
    assert np.array_equal(sorted_pairs.matrices()[0], np.diag([3.0, 1.0, 2.0]))


def test_relative_gaps() -> None:
    found = relative_gaps(np.array([[-4.0, -2.0, 0.0, 0.0, 1.0, 4.0]]))
    # Relative to the upper one's magnitude; 0/0 is no gap, and up to a zero it is absolute.
    assert found.tolist() == [[1.0, 2.0, 0.0, 1.0, 0.75]]


@pytest.mark.parametrize("d", [4, 5, 16])
def test_a_graph_with_two_nodes_apart_has_the_eigenvalue_0_thrice(d: int) -> None:
    values, V = SPECTRA["laplacian"].build(d, 0.0, 3)
    L = (V * values) @ V.T
    assert (values[:3] == 0).all()
    assert (values[3:] > 0.01).all()
    assert values[-1] == 1
    # Rows of a Laplacian add up to 0, and no edge leads to the two nodes.
    assert np.abs(L.sum(axis=1)).max() < 1e-12
    assert (L[:2] == 0).all()
    assert (L - np.diag(np.diag(L)) < 1e-12).all()


def test_a_graph_with_two_nodes_apart_needs_four() -> None:
    with pytest.raises(NotApplicable, match="d = 4 or more"):
        SPECTRA["laplacian"].build(3, 0.0, 0)


def test_those_of_lapack_have_both_signs_and_their_magnitudes() -> None:
    for name, second in (("even", 2 / 3), ("geometric", 2 ** (-23 / 3)), ("clustered", 2.0**-23)):
        values = sample(f"lapack-{name}", 4, None, range(20)).eigenvalues
        assert (values < 0).any()
        assert (values > 0).any()
        magnitudes = np.sort(np.abs(values))
        assert np.abs(magnitudes[:, [0, -1]] - [2.0**-23, 1]).max() < 1e-15
        assert np.abs(magnitudes[:, -2] - second).max() < 1e-7


def test_banded_ones_are_of_many_bandwidths() -> None:
    M = sample("lapack-banded", 12, None, range(20)).matrices()
    rows, columns = np.indices((12, 12))
    band = np.where(np.abs(M) > 1e-14, np.abs(rows - columns), 0).max(axis=(-2, -1))
    assert len(set(band.tolist())) > 6
    # Nothing is lost on the way, and no entry of the band is empty.
    for one, width in zip(M, band, strict=True):
        assert (np.abs(np.diagonal(one, width)) > 1e-9).all()


def test_random_ones_have_entries_between_minus_1_and_1() -> None:
    M = sample("lapack-random", 30, None).matrices()
    assert 0.9 < np.abs(M).max() <= 1 + 1e-14
