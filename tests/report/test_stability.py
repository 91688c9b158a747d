"""What a stability report says of made-up runs: its opening, its advice, its chapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from eigbench.kinds.path import PathCase
from eigbench.report.chapters import accuracy, claims, properties
from eigbench.report.chapters import stability as chapter
from eigbench.report.judgement import judged
from eigbench.report.render import Part
from eigbench.runs.record import SCHEMA, Record, number
from tests.report.making import frames_of, lost, stability

OPEN, TIES = 0.1, 0.0

pytestmark = pytest.mark.usefixtures("undrawn")


def everywhere(method: str, **axes: Any) -> list[Record]:
    return [stability(method=method, d=d, gap=gap, **axes) for gap in (OPEN, TIES) for d in (4, 8)]


def svd() -> list[Record]:
    """Right while gaps are open, lost at ties."""
    return [stability(method="svd", d=d) for d in (4, 8)] + [
        lost(method="svd", d=d, gap=TIES) for d in (4, 8)
    ]


def part(folder: Path, records: list[Record]) -> Part:
    found = chapter.part(frames_of(records, folder))
    assert found is not None
    return found


def titled(found: Part, beginning: str) -> str:
    return next(c.body for c in found.chapters if c.title.startswith(beginning))


def test_the_opening_says_what_each_method_does(tmp_path: Path) -> None:
    away = {"gradient_error": [2.0, 2.0], "gradient_cosine": [-0.3, -0.3]}
    found = part(tmp_path, [*svd(), *everywhere("hybrid", samples=away), *everywhere("spectral")])
    assert (tmp_path / "figures" / "situations.png").is_file()
    assert "| one tied pair (4) " in found.head
    assert "**0 %** (NaN 100 %), not finite, –" in found.head
    sentences = " ".join(found.summary)
    for said in (
        "svd is within 1 % of the exact gradient on every matrix in 1 of 2 situations; ",
        "at worst on 0 % of 4 (one tied pair).",
        "It is not finite on 100 % of 4 (one tied pair).",
        "hybrid is always finite, and within 1 % of the exact gradient on none of 8 matrices.",
        "It points away from the exact gradient on open gaps (4; median cosine −0.30), one tied",
        "spectral is always finite, and within 1 % of the exact gradient on every matrix (8).",
    ):
        assert said in sentences
    assert "right as often" not in sentences  # four matrices against four show nothing
    assert "too few matrices to say (20 are needed)" in found.head


def test_success_is_finite_and_the_bound_is_only_a_claim(tmp_path: Path) -> None:
    """The exact gradient outside nK/λmin was counted as a failure once."""
    outside = {"inside_bound": [0.0, 0.0], "exact_gradient_norm": [99.0, 99.0],
               "gradient_norm": [99.0, 99.0]}  # fmt: skip
    records = [*everywhere("spectral", samples=outside),
               *everywhere("hybrid", samples={"exact_gradient_norm": [99.0, 99.0]})]  # fmt: skip
    found = part(tmp_path, records)
    assert "bound" not in found.head
    assert "NaN" not in found.head
    claims = titled(found, "The claims")
    assert "The bound" in claims
    assert "inside it on 8 of 8 matrices and losses (100 %); the largest norm is 0.1" in claims
    assert (
        "gradient is outside: whitening, open gaps, on 4 of 4; whitening, one tied pair" in claims
    )


def test_pictures_show_the_cases_that_their_titles_name(tmp_path: Path) -> None:
    """A grid of 2×2 matrices for one coefficient pushed whitening out of its own picture once."""
    gaps = (0.9, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
    pair = [stability(method=m, d=2, gap=g, loss="closing-eigenvector", dtype="float64",
                      epsilon=0.0) for m in ("svd", "spectral") for g in gaps]  # fmt: skip
    found = part(tmp_path, [*svd(), *everywhere("spectral"), *pair])
    assert "Loss `whitening`, float32" in found.head
    assert "| open gaps (4) " in found.head
    heat = titled(found, "Every method in every situation")
    assert "<summary>whitening</summary>" in heat
    assert "closing-eigenvector" not in heat
    by_gap = titled(found, "As one gap closes")
    assert "**Median relative error of whitening, float32**" in by_gap
    assert "1e-10" not in by_gap
    assert "1e-10" in titled(found, "The coefficient of one pair")


def test_the_literal_loop_is_said_to_fail_where_it_does(tmp_path: Path) -> None:
    loop = [lost(method="hybrid-loop", d=4, gap=TIES), stability(method="hybrid-loop", d=4)]
    records = [*everywhere("hybrid"), *everywhere("spectral"), *loop]
    text = titled(part(tmp_path, records), "The literal loop")
    assert "not finite on 2 of them" in text
    assert "the same 4 matrices" in text


def test_truncated_whitening_has_its_own_chapter(tmp_path: Path) -> None:
    truncated = [*everywhere("hybrid", loss="whitening-truncated"),
                 *everywhere("svd", loss="whitening-truncated")]  # fmt: skip
    found = part(tmp_path, [*svd(), *everywhere("hybrid"), *truncated])
    assert "see *With the truncation of Algorithm 1*" in found.head
    assert "| open gaps (4) " in titled(found, "With the truncation of Algorithm 1")


def test_another_k_stands_beside_the_usual_one(tmp_path: Path) -> None:
    more = everywhere("pi", parameters={"iterations": 100, "seed": 0})
    usual = everywhere("pi", parameters={"iterations": 19, "seed": 0})
    found = part(tmp_path, [*usual, *more, *everywhere("spectral")])
    assert "`pi, K = 100`" in titled(found, "Power iteration with more steps")
    assert "K = 100" not in found.head


@pytest.mark.parametrize("size", [4, 16])
def test_the_head_stays_short(tmp_path: Path, size: int) -> None:
    methods = ["svd", "pi", "hybrid", "spectral", *(f"method-{i}" for i in range(size))]
    found = part(tmp_path, [record for m in methods for record in everywhere(m)])
    assert len(found.head.encode()) < 12_000
    assert "| SVD " in found.head
    assert "method-0" not in found.head.split("## What to use")[0]


def test_the_size_is_said_where_it_decides(tmp_path: Path) -> None:
    """Power iteration is lost at d = 64 alone, which a share of all sizes hides."""
    pi = [stability(method="pi", d=d) for d in (4, 8)] + [lost(method="pi", d=64)]
    others = [stability(method="spectral", d=d) for d in (4, 8, 64)]
    found = part(tmp_path, [*pi, *others])
    assert "**67 %** (NaN 33 %, only d = 64), " in found.head
    assert "only at d = 64 in open gaps (6)." in " ".join(found.summary)


def test_svd_is_as_right_only_where_a_difference_could_be_shown(tmp_path: Path) -> None:
    more = [stability(method=m, d=d) for m in ("svd", "spectral") for d in (4, 8, 16)]
    text = " ".join(part(tmp_path, more).summary)
    assert "svd is right as often as spectral on open gaps (6)." in text


def test_every_size_is_in_the_opening(tmp_path: Path) -> None:
    """`--d 2 4` showed the matrices of d = 4 alone, and did not say so."""
    records = [stability(method=m, d=d) for m in ("svd", "spectral") for d in (2, 4)]
    assert "| open gaps (4) " in part(tmp_path, records).head


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Every picture, by its name."""
    seen: dict[str, Figure] = {}

    def look(figure: Figure, _folder: Path, name: str) -> str:
        seen[name] = figure
        return f"figures/{name}.png"

    for module in (accuracy, chapter, claims, properties):
        monkeypatch.setattr(module, "save", look)
    return seen


