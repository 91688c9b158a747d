"""torch's own tests of `linalg.eigh` and `linalg.svd`, run on eigbench's: a table of the docs.

Samples, losses and comparisons are those with which torch tests itself (OpInfo, in
`torch.testing._internal`). A method has the parameters with which it has converged.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck

import eigbench
from eigbench.errors import InputError
from eigbench.report.render import table
from tests.methods.declared import DECOMPOSING, WITH_PAIRS, converged, few

Operator = Callable[[Tensor], Any]

REFUSALS = (NotImplementedError, TypeError, InputError)


def _samples(name: str, dtype: torch.dtype) -> list[Any]:
    """What torch tests a function of this name with: `input`, and a loss of its outputs."""
    # Late: it takes three seconds.
    from torch.testing._internal.opinfo.definitions.linalg import op_db

    # The import forbids everybody after it in this process to set flags such as cuDNN's.
    flags: Any = torch.backends.flags_frozen
    flags.__globals__["__allow_nonbracketed_mutation_flag"] = True

    info: Any
    (info,) = (one for one in op_db if one.name == name)
    torch.manual_seed(0)
    random.seed(0)
    samples = info.sample_inputs("cpu", dtype, requires_grad=True)
    return [one for one in samples if not one.kwargs.get("full_matrices")]


def _eigh(method: str, parameters: dict[str, Any]) -> Operator:
    """Of Hermitian matrices, as torch makes them of its samples."""
    return lambda X: eigbench.eigh(X + X.mH, method=method, **parameters)


def _svd(method: str, parameters: dict[str, Any]) -> Operator:
    return lambda X: eigbench.svd(X, method=method, **parameters)


def _alike(found: Any, exact: Any) -> None:
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one.abs(), other.abs())  # vectors but for their signs


def _values(function: Operator, exact: Operator, samples: list[Any]) -> None:
    for sample in samples:
        _alike(function(sample.input), exact(sample.input))


def _checked(check: Callable[..., bool], function: Operator, samples: list[Any]) -> None:
    for sample in samples:
        loss = sample.output_process_fn_grad
        check(lambda X, loss=loss: loss(function(X)), (sample.input,), fast_mode=True)


def _vmap(function: Operator, M: Tensor) -> None:
    _alike(torch.func.vmap(function)(M), function(M))


def _compile(function: Operator, M: Tensor) -> None:
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="eager")
    _alike(compiled(M), function(M))


class _Module(torch.nn.Module):
    def __init__(self, function: Operator) -> None:
        super().__init__()
        self.function = function

    def forward(self, M: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.function(M))


def _export(function: Operator, M: Tensor) -> None:
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(_Module(function), (M,), dynamic_shapes=({0: batch},))
    other = torch.cat((M, 2 * M))
    _alike(exported.module()(other), function(other))


def _shapes(function: Operator, M: Tensor, mode: Any = None) -> None:
    with mode or nullcontext():
        found = function(mode.from_tensor(M) if mode else M.to("meta"))
    assert [one.shape for one in found] == [one.shape for one in function(M)]


def _fake(function: Operator, M: Tensor) -> None:
    _shapes(function, M, FakeTensorMode())


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except REFUSALS:
        return "refused by"
    except Exception:  # noqa: BLE001  # any other failure is a result
        return "failed by"
    return "passed by"


def _checks(name: str, make: Callable[..., Operator], exact: Operator) -> dict[str, Any]:
    """By row of the table, what is to be done with a method."""
    single, double = (_samples(name, dtype) for dtype in (torch.float32, torch.float64))
    halves, twice = (_samples(name, dtype) for dtype in (torch.complex64, torch.complex128))
    # Of torch's samples for svd each shape once and each loss once: all would take minutes.
    filled, complexes = (
        [one for one in some if one.input.numel() and one.input.dim() == 2][::5]
        for some in (double, twice)
    )
    M = torch.diag(torch.arange(1.0, 5)).expand(3, 4, 4) + torch.ones(4, 4)
    whole: dict[str, Callable[[Operator], None]] = {
        "values of torch's samples, float32": lambda f: _values(f, exact, single),
        "values, float64": lambda f: _values(f, exact, double),
        "values, complex64": lambda f: _values(f, exact, halves),
        "values, complex128": lambda f: _values(f, exact, twice),
        "`gradcheck` of its losses": lambda f: _checked(gradcheck, f, filled),
        "`gradcheck`, complex128": lambda f: _checked(gradcheck, f, complexes[-1:]),
        "`gradgradcheck`": lambda f: _checked(gradgradcheck, f, filled[-1:]),
        "`gradgradcheck`, complex128": lambda f: _checked(gradgradcheck, f, complexes[-1:]),
    }
    short: dict[str, Callable[[Operator], None]] = {
        "`torch.func.vmap`": lambda f: _vmap(f, M),
        "`torch.compile(fullgraph=True)`": lambda f: _compile(f, M),
        "`torch.export` of any batch": lambda f: _export(f, M),
        "shapes of fake tensors": lambda f: _fake(f, M),
        "tensors on `meta`": lambda f: _shapes(f, M),
    }

    def called(check: Callable[[Operator], None], parameters: Any) -> Callable[[str], None]:
        return lambda method: check(make(method, parameters(method)))

    return {
        **{row: called(check, converged) for row, check in whole.items()},
        **{row: called(check, few) for row, check in short.items()},
    }


def _cell(check: Callable[[str], None], methods: tuple[str, ...]) -> str:
    outcomes = {method: _outcome(partial(check, method)) for method in methods}
    parts = []
    for outcome in ("refused by", "failed by", "passed by"):
        those = [f"`{method}`" for method in methods if outcomes[method] == outcome]
        if len(those) == len(methods):
            return f"{outcome} all"
        if those:
            names = "the others" if outcome == "passed by" else ", ".join(those)
            parts.append(f"{outcome} {names}")
    return "; ".join(parts)


def torch_tests() -> str:
    """The table: each test of torch, and which methods pass it."""
    tables = tuple(name for name in WITH_PAIRS if _has_triples(name))
    eigh = _checks("linalg.eigh", _eigh, lambda X: torch.linalg.eigh(X + X.mH))
    svd = _checks("linalg.svd", _svd, lambda X: torch.linalg.svd(X, full_matrices=False))
    rows = [[row, _cell(eigh[row], DECOMPOSING), _cell(svd[row], tables)] for row in eigh]
    return table(["torch's test", "`eigbench.eigh`", "`eigbench.svd`"], rows)


def _has_triples(name: str) -> bool:
    try:
        eigbench.svd(torch.eye(2), method=name)
    except InputError:
        return False
    return True
