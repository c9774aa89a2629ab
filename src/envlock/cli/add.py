"""`envlock add`: add packages to envlock.toml."""

from __future__ import annotations

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.options import CONFIG, DRY_RUN, JSON, open_project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from envlock.config.edit.errors import NotListed
    from envlock.config.project import KeyPath, Project

TARGET_FLOW = Value("--flow", "FLOW", "The flow, where there are several.", complete="flows")
TARGET_STEP = Value("--step", "STEP", "Only for this step of the flow.", complete="steps")
TARGET_ENV = Value("--env", "NAME", "For this `[env.NAME]`.", complete="environments")
CONDA = Flag("--conda", "From a conda channel, not from PyPI.")
_CHANNEL = Value("--channel", "CHANNEL", "Take it from this conda channel; needs `--conda`.")
_INDEX = Value(
    "--index", "INDEX", "Take it from this index only: a name in `[envlock.indexes]`, or a URL.", complete="indexes"
)
_PACKAGES = Argument(
    "packages", "PACKAGE...", 'A name, a requirement: `"pandas>=2,<3"`, or the path of a folder, a wheel or an sdist.'
)


@command(_PACKAGES, TARGET_FLOW, TARGET_STEP, TARGET_ENV, CONDA, _CHANNEL, _INDEX, DRY_RUN, JSON, CONFIG)
def add(line: CommandLine) -> int:
    """Add packages to a flow, one of its steps, or an `[env.NAME]`.

    Edits envlock.toml and keeps your comments, order and style. A package that it lists already gets the new
    version. It does not lock anything: run `envlock lock` next.

    With `--channel`, only that package comes from the channel.

    For example:

    - `envlock add "pandas>=2,<3"`
    - `envlock add rich --step train`
    - `envlock add "requests[socks]" --env base`
    - `envlock add "demo @ https://index.example/demo-1-py3-none-any.whl"`
    - `envlock add "tool @ git+https://code.example/team/tool@v1.2.0"`
    - `envlock add ./libs/common`
    - `envlock add "common[io] @ ./libs/common"`
    - `envlock add --conda "ffmpeg>=6" --step encode`
    - `envlock add --conda samtools --channel bioconda`
    - `envlock add "torch>=2.3" --index pytorch`
    - `envlock add rich --dry-run`
    """
    return edit(line, line.values(_PACKAGES), channel=line.value(_CHANNEL), index=line.value(_INDEX))


def edit(line: CommandLine, packages: Sequence[str], *, channel: str = "", index: str = "") -> int:
    """Add or remove packages, as the command is, and say what changed."""
    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.errors import BadUsage
    from envlock.config.edit.add_remove import add_packages, channel_name, choose_level, remove_packages
    from envlock.config.edit.errors import NotListed
    from envlock.config.edit.save import check_writable, load_text, save

    flow, step, env = line.value(TARGET_FLOW), line.value(TARGET_STEP), line.value(TARGET_ENV)
    conda = line.has(CONDA)
    typed = f"envlock {line.command.name}"
    if env and (flow or step):
        raise BadUsage("`--env` names an environment of its own, of no flow", typed)
    if channel and (not conda or any("::" in package for package in packages)):
        reason = "a package names its channel already" if conda else "`--channel` is for conda packages: add `--conda`"
        raise BadUsage(reason, typed)
    if index and conda:
        raise BadUsage("`--index` is for PyPI packages; for a conda package, use `--channel`", typed)
    project = open_project(line)
    level = choose_level(project, flow=flow, step=step, env=env)
    text = project.text
    if channel:
        channel = channel_name(text, level, channel)
    if line.command is add:
        paths = {} if conda else _paths(packages, project)
        text, changes = add_packages(text, level, packages, conda=conda, channel=channel, index=index, paths=paths)
    else:
        try:
            text, changes = remove_packages(text, level, packages, conda=conda, name=project.path.name)
        except NotListed as error:
            raise error if error.locations else _listed_in_a_file(project, level, packages, error) from None
    dry_run = line.has(DRY_RUN)
    if text != project.text and dry_run:
        load_text(project.path, text)
        check_writable(project.path)
    elif text != project.text:
        save(project.path, text)
    if line.has(JSON):
        write_json(
            {
                "config": str(project.path),
                "changes": [
                    {"table": ".".join(one.level), "before": _json(one.before), "after": _json(one.after)}
                    for one in changes
                ],
            },
            dry_run=dry_run,
        )
        return 0
    for one in changes:
        say(f"{one}  [{'.'.join(one.level)}]")
    write_err(
        "nothing was written"
        if dry_run and changes
        else "hint: envlock lock"
        if changes
        else f"[{'.'.join(level)}] lists that already"
    )
    return 0


def _paths(packages: Sequence[str], project: Project) -> dict[str, tuple[str, dict[str, Any]]]:
    """The entries of packages that are paths, `name @ path` too: those that begin with a dot, and wheels and sdists."""
    from envlock.model.url import SDISTS

    found = {}
    for each in packages:
        path = each.rpartition("@")[2].partition(" ;")[0].strip()
        if "://" not in each and (path.startswith(("./", "../")) or path.endswith((".whl", *SDISTS))):
            from pathlib import Path

            from envlock.config.requirement_files.pip_requirement import path_entry

            found[each] = path_entry(each, folder=Path.cwd(), project=project.path.parent)
    return found


def _listed_in_a_file(project: Project, level: KeyPath, packages: Sequence[str], error: NotListed) -> NotListed:
    """The error, or one that names the lines of requirement files where the first such package is."""
    from envlock.config.edit.errors import NotListed
    from envlock.config.project import LineOfFile
    from envlock.model.requirement import normalized

    for package in packages:
        found = {
            project.locate(key)
            for environment in project.environments()
            for thing in (normalized(package), f"conda:{package.lower()}")
            for key in environment.all_origins(thing)
            if isinstance(key, LineOfFile) and key[: len(level)] == level
        }
        if found:
            hint = "remove it there: envlock writes only envlock.toml"
            return NotListed(package, f"`[{'.'.join(level)}]`", elsewhere=sorted(found), hint=hint)
    return error


def _json(entry: tuple[str, object] | None) -> dict[str, object] | None:
    return {"package": _clean(entry[0]), "version": _clean(entry[1])} if entry else None


def _clean(value: object) -> object:
    """A value of envlock.toml without the credentials that an index's URL in it may have."""
    from envlock.redaction import without_credentials

    if isinstance(value, dict):
        return {part: _clean(inner) for part, inner in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else without_credentials(str(value))
