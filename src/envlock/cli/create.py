"""`envlock create`: create an environment on this machine, and give it a name that works from any folder."""

from __future__ import annotations

import os
import sys

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.one_environment import Wanted, ready_prefix
from envlock.cli.options import (
    CONFIG,
    FORCE,
    JSON,
    OFFLINE,
    ONE_ENV,
    ONE_FLOW,
    ONE_STEP,
    PATHSPEC,
    config_path,
    looked_up,
    open_project,
)
from envlock.cli.path import print_prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

_SHARED = Argument(
    "shared",
    "[NAME[:TAG]|REQ_ID:FULL_ID]",
    "An environment in the cache, even if this project does not use it: an alias, or the first digits of both ids, as "
    "`req_id:full_id`.",
    complete="aliases",
)
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
_FORCE = Flag(
    FORCE.name,
    "Create the environment even if this machine lacks what its lock requires, and take the name from another one.",
)
_REBUILD = Flag("--rebuild", "Create it again even if it exists, and check the hashes of all packages again.")


@command(
    _SHARED, ONE_FLOW, ONE_STEP, ONE_ENV, PATHSPEC, _NAME, _IN_PROJECT, _INTO, _FORCE, _REBUILD, OFFLINE, JSON, CONFIG
)
def create(line: CommandLine) -> int:
    """Create a locked environment on this machine and print its path.

    If the project has one environment, no option is needed. An environment in the cache, given by alias, ids or
    `--pathspec`, needs no lock in the project.

    For example:

    - `envlock create --step train`
    - `envlock create --env base --name base`
    - `envlock create --env base --in-project`
    - `envlock create --step train --rebuild`
    - `envlock create team/base:v1 --name base`
    - `envlock create --pathspec TrainFlow/142/train`
    - `envlock create --step train --into /opt/envlock`
    """
    from envlock.cli.errors import BadUsage

    for option in (_NAME, _IN_PROJECT):
        if line.has(option) and line.has(_INTO):
            raise BadUsage(f"`{option.name}` and `--into` exclude each other: give one of them", "envlock create")
    if line.has(_IN_PROJECT) and (line.has(_SHARED) or line.has(PATHSPEC)):
        raise BadUsage("`--in-project` is for environments of the project: give --step or --env", "envlock create")
    into = _folder(line.value(_INTO)) if line.has(_INTO) else None
    name = _checked(line.value(_NAME)) if line.has(_NAME) else ""
    wanted: Wanted | None = None
    if not (line.has(_SHARED) or line.has(PATHSPEC)):
        wanted = Wanted.of(line, rebuild=line.has(_REBUILD))
        prefix = ready_prefix(wanted) if into is None else _find_or_hydrate(wanted, into)
    elif (line.has(_SHARED) and line.has(PATHSPEC)) or any(line.has(each) for each in (ONE_FLOW, ONE_STEP, ONE_ENV)):
        raise BadUsage(
            "give one environment: an alias or ids, --flow and --step, --env, or --pathspec", "envlock create"
        )
    else:
        prefix = _make_shared(line, into)
    if name or line.has(_IN_PROJECT):
        _give_name(line, name, prefix, wanted)
    print_prefix(line, prefix)
    return 0


def _checked(name: str) -> str:
    from envlock.workflow.machine.local_names import check_name

    return check_name(name)


def _give_name(line: CommandLine, name: str, prefix: str, wanted: Wanted | None) -> None:
    """Give the prefix the name of `--name`, in the project with `--in-project`."""
    from pathlib import Path

    from envlock.workflow.machine.local_names import Origin, give_name, name_in_project

    origin = None
    if wanted is not None:
        origin = Origin(config_path(wanted.config), wanted.flow, wanted.step, wanted.environment)
    if line.has(_IN_PROJECT):
        assert origin is not None
        project, environment = origin.of_today()
        name = name or name_in_project(environment)
        link = give_name(name, Path(prefix), origin, project=project, force=line.has(_FORCE))
        sys.stderr.write(f"note: {project.shown(link)} leads to it\n")
    else:
        give_name(name, Path(prefix), origin, force=line.has(_FORCE))


def _folder(text: str) -> Path:
    """A folder as it was given, absolute. Raises BadUsage for none."""
    from pathlib import Path

    from envlock.cli.errors import BadUsage
    from envlock.places import expanded

    if not text:
        raise BadUsage("`--into` needs a folder", "envlock create")
    return Path(os.path.abspath(expanded(text)))  # noqa: PTH100  pathlib's own keeps `..`


def _find_or_hydrate(wanted: Wanted, into: Path) -> str:
    from envlock.cli.prefix import find_or_hydrate

    return find_or_hydrate(wanted, into)


def _make_shared(line: CommandLine, into: Path | None) -> str:
    """The prefix of an environment of the cache, for this machine."""
    from envlock.cli.progress import LiveReporter
    from envlock.model.arch import host_arch
    from envlock.named.lookup import Lookup
    from envlock.workflow.hydrate import hydrate

    lookup = Lookup(open_project(line), recalls=True)
    lock = lookup.lock(looked_up(line, lookup, _SHARED), host_arch())
    with LiveReporter() as reporter:
        prefix = hydrate(
            lookup.project,
            lock,
            reporter,
            offline=line.has(OFFLINE),
            force=line.has(_FORCE),
            rebuild=line.has(_REBUILD),
            into=into,
        )
    return str(prefix)
