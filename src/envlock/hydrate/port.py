"""What hydrating asks of its surroundings: the artifacts of a lock, a Python, and something that installs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from envlock.interpreters import Interpreter
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock


class ArtifactSource(Protocol):
    """Brings artifacts to this machine: from the cache, else from upstream."""

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        """A local file for each artifact, by SHA-256, named as the artifact is, every byte verified on its way in.

        The same artifact has the same path each time: what unpacks it may remember by that.
        """


class Pythons(Protocol):
    """Knows which interpreter an environment is made of."""

    def provide(self, lock: Lock) -> Interpreter:
        """The interpreter for a lock; brought to this machine where there is none. Raises HydrateError."""

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        """The interpreter at `path`, where the lock's environment may stay with what is there now."""


class Installer(Protocol):
    """Puts the packages of a lock into a prefix."""

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage`, an empty folder, a whole environment of `python` with exactly the lock's packages.

        `files` are the artifacts by SHA-256. `stage` is renamed to `place` afterwards: what has to name itself by an
        absolute path says `place`. `python` is None where the lock's Python is one of its conda packages. Raises
        HydrateError; what is left in `stage` is then thrown away.
        """

    def finish(self, lock: Lock, place: Path) -> None:
        """Do what can be done only where the environment will stay, before it counts as whole.

        Raises HydrateError; the environment is then thrown away.
        """
