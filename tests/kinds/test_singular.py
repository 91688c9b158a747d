"""Singular values measured: the truth against 40 digits, the skipped, report and command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mpmath
import pytest
import torch

from eigbench import axes
from eigbench.errors import NotApplicable
from eigbench.kinds.singular import SingularCase
from eigbench.measure.singular import (
    FUNCTIONS,
    SITUATIONS,
    THRESHOLD,
    derivative,
    matrices,
    measure_singular,
)
from eigbench.methods import available
from eigbench.report.chapters import singular as chapter
from eigbench.runs.store import read_run
from tests.cli.commandline import call
from tests.singular.making import literal, relative

D = 4


def case(method: str, function: str, situation: str, **changes: Any) -> SingularCase:
    usual: dict[str, Any] = {"d": D, "dtype": "float32", "seeds": 3, "seed": 0, "device": "cpu"}
    return SingularCase(
        method=method, parameters={}, function=function, situation=situation, **usual | changes
    )


def test_names_are_the_same_everywhere() -> None:
    assert tuple(FUNCTIONS) == axes.FUNCTIONS == tuple(chapter.FUNCTIONS)
    assert tuple(SITUATIONS) == axes.SITUATIONS == tuple(chapter.SITUATIONS)


def sign(slope: Any, x: Any) -> Any:
    return mpmath.mpf(0) if slope else mpmath.sign(x)


def turned(slope: Any, x: Any) -> Any:
    """The smallest of four, 0.1, counts as negative."""
    return sign(slope, x) * (-1 if abs(x) < 0.2 else 1)


def shrunk(slope: Any, x: Any) -> Any:
    larger = mpmath.mpf(abs(x) > THRESHOLD)
    return larger if slope else larger * (x - mpmath.sign(x) * THRESHOLD)


def root(slope: Any, x: Any) -> Any:
    power = abs(x) ** 0.5
    return 1 / (2 * power) if slope and x else mpmath.sign(x) * power


def larger_half(slope: Any, x: Any) -> Any:
    kept = mpmath.mpf(abs(x) > 0.55)
    return kept if slope else kept * x


@pytest.mark.parametrize(
    ("situation", "dtype", "literally"),
    [
        ("tied-pair", "float32", {"polar": sign, "shrink": shrunk, "square-root": root}),
        ("identity", "complex64", {"polar": sign, "shrink": shrunk, "square-root": root}),
        ("wide", "complex128", {"polar": sign, "low-rank": larger_half}),
        ("zero-columns", "float64", {"shrink": shrunk, "low-rank": larger_half}),
        ("reflection", "float64", {"rotation": turned}),
    ],
)
def test_the_truth_is_that_of_40_digits(situation: str, dtype: str, literally: Any) -> None:
    M, G = (X[0] for X in matrices(situation, D, dtype, range(2)))
    M, G = (X.to(torch.complex128 if X.is_complex() else torch.float64) for X in (M, G))
    for name, (_, truth) in zip(literally, literal(literally.values(), M, G), strict=True):
        assert relative(derivative(FUNCTIONS[name], M, G), truth) < 1e-7, name


@pytest.mark.parametrize("situation", SITUATIONS)
def test_matrices_are_what_they_are_called(situation: str) -> None:
    M, _ = matrices(situation, D, "float64", range(3))
    expected = SITUATIONS[situation](D)
    assert (torch.linalg.svdvals(M) - expected).abs().max() < 1e-14
    if M.shape[-1] == M.shape[-2] and expected[-1] > 1e-9:
        assert (M.det().sign() == (-1 if situation == "reflection" else 1)).all()


def test_errors_are_seen_and_what_is_not_finite_is_a_row() -> None:
    for method, worst in (("spectral", 1e-5), ("clip", 1e-5)):
        assert (
            max(measure_singular(case(method, "polar", "tied-pair")).samples["gradient_error"])
            < worst
        )
    assert (
        min(measure_singular(case("hybrid", "polar", "all-tied")).samples["gradient_error"]) > 0.1
    )
    lost = measure_singular(case("svd", "polar", "identity")).samples
    assert lost["gradient_finite"] == [0.0] * 3
    assert max(lost["function_error"]) < 1e-6


@pytest.mark.parametrize(
    ("method", "function", "situation", "changes", "reason"),
    [
        ("svd", "rotation", "tall", {}, "real square"),
        ("svd", "rotation", "separated", {"dtype": "complex64"}, "real square"),
        ("svd", "polar", "zero-columns", {}, "no derivative there"),
        ("svd", "low-rank", "identity", {}, "no derivative there"),
        ("svd", "polar", "separated", {"d": 1}, "d = 2 or more"),
        ("svd", "polar", "separated", {"dtype": "bfloat16"}, "no half precision"),
        ("pi", "polar", "separated", {}, "pi is no table"),
        ("topn", "polar", "separated", {}, "topn is no table"),
    ],
)
def test_what_is_skipped(
    method: str, function: str, situation: str, changes: Any, reason: str
) -> None:
    with pytest.raises(NotApplicable, match=reason):
        measure_singular(case(method, function, situation, **changes))


def test_the_command_and_its_report(cwd: Path) -> None:
    chosen = ["--method", "all", "--situation", "wide", "identity", "zero-columns", "--seeds", "2"]
    done = call("singular", *chosen, "--dtype", "float32", "--out", "run", "--no-progress")
    assert done.code == 0, done
    by_status: dict[str, set[str]] = {"measured": set(), "skipped": set()}
    for record in read_run(cwd / "run").records:
        assert isinstance(record.case, SingularCase)
        by_status[record.status].add(record.case.method)
    assert {"svd", "spectral", "eigh", "hybrid", "trunc"} <= by_status["measured"]
    assert {*by_status["measured"], *by_status["skipped"]} == {*available()}
    text = (cwd / "run" / "report.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]]
            for line in text.splitlines() if line.startswith("|")]  # fmt: skip
    head = next(row for row in rows if row[0] == "situation (gradients)")
    found = {row[0]: dict(zip(head, row, strict=True)) for row in rows if len(row) == len(head)}
    assert found["identity (8)"]["`torch.linalg.svd`"] == "0 % (polar, NaN 100 %)"
    assert found["identity (8)"]["exact (`spectral`)"] == "100 %"
    assert found["wide (8)"]["`torch.linalg.svd`"] == "100 %"
    assert found["zero-columns (4)"]["`trunc`"] == "100 %"
    polar = next(row for row in rows if row[0].startswith("polar: "))
    assert "`spectral`" in polar[2]
    assert "`svd`" not in polar[2]
    assert polar[3:] == ["0 % (identity, NaN 100 %)", "4"]
    assert "exact (spectral): within 1 % on every matrix" in done.out + done.err
