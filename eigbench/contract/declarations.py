"""What a method says of itself and what it leaves alone: its inputs, and the process."""

from __future__ import annotations

import pickle
import random
from typing import Any, get_args

import numpy as np
import torch

from eigbench.contract.check import Log, check
from eigbench.contract.subject import Subject, gradient, losses, separated
from eigbench.methods.base import Promise
from eigbench.truncation import RULES

DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.int64, torch.complex64),
)


@check("parameters", "a frozen dataclass: equal, hashable and picklable by its parameters")
def parameters(subject: Subject, log: Log) -> None:
    """So that a suite can sweep them and a worker receive them."""
    method = subject.method
    with log.at("class"):
        own = vars(type(method)).get("__dataclass_params__")
        log.equal("@dataclass(frozen=True)", own is not None and own.frozen, wanted=True)
        unmarked = [name for name in vars(type(method)).get("__annotations__", ())
                    if name not in vars(type(method))]  # fmt: skip
        log.equal("fields without a default", unmarked, [])
    with log.at("instance"):
        again = type(method)()
        log.equal("equal to another", method == again, wanted=True)
        log.equal("equal hashes", hash(method) == hash(again), wanted=True)
        restored = pickle.loads(pickle.dumps(method))  # noqa: S301  # our own bytes
        log.equal("equal after pickling", method == restored, wanted=True)


@check("names", "name, summary and source are there; truncation and promises are known ones")
def names(subject: Subject, log: Log) -> None:
    """What tables and layers read."""
    method = subject.method
    with log.at("class"):
        log.equal("name", method.name, subject.name)
        for attribute in ("summary", "source"):
            text = getattr(method, attribute, None)
            given = isinstance(text, str) and bool(text.strip())
            log.holds(attribute, condition=given, found=repr(text), allowed="a text")
        log.holds("truncation", condition=method.truncation in RULES,
                  found=method.truncation, allowed=", ".join(RULES))  # fmt: skip
        unknown = sorted(set(method.promises) - set(get_args(Promise)))
        log.equal("unknown promises", unknown, [])


@check("refusals", "dtypes and devices that are not declared are refused, with a reason")
def refusals(subject: Subject, log: Log) -> None:
    """`refusal` answers before anything is computed."""
    method = subject.method
    taken = min(method.dtypes, key=str)
    for dtype, device in [*((dtype, "cpu") for dtype in DTYPES), (taken, "meta")]:
        with log.at(f"{str(dtype).removeprefix('torch.')}, device {device}"):
            reason = method.refusal(torch.eye(3, dtype=dtype, device=device))
            if dtype in method.dtypes and device in method.device_types:
                log.equal("refusal", reason, None)
            else:
                refused = isinstance(reason, str) and bool(reason)
                log.holds("refusal", condition=refused, found=repr(reason), allowed="a reason")


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
