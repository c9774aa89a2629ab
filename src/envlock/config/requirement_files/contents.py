"""What a requirement file says, opening one, and adding it to the tables of its level.

Each format has its reader beside this module. No message quotes a file from outside the project: envlock.toml may name
a file whose content must not get into a log.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from envlock.config.errors import BadChannel, BadCondaEntry, BadPythonSpecifier, BadValue, UnsafeFile
from envlock.config.project import KeyPath, LineOfFile
from envlock.config.requirement_files.errors import (
    BadEnvironmentYml,
    BadPyproject,
    BadRequirementFile,
    BadRequirementsFile,
    RequirementFileCycle,
)
from envlock.config.tables import (
    Conflict,
    Hashes,
    Level,
    PypiEntry,
    add_hashes,
    add_pypi,
    add_system,
    agree_python,
    set_default_index,
    set_variable,
)
from envlock.errors import Location
from envlock.files import REQUIREMENTS_BYTES, NotPlain, is_of, read_file
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.requirement import BadVersionSpecifier, PypiRequirement
from envlock.redaction import shown
from envlock.revisions import is_file
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.config.conda_tables import CondaEntry

_PROJECT = "pyproject.toml"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING = re.compile(rb"coding[:=]\s*([-\w.]+)")


class FileContents(NamedTuple):
    """What a requirement file says, each entry with its line, which may be that of an included file."""

    pypi: tuple[tuple[PypiRequirement, str, LineOfFile], ...] = ()
    """Requirements of PyPI packages, each with the index that it names, as written, and its line."""
    constraints: tuple[tuple[PypiRequirement, LineOfFile], ...] = ()
    overrides: tuple[tuple[PypiRequirement, LineOfFile], ...] = ()
    hashes: tuple[Hashes, ...] = ()
    conda: tuple[tuple[str, str, LineOfFile], ...] = ()
    """Conda packages: the name, which may begin with `channel::`, the constraint as written, and the line."""
    conda_only: tuple[tuple[str, str, LineOfFile], ...] = ()
    """Conda packages to go with PyPI ones, as in `conda`."""
    channels: tuple[tuple[str, LineOfFile], ...] = ()
    own_channels: tuple[LineOfFile, ...] = ()
    """The lines that leave out the channels of `[envlock]`."""
    indexes: tuple[tuple[str, LineOfFile], ...] = ()
    """Extra indexes, as written."""
    default_index: tuple[str, LineOfFile] | None = None
    find_links: tuple[tuple[str, LineOfFile], ...] = ()
    """Pages with links to packages, as written."""
    pip_flags: tuple[str, ...] = ()
    system: tuple[tuple[str, str, LineOfFile], ...] = ()
    """System packages with their versions, as written."""
    python: tuple[str, str, LineOfFile] | None = None
    """The Python of the environment: the range, what is written, and the line."""
    requires_python: tuple[tuple[str, LineOfFile], ...] = ()
    """Ranges of Pythons beside that, which all have to hold."""
    variables: tuple[tuple[str, str, LineOfFile], ...] = ()
    """Environment variables with their values."""
    local: tuple[tuple[str, str], ...] = ()
    """The `url` of each requirement of a local source, and its path relative to envlock.toml."""
    notes: tuple[tuple[str, LineOfFile], ...] = ()
    """What is in the file, is allowed, and has no effect: a sentence for each, with its line."""
    files: tuple[Path, ...] = ()
    """The files that were read."""


_LISTS = tuple(name for name in FileContents._fields if name not in {"python", "default_index"})


class RequirementFile(NamedTuple):
    """A requirement file that is being read."""

    path: Path
    name: str
    """The path as messages have it: relative to envlock.toml, as are the paths in it."""
    text: str
    key: KeyPath
    """The key of envlock.toml that names it, or a file that includes it."""
    locate: Callable[[KeyPath], Location]
    project: Path
    """The folder of envlock.toml."""
    error: type[BadRequirementFile]
    is_quoted: bool
    """Whether messages may quote its lines."""
    included_by: tuple[tuple[Path, LineOfFile], ...] = ()
    """The files that include it, the outermost first, each with the line."""

    def line(self, number: int) -> LineOfFile:
        """The key of a line, from 1."""
        return LineOfFile(self.key, self.name, number)

    def places(self, number: int) -> tuple[Location, ...]:
        """A line, the line that includes the file, and the key that names the outermost, for an error."""
        includes = tuple(Location(line.file, line.line) for _, line in reversed(self.included_by))
        return (Location(self.name, number), *includes, self.locate(self.key))

    def fault(self, reason: str, number: int, *, line: str = "", hint: str = "") -> BadRequirementFile:
        """The error of a line. The text `line` is only quoted from a file of the project."""
        said = f"{reason}: `{shown(line)}`" if line and self.is_quoted else reason
        return self.error(said, self.places(number), hint=hint)

    def include(self, written: str, number: int, error: type[BadRequirementFile] | None = None) -> RequirementFile:
        """The file that a line includes, by a path relative to this file.

        Raises BadRequirementFile, UnsafeFile or RequirementFileCycle, with the line.
        """
        path = Path(os.path.normpath(self.path.parent / written))
        beside = Path(self.name).parent / written
        name = written if beside.is_absolute() else os.path.normpath(beside)
        chain = (*self.included_by, (self.path, self.line(number)))
        files = [of for of, _ in chain]
        if path in files:
            lines = [line for _, line in chain[files.index(path) :]]
            raise RequirementFileCycle(name, tuple(Location(line.file, line.line) for line in lines))
        made = self._replace(included_by=chain, error=error or self.error)
        return _opened(path, name, lambda: self.places(number), made)


def open_file(
    written: str,
    key: KeyPath,
    *,
    project: Path,
    locate: Callable[[KeyPath], Location],
    error: type[BadRequirementFile],
) -> RequirementFile:
    """The requirement file that envlock.toml, in the folder `project`, names at `key`, with its text.

    The text is decoded as pip decodes requirements.txt: by its byte order mark (UTF-8, UTF-16, UTF-32), else by a
    `coding` comment in the first two lines, else as UTF-8. `locate` finds the place of a key for an error, which is of
    the class `error` if it is about the format. Raises BadRequirementFile or UnsafeFile.
    """
    blank = RequirementFile(Path(), "", "", key, locate, project, error, is_quoted=False)
    path = Path(os.path.normpath(project / written))
    return _opened(path, written, lambda: (locate(key),), blank)


def _opened(path: Path, name: str, at: Callable[[], tuple[Location, ...]], made: RequirementFile) -> RequirementFile:
    """The file `made`, with its text. `at` finds the places of what names it, which takes a look for them."""
    try:
        text = _decoded(read_file(path, REQUIREMENTS_BYTES, within=made.project))
    except NotPlain as error:
        if "\0" in name:
            raise made.error(f"`{shown(name)}` is not a file name", at(), is_read=False) from None
        raise UnsafeFile(name, error.reason, at()) from None
    except (OSError, ValueError, LookupError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        reason = reason or type(error).__name__
        said = f"cannot read the {made.error.kind} `{shown(name)}`: {reason[:1].lower()}{reason[1:]}"
        raise made.error(said, at(), is_read=False) from None
    is_quoted = is_of(path, made.project)
    if not is_quoted and not any(path.match(pattern) for pattern in made.error.patterns):
        # Its lines would go to a lock and to indexes: they might be a secret.
        names = " or ".join(f"`{pattern}`" for pattern in made.error.patterns)
        reason = f"outside the project, a {made.error.kind} must be called {names}"
        raise UnsafeFile(name, reason, at(), hint="rename it, or put it into the project")
    return made._replace(path=path, name=name, text=text, is_quoted=is_quoted)


def _decoded(data: bytes) -> str:
    """The text of a file, as pip decodes it. Raises UnicodeDecodeError, LookupError."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    for line in data.split(b"\n", 2)[:2]:
        if line.startswith(b"#") and (found := _CODING.search(line)) is not None:
            return data.decode(found[1].decode("ascii"))  # of text alone: others would unpack it
    return data.decode()


