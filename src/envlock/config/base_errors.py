"""What can be wrong with the name of an environment, and with what it was locked to."""

from __future__ import annotations

from envlock.config.quoting import shown
from envlock.errors import ConfigError, DamageError, Location


class BadNamedEnv(ConfigError):
    """A `name` that no environment can have, or a `pathspec` that leads to no step."""

    code = "bad-named-env"

    def __init__(self, kind: str, found: str, reason: str, at: Location) -> None:
        """`kind` is `name`, `pathspec` or `aliases`."""
        what = "the pathspec of a step" if kind == "pathspec" else "the name of an environment"
        example = {
            "name": 'name = "team/base:v1"',
            "pathspec": 'pathspec = "TrainFlow/142/train"',
            "aliases": 'aliases = ["team/base:v1"]',
        }[kind]
        super().__init__(f"`{shown(found)}` is not {what}: {reason}", locations=(at,), hint=f"write it as `{example}`")


class NamedEnvVariableUnset(ConfigError):
    """A name holds `@{VARIABLE}`, and the variable is not set."""

    code = "named-env-variable-unset"

    def __init__(self, written: str, variable: str, at: Location) -> None:
        super().__init__(
            f"the variable `{shown(variable)}` is not set, and `{shown(written)}` needs it",
            locations=(at,),
            details=("`@{VARIABLE}` in a name stands for a variable of the environment",),
            hint=f"export {shown(variable)}=...",
        )


class DamagedPin(DamageError):
    """What a name was locked to was changed after it was written."""

    code = "damaged-pin"

    def __init__(self, path: str, reason: str, *, is_merge: bool = False) -> None:
        super().__init__(
            "the pin of a named environment was changed or cut off after it was written",
            locations=(Location(path),),
            details=(reason, "once envlock.toml is settled, `envlock lock` takes the later move")
            if is_merge
            else (reason,),
            hint="envlock lock"
            if is_merge
            else f"restore it (`git checkout -- {path}`), or delete it and run `envlock lock`",
        )
        self.is_merge = is_merge


class NewerPinFormat(ConfigError):
    """The pin of a named environment was written by a newer envlock."""

    code = "newer-pin-format"

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"this pin has format {found}; this envlock reads up to {known}",
            locations=(Location(path),),
            hint="upgrade envlock (`uv pip install --upgrade envlock`)",
        )
