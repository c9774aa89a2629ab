"""What can be wrong with the conda part of envlock.toml. None of these ever shows a credential."""

from __future__ import annotations

from envlock.config.quoting import shown
from envlock.errors import ConfigError, Location
from envlock.model.url import variable_fault


class BadChannel(ConfigError):
    """What is no conda channel: neither a name nor a URL."""

    code = "bad-channel"

    def __init__(self, found: str, at: Location | None = None) -> None:
        super().__init__(
            f"`{shown(found)}` is not a conda channel",
            locations=(at,) if at else (),
            details=(
                *([fault] if (fault := variable_fault(found)) else ()),
                "a channel is a name, such as `conda-forge` or `conda-forge/label/rc`,",
                "or a URL that begins with https://, http://, s3:// or file:///",
            ),
            hint="a folder of this machine is written as `file:///srv/channel`, a space in it as `%20`"
            if ("/" in found and "://" not in found) or found.startswith("file:")
            else 'write it as "conda-forge", or "https://conda.example/team"',
        )


class BadCondaEntry(ConfigError):
    """A name and a constraint that no conda package can have."""

    code = "bad-conda-requirement"

    def __init__(self, name: str, constraint: str, reason: str, at: Location | None = None) -> None:
        super().__init__(
            f"`{shown(f'{name} {constraint}'.strip())}` asks for no conda package: {shown(reason, 120)}",
            locations=(at,) if at else (),
            details=("examples: `1.26.4`, `=1.26`, `>=1.26,<2`, `1.4=py310*`; the name may begin with `channel::`",),
            hint="write a version or a range of versions; an empty text means any version",
        )
