"""What the documentation shows must work as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from eigbench.cli.app import app
from eigbench.methods import available
from eigbench.methods.base import Method

ROOT = Path(__file__).parents[1]


def test_the_example_method_of_the_docs_is_a_method() -> None:
    text = (ROOT / "docs" / "adding-a-method.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs", "exec", dont_inherit=True), namespace)  # noqa: S102
    method = namespace["Lorentzian"]
    assert issubclass(method, Method)
    values = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    V, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    M = (V * values) @ V.mT
    W = torch.randn(3, 3, dtype=torch.float64)

    def gradient(eigh: Any) -> torch.Tensor:
        X = M.clone().requires_grad_()
        values, vectors = eigh((X + X.mT) / 2)
        loss = (W * ((vectors * values**2) @ vectors.mT)).sum()
        found: torch.Tensor = torch.autograd.grad(loss, X)[0]
        return found

    torch.testing.assert_close(
        gradient(method().eigh), gradient(torch.linalg.eigh), rtol=1e-9, atol=0
    )


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
    "page", ["README.md", "docs/guide.md", "docs/layers.md", "docs/adding-a-method.md"]
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
