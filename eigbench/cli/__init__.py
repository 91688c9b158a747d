"""The command line: one file a command. Importing this imports no torch."""

from eigbench.cli.app import main

__all__ = ["main"]
