"""The one environment that `run`, `path`, `shell` and `create` use, and its prefix: remembered, else found or made."""

from __future__ import annotations

import os
import time

from envlock.cli.options import CONFIG, FORCE, OFFLINE, ONE_ENV, ONE_FLOW, ONE_STEP
from envlock.cli.prefix_memo import home, recall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.cli.command import CommandLine


class Wanted:
    """Which environment a command line names. Empty means not said."""

    def __init__(
        self,
        *,
        flow: str = "",
        step: str = "",
        environment: str = "",
        name: str = "",
        config: str = "",
        offline: bool = False,
        hydrate: bool = True,
        force: bool = False,
        rebuild: bool = False,
    ) -> None:
        self.flow = flow
        self.step = step
        self.environment = environment
        self.name = name
        self.config = config
        self.offline = offline
        self.hydrate = hydrate
        self.force = force
        self.rebuild = rebuild
        self.began = time.time_ns()

    @classmethod
    def of(cls, line: CommandLine, *, name: str = "", hydrate: bool = True, rebuild: bool = False) -> Wanted:
        """What the options say. Raises BadUsage where one is given twice: there is one environment."""
        for option in line.command.options:
            if line.count(option) > 1:
                from envlock.cli.errors import BadUsage

                command = line.command.name
                raise BadUsage(f"`{option.name}` is given twice, and one environment is needed", f"envlock {command}")
        return cls(
            flow=line.value(ONE_FLOW),
            step=line.value(ONE_STEP),
            environment=line.value(ONE_ENV),
            name=name,
            config=line.value(CONFIG),
            offline=line.has(OFFLINE),
            hydrate=hydrate,
            force=line.has(FORCE),
            rebuild=rebuild,
        )

    @property
    def key(self) -> tuple[str, ...]:
        """What its memo is kept under."""
        return ("project", os.getcwd(), self.config, self.flow, self.step, self.environment)


def prefix_of(wanted: Wanted) -> str:
    """The prefix of this environment, hydrated first if it is not on this machine.

    Costs a few `stat` calls where it was found before. Raises EnvlockError.
    """
    if wanted.name and not (wanted.flow or wanted.step or wanted.environment or wanted.config):
        prefix = _named(wanted.name)
    else:
        prefix = None if wanted.name or wanted.rebuild else recall(wanted.key)
    if prefix is not None:
        return prefix
    from envlock.cli.prefix import find_or_hydrate

    return find_or_hydrate(wanted)


def named_link(name: str) -> str:
    """Where `envlock create --name` keeps a name."""
    return os.path.join(home(), "named", name)


def origin_file(name: str) -> str:
    """Where `envlock create --name` keeps which environment of which project a name was given to."""
    return os.path.join(home(), "named", f".{name}.from")


def _named(name: str) -> str | None:
    try:
        prefix = os.readlink(named_link(name))
        if os.path.lexists(origin_file(name)):
            return recall(("named", name, prefix))
        return recall(("prefix", prefix))
    except (OSError, ValueError):
        return None
