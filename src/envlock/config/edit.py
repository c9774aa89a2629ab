"""Packages put into envlock.toml and taken out of it, with everything else in the file left as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import tomli

from envlock.config import toml_text
from envlock.config.decorator_tables import package_of
from envlock.config.edit_conda import conda_entry
from envlock.config.project import KeyPath, Project
from envlock.config.quoting import shown, without_credentials
from envlock.config.selection import NoSuchSelection
from envlock.config.tables import requirement_of
from envlock.config.toml_scan import line_number, scan
from envlock.config.toml_tables import value_text
from envlock.errors import ConfigError, Location
from envlock.files import write_atomically
from envlock.model.requirement import BadPackageName, BadVersionSpecifier, parse_requirement
from envlock.words import did_you_mean

_TABLES: dict[bool, tuple[str, str]] = {False: ("pypi", "packages"), True: ("conda", "libraries")}


class UnclearTarget(ConfigError):
    """Which flow, step or environment is meant was not said, and there is more than one."""

    code = "unclear-target"

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(
            "envlock.toml has more than one place for a package"
            if choices
            else "envlock.toml has no flow to ask for it",
            details=("choices: " + ", ".join(f"`{choice}`" for choice in choices),) if choices else (),
            hint=f"add {choices[0]}, or another of these" if choices else "envlock init --force FLOW_FILE",
        )


class NotAsked(ConfigError):
    """A package to be removed that is not asked there."""

    code = "not-asked"

    def __init__(
        self, package: str, level: str, *, of: str = "", elsewhere: Sequence[Location] = (), hint: str | None = None
    ) -> None:
        super().__init__(
            f"`{shown(package)}` is not asked{of} by {level}" + (", but here:" if elsewhere else ""),
            locations=tuple(elsewhere),
            hint=hint,
        )


class CannotWrite(ConfigError):
    """A file of the project cannot be written."""

    code = "cannot-write"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"`{path}` cannot be written: {reason}", hint="nothing was changed")


@dataclass(frozen=True)
class Change:
    """One package's entry, before and after: (key, value) as the file has them; None where it is not asked."""

    level: KeyPath
    before: tuple[str, Any] | None
    after: tuple[str, Any] | None

    def __str__(self) -> str:
        """`+ pandas = ">=2"`, `- pandas = "2.1"`, or `~ pandas = "2.1" -> ">=2"`."""
        if self.before is None or self.after is None:
            return f"- {_entry(self.before)}" if self.before else f"+ {_entry(self.after)}"
        is_same = self.before[0] == self.after[0]
        return f"~ {_entry(self.before)} -> {_value(self.after[1]) if is_same else _entry(self.after)}"


def _entry(entry: tuple[str, Any] | None) -> str:
    assert entry is not None
    return f"{toml_text.key_text(without_credentials(entry[0]))} = {_value(entry[1])}"


def _value(value: Any) -> str:
    return without_credentials(value_text(value))


def choose_level(project: Project, *, flow: str = "", step: str = "", env: str = "") -> KeyPath:
    """The table that `--flow`, `--step` and `--env` mean: a flow's, a step's or a named environment's.

    Of a single flow nothing need be said. Raises NoSuchSelection or UnclearTarget.
    """
    flows = [each.name for each in project.flows]
    named = [each.name for each in project.named]
    if env:
        return ("env", _known("environment", env, named))
    if "/" in step:
        flow, step = step.split("/", 1)
    if flow:
        _known("flow", flow, flows)
    steps = [(each.name, own.name) for each in project.flows for own in each.steps if flow in {"", each.name}]
    if step:
        _known("step", step, [name for _, name in steps])
        owners = [owner for owner, name in steps if name == step]
        if len(owners) > 1:
            raise UnclearTarget([f"--flow {owner} --step {step}" for owner in owners])
        return ("flow", owners[0], "step", step)
    if flow:
        return ("flow", flow)
    if len(flows) == 1:
        return ("flow", flows[0])
    if not flows and len(named) == 1:
        return ("env", named[0])
    raise UnclearTarget([f"--flow {name}" for name in flows] + [f"--env {name}" for name in named])


