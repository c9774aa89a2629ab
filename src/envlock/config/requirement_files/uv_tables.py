"""What `[tool.uv]` of a pyproject.toml says of where packages come from: sources, workspaces and indexes.

A source holds for the requirements of its package, as far as its marker, its extra and its group go. An index with
`explicit` is used for no package that does not name it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envlock.config.errors import BadIndexUrl
from envlock.config.requirement_files.contents import FileContents
from envlock.files import REQUIREMENTS_BYTES, read_file, toml_of
from envlock.model.marker import all_hold, negated
from envlock.model.requirement import normalize_marker, normalized, parse_requirement
from envlock.model.url import is_web
from envlock.redaction import shown
from envlock.words import did_you_mean, listed

if TYPE_CHECKING:
    from envlock.config.requirement_files.pyproject_toml import Entry, ProjectFile
    from envlock.config.toml_scan import Key

_KINDS: dict[str, tuple[str, ...]] = {
    "git": ("rev", "tag", "branch", "subdirectory", "lfs"),
    "url": ("subdirectory",),
    "path": ("editable", "package", "subdirectory"),
    "workspace": ("editable",),
    "index": (),
}
"""The kinds of sources, each with the keys that it may have beside `marker`, `extra` and `group`."""
_WHERE = ("marker", "extra", "group")
_OF_AN_INDEX = ("name", "url", "explicit", "default", "format", "publish-url", "authenticate", "ignore-error-codes")
_REFUSED = {
    "override-dependencies": "a lock cannot hold a package against what another one requires",
    "exclude-dependencies": "a lock cannot leave out what another package requires",
    "no-sources": "",
}
_USELESS = {
    "exclude-newer": "write `exclude-newer` in `[envlock]`",
    "exclude-newer-package": "write `exclude-newer` in `[envlock]`",
    "resolution": "envlock takes the newest versions",
    "index-strategy": "envlock takes a package from the first index that has it",
    "dependency-metadata": "envlock reads the metadata of the packages",
    "build-constraint-dependencies": "envlock locks what a build needs",
}
"""Settings that envlock does not follow, and what holds in their place."""
_MOST_MEMBERS = 1000


class Uv:
    """The tables of uv in one pyproject.toml."""

    def __init__(self, project: ProjectFile) -> None:
        self.project = project
        self.sources = {normalized(name): name for name in project.table("tool", "uv", "sources")}
        self.indexes = self._indexes()

    def _indexes(self) -> list[tuple[Mapping[str, Any], Key]]:
        found: list[tuple[Mapping[str, Any], Key]] = []
        for item, path in self.project.items("tool", "uv", "index"):
            if not isinstance(item, dict) or not isinstance(item.get("url"), str):
                hint = 'write it as `[[tool.uv.index]]`, and below it `name = "..."` and `url = "..."`'
                raise self.project.fault("an index must be a table with a `url`", path, hint=hint)
            if unknown := [key for key in item if key not in (*_OF_AN_INDEX, "cache-control", "exclude-newer")]:
                hint = did_you_mean(unknown[0], _OF_AN_INDEX) or "remove it"
                raise self.project.fault(
                    f"`{shown(unknown[0])}` is not a key of an index", (*path, unknown[0]), hint=hint
                )
            if not is_web(item["url"]):
                raise BadIndexUrl(item["url"]).at(*self.project.file.places(self.project.line((*path, "url")).line))
            found.append((item, path))
        return found

    def with_sources(
        self, contents: FileContents, entries: Iterable[Entry], groups: Sequence[str]
    ) -> tuple[FileContents, list[Entry]]:
        """The contents with what uv's settings add, and each entry from its source."""
        contents = self._with_settings(contents, groups)
        for item, path in self.indexes:
            line = self.project.line((*path, "url"))
            if item.get("format") == "flat":
                contents = contents._replace(find_links=(*contents.find_links, (item["url"], line)))
            elif item.get("default") is True:
                contents = contents._replace(default_index=contents.default_index or (item["url"], line))
            elif item.get("explicit") is not True:
                contents = contents._replace(indexes=(*contents.indexes, (item["url"], line)))
        found: list[Entry] = []
        notes = list(contents.notes)
        for entry in entries:
            name = self.sources.get(entry.requirement.name)
            found += (
                [entry]
                if name is None or entry.index_url or entry.requirement.url
                else self._sourced(entry, name, notes)
            )
        return contents._replace(notes=tuple(dict.fromkeys(notes))), found

    def _with_settings(self, contents: FileContents, groups: Sequence[str]) -> FileContents:
        project = self.project
        table = project.table("tool", "uv")
        for key, why in _REFUSED.items():
            if table.get(key):
                reason = f"`{key}` is not supported" + (f": {why}" if why else "")
                raise project.fault(
                    reason, ("tool", "uv", key), hint="remove it, or write the versions as dependencies"
                )
        notes = [
            (f"`{key}` of uv is not used: {why}", project.line(("tool", "uv", key)))
            for key, why in _USELESS.items()
            if table.get(key) not in (None, "highest", "first-index")
        ]
        constraints = [
            (project.requirement(text, path), project.line(path))
            for text, path in project.texts("tool", "uv", "constraint-dependencies")
        ]
        indexes = [self._url(text, path) for text, path in project.texts("tool", "uv", "extra-index-url")]
        links = [self._url(text, path) for text, path in project.texts("tool", "uv", "find-links")]
        default = project.text("tool", "uv", "index-url")
        flags = [
            *(["pre"] if table.get("prerelease") == "allow" else []),
            *(["no-index"] if table.get("no-index") is True else []),
        ]
        return contents._replace(
            notes=(*contents.notes, *notes),
            constraints=(*contents.constraints, *constraints),
            indexes=(*contents.indexes, *indexes),
            find_links=(*contents.find_links, *links),
            default_index=self._url(default, ("tool", "uv", "index-url")) if default else contents.default_index,
            pip_flags=(*contents.pip_flags, *flags),
            requires_python=(*contents.requires_python, *self._pythons(groups)),
        )

    def _url(self, text: str, path: Key) -> tuple[str, Any]:
        if not is_web(text):
            raise BadIndexUrl(text).at(*self.project.file.places(self.project.line(path).line))
        return text, self.project.line(path)

    def _pythons(self, groups: Sequence[str]) -> list[tuple[str, Any]]:
        """The Pythons that the settings of the groups ask for."""
        from envlock.config.tables import normalize_python

        found = []
        wanted = set(map(normalized, groups))
        for name in self.project.table("tool", "uv", "dependency-groups"):
            path = ("tool", "uv", "dependency-groups", name, "requires-python")
            if normalized(name) in wanted and (written := self.project.text(*path)):
                found.append((self.project.reading(path, partial(normalize_python, written)), self.project.line(path)))
        return found

    def _sourced(self, entry: Entry, name: str, notes: list[tuple[str, Any]]) -> list[Entry]:
        """The entry from each source of its package, and from the indexes where no source applies."""
        path = ("tool", "uv", "sources", name)
        written = self.project.get(*path)
        tables = self.project.items(*path) if isinstance(written, list) else [(written, path)]
        found: list[Entry] = []
        rest: list[str] = []
        for table, place in tables:
            marker = self._marker(table, place)
            if not self._applies(table, entry):
                continue
            found.append(self._from(table, place, entry.when(marker), notes))
            if not marker:
                return found
            rest.append(negated(marker))
            if not rest[-1]:
                hint = "compare with `==`, `<` or `>=`, so that envlock can say where no source applies"
                raise self.project.fault("this marker of a source is not supported", (*place, "marker"), hint=hint)
        return [*found, entry.when(all_hold(*rest))]

    def _applies(self, table: Mapping[str, Any], entry: Entry) -> bool:
        extra, group = table.get("extra"), table.get("group")
        return (not extra or normalized(extra) == entry.extra) and (not group or normalized(group) == entry.group)

    def _marker(self, table: Any, path: Key) -> str:
        kinds = [kind for kind in _KINDS if isinstance(table, dict) and kind in table]
        if len(kinds) != 1:
            right = listed((f"`{kind}`" for kind in _KINDS), "or")
            raise self.project.fault(f"a source must be a table with one of {right}", path, hint="correct it")
        known = (kinds[0], *_KINDS[kinds[0]], *_WHERE)
        for key, value in table.items():
            if key not in known:
                hint = did_you_mean(key, known) or "remove it"
                raise self.project.fault(f"`{shown(key)}` is not a key of this source", (*path, key), hint=hint)
            if type(value) is not (bool if key in {"workspace", "editable", "package", "lfs"} else str):
                raise self.project.fault(f"`{key}` has a value of the wrong type", (*path, key), hint="correct it")
        marker: str = table.get("marker", "")
        return self.project.reading((*path, "marker"), lambda: normalize_marker(marker)) if marker else ""

    def _from(self, table: Mapping[str, Any], path: Key, entry: Entry, notes: list[tuple[str, Any]]) -> Entry:
        """The entry, from one source."""
        if "index" in table:
            return entry.from_index(self._named_index(table["index"], path))
        name = entry.requirement.name
        if table.get("editable"):
            text = f"`{name}` is locked by its content: `editable` is not used"
            notes.append((text, self.project.line((*path, "editable"))))
        if "url" in table:
            fragment = f"#subdirectory={table['subdirectory']}" if "subdirectory" in table else ""
            return with_url(
                self.project, entry, path, lambda: (parse_requirement(f"{name} @ {table['url']}{fragment}"), None)
            )
        own = {key: table[key] for key in ("git", "rev", "tag", "branch", "subdirectory", "path") if key in table}
        if "workspace" in table:
            own = {"path": self._member(name, path)}
        return from_source(self.project, entry, path, own)

    def _named_index(self, name: str, path: Key) -> str:
        names = {item["name"]: item for item, _ in self.indexes if isinstance(item.get("name"), str)}
        if name not in names:
            hint = did_you_mean(name, list(names)) or f'add it: `[[tool.uv.index]]` with `name = "{shown(name)}"`'
            raise self.project.fault(f"`[[tool.uv.index]]` has no index `{shown(name)}`", (*path, "index"), hint=hint)
        url: str = names[name]["url"]
        return url

    def _member(self, name: str, path: Key) -> str:
        """The path of the member of the workspace with this name, relative to the file."""
        folder = self.project.file.path.parent
        root, table = self._workspace(folder)
        if root is None:
            hint = "name the folder: `{ path = ... }`"
            raise self.project.fault("no pyproject.toml of the project has `[tool.uv.workspace]`", path, hint=hint)
        names: dict[str, Path] = {}
        for member in [root, *_members(root, table)]:
            if (found := _name_of(member, self.project.file.project)) is not None:
                names.setdefault(normalized(found), member)
        if name not in names:
            hint = did_you_mean(name, list(names)) or f"members: {', '.join(names) or 'none'}"
            raise self.project.fault(f"the workspace has no member `{name}`", path, hint=hint)
        return os.path.relpath(names[name], folder)

    def _workspace(self, folder: Path) -> tuple[Path | None, Mapping[str, Any]]:
        """The root of the workspace that a folder is in, and its table."""
        outermost = self.project.file.project
        for each in (folder, *folder.parents):
            document = _document(each, outermost)
            tool = document.get("tool") if document else None
            uv = tool.get("uv") if isinstance(tool, dict) else None
            table = uv.get("workspace") if isinstance(uv, dict) else None
            if isinstance(table, dict):
                return each, table
            if each == outermost:
                break
        return None, {}


