"""What `[tool.uv]` of a pyproject.toml says of where packages come from: sources, workspaces and indexes.

A source holds for the requirements of its package, as far as its marker, its extra and its group go. An index with
`explicit` is used for no package that does not name it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from envlock.config.errors import BadIndexUrl
from envlock.config.project import LineOfFile
from envlock.config.requirement_files.contents import FileContents
from envlock.config.rules import pip_flag_of
from envlock.files import REQUIREMENTS_BYTES, is_of, read_file, toml_of
from envlock.model.marker import all_hold, negated
from envlock.model.requirement import PypiRequirement, normalize_marker, normalized, parse_requirement
from envlock.model.url import is_web
from envlock.redaction import shown
from envlock.revisions import matching
from envlock.words import did_you_mean, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
_OF_AN_INDEX = (
    *("name", "url", "explicit", "default", "format", "publish-url", "authenticate", "ignore-error-codes"),
    *("cache-control", "exclude-newer"),
)
_REFUSED = {
    "no-sources": ("a package comes from the source that the file names", "remove it, or the sources"),
}
"""Settings that an environment cannot follow: the reason, and what to write instead."""
_USELESS = {
    "exclude-newer": "write `exclude-newer` in `[envlock]`",
    "exclude-newer-package": "write `exclude-newer` in `[envlock]`",
    "resolution": "envlock takes the newest versions",
    "index-strategy": "envlock takes a package from the first index that has it",
    "dependency-metadata": "envlock reads the metadata of the packages",
    "build-constraint-dependencies": "envlock locks what a build needs",
    "no-build": "`build` in `[envlock]` says what is built",
    "no-build-package": "`build` in `[envlock]` says what is built",
}
"""Settings that envlock does not follow, and what holds in their place."""
_PRERELEASES = {"allow": "all-releases", "disallow": "only-final"}
_MOST_MEMBERS = 1000


class Uv:
    """The tables of uv in one pyproject.toml, and in the root of the workspace that it is a member of."""

    def __init__(self, project: ProjectFile) -> None:
        self.project = project
        self.root, self.workspace = _workspace_of(project)
        is_member = self.root is not None and project.file.path.parent in _members(self.root, self.workspace)
        self.owners = [project, _root_file(project, self.root)] if self.root is not None and is_member else [project]
        """The files whose tables count, that of the project itself first."""
        self.sources = {
            normalized(name): (owner, name)
            for owner in self.owners[::-1]
            for name in owner.table("tool", "uv", "sources")
        }
        self.indexes = [each for owner in self.owners for each in _indexes_of(owner)]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that were read."""
        return tuple(owner.file.path for owner in self.owners)

    def with_indexes(self, contents: FileContents, groups: Sequence[str]) -> FileContents:
        """The contents with the indexes of uv, and what its settings add. Raises BadPyproject, BadIndexUrl."""
        for owner in self.owners:
            contents = _with_settings(owner, contents)
        contents = self._with_overrides(contents)
        contents = contents._replace(requires_python=(*contents.requires_python, *self._pythons(groups)))
        for item, path, owner in self.indexes:
            line = owner.line((*path, "url"))
            if item.get("format") == "flat":
                contents = with_links(owner, contents, item["url"], (*path, "url"))
            elif item.get("default") is True:
                contents = contents._replace(default_index=contents.default_index or (item["url"], line))
            elif item.get("explicit") is not True:
                contents = contents._replace(indexes=(*contents.indexes, (item["url"], line)))
        return contents

    def _with_overrides(self, contents: FileContents) -> FileContents:
        """The contents with the overrides of uv, each from its source, and with what it leaves out."""
        from envlock.config.requirement_files.pyproject_toml import Entry

        notes: list[tuple[str, LineOfFile]] = []
        for owner in self.owners:
            written = owner.texts("tool", "uv", "override-dependencies")
            entries = self.sourced([Entry(owner.requirement(text, path), path) for text, path in written], notes)
            for each in entries:
                if each.index_url:
                    hint = "remove its source, or write the version in the dependencies"
                    raise owner.fault("an override cannot come from an index of its own", each.path, hint=hint)
            left_out = owner.texts("tool", "uv", "exclude-dependencies")
            entries += [Entry(leaving_out(owner, text, path), path) for text, path in left_out]
            contents = contents._replace(
                overrides=(*contents.overrides, *((each.requirement, owner.line(each.path)) for each in entries)),
                local=(*contents.local, *(each.local for each in entries if each.local)),
            )
        return contents._replace(notes=(*contents.notes, *notes))

    def sourced(self, entries: Iterable[Entry], notes: list[tuple[str, LineOfFile]]) -> list[Entry]:
        """The entries, each from its source. `notes` get what has no effect. Raises BadPyproject."""
        found: list[Entry] = []
        for entry in entries:
            name = entry.requirement.name
            has_own = entry.index_url or entry.requirement.url or name not in self.sources
            found += [entry] if has_own else self._sourced(*self.sources[name], entry, notes)
        return found

    def _pythons(self, groups: Sequence[str]) -> list[tuple[str, LineOfFile]]:
        """The Pythons that the settings of the groups ask for."""
        from envlock.config.tables import normalize_python

        found = []
        wanted = set(map(normalized, groups))
        for name in self.project.table("tool", "uv", "dependency-groups"):
            path = ("tool", "uv", "dependency-groups", name, "requires-python")
            if normalized(name) in wanted and (written := self.project.text(*path)):
                found.append((self.project.reading(path, partial(normalize_python, written)), self.project.line(path)))
        return found

    def _sourced(self, owner: ProjectFile, name: str, entry: Entry, notes: list[tuple[str, LineOfFile]]) -> list[Entry]:
        """The entry from each source of its package, and from the indexes where no source applies."""
        path = ("tool", "uv", "sources", name)
        written = owner.get(*path)
        tables = owner.items(*path) if isinstance(written, list) else [(written, path)]
        found: list[Entry] = []
        rest: list[str] = []
        for table, place in tables:
            marker = _marker(owner, table, place)
            if not _applies(table, entry):
                continue
            found.append(self._from(owner, table, place, entry.when(marker), notes))
            if not marker:
                return found
            rest.append(negated(marker))
            if not rest[-1]:
                hint = "compare with `==`, `<` or `>=`, so that envlock can say where no source applies"
                raise owner.fault("this marker of a source is not supported", (*place, "marker"), hint=hint)
        return [*found, entry.when(all_hold(*rest))]

    def _from(
        self, owner: ProjectFile, table: Mapping[str, Any], path: Key, entry: Entry, notes: list[tuple[str, LineOfFile]]
    ) -> Entry:
        """The entry, from one source."""
        if "index" in table:
            return entry.from_index(self._named_index(owner, table["index"], path))
        name = entry.requirement.name
        if table.get("editable"):
            notes.append(
                (f"`{name}` is locked by its content: `editable` is not used", owner.line((*path, "editable")))
            )
        if "url" in table:
            return from_url(owner, entry, path, table)
        own = {key: table[key] for key in ("git", "rev", "tag", "branch", "subdirectory", "path") if key in table}
        if "workspace" in table:
            own = {"path": self._member(owner, name, path)}
        return from_source(owner, entry, path, own)

    def _named_index(self, owner: ProjectFile, name: str, path: Key) -> str:
        urls: dict[str, str] = {}
        for item, _, _ in self.indexes:
            if isinstance(item.get("name"), str):
                urls.setdefault(item["name"], item["url"])
        if name not in urls:
            hint = did_you_mean(name, list(urls)) or f'add it: `[[tool.uv.index]]` with `name = "{shown(name)}"`'
            raise owner.fault(f"`[[tool.uv.index]]` has no index `{shown(name)}`", (*path, "index"), hint=hint)
        return urls[name]

    def _member(self, owner: ProjectFile, name: str, path: Key) -> str:
        """The path of the member of the workspace with this name, relative to the file."""
        if self.root is None:
            hint = "name the folder: `{ path = ... }`"
            raise owner.fault("no pyproject.toml of the project has `[tool.uv.workspace]`", path, hint=hint)
        names: dict[str, Path] = {}
        for member in [self.root, *_members(self.root, self.workspace)]:
            if (found := _name_of(member, owner.file.project)) is not None:
                names.setdefault(normalized(found), member)
        if name not in names:
            hint = did_you_mean(name, list(names)) or f"members: {', '.join(names) or 'none'}"
            raise owner.fault(f"the workspace has no member `{name}`", path, hint=hint)
        return os.path.relpath(names[name], owner.file.path.parent)


