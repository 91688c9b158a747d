"""A device that is not there, on which code that makes the host wait for it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from eigbench.methods.base import Method

# A device type that torch knows and no build runs: tensors on it have shapes, no values. Unlike
# "cuda", autograd goes backward on it without a driver.
DEVICE = "lazy:0"

_OWN_CHECKS = {"linalg.cholesky"}
"""Decompositions whose check that they succeeded is an operation apart."""


class Waits(AssertionError):
    """The host would wait for the device here."""


class _Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails at operations with tensors both of the host and of the device, and at torch's checks.

    The former are the copies between them, but for one that the host need not wait for: to the
    device, and asked for as such. Operations that give the host a value, or a shape that depends
    on values, `FakeTensorMode` refuses itself, but not the checks of `torch.linalg` that a system
    was not singular: those give nothing.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._linalg_check_errors.default and args[1] not in _OWN_CHECKS:
            raise Waits(args[1])
        output = func(*args, **kwargs)
        found = [x for x in tree_leaves((args, kwargs, output)) if isinstance(x, Tensor)]
        sent = kwargs.get("non_blocking") and output.device.type != "cpu"
        if len({x.device.type for x in found}) > 1 and not sent:
            raise Waits(str(func))
        return output


@contextmanager
def no_waiting(device: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New tensors are on the `device`, which methods take as they take CUDA."""
    kind = torch.device(device).type
    monkeypatch.setattr(Method, "device_types", frozenset({kind}))
    if kind != "cuda":
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    # Pinned memory takes a driver.
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    with FakeTensorMode(), torch.device(device), _Copies():  # type: ignore[no-untyped-call]
        yield
