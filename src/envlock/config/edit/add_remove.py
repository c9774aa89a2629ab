"""Add packages to envlock.toml and remove them; everything else in the file stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomli

from envlock.config.conda_tables import NoChannel, entry_of
from envlock.config.edit import toml_edit
from envlock.config.edit.errors import NotListed, UnclearTarget
from envlock.config.edit.toml_edit import checked, key_text, set_value, table_at, value_text
from envlock.config.errors import BadChannel, BadCondaEntry
from envlock.config.project import CONFIG_NAME, KeyPath, Project
from envlock.config.pypi_entries import package_name, requirement_of
from envlock.config.selection import Selection, options_of, steps_named, tables_of
from envlock.config.toml_scan import line_number, scan
from envlock.errors import Location
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.requirement import BadPackageName, BadVersionSpecifier, parse_requirement
from envlock.model.url import is_channel, strip_channel_credentials
from envlock.redaction import shown, without_credentials
from envlock.words import did_you_mean

_TABLES: dict[bool, tuple[str, str]] = {False: ("pypi", "packages"), True: ("conda", "libraries")}
"""Where packages of PyPI, and of conda, are listed."""
_CONDA_PACKAGE = re.compile(r"\s*(?P<name>(?:\S+?::)?[^\s<>=!~:]+)(?P<constraint>\s*(?:[=<>!~*]|\s\d).*)?\Z", re.DOTALL)


@dataclass(frozen=True)
class Change:
    """One package's entry, before and after: (key, value) as the file has them; None where there is none."""

    level: KeyPath
    before: tuple[str, Any] | None
    after: tuple[str, Any] | None

    def __str__(self) -> str:
        """`+ pandas = ">=2"`, `- pandas = "2.1"`, or `~ pandas = "2.1" -> ">=2"`."""
        if self.before is None or self.after is None:
            return f"- {_entry_text(self.before)}" if self.before else f"+ {_entry_text(self.after)}"
        is_same = self.before[0] == self.after[0]
        after = without_credentials(value_text(self.after[1])) if is_same else _entry_text(self.after)
        return f"~ {_entry_text(self.before)} -> {after}"


def _entry_text(entry: tuple[str, Any] | None) -> str:
    assert entry is not None
    return f"{key_text(without_credentials(entry[0]))} = {without_credentials(value_text(entry[1]))}"


def choose_level(project: Project, *, flow: str = "", step: str = "", env: str = "") -> KeyPath:
    """The table that `--flow`, `--step` and `--env` mean: a flow's, a step's or a named environment's.

    A project with a single flow needs no option. Raises NoSuchSelection or UnclearTarget.
    """
    if env:
        Selection(environments=(env,)).choose(project)
        return ("env", env)
    choices = steps_named(project, flow=flow, step=step)
    if step:
        if len(choices) > 1:
            raise UnclearTarget([options_of(each.key) for each in choices])
        return choices[0].key
    levels: list[KeyPath] = [("flow", each.name) for each in project.flows if flow in {"", each.name}]
    tables = [each.key for each in tables_of(project)]
    levels = levels if len(levels) == 1 else [*levels, *tables]
    if len(levels) != 1:
        raise UnclearTarget([options_of(level) for level in levels])
    return levels[0]


_SOURCES = frozenset({"git", "path"})
"""The keys of a table that says where the one version of a package is."""


def add_packages(
    text: str,
    level: KeyPath,
    requirements: Sequence[str],
    *,
    conda: bool = False,
    channel: str = "",
    index: str = "",
    paths: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
) -> tuple[str, tuple[Change, ...]]:
    """The text with these requirements listed at `level`, and what changed; what is listed already changes nothing.

    A new version replaces the one that is listed under the same marker; the rest of a table, and of a list, stays.
    `channel` is where conda packages are to come from, `index` where PyPI's are; `paths` are the entries of those that
    are folders and files. Raises BadPackageName, BadVersionSpecifier, BadCondaEntry or BadChannel before it changes
    anything.
    """
    sources = paths or {}
    entries: list[tuple[str, Any]] = [
        sources[each] if each in sources else conda_entry(each, channel) if conda else _pypi_entry(each)
        for each in requirements
    ]
    table = (*level, *_TABLES[conda])
    document = tomli.loads(text)
    changes: list[Change] = []
    for key, value in entries:
        listed = table_at(document, table)
        before = _key_for(listed, key, is_pypi=not conda)
        if before is None:
            old, new = None, (key, _with_index(value, index) if isinstance(value, str) else value)
            edited = toml_edit.insert(text, (*table, key), value_text(new[1]), header=len(level))
        else:
            old = (before, listed[before])
            has_source = isinstance(listed[before], dict) and not _SOURCES.isdisjoint(listed[before])
            amended = value if has_source or not isinstance(value, str) else _amended(listed[before], value, index)
            new = (_renamed(before, key, conda=conda), amended)
            if new == old:
                continue
            edited = toml_edit.rename(text, (*table, before), new[0]) if new[0] != before else text
            edited = _edited(edited, (*table, new[0]), old[1], new[1])
            set_value(document, (*table, before), None)
        set_value(document, (*table, new[0]), new[1])
        text, document = edited, checked(edited, document)
        changes.append(Change(level, old, new))
    return text, tuple(changes)


