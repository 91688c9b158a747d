"""The page about the layers: its script runs as it stands, and it keeps to what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"


def test_the_script_of_the_page_trains_and_evaluates() -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)[0]
    namespace: dict[str, Any] = {}
    exec(compile(code, "docs", "exec", dont_inherit=True), namespace)  # noqa: S102
    assert namespace["accuracy"] > 0.8  # of four classes: by chance 0.25


def test_what_the_page_writes_instead_of_batch_normalisation_works() -> None:
    from eigbench import layers

    lines = re.findall(r"^(\w+\dd\(64.*?\))  ", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert len(lines) == 5
    for line in lines:
        name, settings = line.split("(", 1)
        layer = eval(line, {name: getattr(layers, name)})  # noqa: S307
        assert layer.channels == 64, settings
