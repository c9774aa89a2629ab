"""`envlock schema`: the JSON schema of envlock.toml, for editors."""

from __future__ import annotations

import sys
from pathlib import Path

from envlock.cli.command import CommandLine, Flag, Value, command

_TEAM = Flag("--team", "Print the schema of a team file, which envlock.toml extends.")
_USER = Flag("--user", "Print the schema of the settings file of a user or a machine.")
_OUTPUT = Value("--output", "FILE", "Write it to this file. Default: print it.", short="-o")


@command(_TEAM, _USER, _OUTPUT)
def schema(line: CommandLine) -> int:
    """Print the JSON schema of envlock.toml, or of a settings file.

    An editor that knows TOML completes and checks envlock.toml with it: begin the file with
    `#:schema envlock.schema.json`.

    For example:

    - `envlock schema --output envlock.schema.json`
    - `envlock schema --team --output team.schema.json`
    - `envlock schema --user`
    """
    from envlock.config.json_schema import json_schema_text, settings_schema_text

    if line.has(_TEAM) and line.has(_USER):
        from envlock.cli.errors import BadUsage

        raise BadUsage("`--team` and `--user` exclude each other: give one of them", "envlock schema")
    is_settings = line.has(_TEAM) or line.has(_USER)
    text = settings_schema_text(is_machine=line.has(_USER)) if is_settings else json_schema_text()
    if not line.has(_OUTPUT):
        sys.stdout.write(text)
        return 0
    from envlock.files import write_atomically

    output = Path(line.value(_OUTPUT))
    _refuse_other(output, line.value(_OUTPUT))
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        from envlock.config.edit.errors import CannotWrite

        raise CannotWrite(str(output), error.strerror or str(error)) from None
    return 0


def _refuse_other(output: Path, written: str) -> None:
    """Raise BadUsage for a file that is there and holds no JSON, such as the envlock.toml that the schema is for."""
    from envlock.cli.errors import BadUsage
    from envlock.files import CONFIG_BYTES, read_file

    try:
        beginning = read_file(output, CONFIG_BYTES).lstrip()[:1]
    except OSError:
        return  # nothing is there, or what writing says more of
    if beginning not in {b"", b"{"}:
        raise BadUsage(f"`--output`: {written} is there, and is no JSON schema", "envlock schema")
