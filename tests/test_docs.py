"""What the documentation shows must work as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from eigbench.report.field.measured import Measured
from eigbench.report.field.uses import answers

from eigbench.cli.app import app
from eigbench.cli.check import verdict
from eigbench.contract import findings
from eigbench.methods import available, get, plugins, registry
from eigbench.methods.base import Promise
from eigbench.runs.store import read_run

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "docs" / "example-method"


def test_the_example_method_of_the_docs_is_the_one_of_the_package() -> None:
    page = (ROOT / "docs" / "adding-a-method.md").read_text("utf-8")
    shown = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0]
    assert shown == (EXAMPLE / "src/eigbench_soft_gap/__init__.py").read_text("utf-8")


def test_the_docs_say_what_check_says_of_the_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    (name,) = plugins.load(EXAMPLE / "src/eigbench_soft_gap/__init__.py")
    said = verdict(name, list(findings(name, get(name))))
    assert f"\n{said}\n" in (ROOT / "docs" / "adding-a-method.md").read_text("utf-8")


def test_the_docs_explain_every_promise() -> None:
    page = (ROOT / "docs" / "adding-a-method.md").read_text("utf-8")
    for promise in get_args(Promise):
        assert f"| `{promise}` |" in page


def test_which_one_answers_what_the_sample_measured() -> None:
    page = (ROOT / "docs" / "which-one.md").read_text("utf-8")
    between = page.split("<!-- answers -->")[1].split("<!-- /answers -->")[0].strip()
    assert between == answers(Measured(read_run(ROOT / "reports" / "stability")))


def test_the_facts_of_the_field_are_so() -> None:
    page = (ROOT / "docs" / "field.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    assert code.count("assert") >= 6
    exec(compile(code, "docs", "exec", dont_inherit=True), {})  # noqa: S102
    for name in registry.built_in():
        assert f"`{name}`" in page or name == "svd-released"


def test_readme_names_every_method_and_command() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for name in available():
        assert f"| `{name}` |" in text
    for command in app.registered_commands:
        assert f"`eigbench {command.name}" in text


def test_readme_python_runs() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    M = torch.eye(4)
    namespace: dict[str, Any] = {"M": M}
    exec(compile(code, "docs", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert torch.equal(namespace["eigenvalues"], torch.ones(4))
    assert torch.equal(namespace["whitening"], torch.eye(4))


@pytest.mark.parametrize(
    "page",
    [
        *("README.md", "docs/guide.md", "docs/layers.md", "docs/adding-a-method.md"),
        "docs/example-method/README.md",
        *("docs/diagnosing.md", "docs/field.md", "docs/which-one.md", "docs/mathematics.md"),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_guide_names_every_metric_spectrum_and_loss() -> None:
    from eigbench.losses import LOSSES
    from eigbench.spectra import SPECTRA

    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    for name in [*LOSSES, *SPECTRA]:
        assert f"`{name}`" in text
    records = (ROOT / "tests/report/golden/run/records.jsonl").read_text("utf-8")
    metrics = set(re.findall(r'"(\w+)":\[', records)) - {"seeds"}
    series = {"least_terms", "powers", "coefficient_error", "sum_rounding_error"}
    for metric in metrics - series:
        assert f"`{metric}`" in text, metric
