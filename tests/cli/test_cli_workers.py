"""Workers: the same records from any number of them, and nothing lost or left when one is killed.

Schedulers and workers are real processes here, and are killed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from eigbench.cli import execute
from eigbench.methods import registry
from eigbench.runs import executors, workers
from tests.cli.commandline import ROOT, call, finish, records, start

PLAIN = """
name = "plain"
kind = "stability"
seeds = 2

[axes]
method = ["eigh", "pi", "hybrid"]
d = [4, 24]
spectrum = ["gap", "cluster"]
gap = [0.1, 0.0]
scale = [1.0]
dtype = ["float32", "float64"]
epsilon = [1e-4]
iterations = [3]
loss = ["whitening", "reconstruction"]
start = [0]

[[grids]]

[[grids]]
kind = "series"
ratio = [0.5]
dtype = ["float32"]
"""
"""Fifty cases about accuracy, which take a second or two."""

MIXED = f"""{PLAIN}
[profiling]
rounds = 2
seconds = 0.1

[[grids]]
kind = "profile"
subject = ["operation"]
method = ["hybrid"]
d = [4]
batch = [2]
dtype = ["float32"]
compiled = [false]
trace = true
"""
"""The same, and a workload that is timed, with traces."""

LONG = PLAIN.replace('"eigh", "pi", "hybrid"', '"hybrid-loop"').replace("[3]", "[100, 101, 102]")
"""As many, which take some seconds: the loop runs n·K times for each."""


def _results(folder: Path) -> dict[str, str]:
    """What was measured but for times, byte for byte, by case."""
    names = ("status", "reason", "samples", "labels")
    found = [record for record in records(folder) if record["case"]["kind"] != "profile"]
    return {one["id"]: json.dumps([one[name] for name in names]) for one in found}


def _sessions(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "environment.json").read_text())["sessions"]
    return found


def _wait(until: Callable[[], Any], seconds: float = 60) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := until():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.fixture
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report takes longer than what is measured here."""
    monkeypatch.setattr(execute, "conclude", lambda *_, **__: None)


@pytest.fixture
def suites(cwd: Path) -> Path:
    for name, text in (("plain", PLAIN), ("mixed", MIXED), ("long", LONG)):
        (cwd / f"{name}.toml").write_text(text)
    return cwd


