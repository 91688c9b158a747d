"""The commands, put together, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from eigbench._version import __version__
from eigbench.cli import check, compare, diagnose, listing, profile, run, stability, train
from eigbench.cli.axis_options import ListCommand
from eigbench.errors import EXIT_INPUT, EXIT_INTERRUPTED, InputError

app = typer.Typer(
    name="eigbench",
    help="Measure how to differentiate through an eigendecomposition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("stability", cls=ListCommand)(stability.stability)
app.command("profile", cls=ListCommand)(profile.profile)
app.command("train", cls=ListCommand)(train.train)
app.command("run")(run.run)
app.command("report")(run.report)
app.command("compare")(compare.compare)
app.command("check")(check.check)
app.command("diagnose")(diagnose.diagnose)
app.command("methods")(listing.methods)
app.command("env")(listing.env)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eigbench {__version__}")
        raise typer.Exit


@app.callback()
def _eigbench(
    _version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """The `eigbench` command."""
    # Of torch's own libraries only what went wrong is shown; they ask for it when they are loaded.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Wrong input is one line on standard error."""
    try:
        code = get_command(app).main(
            args=list(arguments), prog_name="eigbench", standalone_mode=False
        )
    except InputError as error:
        return _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as `| head` does; nothing is left to say to it.
        sys.stderr.close()
        return 0
    except OSError as error:
        # A name that the system refuses, a full disk: it says which, and why.
        return _complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except typer.TyperException as error:
        return _usage(error.format_message())
    return code if isinstance(code, int) else 0


def _usage(message: str) -> int:
    # Without a command typer has printed the help already, and has no message.
    return _complain(f"{message} (see eigbench --help)") if message else EXIT_INPUT


def _complain(message: str) -> int:
    # A file's name may hold what no encoding has.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode("utf-8")
    typer.echo(f"eigbench: {line}", err=True)
    return EXIT_INPUT
