"""The tree of a pack: a lock's finished prefix, for any Linux arch, as a list of files.

It depends on the lock and on the release of CPython that compiled its modules, and on nothing else: not on the machine,
the user, the clock, or what was installed before. uv and py-rattler make it, as they make prefixes, and what they note
of the machine is left out. Nothing that a package contains is run.

The prefix's own files are not in it, because they name its place and its interpreter: `pyvenv.cfg`, `bin/python*` of a
virtual environment, the receipt. Nor are the scripts with which a shell activates a virtual environment.
"""

from __future__ import annotations

import json
import mmap
import os
import stat
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.files import RECORD_BYTES, json_of, read_file
from envlock.hydration.conda_rattler import CondaInstaller
from envlock.hydration.errors import PrefixTooLong, UnfitForMachine, storage_error
from envlock.hydration.hydrate import verified
from envlock.hydration.installed import is_bytecode, paths_of, records_of_uv
from envlock.hydration.port import InstallOptions
from envlock.hydration.prefix import name_of
from envlock.hydration.pypi_uv import UvInstaller
from envlock.model.arch import LINUX_64, LINUX_AARCH64
from envlock.model.artifact import artifacts_of
from envlock.model.requirement import normalized
from envlock.pack.bytecode import Span, compile_modules, compiler_of, is_test
from envlock.pack.errors import CannotPack
from envlock.pack.wheel_files import divide, replace_file, rest_of, settle_record
from envlock.stage import temporary_folder
from envlock.trust import Closed
from metaflow_extensions.envlock.plugins.node.members import DEEPEST, LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from envlock.hydration.port import ArtifactSource, Pythons
    from envlock.interpreters import Interpreter
    from envlock.model.lock import Lock
    from envlock.pack.wheel_files import Divided
    from envlock.reporter import Reporter

ARCHS = (LINUX_64, LINUX_AARCH64)
"""The archs that packs are made for."""
PLACEHOLDER = "/opt/envlock_placeholder".ljust(255, "_")
"""What stands for the path of a prefix in the files of conda packages: as long as their binaries have room for."""
TEXT, BINARY = "text", "binary"
_LIB64 = "lib64"
_META = "conda-meta/"
_LARGEST_MODULE = 8 << 20
"""Bytes. Compiling takes a hundred times as much memory, and what needs more than a machine has would end there."""
_OF_RATTLER = ("CACHEDIR.TAG",)
"""What some versions of py-rattler put into an environment, and no package."""
_OF_MACHINE = ("link", "extracted_package_dir", "package_tarball_full_path")
"""What py-rattler notes of a package: where it was unpacked, and whether files are hard links."""
_OF_PLACE = ("sha256", "sha256_in_prefix", "size_in_bytes")
"""What it notes of a file that is no longer so once the placeholder in it is replaced."""
_RECORD = ".dist-info/RECORD"
_OF_UV = ("_virtualenv.py", "_virtualenv.pth")
"""What some versions of uv put into virtual environments, and no package."""


class TreeFile(NamedTuple):
    """A file, or a link, of a prefix."""

    path: str
    """Relative to the prefix, with `/`; without `..`."""
    source: Path | None
    """Where its bytes are; None for a link."""
    link: str
    """The target of a link: relative, inside of the prefix. Else empty."""
    size: int
    """Bytes; 0 for a link."""
    executable: bool
    """Whether its mode is 0o755; else it is 0o644."""
    prefix: str
    """How the placeholder in it becomes the path of the prefix: `text` (the file's size changes), `binary` (within a
    text that ends with NUL, which is filled up with NULs to the same size), or empty: there is none in it."""
    package: str
    """`conda/NAME` or `wheel/NAME`, whose package it is of, by its normalised name; empty for the environment's own."""
    start: int | None = None
    """Where its bytes begin in `source`, if that holds those of other files, too; None if all of it is this file."""

    def read(self) -> bytes:
        """Its bytes; none for a link. Raises OSError."""
        return Span(self.source, self.start or 0, self.size).read() if self.source is not None else b""


class Tree(NamedTuple):
    """A lock's finished prefix."""

    files: tuple[TreeFile, ...]
    """By the bytes of their paths. No file or link is at the path of another's folder."""
    placeholder: str
    """The path that conda packages have in place of the prefix's own; empty if there are none."""
    compiler: str
    """The release of CPython that compiled the modules."""
    python: str
    """The series of Python, such as `3.12`."""