def _indexes_of(owner: ProjectFile) -> list[tuple[Mapping[str, Any], Key, ProjectFile]]:
    """The indexes of a file, each with its key. Raises BadPyproject, BadIndexUrl."""
    found: list[tuple[Mapping[str, Any], Key, ProjectFile]] = []
    for item, path in owner.items("tool", "uv", "index"):
        if not isinstance(item, dict) or not isinstance(item.get("url"), str):
            hint = 'write it as `[[tool.uv.index]]`, and below it `name = "..."` and `url = "..."`'
            raise owner.fault("an index must be a table with a `url`", path, hint=hint)
        if unknown := [key for key in item if key not in _OF_AN_INDEX]:
            hint = did_you_mean(unknown[0], _OF_AN_INDEX) or "remove it"
            raise owner.fault(f"`{shown(unknown[0])}` is not a key of an index", (*path, unknown[0]), hint=hint)
        if item.get("format") != "flat":
            index_at(owner, item["url"], (*path, "url"))
        found.append((item, path, owner))
    return found


def _with_settings(owner: ProjectFile, contents: FileContents) -> FileContents:
    """The contents with what the settings of a file add."""
    table = owner.table("tool", "uv")
    for key, (why, hint) in _REFUSED.items():
        if table.get(key):
            reason = f"`{key}` is not supported" + (f": {why}" if why else "")
            raise owner.fault(reason, ("tool", "uv", key), hint=hint)
    notes = [
        (f"`{key}` of uv is not used: {why}", owner.line(("tool", "uv", key)))
        for key, why in _USELESS.items()
        if table.get(key) not in (None, "highest", "first-index")
    ]
    constraints = [
        (owner.requirement(text, path), owner.line(path))
        for text, path in owner.texts("tool", "uv", "constraint-dependencies")
    ]
    indexes = [index_at(owner, text, path) for text, path in owner.texts("tool", "uv", "extra-index-url")]
    for text, path in owner.texts("tool", "uv", "find-links"):
        contents = with_links(owner, contents, text, path)
    default = owner.text("tool", "uv", "index-url")
    flags = ["no-index"] if table.get("no-index") is True else []
    flags += ["no-binary=:all:"] if table.get("no-binary") is True else []
    flags += [f"no-binary={owner.package(text, path)}" for text, path in owner.texts("tool", "uv", "no-binary-package")]
    for path, choice in _prereleases(owner):
        if choice in _PRERELEASES:
            package = owner.package(path[-1], path) if "prerelease-package" in path else ":all:"
            flags.append(pip_flag_of(f"{_PRERELEASES[choice]}={package}"))
        elif choice != "if-necessary-or-explicit":
            why = "a pre-release is taken where a package has no other, or a requirement names one"
            notes.append((f'`{path[2]} = "{shown(str(choice))}"` of uv is not used: {why}', owner.line(path)))
    return contents._replace(
        notes=(*contents.notes, *notes),
        constraints=(*contents.constraints, *constraints),
        indexes=(*contents.indexes, *indexes),
        default_index=contents.default_index
        or (index_at(owner, default, ("tool", "uv", "index-url")) if default else None),
        pip_flags=(*contents.pip_flags, *flags),
    )


