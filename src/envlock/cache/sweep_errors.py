"""What keeps a sweep from taking anything away."""

from __future__ import annotations

from envlock.errors import ConfigError, DamageError, EnvlockError, Location


class BadSpan(ConfigError):
    """An age that is none."""

    code = "bad-span"

    def __init__(self, option: str, found: str) -> None:
        super().__init__(
            f"`{found}` is no span of time that `{option}` can be",
            details=("a span is a number of hours, days or weeks, or 0",),
            hint=f"{option} 7d",
        )


class NoLockTree(ConfigError):
    """A folder that was named as one of locks has none."""

    code = "no-lock-tree"

    def __init__(self, folder: str) -> None:
        super().__init__(
            f"there are no locks in {folder}",
            details=("a sweep that passed over it could take away what its project needs",),
            hint="name a folder with an envlock.lock in it, or that folder itself",
        )


class UnreadableAnnouncement(DamageError):
    """What a push said that it needs cannot be understood."""

    code = "unreadable-announcement"

    def __init__(self, place: str) -> None:
        super().__init__(
            "a push may be running, and what it needs is unknown, so no environment and no package is deleted",
            locations=(Location(place),),
            details=("this file lists what a push needs; it is damaged, or a newer envlock wrote it",),
            hint="sweep with the newest envlock; when nobody is pushing, delete that file",
        )


class UnreadableKept(DamageError):
    """The lock of an environment that stays cannot be read, so that nobody knows which packages it needs."""

    code = "unreadable-kept-lock"

    def __init__(self, place: str, why: EnvlockError, kept: str) -> None:
        """`kept` is why the environment stays: `a name`, `its age`."""
        super().__init__(
            "a lock that must stay cannot be read, so it is unknown which packages it needs; no package is deleted",
            locations=(Location(place),),
            details=(f"it stays because of {kept}", why.message, *why.details),
            hint="run `envlock cache verify --repair` in the project that this lock is of, or delete that file",
        )


class NoClock(ConfigError):
    """The store does not say when its files were written."""

    code = "no-clock"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the cache at {url} does not say when its files were written, so nothing in it can be swept",
            hint="set an age limit in the store itself, or use another store",
        )


class SweepOverdue(ConfigError):
    """A sweep that others may take for dead, and that took nothing more away therefore."""

    code = "sweep-overdue"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the sweep of {url} ended early: it could not tell others for minutes that it was under way",
            details=("pushes may have begun that count on what it was about to delete",),
            hint="run it again: envlock cache gc --delete",
        )
