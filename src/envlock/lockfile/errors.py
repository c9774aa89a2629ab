"""What can be wrong with a lock, or with the folder of locks."""

from __future__ import annotations

from envlock.errors import ConfigError, DamageError, Location, StaleError


class DamagedLock(DamageError):
    """A lock file's content is not what its ids and digest say."""

    code = "damaged-lock"
    message = "a lock file was changed or cut off after it was written"
    details = ("{reason}",)
    hint = "restore it (`git checkout -- {path}`), or delete it and run `envlock lock`"

    def __init__(self, path: str, reason: str, *, line: int | None = None) -> None:
        self.reason = reason
        super().__init__(path=path, reason=reason, locations=(Location(path, line),))


class ConflictMarkersInLock(DamageError):
    """A merge left its conflict markers in a lock file."""

    code = "conflict-markers"
    message = "a lock file contains merge conflict markers"
    details = ("once envlock.toml is settled, `envlock lock` keeps the packages of both sides",)
    hint = "envlock lock"

    def __init__(self, path: str, line: int) -> None:
        super().__init__(locations=(Location(path, line),))


class NewerLockFormat(ConfigError):
    """A lock file was written by a newer envlock."""

    code = "newer-lock-format"
    message = "this lock file has format {found}; this envlock reads up to {known}"
    hint = "upgrade envlock (`uv pip install --upgrade envlock`)"

    def __init__(self, path: str, found: object, known: int) -> None:
        super().__init__(found=found, known=known, locations=(Location(path),))


class NotLocked(StaleError):
    """An environment has no lock for its requirements, for any arch."""

    code = "not-locked"
    message = "`{environment}` is not locked, or its requirements changed since"

    def __init__(self, environment: str, *, location: Location | None = None, command: str = "envlock lock") -> None:
        super().__init__(environment=environment, locations=(location,) if location else (), hint=command)


class ArchNotLocked(StaleError):
    """An environment is locked, but not for the arch that is needed."""

    code = "arch-not-locked"
    message = "`{environment}` is not locked for {arch}"
    details = ("locked for: {locked}",)

    def __init__(self, environment: str, arch: str, locked: tuple[str, ...], *, in_config: bool) -> None:
        lock, add = f"envlock lock --arch {arch}", f'add "{arch}" to archs in envlock.toml, then `envlock lock`'
        super().__init__(environment=environment, arch=arch, locked=", ".join(locked), hint=lock if in_config else add)


class TwoLocks(StaleError):
    """Two files lock the same requirements: two branches were locked and merged."""

    code = "two-locks"
    message = "`{environment}` has {count} locks for {arch}"
    hint = "`envlock lock` makes one of them"

    def __init__(self, environment: str, arch: str, paths: tuple[str, ...]) -> None:
        super().__init__(environment=environment, arch=arch, count=len(paths), locations=tuple(map(Location, paths)))


class UnwritableLockFolder(ConfigError):
    """The lock folder cannot be written to."""

    code = "unwritable-lock-folder"
    message = "the lock folder cannot be written: {reason}"

    def __init__(self, path: str, reason: str, *, is_in_the_way: bool = False, is_link: bool = False) -> None:
        """`path` is the folder, or the link, the file or the folder that lies where another thing belongs."""
        what = "move it away" if is_in_the_way else "make it writable"
        super().__init__(
            reason=reason,
            locations=(Location(path),),
            details=() if is_in_the_way and not is_link else ("nothing was changed",),
            hint=f"{'delete the link: locks are in the project' if is_link else what}, and run `envlock lock` again",
        )
