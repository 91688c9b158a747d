"""The command line: one file a command. Importing this imports nothing slow."""

from __future__ import annotations

import sys

from eigbench.cli.surroundings import interruption


def main() -> None:
    """The `eigbench` command."""
    try:
        interruption.receive()
        from eigbench.cli import app  # after that, since it takes a tenth of a second

        app.main()
    except KeyboardInterrupt:
        sys.exit(interruption.exit_code)
