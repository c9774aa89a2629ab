"""What can go wrong between a lock, the cache, and where its packages come from."""

from __future__ import annotations

import errno
import re
import shlex
from typing import TYPE_CHECKING, ClassVar

from envlock.errors import ConfigError, DamageError, EnvlockError, HydrateError, Location, ResolveError
from envlock.model.url import host, strip_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from envlock.model.artifact import Artifact

VERIFY_AND_REPAIR = "envlock cache verify --repair"
_NAMES_SHOWN = 5


class BadCacheUrl(ConfigError):
    """The cache's URL is none that envlock can keep files at."""

    code = "bad-cache-url"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"`{strip_credentials(url)}` cannot be a cache: {reason}",
            locations=(Location("envlock.toml", None, "envlock.cache"),),
            hint='name a folder or a bucket: `cache = "../cache"`, or `cache = "s3://team/envlock"`',
        )


class CacheUnusable(ConfigError):
    """The cache cannot be reached, read or written."""

    code = "cache-unusable"
    advice: ClassVar[str] = (
        "check that the folder is mounted and that you may read and write it, or set `cache` in envlock.toml"
    )

    def __init__(
        self, url: str, doing: str, reason: str, *, hint: str = "", place: str = "", details: tuple[str, ...] = ()
    ) -> None:
        """`place` is the object that it was about, where that is known."""
        super().__init__(
            f"the cache at {url} cannot be {doing}: {reason}",
            locations=(Location(place),) if place else (),
            details=details,
            hint=hint or self.advice,
        )

    @classmethod
    def of(cls, url: str, doing: str, error: OSError, place: str, owner: str = "") -> CacheUnusable:
        """What an OSError met at a file of a cache means. `doing` is `read` or `written`."""
        reason = error.strerror or str(error) or type(error).__name__
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            hint = "make room there, then run the command again: it goes on where it stopped"
            return cls(url, doing, reason, hint=hint, place=place)
        if error.errno == errno.EROFS:
            return CacheReadOnly(url, doing, reason, place=place)
        if owner:
            hint = f"ask its owner to share it: chmod -R g+rwX {shlex.quote(url)}"
            return cls(url, doing, reason, hint=hint, place=place, details=(owner,))
        return cls(url, doing, reason, place=place)


class CacheReadOnly(CacheUnusable):
    """The cache can be read and not written."""

    code = "cache-read-only"
    advice = "push from a machine, or with credentials, that may write it; reading goes on working"


class StoreNotExclusive(ConfigError):
    """The store lets two create the same file, so it cannot keep what must be written once."""

    code = "store-not-exclusive"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"the cache at {url} cannot hold aliases: it let two writers create one file",
            details=("of two people who name an environment at once, each would be told that the name is theirs",),
            hint="use a store that honours `If-None-Match: *` on writes, as S3, Google Cloud Storage and Azure do, or "
            "a newer release of yours",
        )


class NewerCache(ConfigError):
    """The cache was made by a newer envlock, in a format that this one does not know."""

    code = "newer-cache"

    def __init__(self, url: str, found: object, known: int) -> None:
        super().__init__(
            f"the cache at {url} has format {found}, and this envlock knows format {known}",
            hint="pip install -U envlock",
        )


class CacheFormatDamaged(DamageError):
    """The file that says which format the cache has is not one that envlock writes."""

    code = "cache-format-damaged"

    def __init__(self, place: str) -> None:
        super().__init__(
            "the file that says which format the cache has cannot be read",
            locations=(Location(place),),
            hint="delete that file if nobody meant to put it there: envlock writes it again",
        )


class UnsafePath(DamageError):
    """A name that would lead out of the cache, or that no package has."""

    code = "unsafe-path"

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{found!r} is no name that a file of the cache can have",
            details=("file names consist of letters, digits and . _ + ! ~ @ = , % -, and hashes of hex digits",),
            hint="if a lock names it, the lock was tampered with: restore it from git",
        )


class CacheHashMismatch(DamageError):
    """A file in the cache is not the one that was put there."""

    code = "cache-hash-mismatch"

    def __init__(self, filename: str, place: str, *, expected: str, got: str) -> None:
        super().__init__(
            f"{filename} in the cache is not the file that was locked; it was not used",
            locations=(Location(place),),
            details=(f"expected  {expected}", f"got       {got}"),
            hint=VERIFY_AND_REPAIR,
        )


class CachedLockDamaged(DamageError):
    """A lock in the cache is not what its path says."""

    code = "cached-lock-damaged"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            "a lock in the cache was changed or cut off",
            locations=(Location(place),),
            details=(reason,),
            hint=f"run `{VERIFY_AND_REPAIR}`, or `envlock push`, in the project that this lock is of",
        )


