"""`envlock init`: write a first envlock.toml, or add what is new to an existing one."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.options import DRY_RUN, JSON, ONE_ENV, ONE_FLOW, ONE_STEP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from envlock.config.edit.init_template import Template, Written
    from envlock.config.edit.vscode_settings import Vscode
    from envlock.config.project import Project
    from envlock.errors import EnvlockError

_FLOW_FILES = Argument(
    "flow_files", "[FLOW_FILE]...", "Python files or notebooks with flows. Default: those of this folder."
)
_WITH = Value(
    "--with",
    "FILE",
    "Take over this requirements.txt, environment.yml or pyproject.toml, for all flows.",
    repeatable=True,
)
_EXTENDS = Value("--extends", "FILE", "Take the settings of this team file, a file of the same repository.")
_FORCE = Flag("--force", "Write a new envlock.toml. The existing one is kept as envlock.toml.old.")
_SCHEMA = Flag("--schema", "Also write the JSON schema, so that an editor helps with the file.")
_METAFLOW_DEFAULT = Flag("--metaflow-default", "Also make envlock Metaflow's environment in this folder.")
_VSCODE = Flag(
    "--vscode", "Also make an environment of this project VS Code's interpreter. Choose it with --step or --env."
)

_MOST_DROPPED = 20


@command(
    *(
        _FLOW_FILES,
        _WITH,
        _EXTENDS,
        _FORCE,
        _SCHEMA,
        _METAFLOW_DEFAULT,
        _VSCODE,
        ONE_FLOW,
        ONE_STEP,
        ONE_ENV,
        DRY_RUN,
        JSON,
    ),
)
def init(line: CommandLine) -> int:
    """Write an envlock.toml into this folder, or add what is new to an existing one.

    It gets the flows of the folder and their steps, and the requirements of their @conda, @pypi, @named_env and
    @sys_packages decorators. Reads the files and never runs them. Lists what it cannot read from their text, with
    the line, here and in envlock.toml.

    A first envlock.toml gets the settings that `[init]` has in the settings files of the machine and the user, except
    with `--extends`. To an existing envlock.toml, it adds new flows and steps; everything else in it stays.
    Without FLOW_FILE, `--metaflow-default` and `--vscode` write only their own files.

    For example:

    - `envlock init`
    - `envlock init train_flow.py score_flow.py`
    - `envlock init --with requirements.txt`
    - `envlock init --extends ../team.toml`
    - `envlock init --force flows/*.py`
    - `envlock init train_flow.py --metaflow-default`
    - `envlock init --metaflow-default`
    - `envlock init --vscode --env base`
    """
    from envlock.config.edit.init_template import Written, make_template, text_there, write_template
    from envlock.config.project import CONFIG_NAME

    folder = Path.cwd()
    force, schema, metaflow_default = map(line.has, (_FORCE, _SCHEMA, _METAFLOW_DEFAULT))
    is_toml_kept = not (force or schema or line.has(_WITH) or line.has(_EXTENDS)) and (folder / CONFIG_NAME).exists()
    if is_toml_kept and line.has(_VSCODE) and not (metaflow_default or line.has(_FLOW_FILES)):
        _only_vscode(line, folder)
        return 0
    if metaflow_default and is_toml_kept and not line.has(_VSCODE):
        _only_default(folder, as_json=line.has(JSON), dry_run=line.has(DRY_RUN))
        return 0
    before = None if force else text_there(folder)
    files, take = [Path(each) for each in line.values(_FLOW_FILES)], line.values(_WITH)
    extends = line.value(_EXTENDS)
    made = make_template(folder, files, schema=schema, before=before, take=take, extends=extends)
    vscode = _vscode(line, folder, made.project) if line.has(_VSCODE) else None
    if line.has(DRY_RUN):
        written = Written(())
    else:
        written = write_template(folder, made, schema=schema, metaflow_default=metaflow_default)
        if vscode is not None and vscode.is_changed:
            from dataclasses import replace

            from envlock.config.edit.vscode_settings import write_settings

            written = replace(written, files=(*written.files, write_settings(folder, vscode.text)))
    names = [path.relative_to(folder).as_posix() for path in written.files]
    diff = _whole_difference(folder, made, vscode, metaflow_default) if line.has(DRY_RUN) else None
    if line.has(JSON):
        _print_json(made, names, written, diff)
    else:
        if diff:
            sys.stdout.write(diff)
        _print(made, names, written, vscode.next_lines if vscode else ())
    return 0


def _whole_difference(folder: Path, made: Template, vscode: Vscode | None, metaflow_default: bool) -> str:
    """What writing would change, as a unified diff. Raises CannotWrite, BadMetaflowConfig, as writing does."""
    from envlock.config.edit.errors import CannotWrite
    from envlock.config.edit.metaflow_config import with_default
    from envlock.config.project import CONFIG_NAME
    from envlock.files import refuse_unwritable

    try:
        refuse_unwritable(folder / CONFIG_NAME)
    except OSError as error:
        raise CannotWrite(CONFIG_NAME, error.strerror or str(error)) from None
    diff = difference(folder / CONFIG_NAME, made.text)
    if metaflow_default:
        path, text = with_default(folder)
        diff += difference(path, text) if text is not None else ""
    return diff + (difference(folder / vscode.path, vscode.text) if vscode is not None else "")


def difference(path: Path, text: str) -> str:
    """What writing a text to a file would change there, as a unified diff."""
    from difflib import unified_diff

    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    lines = unified_diff(before.splitlines(True), text.splitlines(True), path.name, path.name)
    return "".join(f"{line}" if line.endswith("\n") else f"{line}\n" for line in lines)


def _only_default(folder: Path, *, as_json: bool, dry_run: bool) -> None:
    """Make envlock Metaflow's default in a folder that has its envlock.toml, and say so."""
    from envlock.cli.console import say, write_err, write_json
    from envlock.config.edit.metaflow_config import make_default, with_default

    path, text = with_default(folder)
    diff = difference(path, text) if dry_run and text is not None else ""
    name = path.relative_to(folder).as_posix()
    if not dry_run:
        make_default(folder)
    if as_json:
        written = [] if dry_run else [name]
        document: dict[str, object] = {"written": written, "flows": [], "old": None, "dropped": [], "added": []}
        write_json({**document, "diff": diff} if dry_run else document, dry_run=dry_run)
        return
    if dry_run:
        sys.stdout.write(diff)
        return
    say(f"wrote {name}")
    write_err("note: envlock.toml exists already and was not changed")
    write_err("\nnext:")
    for line in _COMMIT:
        write_err(f"  {line}")


