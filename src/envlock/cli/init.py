"""`envlock init`: a first envlock.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Flag, command
from envlock.cli.options import JSON

if TYPE_CHECKING:
    from envlock.config.edit.init_template import Template, Written

_FLOW_FILES = Argument("flow_files", "[FLOW_FILE]...", "Python files with flows. Default: an empty envlock.toml.")
_FORCE = Flag("--force", "Replace an existing envlock.toml; it is kept as envlock.toml.old.")
_SCHEMA = Flag("--schema", "Also write the JSON schema, so that an editor helps with the file.")
_METAFLOW_DEFAULT = Flag("--metaflow-default", "Also make envlock Metaflow's environment in this folder.")

_MOST_DROPPED = 20


@command(_FLOW_FILES, _FORCE, _SCHEMA, _METAFLOW_DEFAULT, JSON)
def init(line: CommandLine) -> int:
    """Write a first envlock.toml into this folder.

    With flow files, it has their flows and steps, and the requirements of their @conda, @pypi, @named_env and
    @sys_packages decorators. Reads the files and never runs them. Lists what it cannot read from their text, with
    the line, here and in envlock.toml.

    For example:

    - `envlock init`
    - `envlock init train_flow.py score_flow.py`
    - `envlock init --force flows/*.py`
    - `envlock init train_flow.py --metaflow-default`
    - `envlock init --metaflow-default` (it does not change an existing envlock.toml)
    """
    from envlock.config.edit.init_template import make_template, write_template
    from envlock.config.project import CONFIG_NAME

    folder = Path.cwd()
    force, schema, metaflow_default = map(line.has, (_FORCE, _SCHEMA, _METAFLOW_DEFAULT))
    if metaflow_default and not (force or schema) and (folder / CONFIG_NAME).exists():
        _only_default(folder, as_json=line.has(JSON))
        return 0
    made = make_template(folder, [Path(each) for each in line.values(_FLOW_FILES)], schema=schema)
    written = write_template(folder, made, force=force, schema=schema, metaflow_default=metaflow_default)
    names = [path.relative_to(folder).as_posix() for path in written.files]
    if line.has(JSON):
        _print_json(made, names, written)
    else:
        _print(folder, made, names, written)
    return 0


def _only_default(folder: Path, *, as_json: bool) -> None:
    """Make envlock Metaflow's default in a folder that has its envlock.toml, and say so."""
    from envlock.cli.console import write, write_err, write_json
    from envlock.config.edit.metaflow_config import make_default

    name = make_default(folder).relative_to(folder).as_posix()
    if as_json:
        write_json({"written": [name], "flows": [], "old": None, "dropped": []})
        return
    write(f"wrote {name}")
    write_err("note: envlock.toml exists already and was not changed")
    write_err("\nnext:")
    for line in _COMMIT:
        write_err(f"  {line}")


_COMMIT = (
    "commit envlock.toml, envlock.lock and .metaflow/config.json; where .gitignore has `.metaflow`,",
    "  write `.metaflow/*` and `!.metaflow/config.json` in its place",
)


def _print_json(made: Template, names: list[str], written: Written) -> None:
    from envlock.cli.console import write_json

    flows = [
        {
            "name": flow.name,
            "file": flow.file,
            "steps": list(flow.steps),
            "decorators": list(flow.decorators),
            "notes": [{"line": note.line, "step": note.step, "message": note.message} for note in flow.notes],
        }
        for flow in made.flows
    ]
    document = {
        "written": names,
        "flows": flows,
        "old": written.old.name if written.old else None,
        "dropped": None if written.dropped is None else list(written.dropped),
    }
    write_json(document)


def _print(folder: Path, made: Template, names: list[str], written: Written) -> None:
    from envlock.cli.console import console, write, write_err
    from envlock.config.edit.init_template import flow_files

    for name in names:
        write(f"wrote {name}")
    for flow in made.flows:
        asking = len(flow.step_tables)
        decorators = f", {len(flow.decorators)} decorators" if flow.decorators else ""
        write(f"  {flow.name}: {len(flow.steps)} steps, {asking} of their own{decorators}")
    if written.old:
        write_err(f"note: the previous envlock.toml is kept as {written.old.name}")
    if written.dropped:
        write_err("\nonly in the previous envlock.toml:")
        for key in written.dropped[:_MOST_DROPPED]:
            write_err(f"  {key}")
        if (more := len(written.dropped) - _MOST_DROPPED) > 0:
            write_err(f"  and {more} more")
    notes = [(flow.file, note) for flow in made.flows for note in flow.notes]
    if notes:
        from rich.text import Text

        write_err("\nreview:")
    for file, note in notes:
        place = Text(f"  {file}:{note.line} ", style="cyan")
        console(stderr=True).print(place + Text(f"{note.step}: {note.message}" if note.step else note.message))
    write_err("\nnext:")
    for line in _next_lines(made, names, flow_files(folder) if not made.flows else ()):
        write_err(f"  {line}")


def _next_lines(made: Template, names: list[str], unnamed: tuple[Path, ...]) -> list[str]:
    """What the user does now, in order."""
    lines = []
    if unnamed:
        lines.append(f"envlock init --force {' '.join(path.name for path in unnamed)}   reads the flows in this folder")
    if not made.flows:
        lines.append("name your flows in envlock.toml")
    for flow in made.flows:
        if flow.decorators:
            places = ", ".join(map(str, flow.decorators))
            lines.append(f"remove the decorators from {flow.file}, lines {places}: they need another --environment")
    lines.append("envlock lock")
    if ".metaflow/config.json" in names:
        lines += _COMMIT
    if made.flows:
        option = "" if ".metaflow/config.json" in names else " --environment=envlock"
        lines.append(f"python {made.flows[0].file}{option} run")
    return lines
