"""pyproject.toml: dependencies, extras and dependency groups, with the sources and indexes that uv or Poetry know.

What the file says is read, and nothing is run: a project whose backend makes up its dependencies is refused.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence

from envlock.config.errors import NotToml
from envlock.config.project import LineOfFile
from envlock.config.requirement_files.contents import FileContents, RequirementFile, joined
from envlock.config.toml_scan import Key, scan
from envlock.config.toml_source import parsed
from envlock.errors import ConfigError
from envlock.model.marker import NotAMarker, all_hold
from envlock.model.requirement import (
    BadPackageName,
    BadVersionSpecifier,
    PypiRequirement,
    normalize_name,
    normalized,
    parse_requirement,
)
from envlock.model.url import strip_credentials
from envlock.redaction import shown, without_credentials
from envlock.values import NamedTuple
from envlock.words import listed, nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from envlock.config.requirement_files.uv_tables import Uv

    _Read = TypeVar("_Read")

_OTHERS = ("pixi", "conda-lock")
"""Tables of other tools with requirements of their own."""


class Entry(NamedTuple):
    """One requirement of a project, and where it stands."""

    requirement: PypiRequirement
    path: Key
    extra: str = ""
    """The extra that it belongs to, if any, or the group."""
    group: str = ""
    index_url: str = ""
    """The index that it comes from, as written."""
    local: tuple[str, str] | None = None
    """The URL and the path of a source on this machine."""
    takes_pre_releases: bool = False
    at: LineOfFile | None = None
    """Where it stands, if that is in another file."""

    def when(self, marker: str) -> Entry:
        """The entry, under a marker beside its own."""
        both = all_hold(self.requirement.marker, marker)
        return self._replace(requirement=self.requirement._replace(marker=both))

    def from_index(self, url: str) -> Entry:
        """The entry, from this index alone, which may have credentials."""
        made = self.requirement._replace(from_index=strip_credentials(url))
        return self._replace(requirement=made, index_url=url)


class ProjectFile:
    """A pyproject.toml, parsed, with the line of every key."""

    def __init__(self, file: RequirementFile) -> None:
        self.file = file
        try:
            self.document = parsed(file.text, file.name)
        except NotToml as error:
            made = error if file.is_quoted else error.unquoted()
            raise made.adding(locations=(file.locate(file.key),)) from None
        starts = [number for number, each in enumerate(file.text) if each == "\n"]
        self.lines: dict[Key, int] = {}
        for node in scan(file.text):
            for length in range(len(node.path), 0, -1):  # a table may be written only by what is in it
                self.lines.setdefault(node.path[:length], bisect_right(starts, node.start - 1) + 1)

    def line(self, path: Key) -> LineOfFile:
        """The line of a key, or of the nearest one around it."""
        number = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 1)
        return self.file.line(number)

    def fault(self, reason: str, path: Key, *, hint: str = "") -> ConfigError:
        """The error of a key."""
        return self.file.fault(reason, self.line(path).line, hint=hint)

    def get(self, *path: str) -> Any:
        """The value of a key; None where it is not written."""
        found: Any = self.document
        for each in path:
            if not isinstance(found, dict):
                raise self.fault(f"`{path[0]}` must be a table", path)
            found = found.get(each)
            if found is None:
                return None
        return found

    def table(self, *path: str) -> Mapping[str, Any]:
        """A table; an empty one where it is not written. Raises BadPyproject for another value."""
        found = self.get(*path)
        if found is not None and not isinstance(found, dict):
            raise self.fault(f"`{'.'.join(path)}` must be a table", path)
        return found or {}

    def items(self, *path: str) -> list[tuple[Any, Key]]:
        """The items of a list, each with its path; none where it is not written."""
        found = self.get(*path)
        if found is not None and not isinstance(found, list):
            raise self.fault(f"`{'.'.join(path)}` must be a list", path)
        return [(item, (*path, str(number))) for number, item in enumerate(found or ())]

    def texts(self, *path: str) -> list[tuple[str, Key]]:
        """The texts of a list, each with its path."""
        for item, place in self.items(*path):
            if not isinstance(item, str):
                raise self.fault(f"an item of `{'.'.join(path)}` must be a text", place)
        return self.items(*path)

    def text(self, *path: str) -> str:
        """A text; an empty one where it is not written."""
        found = self.get(*path)
        if found is not None and not isinstance(found, str):
            raise self.fault(f"`{'.'.join(path)}` must be a text", path)
        return found or ""

    def reading(self, path: Key, read: Callable[[], _Read]) -> _Read:
        """What `read` makes of the value of a key. Its errors get the line of the key."""
        try:
            return read()
        except (BadPackageName, BadVersionSpecifier, NotAMarker) as error:
            said = without_credentials(error.message) if self.file.is_quoted else "this is not a requirement"
            raise self.fault(said, path, hint=error.hint or "") from None
        except ConfigError as error:
            raise error if error.locations else error.at(*self.file.places(self.line(path).line)) from None

    def requirement(self, text: str, path: Key) -> PypiRequirement:
        """A requirement that is written at a key, in the words of PEP 508."""
        return self.reading(path, lambda: parse_requirement(text))

    def package(self, text: str, path: Key) -> str:
        """The normalised name of a package that is written at a key."""
        return self.reading(path, lambda: normalize_name(text))

    def name_in(self, names: Iterable[str], wanted: str, what: str, path: Key | None) -> str:
        """The one of `names` that is `wanted`, however both are spelt.

        Raises BadPyproject at `path`, or at the key of envlock.toml.
        """
        known = list(names)
        found = [name for name in known if normalized(name) == normalized(wanted)]
        if len(found) == 1:
            return found[0]
        alike = nearest(normalized(wanted), list(map(normalized, known)))
        has = f"it has {listed(f'`{shown(each)}`' for each in known)}" if known else f"it has no {what}s"
        hint = f"did you mean `{alike}`?" if alike else has
        reason = f"`{self.file.name}` has no {what} `{shown(wanted)}`"
        if found:
            reason, hint = f"two {what}s have the name `{normalized(wanted)}`", "rename one of them"
        if path is None:
            return_at = (self.file.locate(self.file.key),)
            raise self.file.error(reason, return_at, hint=hint)
        raise self.fault(reason, path, hint=hint)


def read_pyproject(file: RequirementFile, *, extras: Sequence[str], groups: Sequence[str]) -> FileContents:
    """What a pyproject.toml says: its dependencies, and those of some extras and groups.

    Raises BadPyproject, NotToml, WrittenTwice, CredentialsInDirectUrl, DirectUrlOfThisMachine, PythonIsNoPackage or
    BadIndexUrl, each with its line.
    """
    return _Reading(ProjectFile(file)).contents(extras, groups)


class _Reading:
    """Chooses the requirements of one project."""

    def __init__(self, project: ProjectFile) -> None:
        from envlock.config.requirement_files.dynamic_tables import Dynamic
        from envlock.config.requirement_files.poetry_tables import Poetry

        self.project = project
        self.name = normalized(project.text("project", "name") or project.text("tool", "poetry", "name"))
        self.dynamic = Dynamic(project)
        self.poetry = Poetry(project) if project.get("tool", "poetry") is not None else None

    def contents(self, extras: Sequence[str], groups: Sequence[str]) -> FileContents:
        from envlock.config.requirement_files.uv_tables import Uv

        project = self.project
        has_list = project.get("project") is not None or (self.poetry is not None and self.poetry.has_main)
        if not has_list and (extras or not groups):
            hint = "name a file with `[project]`, or with the tables of Poetry"
            raise project.fault("it has no `[project]`, so no dependencies", ("tool",), hint=hint)
        entries = self.main() if has_list else []
        for name in extras:
            entries += self.of_extra(name)
        for name in groups:
            entries += self.of_group(name)
        found = FileContents(requires_python=self.requires_python())
        if self.poetry is not None:
            found = self.poetry.with_sources(found)
        uv = Uv(project)
        found = uv.with_indexes(found, groups)
        found = _with_pdm(project, found)
        for tool in _OTHERS:
            if project.get("tool", tool) is not None:
                text = f"`[tool.{tool}]` is not read: write its packages in envlock.toml"
                found = found._replace(notes=(*found.notes, (text, project.line(("tool", tool)))))
        notes: list[tuple[str, LineOfFile]] = []
        sourced = _contents_of(project, uv, uv.sourced(self.expanded(entries, ()), notes))
        files = (*sourced.files, *self.dynamic.files)
        return joined((found, sourced._replace(notes=tuple(dict.fromkeys(notes)), files=files)))

    def requires_python(self) -> tuple[tuple[str, LineOfFile], ...]:
        from envlock.config.tables import normalize_python

        path = ("project", "requires-python")
        written = self.project.text(*path)
        found = []
        if written:
            found.append((self.project.reading(path, lambda: normalize_python(written)), self.project.line(path)))
        if self.poetry is not None:
            found += self.poetry.requires_python()
        return tuple((range_, line) for range_, line in found if range_)

    def main(self) -> list[Entry]:
        """The dependencies that all have."""
        if self.poetry is not None and self.poetry.has_main and "dependencies" not in self.project.table("project"):
            return self.poetry.main()
        is_dynamic = "dependencies" in self.dynamic.keys
        entries = self.dynamic.main() if is_dynamic else self.listed("project", "dependencies")
        return self.poetry.enriched(entries, ("tool", "poetry", "dependencies")) if self.poetry else entries

    def of_extra(self, wanted: str, path: Key | None = None) -> list[Entry]:
        """The requirements of an extra, which envlock.toml names, or the key `path`."""
        if "optional-dependencies" in self.dynamic.keys:
            return self.dynamic.of_extra(wanted, path)
        table = self.project.table("project", "optional-dependencies")
        if self.poetry is not None and not table and "dependencies" not in self.project.table("project"):
            name = self.project.name_in(self.poetry.extras(), wanted, "extra", path)
            return self.poetry.of_extra(name)
        name = self.project.name_in(table, wanted, "extra", path)
        entries = self.listed("project", "optional-dependencies", name, extra=normalized(name))
        return self.poetry.enriched(entries, ("tool", "poetry", "dependencies")) if self.poetry else entries

    def of_group(self, wanted: str, path: Key | None = None, around: tuple[str, ...] = ()) -> list[Entry]:
        """The requirements of a dependency group (PEP 735), those of the groups that it includes among them."""
        tables = self.groups()
        name = self.project.name_in(tables, wanted, "group", path)
        if name in around:
            begun = [*around[around.index(name) :], name]
            reason = f"a group includes itself: {' > '.join(f'`{shown(each)}`' for each in begun)}"
            raise self.project.fault(reason, path or (), hint="remove one of these includes")
        places = tables[name]
        of_poetry = next((place for place in places if place[:2] == ("tool", "poetry")), None)
        inside = (*around, name)
        found = [entry for place in places if place != of_poetry for entry in self.of_list(place, inside)]
        if of_poetry is not None:
            assert self.poetry is not None
            table = (*of_poetry, "dependencies") if "group" in of_poetry else of_poetry
            found = self.poetry.enriched(found, table) if found else self.poetry.entries(table)
            if "group" in of_poetry:
                for text, where in self.project.texts(*of_poetry, "include-groups"):
                    found += self.of_group(text, where, inside)
        return [each._replace(group=normalized(name)) for each in found]

    def of_list(self, place: Key, around: tuple[str, ...]) -> list[Entry]:
        found: list[Entry] = []
        for item, path in self.project.items(*place):
            if isinstance(item, str):
                found.append(Entry(self.project.requirement(item, path), path, group=normalized(around[-1])))
            elif isinstance(item, dict) and set(item) == {"include-group"} and isinstance(item["include-group"], str):
                found += self.of_group(item["include-group"], path, around)
            else:
                hint = 'write it as `{ include-group = "..." }`'
                raise self.project.fault("an item of a group must be a requirement or an include", path, hint=hint)
        return found

    def groups(self) -> dict[str, list[Key]]:
        """The keys of each group: those of PEP 735, and of uv, PDM and Poetry before it."""
        found: dict[str, list[Key]] = {}
        own = {name: ("dependency-groups", name) for name in self.project.table("dependency-groups")}
        older: dict[str, Key] = {
            name: ("tool", "pdm", "dev-dependencies", name)
            for name in self.project.table("tool", "pdm", "dev-dependencies")
        }
        if self.project.get("tool", "uv", "dev-dependencies") is not None:
            older["dev"] = ("tool", "uv", "dev-dependencies")
        of_poetry = self.poetry.groups() if self.poetry is not None else {}
        for table in (own, older, of_poetry):
            for name, path in table.items():
                same = next((each for each in found if normalized(each) == normalized(name)), name)
                if table is own and same in found:
                    raise self.project.fault(f"two groups have the name `{normalized(name)}`", path)
                found.setdefault(same, []).append(path)
        return found

    def listed(self, *path: str, extra: str = "") -> list[Entry]:
        return [Entry(self.project.requirement(text, at), at, extra) for text, at in self.project.texts(*path)]

    def expanded(self, entries: Iterable[Entry], seen: tuple[str, ...]) -> list[Entry]:
        """The entries, with what the project's own extras need in place of the project itself: `demo[all]`."""
        found: list[Entry] = []
        for entry in entries:
            if entry.requirement.name != self.name or entry.requirement.url:
                found.append(entry)
                continue
            for extra in entry.requirement.extras:
                if extra not in seen:
                    inner = self.expanded(self.of_extra(extra, entry.path), (*seen, extra))
                    found += [each.when(entry.requirement.marker) for each in inner]
        return found


