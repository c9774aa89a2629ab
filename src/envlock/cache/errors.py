"""Errors of the cache, and of the places that its packages come from."""

from __future__ import annotations

import errno
import re
import shlex

from envlock.errors import ConfigError, DamageError, EnvlockError, HydrateError, Location, ResolveError
from envlock.model.url import host, strip_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import ClassVar

    from envlock.model.artifact import Artifact

VERIFY_AND_REPAIR = "envlock cache verify --repair"
_NAMES_SHOWN = 5


class CacheSettingError(ConfigError):
    """A cache cannot be opened with these settings. Who read them from a file adds the line of `key`."""

    key: tuple[str, ...] = ("envlock", "cache")


class BadCacheUrl(CacheSettingError):
    """`cache` is no folder and no URL of a store that envlock knows."""

    code = "bad-cache-url"
    hint = 'name a folder or a bucket: `cache = "../cache"`, or `cache = "s3://team/envlock"`'

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"`{strip_credentials(url)}` cannot be a cache: {reason}")


class CacheUnusable(ConfigError):
    """The cache cannot be reached, read or written."""

    code = "cache-unusable"
    advice: ClassVar[str] = (
        "check that the folder is mounted and that you may read and write it, or set `cache` in envlock.toml"
    )

    def __init__(
        self, url: str, doing: str, reason: str, *, hint: str = "", place: str = "", details: tuple[str, ...] = ()
    ) -> None:
        """`place` is the file in the cache, if it is known."""
        super().__init__(
            f"the cache at {url} cannot be {doing}: {reason}",
            locations=(Location(place),) if place else (),
            details=details,
            hint=hint or self.advice,
        )

    @classmethod
    def of(cls, url: str, doing: str, error: OSError, place: str, owner: str = "") -> CacheUnusable:
        """The error for an OSError at a file of a cache. `doing` is `read` or `written`."""
        reason = error.strerror or str(error) or type(error).__name__
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "free some space there, then run the command again: it continues where it stopped"
            return cls(url, doing, reason, hint=hint, place=place)
        if error.errno == errno.EROFS:
            return CacheReadOnly(url, doing, reason, place=place)
        if owner:
            hint = f"ask its owner to share it: chmod -R g+rwX {shlex.quote(url)}"
            return cls(url, doing, reason, hint=hint, place=place, details=(owner,))
        return cls(url, doing, reason, place=place)


class CacheReadOnly(CacheUnusable):
    """The cache can be read but not written."""

    code = "cache-read-only"
    advice = "push from a machine, or with credentials, that may write to it; reading still works"


class StoreNotExclusive(ConfigError):
    """The store lets two writers create the same file, so no tag could be given safely."""

    code = "store-not-exclusive"
    message = "the cache at {url} cannot hold aliases: it let two writers create the same file"
    details = ("if two people gave the same alias at once, both would be told that it is theirs",)
    hint = "use a store that supports `If-None-Match: *` on writes, as S3, GCS and Azure do, or a newer release"

    def __init__(self, url: str) -> None:
        super().__init__(url=url)


class NewerCache(ConfigError):
    """A newer envlock made the cache, in a format that this one does not know."""

    code = "newer-cache"
    message = "the cache at {url} has format {found}, and this envlock knows format {known}"
    hint = "pip install -U envlock"

    def __init__(self, url: str, found: object, known: int) -> None:
        super().__init__(url=url, found=found, known=known)


class CacheFormatDamaged(DamageError):
    """The file with the format of the cache is damaged."""

    code = "cache-format-damaged"
    message = "the file with the format of the cache cannot be read"
    hint = "delete that file, unless somebody put it there on purpose: envlock writes it again"

    def __init__(self, place: str) -> None:
        super().__init__(locations=(Location(place),))


class UnsafePath(DamageError):
    """A file name that would leave the cache, or that no package can have."""

    code = "unsafe-path"
    message = "{found!r} is not a valid file name in a cache"
    details = ("file names consist of letters, digits and . _ + ! ~ @ = , % -, and hashes of hex digits",)
    hint = "if a lock names this file, somebody changed the lock: restore it from git"

    def __init__(self, found: str) -> None:
        super().__init__(found=found)


class CacheHashMismatch(DamageError):
    """A file in the cache does not have the locked hash."""

    code = "cache-hash-mismatch"

    def __init__(self, filename: str, place: str, *, expected: str, got: str) -> None:
        super().__init__(
            f"{filename} in the cache is not the locked file; it was not used",
            locations=(Location(place),),
            details=(f"expected  {expected}", f"got       {got}"),
            hint=VERIFY_AND_REPAIR,
        )


class CachedLockDamaged(DamageError):
    """A lock in the cache is damaged, or is not the one that its path names."""

    code = "cached-lock-damaged"
    message = "a lock in the cache was changed or cut off"
    hint = f"run `{VERIFY_AND_REPAIR}`, or `envlock push`, in the project that has this lock"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(locations=(Location(place),), details=(reason,))


