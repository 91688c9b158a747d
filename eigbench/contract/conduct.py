"""What a method leaves alone: its inputs, and everything that is the process's."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from eigbench.contract.check import check
from eigbench.contract.finding import Log
from eigbench.contract.matrices import separated
from eigbench.contract.subject import Subject, gradient, losses


@check("inputs untouched", "neither M nor the gradients that come in are changed in place")
def inputs(subject: Subject, log: Log) -> None:
    """Forward and backward."""
    subject.require_dtype(torch.float64)
    M = separated(5, (2,)).requires_grad_()
    before = M.detach().clone()
    with log.at("forward and backward"):
        outputs = _outputs(subject, M)
        cotangents = [torch.ones_like(output) for output in outputs]
        kept = [output.detach().clone() for output in outputs]
        torch.autograd.grad(outputs, M, cotangents)
        log.equal("M unchanged", torch.equal(M, before), wanted=True)
        ones = all(bool((cotangent == 1).all()) for cotangent in cotangents)
        log.equal("incoming gradients unchanged", ones, wanted=True)
        same = all(torch.equal(a, b) for a, b in zip(outputs, kept, strict=True))
        log.equal("outputs unchanged by the backward pass", same, wanted=True)


def _outputs(subject: Subject, M: torch.Tensor) -> list[torch.Tensor]:
    if subject.has_pairs:
        return list(subject.method.eigh(M))
    if subject.whitens:
        return [subject.method.whitening(M)]
    return [subject.method.matrix_function(M, f) for f in subject.functions.values()]


@check("global state", "random generators, defaults, modes and threads stay as they were")
def state(subject: Subject, log: Log) -> None:
    """Of a forward and a backward pass; on a CPU it does not start CUDA either."""
    M = separated(4)
    for name, loss in losses(subject, subject.method, 4, M.dtype).items():
        with log.at(name):
            before = _state()
            gradient(loss, M)
            changed = [what for what, value in _state().items() if value != before[what]]
            log.equal("changed", changed, [])


def _state() -> dict[str, Any]:
    return {
        "torch's generator": bytes(torch.get_rng_state().numpy()),
        "NumPy's generator": repr(np.random.get_state()),  # noqa: NPY002  # the global one
        "Python's generator": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "NumPy's errors": repr(np.geterr()),
        "CUDA": torch.cuda.is_initialized(),  # type: ignore[no-untyped-call]
    }
