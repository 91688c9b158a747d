"""What the tests of the command line share: runs in this process draw no figures."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _undrawn(undrawn: None) -> None:
    pass
