"""What every method promises, against references that are no method of ours."""

from __future__ import annotations

import dataclasses
import pickle
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import eigbench
from eigbench.losses import LOSSES, exact_gradient
from eigbench.measure.differentiate import differentiate
from eigbench.methods import available, get
from eigbench.methods.registry import configured
from eigbench.spectra import Sample
from eigbench.truncation import RULES
from tests.methods.matrices import gradient, loss_of, relative, separated, symmetric, weights

ALL = available()
METHODS = tuple(name for name in ALL if get(name).differentiates == "eigenpairs")
ITERATED = ("pi", "hybrid", "hybrid-loop")

CONVERGED = {name: {"iterations": 120} if name in ITERATED else {} for name in ALL}
"""0.5^120 is far below float64's rounding: here every method's gradient is the analytic one."""


def eigh(method: str, **parameters: Any) -> Any:
    return partial(eigbench.eigh, method=method, **(parameters or CONVERGED[method]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [(), (1,), (2, 3)])
@pytest.mark.parametrize("method", ALL)
def test_forward_is_a_decomposition(
    method: str, batch: tuple[int, ...], dtype: torch.dtype
) -> None:
    M = separated(5, batch, dtype)
    values, V = eigh(method)(M)
    reference = torch.linalg.eigvalsh(M)
    assert values.shape == (*batch, 5)
    assert V.shape == (*batch, 5, 5)
    assert values.dtype == V.dtype == dtype
    assert (values.diff(dim=-1) >= 0).all()
    rounding = 50 * torch.finfo(dtype).eps
    torch.testing.assert_close(values, reference, rtol=0, atol=rounding)
    torch.testing.assert_close(M @ V, V * values[..., None, :], rtol=0, atol=rounding)
    torch.testing.assert_close(V.mT @ V, torch.eye(5, dtype=dtype).expand_as(V), rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ALL)
def test_one_by_one_and_empty_batches(method: str) -> None:
    values, V = eigh(method)(torch.tensor([[3.0]]))
    assert values.item() == pytest.approx(3.0)
    assert abs(V.item()) == pytest.approx(1.0)
    values, V = eigh(method)(torch.zeros(0, 4, 4))
    assert values.shape == (0, 4)
    assert V.shape == (0, 4, 4)


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_symmetric(method: str) -> None:
    M = separated(6, (3,)).requires_grad_()
    values, V = eigh(method)(M)
    # A loss that does depend on signs: symmetry must not come from the loss.
    (G,) = torch.autograd.grad((V * weights(M)).sum() + values.sum(), M)
    assert relative(G.mT, G) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_gradient_is_that_of_central_differences(method: str) -> None:
    M = separated(5)
    step = 1e-5
    truth = torch.zeros_like(M)
    for i in range(5):
        for j in range(5):
            E = torch.zeros_like(M)
            E[i, j] = step
            up, down = (loss_of(torch.linalg.eigh, 5)(M + s * E) for s in (1, -1))
            truth[i, j] = (up - down) / (2 * step)
    # Differences of step 1e-5 are good to about step² and to rounding/step: 1e-10.
    assert relative(gradient(eigh(method), M), truth) < 1e-8


@pytest.mark.parametrize("loss", ["whitening", "subspace", "reconstruction", "eigenvector"])
@pytest.mark.parametrize("method", ALL)
def test_gradient_is_the_exact_spectral_one(method: str, loss: str) -> None:
    values = np.array([[0.1, 0.2, 0.5, 1.1]])
    basis, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((1, 4, 4)))
    sample = Sample(values, basis)
    W = weights(torch.empty(4, 4, dtype=torch.float64)).numpy()[None]
    function = LOSSES[loss].function(values)
    M = torch.tensor(sample.matrices())
    found = differentiate(configured(method, **CONVERGED[method]), M, function, torch.tensor(W))
    assert relative(found.gradient, torch.tensor(exact_gradient(sample, function, W))) < 1e-10


@pytest.mark.parametrize("method", METHODS)
def test_float32_agrees_with_float64(method: str) -> None:
    M = separated(5)
    single = gradient(eigh(method), M.float())
    # Condition number 16 and gaps of a half: some hundred float32 roundings at most.
    assert relative(single, gradient(eigh(method), M.float().double())) < 100 * 1.2e-7


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_does_not_depend_on_its_neighbours(method: str) -> None:
    M = separated(5, (4,))
    together = gradient(eigh(method), M)
    apart = torch.stack([gradient(eigh(method), one) for one in M])
    assert relative(together, apart) < 1e-13


