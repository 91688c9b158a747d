"""Placeholder until the chapter on cost is merged."""

from __future__ import annotations

import polars as pl

from eigbench.report.frame import Frames
from eigbench.report.render import Part
from eigbench.report.stats import median


def part(_frames: Frames) -> Part | None:
    """Nothing yet."""
    return None


def function_times(frames: Frames) -> pl.DataFrame:
    """A row a method, d and batch: time over the reference."""
    rows = []
    frame = frames.profiles
    if frame.is_empty():
        return pl.DataFrame(
            schema={
                "method": pl.String,
                "d": pl.Int64,
                "batch": pl.Int64,
                "ratio": pl.Float64,
                "low": pl.Float64,
                "high": pl.Float64,
            }
        )
    subject = "whitening" if "whitening" in set(frame["subject"]) else "operation"
    for (method, d, batch), own in frame.filter(
        (pl.col("subject") == subject) & ~pl.col("compiled")
    ).group_by("method", "d", "batch", maintain_order=True):
        if "reference_forward_seconds" not in own.columns:
            continue
        one = (
            median(
                (
                    (own["forward_seconds"] + own["backward_seconds"])
                    / (own["reference_forward_seconds"] + own["reference_backward_seconds"])
                ).to_list()
            )
            if own["reference_forward_seconds"].null_count() == 0
            else None
        )
        if one:
            rows.append(
                dict(  # noqa: C408
                    method=method,
                    d=d,
                    batch=batch,
                    ratio=one.value,
                    low=one.low,
                    high=one.high,
                    noisy=one.noisy,
                    subject=subject,
                )
            )
    return pl.DataFrame(rows)