def needs_of_folder(file: RequirementFile, extras: Sequence[str], marker: str) -> FileContents:
    """What the project in a folder takes from places of its own: other folders, repositories, URLs, single indexes.

    A wheel of the folder only has names; that they come from elsewhere is known to uv, or Poetry, by this file. The
    other dependencies are the wheel's own affair. `marker` and `extras` are those of the requirement of the folder.
    """
    from envlock.config.requirement_files.poetry_tables import Poetry
    from envlock.config.requirement_files.uv_tables import Uv

    project = ProjectFile(file)
    uv, name = Uv(project), normalized(project.text("project", "name"))
    found: list[Entry] = []
    known = {normalized(each): each for each in project.table("project", "optional-dependencies")}
    wanted = ["", *(each for each in extras if each in known)]
    for extra in wanted:  # which grows: an extra may name others of its project
        path = ("project", "optional-dependencies", known[extra]) if extra else ("project", "dependencies")
        for text, at in project.texts(*path):
            begun = _NAME.match(text)
            own = normalized(begun[0]) if begun else ""
            if own in uv.sources:
                found.append(Entry(project.requirement(text, at), at, extra))
            elif own and own == name:
                more = project.requirement(text, at).extras
                wanted += [each for each in more if each in known and each not in wanted]
    if project.get("tool", "poetry") is not None:
        found += Poetry(project).from_places(extras)
    return _contents_of(project, uv, [each.when(marker) for each in uv.sourced(found, [])])


