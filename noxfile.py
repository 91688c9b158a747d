"""Sessions. Each installs what it needs on a fresh machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2025.2.9"

PROJECT = nox.project.load_toml("pyproject.toml")


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, name)


@nox.session
def tests(session: nox.Session) -> None:
    session.install("-e", ".[traces,cluster]", *_group("test"))
    # Neighbours in one process: what a module prepares is prepared once.
    session.run("pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


def _python_of_tests(session: nox.Session) -> str:
    """The Python of `tests`, made here if it is not there: torch is not installed twice."""
    folder = session.cache_dir.parent
    nox_again = ("-m", "nox", "--envdir", str(folder), "-s", "tests", "--install-only")
    session.run(sys.executable, *nox_again, external=True)
    return str(folder / "tests" / ("Scripts" if os.name == "nt" else "bin") / "python")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    python = _python_of_tests(session)
    packages = ("nox", *_group("types"))
    session.run(python, "-m", "pip", "install", "--quiet", *packages, external=True)
    session.run(python, "-m", "mypy", external=True)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """The site, in build/site: warnings are errors, and no page may load from a network."""
    python = _python_of_tests(session)
    session.run(python, "-m", "pip", "install", "--quiet", *_group("docs"), external=True)
    build = ("-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--jobs", "2")
    places = ("-c", "docs", "-d", "build/site-cache", ".", "build/site")
    session.run(python, *build, *places, external=True)
    site = {"EIGBENCH_SITE": "build/site"}
    session.run(python, "-m", "pytest", "tests/test_site.py", env=site, external=True)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Speed as ratios, compared with tests/benchmarks/baseline.json and with bars.

    In the environment of `tests`. `-- --accept-baseline` measures a new baseline, in as many
    processes as an entry remembers.
    """
    python = _python_of_tests(session)
    command = (python, "-m", "pytest", "tests/benchmarks", "-m", "speed", "--benchmark-enable")
    for _ in range(5 if "--accept-baseline" in session.posargs else 1):
        session.run(*command, *session.posargs, external=True)


def _install_declared(
    session: nox.Session, folder: Path, wheel: Path, resolution: str, *extras: str
) -> None:
    """The wheel, with versions resolved of the project: what a wheel needs is not direct to uv."""
    chosen = [f"--extra={extra}" for extra in extras]
    needs = ("--quiet", "--resolution", resolution, "--output-file", f"{folder}/needs.txt")
    python = ("--python", str(folder))
    session.run("uv", "pip", "compile", "pyproject.toml", *python, *needs, *chosen)
    what = ("--requirement", f"{folder}/needs.txt", str(wheel))
    session.run("uv", "pip", "install", *python, *what)


@nox.session
def package(session: nox.Session) -> None:
    """What is published, in empty environments: the library alone, then the commands.

    With the lowest versions that are declared, on the lowest Python, and with the newest, on the
    Python that runs nox or on `-- PATH_OF_ANOTHER`. Each brings a torch of its own: gigabytes.
    """
    session.install("build", "uv")
    dist = Path(session.create_tmp()).resolve()
    session.run("python", "-m", "build", "--outdir", str(dist))
    (wheel,) = dist.glob("eigbench-*.whl")
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    newest = session.posargs[0] if session.posargs else sys.executable
    for python, resolution in ((lowest, "lowest-direct"), (newest, "highest")):
        folder = dist / resolution
        session.run("uv", "venv", "--clear", "--python", python, str(folder))
        binaries = folder / ("Scripts" if os.name == "nt" else "bin")
        _install_declared(session, folder, wheel, resolution)
        # It ends with a command, whose extra is missing: exit code 2.
        alone = ("tests/library_alone.py", "--compile")
        session.run(str(binaries / "python"), *alone, external=True, success_codes=[2])
        _install_declared(session, folder, wheel, resolution, "report", "traces", "cluster")
        measured = ("stability", "--d", "4", "--seeds", "2", "--method", "spectral")
        run = (*measured, "--out", str(folder / "run"))
        for words in (["methods"], ["check", "spectral"], run, ["report", str(folder / "run")]):
            session.run(str(binaries / "eigbench"), *words, external=True)