def add_packages(
    text: str, level: KeyPath, requirements: Sequence[str], *, conda: bool = False, channel: str = "", index: str = ""
) -> tuple[str, tuple[Change, ...]]:
    """The text with these requirements asked at `level`, and what changed; what is asked already changes nothing.

    A new version replaces the one that is asked under the same marker; the rest of a table, and of a list, stays.
    `channel` is the one that conda packages are to come from, `index` the one that PyPI's are. Raises BadPackageName,
    BadVersionSpecifier, BadCondaEntry or BadChannel before anything is done.
    """
    if conda:
        entries = [conda_entry(requirement, channel) for requirement in requirements]
    else:
        entries = [_pypi_entry(requirement) for requirement in requirements]
    changes: list[Change] = []
    for key, value in entries:
        table = (*level, *_TABLES[conda])
        asked = _table(text, table)
        before = _key_for(asked, key, is_pypi=not conda)
        if before is None:
            new = _with_index(value, index)
            edited = toml_text.insert(text, (*table, key), value_text(new), header=len(level))
            before, after = key, (key, new)
        else:
            after = (_renamed(before, key, conda=conda), _amended(asked[before], value, index))
            if after == (before, asked[before]):
                continue
            edited = toml_text.rename(text, (*table, before), after[0]) if after[0] != before else text
            edited = _edited(edited, (*table, after[0]), asked[before], after[1])
        _prove(text, edited, (*table, before), (*table, after[0]), after[1])
        changes.append(Change(level, (before, asked[before]) if before in asked else None, after))
        text = edited
    return text, tuple(changes)


def remove_packages(
    text: str, level: KeyPath, packages: Sequence[str], *, conda: bool = False
) -> tuple[str, tuple[Change, ...]]:
    """The text without these packages at `level`, and what changed. Raises BadPackageName or NotAsked."""
    is_pypi = not conda
    changes: list[Change] = []
    for package in packages:
        table = (*level, *_TABLES[conda])
        asked = _table(text, table)
        keys = _keys_of(asked, package_of(package, is_pypi=is_pypi), is_pypi=is_pypi)
        if not keys:
            raise _not_asked(text, level, package, conda=conda)
        for key in keys:
            edited = toml_text.remove(text, (*table, key), keep=_keep(level))
            _prove(text, edited, (*table, key), None, None)
            changes.append(Change(level, (key, asked[key]), None))
            text = edited
    return text, tuple(changes)


def _edited(text: str, path: KeyPath, before: Any, after: Any) -> str:
    """The text with `after` where `before` stands, and every part that they share as it is written."""
    if isinstance(before, list) and isinstance(after, list):
        for number, (old, new) in enumerate(zip(before, after, strict=False)):
            text = _edited(text, (*path, str(number)), old, new)
        for item in after[len(before) :]:
            lines = [f"{part} = {value_text(value)}" for part, value in item.items()] if isinstance(item, dict) else []
            text = toml_text.append(text, path, value_text(item), lines=lines)
        return text
    if isinstance(before, dict) and isinstance(after, dict):
        for part in {**before, **after}:
            own = (*path, part)
            if part not in after:
                text = toml_text.remove(text, own, keep=len(path))
            elif part not in before:
                text = toml_text.insert(text, own, value_text(after[part]), header=len(path))
            else:
                text = _edited(text, own, before[part], after[part])
        return text
    return text if before == after else toml_text.replace(text, path, value_text(after))


def _keep(level: KeyPath) -> int:
    """How many parts the tables have that stay, though nothing is left in them."""
    return 3 if len(level) > 3 else 2


def _with_index(value: str, index: str, *, is_table: bool = False) -> Any:
    """What an entry says of a new package: its version and marker, and its index where it has one."""
    if not index and not is_table:
        return value
    version, _, marker = (part.strip() for part in value.partition(";"))
    said = {"version": version, "marker": marker, "index": index}
    return {part: text for part, text in said.items() if text}


