"""Where a run was measured: hardware, versions, threads, command line."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from eigbench._version import __version__

_PACKAGES = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "msgspec")


class Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process that measured. A run that was resumed has several."""

    started_at: str
    command: str
    eigbench: str
    python: str
    packages: dict[str, str]
    system: str
    machine: str
    processor: str
    logical_cores: int
    torch_threads: int
    device: str
    seed: int
    accelerator: dict[str, str] = {}
    """Of a GPU: driver, solver library, clocks and settings, by their names; empty of a CPU."""
    worker: str = ""
    """The name of a worker; of the process of the command, and of old runs, none."""
    host: str = ""
    """The start of a hash of the machine's name, which tells machines apart and names none."""
    other_programs: float | None = None
    """The share of all cores' time that other programs took, from the start to the end.

    Unknown of a process that was killed, and of workers.
    """


def describe(device: str, seed: int, arguments: list[str] | None = None) -> Session:
    """This process, about to measure on `device`."""
    import torch  # late: takes seconds

    words = sys.argv[1:] if arguments is None else arguments
    return Session(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["eigbench", *words]),
        eigbench=__version__,
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        system=f"{platform.system()} {platform.release()}",
        machine=platform.machine(),
        processor=_processor(),
        logical_cores=os.cpu_count() or 1,
        torch_threads=torch.get_num_threads(),
        device=_device_name(device),
        seed=seed,
        accelerator=_accelerator(device),
        host=hashlib.sha256(platform.node().encode()).hexdigest()[:8],
    )


def physical_cores() -> int:
    """How many cores this process may use, each once however many threads it runs."""
    import psutil  # late, as all that only some runs need

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(psutil.cpu_count(logical=False) or 1, allowed or 1)


class Used(NamedTuple):
    """Seconds since some moment, of all cores together."""

    total: float
    idle: float
    own: float


def used() -> Used:
    """What was used until now, and by this process and those that it started."""
    import psutil  # late, as all that only some runs need

    cores, times = psutil.cpu_times(), os.times()
    own = time.process_time() + times.children_user + times.children_system
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            # Workers that ended are known to the process that they came from alone.
            spent = child.cpu_times()
            own += spent.user + spent.system + spent.children_user + spent.children_system
    # What a guest of this machine uses is part of "user" already.
    total = sum(v for name, v in cores._asdict().items() if not name.startswith("guest"))
    return Used(total, cores.idle + getattr(cores, "iowait", 0.0), own)


def share_of_others(before: Used, after: Used) -> float:
    """The share of all cores' time that neither was idle nor ours."""
    passed = after.total - before.total
    others = passed - (after.idle - before.idle) - (after.own - before.own)
    return max(others / passed, 0.0) if passed > 0 else 0.0


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # late: the command line's start

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name, which Linux keeps in a file and other systems in `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _device_name(device: str) -> str:
    import torch

    if torch.device(device).type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return device


_SMI = {
    "driver": "driver_version",
    "SM clock now": "clocks.sm",
    "SM clock at most": "clocks.max.sm",
    "memory clock now": "clocks.mem",
    "power limit": "power.limit",
    "temperature": "temperature.gpu",
    "reasons for lower clocks": "clocks_event_reasons.active",
}
"""What `nvidia-smi` is asked, and how a report calls it."""


_SWITCH = {True: "on", False: "off"}


def _accelerator(device: str) -> dict[str, str]:
    """What decides the speed and the digits of a GPU; what cannot be had is left out."""
    import torch

    if torch.device(device).type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    preferred = torch.backends.cuda.preferred_linalg_library()
    found = {
        "multiprocessors": str(properties.multi_processor_count),
        "memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "TF32 in matrix products": _SWITCH[torch.backends.cuda.matmul.allow_tf32],
        "TF32 in convolutions": _SWITCH[torch.backends.cudnn.allow_tf32],
        "cuDNN": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "preferred linear algebra library": str(preferred).rpartition(".")[2].lower(),
    }
    for package in (
        "nvidia-cusolver",
        f"nvidia-cusolver-cu{(torch.version.cuda or '0').split('.')[0]}",
    ):
        if (known := _version(package)) != "not installed":
            found["cuSOLVER"] = known
    return found | _smi(torch.device(device).index or 0)


def _smi(index: int) -> dict[str, str]:
    """The answers of `nvidia-smi`; none where it is not there or does not know a question."""
    query = [
        "nvidia-smi",
        f"--id={index}",
        f"--query-gpu={','.join(_SMI.values())}",
        "--format=csv,noheader",
    ]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(_SMI, answer.stdout.strip().split(", "), strict=False))