def contents_of(
    kind: str, entry: Any, key: KeyPath, *, project: Path, locate: Callable[[KeyPath], Location]
) -> FileContents:
    """What the requirement file says that envlock.toml names at `key`, in the folder `project`.

    `kind` is the name of the key, `entry` its value or one item of it, which has the right shape. Raises ConfigError
    with the line; UnsafeFile.
    """
    if kind == "environment-yml":
        from envlock.config.requirement_files.environment_yml import read_environment_yml

        return read_environment_yml(open_file(entry, key, project=project, locate=locate, error=BadEnvironmentYml))
    if kind == "pyproject":
        from envlock.config.requirement_files.pyproject_toml import read_pyproject

        table = {"file": entry} if isinstance(entry, str) else entry
        if "file" not in table:
            hint = 'write it as `pyproject = { file = "pyproject.toml", ... }`'
            raise BadPyproject("`file` is missing in `pyproject`", (locate(key),), hint=hint)
        file = open_file(table["file"], key, project=project, locate=locate, error=BadPyproject)
        return read_pyproject(file, extras=table.get("extras", ()), groups=table.get("groups", ()))
    from envlock.config.requirement_files.requirements_txt import read_requirements_txt

    return read_requirements_txt(open_file(entry, key, project=project, locate=locate, error=BadRequirementsFile))