def _amended(before: Any, value: str, index: str) -> Any:
    """What an entry says once it asks for `value`; what else it said of the package stays.

    >>> _amended({"version": "2.3", "index": "cu121"}, ">=2.4", "")
    {'version': '>=2.4', 'index': 'cu121'}
    >>> _amended(["2.3 ; sys_platform == 'linux'", "2.2"], "2.4 ; sys_platform == 'linux'", "")
    ["2.4 ; sys_platform == 'linux'", '2.2']
    """
    if isinstance(before, list):
        marker = _marker(value)
        same = [number for number, item in enumerate(before) if _marker(item) == marker]
        are_tables = all(isinstance(item, dict) for item in before)
        new = _amended(before[same[0]], value, index) if same else _with_index(value, index, is_table=are_tables)
        at = same[0] if same else len(before)
        return [*before[:at], new, *before[at + 1 :]]
    if isinstance(before, dict):
        version, _, marker = (part.strip() for part in value.partition(";"))
        new = {"version": version, "marker": "" if _marker(before) == _marker(value) else marker, "index": index}
        said = {**before, **{part: text for part, text in new.items() if text or part == "version"}}
        return {part: text for part, text in said.items() if text}
    return _with_index(value, index)


def _marker(value: Any) -> str:
    marker = value.get("marker", "") if isinstance(value, dict) else value.partition(";")[2]
    return "".join(str(marker).replace('"', "'").split())


def load_text(path: Path, text: str) -> Project:
    """The project that `path` would describe if it held `text`: all errors of the text first. Raises ConfigError."""
    from envlock.config.read import project_of
    from envlock.config.validate import explain

    explain(text, path)
    return project_of(path, text)


def save(path: Path, text: str) -> Project:
    """Make a file hold `text`, if that is a right envlock.toml; else leave it.

    The file is there already. Raises ConfigError, CannotWrite.
    """
    project = load_text(path, text)
    try:
        write_atomically(path.resolve(strict=True), text.encode())
    except OSError as error:
        raise CannotWrite(path.name, error.strerror or str(error)) from None
    return project


def options_of(level: KeyPath) -> str:
    """The options that choose a level.

    >>> options_of(("flow", "Train", "step", "fit"))
    '--flow Train --step fit'
    """
    if level[0] == "env":
        return f"--env {quote(level[1])}"
    return f"--flow {quote(level[1])}" + (f" --step {quote(level[3])}" if len(level) > 2 else "")


def _known(kind: str, found: str, right: Sequence[str]) -> str:
    if found not in right:
        raise NoSuchSelection(kind, found, list(dict.fromkeys(right)))
    return found


def _pypi_entry(text: str) -> tuple[str, str]:
    """Key and value of a PEP 508 requirement, its clauses in the order in which they were written."""
    from packaging.requirements import InvalidRequirement, Requirement

    if re.match(r"\s*[A-Za-z+]+://", text):
        raise BadPackageName(text.strip())
    requirement = parse_requirement(text)
    try:
        Requirement(text)
        Requirement(str(requirement))
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        raise BadVersionSpecifier(text.strip(), reason) from None
    name, body = re.findall(r"\A\s*([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?(.*)\Z", text, re.DOTALL)[0]
    extras = f"[{','.join(requirement.extras)}]" if requirement.extras else ""
    if requirement.url:
        key, specifier = f"{name}{extras}@{requirement.url}", ""
    else:
        key = f"{name}{extras}"
        specifier = ",".join("".join(clause.split()) for clause in body.partition(";")[0].strip(" ()").split(","))
    value = f"{specifier} ; {requirement.marker}".strip() if requirement.marker else specifier
    assert requirement_of(key, value) == requirement
    return key, value


def _table(text: str, path: KeyPath) -> Mapping[str, Any]:
    return _table_in(tomli.loads(text), path)


