"""Profiles that take milliseconds."""

from __future__ import annotations

from typing import Any

import msgspec

from eigbench.kinds.profile import ProfileCase

BASE = ProfileCase(
    subject="operation",
    method="hybrid",
    parameters={"iterations": 19},
    layer=None,
    d=4,
    energy=None,
    batch=2,
    dtype="float32",
    compiled=False,
    inputs="fresh",
    rounds=5,
    seconds=5.0,
    trace=False,
    seed=0,
    device="cpu",
)


def case(**changes: Any) -> ProfileCase:
    """The hybrid on two 4×4 matrices, but for the changes."""
    if changes.get("method", "hybrid") not in ("pi", "hybrid", "hybrid-loop"):
        changes = {"parameters": {}} | changes
    if changes.get("layer") == "pca":
        changes = {"d": None, "energy": 0.9} | changes
    return msgspec.structs.replace(BASE, **changes)


def contest_of(**changes: Any) -> list[ProfileCase]:
    """The case beside the references of its subject."""
    from eigbench.kinds.profile import REFERENCES

    one = case(**changes)
    references = [case(**{**changes, "method": name, "compiled": False, "trace": False})
                  for name in REFERENCES[one.subject]]  # fmt: skip
    return [*references, one]
