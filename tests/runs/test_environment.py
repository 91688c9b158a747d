"""What is said of the machine, and what is not."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
import torch

import eigbench
from eigbench.runs import store
from eigbench.runs.environment import Used, describe, share_of_others, used
from tests.runs import making


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


def test_others_had_what_was_neither_idle_nor_ours() -> None:
    before = Used(total=100.0, idle=50.0, own=10.0)
    # Two cores for 10 s: 5 s idle, 11 s ours, and 4 s of 20 are left.
    assert share_of_others(before, Used(120.0, 55.0, 21.0)) == pytest.approx(0.2)
    assert share_of_others(before, Used(120.0, 55.0, 26.0)) == 0.0
    assert share_of_others(before, before) == 0.0


def test_what_children_use_is_ours() -> None:
    busy = (
        "import sys, time\n"
        "while time.process_time() < 0.3: pass\n"
        "print(flush=True)\n"
        "sys.stdin.read()"
    )
    before = used()
    with subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert used().own - before.own >= 0.29  # which still runs
        child.communicate()
    assert used().own - before.own >= 0.29  # which is gone


def test_the_share_of_other_programs_is_written_of_this_process_alone(tmp_path: Path) -> None:
    suite = making.suite()
    for share in (0.12345, 0.5):
        with store.open_run(tmp_path, suite, making.session(), resume=share == 0.5) as writer:
            writer.finish(share)
    sessions = store.read_run(tmp_path).environment.sessions
    assert [session.other_programs for session in sessions] == [0.123, 0.5]
