"""The verified packages of this machine, shared by all of its environments."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress

from envlock.cache.layout import PACKAGES
from envlock.cache.packages import path_of
from envlock.files import hold_lock
from envlock.trust import make_folder
from metaflow_extensions.envlock.plugins.node.home import InUse, claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from envlock.model.artifact import Artifact

_READ_ONLY = 0o444


class LocalPackages:
    """A folder with the layout of a cache: `packages/<sha256[:2]>/<sha256>/<file name>` below `home`.

    A file is verified before it gets its name, and is never written again: uv remembers unpacked wheels by path and
    modification time. Any number of threads and processes may use the folder at once.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    def find(self, artifact: Artifact) -> Path | None:
        """The artifact's file, if it is there with the right size. Raises UnsafePath."""
        path = self._home / path_of(artifact)
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return path if artifact.size in {None, found.st_size} else None

    def place(self, artifact: Artifact, fill: Callable[[Path], None]) -> Path:
        """The artifact's file. If it is missing, `fill` writes and verifies it at the path that it is given.

        If several processes want the same artifact, one fills and the others wait. If `fill` raises, no file is placed.
        Raises OSError of the local disk.
        """
        path = self._home / path_of(artifact)
        make_folder(str(path.parent), str(self._home))
        with _alone(path.parent) as is_alone:
            found = self.find(artifact)
            if found is not None:
                return found
            if is_alone:
                for left in path.parent.glob(".*.part"):  # by a process that was killed
                    left.unlink(missing_ok=True)
            stage = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
            try:
                fill(stage)
                with stage.open("rb") as file:
                    os.fsync(file.fileno())
                stage.chmod(_READ_ONLY)
                stage.replace(path)
            except BaseException:
                stage.unlink(missing_ok=True)
                raise
        return path

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While the context lasts, `env gc` removes no package of this machine. Waits while it does.

        A shared flock of the folder means that its packages are in use, as with prefixes. In a home that cannot be
        written, there is nothing to hold, and nothing is removed.
        """
        with ExitStack() as stack:
            folder = self._home / PACKAGES
            with suppress(OSError):  # nor is anything held where the file system has no locks
                make_folder(str(folder), str(self._home))
                handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, handle)
                hold_lock(handle, folder, shared=True)
            yield

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether nobody uses packages of this machine now; then nobody begins to while the context lasts."""
        try:
            handle = claim(str(self._home / PACKAGES))
        except InUse:
            yield False
            return
        try:
            yield True
        finally:
            if handle is not None:  # there are packages
                os.close(handle)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process. False if the filesystem has no locks: two may do the work."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            hold_lock(handle, folder)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)
