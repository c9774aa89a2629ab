"""`envlock schema`: the JSON schema of envlock.toml, for editors."""

from __future__ import annotations

import sys
from pathlib import Path

from envlock.cli.command import CommandLine, Value, command

_OUTPUT = Value("--output", "FILE", "Write it to this file. Default: print it.", short="-o")


@command(_OUTPUT)
def schema(line: CommandLine) -> int:
    """Print the JSON schema of envlock.toml.

    An editor that knows TOML completes and checks envlock.toml with it: begin the file with
    `#:schema envlock.schema.json`.
    """
    from envlock.config.json_schema import json_schema_text

    text = json_schema_text()
    if not line.has(_OUTPUT):
        sys.stdout.write(text)
        return 0
    from envlock.files import write_atomically

    output = Path(line.value(_OUTPUT))
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        from envlock.config.edit.errors import CannotWrite

        raise CannotWrite(str(output), error.strerror or str(error)) from None
    return 0