_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def _contents_of(project: ProjectFile, uv: Uv, entries: Sequence[Entry]) -> FileContents:
    return FileContents(
        pypi=tuple((each.requirement, each.index_url, each.at or project.line(each.path)) for each in entries),
        pip_flags=tuple(f"all-releases={each.requirement.name}" for each in entries if each.takes_pre_releases),
        local=tuple(dict.fromkeys(each.local for each in entries if each.local)),
        files=uv.files,
    )


def _with_pdm(project: ProjectFile, contents: FileContents) -> FileContents:
    """The contents with the sources of PDM, of which the one named `pypi` replaces the default index."""
    from envlock.config.requirement_files.uv_tables import index_at, leaving_out, with_links

    for item, path in project.items("tool", "pdm", "source"):
        if not isinstance(item, dict) or not isinstance(item.get("url"), str):
            raise project.fault("a source must be a table with a `url`", path, hint='add `url = "https://..."`')
        if item.get("type") == "find_links":
            contents = with_links(project, contents, item["url"], (*path, "url"))
            continue
        found = index_at(project, item["url"], (*path, "url"))
        if item.get("name") == "pypi":
            contents = contents._replace(default_index=found)
        else:
            contents = contents._replace(indexes=(*contents.indexes, found))
    resolution: Key = ("tool", "pdm", "resolution")
    overrides = [
        (_override_of_pdm(project, name, (*resolution, "overrides", name)), (*resolution, "overrides", name))
        for name in project.table(*resolution, "overrides")
    ]
    overrides += [(leaving_out(project, text, path), path) for text, path in project.texts(*resolution, "excludes")]
    contents = contents._replace(
        overrides=(*contents.overrides, *((requirement, project.line(path)) for requirement, path in overrides))
    )
    if project.table("tool", "pdm", "resolution").get("allow-prereleases") is True:
        contents = contents._replace(pip_flags=(*contents.pip_flags, "pre"))
    return contents


def _override_of_pdm(project: ProjectFile, name: str, path: Key) -> PypiRequirement:
    """The override that PDM has of a package: a range, one version without an operator, or a URL."""
    written = project.text(*path).strip()
    if "://" in written:
        return project.requirement(f"{name} @ {written}", path)
    return project.requirement(f"{name}=={written}" if written[:1].isalnum() else f"{name}{written.strip('*')}", path)
