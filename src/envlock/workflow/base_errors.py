"""Why an environment that is named cannot be used, or extended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from envlock.config.named import ways_to_have
from envlock.errors import ConfigError, Location

if TYPE_CHECKING:
    from envlock.model.arch import Arch
    from envlock.model.pin import Pin


class FetchedAtExec(ConfigError):
    """A lock is needed of a step whose environment is known only when it starts."""

    code = "fetched-at-exec"

    def __init__(self, names: Sequence[str], locations: tuple[Location, ...]) -> None:
        which = ", ".join(f"`{name}`" for name in names)
        super().__init__(
            f"the environment of {which} is fetched when the step starts, and is not locked",
            locations=locations,
            hint="name the environment itself, or take `fetch_at_exec` away and run `envlock lock`",
        )


class BaseLacksArch(ConfigError):
    """A named environment is not there for an arch of the project."""

    code = "base-lacks-arch"

    def __init__(self, names: Sequence[str], pin: Pin, arch: Arch, location: Location) -> None:
        super().__init__(
            f"`{pin.meant}` is not there for {arch}, and {', '.join(f'`{name}`' for name in names)} needs it",
            locations=(location,),
            details=("it is there for: " + ", ".join(each for each, _ in pin.full_ids),),
            hint=ways_to_have(pin, arch),
        )
