"""What the documentation shows must work, and its tables must follow from the code and the records.

`python tests/test_docs.py` writes the generated tables again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from typer.main import get_command

from eigbench.cli.app import app
from eigbench.cli.check import verdict
from eigbench.contract import findings
from eigbench.losses import LOSSES
from eigbench.methods import get, plugins, registry
from eigbench.methods.base import HERMITIAN, Promise
from eigbench.report import numbers, situations
from eigbench.report.render import both, table
from eigbench.runs.suite import cases, load, shipped
from eigbench.spectra import SPECTRA
from tests import claims
from tests.gallery import gallery
from tests.methods.torch_tests import torch_tests

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REPORTS = ROOT / "reports"
EXAMPLE = DOCS / "example-method"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FACT = re.compile(r"<!-- fact: ([\w=. -]+) -->(.*?)<!-- /fact -->")
BLOCK = re.compile(r"<!-- generated: ([\w-]+) -->\n(.*?)<!-- /generated -->", re.DOTALL)


def _text(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def _python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", _text(page), flags=re.DOTALL)


# What is generated


def _report() -> str:
    return (REPORTS / "stability" / "report.md").read_text("utf-8")


def _opening() -> str:
    """The first table of the sample's report, and what its cells are."""
    parts = _report().split("\n\n")
    first = next(i for i, part in enumerate(parts) if part.startswith("|"))
    return "\n\n".join(parts[first : first + 2])


def _sentences() -> str:
    parts = _report().split("\n\n")
    return next(part for part in parts if part.startswith("- "))


def _row() -> str:
    """The heading and one row of the first table."""
    lines = _opening().splitlines()
    return "\n".join(
        [*lines[:2], next(line for line in lines if line.startswith("| closing gaps"))]
    )


def _reading() -> str:
    """The row in words."""
    heading, _, row = (
        [cell.strip() for cell in line.strip("| ").split("|")] for line in _row().splitlines()
    )
    lines = []
    for method, cell in zip(heading[1:], row[1:], strict=True):
        shares, error, cosine = cell.rsplit(", ", 2)
        right, *lost = re.findall(r"[<>]?\d+ %", shares)
        where = re.search(r", only (d = \d+)", shares)
        some = f"{lost[0]} are not finite" if lost else "all are finite"
        some += f" (all of these have {where[1]})" if where else ""
        middle = (
            "so is the median" if error == numbers.NOT_FINITE else f"the median error is {error}"
        )
        over = " of the finite ones" if lost else ""
        lines.append(
            f"- **{method}**: {right} of its gradients are within 1 % of the exact one; {some}, "
            f"and {middle}. The median cosine{over} is {cosine}."
        )
    return "\n".join(lines)


def _advice() -> str:
    return _report().split("## What to use")[1].split("<details>")[0].strip()


def _methods() -> str:
    rows = []
    for name in registry.built_in():
        method = get(name)
        parameters = ", ".join(
            f"`{field.name}={numbers.axis_value(field.default)}`" for field in fields(method)
        )
        promises = ", ".join(sorted(method.promises))
        truncation = method.truncation if method.decomposes else numbers.NOTHING
        rows.append([f"`{name}`", method.summary, promises or numbers.NOTHING, truncation,
                     parameters or numbers.NOTHING, method.source])  # fmt: skip
    return table(["method", "what it does", "promises", "truncation", "parameters", "source"], rows)


def _complex() -> str:
    """Which methods take complex matrices, by their declarations."""
    without = {
        f"`{name}` ({get(name).real_only})"
        for name in registry.built_in()
        if not get(name).dtypes >= HERMITIAN
    }
    whose = f"all methods but {both(sorted(without))}" if without else "every method"
    return f"Complex Hermitian matrices (complex64, complex128) are taken by {whose}."


def _check() -> str:
    """What `eigbench check` says at the end of the example method."""
    (name,) = plugins.load(EXAMPLE / "src/eigbench_soft_gap/__init__.py")
    said = verdict(name, list(findings(name, get(name))))
    registry._registered.pop(name)
    return f"```text\n{said}\n```"


def _situations() -> str:
    return table(["situation", "which matrices"],
                 [[*one] for one in situations.SITUATIONS.items()])  # fmt: skip


