"""The tables of one level, of a flow, a step or an `[env.*]` table, put together.

They have to agree: two values for one thing are an error that shows both lines. What a step has from its flow is in
`inherit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envlock.config.project import KeyPath
from envlock.config.pypi_entries import one_requirement_of, requirement_of
from envlock.config.rules import index_name, pip_flag_of
from envlock.errors import ConfigError
from envlock.model.requirement import (
    PypiRequirement,
    contradict,
    normalize_specifier,
)
from envlock.model.url import is_web, strip_credentials
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, TypeVar

    _Entry = TypeVar("_Entry")

    from envlock.config.conda_tables import CondaEntry

_OF_SOURCES = frozenset({"git", "rev", "tag", "branch", "subdirectory", "path"})
TABLES = ("pypi", "conda", "named_env", "sys_packages")
FILE_KEYS = ("requirements", "environment-yml", "pyproject")
"""The keys that name requirement files."""


class Conflict(Exception):
    """Keys contradict each other: `rule` is the code of the error, `values` what is written at `keys`."""

    def __init__(self, rule: str, *keys: KeyPath, values: tuple[str, ...] = ()) -> None:
        super().__init__(rule)
        self.rule = rule
        self.keys = keys
        self.values = values


class AtKey(Exception):
    """An error of a value of envlock.toml, with the key whose place it lacks."""

    def __init__(self, error: ConfigError, key: KeyPath) -> None:
        super().__init__(str(error))
        self.error = error
        self.key = key


class PypiEntry(NamedTuple):
    """One requirement of a PyPI package, with its key."""

    requirement: PypiRequirement
    """Its index has no credentials."""
    key: KeyPath
    written: str = ""
    """The index as written, with its credentials: for fetching only."""


class Hashes(NamedTuple):
    """The SHA-256 hashes, one of which the locked file of a package must have, where the marker is true."""

    package: str
    marker: str
    sha256: frozenset[str]
    key: KeyPath


class Level:
    """The requirements of one level, each with its key. Filled while a table is read, and not changed later."""

    def __init__(self, key: KeyPath) -> None:
        self.key = key
        self.python: tuple[str, KeyPath, str] | None = None  # the range, the key, and what it says as written
        self.disabled: tuple[bool, KeyPath] | None = None
        self.pypi: dict[str, list[PypiEntry]] = {}
        self.conda: dict[str, CondaEntry] = {}
        self.conda_only: dict[str, CondaEntry] = {}
        self.conda_table: KeyPath | None = None  # the table that makes this a level with conda, packages or none
        self.system: dict[str, tuple[str, KeyPath]] = {}
        self.indexes: list[tuple[str, KeyPath]] = []
        self.channels: list[tuple[str, KeyPath]] = []
        self.own_channels: list[KeyPath] = []  # what says that the channels of the project are not searched
        self.pip_flags: list[str] = []
        self.default_index: tuple[str, KeyPath] | None = None
        self.find_links: list[tuple[str, KeyPath]] = []
        self.constraints: list[PypiEntry] = []
        self.overrides: dict[str, list[PypiEntry]] = {}
        self.hashes: dict[str, list[Hashes]] = {}
        self.requires_python: list[tuple[str, KeyPath]] = []  # ranges that hold beside `python`
        self.variables: dict[str, tuple[str, KeyPath]] = {}
        self.local: dict[str, str] = {}  # the URL of a local source, and its path
        self.notes: list[tuple[str, KeyPath]] = []
        self.named: tuple[str, str, KeyPath] | None = None  # `name` or `pathspec`, its value, the key
        self.fetch_at_exec: tuple[bool, KeyPath] | None = None

    @property
    def has_requirements(self) -> bool:
        """Whether anything is required here, beyond being disabled or not."""
        packages = self.pypi or self.conda or self.conda_only
        return bool(self.python or packages or self.system or self.named or self.variables)

    def add(self, other: Level, at: KeyPath) -> None:
        """Add what another level says, as if it stood here, after what is here; `at` is the key that names it.

        Raises Conflict where they contradict each other, with the key of both and with `at`.
        """
        try:
            self._add(other)
        except Conflict as conflict:
            raise Conflict(conflict.rule, *conflict.keys, at, values=conflict.values) from None

    def _add(self, other: Level) -> None:
        if other.disabled is not None:
            _agree_disabled(self, *other.disabled)
        if other.python is not None:
            found, key, written = other.python
            agree_python(self, written, found, key)
        for entries in other.pypi.values():
            for entry in entries:
                add_pypi(self, entry.requirement, entry.key, entry.written)
        if other.conda or other.conda_only:
            from envlock.config.conda_tables import add_conda

            for mine, theirs in ((self.conda, other.conda), (self.conda_only, other.conda_only)):
                for each in theirs.values():
                    add_conda(self, mine, each)
        self.conda_table = self.conda_table or other.conda_table
        for package, (version, key) in other.system.items():
            add_system(self, package, version, key)
        _extend(self.indexes, other.indexes)
        _extend(self.channels, other.channels)
        self.pip_flags = list(dict.fromkeys([*self.pip_flags, *other.pip_flags]))
        self.add_of_files(other)
        if other.named is not None:
            _agree_named(self, other.named)
        if other.fetch_at_exec is not None:
            self.fetch_at_exec = self.fetch_at_exec or other.fetch_at_exec
            _agree_boolean(self.fetch_at_exec, other.fetch_at_exec)

    def add_of_files(self, other: Level) -> None:
        """Add what only requirement files say. Raises Conflict."""
        if other.default_index is not None:
            set_default_index(self, *other.default_index)
        for name, (value, key) in other.variables.items():
            set_variable(self, name, value, key)
        for entry in (entry for entries in other.overrides.values() for entry in entries):
            add_pypi(self, entry.requirement, entry.key, to=self.overrides)
        for each in (each for entries in other.hashes.values() for each in entries):
            add_hashes(self, each)
        _extend(self.constraints, other.constraints)
        _extend(self.requires_python, other.requires_python)
        _extend(self.find_links, other.find_links)
        _extend(self.own_channels, other.own_channels)
        self.local |= other.local
        _extend(self.notes, other.notes)


def _extend(mine: list[_Entry], theirs: Iterable[_Entry]) -> None:
    """Add entries, each once: several environments that are added may have added one and the same before."""
    known = set(map(id, mine))
    mine += [each for each in theirs if id(each) not in known]


def read_level(table: Mapping[str, Any], key: KeyPath, indexes: Mapping[str, str], project: Path) -> Level:
    """The level of a table that has the right shape. `indexes` are those of `[envlock.indexes]`, as written.

    `project` is the folder of envlock.toml, in which packages with a `path` are hashed. Raises Conflict, AtKey,
    BadPackageName, BadVersionSpecifier, BadCondaRequirement, NoChannel, BadSystemVersion, BadReference.
    """
    level = Level(key)
    if "disabled" in table:
        level.disabled = (table["disabled"], (*key, "disabled"))
    for name in TABLES:
        if name not in table:
            continue
        own = (*key, name)
        if "disabled" in table[name]:
            _agree_disabled(level, table[name]["disabled"], (*own, "disabled"))
        if "python" in table[name]:
            written = table[name]["python"]
            agree_python(level, written, _range(name, written), (*own, "python"))
    if "pypi" in table:
        _read_pypi(level, table["pypi"], (*key, "pypi"), indexes, project)
    if "conda" in table:
        from envlock.config.conda_tables import read_conda

        read_conda(level, table["conda"], (*key, "conda"))
    if "sys_packages" in table:
        from envlock.config.system_packages import system_version

        for package, version in table["sys_packages"].get("packages", {}).items():
            here = (*key, "sys_packages", "packages", package)
            level.system[package] = (system_version(package, version), here)
    if "named_env" in table:
        _read_named(level, table["named_env"], (*key, "named_env"))
    return level


def refuse_disabled_with_requirements(level: Level) -> None:
    """Raise a Conflict if a level is disabled and has requirements all the same."""
    if level.disabled is not None and level.disabled[0] and level.has_requirements:
        raise Conflict("disabled-with-requirements", level.disabled[1], _first_ask(level))


def _read_pypi(level: Level, table: Mapping[str, Any], key: KeyPath, known: Mapping[str, str], project: Path) -> None:
    for name, value in table.get("packages", {}).items():
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            here = (*key, "packages", name, *([str(number)] if isinstance(value, list) else ()))
            if isinstance(item, dict) and not _OF_SOURCES.isdisjoint(item):
                _add_source(level, name, item, here, project)
                continue
            requirement, source = one_requirement_of(name, item)
            index = _index_of(source, known, here)
            add_pypi(level, requirement._replace(from_index=strip_credentials(index)), here, index)
    for name, value in table.get("constraints", {}).items():
        here = (*key, "constraints", name)
        level.constraints.append(PypiEntry(requirement_of(name, value), here))
    for name, value in table.get("overrides", {}).items():
        add_pypi(level, requirement_of(name, value), (*key, "overrides", name), to=level.overrides)
    level.indexes += [(url, (*key, "extra_indices", str(n))) for n, url in enumerate(table.get("extra_indices", ()))]
    for number, written in enumerate(table.get("find_links", ())):
        _add_links(level, written, (*key, "find_links", str(number)), project)
    level.pip_flags += map(pip_flag_of, table.get("extras", ()))
    if table.get("conda_only"):
        from envlock.config.conda_tables import read_conda_only

        read_conda_only(level, table["conda_only"], (*key, "conda_only"))


def _add_links(level: Level, written: str, key: KeyPath, project: Path) -> None:
    """Add a page of links, or a folder with wheels. Raises AtKey."""
    if is_web(written):
        level.find_links.append((written, key))
        return
    from envlock.config.errors import BadSource
    from envlock.config.local_sources import NotALinkFolder, link_folder

    try:
        url, local = link_folder(written, folder=project, project=project)
    except NotALinkFolder as error:
        raise AtKey(BadSource("a package", "find_links", written, error.reason, hint=error.hint), key) from None
    level.find_links.append((url, key))
    level.local |= dict(local)


def _add_source(level: Level, name: str, table: Mapping[str, Any], key: KeyPath, project: Path) -> None:
    from envlock.config.local_sources import source_requirement

    try:
        requirement, local = source_requirement(name, table, folder=project, project=project)
    except ConfigError as error:
        raise AtKey(error, key) from None
    if local is not None:
        level.local.setdefault(*local)
    add_pypi(level, requirement, key)


def _index_of(source: str, known: Mapping[str, str], key: KeyPath) -> str:
    """The URL of an `index`, as written."""
    if not source or index_name(source):
        return source
    if source not in known:
        raise Conflict("unknown-index", key, values=(source, *known))
    return known[source]


def add_pypi(
    level: Level,
    requirement: PypiRequirement,
    key: KeyPath,
    index: str = "",
    *,
    to: dict[str, list[PypiEntry]] | None = None,
) -> None:
    """Add a requirement, or, `to` the overrides of the level, one of those.

    Those of one package add up; two that no version can meet are a Conflict.
    """
    entries = (level.pypi if to is None else to).setdefault(requirement.name, [])
    for number, before in enumerate(entries):
        if contradict(before.requirement, requirement):
            raise Conflict("disagreeing-values", before.key, key, values=(before.requirement.said, requirement.said))
        if str(before.requirement) == str(requirement):
            if index and not before.written:
                entries[number] = PypiEntry(requirement, key, index)
            return
    entries.append(PypiEntry(requirement, key, index))


def add_hashes(level: Level, hashes: Hashes) -> None:
    """Add hashes. Those of one package must have one in common, unless their markers differ; else it is a Conflict."""
    entries = level.hashes.setdefault(hashes.package, [])
    for number, before in enumerate(entries):
        if before.marker != hashes.marker:
            continue
        both = before.sha256 & hashes.sha256
        if not both:
            values = tuple(f"{each.package} --hash=sha256:{min(each.sha256)}" for each in (before, hashes))
            raise Conflict("disagreeing-values", before.key, hashes.key, values=values)
        entries[number] = hashes._replace(sha256=both)
        return
    entries.append(hashes)


def add_system(level: Level, package: str, version: str, key: KeyPath) -> None:
    """Add a system package. One of another version is a Conflict."""
    before, at = level.system.setdefault(package, (version, key))
    if before != version:
        raise Conflict("disagreeing-values", at, key, values=(f"{package} {before}", f"{package} {version}"))


def set_default_index(level: Level, url: str, key: KeyPath) -> None:
    """Set the index that is searched last; another one is a Conflict."""
    level.default_index = level.default_index or (url, key)
    if level.default_index[0] != url:
        raise Conflict("disagreeing-values", level.default_index[1], key, values=(level.default_index[0], url))


def set_variable(level: Level, name: str, value: str, key: KeyPath) -> None:
    """Set an environment variable; another value is a Conflict."""
    before, at = level.variables.setdefault(name, (value, key))
    if before != value:
        raise Conflict("disagreeing-values", at, key, values=(f"{name}={before}", f"{name}={value}"))


def _read_named(level: Level, table: Mapping[str, Any], key: KeyPath) -> None:
    if not table:
        raise Conflict("empty-named-env", key)
    if "name" in table and "pathspec" in table:
        raise Conflict("name-and-pathspec", (*key, "name"), (*key, "pathspec"))
    for kind in ("name", "pathspec"):
        if kind in table:
            level.named = (kind, table[kind], (*key, kind))
    if "fetch_at_exec" in table:
        level.fetch_at_exec = (table["fetch_at_exec"], (*key, "fetch_at_exec"))


def _agree_named(level: Level, named: tuple[str, str, KeyPath]) -> None:
    before = level.named = level.named or named
    if before[0] != named[0]:
        raise Conflict("name-and-pathspec", before[2], named[2])
    if before[1] != named[1]:
        raise Conflict("disagreeing-values", before[2], named[2], values=(before[1], named[1]))


def _agree_disabled(level: Level, value: bool, key: KeyPath) -> None:
    level.disabled = level.disabled or (value, key)
    _agree_boolean(level.disabled, (value, key))


def _agree_boolean(first: tuple[bool, KeyPath], second: tuple[bool, KeyPath]) -> None:
    if first[0] != second[0]:
        values = (str(first[0]).lower(), str(second[0]).lower())
        raise Conflict("disagreeing-values", first[1], second[1], values=values)


def _range(table: str, written: str) -> str:
    if table == "conda":
        from envlock.config.conda_tables import python_range

        return python_range(written)
    return normalize_python(written)


def agree_python(level: Level, written: str, found: str, key: KeyPath) -> None:
    """Set the range of Pythons; two that differ at one level are a Conflict, except where one is any version."""
    before = level.python
    if before is not None and before[0] and found and before[0] != found:
        raise Conflict("disagreeing-values", before[1], key, values=(before[2], written))
    if before is None or (found and not before[0]):
        level.python = (found, key, written)


def normalize_python(text: str) -> str:
    """A Python range; two numbers alone mean their whole series, three one release.

    >>> normalize_python("3.11"), normalize_python("3.11.4"), normalize_python(">=3.10, <3.13")
    ('==3.11.*', '==3.11.4', '<3.13,>=3.10')
    """
    text = text.strip()
    if text.replace(".", "").isdigit() and text.count(".") == 1:
        text = f"=={text}.*"
    return normalize_specifier(text)


def _first_ask(level: Level) -> KeyPath:
    places = [level.python and level.python[1], level.named and level.named[2]]
    places += [entry.key for entries in level.pypi.values() for entry in entries]
    places += [key for _, key in level.system.values()]
    places += [entry.key for entry in (*level.conda.values(), *level.conda_only.values())]
    places += [key for _, key in level.variables.values()]
    return next(place for place in places if place)