def _document(folder: Path, project: Path) -> Mapping[str, Any] | None:
    """The parsed pyproject.toml of a folder; None if there is none that can be read."""
    try:
        return toml_of(read_file(folder / "pyproject.toml", REQUIREMENTS_BYTES, within=project).decode())
    except (OSError, ValueError):
        return None


def _name_of(folder: Path, project: Path) -> str | None:
    document = _document(folder, project) or {}
    table = document.get("project")
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else None


def _members(root: Path, table: Mapping[str, Any]) -> list[Path]:
    """The folders of a workspace: those of `members`, without those of `exclude`."""
    found: list[Path] = []
    excluded = {path for pattern in _patterns(table, "exclude") for path in root.glob(pattern)}
    for pattern in _patterns(table, "members"):
        for number, path in enumerate(root.glob(pattern)):
            if number > _MOST_MEMBERS:
                break
            if path not in excluded and path not in found:
                found.append(path)
    return sorted(found)


def _patterns(table: Mapping[str, Any], key: str) -> list[str]:
    given = table.get(key)
    texts = given if isinstance(given, list) else []
    # A pattern of an absolute path, or an empty one, is none that pathlib takes.
    return [each.strip("/") for each in texts if isinstance(each, str) and each.strip("/") and "\0" not in each]


def from_source(project: ProjectFile, entry: Entry, path: Key, table: Mapping[str, str]) -> Entry:
    """The entry, from a git repository or a path that is relative to the file."""
    from envlock.config.local_sources import source_requirement

    folder, outermost = project.file.path.parent, project.file.project
    name = entry.requirement.name
    return with_url(project, entry, path, lambda: source_requirement(name, table, folder=folder, project=outermost))


def with_url(
    project: ProjectFile, entry: Entry, path: Key, read: Callable[[], tuple[Any, tuple[str, str] | None]]
) -> Entry:
    """The entry, with the URL of what `read` returns, whose errors get the line of the key."""
    source, local = project.reading(path, read)
    requirement = entry.requirement._replace(url=source.url, specifier="")
    return entry._replace(requirement=requirement, local=local)
