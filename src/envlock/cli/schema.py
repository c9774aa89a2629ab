"""`envlock schema`: the JSON schema of envlock.toml, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

OutputOption = Annotated[
    Optional[Path],  # noqa: UP045  typer reads this when it runs, on Python 3.10 too
    typer.Option("--output", "-o", metavar="FILE", help="Write it to this file. Default: print it."),
]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("schema")(schema)


def schema(output: OutputOption = None) -> None:
    """Print the JSON schema of envlock.toml.

    An editor that knows TOML completes and checks envlock.toml with it: begin the file with
    `#:schema envlock.schema.json`.
    """
    from envlock.config.schema import json_schema_text

    text = json_schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    from envlock.files import write_atomically

    try:
        write_atomically(output, text.encode())
    except OSError as error:
        from envlock.config.edit.errors import CannotWrite

        raise CannotWrite(str(output), error.strerror or str(error)) from None
