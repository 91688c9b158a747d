"""TensorBoard shows the traces of a run, checked over HTTP: its page needs the internet."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.cli.commandline import call

pytest.importorskip("torch_tb_profiler")

RUN = "layer-zca-d16-batch-4-float32"
WORKERS = ["bn", "hybrid-iterations-19", "none"]
LONGEST_SECONDS = 120


class Plugin:
    """The end points of the PyTorch profiler plugin."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}/data/plugin/pytorch_profiler"

    def get(self, end_point: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self._base}/{end_point}?{urlencode(query)}") as answer:  # noqa: S310
            content = answer.read()
            packed = answer.headers.get("Content-Encoding") == "gzip" or content[:2] == b"\x1f\x8b"
            return json.loads(gzip.decompress(content) if packed else content)

    def of(self, worker: str, end_point: str, **query: str) -> Any:
        return self.get(end_point, run=RUN, worker=worker, span="default", **query)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """TensorBoard on the traces of a run of ours."""
    run = tmp_path_factory.mktemp("profile") / "run"
    outcome = call(
        *("profile", "--subject", "layer", "--layer", "zca", "--d", "16", "--batch", "4"),
        *("--method", "hybrid", "--rounds", "5", "--trace", "--out", str(run), "-q"),
    )
    assert outcome.code == 0, outcome
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--logdir", str(run / "traces"), "--port", str(port), "--host", "127.0.0.1"]
    with (run / "tensorboard.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *options], stdout=log, stderr=log
        )
        try:
            yield loaded(Plugin(port), server, run / "tensorboard.log")
        finally:
            server.terminate()
            server.wait(30)


def loaded(plugin: Plugin, server: subprocess.Popen[bytes], log: Path) -> Plugin:
    """Once it has read the traces."""
    end = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()
        try:
            found = plugin.get("runs")
        except OSError:  # not listening yet, or the plugin is not there yet
            found = {"loading": True}
        # Before it has looked at all, it has no runs either.
        if not found["loading"] and found["runs"]:
            return plugin
        time.sleep(0.5)
    raise AssertionError(f"no traces were read in {LONGEST_SECONDS} s: {log.read_text()}")


def test_a_workload_is_a_run_and_a_method_a_worker(plugin: Plugin) -> None:
    assert plugin.get("runs")["runs"] == [RUN]
    assert plugin.get("workers", run=RUN, view="Overview") == WORKERS
    assert set(plugin.get("views", run=RUN)) >= {"Overview", "Operator", "Trace", "Memory"}
    assert plugin.get("spans", run=RUN, worker=WORKERS[1]) == ["default"]


def test_the_overview_has_the_traced_steps(plugin: Plugin) -> None:
    overview = plugin.of("hybrid-iterations-19", "overview")
    assert len(overview["steps"]["rows"]) == 3


def test_the_operators_are_those_of_the_layer(plugin: Plugin) -> None:
    table = plugin.of("hybrid-iterations-19", "operation/table", group_by="Operation")
    calls = {row["name"]: row["calls"] for row in table["data"]}
    assert calls["aten::linalg_eigh"] == 3  # one in each step
    assert calls["aten::bmm"] > 0
    chart = plugin.of("hybrid-iterations-19", "operation", group_by="Operation")
    assert "aten::bmm" in [name for name, _ in chart["host_self_time"]["rows"]]
    other = plugin.of("bn", "operation/table", group_by="Operation")
    assert "aten::linalg_eigh" not in [row["name"] for row in other["data"]]


def test_the_trace_has_our_phases(plugin: Plugin) -> None:
    events = plugin.of("hybrid-iterations-19", "trace")["traceEvents"]
    names = {event["name"] for event in events}
    assert {"eigbench::pass::forward", "eigbench::decomposition", "eigbench::products"} <= names


def test_memory_and_calls_are_there(plugin: Plugin) -> None:
    assert plugin.of("hybrid-iterations-19", "memory_curve")["rows"]
    assert plugin.of("hybrid-iterations-19", "tree")
