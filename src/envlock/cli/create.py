"""`envlock create`: create an environment on this machine, and give it a name that works from any folder."""

from __future__ import annotations

import os

from envlock.cli.command import CommandLine, Flag, Value, command
from envlock.cli.one_environment import Wanted, ready_prefix
from envlock.cli.options import (
    CONFIG,
    DRY_RUN,
    ENVIRONMENT,
    FORCE,
    JSON,
    OFFLINE,
    ONE_ENV,
    ONE_FLOW,
    ONE_STEP,
    PATHSPEC,
    config_path,
    open_project,
)
from envlock.cli.path import print_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_NAME = Value("--name", "N", "Name it N. `envlock run --name N -- ...` then works from any folder.")
_IN_PROJECT = Flag(
    "--in-project",
    "Also make a link to it in the project, which editors can use: `.envlock/envs/NAME`. Default name: its own.",
)
_INTO = Value(
    "--into",
    "FOLDER",
    "Create it in this folder, with its Python build, for an image: tasks find it there by ENVLOCK_PREBUILT.",
)
OF_THE_PROJECT = "`--in-project` is for environments of the project: name a step or an `[env.*]` table"
_FORCE = Flag(
    FORCE.name,
    "Create the environment even if this machine lacks what its lock requires, and take the name from another one.",
)
_REBUILD = Flag("--rebuild", "Create it again even if it exists, and check the hashes of all packages again.")


_INTO_DIR = Value(
    "--into-dir",
    "FOLDER",
    "With --pathspec: also unpack the code of that run into this new folder, with a `python` and an `enter.sh` that "
    "run it in the environment.",
)
_INSTALL_NOTEBOOK = Flag(
    "--install-notebook", "With --pathspec: also install a Jupyter kernel of it, with the code of --into-dir."
)


@command(
    *(ENVIRONMENT, ONE_FLOW, ONE_STEP, ONE_ENV, PATHSPEC, _NAME, _IN_PROJECT, _INTO, _INTO_DIR, _INSTALL_NOTEBOOK),
    *(_FORCE, _REBUILD, OFFLINE, DRY_RUN, JSON, CONFIG),
)
def create(line: CommandLine) -> int:
    """Create a locked environment on this machine and print its path.

    If the project has one environment, nothing names it. An environment in the cache, given by alias, ids or
    `--pathspec`, needs no lock in the project.

    For example:

    - `envlock create train`
    - `envlock create --flow TrainFlow --step train`
    - `envlock create base --name base`
    - `envlock create base --in-project`
    - `envlock create train --rebuild`
    - `envlock create team/base:v1 --name base`
    - `envlock create --pathspec TrainFlow/142/train`
    - `envlock create --pathspec TrainFlow/142/train --into-dir past --install-notebook`
    - `envlock create train --into /opt/envlock`
    """
    _refuse_combinations(line)
    into = _folder(line, _INTO) if line.has(_INTO) else None
    name = _checked(line.value(_NAME)) if line.has(_NAME) else ""
    wanted = Wanted.of(line, rebuild=line.has(_REBUILD), dry_run=line.has(DRY_RUN))
    if line.has(_IN_PROJECT):
        _refuse_others(line, wanted)
    if line.has(_INTO_DIR) or line.has(_INSTALL_NOTEBOOK):
        prefix = _create_with_code(line, wanted)
    else:
        prefix = ready_prefix(wanted) if into is None else _find_or_hydrate(wanted, into)
    if name or line.has(_IN_PROJECT):
        _give_name(line, name, prefix, wanted)
    if not line.has(DRY_RUN):
        print_prefix(line, prefix)
    elif line.has(JSON):
        from envlock.cli.console import write_json

        write_json({"prefix": prefix, "python": f"{prefix}/bin/python", "dry_run": True})
    else:
        from envlock.cli.console import say
        from envlock.errors import one_line

        would = line.has(_REBUILD) or not _is_there(prefix)
        say(one_line(f"would create {prefix}" if would else f"{prefix} is there already"))
    return 0


def _is_there(prefix: str) -> bool:
    from pathlib import Path

    from envlock.hydration.prefix import read_receipt

    return read_receipt(Path(prefix)) is not None


def _note(text: str) -> None:
    """Note what was done, or would be, beside creating the environment."""
    from envlock.cli.console import write_err
    from envlock.errors import one_line

    write_err(one_line(text))