def _prereleases(owner: ProjectFile) -> Iterator[tuple[Key, object]]:
    """What uv is to do with pre-releases, of all packages and of single ones, each with its key."""
    if (everywhere := owner.get("tool", "uv", "prerelease")) is not None:
        yield ("tool", "uv", "prerelease"), everywhere
    for name, choice in owner.table("tool", "uv", "prerelease-package").items():
        yield ("tool", "uv", "prerelease-package", name), choice


def leaving_out(owner: ProjectFile, text: str, path: Key) -> PypiRequirement:
    """The override that leaves a package out, because its marker is true nowhere. Raises BadPyproject."""
    return owner.requirement(f"{text} ; python_version < '0'", path)


def with_links(owner: ProjectFile, contents: FileContents, text: str, path: Key) -> FileContents:
    """The contents with a page of links, or a folder with wheels, that is written at a key.

    Raises BadIndexUrl, and BadPyproject for a folder that cannot be searched.
    """
    from envlock.config.local_sources import NotALinkFolder, link_folder

    if is_web(text) or (":" in text and not text.startswith("file:")):
        return contents._replace(find_links=(*contents.find_links, index_at(owner, text, path)))
    try:
        url, local = link_folder(text, folder=owner.file.path.parent, project=owner.file.project)
    except NotALinkFolder as error:
        raise owner.fault(error.reason, path, hint=error.hint) from None
    links = (*contents.find_links, (url, owner.line(path)))
    return contents._replace(find_links=links, local=(*contents.local, *local))


