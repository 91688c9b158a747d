"""A record: one case, how it went, and the raw values, one a seed. One line of JSON each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eigbench.kinds import case_of
from eigbench.kinds.base import DIGITS

if TYPE_CHECKING:
    from eigbench.kinds import Case
else:
    Case = Any  # of any kind, also of one that is registered later: `decode` makes it a case

SCHEMA = 1

# JSON has no infinities and no NaN, and these are results here: they are written as words.
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
Number = float | Literal["nan", "inf", "-inf"]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured of one case. Summaries are computed when it is read, never stored."""

    schema: int
    id: str
    case: Case
    status: Literal["measured", "failed", "skipped"]
    reason: str | None = None
    """Why it failed or was skipped."""
    samples: dict[str, list[Number]] = {}
    """Raw values by metric, one a seed; a flag is 1 or 0."""
    labels: dict[str, list[str]] = {}
    """Raw words by metric, one a seed."""
    elapsed_seconds: float = 0.0
    session: int = 0
    """Which of the environment's sessions measured it."""

    def values(self, metric: str) -> list[float]:
        """The raw values of a metric as floats, NaN and infinities included; empty if absent."""
        return [_to_float(value) for value in self.samples.get(metric, [])]


def number(value: float) -> Number:
    """A float as it is written in a record, to `DIGITS`."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(f"{value:.{DIGITS}g}")


def _to_float(value: Number) -> float:
    return _WORDS[value] if isinstance(value, str) else float(value)


_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line of JSON, with its line break."""
    return msgspec.json.encode(record) + b"\n"


def decode(line: bytes) -> Record:
    """The record on one line; `msgspec.MsgspecError` if it is not one."""
    record = _decoder.decode(line)
    return msgspec.structs.replace(record, case=case_of(record.case))
