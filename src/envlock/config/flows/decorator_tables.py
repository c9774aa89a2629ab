"""What the decorators of one level ask for, put together as one level of envlock.toml.

Where envlock's rules differ from what Metaflow or its extension made of the decorators, the result is one that envlock
accepts, and a note says what became of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from envlock.config.conda_tables import NoChannel, entry_of, python_of, python_range
from envlock.config.edit.toml_edit import value_text
from envlock.config.project import DEFAULT_CHANNEL
from envlock.config.quoting import shown
from envlock.config.rules import PIP_FLAGS
from envlock.config.system_packages import VIRTUAL_PACKAGES, BadSystemVersion, system_version
from envlock.config.tables import normalize_python, requirement_of, requirements_of
from envlock.errors import ConfigError
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.requirement import contradict, normalize_name, normalize_specifier
from envlock.model.url import is_channel, is_web, strip_channel_credentials, strip_credentials
from envlock.named.alias import BadAlias
from envlock.named.base import check_named

TABLES = ("pypi", "conda", "named_env", "sys_packages")

_MOVED_TO_NAMED = {name: ("named_env", name) for name in ("name", "pathspec", "fetch_at_exec")}
_PLACES: dict[str, dict[str, tuple[str, str]]] = {
    "pypi": {
        **{name: ("pypi", name) for name in ("packages", "conda_only", "extra_indices", "extras", "python")},
        "sources": ("pypi", "extra_indices"),
        **_MOVED_TO_NAMED,
    },
    "conda": {
        # Metaflow calls them `packages` since 2.10, its extension `libraries`; an entry of `packages` wins.
        "libraries": ("conda", "libraries"),
        "packages": ("conda", "libraries"),
        "channels": ("conda", "channels"),
        "python": ("conda", "python"),
        "pip_packages": ("pypi", "packages"),
        "pip_sources": ("pypi", "extra_indices"),
        **_MOVED_TO_NAMED,
    },
    "named_env": _MOVED_TO_NAMED,
    "sys_packages": {"packages": ("sys_packages", "packages")},
}
"""For each decorator and parameter, the table and key of envlock.toml."""

_VERSIONS = {("pypi", "packages"), ("pypi", "conda_only"), ("conda", "libraries"), ("sys_packages", "packages")}
_LISTS = {("pypi", "extra_indices"), ("pypi", "extras"), ("conda", "channels")}


class LevelTables:
    """The tables of one level while its decorators are read, and notes on what did not fit."""

    def __init__(self, *, is_flow: bool) -> None:
        self.is_flow = is_flow
        self.tables: dict[str, dict[str, Any]] = {}
        self.disabled: bool | None = None
        self.line = 0
        """The line of the level's first decorator."""
        self.lines: dict[str, int] = {}
        """For each table, and for `disabled`, the line of the first decorator that says something of it."""
        self.bare: tuple[str, int] | None = None
        """The first decorator that asks for nothing, with its line: without parameters, or with empty ones."""
        self.notes: list[tuple[int, str]] = []

    def add(self, decorator: str, line: int, arguments: Mapping[str, object]) -> None:
        """Put one more decorator's arguments into the tables."""
        kind = decorator.removesuffix("_base")
        kind = "pypi" if kind == "pip" else kind
        self.line = self.line or line
        if not any(value not in ({}, [], None) for value in arguments.values()):
            self.bare = self.bare or (decorator, line)
        arguments = _one_spelling(kind, arguments)
        for parameter, value in arguments.items():
            label = f"@{decorator}({parameter}=…)"
            if value is None:
                continue
            if parameter == "disabled":
                self.lines.setdefault("disabled", line)
                self._disable(label, line, value)
                continue
            place = _PLACES[kind].get(parameter)
            if place is None:
                self.note(line, f"{label} is no parameter that envlock knows, and was not carried over")
                continue
            if place != (kind, parameter) and place != ("conda", "libraries"):
                self.note(line, f"{label} is written as `{'.'.join(place)}`")
            self.lines.setdefault(place[0], line)
            self._put(place, label, line, value)

    def line_of(self, *tables: str) -> int:
        """The line of the decorator that speaks of one of these tables; of the level's first where none does."""
        return next((self.lines[table] for table in tables if table in self.lines), self.line)

    def note(self, line: int, message: str) -> None:
        """Tell the user something about a line of the flow file."""
        self.notes.append((line, message))

    def asked(self) -> list[str]:
        """What the tables ask for, in words: for a note on what was left out."""
        return [
            f"{name} {value}".strip() if isinstance(value, str) else name
            for table in self.tables.values()
            for key, entry in table.items()
            for name, value in (entry.items() if isinstance(entry, dict) else [(key, entry)])
        ]

    def _disable(self, label: str, line: int, value: object) -> None:
        if not isinstance(value, bool):
            self.note(line, f"{label} is neither True nor False: `{value}`")
        elif self.disabled not in {None, value}:
            self.note(line, f"{label} contradicts a decorator beside it; `disabled = true` was written")
            self.disabled = True
        else:
            self.disabled = value

    def _put(self, place: tuple[str, str], label: str, line: int, value: object) -> None:
        table, key = place
        if place in _VERSIONS:
            self._put_versions(place, label, line, value)
        elif place in _LISTS:
            self._put_list(place, label, line, value)
        elif key == "fetch_at_exec":
            if isinstance(value, bool):
                self._put_scalar(place, label, line, value)
            else:
                self.note(line, f"{label} is neither True nor False: `{value}`")
        elif not isinstance(value, str):
            self.note(line, f"{label} is no text: `{value}`")
        elif key == "python" and not _is_python(value, is_conda=table == "conda"):
            self.note(line, f"{label} is not a version of Python: `{value}`")
        elif table == "named_env" and (why := _wrong_name(key, value)):
            self.note(line, f"{label} is no name of an environment: `{shown(value)}`: {why}")
        else:
            self._put_scalar((table, key), label, line, value)

    def _put_scalar(self, place: tuple[str, str], label: str, line: int, value: str | bool) -> None:
        table, key = place
        before = self.tables.get(table, {}).get(key)
        if before is not None and before != value:
            self.note(line, f"{label} says `{value}` where another decorator says `{before}`; `{before}` was kept")
        elif value is not False:
            self.tables.setdefault(table, {})[key] = value

    def _put_list(self, place: tuple[str, str], label: str, line: int, value: object) -> None:
        table, key = place
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.note(line, f"{label} is no list of texts: `{value}`")
            return
        kept: list[str] = self.tables.setdefault(table, {}).setdefault(key, [])
        for item in value:
            url = self._without_credentials(item, label, line)
            if place == ("conda", "channels") and url == "nodefaults":
                continue  # no channel is asked that nobody named
            if place == ("conda", "channels") and not is_channel(url):
                self.note(line, f"{label}: `{url}` is no conda channel, and was not carried over")
            elif place == ("pypi", "extra_indices") and not is_web(url):
                self.note(line, f"{label}: `{url}` is not the URL of a package index, and was not carried over")
            elif place == ("pypi", "extras") and url not in PIP_FLAGS:
                self.note(line, f"{label}: `{url}` means nothing when locking, and was not carried over")
            elif url not in kept:
                kept.append(url)
        if not kept:
            self._drop_if_empty(table, key)

    def _put_versions(self, place: tuple[str, str], label: str, line: int, value: object) -> None:
        table, key = place
        if not isinstance(value, dict):
            self.note(line, f"{label} is no dict of names and versions: `{value}`")
            return
        kept: dict[str, Any] = self.tables.setdefault(table, {}).setdefault(key, {})
        for name, version in value.items():
            if not isinstance(name, str) or isinstance(version, (list, dict, bool)) or version is None:
                self.note(line, f"{label}: `{name}: {version}` is no name and version")
                continue
            if not isinstance(version, str):
                self.note(line, f"{label}: the version of `{name}` is a number, written as `{version}`")
            if place[0] == "sys_packages" and name not in VIRTUAL_PACKAGES:
                known = ", ".join(VIRTUAL_PACKAGES)
                self.note(line, f"{label}: `{name}` is none of {known}, and was not carried over")
                continue
            self._put_version(kept, place, label, line, name.strip(), str(version).strip())
        if not kept:
            self._drop_if_empty(table, key)

    def _put_version(
        self, kept: dict[str, Any], place: tuple[str, str], label: str, line: int, name: str, version: str
    ) -> None:
        is_pypi = place == ("pypi", "packages")
        name = self._without_credentials(name, label, line)
        wrong = _wrong_entry(place, name, version)
        if wrong is not None:
            self.note(line, f"{label}: `{name}: {version}` was not carried over: {wrong}")
            return
        package = package_of(name, is_pypi=is_pypi)
        same = [other for other in kept if package_of(other, is_pypi=is_pypi) == package]
        before = next(iter(same), None)
        if before is None:
            kept[name] = version
        elif is_pypi:
            self._put_beside(kept, same, label, line, name, version)
        elif before != name and "::" in before + name:
            self.note(line, f"{label}: `{name} {version}` was not carried over beside `{before} {kept[before]}`")
        elif kept[before] != version:
            both = f"{kept[before]},{version}" if kept[before] and version else kept[before] or version
            self.note(line, f"{label}: `{name}` is asked twice at one level; `{both}` was written")
            kept[before] = both

    def _put_beside(
        self, kept: dict[str, Any], same: list[str], label: str, line: int, name: str, version: str
    ) -> None:
        """Ask for one thing more of a package of PyPI, unless it contradicts what is asked of it already."""
        new = requirement_of(name, version)
        for other in same:
            for asked, _ in requirements_of(other, kept[other]):
                if contradict(asked, new):
                    self.note(line, f"{label}: `{name} {version}` was not carried over beside `{asked}`")
                    return
                if asked == new:
                    return
        key = next((other for other in same if requirement_of(other, "")[:2] == requirement_of(name, "")[:2]), name)
        if key not in kept:
            kept[key] = version
            return
        if isinstance(kept[key], str) and (both := _both(kept[key], version)) is not None:
            kept[key] = both
        else:
            kept[key] = [*(kept[key] if isinstance(kept[key], list) else [kept[key]]), version]
        written = kept[key] if isinstance(kept[key], str) else value_text(kept[key])
        self.note(line, f"{label}: `{name}` is asked twice at one level; `{written}` was written")

    def _without_credentials(self, text: str, label: str, line: int) -> str:
        start = max(text.find("http"), 0)
        url, separator, package = text[start:].partition("::")
        authority, _, path = url.partition("://")[2].partition("/")
        has_token = "/t/" in f"/{path}"
        if "@" in authority or has_token:
            self.note(line, f"{label}: the credentials in a URL were left out; keep them in ~/.netrc")
        elif start == 0 and "://" in url and strip_credentials(url) != url:
            # Not that of a package by its URL, which is another file without it.
            self.note(line, f"{label}: the query of a URL was left out: it may hold a token, and no index is sent one")
        else:
            return text
        stripped = strip_channel_credentials(url) if has_token else strip_credentials(url)
        return text[:start] + stripped + separator + package

    def _drop_if_empty(self, table: str, key: str) -> None:
        del self.tables[table][key]
        if not self.tables[table]:
            del self.tables[table]


