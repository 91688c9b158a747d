"""A stability case: the figures it must reproduce, and what it says of a wrong gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.stability import StabilityCase
from eigbench.measure.differentiate import problem_of
from eigbench.measure.process import torch_threads
from eigbench.measure.stability import measure_stability
from eigbench.methods import registry
from eigbench.methods.base import Eigenpairs, Method
from eigbench.methods.registry import configured

SEEDS = 12


def case(method: str = "hybrid", **changes: Any) -> StabilityCase:
    """ZCA whitening of 8×8 matrices with one closing pair, in float64."""
    defaults: dict[str, Any] = {
        "parameters": {"iterations": 19} if method.startswith("hybrid") else {},
        "d": 8,
        "spectrum": "gap",
        "gap": 0.1,
        "scale": 1.0,
        "dtype": "float64",
        "epsilon": 0.0,
        "loss": "whitening",
        "seeds": SEEDS,
        "seed": 0,
        "device": "cpu",
    }
    return StabilityCase(method=method, **(defaults | changes))


def samples(method: str = "hybrid", **changes: Any) -> dict[str, list[float]]:
    return measure_stability(case(method, **changes), {}).samples


def whitening_ratio(gap: float, iterations: int) -> float:
    """Hybrid's coefficient of a pair over the true one, from the sums written out.

    For ⟨W, V f(λ) Vᵀ⟩ the cotangent is A[i,j] = 2 w f(λj), and so the pair (1, q) gets
    w·(c⁺ f(1) − c⁻ f(q)), where the truth is w·(f(1) − f(q))/(1 − q). The ratio has no scale.
    """
    q = 1 - gap
    plus = math.fsum(q**k for k in range(iterations))
    minus = math.fsum(q**k for k in range(iterations - 1))
    root = math.sqrt(q)
    return (plus - minus / root) * -(root * (1 + root))


@pytest.mark.parametrize(("gap", "ratio"), [(0.15, 0.85), (0.1, 0.57), (0.01, -1.5)])
def test_hybrid_on_the_closing_pair(gap: float, ratio: float) -> None:
    """Bounded is not right: 19 terms turn the sign of the closing pair's gradient."""
    assert np.median(samples(gap=gap)["closing_pair_ratio"]) == pytest.approx(ratio, abs=0.02)


@pytest.mark.parametrize("iterations", [1, 2, 19, 60])
@pytest.mark.parametrize("gap", [0.5, 0.15, 0.01, 1e-4])
def test_hybrid_on_the_closing_pair_is_the_series_written_out(gap: float, iterations: int) -> None:
    ratios = samples(gap=gap, parameters={"iterations": iterations})["closing_pair_ratio"]
    # At a gap of 0.5 the other pairs, all at 0.15, are the closest.
    expected = whitening_ratio(min(gap, 0.15), iterations)
    # A pair's basis is known to rounding/gap, and W's component on it may be small.
    assert ratios == pytest.approx([expected] * SEEDS, rel=1e-8)


@pytest.mark.parametrize("gap", [0.15, 0.01])
def test_hybrid_error_over_the_whole_matrix(gap: float) -> None:
    """Each pair's share of the true gradient is off by its own ratio − 1; the diagonal is right."""
    problem = problem_of(case(gap=gap), {}, configured("hybrid"))
    V, values = problem.truth.eigenvectors, problem.truth.eigenvalues
    off = np.zeros((8, 8))
    for i, j in itertools.combinations(range(8), 2):
        # The spectrum is the same for every seed.
        off[i, j] = off[j, i] = whitening_ratio(1 - values[0, i] / values[0, j], 19) - 1
    exact = V.swapaxes(-1, -2) @ problem.gradient @ V
    expected = np.linalg.norm(off * exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))
    assert samples(gap=gap)["gradient_error"] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("method", ["eigh", "svd"])
def test_the_analytic_rule_is_exact_at_an_open_gap(method: str) -> None:
    assert max(samples(method, gap=1e-3)["gradient_error"]) < 1e-10


@pytest.mark.parametrize(
    ("method", "loss"),
    [
        ("cholesky", "whitening"),
        *itertools.product(["eigh", "svd", "spectral"], ["whitening", "eigenvector"]),
    ],
)
def test_complex_matrices_have_their_exact_gradient(method: str, loss: str) -> None:
    """Beside the truth, and beside differences of its own value along all n² directions."""
    found = samples(method, dtype="complex128", loss=loss, d=5, seeds=2)
    assert max(found["gradient_error"] + found["own_gradient_error"]) < 1e-8
    assert max(found["gradient_asymmetry"]) < 1e-12
    rounded = samples(method, dtype="complex64", loss=loss, d=5, seeds=2)
    assert 1e-9 < max(rounded["gradient_error"]) < 1e-3


