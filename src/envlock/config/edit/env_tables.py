"""`[env.*]` tables written into envlock.toml: one that names an environment, or one with its requirements.

What such a table cannot say, the project's settings have to: where they say otherwise, the error tells what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations
from typing import TYPE_CHECKING, Any

import tomli

from envlock.config.edit.add_remove import entry_value
from envlock.config.edit.errors import (
    CannotCopyRequirements,
    EnvironmentExists,
    NamesAnother,
    SettingsDiffer,
)
from envlock.config.edit.save import load_text
from envlock.config.edit.toml_edit import (
    checked,
    insert,
    insert_section,
    quoted,
    remove,
    set_value,
    tables_text,
    value_text,
)
from envlock.config.metaflow_needs import NEEDS, metaflow_requirements
from envlock.config.project import DEFAULT_CHANNEL, Project
from envlock.config.read import project_of
from envlock.config.system_packages import archs_of
from envlock.model.url import is_links_of_folder, strip_channel_credentials, strip_credentials
from envlock.words import listed

if TYPE_CHECKING:
    from envlock.model.conda_requirement import CondaRequirement
    from envlock.model.requirement import PypiRequirement
    from envlock.model.requirements import Requirements


_OF_FILES = ("constraints", "overrides", "hashes", "find_links", "variables")
"""The requirements that only requirement files say."""


def new_environment(text: str, name: str, tables: Mapping[str, Any]) -> str:
    r"""The text with an `[env.*]` table that it does not have, after the others.

    >>> print(new_environment("", "base", {"named_env": {"name": "team/base:v1"}}), end="")
    [env.base]
    named_env = { name = "team/base:v1" }
    """
    path = ("env", name)
    edited = insert_section(text, path, tables_text(path, tables), value_text(tables))
    expected = tomli.loads(text)
    set_value(expected, path, tables)
    checked(edited, expected)
    return edited


def name_base(project: Project, name: str, kind: str, written: str) -> str:
    """The text of envlock.toml in which `[env.<name>]` has this `name` or `pathspec` as its `named_env`.

    Adds the table where there is none; one that names it already stays as it is. Raises NamesAnother.
    """
    text = project.text
    expected = tomli.loads(text)
    if name not in expected.get("env", {}):
        return new_environment(text, name, {"named_env": {kind: written}})
    base = next(each.base for each in project.named if each.name == name)
    if base is not None:
        if base.kind != kind or (written != base.written and base.reference not in {written, f"{written}:latest"}):
            raise NamesAnother(name, base.written, project.locate(base.key))
        return text
    path = ("env", name, "named_env", kind)
    edited = insert(text, path, quoted(written), header=2)
    set_value(expected, path, written)
    checked(edited, expected)
    return edited


def env_from_requirements(project: Project, name: str, wanted: Requirements, *, source: str, use: str) -> Project:
    """The project with a new `[env.*]` table that has just these requirements, to the same `req_id`. Writes nothing.

    `source` names the environment whose requirements they are, `use` is the command that uses it as it is. Raises
    SettingsDiffer, CannotCopyRequirements.
    """
    if wanted.base:
        raise CannotCopyRequirements(source, "it extends another environment, whose packages it keeps", use)
    tables = _tables(project, wanted)
    made = _with(project, name, tables)
    system = dict(_system(wanted, _requirements(made, name)))
    if system:
        made = _with(project, name, {**tables, "sys_packages": {"packages": system}})
    found = _requirements(made, name)
    if found.req_id != wanted.req_id:
        changes = list(_changes(found, wanted, project.table))
        if not changes:
            fields = [field for field in wanted._fields if getattr(wanted, field) != getattr(found, field)]
            of_files = [field for field in _OF_FILES if getattr(wanted, field) != getattr(found, field)]
            reason = f"this envlock writes {', '.join(fields)} otherwise"
            if of_files:
                what = listed(field.replace("_", " ") for field in of_files)
                reason = f"its {what} come from a requirement file, and no table can hold them"
            raise CannotCopyRequirements(source, reason, use)
        raise SettingsDiffer(source, project.path.name, changes)
    return made


def add_environment(
    project: Project,
    name: str,
    wanted: Requirements,
    local: Mapping[str, str] | None = None,
    *,
    replacing: bool = False,
) -> Project:
    """The project with an `[env.*]` table that asks for this much; what its settings add to every environment stays.

    `local` are the paths, relative to envlock.toml, of URLs that are known by their content. `replacing` takes the
    place of a table that is there. Writes nothing. Raises EnvironmentExists, and ConfigError for what no envlock.toml
    may hold.
    """
    if any(each.name == name for each in project.named):
        if not replacing:
            raise EnvironmentExists(name, project.locate(("env", name)))
        text = remove(project.text, ("env", name), keep=1)
        expected = tomli.loads(project.text)
        set_value(expected, ("env", name), None)
        checked(text, expected)
        project = project._replace(text=text)  # not read: a step may use the table that is missing here
    tables = _tables(project, wanted, local)
    # The light reader alone: it refuses what the full one does, and explains it then.
    made = project_of(project.path, new_environment(project.text, name, tables or {"pypi": {}}))
    system = dict(_floors(wanted, _requirements(made, name)))
    if not system:
        return made
    tables["sys_packages"] = {"packages": system}
    return project_of(project.path, new_environment(project.text, name, tables))


def _floors(wanted: Requirements, made: Requirements) -> Iterator[tuple[str, str]]:
    """The system packages that are wanted in a later version than they come by themselves; the latest of all archs."""
    own = {(arch, package): version for arch, package, version in made.system}
    for package in dict.fromkeys(package for _, package, _ in wanted.system):
        rows = {arch: version for arch, name, version in wanted.system if name == package}
        new = [version for arch, version in rows.items() if own.get((arch, package)) != version]
        if package == "__archspec":
            yield from ((package, version) for version in new[:1])
        elif new:
            yield package, max(new, key=lambda version: tuple(map(int, version.split("."))))


def _with(project: Project, name: str, tables: dict[str, Any]) -> Project:
    return load_text(project.path, new_environment(project.text, name, tables or {"pypi": {}}))


def _requirements(project: Project, name: str) -> Requirements:
    return next(each.requirements for each in project.named if each.name == name)


def _tables(project: Project, wanted: Requirements, local: Mapping[str, str] | None = None) -> dict[str, Any]:
    """All but `sys_packages`, which depends on what these give."""
    settings = project.table
    pypi: dict[str, Any] = {}
    conda: dict[str, Any] = {}
    if wanted.python:
        (conda if wanted.has_conda and not (wanted.pypi and not wanted.conda) else pypi)["python"] = wanted.python
    extra = settings.get("extra-indices", ())
    indexes = _ahead(wanted.indexes, [strip_credentials(url) for url in extra])
    if indexes:
        pypi["extra_indices"] = indexes
    links = [(local or {}).get(url, url) for url in wanted.find_links]
    if links and not any(map(is_links_of_folder, links)):
        pypi["find_links"] = links
    if wanted.pip_flags:
        pypi["extras"] = list(wanted.pip_flags)
    if wanted.pypi:
        pypi["packages"] = _pypi_entries(wanted.pypi, settings.get("indexes", {}), local or {})
    for kind, limits in (("constraints", wanted.constraints), ("overrides", wanted.overrides)):
        found = _pypi_entries(limits, {}, {})
        if limits and all(isinstance(value, str) for value in found.values()):
            pypi[kind] = found
    if wanted.conda_only:
        pypi["conda_only"] = dict(map(_conda_entry, wanted.conda_only))
    if wanted.has_conda:
        own = [strip_channel_credentials(channel) for channel in settings.get("channels", (DEFAULT_CHANNEL,))]
        channels = _ahead(wanted.channels, own)
        is_said = conda or wanted.conda or wanted.conda_only or project.settings.python_from == "conda"
        if channels or not is_said:
            conda["channels"] = channels or list(wanted.channels)
        if wanted.conda:
            conda["libraries"] = dict(map(_conda_entry, wanted.conda))
    return {name: table for name, table in (("pypi", pypi), ("conda", conda)) if table}


def _ahead(wanted: Sequence[str], project: Sequence[str]) -> list[str]:
    """What a table has to name so that, with the project's after it, all that is wanted is there in its order.

    >>> _ahead(["a", "b", "c"], ["b", "c"]), _ahead(["c", "b"], ["b", "c"]), _ahead(["a"], ["a"])
    (['a'], ['c'], [])
    """
    for length in range(len(wanted)):
        if list(dict.fromkeys([*wanted[:length], *project])) == list(wanted):
            return list(wanted[:length])
    return list(wanted)


def _pypi_entries(
    requirements: Iterable[PypiRequirement], indexes: Mapping[str, str], local: Mapping[str, str]
) -> dict[str, Any]:
    names = {strip_credentials(url): name for name, url in indexes.items()}
    entries: dict[str, list[Any]] = {}
    for each in requirements:
        extras = f"[{','.join(each.extras)}]" if each.extras else ""
        if each.url in local:
            marker = {"marker": each.marker} if each.marker else {}
            entries.setdefault(f"{each.name}{extras}", []).append({"path": local[each.url], **marker})
            continue
        key = f"{each.name}{extras}" + (f"@{each.url}" if each.url else "")
        index = names.get(each.from_index, each.from_index)
        entries.setdefault(key, []).append(entry_value(each.specifier, each.marker, index))
    return {key: values[0] if len(values) == 1 else values for key, values in entries.items()}


def _conda_entry(requirement: CondaRequirement) -> tuple[str, str]:
    name = f"{requirement.channel}::{requirement.name}" if requirement.channel else requirement.name
    archs = f"; {' '.join(requirement.archs)}" if requirement.archs else ""
    return name, " ".join(filter(None, (requirement.version, requirement.build, archs)))


def _system(wanted: Requirements, made: Requirements) -> Iterator[tuple[str, str]]:
    """The virtual packages that are wanted otherwise than they come by themselves, where one version says it."""
    for package in dict.fromkeys(package for _, package, _ in wanted.system):
        rows, own = (
            {arch: version for arch, name, version in each.system if name == package} for each in (wanted, made)
        )
        for version in sorted(set(rows.values())) if rows != own else ():
            if own | dict.fromkeys(archs_of(package, version), version) == rows:
                yield package, version


def _changes(found: Requirements, wanted: Requirements, settings: Mapping[str, Any]) -> Iterator[str]:
    """What to do in `[envlock]`, a setting a line, so that what is found becomes what is wanted."""
    if found.python_from != wanted.python_from:
        yield f"write `python-from = {quoted(wanted.python_from)}`"
    if found.metaflow != wanted.metaflow:
        yield _metaflow(wanted.metaflow)
    for key, mine, other in (
        ("index-url", found.default_index, wanted.default_index),
        ("exclude-newer", found.exclude_newer, wanted.exclude_newer),
        ("channel-priority", found.channel_priority, wanted.channel_priority),
    ):
        if mine != other:
            yield f"write `{key} = {quoted(other)}`" if other else f"remove `{key}`"
    for key, names, others in (
        ("extra-indices", found.indexes, wanted.indexes),
        ("channels", found.channels, wanted.channels),
    ):
        for each in names:
            if each not in others:
                is_default = key == "channels" and "channels" not in settings
                yield "write `channels = []`" if is_default else f"remove `{each}` from `{key}`"
    floors = {(arch, package): version for arch, package, version in wanted.system}
    for arch, package, version in wanted.system:
        if (arch, package, version) not in found.system:
            yield f"write `system-requirements.{arch}.{package} = {quoted(version)}`"
    for arch, package, _ in found.system:
        if (arch, package) not in floors:
            yield f"remove `system-requirements.{arch}.{package}`"


def _metaflow(wanted: tuple[PypiRequirement, ...]) -> str:
    """Which datastores need just these packages."""
    if not wanted:
        return "write `metaflow-requirements = false`"
    for stores in _some_of(list(NEEDS)):
        if metaflow_requirements(stores) == wanted:
            value = quoted(stores[0]) if len(stores) == 1 else f"[{', '.join(map(quoted, stores))}]"
            return f"write `datastore = {value}`, and no `metaflow-requirements = false`"
    return f"have Metaflow need {', '.join(map(str, wanted))}: another envlock locked it"


def _some_of(items: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return chain.from_iterable(combinations(items, count) for count in range(1, len(items) + 1))
