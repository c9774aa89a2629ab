"""What the decorators of one level ask for, put together as one level of envlock.toml.

Where envlock's rules differ from what Metaflow or its extension made of the decorators, the result is one that envlock
accepts, and a note says what became of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from envlock.config import rules
from envlock.config.conda_tables import NoChannel, entry_of, python_of
from envlock.config.edit.toml_edit import value_text
from envlock.config.pypi_entries import package_name, requirement_of, requirements_of
from envlock.config.system_packages import VIRTUAL_PACKAGES, BadSystemVersion, system_version
from envlock.errors import ConfigError
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.requirement import contradict, normalize_specifier
from envlock.model.url import strip_channel_credentials, strip_credentials
from envlock.redaction import shown
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
SOURCES = {("pypi", "extra_indices"), ("pypi", "extras"), ("conda", "channels")}
"""What says where packages come from, and asks for none: lists."""
_RULES: dict[tuple[str, str], Callable[[str], str]] = {
    ("pypi", "extra_indices"): rules.index_url,
    ("pypi", "extras"): rules.pip_flag,
    ("pypi", "python"): rules.python,
    ("conda", "channels"): rules.channel,
    ("conda", "python"): rules.conda_python,
    ("named_env", "name"): rules.env_name,
    ("named_env", "pathspec"): rules.pathspec,
}
"""What envlock.toml accepts there: as an item of a list, or as the whole value."""


class Place(NamedTuple):
    """A line of a Python file, given by its absolute path."""

    path: str
    line: int


@dataclass(frozen=True)
class Note:
    """Something in a flow file that envlock.toml does not say, or says differently."""

    line: int
    message: str
    step: str = ""
    """The step that it concerns; empty for the whole flow."""
    path: str = ""
    """The file, absolute, where it is not the flow's own but that of a base class."""
    file: str = ""
    """How envlock.toml names that file."""
    is_lost: bool = True
    """Whether the flow asks for something that envlock.toml does not say."""
    of: Place | None = None
    """The decorator that it comes of; None if it comes of all decorators of the step, or of the flow, together."""


class Decorator(NamedTuple):
    """A decorator that was read."""

    name: str
    path: str
    """The file, absolute."""
    line: int
    end: int
    """Its last line."""
    step: str = ""
    """The step that it is for; empty for the flow."""


@dataclass(frozen=True)
class DecoratedFlow:
    """A flow, with what its decorators ask for."""

    name: str
    line: int
    steps: tuple[str, ...]
    complete: bool
    """False where there may be steps that are not seen."""
    tables: dict[str, Any]
    """What `[flow.NAME]` says beside `file`: `pypi`, `conda`, `named_env`, `sys_packages`, `disabled`."""
    step_tables: dict[str, dict[str, Any]]
    """The same for each step that asks for something of its own."""
    decorators: tuple[Decorator, ...]
    """The decorators that were read: those to be removed."""
    notes: tuple[Note, ...]
    file: str = ""
    """How envlock.toml names its file."""
    places: Mapping[tuple[str, str], Place] = field(default_factory=dict)
    """For each step (empty for the flow) and table, the decorator that asks for it; for a table without a name, the
    first decorator."""
    path: str = ""
    """Its file, absolute."""
    bases: tuple[tuple[str, str], ...] = ()
    """The classes of the project that it inherits from: the file of each, and its name."""
    is_started: bool = False
    """Whether its file calls it, as Metaflow's flow files do at their end."""

    def lines(self) -> tuple[int, ...]:
        """The lines of the decorators in the flow's own file."""
        return tuple(each.line for each in self.decorators if each.path == self.path)

    def not_carried_over(self) -> frozenset[Decorator]:
        """The decorators of which something is lost, so that they have to stay."""
        return frozenset(
            each
            for each in self.decorators
            for note in self.notes
            if note.is_lost and each.step == note.step
            if note.of is None or note.of == (each.path, each.line)
        )


class Said(NamedTuple):
    """Something to be told of a level."""

    place: Place
    message: str
    is_lost: bool
    """Whether the level asks for something that its tables do not say."""
    of: Place | None
    """The decorator that it comes of; None if it comes of all decorators of the level together."""


