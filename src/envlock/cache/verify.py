"""Verify a cache: hash every package, read every lock, and look for its packages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.cache.contents import read_contents
from envlock.cache.layout import FORMAT, package_at
from envlock.cache.packages import path_of
from envlock.cache.parallel import all_in_parallel
from envlock.errors import DamageError, EnvlockError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.contents import Contents
    from envlock.cache.port import Store
    from envlock.reporter import Reporter

VERIFYING = "verifying"


@dataclass(frozen=True)
class CacheFinding:
    """Something in a cache that is damaged or missing."""

    verdict: str
    """`damaged-package`, `missing-package`, `damaged-lock`, or `damaged-format`."""
    path: str
    """Below the cache's root."""
    reason: str
    needed_by: tuple[str, ...] = ()
    """The environments that need the package, as `identity on arch`."""


@dataclass(frozen=True)
class Verification:
    """What was read, and what is wrong with it."""

    contents: Contents
    findings: tuple[CacheFinding, ...]
    unread: tuple[str, ...] = ()
    """Environments that only a newer envlock can read, so nothing is known of them."""


def verify(store: Store, reporter: Reporter) -> Verification:
    """Read a whole cache. Raises CacheUnusable."""
    contents = read_contents(store)
    needs = _needs(contents)
    damaged = {path: reason for path, reason in _hashes(store, contents, reporter) if reason}
    findings = [CacheFinding("damaged-package", path, reason, needs.get(path, ())) for path, reason in damaged.items()]
    missing = {path_of(artifact) for environment in contents.environments for artifact in environment.missing}
    findings += [CacheFinding("missing-package", path, "it is not there", needs[path]) for path in missing]
    if contents.format_error is not None:
        findings.append(CacheFinding("damaged-format", FORMAT, contents.format_error.message))
    unread = []
    for environment in contents.environments:
        if isinstance(environment.lock, DamageError):
            reason = "; ".join(environment.lock.details)
            findings.append(CacheFinding("damaged-lock", environment.place.path, reason))
        elif isinstance(environment.lock, EnvlockError):
            unread.append(f"{environment.place.identity} on {environment.place.arch}")
    return Verification(contents, tuple(sorted(findings, key=lambda each: (each.verdict, each.path))), tuple(unread))


def _hashes(store: Store, contents: Contents, reporter: Reporter) -> Iterator[tuple[str, str]]:
    """Each package's path, and what is wrong with it, or nothing."""

    def hashed(path: str) -> str | None:
        try:
            return store.sha256(path)
        except FileNotFoundError:  # it was swept since it was listed
            return None

    reporter.began(VERIFYING, contents.size, "bytes")
    for path, got in all_in_parallel(hashed, contents.packages):
        reporter.advanced(VERIFYING, path.rpartition("/")[2], contents.packages[path])
        if got is None:
            continue
        expected, _ = package_at(path) or ("", "")
        yield path, "" if got == expected else f"its bytes hash to {got}"
    reporter.ended(VERIFYING)


def _needs(contents: Contents) -> dict[str, tuple[str, ...]]:
    needs: dict[str, list[str]] = {}
    for environment in contents.environments:
        for artifact in environment.artifacts:
            needs.setdefault(path_of(artifact), []).append(f"{environment.place.identity} on {environment.place.arch}")
    return {path: tuple(names) for path, names in needs.items()}
