"""A gradient that depends on its neighbours, its precision or the threads is seen to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from eigbench.errors import NotApplicable
from eigbench.kinds.invariance import InvarianceCase
from eigbench.measure.invariance import measure_invariance
from eigbench.methods import registry
from eigbench.methods.base import Eigenpairs, Method


def case(method: str, **changes: Any) -> InvarianceCase:
    settings: dict[str, Any] = {
        "method": method, "parameters": {}, "d": 8, "spectrum": "gap", "gap": 0.1,
        "dtype": "float64", "epsilon": 1e-4, "loss": "whitening", "seeds": 3, "seed": 0,
        "device": "cpu",
    }  # fmt: skip
    return InvarianceCase(**{**settings, **changes})


def changes(method: str, **axes: Any) -> dict[str, np.ndarray[Any, Any]]:
    samples = measure_invariance(case(method, **axes), {}).samples
    return {name: np.array(values) for name, values in samples.items()}


@dataclass(frozen=True)
class Sociable(Method):
    """Its gradient is scaled by the norm of the whole batch over that of its own matrix."""

    name: ClassVar[str] = "sociable"
    summary: ClassVar[str] = "for tests"
    source: ClassVar[str] = "here"

    def eigh(self, M: Tensor) -> Eigenpairs:
        own = torch.linalg.vector_norm(M, dim=(-2, -1), keepdim=True)
        share = (torch.linalg.vector_norm(M) / own).detach()
        values, V = torch.linalg.eigh(M.detach() + share * (M - M.detach()))
        return Eigenpairs(values, V)


@pytest.mark.parametrize("loss", ["whitening", "eigenvector"])
def test_what_does_not_change_is_seen_not_to(loss: str) -> None:
    found = changes("eigh", loss=loss)
    assert {len(values) for values in found.values()} == {3}
    assert found["neighbour_change"].max() < 1e-12
    assert found["repeat_change"].max() == 0
    assert found["thread_change"].max() < 1e-12
    # Float32's rounding, over gaps of a tenth and eigenvalues of a third.
    assert 1e-8 < found["precision_change"].min() <= found["precision_change"].max() < 1e-4


def test_a_gradient_that_depends_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._loaded, "sociable", Sociable)
    monkeypatch.setattr(registry, "_entries", lambda: {"sociable": None})
    # Beside the same matrix times 1000, the norm of the batch is 1000 times its own.
    assert changes("sociable")["neighbour_change"] == pytest.approx([999, 999, 999], rel=1e-2)


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    changes("spectral")
    assert torch.get_num_threads() == before


def test_where_there_is_no_gradient_the_change_is_nan() -> None:
    found = changes("eigh", spectrum="identity", gap=None)
    assert np.isnan(found["neighbour_change"]).all()


def test_a_function_that_a_method_does_not_have_is_skipped() -> None:
    with pytest.raises(NotApplicable, match="no other function"):
        measure_invariance(case("newton-schulz", loss="eigenvector"), {})