class LevelTables:
    """The tables of one level while its decorators are read, and notes on what did not fit."""

    def __init__(self, *, is_flow: bool) -> None:
        self.is_flow = is_flow
        self.tables: dict[str, dict[str, Any]] = {}
        self.disabled: bool | None = None
        self.place: Place | None = None
        """The place of the level's first decorator."""
        self.places: dict[str, Place] = {}
        """For each table, and for `disabled`, the place of the first decorator that says something of it."""
        self.bare: tuple[str, Place] | None = None
        """The first decorator that asks for nothing, with its place: without parameters, or with empty ones."""
        self.reading: Place | None = None
        """The decorator that is being read, of which the notes come."""
        self.notes: list[Said] = []

    def add(self, decorator: str, place: Place, arguments: Mapping[str, object]) -> None:
        """Put one more decorator's arguments into the tables."""
        kind = decorator.removesuffix("_base")
        kind = "pypi" if kind == "pip" else kind
        self.place = self.place or place
        if not any(value not in ({}, [], None) for value in arguments.values()):
            self.bare = self.bare or (decorator, place)
        for parameter, value in _one_spelling(kind, arguments).items():
            at = _Parameter(f"@{decorator}({parameter}=…)", place)
            if value is None:
                continue
            if parameter == "disabled":
                self.places.setdefault("disabled", place)
                self._disable(at, value)
                continue
            key = _PLACES[kind].get(parameter)
            if key is None:
                self.note(place, f"{at.label} is not a parameter that envlock knows; left out")
                continue
            if key != (kind, parameter) and key != ("conda", "libraries"):
                self.note(place, f"{at.label} is written as `{'.'.join(key)}`", is_lost=False)
            self.places.setdefault(key[0], place)
            self._put(key, at, value)

    def place_of(self, *tables: str) -> Place:
        """The decorator that speaks of one of these tables; the level's first where none does."""
        found = next((self.places[table] for table in tables if table in self.places), self.place)
        assert found is not None
        return found

    def note(self, place: Place, message: str, *, is_lost: bool = True) -> None:
        """Tell the user something about a line of a flow's file, and whether that leaves out what it asks for."""
        self.notes.append(Said(place, message, is_lost, self.reading))

    def asked(self) -> list[str]:
        """What the tables ask for, in words: for a note on what was left out."""
        return [
            f"{name} {value}".strip() if isinstance(value, str) else name
            for table in self.tables.values()
            for key, entry in table.items()
            for name, value in (entry.items() if isinstance(entry, dict) else [(key, entry)])
        ]

    def _disable(self, at: _Parameter, value: object) -> None:
        if not isinstance(value, bool):
            self.note(at.place, f"{at.label}: left out `{value}`: it takes True or False")
        elif self.disabled not in {None, value}:
            self.note(at.place, f"{at.label} contradicts a decorator beside it; wrote `disabled = true`")
            self.disabled = True
        else:
            self.disabled = value

    def _put(self, place: tuple[str, str], at: _Parameter, value: object) -> None:
        table, key = place
        before = self.tables.get(table, {}).get(key)
        found: object
        if place in _VERSIONS:
            found = self._versions(place, at, value, before or {})
        elif place in SOURCES:
            found = self._items(place, at, value, before or [])
        elif why := _wrong_value(place, value):
            self.note(at.place, f"{at.label}: left out `{shown(str(value))}`: {why}")
            return
        else:
            found = before or value
            if before is not None and before != value:
                self.note(at.place, f"{at.label} is `{value}`, but another decorator says `{before}`; kept `{before}`")
        if found:
            self.tables.setdefault(table, {})[key] = found

    def _items(self, place: tuple[str, str], at: _Parameter, value: object, before: list[str]) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.note(at.place, f"{at.label} is not a list of strings: `{value}`")
            return before
        kept = [*before]
        for item in value:
            url = self._without_credentials(item, at)
            if place == ("conda", "channels") and url == "nodefaults":
                continue  # envlock never searches a channel that nobody named
            if why := _RULES[place](url):
                self.note(at.place, f"{at.label}: left out `{url}`: {why}")
            elif url not in kept:
                kept.append(url)
        return kept

    def _versions(
        self, place: tuple[str, str], at: _Parameter, value: object, before: Mapping[str, Any]
    ) -> dict[str, Any]:
        kept = {**before}
        if not isinstance(value, dict):
            self.note(at.place, f"{at.label} is not a dict of names and versions: `{value}`")
            return kept
        for name, version in value.items():
            if not isinstance(name, str) or isinstance(version, (list, dict, bool)) or version is None:
                self.note(at.place, f"{at.label}: `{name}: {version}` is not a name and a version")
                continue
            if not isinstance(version, str):
                self.note(
                    at.place, f"{at.label}: the version of `{name}` is a number; wrote `{version}`", is_lost=False
                )
            self._put_version(kept, place, at, name.strip(), str(version).strip())
        return kept

    def _put_version(
        self, kept: dict[str, Any], place: tuple[str, str], at: _Parameter, name: str, version: str
    ) -> None:
        is_pypi = place == ("pypi", "packages")
        name = self._without_credentials(name, at)
        if why := _wrong_entry(place, name, version):
            self.note(at.place, f"{at.label}: left out `{name}: {version}`: {why}")
            return
        package = package_name(name, is_pypi=is_pypi)
        same = [other for other in kept if package_name(other, is_pypi=is_pypi) == package]
        before = next(iter(same), None)
        if before is None:
            kept[name] = version
        elif is_pypi:
            self._put_beside(kept, same, at, name, version)
        elif before != name and "::" in before + name:
            self.note(at.place, f"{at.label}: left out `{name} {version}`, beside `{before} {kept[before]}`")
        elif kept[before] != version:
            kept[before] = f"{kept[before]},{version}" if kept[before] and version else kept[before] or version
            self.note(at.place, f"{at.label}: `{name}` is listed twice; wrote `{kept[before]}`", is_lost=False)

    def _put_beside(self, kept: dict[str, Any], same: list[str], at: _Parameter, name: str, version: str) -> None:
        """Add a second requirement of a PyPI package, unless it contradicts one that is listed already."""
        new = requirement_of(name, version)
        for other in same:
            for listed, _ in requirements_of(other, kept[other]):
                if contradict(listed, new):
                    self.note(at.place, f"{at.label}: left out `{name} {version}`: it contradicts `{listed}`")
                    return
                if listed == new:
                    return
        key = next((other for other in same if requirement_of(other, "")[:2] == requirement_of(name, "")[:2]), name)
        if key not in kept:
            kept[key] = version
            return
        before = kept[key] if isinstance(kept[key], list) else [kept[key]]
        both = _both(before[0], version) if len(before) == 1 else None
        kept[key] = [*before, version] if both is None else both
        written = kept[key] if isinstance(kept[key], str) else value_text(kept[key])
        self.note(at.place, f"{at.label}: `{name}` is listed twice; wrote `{written}`", is_lost=False)

    def _without_credentials(self, text: str, at: _Parameter) -> str:
        start = max(text.find("http"), 0)
        url, separator, package = text[start:].partition("::")
        authority, _, path = url.partition("://")[2].partition("/")
        has_token = "/t/" in f"/{path}"
        if "@" in authority or has_token:
            self.note(at.place, f"{at.label}: left out the credentials in a URL; keep them in ~/.netrc")
        elif start == 0 and "://" in url and strip_credentials(url) != url:
            # Not that of a package by its URL, which is another file without it.
            self.note(at.place, f"{at.label}: left out the query of a URL: it may hold a token, which no index gets")
        else:
            return text
        stripped = strip_channel_credentials(url) if has_token else strip_credentials(url)
        return text[:start] + stripped + separator + package


