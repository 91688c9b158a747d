"""The kinds of cases: one file each, and all of them by name. Importing them imports no torch."""

from __future__ import annotations

from typing import Any

import msgspec

from eigbench.errors import InputError
from eigbench.kinds.base import CaseBase, Kind
from eigbench.kinds.invariance import INVARIANCE
from eigbench.kinds.path import PATH
from eigbench.kinds.profile import PROFILE
from eigbench.kinds.series import SERIES
from eigbench.kinds.singular import SINGULAR
from eigbench.kinds.stability import STABILITY
from eigbench.kinds.train import TRAIN

Case = CaseBase
"""A case of any kind."""

KINDS = {
    kind.name: kind for kind in (STABILITY, INVARIANCE, PATH, SERIES, SINGULAR, TRAIN, PROFILE)
}


def register(kind: Kind) -> None:
    """Add a kind: suites, records, reports and comparisons know it from now on.

    `InputError` if another kind has its name.
    """
    if KINDS.setdefault(kind.name, kind) != kind:
        raise InputError(f"there is a kind {kind.name!r} already")


def case_of(content: Any) -> Case:
    """The case that a record holds as plain values; `msgspec.ValidationError` if it is none."""
    name = content.get("kind") if isinstance(content, dict) else None
    if name not in KINDS:
        raise msgspec.ValidationError(f"a case of kind {name!r}; known: {', '.join(KINDS)}")
    return msgspec.convert(content, KINDS[name].case)
