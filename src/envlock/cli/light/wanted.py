"""Which environment `run`, `path` and `create` mean, and its prefix: remembered, else worked out the whole way."""

from __future__ import annotations

import os
import time

from envlock.cli.light.memo import home, recall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALUES = ("--flow", "--step", "--env", "--name", "--config")
FLAGS = ("--offline", "--force")


class Wanted:
    """The environment that a command line asks for. Empty means not said."""

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
    def of(cls, options: Mapping[str, Sequence[str]], command: str) -> Wanted:
        """What these options of `command` say. Raises BadUsage where one was given twice: there is one environment."""
        for option, given in options.items():
            if len(given) > 1:
                from envlock.cli.errors import BadUsage

                raise BadUsage(f"`{option}` is given twice, and one environment is needed", f"envlock {command}")
        said = {option: given[0] for option, given in options.items()}
        return cls(
            flow=said.get("--flow", ""),
            step=said.get("--step", ""),
            environment=said.get("--env", ""),
            name=said.get("--name", ""),
            config=said.get("--config", ""),
            offline="--offline" in said,
            hydrate="--no-hydrate" not in said,
            force="--force" in said,
        )

    @property
    def key(self) -> tuple[str, ...]:
        """What a memo of it is kept under."""
        return ("project", os.getcwd(), self.config, self.flow, self.step, self.environment)


def prefix_of(wanted: Wanted) -> str:
    """The prefix of the environment that is wanted, made now where it is not there.

    A few file looks where it was found before. Raises EnvlockError.
    """
    if wanted.name and not (wanted.flow or wanted.step or wanted.environment or wanted.config):
        prefix = _named(wanted.name)
    else:
        prefix = None if wanted.name or wanted.rebuild else recall(wanted.key)
    if prefix is not None:
        return prefix
    from envlock.cli.environment import work_out

    return work_out(wanted)


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
