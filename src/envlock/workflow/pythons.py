"""Which interpreter a locked environment is made of: one of this machine, one that uv downloads, or one exact build.

A lock whose Python is a conda package asks for none: it brings its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.credentials import redact
from envlock.hydrate.errors import BadPythonArchive
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter, only_chosen, version_of
from envlock.model.artifact import artifacts_of
from envlock.model.python_range import python_allows
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.uv_command import run_uv, uv_reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from envlock.hydrate.port import ArtifactSource
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter


class LockedPythons:
    """The Pythons of this machine, `$ENVLOCK_HOME/pythons` included, where missing ones are brought to."""

    def __init__(
        self, source: ArtifactSource, reporter: Reporter, *, mirror: Callable[[], str] = str, offline: bool = False
    ) -> None:
        """`mirror` tells, when that is needed, where uv is to fetch Pythons from; an empty text is their own host."""
        self._source = source
        self._reporter = reporter
        self._mirror = mirror
        self._offline = offline
        self._folder = home() / "pythons"

    def provide(self, lock: Lock) -> Interpreter:
        """The interpreter for a lock. Raises NoInterpreter, or what fetching and unpacking an exact build raises."""
        return self._exact_build(lock) if lock.python.source == "uv" else self._of_machine(lock)

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        """The interpreter at `path`, where it is one that the lock allows."""
        version = version_of(path)
        return Interpreter(path, version) if version is not None and allows(lock, version) else None

    def _of_machine(self, lock: Lock) -> Interpreter:
        series, wanted = lock.python.series, lock.requirements.python
        try:
            return find_interpreter(series, lambda version: allows(lock, version), wanted=wanted)
        except NoInterpreter as error:
            if only_chosen():
                raise
            return self._downloaded(lock, error)

    def _downloaded(self, lock: Lock, missing: NoInterpreter) -> Interpreter:
        """The newest fitting build that uv knows, installed by uv below envlock's own folder."""
        series, wanted = lock.python.series, lock.requirements.python
        mirror = self._mirror()
        request = ",".join(filter(None, (f"=={series}.*", wanted)))
        self._reporter.noted(f"no CPython {series} that fits is on this machine: uv downloads one")
        folder_in_home("pythons")
        with Closed():
            installed = run_uv(
                [
                    "python", "install", "--no-bin",
                    *(["--mirror", mirror] if mirror else []),
                    *(["--offline"] if self._offline else []),
                    request,
                ],
                extra={"UV_PYTHON_INSTALL_DIR": str(self._folder), "UV_PYTHON_DOWNLOADS": "manual"},
            )  # fmt: skip
        if installed.returncode != 0:
            reason = uv_reason(redact(installed.stderr))
            tried = tuple(f"uv could not download one: {line}" for line in reason[:1])
            more = tuple(f"  {line}" for line in reason[1:])
            raise NoInterpreter(series, wanted, missing.found, more=(*tried, *more)) from None
        found = find_interpreter(series, lambda version: allows(lock, version), wanted=wanted)
        self._reporter.noted(f"CPython {found.version} is now in {found.path.parent.parent}")
        return found

    def _exact_build(self, lock: Lock) -> Interpreter:
        from envlock.hydrate.python import unpack, unpacked

        python = lock.python
        path = unpacked(python, self._folder)
        if path is None:
            archives = [file for file in artifacts_of(lock) if file.sha256 == python.sha256]
            archive = self._source.fetch(archives)[python.sha256]
            self._reporter.noted(f"unpacking {python.filename}")
            path = unpack(python, archive, self._folder)
        version = version_of(path)
        if version != python.version:
            raise BadPythonArchive(python.filename, f"it holds CPython {version or 'that does not run here'}")
        return Interpreter(path, version)


def allows(lock: Lock, version: str) -> bool:
    """Whether an environment of this lock may be made of a CPython of this version."""
    if lock.python.source != "machine":
        return version == lock.python.version
    later = f">={lock.python.version},=={lock.python.series}.*"
    return python_allows(later, version) and python_allows(lock.requirements.python, version)
