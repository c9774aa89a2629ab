"""The SHA-256 of files whose index tells other digests only: fetched once, hashed, and kept on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.local import LocalPackages
from envlock.files import MEMO_BYTES, json_of, read_file, temporary_folder, write_atomically
from envlock.model.artifact import Artifact
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.workflow.upstream import upstream_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from envlock.config.project import Project
    from envlock.model.lock import LockedPackage
    from envlock.reporter import Reporter

_PHASE = "fetching files without a SHA-256"


class FetchedHashes:
    """Implements resolve's FileHashes. What it fetches is a package of this machine then, and pushed from there."""

    def __init__(self, project: Project, reporter: Reporter, *, offline: bool = False) -> None:
        """`offline` fetches nothing, and knows what was fetched before."""
        self._project = project
        self._offline = offline
        self._reporter = reporter
        self._guard = threading.Lock()
        self._each: dict[Path, threading.Lock] = {}
        self._running = 0

    def digests(self, package: LockedPackage, told: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """As FileHashes has it. Raises what `Upstream.hash` raises, and OSError of the local disk."""
        memo = _memo_of(package.url, told)
        with self._guard:
            each = self._each.setdefault(memo, threading.Lock())
        with each:  # archs and environments want the same file at the same moment
            known = _remembered(memo)
            if known is not None:
                return {**told, "sha256": known[0]}, known[1]
            if self._offline:
                return None
            found, size = self._fetch(package, told)
            if all(found[name] == digest for name, digest in told.items()):
                folder_in_home("hashed")
                with Closed():
                    write_atomically(memo, json.dumps({"sha256": found["sha256"], "size": size}).encode())
            return found, size

    def _fetch(self, package: LockedPackage, told: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
        artifact = Artifact(package.filename, "", package.url, package.size)
        self._began(package)
        packages = folder_in_home("packages")
        try:
            with (
                temporary_folder(".hashed-", packages) as folder,
                upstream_of(self._project) as upstream,
            ):
                file = folder / "file"
                found = upstream.hash(
                    artifact,
                    file,
                    told,
                    on_bytes=lambda count: self._reporter.advanced(_PHASE, package.filename, count),
                    on_size=lambda size: self._reporter.grew(_PHASE, size),
                )
                size = file.stat().st_size
                proved = Artifact(package.filename, found["sha256"], package.url, size)

                def move(stage: Path) -> None:
                    file.rename(stage)

                LocalPackages(home()).place(proved, move)
        finally:
            self._ended()
        return found, size

    def _began(self, package: LockedPackage) -> None:
        with self._guard:
            self._running += 1
            if self._running == 1:
                self._reporter.began(_PHASE, 0, "bytes")
        self._reporter.grew(_PHASE, package.size or 0)
        self._reporter.doing(_PHASE, package.filename)

    def _ended(self) -> None:
        with self._guard:
            self._running -= 1
            if not self._running:
                self._reporter.ended(_PHASE)


def _memo_of(url: str, told: Mapping[str, str]) -> Path:
    """Where the SHA-256 of a file is remembered: the index may change the file, and its digests with it."""
    key = json.dumps([url, sorted(told.items())]).encode()
    return home() / "hashed" / f"{hashlib.sha256(key).hexdigest()}.json"


def _remembered(memo: Path) -> tuple[str, int] | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        said = json_of(read_file(memo, MEMO_BYTES))
        sha256, size = said["sha256"], said["size"]
        if isinstance(sha256, str) and len(bytes.fromhex(sha256)) == 32 and isinstance(size, int):
            return sha256, size
    return None
