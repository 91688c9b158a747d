"""A record survives being written, NaN and infinities included."""

from __future__ import annotations

import json
import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigbench.kinds import Case
from eigbench.kinds.series import SeriesCase
from eigbench.runs.record import SCHEMA, Record, decode, encode, number
from eigbench.runs.suite import cases
from tests.runs import making

CASE = SeriesCase(ratio=0.5, threshold=0.05, dtype="float32")


def _record(values: list[float], case: Case = CASE) -> Record:
    samples = {"metric": [number(value) for value in values]}
    return Record(schema=SCHEMA, id=case.id, case=case, status="measured", samples=samples)


def _bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("d", value)


@given(st.lists(st.floats()))
def test_every_float_survives_to_nine_digits(values: list[float]) -> None:
    record = _record(values)
    line = encode(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    again = decode(line)
    rounded = [float(f"{value:.9g}") for value in values]
    assert [_bits(value) for value in again.values("metric")] == [_bits(value) for value in rounded]
    assert again == record
    assert encode(again) == line


@given(st.text(), st.text())
def test_every_text_stays_on_its_line(reason: str, word: str) -> None:
    record = Record(
        schema=SCHEMA, id="x", case=CASE, status="failed", reason=reason, labels={"m": [word]}
    )
    line = encode(record)
    assert line.count(b"\n") == 1
    assert decode(line) == record


def test_what_json_lacks_is_written_as_words() -> None:
    line = encode(_record([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308]))
    strict = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert strict["samples"]["metric"] == ["nan", "inf", "-inf", -0.0, 5e-324, 1e308]
    assert strict["schema"] == 1


def test_a_metric_that_is_not_there_has_no_values() -> None:
    assert _record([1.0]).values("other") == []


def test_the_case_comes_back_as_its_own_kind() -> None:
    for case in [CASE, *cases(making.suite())]:
        again = decode(encode(_record([1.0], case)))
        assert again.case == case
        assert type(again.case) is type(case)
        assert again.case.id == again.id


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"schema":1}',
        encode(_record([1.0])).replace(b"1.0", b'"many"'),
        encode(_record([1.0])).replace(b'"session"', b'"sitting"'),
        encode(_record([1.0])).replace(b"measured", b"done"),
        encode(_record([1.0])).rstrip()[:-1],
    ],
)
def test_what_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(line)