@contextmanager
def tree_of(
    lock: Lock,
    source: ArtifactSource,
    scratch: Path,
    reporter: Reporter,
    *,
    interpreters: Pythons,
    compiler: str = "",
    bytecode: Path | None = None,
    kept: Path | None = None,
    compiles_tests: bool = False,
) -> Iterator[Tree]:
    """The tree of a lock, whose files are there as long as the context lasts.

    `scratch` is a folder with room for the unpacked packages twice, `compiler` the release of CPython that compiles;
    by default the locked one if this machine has it, else the newest of the series here. `interpreters` brings one if
    there is none. Trees that are made with one folder `bytecode` have each module compiled once for all of them, and
    those with a folder `kept` once for all times (see `bytecode.Kept`): not what is to prove a pack.
    `compiles_tests` is for packs of an older format (see `is_test`). Costs unpacking all packages, and compiling all
    modules, on all processors. Raises CannotPack, HydrateError, DamageError, and what `source` raises.
    """
    if lock.arch not in ARCHS:
        raise CannotPack(environment=name_of(lock), arch=lock.arch, reason="packs are for Linux")
    with temporary_folder(parent=scratch) as work:
        try:
            with Closed():
                python = compiler_of(lock, interpreters, compiler)
                making = _Making(
                    lock, source, work, reporter, python, bytecode or work / "bytecode", kept, compiles_tests
                )
                tree = making.tree()
        except OSError as error:
            raise storage_error(error, scratch) from error
        yield tree


