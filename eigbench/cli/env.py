"""`eigbench env`: the environment that a run would record."""

from __future__ import annotations

from typing import Annotated

import typer

from eigbench.cli import options


def env(
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:N or auto.")
    ] = "auto",
) -> None:
    """Print hardware, versions and threads as JSON, as a run records them."""
    chosen = options.resolve_device(device)
    import msgspec  # late, like torch in describe

    from eigbench.runs.environment import describe

    text = msgspec.json.format(msgspec.json.encode(describe(chosen, seed=0)), indent=2)
    typer.echo(text.decode())