class StoredFileTooLarge(DamageError):
    """A file of the cache is larger than any that envlock writes there."""

    code = "stored-file-too-large"

    def __init__(self, place: str, limit: int) -> None:
        super().__init__(
            f"a file in the cache is larger than {limit >> 20} MiB, which is more than envlock writes to such a file",
            locations=(Location(place),),
            hint="delete that file: envlock did not put it there",
        )


class NotInCache(HydrateError):
    """Packages are not in the cache, and there is nowhere else to take them from."""

    code = "not-in-cache"

    def __init__(self, url: str, filenames: Iterable[str]) -> None:
        names = sorted(filenames)
        super().__init__(
            f"the cache at {url} does not have {_count(names)}, and upstream may not be asked",
            details=_some(names),
            hint="run `envlock push` on a machine that reaches the package index",
        )


class UpstreamHashMismatch(DamageError):
    """What upstream sent is not what was locked."""

    code = "upstream-hash-mismatch"

    def __init__(self, artifact: Artifact, *, expected: str, got: str) -> None:
        url = strip_credentials(artifact.url)
        super().__init__(
            f"what {host(url) or 'upstream'} sent for {artifact.filename} is not what was locked; it was not used",
            details=(f"url       {url}", f"expected  {expected}", f"got       {got}"),
            hint="the file was replaced after it was locked, or tampered with on its way; if its new content is right, "
            f"lock it again: `envlock lock --upgrade-package {_package(artifact.filename)}`",
        )


class UpstreamError(ResolveError):
    """A host did not give files. What one host failed to give for one reason is told as one: see `together`."""

    sentence: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, place: str, reason: str, filenames: tuple[str, ...]) -> None:
        variable = re.sub(r"[^A-Z0-9]", "_", place.upper())
        super().__init__(
            self.sentence.format(place=place, files=_count(filenames)),
            details=(reason, *_some(filenames)),
            hint=self.advice.format(place=place, variable=f"ENVLOCK_INDEX_{variable}"),
        )
        self.place = place
        self.reason = reason
        self.filenames = filenames


class UpstreamUnauthorized(UpstreamError):
    """A host wants other credentials."""

    code = "upstream-unauthorized"
    sentence = "{place} does not let us have {files}"
    advice = "set {variable}_USERNAME and {variable}_PASSWORD, or give {place} an entry in ~/.netrc"


class UpstreamMissing(UpstreamError):
    """A host no longer has what was locked."""

    code = "upstream-missing"
    sentence = "{place} does not have {files} any more"
    advice = "push from a machine that has hydrated it, or lock another release: `envlock lock --upgrade-package NAME`"


class UpstreamUnreachable(UpstreamError):
    """A host does not answer, or not to the end."""

    code = "upstream-unreachable"
    sentence = "{place} did not give us {files}"
    advice = "check the network and run the command again: it goes on where it stopped"


class UnsupportedUrl(ResolveError):
    """A lock names a place that nothing can be fetched from."""

    code = "unsupported-url"

    def __init__(self, filename: str, url: str) -> None:
        super().__init__(
            f"{filename} cannot be fetched from `{strip_credentials(url)}`",
            details=("envlock fetches over https and http",),
            hint="lock again with an index that serves files over https: `envlock lock --upgrade`",
        )


def together(errors: Iterable[EnvlockError]) -> tuple[EnvlockError, ...]:
    """The errors, each cause told once: what one host failed to give for one reason becomes one error.

    >>> one = UpstreamMissing("index.example", "404 Not NamedEnvironment", ("a.whl",))
    >>> two = UpstreamMissing("index.example", "404 Not NamedEnvironment", ("b.whl",))
    >>> [error.message for error in together([one, two])]
    ['index.example does not have 2 files any more']
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
        if len(places) > 1:
            first.details = (*first.details, f"and {len(places) - 1} more of its files")
        return first
    if len(group) == 1 or not isinstance(first, UpstreamError):
        return first
    names = {name for error in group if isinstance(error, UpstreamError) for name in error.filenames}
    return type(first)(first.place, first.reason, tuple(sorted(names)))


def _package(filename: str) -> str:
    """The package that a wheel is of; a placeholder for other files."""
    return filename.partition("-")[0].lower() if filename.endswith(".whl") else "NAME"


def _count(filenames: Sequence[str]) -> str:
    return filenames[0] if len(filenames) == 1 else f"{len(filenames)} files"


def _some(filenames: Sequence[str]) -> tuple[str, ...]:
    """File names to show: a few of many, none where the message has it already."""
    if len(filenames) == 1:
        return ()
    shown = tuple(f"- {name}" for name in filenames[:_NAMES_SHOWN])
    hidden = len(filenames) - len(shown)
    return (*shown, f"and {hidden} more") if hidden else shown


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