class PlanDamaged(DamageError):
    """A plan in the cache is damaged, or is not the one that its path names."""

    code = "plan-damaged"
    message = "a plan in the cache was changed or cut off: {reason}"
    hint = f"run `{VERIFY_AND_REPAIR}`, then `envlock push` in the project that has its lock"


class ImageRecordDamaged(DamageError):
    """A cache's record of an image is damaged."""

    code = "image-record-damaged"
    message = "the record of an image in the cache was changed or cut off: {reason}"
    hint = "run `envlock image` again: it replaces the record"


class NewerPlan(ConfigError):
    """A newer envlock made the plan, and this one cannot read it."""

    code = "newer-plan"
    message = "a plan in the cache needs a newer envlock: {reason}"
    hint = "pip install -U envlock"


class StoredFileTooLarge(DamageError):
    """A file in the cache is larger than envlock would write it."""

    code = "stored-file-too-large"
    message = "a file in the cache is larger than {size} MiB, which is more than envlock writes to such a file"
    hint = "delete that file: envlock did not put it there"

    def __init__(self, place: str, limit: int) -> None:
        super().__init__(locations=(Location(place),), size=limit >> 20)


class NotInCache(HydrateError):
    """Packages are missing from the cache, and downloading them is not allowed."""

    code = "not-in-cache"

    def __init__(self, url: str, filenames: Iterable[str]) -> None:
        names = sorted(filenames)
        super().__init__(
            f"the cache at {url} does not have {_count(names)}, and downloading is not allowed",
            details=_some(names),
            hint="run `envlock push` on a machine that can reach the package index",
        )


class UpstreamHashMismatch(DamageError):
    """A downloaded file does not have the locked hash."""

    code = "upstream-hash-mismatch"

    def __init__(self, artifact: Artifact, *, expected: str, got: str) -> None:
        url = strip_credentials(artifact.url)
        self.got = got.removeprefix("sha256 ")
        super().__init__(
            f"{artifact.filename} from {host(url) or 'upstream'} is not the locked file; it was not used",
            details=(f"url       {url}", f"expected  {expected}", f"got       {got}"),
            hint="the file was replaced after it was locked, or changed in transit; if the new file is right, "
            f"lock it again: `envlock lock --upgrade-package {_package(artifact.filename)}`",
        )


class UpstreamError(ResolveError):
    """A host did not deliver files; of what no host has, place and reason are empty. `together` merges those alike."""

    sentence: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, place: str, reason: str, filenames: tuple[str, ...]) -> None:
        variable = re.sub(r"[^A-Z0-9]", "_", place.upper())
        super().__init__(
            self.sentence.format(place=place, files=_count(filenames)),
            details=(*((reason,) if reason else ()), *_some(filenames)),
            hint=self.advice.format(place=place, variable=f"ENVLOCK_INDEX_{variable}"),
        )
        self.place = place
        self.reason = reason
        self.filenames = filenames


class UpstreamUnauthorized(UpstreamError):
    """A host denied access: the credentials are missing or wrong."""

    code = "upstream-unauthorized"
    sentence = "{place} refused access to {files}"
    advice = "set {variable}_USERNAME and {variable}_PASSWORD, or give {place} an entry in ~/.netrc"


class UpstreamMissing(UpstreamError):
    """A host no longer has a locked file."""

    code = "upstream-missing"
    sentence = "{place} no longer has {files}"
    advice = "push from a machine that has hydrated it, or lock another release: `envlock lock --upgrade-package NAME`"


class UpstreamUnreachable(UpstreamError):
    """A host does not answer, or broke off."""

    code = "upstream-unreachable"
    sentence = "cannot download {files} from {place}"
    advice = "check the network and run the command again: it continues where it stopped"


class BuiltWheelMissing(UpstreamError):
    """A wheel that was built is neither on this machine nor in the cache, and no index has it."""

    code = "built-wheel-missing"
    sentence = "{files}: built for the lock, and neither on this machine nor in the cache"
    advice = "run `envlock push` on the machine that locked it, or build it again here: `envlock build`"


class UnsupportedUrl(ResolveError):
    """A lock names a URL that envlock cannot download from."""

    code = "unsupported-url"
    message = "cannot download {filename} from `{url}`"
    details = ("envlock downloads over https and http",)
    hint = "lock again with an index that serves files over https: `envlock lock --upgrade`"

    def __init__(self, filename: str, url: str) -> None:
        super().__init__(filename=filename, url=strip_credentials(url))


