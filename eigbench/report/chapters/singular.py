"""Functions of rectangular matrices: whose gradient is right in which situation of the σ."""

from __future__ import annotations

from typing import Any

import polars as pl

from eigbench.kinds.singular import SingularCase
from eigbench.report.chapters.accuracy import heat_maps, share_table
from eigbench.report.frame import RIGHT, Frames, metric, values_of
from eigbench.report.numbers import NOTHING, percent
from eigbench.report.render import Chapter, Part, details, render, table

FUNCTIONS = {
    "polar": ("U Wᴴ, the nearest orthonormal matrix", "eigbench.polar(M)"),
    "rotation": ("the nearest rotation: Kabsch, Procrustes", "eigbench.polar(M, determinant=1)"),
    "shrink": ("U max(Σ − τ, 0) Wᴴ: the nuclear norm", "eigbench.svd_function(M, Smooth(f, df))"),
    "square-root": ("U √Σ Wᴴ", 'eigbench.svd_function(M, "square-root")'),
    "low-rank": (
        "the nearest matrix of half the rank",
        "eigbench.svd_function(M, Truncated(Identity(), kept))",
    ),
}
SITUATIONS = {
    "separated": "square, σ evenly from 1 to 0.1",
    "tall": "the same σ, 2d × d",
    "wide": "the same σ, d × 2d",
    "reflection": "the same σ, det M < 0",
    "ill-conditioned": "square, σ from 1 to 1e-5, evenly in the logarithm",
    "tied-pair": "square, the two largest σ are equal, but for the rounding of M",
    "all-tied": "square and orthonormal: all σ are 1, but for the rounding of M",
    "identity": "M = I",
    "one-zero": "square, one σ is 0, but for the rounding of M",
    "rank-deficient": "square, half of the σ are 0, but for the rounding of M",
    "zero-columns": "2d × d, half of the columns are exactly 0",
}
EXACT, TORCH = "spectral", "svd"
TITLES = {EXACT: "exact (`spectral`)", TORCH: "`torch.linalg.svd`"}


def part(frames: Frames) -> Part | None:
    """The part of a report that is about singular values; None if nothing of it was measured."""
    frame = frames.tidy(SingularCase, "measured", "failed")
    if frame.is_empty():
        return None
    judged = _judged(frames.contested(frame))
    dtypes = values_of(judged, "dtype")
    dtype = "float32" if "float32" in dtypes else dtypes[0]
    main = judged.filter(pl.col("dtype") == dtype)
    sentences = _sentences(main)
    alt = f"Share within 1 % by method and situation, a panel a function, {dtype}"
    head = render(
        "singular",
        picture=heat_maps(frames, main, "function", "singular-right", alt, width=4.8),
        table=_worst_table(main),
        uses=_uses(main),
        dtype=dtype,
        d=", ".join(map(str, values_of(frame, "d"))),
        sentences=sentences,
        right=RIGHT,
    )
    present = [name for name in SITUATIONS if name in values_of(frame, "situation")]
    parts = [
        details(
            f"{name}: {FUNCTIONS[name][0]}", share_table(main.filter(pl.col("function") == name))
        )
        for name in values_of(main, "function")
    ]
    others = [
        f"**{other}**\n\n{_worst_table(judged.filter(pl.col('dtype') == other))}"
        for other in dtypes
        if other != dtype
    ]
    chapters = [
        Chapter("The situations", table(["situation", "what it is"],
                                        [[name, SITUATIONS[name]] for name in present])),
        Chapter("Every function", render("singular-every", parts=parts)),
        Chapter("Other precisions", "\n\n".join(others)) if others else None,
    ]  # fmt: skip
    return Part(
        title="Functions of singular values",
        head=head,
        chapters=[chapter for chapter in chapters if chapter is not None],
        sentences=sentences,
    )


def _judged(frame: pl.DataFrame) -> pl.DataFrame:
    """A row a function, precision, situation and contestant, in order: see `judgement.judged`.

    `gradients` are those of all functions in the situation.
    """
    cosine = metric(frame, "gradient_cosine").fill_nan(None).filter(pl.col("finite"))
    return (
        frame.group_by("function", "dtype", "situation", "contestant", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("right", "finite").mean(),
            pl.col("error").median(),
            cosine.median().alias("cosine"),
            pl.lit(None).alias("lost_d"),
        )
        .sort(pl.col("situation").cast(pl.Enum([*SITUATIONS])), maintain_order=True)
        .with_columns(gradients=pl.col("n").sum().over("dtype", "situation", "contestant"))
    )


def _worst(judged: pl.DataFrame, *by: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By these columns the row with the least share within 1 %, of several the least finite."""
    rows = judged.sort("right", "finite", maintain_order=True).group_by(by, maintain_order=True)
    return {tuple(row[key] for key in by): row for row in rows.first().to_dicts()}


def _share(row: dict[str, Any], where: str) -> str:
    """The share within 1 %; where it is not all, of what, and what is not finite."""
    if row["right"] == 1:
        return "100 %"
    lost = "" if row["finite"] == 1 else f", NaN {percent(1 - row['finite'])}"
    return f"{percent(row['right'])} ({row[where]}{lost})"


def _worst_table(judged: pl.DataFrame) -> str:
    """Situations down, contestants across: the function of which the fewest are right."""
    worst = _worst(judged, "situation", "contestant")
    several = values_of(judged, "contestant")
    body = []
    for name in values_of(judged, "situation"):
        rows = [worst.get((name, one)) for one in several]
        count = max(row["gradients"] for row in rows if row is not None)
        cells = (NOTHING if row is None else _share(row, "function") for row in rows)
        body.append([f"{name} ({count})", *cells])
    heads = [TITLES.get(one, f"`{one}`") for one in several]
    return table(["situation (gradients)", *heads], body)


def _uses(judged: pl.DataFrame) -> str:
    """By function: what to call, who is right on every matrix, and the worst of torch."""
    worst = _worst(judged, "function", "contestant")
    body = []
    for name in values_of(judged, "function"):
        rows = {one: row for (function, one), row in worst.items() if function == name}
        right = [f"`{one}`" for one in values_of(judged, "contestant")
                 if one in rows and rows[one]["right"] == 1]  # fmt: skip
        says, call = FUNCTIONS[name]
        torchs = _share(rows[TORCH], "situation") if TORCH in rows else NOTHING
        own = judged.filter(pl.col("function") == name, pl.col("contestant") == next(iter(rows)))
        body.append([f"{name}: {says}", f"`{call}`", ", ".join(right) or NOTHING, torchs,
                     str(own["n"].sum())])  # fmt: skip
    headers = ["your function", "call", "within 1 % on every matrix",
               "`torch.linalg.svd`: its worst situation", "matrices"]  # fmt: skip
    return table(headers, body)


def _sentences(judged: pl.DataFrame) -> list[str]:
    """Of the exact functions and of torch: where they are not right."""
    found = []
    for name in (one for one in (EXACT, TORCH) if one in values_of(judged, "contestant")):
        own = judged.filter(pl.col("contestant") == name)
        worst = _worst(own, "situation")
        present = values_of(own, "situation")
        rows = [(where, worst[where,]) for where in present if worst[where,]["right"] < 1]
        wrong = [f"{where}, {_share(row, 'function')}" for where, row in rows]
        text = render("singular-sentence", title=TITLES[name], n=own["n"].sum(), wrong=wrong,
                      situations=len(present), right=RIGHT)  # fmt: skip
        found.append(text)
    return found