class _Parameter(NamedTuple):
    """A parameter of a decorator, as notes call it, and the decorator's place."""

    label: str
    place: Place


def _one_spelling(kind: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
    libraries, packages = arguments.get("libraries"), arguments.get("packages")
    if kind != "conda" or not isinstance(libraries, dict) or not isinstance(packages, dict):
        return arguments
    others = {name: value for name, value in arguments.items() if name not in {"libraries", "packages"}}
    return {"libraries": {**libraries, **packages}, **others}


def _both(first: str, second: str) -> str | None:
    """One constraint that means both; None where there is none to be written."""
    if ";" in first or ";" in second:
        return None
    if not first or not second:
        return first or second
    return ",".join(dict.fromkeys((*normalize_specifier(first).split(","), *normalize_specifier(second).split(","))))


def _wrong_value(place: tuple[str, str], value: object) -> str:
    """What envlock has against the value of a parameter that is no dict and no list; empty where nothing."""
    if place[1] == "fetch_at_exec":
        return "" if isinstance(value, bool) else "it takes True or False"
    return _RULES[place](value) if isinstance(value, str) else "it takes a string"


def _wrong_entry(place: tuple[str, str], name: str, version: str) -> str:
    """What envlock has against an entry of a table of packages; empty where nothing."""
    if place[0] == "sys_packages" and name not in VIRTUAL_PACKAGES:
        return f"it is none of {', '.join(VIRTUAL_PACKAGES)}"
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
        return f"`{bad.channel}` is not a conda channel"
    return ""