def remove_packages(
    text: str, level: KeyPath, packages: Sequence[str], *, conda: bool = False, name: str = CONFIG_NAME
) -> tuple[str, tuple[Change, ...]]:
    """The text of a file called `name` without these packages at `level`, and what changed.

    Raises BadPackageName or NotListed.
    """
    table = (*level, *_TABLES[conda])
    document = tomli.loads(text)
    changes: list[Change] = []
    for package in packages:
        listed = table_at(document, table)
        keys = _keys_of(listed, package_name(package, is_pypi=not conda), is_pypi=not conda)
        if not keys:
            raise _not_listed(text, level, package, listed, conda=conda, name=name)
        for key in keys:
            changes.append(Change(level, (key, listed[key]), None))
            text = toml_edit.remove(text, (*table, key), keep=3 if len(level) > 3 else 2)
            set_value(document, (*table, key), None)
        document = checked(text, document)
    return text, tuple(changes)


def conda_entry(text: str, channel: str = "") -> tuple[str, str]:
    """Key and value of a conda package as people write it in one line, of that channel if one is given.

    >>> conda_entry("numpy >= 1.26, < 2"), conda_entry("bioconda::samtools=1.2"), conda_entry("numpy 1.26 py312*")
    (('numpy', '>=1.26,<2'), ('bioconda::samtools', '=1.2'), ('numpy', '1.26 py312*'))
    >>> conda_entry("samtools", "bioconda")
    ('bioconda::samtools', '')

    Raises BadCondaEntry, BadChannel.
    """
    match = _CONDA_PACKAGE.match(text)
    if match is None:
        raise BadCondaEntry(text.strip(), "", "write a name, and a version or a range after it")
    constraint = " ".join((match["constraint"] or "").split())
    name = f"{channel}::{match['name']}" if channel else match["name"]
    try:
        requirement, _ = entry_of(name, constraint)
        short = "".join(constraint.split())
        return name, short if entry_of(name, short)[0] == requirement else constraint
    except BadCondaRequirement as bad:
        raise BadCondaEntry(name, constraint, bad.reason) from None
    except NoChannel as bad:
        raise BadChannel(bad.channel) from None


def channel_name(text: str, level: KeyPath, channel: str) -> str:
    """The channel as a package of `level` names it. Raises BadChannel.

    A channel that the level, its flow or the project lists already needs its secrets in that one place only.
    """
    if not is_channel(channel):
        raise BadChannel(channel)
    document = tomli.loads(text)
    tables = ((*level, "conda"), (*level[:2], "conda"), ("envlock",))
    listed = [each for table in tables for each in table_at(document, table).get("channels", ())]
    name = strip_channel_credentials(channel)
    return name if name in map(strip_channel_credentials, listed) else channel


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
    value = entry_value(specifier, requirement.marker)
    assert requirement_of(key, value) == requirement
    return key, value


def _edited(text: str, path: KeyPath, before: Any, after: Any) -> str:
    """The text with `after` in place of `before`; every part that both have stays as it is written."""
    if isinstance(before, list) and isinstance(after, list):
        for number, (old, new) in enumerate(zip(before, after, strict=False)):
            text = _edited(text, (*path, str(number)), old, new)
        for item in after[len(before) :]:
            lines = [f"{part} = {value_text(value)}" for part, value in item.items()] if isinstance(item, dict) else []
            text = toml_edit.append(text, path, value_text(item), lines=lines)
        return text
    if isinstance(before, dict) and isinstance(after, dict):
        for part in {**before, **after}:
            own = (*path, part)
            if part not in after:
                text = toml_edit.remove(text, own, keep=len(path))
            elif part not in before:
                text = toml_edit.insert(text, own, value_text(after[part]), header=len(path))
            else:
                text = _edited(text, own, before[part], after[part])
        return text
    return text if before == after else toml_edit.replace(text, path, value_text(after))