def test_complex_matrices_have_the_eigenvalues_and_magnitudes_of_real_ones() -> None:
    real, turned = (
        problem_of(case(dtype=dtype), {}, configured("eigh")) for dtype in ("float64", "complex128")
    )
    assert np.array_equal(real.truth.eigenvalues, turned.truth.eigenvalues)
    assert np.allclose(np.abs(real.matrices), np.abs(turned.matrices), atol=1e-15)
    assert np.array_equal(turned.matrices, turned.matrices.conj().swapaxes(-1, -2))
    assert np.abs(turned.matrices.imag).max() > 0.01


def test_the_users_complex_matrices_need_a_complex_dtype() -> None:
    own = {2: np.array([[[2, 1j], [-1j, 3]]])}
    given = case("eigh", spectrum="file", d=2, gap=None, seeds=1, dtype="float64")
    with pytest.raises(NotApplicable, match="the matrices are complex: choose complex64"):
        measure_stability(given, own)


def test_a_converged_series_is_the_analytic_rule() -> None:
    found = samples(gap=0.15, parameters={"iterations": 400})
    # 0.85^400 is 1e-28.
    assert max(found["gradient_error"]) < 1e-12


@pytest.mark.parametrize("gap", [0.1, 1e-6, 0.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hybrid_is_finite_and_inside_its_bound(gap: float, dtype: str) -> None:
    found = samples(gap=gap, dtype=dtype)
    assert found["gradient_finite"] == found["disturbed_finite"] == [1.0] * SEEDS
    assert found["inside_bound"] == [1.0] * SEEDS


@pytest.mark.parametrize("iterations", [4, 12])
def test_the_bound_is_that_of_eq_12(iterations: int) -> None:
    """With `∂L/∂V = 2 W V f(λ)` and `∂L/∂λ = f′(λ) diag(VᵀWV)` of the loss written out."""
    truth = problem_of(case(), {}, configured("hybrid")).truth
    W, V, values = (
        problem_of(case(), {}, configured("hybrid")).W,
        truth.eigenvectors,
        truth.eigenvalues,
    )
    by_vectors = 2 * W @ V * values[:, None, :] ** -0.5
    by_values = -0.5 * values**-1.5 * np.einsum("bji,bjk,bki->bi", V, W, V)
    expected = 8 * iterations / values[:, 0] * np.linalg.norm(by_vectors, axis=1).max(axis=1)
    expected += np.linalg.norm(by_values, axis=1)
    found = samples(parameters={"iterations": iterations})["gradient_bound"]
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("loss", ["whitening", "subspace", "reconstruction", "closing-eigenvector"])
@pytest.mark.parametrize("method", ["eigh", "pi", "hybrid"])
def test_one_value_a_seed(method: str, loss: str) -> None:
    measured = measure_stability(case(method, loss=loss), {})
    assert {len(values) for values in measured.samples.values()} == {SEEDS}
    assert {len(words) for words in measured.labels.values()} <= {SEEDS}
    assert ("truncated_by" in measured.labels) == (loss == "whitening")


def test_a_seed_s_values_do_not_depend_on_the_other_seeds() -> None:
    few, many = samples(seeds=2), samples(seeds=5)
    for metric in ("gradient_error", "closing_pair_ratio", "gradient_norm", "gradient_bound"):
        assert few[metric] == pytest.approx(many[metric][:2], rel=1e-9), metric


def test_seeds_start_at_the_case_s_seed() -> None:
    later = samples(seed=3, seeds=2)["exact_gradient_norm"]
    assert later == samples(seed=0, seeds=5)["exact_gradient_norm"][3:]


def test_epsilon_and_scale_are_in_the_matrix() -> None:
    plain = samples(seeds=3)
    moved = samples(seeds=3, scale=100.0, epsilon=0.5)
    smallest = 1 / plain["condition_number"][0]
    expected = (100 + 0.5) / (100 * smallest + 0.5)
    assert moved["condition_number"] == pytest.approx([expected] * 3, rel=1e-12)


def test_samples_do_not_depend_on_the_number_of_threads() -> None:
    """Matrices so large that products of two threads differ in the last bits."""
    settings: dict[str, Any] = {"d": 160, "spectrum": "geometric", "gap": 0.02, "dtype": "float32"}
    found = []
    for count in (1, 2):
        with torch_threads(count), threadpool_limits(count, user_api="blas"):
            found.append(samples("eigh", **settings))
            # What was set before is set again.
            assert torch.get_num_threads() == count
            pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            assert [pool["num_threads"] for pool in pools] == [count] * len(pools)
    assert found[0] == found[1]


def test_a_problem_is_made_once_for_all_methods() -> None:
    methods = [configured(name) for name in ("eigh", "svd", "cholesky")]
    settings: list[dict[str, Any]] = [{}, {"d": 4, "spectrum": "file", "seeds": 3, "gap": None}]
    for changes in settings:
        # Read again, as a worker may have it.
        given = ({4: np.stack([np.diag([4.0, 3, 2, i + 1]) for i in range(5)])} for _ in methods)
        first, again, triangular = (
            problem_of(case(**changes), user, method)
            for user, method in zip(given, methods, strict=True)
        )
        assert again is first
        assert triangular is not first
        assert len(first.matrices) == changes.get("seeds", SEEDS)
    other = problem_of(case(**changes), {4: np.diag([5.0, 3, 2, 1])[None].repeat(5, 0)}, methods[0])
    assert other.truth.eigenvalues.max() == 5


def test_rounding_floor_is_of_the_dtype() -> None:
    single, double = samples(dtype="float32"), samples(dtype="float64")
    assert max(double["rounding_floor"]) < 1e-13
    assert 1e-9 < np.median(single["rounding_floor"]) < 1e-4


def test_whitening_of_a_singular_matrix_does_not_apply() -> None:
    with pytest.raises(NotApplicable, match="does not exist"):
        samples(spectrum="rank-deficient", gap=None)


def test_the_users_own_matrices() -> None:
    M = np.diag([3.0, 1.0])[None]
    own = case(d=2, spectrum="file", gap=None, seeds=1, loss="reconstruction", method="eigh")
    found = measure_stability(own, {2: M}).samples
    assert found["condition_number"] == pytest.approx([3.0])
    assert found["gradient_error"][0] < 1e-13


def _hooked(change: Callable[[Tensor], Tensor], name: str) -> type[Method]:
    """A method whose gradient is the analytic one after `change`."""
    label = name

    @dataclass(frozen=True)
    class Hooked(Method):
        name: ClassVar[str] = label
        summary: ClassVar[str] = "for a test"
        source: ClassVar[str] = "none"

        def eigh(self, M: Tensor) -> Eigenpairs:
            entry = (M + M.mT) / 2
            entry.register_hook(change)  # type: ignore[no-untyped-call]
            return Eigenpairs(*torch.linalg.eigh(entry))

    return Hooked


def _nan_for_the_first(G: Tensor) -> Tensor:
    spoiled = G.clone()
    spoiled[0, 0, 0] = torch.nan
    return spoiled


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[float]]]:
    """The samples of a case whose method's gradient is changed."""

    def measured(change: Callable[[Tensor], Tensor], **changes: Any) -> dict[str, list[float]]:
        monkeypatch.setitem(registry._loaded, "wrong", _hooked(change, "wrong"))
        return samples("wrong", **changes)

    return measured


