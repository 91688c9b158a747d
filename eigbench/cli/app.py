"""The commands, put together, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from eigbench._version import __version__
from eigbench.cli import (
    check,
    compare,
    diagnose,
    env,
    profile,
    run,
    stability,
    train,
    validate,
)
from eigbench.cli.axis_options import ListCommand
from eigbench.cli.surroundings import interruption, prepare_streams
from eigbench.errors import EXIT_INPUT, InputError, expect_arbitrary_bases, printable

app = typer.Typer(
    name="eigbench",
    help="Measure how to differentiate through an eigendecomposition.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("stability", cls=ListCommand)(stability.stability)
app.command("singular", cls=ListCommand)(stability.singular)
app.command("profile", cls=ListCommand)(profile.profile)
app.command("train", cls=ListCommand)(train.train)
app.command("run")(run.run)
app.command("report")(run.report)
app.command("validate")(validate.validate)
app.command("merge")(compare.merge)
app.command("compare")(compare.compare)
app.command("check")(check.check)
app.command("diagnose")(diagnose.diagnose)
app.command("methods")(env.methods)
app.command("env")(env.env)


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
    expect_arbitrary_bases()
    prepare_streams()
    code = invoke(sys.argv[1:])
    gc.freeze()  # or Python looks for cycles once more before it ends, after a report for 0.3 s
    sys.exit(code)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Wrong input is one line on standard error."""
    try:
        _require_text(arguments)
        code = get_command(app).main(
            args=list(arguments), prog_name="eigbench", standalone_mode=False
        )
        sys.stdout.flush()
    except InputError as error:
        return _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        return interruption.exit_code
    except OSError as error:
        # A name that the system refuses, a full disk: it says which, and why.
        return _complain(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except typer.TyperException as error:
        # Without a command typer has printed the help already, and has no message.
        message = error.format_message()
        return _complain(f"{message} (see eigbench --help)") if message else EXIT_INPUT
    except Exception:
        if interruption.number is None:
            raise
        return interruption.exit_code  # what a library made of Ctrl-C
    return code if isinstance(code, int) else 0


def _require_text(arguments: Sequence[str]) -> None:
    """A run remembers its command, and JSON and TOML are UTF-8."""
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise InputError(f"{word!r} is not UTF-8; give a file or folder that is") from None


LONGEST_LINE = 2000


def _complain(message: str) -> int:
    typer.echo(f"eigbench: {printable(message, LONGEST_LINE)}", err=True)
    return EXIT_INPUT