def settle(level: LevelTables, *, flow: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The level's tables as envlock.toml has them, with notes where its rules leave something out.

    `flow` is the settled flow level, when this is a step's.
    """
    _settle_named(level, flow or {})
    if not level.disabled:
        _settle_channels(level, flow or {})
    tables: dict[str, Any] = {name: level.tables[name] for name in TABLES if name in level.tables}
    flow_is_disabled = bool((flow or {}).get("disabled"))
    if level.disabled:
        # What a disabled flow says of indexes and channels holds for the steps that ask for something all the same.
        kept = _only(tables, _SOURCES) if level.is_flow else {}
        level.tables = _without(tables, _SOURCES) if level.is_flow else tables
        if level.tables:
            said = ", ".join(level.asked())
            level.note(level.line_of("disabled"), f"disabled, so this was not carried over: {said}")
        return {"disabled": True, **kept}
    if flow_is_disabled and level.disabled is False:
        return {"disabled": False, **tables}
    if flow_is_disabled and tables:
        level.note(level.line, "this step has an environment although its flow is disabled, as in metaflow-netflixext")
    elif flow_is_disabled and level.bare is not None:
        name, line = level.bare
        level.note(
            line, f"a bare @{name} below a disabled flow: the step stays disabled; `disabled = false` gives it one"
        )
    elif flow_is_disabled and level.line:
        level.note(
            level.line,
            "nothing that this step asks for was carried over, so it stays disabled like its flow; `disabled = false` "
            "gives it an environment",
        )
    return tables


_SOURCES = {("pypi", "extra_indices"), ("pypi", "extras"), ("conda", "channels")}
"""What says where packages come from, and asks for none."""


def _only(tables: Mapping[str, Any], places: set[tuple[str, str]]) -> dict[str, Any]:
    kept = {
        name: {key: value for key, value in table.items() if (name, key) in places} for name, table in tables.items()
    }
    return {name: table for name, table in kept.items() if table}


def _without(tables: Mapping[str, Any], places: set[tuple[str, str]]) -> dict[str, Any]:
    return _only(tables, {(name, key) for name, table in tables.items() for key in table} - places)


def _settle_named(level: LevelTables, flow: Mapping[str, Any]) -> None:
    named = level.tables.get("named_env")
    if named is None:
        return
    line = level.line_of("named_env")
    if "name" in named and "pathspec" in named:
        level.note(line, f"`name` and `pathspec` exclude each other; `pathspec` {named.pop('pathspec')} left out")
    if "name" not in named and "pathspec" not in named and flow.get("named_env") is None:
        level.note(line, "`fetch_at_exec` needs a `name` or a `pathspec`, and was not carried over")
        level.tables.pop("named_env")
        return
    others = [table for table in ("pypi", "conda") if table in _without(level.tables, _SOURCES)]
    if level.is_flow and others:
        left = LevelTables(is_flow=True)
        left.tables = {str(table): level.tables.pop(table) for table in others}
        level.note(
            level.line_of(*others),
            "a flow takes a named environment or packages, not both; left out: " + ", ".join(left.asked()),
        )
        return
    inherited = [table for table in ("pypi", "conda") if table in _without(_tables_of(flow), _SOURCES)]
    if named.get("fetch_at_exec") and (others or inherited):
        level.note(line, "`fetch_at_exec` excludes packages of its own, and was not carried over")
        named.pop("fetch_at_exec")
        if not named:
            level.tables.pop("named_env")


def _tables_of(level: Mapping[str, Any]) -> dict[str, Any]:
    return {name: level[name] for name in TABLES if name in level}


def _settle_channels(level: LevelTables, flow: Mapping[str, Any]) -> None:
    """Ask for each channel that a package names, as metaflow-netflixext does: it then has a say in others too."""
    levels = (flow, level.tables)
    asked = [channel for tables in levels for channel in tables.get("conda", {}).get("channels", ())]
    named: dict[str, str] = {}
    for tables in levels:
        for table, key in (("conda", "libraries"), ("pypi", "conda_only")):
            for name in tables.get(table, {}).get(key, {}):
                named[package_of(name, is_pypi=False)] = name.rpartition("::")[0]
    missing = sorted({channel for channel in named.values() if channel} - {*asked, DEFAULT_CHANNEL})
    if missing:
        level.tables.setdefault("conda", {}).setdefault("channels", []).extend(missing)
        line = level.line_of("conda", "pypi")
        level.note(line, f"packages name the channel {', '.join(missing)}; it was added to `conda.channels`")


def move_lone_python(levels: Iterable[dict[str, Any]]) -> None:
    """Write `python` under `pypi` where a flow asks conda for nothing else: it means the same, and needs no conda."""
    levels = list(levels)
    if any(set(level.get("conda", {})) - {"python"} for level in levels):
        return
    for level in levels:
        python = level.pop("conda", {}).get("python")
        if python is None:
            continue
        table = level.setdefault("pypi", {})
        if table.setdefault("python", python) != python:
            level["conda"] = {"python": python}
    for level in levels:
        ordered = {name: level[name] for name in ("disabled", *TABLES) if name in level}
        level.clear()
        level.update(ordered)


def _one_spelling(kind: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    libraries, packages = arguments.get("libraries"), arguments.get("packages")
    if kind != "conda" or not isinstance(libraries, dict) or not isinstance(packages, dict):
        return arguments
    others = {name: value for name, value in arguments.items() if name not in {"libraries", "packages"}}
    return {"libraries": {**libraries, **packages}, **others}


def package_of(key: str, *, is_pypi: bool) -> str:
    """The package that a key of `packages` or `libraries` names, without extras, URL and channel.

    >>> package_of("Requests[socks]", is_pypi=True), package_of("conda-forge::FFmpeg", is_pypi=False)
    ('requests', 'ffmpeg')

    Raises BadPackageName.
    """
    if not is_pypi:
        return key.rpartition("::")[2].strip().lower()
    return normalize_name(key.partition("@")[0].partition("[")[0].strip())


def _both(first: str, second: str) -> str | None:
    """One constraint that means both; None where there is none to be written."""
    if ";" in first or ";" in second:
        return None
    if not first or not second:
        return first or second
    return ",".join(dict.fromkeys((*normalize_specifier(first).split(","), *normalize_specifier(second).split(","))))


def _is_python(text: str, *, is_conda: bool) -> bool:
    try:
        python_range(text) if is_conda else normalize_python(text)
    except ConfigError:
        return False
    return True


def _wrong_name(kind: str, text: str) -> str:
    """What envlock has against a named environment's `name` or `pathspec`; empty where nothing."""
    try:
        check_named(kind, text)
    except BadAlias as bad:
        return bad.reason
    return ""


def _wrong_entry(place: tuple[str, str], name: str, version: str) -> str | None:
    """What envlock has against an entry of a table of packages, if anything."""
    try:
        if place == ("pypi", "packages"):
            requirement_of(name, version)
        elif place[0] == "sys_packages":
            system_version(name, version)
        else:
            requirement, _ = entry_of(name, version)
            if requirement.name == "python":
                python_of(requirement, version)
    except ConfigError as error:
        return error.message
    except (BadCondaRequirement, BadSystemVersion) as bad:
        return bad.reason
    except NoChannel as bad:
        return f"`{bad.channel}` is no conda channel"
    return None
