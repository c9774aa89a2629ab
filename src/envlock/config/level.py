"""The tables of one level (a flow's, a step's, or a named environment's), put together.

Tables of one level are merged and must agree: two values for one thing are an error that shows both lines. Here live
the rules that concern one level only; `merge` puts a step over its flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from envlock.config.project import KeyPath
from envlock.model.requirement import BadVersionSpecifier, PypiRequirement, normalize_specifier, parse_requirement

if TYPE_CHECKING:
    from envlock.config.conda_tables import CondaEntry

TABLES = ("pypi", "conda", "named_env", "sys_packages")


class Conflict(Exception):
    """A rule of merging is broken; `rule` is the error's code, `keys` say where, `values` what stands there."""

    def __init__(self, rule: str, *keys: KeyPath, values: tuple[str, ...] = ()) -> None:
        super().__init__(rule)
        self.rule = rule
        self.keys = keys
        self.values = values


class Level:
    """What one level asks, each thing with the key that asks it. Filled while a table is read, then left alone."""

    def __init__(self, key: KeyPath) -> None:
        self.key = key
        self.python: tuple[str, KeyPath, str] | None = None  # the range, the key, and what it says as written
        self.disabled: tuple[bool, KeyPath] | None = None
        self.pypi: dict[str, tuple[PypiRequirement, KeyPath]] = {}
        self.conda: dict[str, CondaEntry] = {}
        self.conda_only: dict[str, CondaEntry] = {}
        self.conda_table: KeyPath | None = None  # the table that makes this a level with conda, packages or none
        self.system: dict[str, tuple[str, KeyPath]] = {}
        self.indexes: list[tuple[str, KeyPath]] = []
        self.channels: list[tuple[str, KeyPath]] = []
        self.pip_flags: list[str] = []
        self.named: tuple[str, str, KeyPath] | None = None  # `name` or `pathspec`, its value, the key
        self.fetch_at_exec: tuple[bool, KeyPath] | None = None
        self.deferred: list[tuple[str, KeyPath]] = []

    @property
    def asks(self) -> bool:
        """Whether anything is asked here beyond being disabled or not."""
        return bool(self.python or self.pypi or self.conda or self.conda_only or self.system or self.named)


def read_level(table: Mapping[str, Any], key: KeyPath) -> Level:
    """The level that a table of `TABLES` (and `disabled`) describes. Types are already known to be right.

    Raises Conflict, BadPackageName, BadVersionSpecifier, BadCondaRequirement, NoChannel, BadSystemVersion, BadAlias.
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
        _read_pypi(level, table["pypi"], (*key, "pypi"))
    if "conda" in table:
        from envlock.config.conda_tables import read_conda

        read_conda(level, table["conda"], (*key, "conda"))
    if "sys_packages" in table:
        from envlock.config.system import system_version

        for package, version in table["sys_packages"].get("packages", {}).items():
            here = (*key, "sys_packages", "packages", package)
            level.system[package] = (system_version(package, version), here)
    if "named_env" in table:
        _read_named(level, table["named_env"], (*key, "named_env"))
    if level.disabled is not None and level.disabled[0] and level.asks:
        raise Conflict("disabled-with-requirements", level.disabled[1], _first_ask(level))
    return level


def requirement_of(name: str, value: str) -> PypiRequirement:
    """The requirement that one entry of a `packages` table means.

    >>> str(requirement_of("requests[socks]", ">=2 ; sys_platform == 'linux'"))
    "requests[socks]>=2 ; sys_platform == 'linux'"
    >>> str(requirement_of("demo@https://index.example/demo-1-py3-none-any.whl", ""))
    'demo @ https://index.example/demo-1-py3-none-any.whl'
    """
    specifier, _, marker = value.partition(";")
    tail = f" ; {marker.strip()}" if marker.strip() else ""
    if "@" in name:
        if specifier.strip():
            raise BadVersionSpecifier(specifier.strip(), "a URL is one version already")
        return parse_requirement(f"{name.replace('@', ' @ ', 1)}{tail}")
    return parse_requirement(f"{name}{normalize_specifier(specifier)}{tail}")


def _read_pypi(level: Level, table: Mapping[str, Any], key: KeyPath) -> None:
    for name, value in table.get("packages", {}).items():
        here = (*key, "packages", name)
        requirement = requirement_of(name, value)
        add_pypi(level, requirement, here)
    level.indexes += [(url, (*key, "extra_indices")) for url in table.get("extra_indices", ())]
    level.pip_flags += table.get("extras", ())
    if table.get("conda_only"):
        from envlock.config.conda_tables import read_conda_only

        read_conda_only(level, table["conda_only"], (*key, "conda_only"))


def add_pypi(level: Level, requirement: PypiRequirement, key: KeyPath) -> None:
    """Ask for one more package; asking twice for other things is a Conflict."""
    before = level.pypi.get(requirement.name)
    if before is not None and before[0] != requirement:
        raise Conflict("disagreeing-values", before[1], key, values=(str(before[0]), str(requirement)))
    level.pypi[requirement.name] = (requirement, key)


def _read_named(level: Level, table: Mapping[str, Any], key: KeyPath) -> None:
    if "name" in table and "pathspec" in table:
        raise Conflict("name-and-pathspec", (*key, "name"), (*key, "pathspec"))
    for kind in ("name", "pathspec"):
        if kind in table:
            from envlock.config.named import check_named

            check_named(kind, table[kind])
            level.named = (kind, table[kind], (*key, kind))
    if "fetch_at_exec" in table:
        level.fetch_at_exec = (table["fetch_at_exec"], (*key, "fetch_at_exec"))


def _agree_disabled(level: Level, value: bool, key: KeyPath) -> None:
    if level.disabled is not None and level.disabled[0] != value:
        raise Conflict(
            "disagreeing-values", level.disabled[1], key, values=(str(level.disabled[0]).lower(), str(value).lower())
        )
    level.disabled = level.disabled or (value, key)


def _range(table: str, written: str) -> str:
    if table == "conda":
        from envlock.config.conda_tables import python_range

        return python_range(written)
    return normalize_python(written)


def agree_python(level: Level, written: str, found: str, key: KeyPath) -> None:
    """Ask for a range of Pythons; asking twice at one level for different ones is a Conflict."""
    if level.python is not None and level.python[0] != found:
        raise Conflict("disagreeing-values", level.python[1], key, values=(level.python[2], written))
    level.python = level.python or (found, key, written)


def normalize_python(text: str) -> str:
    """A Python range; two numbers alone mean their whole series, three one release.

    >>> normalize_python("3.11"), normalize_python("3.11.4"), normalize_python(">=3.10, <3.13")
    ('==3.11.*', '==3.11.4', '<3.13,>=3.10')
    """
    text = text.strip()
    if text.replace(".", "").isdigit() and text.count(".") == 1:
        return f"=={text}.*"
    return normalize_specifier(text)


def _first_ask(level: Level) -> KeyPath:
    places = [level.python and level.python[1], level.named and level.named[2]]
    places += [key for _, key in (*level.pypi.values(), *level.system.values())]
    places += [entry.key for entry in (*level.conda.values(), *level.conda_only.values())]
    return next(place for place in places if place)
