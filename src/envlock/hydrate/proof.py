"""Every artifact of an environment is hashed again on this machine, while the installer works."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from envlock.files import sha256_of
from envlock.hydrate.errors import ChangedArtifact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from envlock.model.lock import Lock, LockedPackage

_MOST_THREADS = 8


class Proof:
    """Hashes the files of a lock's packages in threads of its own, from the moment it is made."""

    def __init__(self, lock: Lock, files: Mapping[str, Path]) -> None:
        self._pending = [(package, files[package.sha256]) for package in lock.packages]
        self._pending.sort(key=lambda item: item[0].size or 0)
        self._unproved = len(self._pending)
        self._finished: list[str] = []
        self._errors: list[ChangedArtifact] = []
        # Half of the processors: the installer wants the others.
        count = min(_MOST_THREADS, max((os.cpu_count() or 1) // 2, 1), len(self._pending))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Wait for the last hash. Raises ChangedArtifact for the first package (by name) whose file is another."""
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise min(self._errors, key=lambda error: error.message)
        if self._pending or len(self._finished) != self._unproved:
            raise RuntimeError("a thread that hashes packages ended early")

    def _work(self) -> None:
        while self._pending:
            try:
                package, path = self._pending.pop()
            except IndexError:
                return
            found = _found(path)
            if found == f"sha256 {package.sha256}":
                self._finished.append(package.name)
            else:
                self._errors.append(_changed(package, path, found))


def _found(path: Path) -> str:
    try:
        return f"sha256 {sha256_of(path)}"
    except OSError as error:
        return f"nothing that can be read ({error.strerror})"


def _changed(package: LockedPackage, path: Path, found: str) -> ChangedArtifact:
    return ChangedArtifact(package.name, package.version, path, expected=package.sha256, found=found)
