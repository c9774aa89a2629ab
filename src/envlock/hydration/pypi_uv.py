"""Wheels into a prefix, by uv: offline, from local files, each with its hash, linked from uv's own cache."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from envlock.files import METADATA_BYTES, read_file
from envlock.hydration.errors import FileAndFolder, InstallFailed, ReservedPath, UnfitForMachine, disk_full, is_full
from envlock.hydration.machine_checks import system_here
from envlock.hydration.port import DEFAULT_OPTIONS, InstallOptions
from envlock.hydration.prefix import name_of
from envlock.model.arch import MARKER_VALUES
from envlock.reporter import Reporter, watching
from envlock.uv_command import run_uv, uv_cache, uv_environment, uv_reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from envlock.model.lock import Lock, LockedPackage

PATIENCE = "30"
"""How many seconds to wait for other runs of uv before its cache can be cleaned."""
_PYLOCK = "pylock.toml"
_NEWEST_SYSTEM = "manylinux_2_40"
"""The newest system that uv knows a name of."""
_RESERVED = re.compile(r"Failed to install: (?P<wheel>\S+).*\n.*must not use the reserved name `(?P<name>[^`]+)`")


class UvInstaller:
    """Makes a virtual environment that can be moved, with exactly the wheels of a lock."""

    def __init__(self, reporter: Reporter | None = None, options: InstallOptions = DEFAULT_OPTIONS) -> None:
        self._reporter = reporter or Reporter()
        self._options = options

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        """Make `stage` the environment: the time to link the files. Raises HydrateError.

        uv makes the virtual environment beside the stage while it fills that, for `uv pip sync` would first run the
        new environment's interpreter to learn what it knows of the one that this was made from.
        """
        del place  # a relocatable environment does not contain its own path
        assert python is not None
        wheels = WheelsByUv(lock, files, stage, self._reporter, self._options, python)
        venv = stage.with_name(f"{stage.name}.venv")
        if not lock.packages:
            wheels.make_environment(python, venv)
        else:
            if sys.platform != "darwin":  # as in a virtual environment: a wheel's data may be below it
                (stage / "lib64").symlink_to("lib")
            if self._options.unpack_again:
                wheels.unpack_again()
            wheels.sync(meanwhile=lambda: wheels.make_environment(python, venv))
            site_packages = _site_packages(lock, stage)
            records = wheels.settle(site_packages)
            from envlock.hydration.shebangs import make_scripts_relocatable

            make_scripts_relocatable(records.values(), site_packages, python)
        _move_into(str(stage), str(venv))

    def finish(self, lock: Lock, place: Path) -> None:
        """Compile the wheels' modules, if that is wanted. Raises DiskFull."""
        if self._options.compile_bytecode:
            from envlock.hydration.finishing import compile_bytecode_below

            compile_bytecode_below(_site_packages(lock, place), place / "bin" / "python", self._reporter)