class _Making:
    def __init__(
        self,
        lock: Lock,
        source: ArtifactSource,
        work: Path,
        reporter: Reporter,
        python: Interpreter,
        bytecode: Path,
        kept: Path | None,
        compiles_tests: bool,
    ) -> None:
        self._lock = lock
        self._source = source
        self._work = work
        self._reporter = reporter
        self._python = python
        self._bytecode = bytecode
        self._kept = kept
        self._compiles_tests = compiles_tests
        self._files: dict[str, TreeFile] = {}

    def tree(self) -> Tree:
        lock = self._lock
        site = f"lib/python{lock.python.series}/site-packages"
        named = {package.conda.site_packages for package in lock.conda_packages if package.conda} - {"", site}
        if named:
            raise self._refused(f"its Python is a special build, which looks for packages in {', '.join(named)}")
        packages = {package.sha256 for package in lock.packages}
        archives = self._source.fetch([each for each in artifacts_of(lock) if each.sha256 in packages])
        try:
            with verified(lock, archives):
                if lock.conda_packages:
                    self._add_conda(archives)
                if lock.pypi_packages or not lock.conda_packages:
                    self._add_wheels(archives)
        except PrefixTooLong as error:
            raise self._refused("a conda package has no room for the path of a pack", *error.details) from None
        except UnfitForMachine as error:
            raise self._refused("a wheel needs a newer system than uv knows", *error.details) from None
        self._check_paths()
        self._add_bytecode()
        return Tree(
            files=tuple(self._files[path] for path in sorted(self._files, key=os.fsencode)),
            placeholder=PLACEHOLDER if lock.conda_packages else "",
            compiler=self._python.version,
            python=lock.python.series,
        )

    def _refused(self, reason: str, *details: str) -> CannotPack:
        return CannotPack(environment=name_of(self._lock), arch=self._lock.arch, reason=reason, details=details)

    def _folder(self, name: str) -> Path:
        folder = self._work / name
        folder.mkdir(parents=True)
        return folder

    # Conda packages.

    def _add_conda(self, archives: Mapping[str, Path]) -> None:
        """Add what py-rattler makes of the conda packages for a prefix whose path is the placeholder."""
        stage = self._folder("conda/prefix")
        lock = replace(self._lock, packages=self._lock.conda_packages)
        CondaInstaller(self._work / "conda" / "packages", self._reporter).install(
            lock, archives, None, stage, Path(PLACEHOLDER)
        )
        owners: dict[str, str] = {}
        modes: dict[str, str] = {}
        for package in lock.packages:
            record = f"{_META}{package.name}-{package.version}-{package.build}.json"
            owners[record] = f"conda/{package.name}"
            for path, mode in self._settle_conda_record(stage, record).items():
                owners[path], modes[path] = f"conda/{package.name}", mode
        for path, entry in _entries(stage):
            if path in owners or path not in _OF_RATTLER:
                self._add(path, entry, owners.get(path, ""), modes.get(path, ""))

    def _settle_conda_record(self, stage: Path, record: str) -> dict[str, str]:
        """The files of a conda package, each with how the placeholder in it is replaced.

        Removes from the record what py-rattler notes of this machine, and the hashes of files with the placeholder.
        """
        modes: dict[str, str] = {}
        try:
            document = json_of(read_file(stage / record, RECORD_BYTES))
            for row in document["paths_data"]["paths"]:
                path = str(row["_path"])
                modes[path] = _mode_of(row, stage / path)
                for fact in _OF_PLACE if modes[path] else ():
                    row.pop(fact, None)
            for fact in _OF_MACHINE:
                document.pop(fact, None)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self._refused(
                f"`{record}` is not the record of a package: another package contains this file"
            ) from None
        replace_file(stage / record, f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode())
        return modes

    # Wheels.

    def _add_wheels(self, archives: Mapping[str, Path]) -> None:
        """Add what uv makes of the wheels in a virtual environment of its own, whose scripts find their interpreter.

        uv sees only the files that it does not install as they are (see `wheel_files`).
        """
        divided = divide(self._lock.pypi_packages, archives, self._folder("wheels/divided"), self._reporter)
        rests = {each.sha256: each.rest for each in divided.values()}
        stage = self._folder("wheels/prefix")
        installer = UvInstaller(self._reporter, InstallOptions(apart=self._work / "uv"))
        installer.install(rest_of(self._lock, divided), {**archives, **rests}, self._python.path, stage, stage)
        site = f"lib/python{self._lock.python.series}/site-packages"
        owners: dict[str, str] = {}
        wheels = {wheel.name: divided.get(wheel.sha256) for wheel in self._lock.pypi_packages}
        for name, record in records_of_uv(stage / site).items():
            if name in wheels:
                owners |= dict.fromkeys(self._recorded(record, stage), f"wheel/{name}")
                rows = found.rows if (found := wheels[name]) else ()
                settle_record(record, rows, is_beside_conda=bool(self._lock.conda_packages))
                self._remove_conda_distribution(site, name)
        for path, entry in _entries(stage):
            is_unlisted = path.startswith(f"{site}/") and path.rpartition("/")[2] not in _OF_UV
            if path in owners or is_unlisted:
                self._add(self._place_of(path), entry, owners.get(path, ""))
        for wheel in self._lock.pypi_packages:
            if wheel.sha256 in divided:
                self._add_plain(divided[wheel.sha256], site, f"wheel/{wheel.name}")
        if not self._lock.conda_packages:
            self._files[_LIB64] = TreeFile(_LIB64, None, "lib", 0, executable=False, prefix="", package="")

    def _add_plain(self, wheel: Divided, site: str, package: str) -> None:
        """Add the files of a wheel that uv did not see."""
        for file in wheel.files:
            path = f"{site}/{file.path}"
            owner = "" if is_bytecode(path) else package  # as those of `_recorded`
            self._files[path] = TreeFile(path, wheel.content, "", file.size, file.executable, "", owner, file.start)

    def _recorded(self, record: Path, stage: Path) -> Iterable[str]:
        """The files in a RECORD. Raises CannotPack for what is none."""
        try:
            return paths_of(record, stage)
        except ValueError as error:
            raise self._refused(f"`{record.parent.name}/RECORD` cannot be read ({error})") from None

    def _place_of(self, path: str) -> str:
        """Where a file of a wheel belongs: headers have another folder in a virtual environment than with conda."""
        if self._lock.conda_packages and path.startswith("include/site/"):
            return path.replace("include/site/", "include/", 1)
        return path

    def _remove_conda_distribution(self, site: str, name: str) -> None:
        """Remove the distribution of a conda package for which there is a wheel of the same name, as uv does."""
        for path in [path for path in self._files if path.startswith(f"{site}/") and path.endswith(_RECORD)]:
            folder = path.removesuffix("/RECORD")
            if normalized(folder.rpartition("/")[2].partition("-")[0]) == name:
                record = self._files[path].source
                stage = self._work / "conda" / "prefix"
                for each in self._recorded(record, stage) if record is not None else ():
                    self._files.pop(each, None)
                for each in [each for each in self._files if each.startswith(f"{folder}/")]:
                    del self._files[each]

    def _add(self, path: str, entry: os.DirEntry[str], package: str, prefix: str = "") -> None:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            link = self._link(path, os.readlink(entry.path))  # noqa: PTH115  keeps the text as it is
            self._files[path] = TreeFile(path, None, link, 0, executable=False, prefix="", package=package)
        elif stat.S_ISREG(status.st_mode):
            is_executable = bool(status.st_mode & stat.S_IXUSR)
            self._files[path] = TreeFile(path, Path(entry.path), "", status.st_size, is_executable, prefix, package)
        else:
            raise self._refused(f"`{path}` is neither a file nor a link")

    def _link(self, path: str, target: str) -> str:
        """The target of a link, relative. Raises CannotPack if it leaves the prefix, by way of another link too."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if target.startswith(f"{PLACEHOLDER}/"):
            target = os.path.relpath(target[len(PLACEHOLDER) + 1 :], folder or ".")
        inside = os.path.normpath(os.path.join(folder, target))  # noqa: PTH118
        names = [name for name in target.split("/") if name not in {"", "."}]
        turns_back = ".." in names[next((at for at, name in enumerate(names) if name != ".."), 0) :]
        if target.startswith("/") or inside == ".." or inside.startswith("../") or turns_back:
            raise self._refused(f"its link `{path}` leads out of the environment, to `{target}`")
        return target

    def _check_paths(self) -> None:
        """Raise CannotPack for a path that nodes refuse, or that is below a file or a link."""
        for path, file in self._files.items():
            if path.count("/") > DEEPEST:
                raise self._refused(f"`{path[:80]}...` is in more than {DEEPEST} folders")
            try:
                path.encode()
            except UnicodeEncodeError:
                raise self._refused(f"the name of {path!r} is not UTF-8") from None
            above = path.rpartition("/")[0]
            while above:
                if above in self._files:
                    of = self._files[above].package or "the environment"
                    raise self._refused(f"`{path}` of {file.package} is below `{above}`, a file or link of {of}")
                above = above.rpartition("/")[0]

    # Bytecode.

    def _add_bytecode(self) -> None:
        """Add the bytecode of all modules, in place of what packages have, which is valid for the time of a file."""
        series = self._lock.python.series
        tag = f"cpython-{series.replace('.', '')}"
        for path in [path for path in self._files if is_bytecode(path)]:
            folder, _, name = path.rpartition("/")
            if f"{folder[: -len('/__pycache__')]}/{name.partition('.')[0]}.py" in self._files:
                del self._files[path]
        modules = {
            path: Span(file.source, file.start or 0, file.size)
            for path, file in self._files.items()
            if path.endswith(".py") and path.startswith(f"lib/python{series}/")
            if file.source is not None and not file.prefix and file.size <= _LARGEST_MODULE
            if self._compiles_tests or not is_test(path)
            if len(os.fsencode(path.rpartition("/")[2])) + len(f".{tag}c") <= LONGEST_NAME  # Python keeps none either
        }
        self._bytecode.mkdir(exist_ok=True)
        made = compile_modules(modules, self._bytecode, self._python, self._reporter, self._kept)
        for path, span in made.items():
            folder, _, name = path.rpartition("/")
            place = f"{folder}/__pycache__/{name[: -len('.py')]}.{tag}.pyc"
            package = self._files[path].package
            self._files[place] = TreeFile(place, span.file, "", span.size, False, "", package, span.start)


def _mode_of(row: Mapping[str, Any], file: Path) -> str:
    """How the placeholder in a file of a conda package is replaced; empty if there is none in it.

    The package says which of its files may name their prefix; py-rattler makes commands that do.
    """
    is_command = row.get("path_type") == "unix_python_entry_point"
    if not (row.get("file_mode") or is_command) or file.is_symlink() or not file.is_file() or not file.stat().st_size:
        return ""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(PLACEHOLDER.encode()) < 0:
            return ""
    return BINARY if row.get("file_mode") == BINARY else TEXT


def _entries(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder that is not a folder, with its path relative to it. Follows no link."""
    todo = [(str(folder), "")]
    while todo:
        where, below = todo.pop()
        with os.scandir(where) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append((entry.path, f"{below}{entry.name}/"))
                else:
                    yield f"{below}{entry.name}", entry