@pytest.mark.parametrize("method", METHODS)
def test_the_same_call_gives_the_same_bits(method: str) -> None:
    M = separated(6)
    assert torch.equal(gradient(eigh(method), M), gradient(eigh(method), M))


@pytest.mark.parametrize("method", METHODS)
def test_vmap_of_grad_is_the_loop(method: str) -> None:
    M = separated(4, (3,))
    loss = loss_of(eigh(method, **_few(method)), 4)
    mapped = torch.func.vmap(torch.func.grad(loss))(M)
    looped = torch.stack([gradient(eigh(method, **_few(method)), one) for one in M])
    assert relative(mapped, looped) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_compiles_whole(method: str) -> None:
    torch.compiler.reset()
    function = eigh(method, **_few(method))
    eager = loss_of(function, 4)
    compiled = torch.compile(eager, fullgraph=True, backend="aot_eager")
    M = separated(4).requires_grad_()
    loss = compiled(M)
    (found,) = torch.autograd.grad(loss, M)
    assert loss.item() == pytest.approx(eager(M).item(), rel=1e-12)
    assert relative(found, gradient(function, M.detach())) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_second_derivative_is_the_analytic_one(method: str) -> None:
    M = separated(3)
    hessian: Any = torch.autograd.functional.hessian
    found = hessian(loss_of(eigh(method), 3), M)
    truth = hessian(loss_of(torch.linalg.eigh, 3), M)
    assert relative(found, truth) < 1e-9


@pytest.mark.parametrize("method", ALL)
def test_uplo_is_accepted_and_ignored(method: str) -> None:
    M = separated(4)
    for uplo in ("L", "U", "l", "u"):
        assert torch.equal(
            eigbench.eigh(M, uplo, method=method)[0], eigbench.eigh(M, method=method)[0]
        )
    with pytest.raises(ValueError, match="UPLO must be 'L' or 'U', not 'X'"):
        eigbench.eigh(M, "X", method=method)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4), ()])
def test_what_is_not_square_is_refused(method: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"square matrices .*, not shape"):
        eigbench.eigh(torch.zeros(shape), method=method)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_other_dtypes_are_refused(method: str, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"{method} takes float32, float64, not"):
        eigbench.eigh(torch.eye(3, dtype=dtype), method=method)


def test_other_devices_are_refused() -> None:
    with pytest.raises(TypeError, match="hybrid runs on cpu, cuda, not meta"):
        eigbench.eigh(torch.eye(3, device="meta"))


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match="unknown method 'qr'; available are eigh, svd"):
        eigbench.eigh(torch.eye(3), method="qr")
    with pytest.raises(ValueError, match="'eigh' has no parameter 'iterations'; it takes: none"):
        eigbench.eigh(torch.eye(3), method="eigh", iterations=3)


@pytest.mark.parametrize("method", ITERATED)
@pytest.mark.parametrize("iterations", [0, -1, 1.5, True, "3"])
def test_iterations_are_whole_numbers_from_one(method: str, iterations: Any) -> None:
    with pytest.raises(ValueError, match="iterations must be a whole number, 1 or more"):
        eigbench.eigh(torch.eye(3), method=method, iterations=iterations)


@pytest.mark.parametrize("method", ALL)
def test_parameters_are_a_frozen_dataclass(method: str) -> None:
    one, other = get(method)(), get(method)()
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301
    assert one.truncation in RULES
    assert one.summary
    assert one.source
    for field in dataclasses.fields(one):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, field.name, 1)


def test_indefinite_matrices_have_the_right_gradient() -> None:
    """A drop-in for torch.linalg.eigh must not fail in silence where λ < 0."""
    M = symmetric(torch.tensor([-3.0, -1.0, 0.5, 2.0], dtype=torch.float64))
    truth = gradient(torch.linalg.eigh, M)
    for method in ("eigh", "svd", "hybrid"):
        assert relative(gradient(eigh(method), M), truth) < 1e-10, method


def _few(method: str) -> dict[str, Any]:
    """Parameters with which a compiler gets through the unrolled loops."""
    return {"iterations": 3} if method in ITERATED else {}


def test_the_default_is_the_papers_hybrid() -> None:
    M = separated(4)
    assert torch.equal(gradient(eigbench.eigh, M), gradient(eigh("hybrid", iterations=19), M))