@pytest.fixture(scope="module")
def by_itself(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that this process alone measured."""
    cwd = tmp_path_factory.mktemp("alone")
    (cwd / "plain.toml").write_text(PLAIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "conclude", lambda *_, **__: None)
        words = ("--out", str(cwd / "run"), "--workers", "0", "-q")
        assert call("run", str(cwd / "plain.toml"), *words).code == 0
    return cwd / "run"


@pytest.fixture
def alone(by_itself: Path) -> dict[str, str]:
    """What was measured there."""
    return _results(by_itself)


# Any number of workers


@pytest.mark.usefixtures("_no_report")
def test_any_number_of_workers_gives_the_same_records(
    suites: Path, by_itself: Path, alone: dict[str, str]
) -> None:
    assert len(alone) > 40
    one = _sessions(by_itself)[0]
    assert (one["worker"], one["torch_threads"]) == ("", 1)
    for suite, count in (("plain", "1"), ("mixed", "2"), ("plain", "4")):
        outcome = call("run", f"{suite}.toml", "--out", count, "--workers", count, "-q")
        assert (outcome.code, outcome.err) == (0, "")
        assert _results(suites / count) == alone
    made, sessions = records(suites / "2"), _sessions(suites / "2")
    timed = [record["case"]["kind"] == "profile" for record in made]
    by = [sessions[record["session"]]["worker"] for record in made]
    # What is timed is timed by the command's own process, when the others have gone.
    first = timed.index(True)
    assert not any(timed[:first])
    assert all(timed[first:])
    assert {*by[:first]} == {"local-0", "local-1"}
    assert {*by[first:]} == {""}


@pytest.mark.usefixtures("_no_report")
def test_workers_start_by_themselves_where_it_is_worth_it(
    suites: Path, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "physical_cores", lambda: 2)
    assert call("run", "plain.toml", "--out", "few", "-q").code == 0
    assert [session["worker"] for session in _sessions(suites / "few")] == [""]
    monkeypatch.setattr(executors, "SECONDS_BEFORE_WORKERS", 0.1)
    monkeypatch.setattr(executors, "SECONDS_WORTH_WORKERS", 0.0)
    outcome = call("run", "plain.toml", "--out", "many")
    assert outcome.code == 0
    assert re.search(r"eigbench: \d+ cases take more than \d+ s: 2 workers start", outcome.err)
    by = {record["session"] for record in records(suites / "many")}
    assert {_sessions(suites / "many")[number]["worker"] for number in by} >= {"", "local-0"}
    assert _results(suites / "few") == _results(suites / "many") == alone
    # Of many cases all are measured by workers, which start with the command.
    monkeypatch.setattr(executors, "CASES_WORTH_WORKERS", 1)
    outcome = call("run", "plain.toml", "--out", "at-once")
    assert (outcome.code, "workers start" in outcome.err) == (0, False)
    by = {
        record["session"]
        for record in records(suites / "at-once")
        if record["case"]["kind"] != "profile"
    }
    assert "" not in {_sessions(suites / "at-once")[number]["worker"] for number in by}
    assert _results(suites / "at-once") == alone
    monkeypatch.setattr(workers, "is_installed", lambda: False)
    outcome = call("run", "plain.toml", "--out", "without")
    assert outcome.code == 0
    assert "distributed is not installed: all cases are measured one after the other" in outcome.err


# Kills


@contextmanager
def _once_recorded(folder: Path, then: Callable[[], None]) -> Iterator[None]:
    """Beside what is inside, do something as soon as a run has its first records."""

    def watch() -> None:
        _wait(lambda: records(folder))
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.usefixtures("_no_report")
def test_a_killed_worker_loses_nothing(suites: Path) -> None:
    assert call("run", "long.toml", "--out", "alone", "--workers", "0", "-q").code == 0
    before = {*psutil.Process().children(recursive=True)}

    def kill() -> None:
        now = [one for one in psutil.Process().children(recursive=True) if one not in before]
        max(now, key=lambda one: one.create_time()).kill()

    with _once_recorded(suites / "run", kill):
        outcome = call("run", "long.toml", "--out", "run", "--workers", "2", "-q")
    assert (outcome.code, outcome.err) == (0, "")
    assert _results(suites / "run") == _results(suites / "alone")
    # The command and its workers, of which one took the place of another under the same name.
    measuring = {session["worker"] for session in _sessions(suites / "run")}
    assert measuring == {"", "local-0", "local-1"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_is_left(suites: Path, how: signal.Signals) -> None:
    process = start("run", "long.toml", "--out", "run", "--workers", "2", cwd=suites)
    try:
        _wait(lambda: records(suites / "run"))
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) >= 3
        if how == signal.SIGINT:  # as a terminal sends it, to all of them
            for one in below:
                one.send_signal(how)
        process.send_signal(how)
        outcome = finish(process)
    finally:
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    assert 0 < len(records(suites / "run")) < 97
    if how == signal.SIGINT:
        assert outcome.code == 130
        assert "Traceback" not in outcome.err
        assert "--resume --out run" in outcome.err
        assert "Partial report" in (suites / "run" / "report.md").read_text(encoding="utf-8")


DEADLY = """
import os, signal
from dataclasses import dataclass
from typing import ClassVar
from eigbench.methods.eigh import Eigh

@dataclass(frozen=True)
class Deadly(Eigh):
    name: ClassVar[str] = "deadly"
    summary: ClassVar[str] = "kills its process at one size"

    def eigh(self, M):
        if M.shape[-1] == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().eigh(M)
"""


@pytest.mark.usefixtures("_no_report")
def test_a_case_that_kills_its_worker_is_a_failed_row(
    suites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    text = PLAIN.partition("[[grids]]\nkind")[0].replace('"pi", "hybrid"', '"deadly"')
    for more in (', "cluster"', ", 0.0", ', "float64"', ', "reconstruction"'):
        text = text.replace(more, "")
    (suites / "deadly.toml").write_text(text)
    (suites / "deadly.py").write_text(DEADLY)
    words = ("run", "deadly.toml", "--plugin", "deadly.py", "--out", "run", "--workers", "2", "-q")
    outcome = call(*words)
    assert (outcome.code, outcome.err) == (0, "")
    found = {
        (r["case"]["d"], r["case"]["method"]): (r["status"], r["reason"])
        for r in records(suites / "run")
    }
    reason = "its worker process ended 4 times: killed, or out of memory"
    assert found == {
        (4, "eigh"): ("measured", None),
        (4, "deadly"): ("measured", None),
        (24, "eigh"): ("measured", None),
        (24, "deadly"): ("failed", reason),
    }


TRAINING = """
name = "t"
kind = "train"
seeds = 1
[axes]
model = ["resnet18"]
layer = ["zca"]
method = ["mortal"]
d = [4, 8]
epsilon = [1e-4]
iterations = [3]
[training]
width = 1
train_images = 110
test_images = 20
epochs = 1
batch = 16
[[grids]]
"""

MORTAL = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from eigbench.measure import training
from eigbench.methods.eigh import Eigh

training.SECONDS_BETWEEN_CHECKPOINTS = 0.0

@dataclass(frozen=True)
class Mortal(Eigh):
    name: ClassVar[str] = "mortal"
    summary: ClassVar[str] = "kills its process once, when there is a checkpoint"

    def eigh(self, M):
        if Path("calls").exists():
            with Path("calls").open("a") as file:
                file.write(".")
            if any(Path("run/checkpoints").glob("*.pt")) and not Path("dead").exists():
                Path("dead").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().eigh(M)
"""


@pytest.mark.usefixtures("_no_report")
def test_a_training_goes_on_in_another_worker(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr("eigbench.measure.training.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    (cwd / "t.toml").write_text(TRAINING)
    (cwd / "mortal.py").write_text(MORTAL)
    words = ("run", "t.toml", "--plugin", "mortal.py", "--threads-per-worker", "1", "-q")
    assert call(*words, "--workers", "0", "--out", "alone").code == 0
    (cwd / "calls").touch()
    assert call(*words, "--workers", "2", "--out", "run").code == 0
    assert (cwd / "dead").exists()
    steps = 0
    found = {record["id"]: record for record in records(cwd / "run")}
    for one in records(cwd / "alone"):
        other = found.pop(one["id"])
        assert one["status"] == other["status"] == "measured"
        steps += len(one["samples"]["loss"])
        for name in one["samples"].keys() - {"step_seconds", "peak_bytes"}:
            assert one["samples"][name] == other["samples"][name], name
    calls = len((cwd / "calls").read_text())
    assert calls < 1.5 * steps  # that is, not from the start; the killed step was taken twice
    assert not (cwd / "run" / "checkpoints").exists()


# A cluster


class Cluster:
    """A scheduler and its workers, processes of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", self.address.split(":")[-1])

    def _start(self, kind: str, *words: str, paths: Path = ROOT) -> None:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        environment = {**os.environ, "PYTHONPATH": str(paths)}
        with (self._folder / f"{kind}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(command, cwd=self._folder, env=environment, stdout=log, stderr=log)
            )

    def add(self, name: str, *words: str, paths: Path = ROOT) -> subprocess.Popen[bytes]:
        given = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name)
        self._start("worker", self.address, *given, *words, paths=paths)
        return self.processes[-1]

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("elsewhere"))
    yield started
    started.end()


@pytest.mark.usefixtures("_no_report")
def test_a_cluster_gives_the_same_records(
    suites: Path, alone: dict[str, str], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = tmp_path_factory.mktemp("old")
    (old / "eigbench").mkdir()
    (old / "eigbench" / "__init__.py").touch()
    (old / "eigbench" / "_version.py").write_text('__version__ = "0.0.7"')
    cluster.add("old", paths=old)
    for name in ("a", "b"):
        cluster.add(name)
    outcome = call("run", "mixed.toml", "--out", "r", "--cluster", cluster.address)
    assert outcome.code == 0, outcome
    assert _results(suites / "r") == alone
    refused = re.findall(r"worker tcp://\S+ is refused: it imports eigbench 0.0.7.*", outcome.err)
    assert len(refused) == 1
    sessions = _sessions(suites / "r")
    assert {s["worker"] for s in sessions} == {"", "a", "b"}
    # One worker of the machine timed what was timed, and its traces came back.
    timed = [r for r in records(suites / "r") if r["case"]["kind"] == "profile"]
    assert len({sessions[r["session"]]["worker"] for r in timed} - {""}) == 1
    kept = [r["labels"]["trace"][0] for r in timed]
    assert len(kept) == 2
    assert all((suites / "r" / path).stat().st_size > 1000 for path in kept)


def test_a_scheduler_that_is_lost_ends_the_run(suites: Path, cluster: Cluster) -> None:
    cluster.add("a")
    with _once_recorded(suites / "run", cluster.processes[0].kill):
        outcome = call("run", "long.toml", "--out", "run", "--cluster", cluster.address, "-q")
    assert "the scheduler is gone" in outcome.complaint


def test_no_scheduler_and_no_worker_of_this_version(
    suites: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS_TO_CONNECT", 1)
    words = ("run", "plain.toml", "-q", "--out", "r", "--cluster")
    complaint = call(*words, "tcp://127.0.0.1:9").complaint
    assert "--cluster: no scheduler answers at 'tcp://127.0.0.1:9'" in complaint
    assert not (suites / "r").exists()
    cluster.add("two", "--nthreads", "2")
    complaint = call(*words, cluster.address).complaint
    assert "is refused: it takes 2 cases at once; start it with --nthreads 1" in complaint


# Parts


@pytest.mark.usefixtures("_no_report")
def test_parts_are_merged_into_the_run(suites: Path, alone: dict[str, str]) -> None:
    for part in ("1", "2"):
        words = ("run", "plain.toml", "--part", f"{part}/2", "--out", part, "-q")
        assert call(*words).code == 0
        assert 20 < len(records(suites / part)) < 77
    outcome = call("merge", "1", "2", "whole", "-q")
    assert (outcome.code, outcome.out, outcome.err) == (0, "whole/report.md\n", "")
    assert _results(suites / "whole") == alone
    assert "Partial report" not in (suites / "whole" / "report.md").read_text(encoding="utf-8")
    assert (
        "the folders of two runs or more, and then a new folder"
        in call("merge", "1", "x").complaint
    )
    partial = call("merge", "1", "1", "half")
    assert partial.code == 0
    assert "cases are missing; to measure them" in partial.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "-1"], "--workers: '-1' is not valid"),
        (["--threads-per-worker", "0"], "--threads-per-worker: '0' is not valid"),
        (["--cluster", "nowhere"], "--cluster: 'nowhere' is not valid; accepted: the address of a"),
        (["--cluster", "tcp://a:1", "--workers", "2"], "--workers: a scheduler has its own"),
        (["--cluster", "slurm"], "--cluster slurm needs --workers N"),
        (["--part", "3/2"], "--part: '3/2' is not valid; accepted: K/N with K from 1 to N"),
        (["--part", "half"], "--part: 'half' is not valid"),
    ],
)
def test_what_makes_no_sense_is_refused(suites: Path, words: list[str], said: str) -> None:
    assert said in call("run", "mixed.toml", "--out", "r", *words).complaint
    assert not (suites / "r").exists()