def _amended(before: Any, value: str, index: str) -> Any:
    """What an entry says with a new version; what else it says of the package stays.

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
        new = _with_index(value, index, is_table=True)
        if _marker(before) == _marker(value):
            new.pop("marker", None)
        return {part: text for part, text in {**before, "version": "", **new}.items() if text}
    return _with_index(value, index)


def _with_index(value: str, index: str, *, is_table: bool = False) -> Any:
    """The value of a package's entry: its version and marker, as a table where it has an index too."""
    if not index and not is_table:
        return value
    version, _, marker = (part.strip() for part in value.partition(";"))
    return entry_value(version, marker, index, is_table=True)


def entry_value(specifier: str, marker: str, index: str = "", *, is_table: bool = False) -> Any:
    """The value of a PyPI package's entry: a string, or a table where it names an index.

    >>> entry_value(">=2", "sys_platform == 'linux'"), entry_value(">=2", "", "cu121")
    (">=2 ; sys_platform == 'linux'", {'version': '>=2', 'index': 'cu121'})
    """
    if index or is_table:
        parts = {"version": specifier, "marker": marker, "index": index}
        return {part: text for part, text in parts.items() if text}
    return f"{specifier} ; {marker}".strip() if marker else specifier


def _marker(value: Any) -> str:
    marker = value.get("marker", "") if isinstance(value, dict) else value.partition(";")[2]
    return "".join(str(marker).replace('"', "'").split())


def _keys_of(listed: Mapping[str, Any], package: str, *, is_pypi: bool) -> list[str]:
    return [key for key in listed if package_name(key, is_pypi=is_pypi) == package]


def _key_for(listed: Mapping[str, Any], key: str, *, is_pypi: bool) -> str | None:
    """The entry that a new one of the same package replaces: of several, the one with the same extras."""
    same = _keys_of(listed, package_name(key, is_pypi=is_pypi), is_pypi=is_pypi)
    alike = [each for each in same if _extras(each) == _extras(key)] if len(same) > 1 else same
    return next(iter(alike), None)


def _extras(key: str) -> str:
    return key.partition("[")[2].partition("]")[0].replace(" ", "").lower()


def _renamed(before: str, key: str, *, conda: bool) -> str:
    """The key that replaces `before`: the user's spelling of the name, the new extras or URL."""
    if conda:
        return key if "::" in key else before
    name = re.split(r"[\[@]", before, maxsplit=1)[0].rstrip()
    return name + re.sub(r"\A[A-Za-z0-9._-]+", "", key)


def _not_listed(
    text: str, level: KeyPath, package: str, listed: Mapping[str, Any], *, conda: bool, name: str
) -> NotListed:
    """The error that names the other places which list the package, or else the nearest name."""
    places = _places(text, name, package_name(package, is_pypi="::" not in package))
    here = [(where, is_conda) for where, is_conda, _ in places if where == level]
    hint = did_you_mean(package, list(listed))
    if places:
        where, is_conda = here[0] if here else places[0][:2]
        hint = f"envlock remove {without_credentials(package)} {options_of(where)}{' --conda' if is_conda else ''}"
    return NotListed(
        package,
        f"`[{'.'.join(level)}]`",
        kind=("conda" if conda else "PyPI") if here else "",
        elsewhere=[location for _, _, location in places],
        hint=hint,
    )


def _places(text: str, name: str, package: str) -> list[tuple[KeyPath, bool, Location]]:
    """The levels that list a package, whether as one of conda, and where each entry begins."""
    found: dict[KeyPath, tuple[KeyPath, bool, Location]] = {}
    for node in scan(text):
        depth = 4 if node.path[2:3] == ("step",) else 2
        own, table, listed = node.path[:depth], node.path[depth : depth + 2], node.path[depth + 2 : depth + 3]
        if listed and table in _TABLES.values() and package_name(listed[0], is_pypi=table == _TABLES[False]) == package:
            entry = (*own, *table, *listed)
            place = Location(name, line_number(text, node.start), shown(".".join(entry), 200))
            found.setdefault(entry, (own, table == _TABLES[True], place))
    return list(found.values())