def _table_in(document: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    table: Any = document
    for name in path:
        table = table.get(name, {})
    assert isinstance(table, dict)
    return table


def _keys_of(asked: Mapping[str, Any], package: str, *, is_pypi: bool) -> list[str]:
    return [key for key in asked if package_of(key, is_pypi=is_pypi) == package]


def _key_for(asked: Mapping[str, Any], key: str, *, is_pypi: bool) -> str | None:
    """The entry that a new one of the same package stands in place of: of several, one with the same extras."""
    same = _keys_of(asked, package_of(key, is_pypi=is_pypi), is_pypi=is_pypi)
    alike = [each for each in same if _extras(each) == _extras(key)] if len(same) > 1 else same
    return next(iter(alike), None)


def _extras(key: str) -> str:
    return key.partition("[")[2].partition("]")[0].replace(" ", "").lower()


def _renamed(before: str, key: str, *, conda: bool) -> str:
    """The key to stand in place of `before`: the user's spelling of the name, the new extras or URL."""
    if conda:
        return key if "::" in key else before
    name = re.split(r"[\[@]", before, maxsplit=1)[0].rstrip()
    return name + re.sub(r"\A[A-Za-z0-9._-]+", "", key)


def _not_asked(text: str, level: KeyPath, package: str, *, conda: bool) -> NotAsked:
    places = list(_places(text, package))
    here = [place for place in places if place[0] == level]
    hint = None
    if places:
        where, is_conda = (here or places)[0]
        options = f"{options_of(where)}{' --conda' if is_conda else ''}"
        hint = f"envlock remove {without_credentials(package)} {options}"
    if hint is None:
        hint = did_you_mean(package, list(_table(text, (*level, *_TABLES[conda]))))
    keys = [(*where, *_TABLES[is_conda]) for where, is_conda in places]
    found = [
        Location("envlock.toml", line_number(text, node.start), shown(".".join(node.path), 200))
        for node in scan(text)
        if node.path[:-1] in keys and package_of(node.path[-1], is_pypi=node.path[-2] == "packages") == _bare(package)
    ]
    of = (" of a conda channel" if conda else " of PyPI") if here else ""
    return NotAsked(package, f"`[{'.'.join(level)}]`", of=of, elsewhere=found, hint=hint)


def _bare(package: str) -> str:
    return package_of(package, is_pypi=True) if "::" not in package else package_of(package, is_pypi=False)


def _places(text: str, package: str) -> Iterator[tuple[KeyPath, bool]]:
    """The levels that ask for a package, and whether it is conda that they ask."""
    document = tomli.loads(text)
    levels: list[KeyPath] = [("env", name) for name in document.get("env", {})]
    for name, flow in document.get("flow", {}).items():
        levels += [("flow", name), *(("flow", name, "step", step) for step in flow.get("step", {}))]
    for level in levels:
        for conda, table in _TABLES.items():
            if _keys_of(_table_in(document, (*level, *table)), _bare(package), is_pypi=not conda):
                yield level, conda


def _prove(before: str, after: str, old: KeyPath, new: KeyPath | None, value: Any) -> None:
    """Hold that the edit did what it says and nothing else: what is parsed of both texts differs in one entry."""
    expected, found = tomli.loads(before), tomli.loads(after)
    _set(expected, old, None)
    if new is not None:
        _set(expected, new, value)
    if _pruned(expected) != _pruned(found):
        raise AssertionError(f"an edit of {'.'.join(old)} changed something else")


def _set(document: dict[str, Any], path: KeyPath, value: Any) -> None:
    table = document
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table.pop(path[-1], None)
    if value is not None:
        table[path[-1]] = value


def _pruned(value: Any) -> Any:
    """A parsed document without its empty tables."""
    if not isinstance(value, dict):
        return value
    kept = {name: _pruned(item) for name, item in value.items()}
    return {name: item for name, item in kept.items() if item != {}}