def index_at(owner: ProjectFile, text: str, path: Key) -> tuple[str, LineOfFile]:
    """The URL of an index that is written at a key, with its line. Raises BadIndexUrl."""
    if not is_web(text):
        raise BadIndexUrl(text).at(*owner.file.places(owner.line(path).line))
    return text, owner.line(path)


def _applies(table: Mapping[str, Any], entry: Entry) -> bool:
    extra, group = table.get("extra"), table.get("group")
    return (not extra or normalized(extra) == entry.extra) and (not group or normalized(group) == entry.group)


def _marker(owner: ProjectFile, table: Any, path: Key) -> str:
    """The marker of a source, whose table is checked. Raises BadPyproject."""
    kinds = [kind for kind in _KINDS if isinstance(table, dict) and kind in table]
    if len(kinds) != 1:
        right = listed((f"`{kind}`" for kind in _KINDS), "or")
        raise owner.fault(f"a source must be a table with one of {right}", path, hint="correct it")
    known = (kinds[0], *_KINDS[kinds[0]], *_WHERE)
    for key, value in table.items():
        if key not in known:
            hint = did_you_mean(key, known) or "remove it"
            raise owner.fault(f"`{shown(key)}` is not a key of this source", (*path, key), hint=hint)
        if type(value) is not (bool if key in {"workspace", "editable", "package", "lfs"} else str):
            raise owner.fault(f"`{key}` has a value of the wrong type", (*path, key), hint="correct it")
    marker: str = table.get("marker", "")
    return owner.reading((*path, "marker"), lambda: normalize_marker(marker)) if marker else ""


def _workspace_of(project: ProjectFile) -> tuple[Path | None, Mapping[str, Any]]:
    """The root of the workspace that a file is in, and its table: uv takes the nearest one above."""
    folder, outermost = project.file.path.parent, project.file.project
    for each in (folder, *folder.parents):
        if not is_of(each / "pyproject.toml", outermost):
            break
        document = _document(each, outermost)
        tool = document.get("tool") if document else None
        uv = tool.get("uv") if isinstance(tool, dict) else None
        table = uv.get("workspace") if isinstance(uv, dict) else None
        if isinstance(table, dict):
            return each, table
    return None, {}


def _root_file(project: ProjectFile, root: Path) -> ProjectFile:
    """The pyproject.toml of the root of a workspace. Raises BadPyproject."""
    file = project.file
    written = os.path.relpath(root / "pyproject.toml", file.path.parent)
    return type(project)(file._replace(included_by=()).include(written, 1))


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
    excluded = {path for pattern in _patterns(table, "exclude") for path in matching(root, pattern)}
    for pattern in _patterns(table, "members"):
        for number, path in enumerate(matching(root, pattern)):
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


def from_url(project: ProjectFile, entry: Entry, path: Key, table: Mapping[str, Any]) -> Entry:
    """The entry, from the `url` of a table."""
    fragment = f"#subdirectory={table['subdirectory']}" if "subdirectory" in table else ""
    text = f"{entry.requirement.name} @ {table['url']}{fragment}"
    return with_url(project, entry, path, lambda: (parse_requirement(text), None))


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
