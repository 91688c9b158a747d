"""The command line: one file a command. Importing this imports nothing slow."""

from __future__ import annotations

import sys

from eigbench.cli.surroundings import interruption
from eigbench.errors import EXIT_INPUT, MissingExtra, needing_report


def main() -> None:
    """The `eigbench` command."""
    try:
        interruption.receive()
        with needing_report():
            from eigbench.cli import app  # after that, since it takes a tenth of a second

            app.main()
    except MissingExtra as error:
        sys.stderr.write(f"eigbench: {error}\n")
        sys.exit(EXIT_INPUT)
    except KeyboardInterrupt:
        sys.exit(interruption.exit_code)
