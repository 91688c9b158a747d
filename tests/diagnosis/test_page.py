"""What the page for the mystified reader shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commandline import ROOT, call

PAGE = (ROOT / "docs" / "diagnosing.md").read_text("utf-8")


def test_the_example_of_the_page_fails_as_it_says(
    cwd: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "docs", "exec", dont_inherit=True), names)  # noqa: S102
    assert caplog.messages[0] in PAGE
    outcome = call("diagnose", "eigbench-watch/first-failure.pt")
    # Up to the numbers of methods, which change with these.
    findings = outcome.out[: outcome.out.index("· Finite is not the same")].strip()
    assert findings in PAGE


def test_its_links_lead_somewhere() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "(docs/diagnosing.md)" in readme
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert "://" in target or (ROOT / "docs" / target).exists()
