"""Which interpreter an environment is made from, and how it comes to this machine.

A lock of `python-from = "machine"` takes any CPython of its series that fits, downloaded by uv if there is none; one of
`"uv"` takes one exact build, whose archive is verified and unpacked once. A lock whose Python is a conda package has
its own, and needs nothing of this.
"""

from __future__ import annotations

from pathlib import Path

from envlock.files import sha256_of
from envlock.hydration.errors import BadPythonArchive, ChangedArtifact, storage_error
from envlock.interpreters import Interpreter, NoInterpreter, find_interpreter, only_chosen, version_of
from envlock.model.artifact import artifacts_of
from envlock.model.python_range import python_allows
from envlock.stage import make_once
from envlock.trust import Closed, make_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from envlock.hydration.port import ArtifactSource
    from envlock.model.lock import Lock, LockedPython
    from envlock.reporter import Reporter

_FOLDER = "python"
_CHUNK = 1 << 20


class LockedPythons:
    """Implements the port Pythons. What it downloads or unpacks goes into `pythons` below a home."""

    def __init__(
        self,
        source: ArtifactSource,
        home: Path,
        reporter: Reporter,
        *,
        mirror: Callable[[], str] = str,
        offline: bool = False,
    ) -> None:
        """`source` has the archives of exact builds; `mirror` tells where uv downloads from, empty for its default."""
        self._source = source
        self._home = home
        self._reporter = reporter
        self._mirror = mirror
        self._offline = offline
        self._folder = home / "pythons"

    def provide(self, lock: Lock) -> Interpreter:
        """The interpreter for a lock. Raises NoInterpreter, or what fetching and unpacking an exact build raises."""
        return self._exact_build(lock) if lock.python.source == "uv" else self._of_machine(lock)

    def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
        """The interpreter at `path`, if the lock allows it."""
        version = version_of(path)
        return Interpreter(path, version) if version is not None and allows(lock, version) else None

    def _of_machine(self, lock: Lock) -> Interpreter:
        try:
            return self._found(lock)
        except NoInterpreter as error:
            if only_chosen():
                raise
            return self._downloaded(lock, error)

    def _found(self, lock: Lock) -> Interpreter:
        series, wanted = lock.python.series, lock.requirements.python
        return find_interpreter(series, lambda version: allows(lock, version), wanted=wanted, downloads=self._folder)

    def _downloaded(self, lock: Lock, missing: NoInterpreter) -> Interpreter:
        """The newest fitting build that uv knows, installed by uv."""
        from envlock.redaction import redact
        from envlock.uv_command import run_uv, uv_reason

        series, wanted = lock.python.series, lock.requirements.python
        mirror = self._mirror()
        request = ",".join(filter(None, (f"=={series}.*", wanted)))
        self._reporter.noted(f"downloading CPython {series} with uv: none on this machine fits")
        make_folder(str(self._folder), str(self._home))
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
        found = self._found(lock)
        self._reporter.noted(f"CPython {found.version} is now in {found.path.parent.parent}")
        return found

    def _exact_build(self, lock: Lock) -> Interpreter:
        python = lock.python
        path = unpacked(python, self._folder)
        if path is None:
            archives = [file for file in artifacts_of(lock) if file.sha256 == python.sha256]
            archive = self._source.fetch(archives)[python.sha256]
            self._reporter.noted(f"unpacking {python.filename}")
            path = unpack(python, archive, self._folder)
        version = version_of(path)
        if version != python.version:
            raise BadPythonArchive(
                filename=python.filename, reason=f"it holds CPython {version or 'that does not run here'}"
            )
        return Interpreter(path, version)


def allows(lock: Lock, version: str) -> bool:
    """Whether an environment of this lock may be made from a CPython of this version."""
    if lock.python.source != "machine":
        return version == lock.python.version
    later = f">={lock.python.version},=={lock.python.series}.*"
    return python_allows(later, version) and python_allows(lock.requirements.python, version)


def unpacked(python: LockedPython, pythons: Path) -> Path | None:
    """The interpreter of an exact build that was unpacked below `pythons`, or None."""
    path = _interpreter(pythons / python.sha256, python)
    return path if path.is_file() else None


def unpack(python: LockedPython, archive: Path, pythons: Path) -> Path:
    """The interpreter of an exact build: unpacked from `archive`, unless it is already there.

    The archive is verified before anything is unpacked; no member can be written outside of its folder.
    Takes about a second, once. Raises ChangedArtifact, BadPythonArchive, HydrateError.
    """
    place = pythons / python.sha256

    def build(stage: Path) -> None:
        import gzip
        import tarfile
        import zlib

        from metaflow_extensions.envlock.plugins.node.pythons import extract

        found = sha256_of(archive)
        if found != python.sha256:
            raise ChangedArtifact("python", python.version, archive, expected=python.sha256, found=f"sha256 {found}")
        try:
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as members:
                extract(members, str(stage))
                # tarfile takes bad bytes for the end of the archive; gzip's checksum comes after them.
                while stream.read(_CHUNK):
                    pass
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadPythonArchive(filename=python.filename, reason=str(error)) from error
        if not _interpreter(stage, python).is_file():
            raise BadPythonArchive(filename=python.filename, reason=f"there is no {_interpreter(Path(), python)} in it")

    try:
        make_once(place, is_whole=place.is_dir, build=build)
    except OSError as error:
        raise storage_error(error, pythons) from error
    return _interpreter(place, python)


def _interpreter(folder: Path, python: LockedPython) -> Path:
    return folder / _FOLDER / "bin" / f"python{python.series}"