class WheelsByUv:
    """uv at work on the wheels of one lock, in the environment `stage`. It verifies the SHA-256 of each wheel.

    It uses no network, and builds nothing. Each method raises DiskFull, UnfitForMachine, InstallFailed.
    """

    def __init__(
        self,
        lock: Lock,
        files: Mapping[str, Path],
        stage: Path,
        reporter: Reporter,
        options: InstallOptions = DEFAULT_OPTIONS,
        python: Path | None = None,
    ) -> None:
        """`python` is an interpreter outside of `stage`; by default, that is an environment with its own."""
        self._lock = lock
        self._files = files
        self._stage = stage
        own = ("--python", str(stage / "bin" / "python"))
        self._place = own if python is None else ("--python", str(python), "--prefix", str(stage))
        self._reporter = reporter
        self._uv = options.uv
        self._cache = options.apart
        self._options: tuple[str, ...] = ()
        if options.apart is not None:
            self._options = ("--python-platform", f"{MARKER_VALUES[lock.arch]['platform_machine']}-{_NEWEST_SYSTEM}")

    def unpack_again(self) -> None:
        """Remove the lock's wheels from uv's cache, so that the next command unpacks them again.

        uv has no option for that: `--refresh` and `--reinstall` link what was unpacked before. If other runs of uv do
        not end in time, warns that the cache keeps them, and goes around it.
        """
        names = [wheel.name for wheel in self._lock.pypi_packages]
        extra = {"UV_LOCK_TIMEOUT": PATIENCE, "TMPDIR": str(self._stage.parent)}
        if run_uv(["cache", "clean", *names, "--quiet"], extra=extra, executable=self._uv).returncode == 0:
            return
        self._reporter.warned(
            f"{name_of(self._lock)}: could not clean uv's cache, so environments that are made later may contain what "
            "was changed in this one: run `uv cache clean`"
        )
        self._options += ("--no-cache",)

    def make_environment(self, python: Path, folder: Path) -> None:
        """Make a virtual environment without packages, which can be moved."""
        self._run(["venv", "--relocatable", "--no-project", "--offline", "--python", str(python), str(folder)])

    def sync(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Make these wheels the only packages of the environment. `meanwhile` is called while uv is at work."""
        self._pip("sync", self._lock.pypi_packages, meanwhile=meanwhile)

    def add(self, wheels: Sequence[LockedPackage]) -> None:
        """Put wheels over what is there."""
        # An environment with conda's Python may call itself externally managed: envlock manages it.
        self._pip("install", wheels, "--no-deps", "--break-system-packages")

    def settle(self, site_packages: Path) -> Mapping[str, Path]:
        """Give each path that several wheels contain to the last of them in the lock, and warn of those.

        Returns the RECORD of each wheel, by its name. Raises MisdescribedWheel for a wheel that is not what it was
        locked as, and ReservedPath.
        """
        from envlock.hydration.collisions import sentences, settle
        from envlock.hydration.installed import records_of_uv
        from envlock.hydration.wheels import check_metadata

        records = records_of_uv(site_packages)
        wheels = self._lock.pypi_packages
        try:
            found = settle(wheels, records, site_packages, self._stage, lambda wheel: self.add([wheel]))
        except ValueError as error:
            raise InstallFailed(name_of(self._lock), (str(error),)) from error
        check_metadata(self._lock, {name: _fields(record.with_name("METADATA")) for name, record in records.items()})
        for sentence in sentences(found):
            self._reporter.warned(f"{name_of(self._lock)}: {sentence}")
        return records

    def _run(self, arguments: Sequence[str], meanwhile: Callable[[], object] = lambda: None) -> None:
        lock, files = self._lock, self._files
        # uv leaves a lock file for each environment among the temporary files: there it is removed with the stage.
        extra = {"UV_PYTHON_DOWNLOADS": "never", "TMPDIR": str(self._stage.parent)}
        if self._cache is not None:
            extra["UV_CACHE_DIR"] = str(self._cache)
        completed = run_uv([*arguments, "--quiet"], extra=extra, executable=self._uv, meanwhile=meanwhile)
        if completed.returncode == 0:
            return
        reasons = uv_reason(completed.stderr)
        if is_full(completed.stderr):
            raise disk_full(self._stage.parent.parent.parent, files.values(), details=reasons)
        if "has no binary distribution" in completed.stderr:
            unfit = tuple(each.filename for each in lock.pypi_packages if f"`{each.name}`" in completed.stderr)
            raise UnfitForMachine(name_of(lock), lock.arch, unfit, system_here())
        reserved = _RESERVED.search(completed.stderr)
        if reserved is not None:
            raise ReservedPath(package=reserved["wheel"].partition("-")[0], path=f"bin/{reserved['name']}")
        from envlock.hydration.collisions import file_and_folder
        from envlock.hydration.wheels import paths_in

        paths = {each.name: paths_in(files[each.sha256]) for each in lock.pypi_packages if each.sha256 in files}
        clash = file_and_folder(paths)
        if clash is not None:
            path, of_file, of_folder = clash
            raise FileAndFolder(environment=name_of(lock), path=path, of_file=of_file, of_folder=of_folder)
        raise InstallFailed(name_of(lock), reasons)

    def _pip(
        self,
        command: str,
        wheels: Sequence[LockedPackage],
        *options: str,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        def work() -> None:
            meanwhile()
            for name in ("wheels", "shebangs"):  # what comes next needs them: by then they take no time
                import_module(f"envlock.hydration.{name}")

        pylock = self._stage / _PYLOCK
        pylock.write_text(self._pylock(wheels), encoding="utf-8")
        options = ("--preview-features", "pylock", "--offline", "--no-index", "--no-build", *options, *self._options)
        requirements = [str(pylock)] if command == "sync" else ["--requirements", str(pylock)]
        with _unpacking(len(wheels), self._cache, self._reporter):
            self._run(["pip", command, *options, *self._place, *requirements], meanwhile=work)
        pylock.unlink()

    def _pylock(self, wheels: Sequence[LockedPackage]) -> str:
        """A PEP 751 document in which each package is one file on this machine."""
        lines = [
            'lock-version = "1.0"',
            'created-by = "envlock"',
            f'requires-python = "=={self._lock.python.series}.*"',
            "packages = [",
        ]
        for wheel in wheels:
            name, version, sha256, file = map(
                _toml, (wheel.name, wheel.version, wheel.sha256, str(self._files[wheel.sha256]))
            )
            file = f"{{path = {file}, hashes = {{sha256 = {sha256}}}}}"
            lines.append(f"    {{name = {name}, version = {version}, wheels = [{file}]}},")
        return "\n".join([*lines, "]"]) + "\n"


def _toml(text: str) -> str:
    r"""A string as TOML spells it: as JSON does, but for one character. A writer of TOML takes ten times as long.

    >>> print(_toml('a "b"\n\x7f'))
    "a \"b\"\n\u007f"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _move_into(folder: str, other: str) -> None:
    """Move into a folder what is in another and not in this one."""
    for entry in os.scandir(other):
        place = f"{folder}/{entry.name}"
        if not os.path.lexists(place):
            os.rename(entry.path, place)  # noqa: PTH104  of strings: it is on the way of every environment
        elif entry.is_dir(follow_symlinks=False):
            _move_into(place, entry.path)


def _fields(file: Path) -> str:
    """The fields of a METADATA. The description after them is long, and says nothing that is compared."""
    try:
        return read_file(file, METADATA_BYTES).partition(b"\n\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""


def _site_packages(lock: Lock, prefix: Path) -> Path:
    return prefix / "lib" / f"python{lock.python.series}" / "site-packages"


@contextmanager
def _unpacking(total: int, cache: Path | None, reporter: Reporter) -> Iterator[None]:
    """Tell how many wheels uv has unpacked, while it does, as uv is silent: it unpacks all before it installs any.

    Each is a folder in its cache once it is whole. What other runs of uv unpack meanwhile is counted, too.
    """
    folder = Path(cache or uv_environment().get("UV_CACHE_DIR") or uv_cache(), "archive-v0")
    phase = "unpacking"
    before, told = _entries(folder), 0

    def look() -> None:
        nonlocal told
        new = min(_entries(folder) - before, total) - told
        if new > 0:
            if not told:
                reporter.began(phase, total, "packages")
            told += new
            reporter.advanced(phase, "", new)
            if told == total:
                reporter.ended(phase)

    try:
        with watching(look):
            yield
    finally:
        look()
        if told < total:  # the others were unpacked before
            reporter.ended(phase)


def _entries(folder: Path) -> int:
    try:
        return len(os.listdir(folder))  # noqa: PTH208  only their number, and called often
    except OSError:  # uv makes it later
        return 0