def _vscode(line: CommandLine, folder: Path, project: Project) -> Vscode:
    """VS Code's settings with an environment of the project. Raises what choosing one, and reading those, raises."""
    from envlock.config.edit.vscode_settings import Vscode
    from envlock.config.selection import choose_one
    from envlock.places import IN_PROJECT
    from envlock.workflow.machine.local_names import name_in_project

    chosen = choose_one(project, flow=line.value(ONE_FLOW), step=line.value(ONE_STEP), environment=line.value(ONE_ENV))
    option = f"--step {quote(chosen.name)}" if chosen.is_step else f"--env {quote(chosen.name)}"
    create = f"envlock create {option} --in-project   VS Code then uses it"
    link = IN_PROJECT / name_in_project(chosen)
    return Vscode.of(folder, link, () if (folder / link).exists() else (create,))


def _only_vscode(line: CommandLine, folder: Path) -> None:
    """Let VS Code use an environment of a folder that has its envlock.toml, and say so."""
    from envlock.cli.console import say, write_err, write_json
    from envlock.config.edit.vscode_settings import write_settings
    from envlock.config.project import CONFIG_NAME
    from envlock.config.read import load_project

    vscode = _vscode(line, folder, load_project(folder / CONFIG_NAME))
    names = [vscode.path.as_posix()] if vscode.is_changed and not line.has(DRY_RUN) else []
    if names:
        write_settings(folder, vscode.text)
    diff = difference(folder / vscode.path, vscode.text) if line.has(DRY_RUN) else None
    if line.has(JSON):
        document: dict[str, object] = {"written": names, "flows": [], "old": None, "dropped": [], "added": []}
        write_json(document if diff is None else {**document, "diff": diff}, dry_run=diff is not None)
        return
    if diff:
        sys.stdout.write(diff)
    for name in names:
        say(f"wrote {name}")
    if not vscode.is_changed:
        say(f"nothing to add: {vscode.path} has it already")
    if vscode.next_lines:
        write_err("\nnext:")
    for text in vscode.next_lines:
        write_err(f"  {text}")


_COMMIT = (
    "commit envlock.toml, envlock.lock and .metaflow/config.json; where .gitignore has `.metaflow`,",
    "  write `.metaflow/*` and `!.metaflow/config.json` in its place",
)


