"""The verdict: sentences that the numbers produce."""

from __future__ import annotations

from collections.abc import Sequence

from eigbench.report.markdown import axis_value, percent, scientific
from eigbench.report.rows import (
    RIGHT,
    Floats,
    Row,
    by_case,
    comparable,
    differ,
    median,
    median_error,
    pooled,
    right_rate,
    seed_count,
    success_rate,
    values_of,
    where,
)


def verdict(rows: Sequence[Row], iterations: int) -> list[str]:
    """Which methods survive, which are right, and where each stops being either."""
    fair = comparable(rows, iterations)
    methods = values_of(fair, "method")
    if not methods:
        return []
    sentences = [_of_method(fair, method) for method in methods]
    sentences += _best(fair, methods)
    sentences += _gap_until_right(fair, methods)
    sentences += _wrong_direction(fair, methods)
    return sentences


def _of_method(rows: Sequence[Row], method: str) -> str:
    own = where(rows, method=method)
    middle = median_error(own)
    return (
        f"**{method}** is finite and inside the bound for {percent(success_rate(own))} of "
        f"{seed_count(own)} seeds and right, to {percent(RIGHT)}, for {percent(right_rate(own))}; "
        f"median error {scientific(middle)}."
    )


def _best(rows: Sequence[Row], methods: Sequence[str]) -> list[str]:
    """Most stable and most often right: the same or not."""
    if len(methods) < 2:
        return []
    own = {method: where(rows, method=method) for method in methods}
    success = {method: by_case(own[method], lambda row: row.success) for method in methods}
    right = {method: by_case(own[method], lambda row: row.error <= RIGHT) for method in methods}
    stable, correct = _leaders(success), _leaders(right)
    text = (
        f"Most often finite and bounded: {_named(stable, success)}. "
        f"Most often right: {_named(correct, right)}."
    )
    if not set(stable) & set(correct):
        text += " They are not the same: bounded is not the same as right."
    return [text]


def _leaders(shares: dict[str, Floats]) -> list[str]:
    """The method with the largest share by case, and those from which no difference is shown."""
    best = max(shares.values(), key=lambda share: share.mean())
    return [method for method, share in shares.items() if not differ(best, share)]


def _named(methods: Sequence[str], shares: dict[str, Floats]) -> str:
    words = [f"**{method}** ({percent(float(shares[method].mean()))})" for method in methods]
    return ", ".join(words) + ("; no difference shown" if len(words) > 1 else "")


def _gap_until_right(rows: Sequence[Row], methods: Sequence[str]) -> list[str]:
    """For whitening in each precision: down to which gap the median error stays within RIGHT."""
    sentences = []
    for dtype in values_of(rows, "dtype"):
        chosen = where(rows, loss="whitening", spectrum="gap", dtype=dtype, scale=1.0)
        gaps = values_of(chosen, "gap")
        if len(gaps) < 2:
            continue
        words = _grouped({m: _down_to(where(chosen, method=m), gaps) for m in methods})
        sentences.append(
            f"As one gap closes (whitening, {dtype}), the median error stays within "
            f"{percent(RIGHT)}: " + "; ".join(words) + "."
        )
    return sentences


def _grouped(answers: dict[str, str]) -> list[str]:
    """Methods with the same answer together, in the order of their first."""
    together: dict[str, list[str]] = {}
    for method, answer in answers.items():
        together.setdefault(answer, []).append(method)
    return [f"{', '.join(same)} {answer}" for answer, same in together.items()]


def _down_to(rows: Sequence[Row], gaps: Sequence[float]) -> str:
    kept: list[float] = []
    for gap in gaps:
        if not median_error(where(rows, gap=gap)) <= RIGHT:
            break
        kept.append(gap)
    if not kept:
        return f"not even at {axis_value(gaps[0])}, the widest measured"
    return f"down to {axis_value(kept[-1])}" + (", all measured" if len(kept) == len(gaps) else "")


def _wrong_direction(rows: Sequence[Row], methods: Sequence[str]) -> list[str]:
    """Methods whose gradient points the wrong way on the closing pair, and from which gap on."""
    sentences = []
    chosen = where(rows, loss="whitening", spectrum="gap", scale=1.0)
    # In float64 where it was measured: what is wrong there is the rule, not the rounding.
    chosen = where(chosen, dtype="float64") or chosen
    for method in methods:
        ratios = {
            gap: median(pooled(where(chosen, method=method, gap=gap), _closing_pair))
            for gap in values_of(chosen, "gap")
        }
        turned = [gap for gap, ratio in ratios.items() if ratio < -RIGHT]
        if turned:
            widest = max(turned)
            sentences.append(
                f"**{method}** points the wrong way on the closing pair from a gap of "
                f"{axis_value(widest)} on: there its component is {ratios[widest]:.2f} times the "
                f"exact one (whitening, {chosen[0].case.dtype}, median)."
            )
    return sentences


def _closing_pair(row: Row) -> object:
    return row.metric("closing_pair_ratio")