def add_needs_of_folders(level: Level, project: Path, locate: Callable[[KeyPath], Location]) -> tuple[Path, ...]:
    """Add what the folders of a level take from places of their own, as their pyproject.toml says; the files read.

    Otherwise an index could give another package of the same name. What the level has from a place of its own comes
    first. Raises as the readers of pyproject.toml do.
    """
    from envlock.config.requirement_files.pyproject_toml import needs_of_folder

    files: list[Path] = []
    seen: set[tuple[str, tuple[str, ...], str]] = set()
    todo = [entry for entries in level.pypi.values() for entry in entries if entry.requirement.url in level.local]
    added: list[PypiEntry] = []
    for requirement, key, _ in todo:
        below = requirement.url.partition("#subdirectory=")[2]
        folder = Path(level.local[requirement.url]) / below
        place = (str(folder), requirement.extras, requirement.marker)
        if place in seen or not requirement.url.startswith("folder+") or not is_file(project / folder / _PROJECT):
            continue
        seen.add(place)
        file = open_file(str(folder / _PROJECT), key, project=project, locate=locate, error=BadPyproject)
        contents = needs_of_folder(file, requirement.extras, requirement.marker)
        files += contents.files
        level.local |= dict(contents.local)
        for needed, index, line in contents.pypi:
            before = [each for each in level.pypi.get(needed.name, ()) if each not in added]
            if not any(each.requirement.url or each.requirement.from_index for each in before):
                add_pypi(level, needed, line, index)
                added.append(PypiEntry(needed, line, index))
                todo.append(added[-1])
    return tuple(files)


def joined(all_contents: Iterable[FileContents]) -> FileContents:
    """The contents of several files as one, in order. Two Pythons or default indexes that differ are a Conflict."""
    parts = tuple(all_contents)
    single: dict[str, Any] = {}
    for name in ("python", "default_index"):
        for each in filter(None, (getattr(part, name) for part in parts)):
            found = single.setdefault(name, each)
            if found[0] != each[0]:
                raise Conflict("disagreeing-values", found[-1], each[-1], values=(str(found[-2]), str(each[-2])))
    lists = {name: tuple(chain.from_iterable(getattr(part, name) for part in parts)) for name in _LISTS}
    return FileContents(**lists, **single)


def add_contents(level: Level, contents: FileContents, locate: Callable[[KeyPath], Location]) -> None:
    """Add what a requirement file says to the tables of its level. `locate` finds the place of a line, for errors.

    Raises Conflict, with the keys of both sides, where the two contradict each other; BadCondaEntry, BadChannel,
    BadPythonSpecifier and BadValue.
    """
    for requirement, index, line in contents.pypi:
        add_pypi(level, requirement, line, index)
    level.constraints += [PypiEntry(requirement, line) for requirement, line in contents.constraints]
    for requirement, line in contents.overrides:
        add_pypi(level, requirement, line, to=level.overrides)
    for hashes in contents.hashes:
        add_hashes(level, hashes)
    for packages, entries in ((contents.conda, level.conda), (contents.conda_only, level.conda_only)):
        for name, constraint, line in packages:
            _add_conda(level, entries, name, constraint, line, locate)
    for package, version, line in contents.system:
        _add_system(level, package, version, line, locate)
    if contents.python is not None:
        found, written, line = contents.python
        agree_python(level, written, found, line)
    level.requires_python += contents.requires_python
    if contents.default_index is not None:
        set_default_index(level, *contents.default_index)
    for name, value, line in contents.variables:
        set_variable(level, name, value, line)
    level.indexes += contents.indexes
    level.find_links += contents.find_links
    level.channels += contents.channels
    level.own_channels += contents.own_channels
    level.pip_flags += contents.pip_flags
    level.local |= dict(contents.local)
    level.notes += contents.notes


def _add_conda(
    level: Level,
    entries: dict[str, CondaEntry],
    name: str,
    constraint: str,
    line: LineOfFile,
    locate: Callable[[KeyPath], Location],
) -> None:
    from envlock.config.conda_tables import NoChannel, read_package

    try:
        read_package(level, entries, name, constraint, line)
    except BadCondaRequirement as bad:
        raise BadCondaEntry(name, constraint, bad.reason, locate(line)) from None
    except NoChannel as bad:
        raise BadChannel(bad.channel, locate(line)) from None
    except BadVersionSpecifier:
        raise BadPythonSpecifier(constraint, locate(line)) from None


def _add_system(
    level: Level, package: str, version: str, line: LineOfFile, locate: Callable[[KeyPath], Location]
) -> None:
    from envlock.config.system_packages import VIRTUAL_PACKAGES, BadSystemVersion, system_version

    if package not in VIRTUAL_PACKAGES:
        raise BadValue(package, version, "it is no system package", locate(line), right=tuple(VIRTUAL_PACKAGES))
    try:
        found = system_version(package, version)
    except BadSystemVersion as bad:
        hint = f"write the version as `{bad.example}`"
        raise BadValue(package, version, bad.reason, locate(line), hint=hint) from None
    add_system(level, package, found, line)
