"""Sessions: tests, lint, types, bench. Each installs what it needs on a fresh machine."""

from __future__ import annotations

import nox

nox.options.sessions = ["tests", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True
nox.needs_version = ">=2025.2.9"

PROJECT = nox.project.load_toml("pyproject.toml")


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PROJECT, name)


@nox.session
def tests(session: nox.Session) -> None:
    session.install("-e", ".", *_group("test"))
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    session.install("-e", ".", "nox", *_group("test"), *_group("types"))
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Speed as ratios to torch's own decompositions, interleaved in one process."""
    session.install("-e", ".", *_group("test"))
    session.run("pytest", "tests/benchmarks", "-m", "speed", "--benchmark-enable", *session.posargs)