def _draws() -> str:
    """What the committed draws say of the advice of `diagnose`, and the table by kind of matrix."""
    parts = (REPORTS / "diagnose-draws" / "report.md").read_text("utf-8").split("\n\n")
    return "\n\n".join([parts[1], parts[parts.index("## By kind of matrix") + 1]])


def _singular() -> str:
    """The first table and the sentences of the sample of singular values."""
    parts = (REPORTS / "singular" / "report.md").read_text("utf-8").split("\n\n")
    uses = next(part for part in parts if part.startswith("| your function"))
    return "\n\n".join([uses, next(part for part in parts if part.startswith("- "))])


def _rotations() -> str:
    """Of its table of rotations the situations, torch and the exact function."""
    text = (REPORTS / "singular" / "report.md").read_text("utf-8").split("<summary>rotation: ")[1]
    lines = [line for line in text.split("</details>")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    names = {"`svd`": "`torch.linalg.svd`", "`spectral`": "`eigbench.polar`"}
    kept = {names[row[0]]: row[1:] for row in cells if row[0] in names}
    return table(["situation (matrices)", *kept], zip(cells[0][1:], *kept.values(), strict=True))


GENERATED: dict[str, Callable[[], str]] = {
    "opening": _opening,
    "sentences": _sentences,
    "row": _row,
    "reading": _reading,
    "advice": _advice,
    "singular": _singular,
    "rotations": _rotations,
    "methods": _methods,
    "complex": _complex,
    "situations": _situations,
    "check": _check,
    "draws": _draws,
    "gallery": gallery,
    "torch-tests": torch_tests,
}


def _chapter(title: str) -> str:
    """The text of the chapter of the sample's report whose title starts so; "" if there is none."""
    chapters = re.findall(rf"<summary>{re.escape(title)}.*?</details>", _report(), flags=re.DOTALL)
    return str(chapters[0]) if chapters else ""


def _largest(title: str, row: str) -> str:
    """The largest number of a row of a table in a chapter, as it is written there."""
    (line,) = re.findall(rf"^\| {row} +\|(.+)\|$", _chapter(title), flags=re.MULTILINE)
    cells: list[str] = [cell.strip() for cell in line.split("|")]
    return max(cells, key=float)


def _said(title: str, pattern: str) -> str:
    """What a chapter says, by a pattern with one or two groups ("1 of 2")."""
    found = re.search(pattern, _chapter(title))
    assert found, pattern
    return " of ".join(found.groups())


def _cell(table_text: str, one: str, other: str) -> tuple[str, str, str]:
    """Where the row and the column of these names meet: right, median error, median cosine.

    Either may be the row: the opening has the methods across, other tables have them down.
    """
    lines = [line.strip("| ").split("|") for line in table_text.splitlines() if line[:1] == "|"]
    cells = [[cell.strip("` ").partition(", K")[0] for cell in line] for line in lines]
    if not any(line[0].startswith(one) for line in cells):
        cells = [list(column) for column in zip(*cells, strict=True)]
    row = next(line for line in cells if line[0].startswith(one))
    place = next(i for i, name in enumerate(cells[0]) if re.fullmatch(rf"{other}( \(\d+\))?", name))
    right, error, cosine = row[place].rsplit(", ", 2)
    return right, error, cosine


def _count(table_text: str, situation: str) -> str:
    return re.findall(rf"\| {situation} \((\d+)\)", table_text)[0]  # type: ignore[no-any-return]


def _ill(table_text: str) -> str:
    """Error and cosine of the hybrid on ill-conditioned covariances, from such a table."""
    situation = "ill-conditioned covariances"
    _, error, cosine = _cell(table_text, situation, "hybrid")
    return f"{error} (cosine {cosine}; {_count(table_text, situation)} matrices)"


def _eq_10(method: str) -> str:
    """The median error of whitening at open gaps in float32, with or without ∂L/∂λ."""
    text = _chapter("∂L/∂λ can be ignored").split("**whitening**")[1]
    whitening = next(part for part in text.split("\n\n") if part.startswith("|"))
    error = _cell(whitening, "open gaps", method)[1]
    return f"{error} ({_count(whitening, 'open gaps')} matrices)"


FORWARD, LOOP, TRUNCATION = "The forward pass", "The literal loop", "Hence the truncation"
FACTS: dict[str, Callable[[], str]] = {
    "residual-eigh": lambda: _largest(FORWARD, "eigh"),
    "residual-pi": lambda: _largest(FORWARD, "pi"),
    "raised": lambda: _said(FORWARD, r"([\d,]+ of [\d,]+) cases raised"),
    "loop": lambda: " of ".join(
        (_said(LOOP, r"not finite on ([\d,]+) of them"), _said(LOOP, r"same ([\d,]+) matrices"))
    ),
    "all-pairs": lambda: _ill(_opening()),
    "truncated": lambda: _ill(_chapter("With the truncation of Algorithm 1")),
    "with-values": lambda: _eq_10("hybrid"),
    "without-values": lambda: _eq_10("hybrid-eq10"),
    "bound": lambda: _said("The bound", r"\| whitening +\| +(\S+) \|"),
    "bound-matrices": lambda: _count(_opening(), "open gaps"),
    **{
        f"rayleigh-{method}": lambda method=method: _said(  # type: ignore[misc]
            TRUNCATION, rf"(\d+ of \d+) \(`{method}`\)"
        )
        for method in ("hybrid", "pi", "svd")
    },
}
"""Numbers inside a sentence or a table, which a new measurement changes."""


def _fact(name: str) -> str:
    return FACTS[name]() if name in FACTS else claims.fact(name)


def regenerate() -> None:
    """Write every generated part of the documentation again."""
    for page in PAGES:
        text = BLOCK.sub(
            lambda found: (
                f"<!-- generated: {found[1]} -->\n{GENERATED[found[1]]()}\n<!-- /generated -->"
            ),
            page.read_text("utf-8"),
        )
        text = FACT.sub(
            lambda found: f"<!-- fact: {found[1]} -->{_fact(found[1])}<!-- /fact -->", text
        )
        page.write_text(text, "utf-8")


def test_generated_parts_are_what_code_and_records_say() -> None:
    found = [(page, *match) for page in PAGES for match in BLOCK.findall(page.read_text("utf-8"))]
    assert {name for _, name, _ in found} == set(GENERATED)
    for page, name, text in found:
        assert text.strip() == GENERATED[name]().strip(), f"{page}: run python tests/test_docs.py"
    facts = [match for page in PAGES for match in FACT.findall(page.read_text("utf-8"))]
    assert {name for name, _ in facts if " " not in name} == set(FACTS)
    for page in PAGES:  # a line that begins with a comment ends the paragraph before it
        assert "\n<!-- fact" not in page.read_text("utf-8"), page
    for name, text in facts:
        assert text == _fact(name), f"{name}: run python tests/test_docs.py"


# What is executed


def test_the_example_method_of_the_docs_is_the_one_of_the_package() -> None:
    shown = _python("docs/adding-a-method.md")[0]
    assert shown == (EXAMPLE / "src/eigbench_soft_gap/__init__.py").read_text("utf-8")


def test_ten_lines_of_polars_make_a_row_of_the_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (program,) = _python("docs/reading-stability.md")
    lines = [line for line in program.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 100
    assert "eigbench" not in program
    assert ";" not in program
    namespace: dict[str, Any] = {}
    exec(compile(program, "docs", "exec", dont_inherit=True), namespace)  # noqa: S102
    rows = {row["method"]: row for row in namespace["closing_gaps"].to_dicts()}
    for method, name in {"svd": "SVD", "pi": "PI", "hybrid": "hybrid", "spectral": "exact"}.items():
        row = rows[method]
        right, error, _ = _cell(_opening(), "closing gaps", f"{name}.*")
        lost = f" (NaN {numbers.percent(1 - row['gradient_finite'])}"
        shown = f"**{numbers.percent(row['right'])}**{lost if row['gradient_finite'] < 1 else ''}"
        assert right.partition(", only")[0].rstrip(")") == shown
        assert error == numbers.scientific(row["error"])
        assert row["len"] == int(_count(_opening(), "closing gaps"))


@pytest.mark.parametrize("page", ["README.md", "docs/records.md", "docs/functions.md"])
def test_python_of_a_page_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    namespace: dict[str, Any] = {}
    exec(compile("\n".join(_python(page)), "docs", "exec", dont_inherit=True), namespace)  # noqa: S102
    if page == "README.md":
        assert torch.equal(namespace["eigenvalues"], torch.ones(4))
        assert torch.equal(namespace["whitening"], torch.eye(4))
        assert torch.equal(namespace["M"].grad.diagonal(), torch.full((4,), -0.5))


# What is named


def test_readme_names_every_command() -> None:
    for command in app.registered_commands:
        assert f"`eigbench {command.name}" in _text("README.md")


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md", "docs/which-one.md"])
def test_options_exist(page: str) -> None:
    commands = get_command(app).commands.values()  # type: ignore[attr-defined]
    known = {option for command in commands for one in command.params for option in one.opts}
    shown = set(re.findall(r"(?<=[`\s])--[a-z][\w-]*", _text(page)))
    assert shown <= known | {"--no-trace", "--help", "--install-completion"}


def test_the_page_of_suites_names_every_one_and_shows_one_that_is_valid(tmp_path: Path) -> None:
    text = _text("docs/suites.md")
    for name in shipped():
        assert f"`{name}`" in text or f"`{name.removeprefix('paper')}`" in text
    (tmp_path / "mine.toml").write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    assert len(cases(load(tmp_path / "mine.toml"))) == 12


def test_the_docs_explain_every_promise() -> None:
    for promise in get_args(Promise):
        assert f"| `{promise}` |" in _text("docs/adding-a-method.md")


def test_records_names_every_metric_spectrum_and_loss() -> None:
    text = _text("docs/records.md")
    for name in [*LOSSES, *SPECTRA]:
        assert f"| `{name}` |" in text
    for golden in ("golden", "golden-train"):
        lines = _text(f"tests/report/{golden}/run/records.jsonl").splitlines()
        for record in map(json.loads, lines):
            for name in (*record["samples"], *record["labels"]):
                assert f"`{name}`" in text, name


TERMS = (
    *("matrix", "random seed", "spectrum", "situation", "case", "contestant", "trial", "cell"),
    *("condition", "round", "workload", "reference", "noisy", "interval", "dominated", "k", "tie"),
    *("dependable", "exact gradient", "coefficient", "eigengap", "dead channel", "whitening"),
    *("deflation", "ε", "rayleigh quotient", "performance profile", "truncation", "promise"),
)


def test_the_glossary_has_its_terms_in_order() -> None:
    terms = re.findall(r"^\*\*(.+?)\.?\*\*", _text("docs/glossary.md"), flags=re.MULTILINE)
    first = [re.split(r"[,(]", term.lower())[0].strip() for term in terms]
    assert set(TERMS) <= set(first)
    words = [re.split(r"\W", term.replace("ε", "epsilon"))[0] for term in first]
    assert words == sorted(words)


def test_pages_stay_short() -> None:
    for page, longest in {"README.md": 120, "docs/guide.md": 140}.items():
        assert len(_text(page).splitlines()) <= longest, page


# Links


def _anchors(page: Path) -> set[str]:
    """As a code host makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return set(kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target


# Claims and their numbers


def _rows(page: str, columns: int) -> list[list[str]]:
    """The cells of the tables of a page that have so many columns, without their headings."""
    lines = [line for line in _text(page).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if len(row) == columns and not row[0].startswith(("claim", ":"))]


NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
PARAMETER = re.compile(r"(?:[dK] = |ε = |gap of |Eq\. |§|float|at )[\d.e,-]+")


def test_numbers_about_gradients_are_in_the_chapter_that_is_named() -> None:
    """Of the table of section 2; what is a parameter there is left out."""
    checked = 0
    for claim, _, outcome, chapter in _rows("docs/claims.md", 4):
        if not chapter.startswith("*"):
            continue
        shown = re.sub(r"`[^`]*`|Eq\..*", "", FACT.sub("", outcome))
        wanted = [number.rstrip(",.") for number in NUMBER.findall(PARAMETER.sub("", shown))]
        found = _chapter(chapter.strip("*"))
        assert found or not wanted, chapter
        there = set(NUMBER.findall(found))
        assert set(wanted) <= there, (claim, set(wanted) - there)
        checked += len(wanted)
    assert checked > 30


# Language


def test_no_private_words() -> None:
    """Words that earlier versions used in a sense of their own."""
    words = ("held to", "held against", "is told", "as it stands", "said so", "is shown of")
    private = re.compile("|".join(rf"\b{word}\b" for word in words), re.IGNORECASE)
    for page in PAGES:
        assert not private.search(BLOCK.sub("", page.read_text("utf-8"))), page


if __name__ == "__main__":
    regenerate()
