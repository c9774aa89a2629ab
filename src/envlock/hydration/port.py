"""The ports of hydrating: a source of artifacts, Pythons, and an installer."""

from __future__ import annotations

from envlock.values import NamedTuple, Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from envlock.interpreters import Interpreter
    from envlock.model.artifact import Artifact
    from envlock.model.lock import Lock


class ArtifactSource(Protocol):
    """Where artifacts come from, such as a cache and upstream."""

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        """A local file for each artifact, by SHA-256, with the artifact's name: every byte verified on its way in.

        An artifact has the same path each time, so that installers can cache by path. Raises EnvlockError.
        """


class Pythons(Protocol):
    """Which interpreter an environment is made from."""

    def provide(self, lock: Lock) -> Interpreter:
        """The interpreter for a lock, downloaded if there is none on this machine. Raises HydrateError."""

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        """The interpreter at `path`, if the lock allows the one that is there now; else None."""


class InstallOptions(NamedTuple):
    """How to install."""

    compile_bytecode: bool = False
    """Compile all modules, so that no first import has to."""
    link_scripts: Collection[str] = ()
    """The conda packages whose link scripts may run."""
    remake: str = "`envlock create --rebuild`"
    """What makes an environment again once more link scripts are allowed, for messages."""
    unpack_again: bool = False
    """Unpack wheels again, and remove them from uv's cache, whose files environments share."""
    uv: Path | None = None
    """The uv executable, absolute; None for the one that is installed with envlock."""
    apart: Path | None = None
    """The folder where wheels are unpacked again, instead of in uv's cache. They may then be of another Linux arch, and
    need a newer system, than this machine's."""


DEFAULT_OPTIONS = InstallOptions()


class Installer(Protocol):
    """Puts the packages of a lock into a prefix."""

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage`, an empty folder, an environment of `python` with exactly the lock's packages.

        `files` are the artifacts by SHA-256. `stage` is renamed to `place` afterwards, so absolute paths in it have to
        be those of `place`. `python` is None if the lock's Python is one of its conda packages. If this raises
        HydrateError, `stage` is thrown away.
        """

    def finish(self, lock: Lock, place: Path) -> None:
        """Do what can be done only at the final place, before the environment counts as whole.

        If this raises HydrateError, the environment is thrown away.
        """
