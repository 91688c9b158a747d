"""What a method says of itself: parameters, names, promises, and what it refuses."""

from __future__ import annotations

import dataclasses
import pickle
from typing import get_args

import torch

from eigbench.contract.check import check
from eigbench.contract.finding import Log
from eigbench.contract.subject import Subject
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
    own = "__dataclass_params__" in vars(type(method))
    with log.at("class"):
        log.holds("@dataclass(frozen=True)", condition=own, found=own, allowed=True)
        unmarked = [name for name in vars(type(method)).get("__annotations__", ())
                    if name not in vars(type(method))]  # fmt: skip
        log.equal("fields without a default", unmarked, [])
    with log.at("instance"):
        again = type(method)()
        log.equal("equal to another", method == again, wanted=True)
        log.equal("equal hashes", hash(method) == hash(again), wanted=True)
        restored = pickle.loads(pickle.dumps(method))  # noqa: S301  # our own bytes
        log.equal("equal after pickling", method == restored, wanted=True)
    for field in dataclasses.fields(method):
        with log.at(f"parameter {field.name}"):
            log.equal("can be set", _can_be_set(method, field.name), wanted=False)


def _can_be_set(method: object, name: str) -> bool:
    try:
        setattr(method, name, getattr(method, name))
    except dataclasses.FrozenInstanceError:
        return False
    return True


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
    for dtype in DTYPES:
        with log.at(str(dtype).removeprefix("torch.")):
            _compare(log, method.refusal(torch.eye(3, dtype=dtype)), taken=dtype in method.dtypes)
    with log.at("device meta"):
        taken = "meta" in method.device_types
        dtype = min(method.dtypes, key=str)
        _compare(log, method.refusal(torch.eye(3, device="meta", dtype=dtype)), taken=taken)


def _compare(log: Log, reason: str | None, *, taken: bool) -> None:
    if taken:
        log.equal("refusal", reason, None)
    else:
        refused = isinstance(reason, str) and bool(reason)
        log.holds("refusal", condition=refused, found=repr(reason), allowed="a reason")