def _print_json(made: Template, names: list[str], written: Written, diff: str | None) -> None:
    from envlock.cli.console import write_json

    flows = [
        {
            "name": flow.name,
            "file": flow.file,
            "steps": list(flow.steps),
            "decorators": list(flow.lines()),
            "notes": [
                {"file": note.file or flow.file, "line": note.line, "step": note.step, "message": note.message}
                for note in flow.notes
            ],
        }
        for flow in made.flows
    ]
    document = {
        "written": names,
        "flows": flows,
        "old": written.old.name if written.old else None,
        "dropped": None if written.dropped is None else list(written.dropped),
        "added": [".".join(key) for key in made.added],
        "added_steps": [{"flow": flow, "step": step} for flow, step in made.steps],
        "offered": list(made.offered),
        "unread": [_unread_place(error) for error in made.unread],
        "settings": list(made.settings),
    }
    if diff is not None:
        document["diff"] = diff
    write_json(document, dry_run=diff is not None)


def _unread_place(error: EnvlockError) -> dict[str, object]:
    at = error.locations[0] if error.locations else None
    return {"file": at.path if at else None, "line": at.line if at else None, "message": error.message}


def _print(made: Template, names: list[str], written: Written, then: Iterable[str] = ()) -> None:
    from envlock.cli.console import say, write_err

    for text in _done_lines(made, names):
        say(text)
    if written.old:
        write_err(f"note: the previous envlock.toml is kept as {written.old.name}")
    if written.dropped:
        write_err("\nonly in the previous envlock.toml:")
        for key in written.dropped[:_MOST_DROPPED]:
            write_err(f"  {key}")
        if (more := len(written.dropped) - _MOST_DROPPED) > 0:
            write_err(f"  and {more} more")
    if made.settings:
        write_err(f"note: settings from the files of this machine and user: {', '.join(made.settings)}")
    print_notes(made)
    write_err("\nnext:")
    for text in (*_next_lines(made, names), *then):
        write_err(f"  {text}")


def _done_lines(made: Template, names: list[str]) -> Iterator[str]:
    """What was written, and the flows of a first envlock.toml, or what was added to one."""
    from envlock.config.edit.toml_edit import header_text
    from envlock.config.project import CONFIG_NAME

    is_new = made.before is None
    yield from (f"wrote {name}" for name in names if is_new or name != CONFIG_NAME)
    if is_new:
        for flow in made.flows if names else ():
            decorators = f", {len(flow.decorators)} decorators" if flow.decorators else ""
            yield f"  {flow.name}: {len(flow.steps)} steps, {len(flow.step_tables)} of their own{decorators}"
    elif not made.is_changed:
        yield f"nothing to add: {CONFIG_NAME} has all of it already"
    elif names:
        yield f"added to {CONFIG_NAME}:"
        yield from (f"  {header_text(key)}" if len(key) in {2, 4} else f"  {'.'.join(key)}" for key in made.added)
        yield from (f"  the step {step} of {flow}" for flow, step in made.steps)


def print_notes(made: Template) -> None:
    """List what could not be read from the flows, each with its place."""
    from envlock.cli.console import console, write_err

    notes = [(note.file or flow.file, note) for flow in made.flows for note in flow.notes]
    if notes or made.unread:
        from rich.text import Text

        write_err("\nreview:")
    for file, note in notes:
        place = Text(f"  {file}:{note.line} ", style="cyan")
        console(stderr=True).print(place + Text(f"{note.step}: {note.message}" if note.step else note.message))
    for error in made.unread:
        at = "".join(f"{each.path}:{each.line} " for each in error.locations[:1])
        write_err(f"  {at}left out: {error.message}")


def _next_lines(made: Template, names: list[str]) -> list[str]:
    """What the user does now, in order."""
    use = "for all flows" if made.flows else "as [env.base]"
    lines = [f"envlock init --with {quote(file)}   takes it over {use}" for file in made.offered]
    if not made.project.flows and not made.project.named:
        lines.append("name your flows in envlock.toml")
    for flow in made.flows:
        if places := flow.lines():
            numbers = ", ".join(map(str, places))
            lines.append(f"remove the decorators from {flow.file}, lines {numbers}: they need another --environment")
    if any(flow.decorators for flow in made.flows):
        lines.append("  (`envlock migrate` makes a patch of that)")
    lines.append("envlock lock")
    if ".metaflow/config.json" in names:
        lines += _COMMIT
    if made.flows:
        flow, is_default = made.flows[0], ".metaflow/config.json" in names
        if flow.file.endswith(".ipynb"):
            option = "" if is_default else ', environment="envlock"'
            lines.append(f"NBRunner({flow.name}{option}).nbrun()   in the flow's cell of {flow.file}")
        else:
            option = "" if is_default else " --environment=envlock"
            lines.append(f"python {flow.file}{option} run")
    return lines