def words_of(figure: Figure) -> set[str]:
    return {one.get_text() for one in figure.findobj(Text)}


def test_a_class_is_seen_by_size(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    half = {"gradient_finite": [1.0, 0.0], "gradient_error": [1e-6, float("nan")]}
    records = [*svd(), *everywhere("spectral"), stability(method="svd", d=16, samples=half),
               stability(method="spectral", d=16)]  # fmt: skip
    part(tmp_path, records)
    seen = words_of(drawn["right-by-class"])
    assert {"open gaps: gap, gap 0.1", "one tied pair: gap, gap 0", "4", "8", "16"} <= seen
    assert {"100", "NaN", "50\nNaN 50"} <= seen


def test_the_picture_of_a_closing_gap_says_its_size(
    tmp_path: Path, drawn: dict[str, Figure]
) -> None:
    records = [
        stability(method=method, d=d, gap=gap)
        for method in ("svd", "spectral") for d in (12, 20) for gap in (0.1, 1e-2, 1e-6)
    ]  # fmt: skip
    part(tmp_path, records)
    assert "whitening, d = 12, float32" in words_of(drawn["error-by-gap"])


def test_the_factors_of_scaled_matrices_are_those_of_the_run(tmp_path: Path) -> None:
    """It said "from 1e-5 to 1e5" of every suite."""
    records = [*svd(), *everywhere("spectral")]
    records += [stability(method=m, scale=s, epsilon=0.0)
                for m in ("svd", "spectral") for s in (1.8446743e19, 1.0842022e-19)]  # fmt: skip
    text = titled(part(tmp_path, records), "How to read")
    assert "times a factor that is not 1: 1.1e-19 to 1.8e+19" in text


def test_a_component_beyond_the_picture_of_a_crossing_has_an_arrow(
    tmp_path: Path, drawn: dict[str, Figure]
) -> None:
    case = PathCase(method="pi", parameters={}, d=8, dtype="float32", epsilon=1e-4,
                    loss="whitening", seed=0, device="cpu")  # fmt: skip
    samples = {"position": [-1e-1, -1e-6, 0.0, 1e-6, 1e-1], "gradient_finite": [1.0] * 4 + [0.0],
               "crossing_ratio": [9.0, 1.0, 1.0, -7.0, float("nan")],
               "moved": [0.1, 0.2, 0.3, 4.0, 5.0], "exact_moved": [1e-6] * 5}  # fmt: skip
    numbers = {name: [*map(number, values)] for name, values in samples.items()}
    path = Record(schema=SCHEMA, id=case.id, case=case, status="measured", samples=numbers)
    found = part(tmp_path, [*svd(), *everywhere("spectral"), path])
    assert {"↑", "↓"} <= words_of(drawn["through-a-crossing"])
    row = titled(found, "Through a crossing").split("| `pi`")[1]
    cells = [cell.strip() for cell in row.splitlines()[0].split("|")[1:-1]]
    assert cells == ["9", "−3", "1", "0.3", "4 of 5"]  # the jumps are those near the crossing


def test_the_judgement_of_a_report_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(frame)
        return judged(frame)

    monkeypatch.setattr(chapter, "judged", counted)
    part(tmp_path, [*svd(), *everywhere("spectral")])
    assert len(calls) == 1


def test_a_run_without_a_measured_gradient_says_so(tmp_path: Path) -> None:
    skipped = stability("skipped", dtype="bfloat16")
    found = part(tmp_path, [skipped])
    assert "**No gradient was measured.** 1 case skipped" in found.head
    assert "1 × RuntimeError: no" in found.head


def test_a_gate_that_is_not_passed_is_seen(tmp_path: Path) -> None:
    passing = {"gate_residual": [1.0, 199.0], "gate_orthogonality": [0.0, 1.0]}
    failing = {"gate_residual": [1.0, 1.0], "gate_orthogonality": [101.0, float("nan")]}
    records = [
        stability(method=method, spectrum="lapack-even", gap=None, samples=samples)
        for method, samples in (("eigh", passing), ("pi", failing))
    ]
    found = properties.chapters(frames_of(records, tmp_path), frames_of(records).usual)
    (chapter_of,) = (one for one in found if one is not None and "gates" in one.title)
    rows = [line for line in chapter_of.body.splitlines() if line.startswith(("| eigh", "| pi"))]
    assert [row.split("|")[-2].strip() for row in rows] == ["yes", "**no**"]
