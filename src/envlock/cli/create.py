"""`envlock create`: create an environment on this machine, and give it a name that works from any folder."""

from __future__ import annotations

import os
import re
import sys

from envlock.cli.command import Argument, CommandLine, Flag, Value, command
from envlock.cli.one_environment import Wanted, ready_prefix
from envlock.cli.options import CONFIG, FORCE, OFFLINE, ONE_ENV, ONE_FLOW, ONE_STEP, PATHSPEC, looked_up, open_project

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
_LOCAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


@command(_SHARED, ONE_FLOW, ONE_STEP, ONE_ENV, PATHSPEC, _NAME, _INTO, _FORCE, _REBUILD, OFFLINE, CONFIG)
def create(line: CommandLine) -> int:
    """Create a locked environment on this machine and print its path.

    If the project has one environment, no option is needed. An environment in the cache, given by alias, ids or
    `--pathspec`, needs no lock in the project.

    For example:

    - `envlock create --step train`
    - `envlock create --env base --name base`
    - `envlock create --step train --rebuild`
    - `envlock create team/base:v1 --name base`
    - `envlock create --pathspec TrainFlow/142/train`
    - `envlock create --step train --into /opt/envlock`
    """
    from envlock.cli.errors import BadName, BadUsage

    name = line.value(_NAME)
    if line.has(_NAME) and line.has(_INTO):
        raise BadUsage("`--name` and `--into` exclude each other: give one of them", "envlock create")
    into = _folder(line.value(_INTO)) if line.has(_INTO) else None
    if line.has(_NAME) and not _LOCAL_NAME.match(name):
        raise BadName(name)
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
    if name:
        from envlock.cli.prefix import give_name

        give_name(name, prefix, wanted, force=line.has(_FORCE))
    sys.stdout.write(f"{prefix}\n")
    return 0


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
