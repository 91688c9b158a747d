"""What the benchmarks share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.paired import torch_threads


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch on one thread."""
    with torch_threads(1):
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch on two threads."""
    with torch_threads(2):
        yield