Measured = Callable[..., dict[str, list[float]]]


def test_a_scaled_gradient_has_the_right_direction_and_the_wrong_size(wrong: Measured) -> None:
    found = wrong(lambda G: 3 * G)
    assert found["gradient_error"] == pytest.approx([2.0] * SEEDS)
    assert found["gradient_cosine"] == pytest.approx([1.0] * SEEDS)
    assert found["closing_pair_ratio"] == pytest.approx([3.0] * SEEDS)


def test_a_reversed_gradient_has_a_cosine_of_minus_one(wrong: Measured) -> None:
    found = wrong(lambda G: -G)
    assert found["gradient_error"] == pytest.approx([2.0] * SEEDS)
    assert found["gradient_cosine"] == pytest.approx([-1.0] * SEEDS)


def test_a_small_error_is_measured_as_small(wrong: Measured) -> None:
    assert wrong(lambda G: G * (1 + 1e-6))["gradient_error"] == pytest.approx([1e-6] * SEEDS)


def test_a_gradient_beyond_the_bound_is_outside(wrong: Measured) -> None:
    assert wrong(lambda G: G * 1e6)["inside_bound"] == [0.0] * SEEDS


def test_nan_is_kept_where_it_is(wrong: Measured) -> None:
    found = wrong(_nan_for_the_first)
    assert found["gradient_finite"] == [0.0] + [1.0] * (SEEDS - 1)
    for metric in ("gradient_norm", "gradient_error", "gradient_cosine", "disturbed_change"):
        assert math.isnan(found[metric][0]), metric
        assert np.isfinite(found[metric][1:]).all(), metric
    assert found["inside_bound"][0] == 0.0


def test_the_analytic_rule_is_nan_at_a_tie() -> None:
    found = samples("eigh", spectrum="identity", gap=None)
    assert found["gradient_finite"] == [0.0] * SEEDS
    assert found["forward_finite"] == [1.0] * SEEDS
    assert np.isnan(found["gradient_error"]).all()


