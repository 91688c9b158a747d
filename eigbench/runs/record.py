"""A record: one case, how it went, and the raw values, one a seed. One line of JSON each.

A file of records may come from anybody: a line that is no whole record is refused by its number.
"""

from __future__ import annotations

import codecs
import gzip
import json
import math
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from eigbench.errors import InputError
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
        values = self.samples.get(metric, [])
        return [one if type(one) is float else _to_float(one) for one in values]  # a call less


def number(value: float) -> Number:
    """A float as it is written in a record, to `DIGITS`."""
    if value % 1 == 0 and abs(value) < 10**DIGITS:
        return float(value)  # a flag or a count, as half of all values are
    if math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


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


@dataclass(frozen=True)
class Recorded:
    """What a file of records holds."""

    lines: dict[int, Record]
    """The records by the number of their line, from 1 on; each case once."""
    length: int
    """Of the whole lines, in bytes: what follows is a torn last line."""
    notes: tuple[str, ...]
    """What is left out, and why."""


LARGEST = 1 << 30
"""Bytes that compressed records may unpack to, so that no file of strangers fills the memory."""


def content_of(path: Path) -> bytes:
    """What a file of records holds, unpacked if its name ends in .gz; nothing if it is not there.

    `InputError` if it is damaged.
    """
    if not path.exists():
        return b""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if len(content) > LARGEST:
        raise InputError(f"{path} unpacks to more than {LARGEST >> 30} GiB, which is no run")
    return content


def read(path: Path) -> Recorded:
    """The records of a file; `InputError` with the number of the line for what is none.

    Left out are what follows the last line break, if it may be a record whose writing was cut off,
    and a line that repeats another one. One that contradicts another one is refused.
    """
    content = content_of(path)
    *lines, torn = content.split(b"\n")
    first: dict[str, int] = {}
    found: dict[int, Record] = {}
    notes = []
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        record = _whole(place, line)
        earlier = first.setdefault(record.id, number)
        if earlier == number:
            found[number] = record
        elif found[earlier] == record:
            notes.append(f"{path.name}, line {number} repeats line {earlier}; one of them counts")
        else:
            raise InputError(
                f"{place} contradicts line {earlier}, a record of the same case; remove one"
            )
    if torn and not _is_torn(torn):
        raise InputError(
            f"{path}, line {len(lines) + 1}: neither a record nor the start of one; remove it"
        )
    return Recorded(found, len(content) - len(torn), tuple(notes))


def _whole(place: str, line: bytes) -> Record:
    try:
        record = decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{place}: not a record ({error})") from error
    if record.schema != SCHEMA:
        raise InputError(f"{place}: schema {record.schema}; this eigbench reads {SCHEMA}")
    if record.id != record.case.id:
        raise InputError(f"{place}: the case is not the one of its id")
    defect = _defect(record)
    if defect:
        raise InputError(f"{place}: not a whole record ({defect})")
    return record


_HEAD = f'{{"schema":{SCHEMA},"id":"0123456789abcdef","case":{{"kind":"'
_LONGEST_STRING, _LONGEST_LITERAL = 4096, 5
"""Characters that the last token of a torn line may have: of strings, a reason is the longest."""


def _is_torn(line: bytes) -> bool:
    """Whether the line is the start of a record: JSON that breaks nowhere but at its end."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(line)
        json.loads(text)  # and no error: the line break alone is missing
    except json.JSONDecodeError as error:
        left = len(text) - error.pos
        is_string = error.msg.startswith(("Unterminated string", "Invalid"))
        if error.msg == "Extra data" or left > (_LONGEST_STRING if is_string else _LONGEST_LITERAL):
            return False
    except (UnicodeDecodeError, RecursionError):
        return False
    digits = slice(_HEAD.index("0"), _HEAD.index("f") + 1)
    has_id = re.fullmatch("[0-9a-f]*", text[digits]) is not None
    head = text[: digits.start] + _HEAD[digits][: len(text[digits])] + text[digits.stop :]
    return has_id and head[: len(_HEAD)] == _HEAD[: len(head)]


def _defect(record: Record) -> str:
    """What a record lacks to be whole; "" if nothing."""
    if record.session < 0:
        return f"session {record.session}"
    lengths = {name: len(values) for name, values in record.samples.items()}
    lengths |= {f":{name}": len(words) for name, words in record.labels.items()}
    if record.status != "measured":
        return f"it {record.status}, and has values" if lengths else ""
    words = (isinstance(value, str) for values in record.samples.values() for value in values)
    if record.case.always_finite and any(words):
        return f"a value of a {record.case.kind} that is not finite"
    for names, allowed in record.case.counts(lengths):
        for name in names:
            if name not in lengths:
                return f"there is no {name.removeprefix(':')}"
            if lengths[name] not in allowed:
                wanted = " or ".join(map(str, sorted(allowed)))
                return f"{lengths[name]} values of {name.removeprefix(':')}, not {wanted}"
    return ""
