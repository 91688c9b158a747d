"""What is said of the machine, and what is not."""

from __future__ import annotations

import os
import platform
import socket
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
import torch

import eigbench
from eigbench.runs.environment import describe


def test_what_is_described() -> None:
    session = describe("cpu", seed=7, arguments=["stability", "--out", "a b"])
    assert session.eigbench == eigbench.__version__
    assert session.python == platform.python_version()
    assert session.packages["torch"] == version("torch")
    assert {"torch", "torchvision", "numpy", "scipy"} <= set(session.packages)
    assert platform.system() in session.system
    assert session.machine == platform.machine()
    assert session.processor
    assert session.logical_cores == os.cpu_count()
    assert session.torch_threads == torch.get_num_threads()
    assert session.device == "cpu"
    assert session.seed == 7
    assert session.command == "eigbench stability --out 'a b'"
    assert datetime.fromisoformat(session.started_at).tzinfo is not None


def test_the_command_is_this_process_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/eigbench", "run", "stability"])
    assert describe("cpu", seed=0).command == "eigbench run stability"


def test_neither_host_name_nor_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    monkeypatch.setattr(platform, "node", lambda: "secret-host")
    monkeypatch.setattr(sys, "executable", "/secret/place/python")
    monkeypatch.setattr(sys, "argv", ["/secret/place/eigbench", "run", "stability"])
    text = msgspec.json.encode(describe("cpu", seed=0)).decode()
    assert "secret" not in text
    for place in (sys.prefix, sys.base_prefix, Path.cwd()):
        assert str(place) not in text
    name = os.uname().nodename
    assert len(name) < 5 or name not in text  # a short one may be part of any word


def test_a_package_that_is_missing_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eigbench.runs.environment._PACKAGES", ("no-such-package",))
    assert describe("cpu", seed=0).packages == {"no-such-package": "not installed"}