@pytest.mark.parametrize("method", ["eigh", "spectral", "newton-schulz", "cholesky"])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
def test_a_gradient_of_the_own_value_is_told_from_one_that_is_not(
    method: str, scale: float
) -> None:
    """Whatever the value is worth, differences see that these gradients belong to it."""
    found = samples(method, scale=scale, gap=0.01)
    assert max(found["own_gradient_error"]) < 1e-8
    if method == "newton-schulz":
        assert min(found["function_error"]) > 1e-3
        assert min(found["gradient_error"]) > 1e-3


@pytest.mark.parametrize(
    ("method", "own"),
    [
        # A Lyapunov equation that the approximate root does not solve.
        ("mpa-lyapunov", (1e-5, 1e-2)),
        ("mtp-lyapunov", (1e-2, 1.0)),
        # Through its own iterations: small, though value and gradient are far from f(M).
        ("pi", (0.0, 1e-3)),
    ],
)
def test_bias_and_inconsistency_are_measured_apart(method: str, own: tuple[float, float]) -> None:
    low, high = own
    for error in samples(method)["own_gradient_error"]:
        assert low <= error < high


@pytest.mark.parametrize("gap", [0.15, 1e-6, 0.0])
def test_a_value_without_bias_has_the_exact_gradient_s_error(gap: float) -> None:
    found = samples(gap=gap)
    assert found["own_gradient_error"] == pytest.approx(found["gradient_error"], rel=1e-6)


def test_differences_that_cannot_resolve_the_derivative_are_left_out() -> None:
    assert "own_gradient_error" in samples("eigh", loss="closing-eigenvector", gap=1e-4)
    assert "own_gradient_error" not in samples("eigh", loss="closing-eigenvector", gap=1e-8)
    assert "own_gradient_error" not in samples("eigh", dtype="float32")
    assert "own_gradient_error" not in samples("eigh", d=9)


@pytest.mark.parametrize("gap", [0.15, 1e-6, 0.0])
def test_truncated_whitening_by_methods_that_are_exact(gap: float) -> None:
    """One mask for every method; the hybrid is better off than with all pairs."""
    found = {
        name: samples(name, loss="whitening-truncated", gap=gap) for name in ("eigh", "hybrid")
    }
    assert found["eigh"]["pairs_kept"] == found["hybrid"]["pairs_kept"] == [7.0] * SEEDS
    assert max(samples("spectral", loss="whitening-truncated", gap=gap)["gradient_error"]) < 1e-12
    if gap == 0.15:
        assert max(found["eigh"]["gradient_error"]) < 1e-12
        whole = samples("hybrid", gap=gap)["gradient_error"]
        assert np.median(found["hybrid"]["gradient_error"]) < np.median(whole)


def test_a_truncation_through_a_tie_does_not_apply() -> None:
    with pytest.raises(NotApplicable, match="cuts through equal eigenvalues"):
        samples(spectrum="identity", gap=None, loss="whitening-truncated")


def test_eq_10_is_the_hybrid_where_the_loss_does_not_depend_on_the_eigenvalues() -> None:
    projector = [samples(name, loss="subspace") for name in ("hybrid", "hybrid-eq10")]
    assert projector[0]["gradient_error"] == projector[1]["gradient_error"]
    root = [samples(name) for name in ("hybrid", "hybrid-eq10")]
    for whole, without in zip(*(each["gradient_error"] for each in root), strict=True):
        assert without > 2 * whole


@pytest.mark.parametrize("scale", [1.0, 1.8446743e19, 1.0842022e-19])
@pytest.mark.parametrize("spectrum", ["lapack-even", "lapack-zero"])
def test_gates_are_those_of_the_contest(spectrum: str, scale: float) -> None:
    """Written out for one matrix, in torch."""
    own: dict[str, Any] = {
        "gap": None,
        "loss": "reconstruction",
        "dtype": "float32",
        "scale": scale,
        "seeds": 1,
    }
    found = samples("eigh", spectrum=spectrum, **own)
    M = torch.tensor(
        problem_of(case("eigh", spectrum=spectrum, **own), {}, configured("eigh")).matrices[0]
    ).float()
    values, V = (x.double() for x in torch.linalg.eigh(M))
    one = partial(torch.linalg.matrix_norm, ord=1)
    unit, norm = 8 * 2.0**-23, max(float(one(M.double())), 1e-30)
    residual = float(one(M.double() @ V - V * values)) / norm / unit
    assert found["gate_residual"] == pytest.approx([residual])
    orthogonality = float(one(V.mT @ V - torch.eye(8, dtype=torch.float64))) / unit
    assert found["gate_orthogonality"] == pytest.approx([orthogonality])
    assert residual < 10
    assert orthogonality < 10
