"""The one environment that `run`, `path`, `shell` and `create` use, and its prefix: from a memo, else found or made."""

from __future__ import annotations

import os
import time

from envlock.cli.command import Value
from envlock.cli.options import CONFIG, ENVIRONMENT, FORCE, OFFLINE, ONE_ENV, ONE_FLOW, ONE_STEP, PATHSPEC, config_given
from envlock.cli.prefix_memo import home, recall
from envlock.in_use import hold, stays, used
from envlock.settings_files import settings_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.cli.command import CommandLine

_ATTEMPTS = 3


class Wanted:
    """Which environment a command line names. Empty means not given."""

    def __init__(
        self,
        *,
        flow: str = "",
        step: str = "",
        environment: str = "",
        name: str = "",
        pathspec: str = "",
        reference: str = "",
        config: str = "",
        offline: bool = False,
        hydrate: bool = True,
        force: bool = False,
        rebuild: bool = False,
        dry_run: bool = False,
    ) -> None:
        self.flow = flow
        self.step = step
        self.environment = environment
        self.name = name
        self.pathspec = pathspec
        self.reference = reference
        self.config = config
        self.offline = offline
        self.hydrate = hydrate
        self.force = force
        self.rebuild = rebuild
        self.dry_run = dry_run
        self.began = time.time_ns()

    @classmethod
    def of(
        cls, line: CommandLine, *, name: str = "", hydrate: bool = True, rebuild: bool = False, dry_run: bool = False
    ) -> Wanted:
        """The environment of the options; `name` is the one of `--name`. Raises BadUsage if they name two."""
        values = [option for option in line.command.options if isinstance(option, Value)]
        twice = [option.name for option in values if line.count(option) > 1]
        is_task = PATHSPEC in values and line.has(PATHSPEC)
        reference = line.value(ENVIRONMENT) if ENVIRONMENT in line.command.params and line.has(ENVIRONMENT) else ""
        alone = "--name" if name else PATHSPEC.name if is_task else ENVIRONMENT.metavar if reference else ""
        others = (ONE_FLOW, ONE_STEP, ONE_ENV, *((CONFIG,) if name else ()), *((PATHSPEC,) if name and is_task else ()))
        others = (*others, *((ENVIRONMENT,) if alone and alone != ENVIRONMENT.metavar and reference else ()))
        beside = [option.name for option in others if alone and line.has(option)]
        if twice or beside:
            from envlock.cli.errors import BadUsage

            wrong = f"`{twice[0]}` is given twice" if twice else f"`{alone}` and `{beside[0]}` exclude each other"
            raise BadUsage(f"{wrong}: give one environment", f"envlock {line.command.name}")
        return cls(
            flow=line.value(ONE_FLOW),
            step=line.value(ONE_STEP),
            environment=line.value(ONE_ENV),
            name=name,
            pathspec=line.value(PATHSPEC) if is_task else "",
            reference=reference,
            config=config_given(line),
            offline=line.has(OFFLINE),
            hydrate=hydrate,
            force=line.has(FORCE),
            rebuild=rebuild,
            dry_run=dry_run,
        )

    @property
    def key(self) -> tuple[str, ...]:
        """The key of its memo. Which settings files count is in it, for variables say that."""
        files = os.pathsep.join(path for _, path in settings_files())
        return ("project", os.getcwd(), self.config, self.flow, self.step, self.environment, self.reference, files)


def ready_prefix(wanted: Wanted) -> str:
    """The prefix of this environment, hydrated first if it is not on this machine; where it would be, by a dry run.

    Notes that it is used, so `env gc` leaves it for now. Costs a few `stat` calls where it was found before. Raises
    EnvlockError.
    """
    prefix = _found(wanted)
    for _ in range(0 if wanted.dry_run else _ATTEMPTS):
        if stays(prefix):
            break
        prefix = _found(wanted)  # it was removed a moment ago
    return prefix


def _found(wanted: Wanted) -> str:
    prefix = None
    if wanted.name:
        prefix = _named(wanted.name)
    elif not (wanted.rebuild or wanted.pathspec):
        prefix = recall(wanted.key)
    if prefix is None:
        from envlock.cli.prefix import find_or_hydrate

        prefix = find_or_hydrate(wanted)
    return prefix


def held_prefix(wanted: Wanted) -> str:
    """As `ready_prefix`; `env gc` leaves it as long as this process lives, and what it becomes or starts."""
    prefix = _found(wanted)
    for _ in range(_ATTEMPTS):
        used(prefix)
        if hold(prefix):
            break
        prefix = _found(wanted)
    return prefix


def named_link(name: str) -> str:
    """The link that `envlock create --name` makes."""
    return os.path.join(home(), "named", name)


def origin_file(name: str) -> str:
    """Where `envlock create --name` writes which environment of which project the name is for."""
    return os.path.join(home(), "named", f".{name}.from")


def _named(name: str) -> str | None:
    try:
        prefix = os.readlink(named_link(name))
        if os.path.lexists(origin_file(name)):
            return recall(("named", name, prefix))
        return recall(("prefix", prefix))
    except (OSError, ValueError):
        return None