def together(errors: Iterable[EnvlockError]) -> tuple[EnvlockError, ...]:
    """Merge errors with one cause: what one host failed to deliver for one reason becomes one error.

    >>> one = UpstreamMissing("index.example", "it answered 404 Not Found", ("a.whl",))
    >>> two = UpstreamMissing("index.example", "it answered 404 Not Found", ("b.whl",))
    >>> [error.message for error in together([one, two])]
    ['index.example no longer has 2 files']
    """
    groups: dict[tuple[object, ...], list[EnvlockError]] = {}
    for error in errors:
        key: tuple[object, ...] = (error.render(),)
        if isinstance(error, UpstreamError):
            key = (type(error), error.place, error.reason)
        elif isinstance(error, CacheUnusable):
            key = (type(error), error.message)
        groups.setdefault(key, []).append(error)
    return tuple(_merged(group) for group in groups.values())


def _merged(group: list[EnvlockError]) -> EnvlockError:
    first = group[0]
    if isinstance(first, CacheUnusable):  # one cause, whichever of its objects was asked for
        places = {location.path for error in group for location in error.locations}
        return first.adding(f"and {len(places) - 1} more of its files") if len(places) > 1 else first
    if len(group) == 1 or not isinstance(first, UpstreamError):
        return first
    names = {name for error in group if isinstance(error, UpstreamError) for name in error.filenames}
    return type(first)(first.place, first.reason, tuple(sorted(names)))


def _package(filename: str) -> str:
    """The package of a wheel; a placeholder for other files."""
    return filename.partition("-")[0].lower() if filename.endswith(".whl") else "NAME"


def _count(filenames: Sequence[str]) -> str:
    return filenames[0] if len(filenames) == 1 else f"{len(filenames)} files"


def _some(filenames: Sequence[str]) -> tuple[str, ...]:
    """File names to list: the first few of many, and none if the message names the only one."""
    if len(filenames) == 1:
        return ()
    shown = tuple(f"- {name}" for name in filenames[:_NAMES_SHOWN])
    hidden = len(filenames) - len(shown)
    return (*shown, f"and {hidden} more") if hidden else shown


class BadSpan(ConfigError):
    """An option is not a span of time."""

    code = "bad-span"
    message = "`{found}` is not a span of time for `{option}`"
    details = ("write a number of hours, days or weeks, such as `12h`, or 0",)
    hint = "{option} 7d"

    def __init__(self, option: str, found: str) -> None:
        super().__init__(option=option, found=found)


class NoLockTree(ConfigError):
    """A folder given as `--lock-tree` has no locks."""

    code = "no-lock-tree"
    message = "there are no locks in {folder}"
    details = ("without them, gc could delete what that project needs",)
    hint = "give a folder with an envlock.lock in it, or the envlock.lock folder itself"

    def __init__(self, folder: str) -> None:
        super().__init__(folder=folder)


class UnreadableAnnouncement(DamageError):
    """The file in which a push says what it needs is damaged, or newer than this envlock."""

    code = "unreadable-announcement"
    message = "a push may be running, and what it needs is unknown, so no environment and no package is deleted"
    details = ("this file lists what a push needs; it is damaged, or a newer envlock wrote it",)
    hint = "run gc with the newest envlock; if nobody is pushing, delete that file"

    def __init__(self, place: str) -> None:
        super().__init__(locations=(Location(place),))


class UnreadableKept(DamageError):
    """The lock of an environment that must stay cannot be read, so its packages are unknown."""

    code = "unreadable-kept-lock"

    def __init__(self, place: str, why: EnvlockError, kept: str) -> None:
        """`kept` is why the environment stays: `an alias`, `its age`."""
        super().__init__(
            "a lock that must stay cannot be read, so it is unknown which packages it needs; no package is deleted",
            locations=(Location(place),),
            details=(f"it stays because of {kept}", why.message, *why.details),
            hint=f"run `{VERIFY_AND_REPAIR}` in the project that has this lock, or delete that file",
        )


class UnreadableKeptPlan(DamageError):
    """The plan of an environment that must stay cannot be read, so what it names is unknown."""

    code = "unreadable-kept-plan"
    message = (
        "a plan that must stay cannot be read, so what it needs is unknown; no file of a kit and no part is deleted"
    )

    def __init__(self, place: str, why: EnvlockError) -> None:
        hint = PlanDamaged.hint if isinstance(why, DamageError) else "run gc with the newest envlock"
        super().__init__(locations=(Location(place),), details=(why.message, *why.details), hint=hint)


class NoClock(ConfigError):
    """The store does not say when its files were written."""

    code = "no-clock"
    message = "the cache at {url} does not say when its files were written, so gc cannot delete anything"
    hint = "set an age limit in the store itself, or use another store"

    def __init__(self, url: str) -> None:
        super().__init__(url=url)


class GcOverdue(ConfigError):
    """gc stopped deleting, because its flag may have expired."""

    code = "gc-overdue"
    message = "gc of {url} stopped early: it could not renew its flag in the cache for minutes"
    details = ("pushes that have started since may need what it was about to delete",)
    hint = "run it again: envlock cache gc --delete"

    def __init__(self, url: str) -> None:
        super().__init__(url=url)
