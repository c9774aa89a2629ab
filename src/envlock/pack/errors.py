"""Why an environment cannot be packed."""

from __future__ import annotations

from envlock.errors import HydrateError


class CannotPack(HydrateError):
    """No pack can be made of this environment: nodes make it of its packages."""

    code = "cannot-pack"
    message = "`{environment}` cannot be packed for {arch}: {reason}"
    hint = "set `pack = false` in `[envlock]`: remote steps then make this environment of its packages"

    def __init__(self, environment: str, arch: str, reason: str, details: tuple[str, ...] = ()) -> None:
        self.reason = reason
        super().__init__(environment=environment, arch=arch, reason=reason, details=details)


class CompilerFailed(HydrateError):
    """The interpreter that compiles the modules of a pack does not run, or ended before it was done."""

    code = "compiler-failed"
    message = "{python} could not compile the modules of the environment: {reason}"
    hint = "name another CPython {series} in $ENVLOCK_PYTHONS, or install one: `uv python install {series}`"
