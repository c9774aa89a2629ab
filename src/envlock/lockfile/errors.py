"""What can be wrong with a lock, or with there being one."""

from __future__ import annotations

from envlock.errors import ConfigError, DamageError, Location, StaleError


class DamagedLock(DamageError):
    """A lock file's content is not what its ids and digest say."""

    code = "damaged-lock"

    def __init__(self, path: str, reason: str, *, line: int | None = None) -> None:
        super().__init__(
            "a lock file was changed or cut off after it was written",
            locations=(Location(path, line),),
            details=(reason,),
            hint=f"restore it (`git checkout -- {path}`), or delete it and run `envlock lock`",
        )
        self.reason = reason


class ConflictMarkersInLock(DamageError):
    """A merge left its conflict markers in a lock file."""

    code = "conflict-markers"

    def __init__(self, path: str, line: int) -> None:
        super().__init__(
            "a lock file contains merge conflict markers",
            locations=(Location(path, line),),
            details=("once envlock.toml is settled, `envlock lock` keeps the packages of both sides",),
            hint="envlock lock",
        )


class NewerLockFormat(ConfigError):
    """A lock file was written by a newer envlock."""

    code = "newer-lock-format"

    def __init__(self, path: str, found: object, known: int) -> None:
        super().__init__(
            f"this lock file has format {found}; this envlock reads up to {known}",
            locations=(Location(path),),
            hint="upgrade envlock (`uv pip install --upgrade envlock`)",
        )


class NotLocked(StaleError):
    """An environment has never been locked, for any arch."""

    code = "not-locked"

    def __init__(self, environment: str, *, location: Location | None = None, command: str = "envlock lock") -> None:
        super().__init__(
            f"`{environment}` is not locked, or asks for something else than what was locked",
            locations=(location,) if location else (),
            hint=command,
        )


class ArchNotLocked(StaleError):
    """An environment is locked, but not for the arch that is needed."""

    code = "arch-not-locked"

    def __init__(self, environment: str, arch: str, locked: tuple[str, ...], *, in_config: bool) -> None:
        super().__init__(
            f"`{environment}` is not locked for {arch}",
            details=("locked for: " + ", ".join(locked),),
            hint=f"envlock lock --arch {arch}"
            if in_config
            else f'add "{arch}" to archs in envlock.toml, then `envlock lock`',
        )


class TwoLocks(StaleError):
    """Two files claim to lock the same requirements: two branches were locked and merged."""

    code = "two-locks"

    def __init__(self, environment: str, arch: str, paths: tuple[str, ...]) -> None:
        super().__init__(
            f"`{environment}` has {len(paths)} locks for {arch}",
            locations=tuple(Location(path) for path in paths),
            hint="`envlock lock` makes one of them",
        )


class UnwritableLockFolder(ConfigError):
    """The lock folder cannot be written to."""

    code = "unwritable-lock-folder"

    def __init__(self, path: str, reason: str, *, is_in_the_way: bool = False) -> None:
        """`path` is the folder, or the file or folder that lies where another thing belongs."""
        super().__init__(
            f"the lock folder cannot be written: {reason}",
            locations=(Location(path),),
            details=() if is_in_the_way else ("nothing was changed",),
            hint=f"{'move it away' if is_in_the_way else 'make it writable'}, and run `envlock lock` again",
        )
