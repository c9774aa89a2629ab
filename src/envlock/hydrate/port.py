"""What hydrating asks of its surroundings: the artifacts of a lock, and something that installs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from envlock.model.lock import Lock


@dataclass(frozen=True)
class Artifact:
    """A file that a lock names: a package's, or an exact Python build's."""

    filename: str
    sha256: str
    url: str
    size: int | None = None


class ArtifactSource(Protocol):
    """Brings artifacts to this machine: from the cache, else from upstream."""

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        """A local file for each artifact, by SHA-256, every byte verified on its way in."""


class Installer(Protocol):
    """Puts the packages of a lock into a prefix."""

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path, stage: Path) -> None:
        """Make `stage` a whole environment of `python` with exactly the lock's packages.

        `files` are verified artifacts by SHA-256. `stage` is renamed afterwards, so nothing in it may name itself by an
        absolute path. Raises HydrateError; what is left in `stage` is then thrown away.
        """