def _refuse_combinations(line: CommandLine) -> None:
    """Raise BadUsage for options that do not go together."""
    wrong = ""
    beside = next((each.name for each in (_NAME, _IN_PROJECT, _INTO_DIR, _INSTALL_NOTEBOOK) if line.has(each)), "")
    if line.has(_INTO) and beside:
        wrong = f"`{beside}` and `--into` exclude each other: give one of them"
    if line.has(_IN_PROJECT) and line.has(PATHSPEC):
        wrong = OF_THE_PROJECT
    for option in (_INTO_DIR, _INSTALL_NOTEBOOK):
        if line.has(option) and not line.has(PATHSPEC):
            wrong = f"`{option.name}` needs `--pathspec`"
    if wrong:
        from envlock.cli.errors import BadUsage

        raise BadUsage(wrong, "envlock create")


def _refuse_others(line: CommandLine, wanted: Wanted) -> None:
    """Raise BadUsage for an environment that is not one of the project."""
    from envlock.cli.errors import BadUsage
    from envlock.cli.prefix import chosen

    if wanted.reference and chosen(wanted, open_project(line)) is None:
        raise BadUsage(OF_THE_PROJECT, "envlock create")


def _create_with_code(line: CommandLine, wanted: Wanted) -> str:
    """The prefix of what a task ran in, with the code of its run, and a kernel. What cannot work is refused first."""
    import shlex
    from pathlib import Path

    from envlock.cli.kernel import subject_of
    from envlock.cli.progress import LiveReporter
    from envlock.workflow import task_code
    from envlock.workflow.machine import kernels

    project = open_project(line)
    subject = subject_of(project, "", wanted.pathspec)
    name = line.value(_NAME) if line.has(_NAME) else None
    if line.has(_INSTALL_NOTEBOOK):
        kernels.place_of(subject, name)
    variables: dict[str, str] | None = None
    if line.has(_INTO_DIR):
        folder = _folder(line, _INTO_DIR)
        task_code.check_folder(folder)
        package = task_code.code_package(subject.name)
        prefix = ready_prefix(wanted)
        command = f"envlock create --pathspec {shlex.quote(wanted.pathspec)} --config {shlex.quote(str(project.path))}"
        variables = package.variables(folder)
        if line.has(DRY_RUN):
            _note(f"note: would unpack the code of {subject.name} into {folder}")
        else:
            task_code.unpack_code(package, folder, Path(prefix), command)
            _note(f"note: the code of {subject.name} is in {folder}; {folder}/python runs it")
    else:
        prefix = ready_prefix(wanted)
    if line.has(_INSTALL_NOTEBOOK):
        with LiveReporter() as reporter:
            made = kernels.install(
                project,
                subject,
                reporter,
                name=name,
                variables=variables,
                offline=line.has(OFFLINE),
                force=line.has(_FORCE),
                dry_run=line.has(DRY_RUN),
            )
        would = "would install" if line.has(DRY_RUN) else "installed"
        _note(f"note: {would} the kernel {made.made_from.name}")
    return prefix


def _checked(name: str) -> str:
    from envlock.workflow.machine.local_names import check_name

    return check_name(name)


def _give_name(line: CommandLine, name: str, prefix: str, wanted: Wanted) -> None:
    """Give the prefix the name of `--name`, in the project with `--in-project`."""
    from pathlib import Path

    from envlock.workflow.machine.local_names import Origin, give_name, name_in_project

    origin = None
    if wanted.reference:
        from envlock.cli.prefix import chosen

        environment = chosen(wanted, open_project(line))
        if environment is not None:
            is_step = environment.key[0] == "flow"
            names = (environment.key[1], environment.key[3], "") if is_step else ("", "", environment.name)
            origin = Origin(config_path(wanted.config), *names)
    elif not wanted.pathspec:
        origin = Origin(config_path(wanted.config), wanted.flow, wanted.step, wanted.environment)
    if line.has(_IN_PROJECT):
        assert origin is not None, "of another environment, nothing was created"
        project, environment = origin.of_today()
        name = name or name_in_project(environment)
        link = give_name(name, Path(prefix), origin, project=project, force=line.has(_FORCE), dry_run=line.has(DRY_RUN))
        _note(f"note: {project.shown(link)} {'would lead' if line.has(DRY_RUN) else 'leads'} to it")
    else:
        give_name(name, Path(prefix), origin, force=line.has(_FORCE), dry_run=line.has(DRY_RUN))


def _folder(line: CommandLine, option: Value) -> Path:
    """A folder as it was given, absolute. Raises BadUsage for none."""
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.places import expanded

    if not line.value(option):
        raise BadUsage(f"`{option.name}` needs a folder", "envlock create")
    return Path(os.path.abspath(expanded(line.value(option))))  # noqa: PTH100  pathlib's own keeps `..`


def _find_or_hydrate(wanted: Wanted, into: Path) -> str:
    from envlock.cli.prefix import find_or_hydrate

    return find_or_hydrate(wanted, into)
