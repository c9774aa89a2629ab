"""What `[tool.poetry]` of a pyproject.toml says: dependencies, groups, extras and sources, with Poetry's meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

from envlock.config.errors import BadIndexUrl
from envlock.config.project import LineOfFile
from envlock.config.requirement_files.contents import FileContents
from envlock.config.requirement_files.poetry_versions import marker_of, specifier_of
from envlock.config.requirement_files.pyproject_toml import Entry
from envlock.config.requirement_files.uv_tables import from_source, from_url
from envlock.errors import ConfigError
from envlock.model.marker import all_hold
from envlock.model.requirement import (
    PypiRequirement,
    contradict,
    normalize_marker,
    normalize_name,
    normalize_specifier,
    normalized,
)
from envlock.model.url import is_web
from envlock.redaction import shown
from envlock.words import did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.config.requirement_files.pyproject_toml import ProjectFile
    from envlock.config.toml_scan import Key

_TEXTS = (
    "version",
    "markers",
    "python",
    "platform",
    "source",
    "git",
    "branch",
    "tag",
    "rev",
    "path",
    "file",
    "url",
    "subdirectory",
)
_BOOLEANS = ("optional", "develop", "allow-prereleases", "allows-prereleases")
_KEYS = (*_TEXTS, "extras", *_BOOLEANS)
_PRIORITIES = ("primary", "default", "secondary", "supplemental", "explicit")
_PLATFORM = re.compile(r"(==|!=)?\s*([A-Za-z0-9_]+)")
_MAIN: Key = ("tool", "poetry", "dependencies")


class Poetry:
    """The tables of Poetry in one pyproject.toml."""

    def __init__(self, project: ProjectFile) -> None:
        self.project = project
        self.notes: list[tuple[str, LineOfFile]] = []
        self.sources = self._sources()

    @property
    def has_main(self) -> bool:
        """Whether it has a table of dependencies."""
        return self.project.get(*_MAIN) is not None

    def main(self) -> list[Entry]:
        """The dependencies that are not optional."""
        return [entry for entry, is_optional in self._all(_MAIN) if not is_optional]

    def entries(self, path: Key) -> list[Entry]:
        """All dependencies of a table."""
        return [entry for entry, _ in self._all(path)]

    def from_places(self, extras: Sequence[str]) -> list[Entry]:
        """The dependencies that come from a folder, a repository or a URL, those of some extras among them."""
        listed = {
            normalized(re.split(r"[\[ ;<>=]", text)[0])
            for name in self.extras()
            if normalized(name) in extras
            for text, _ in self.project.texts("tool", "poetry", "extras", name)
        }
        found: list[Entry] = []
        for name, value in self.project.table(*_MAIN).items():
            items = self.project.items(*_MAIN, name) if isinstance(value, list) else [(value, (*_MAIN, name))]
            for item, path in items:
                if isinstance(item, dict) and item.keys() & {"path", "file", "git", "url"}:
                    entry, is_optional = self._dependency(name, item, path)
                    found += [entry] if not is_optional or entry.requirement.name in listed else []
        return found

    def extras(self) -> list[str]:
        """The names of the extras."""
        return list(self.project.table("tool", "poetry", "extras"))

    def of_extra(self, name: str) -> list[Entry]:
        """The dependencies that an extra adds. Raises BadPyproject where one of them is not listed."""
        found: list[Entry] = []
        listed = self._all(_MAIN)
        for text, path in self.project.texts("tool", "poetry", "extras", name):
            wanted = self.project.reading(path, partial(normalize_name, re.split(r"[\[ ;<>=]", text)[0]))
            same = [(entry, is_optional) for entry, is_optional in listed if entry.requirement.name == wanted]
            if not same:
                hint = did_you_mean(wanted, [entry.requirement.name for entry, _ in listed])
                reason = f"`[tool.poetry.dependencies]` has no `{shown(text)}`"
                raise self.project.fault(reason, path, hint=hint or "add it there, with `optional = true`")
            found += [entry._replace(extra=normalized(name)) for entry, is_optional in same if is_optional]
        return found

    def groups(self) -> dict[str, Key]:
        """The tables of the groups, by name."""
        found: dict[str, Key] = {}
        if self.project.get("tool", "poetry", "dev-dependencies") is not None:
            found["dev"] = ("tool", "poetry", "dev-dependencies")
        for name in self.project.table("tool", "poetry", "group"):
            found[name] = ("tool", "poetry", "group", name)
        return found

    def requires_python(self) -> list[tuple[str, LineOfFile]]:
        """The range of Pythons."""
        path = (*_MAIN, "python")
        written = self.project.get(*path)
        if written is None:
            return []
        if not isinstance(written, str):
            raise self.project.fault("`python` must be a text", path, hint='write it as `python = "^3.11"`')
        found = self.project.reading(path, lambda: specifier_of(written, is_python=True))
        return [(found, self.project.line(path))]

    def enriched(self, entries: Sequence[Entry], path: Key) -> list[Entry]:
        """Entries of `[project]`, with the sources and markers that Poetry's table has for the same packages."""
        by_name: dict[str, list[Entry]] = {}
        for entry in self.entries(path):
            by_name.setdefault(entry.requirement.name, []).append(entry)
        found: list[Entry] = []
        for entry in entries:
            more = by_name.get(entry.requirement.name, [])
            found += [self._joined(entry, each) for each in more] or [entry]
        return found

    def _joined(self, entry: Entry, more: Entry) -> Entry:
        one, other = entry.requirement, more.requirement
        if contradict(one._replace(marker=""), other._replace(marker="", extras=one.extras)) and not (
            other.url and not one.url
        ):
            hint = "make both say the same"
            raise self.project.fault(
                f"`{one}` of `[project]` and `{other}` contradict each other", more.path, hint=hint
            )
        url = one.url or other.url
        specifier = "" if url else normalize_specifier(",".join(filter(None, (one.specifier, other.specifier))))
        made = one._replace(
            specifier=specifier,
            url=url,
            marker=all_hold(one.marker, other.marker),
            extras=tuple(sorted({*one.extras, *other.extras})),
            from_index=other.from_index,
        )
        return entry._replace(
            requirement=made,
            index_url=more.index_url,
            local=entry.local or more.local,
            takes_pre_releases=more.takes_pre_releases,
        )

    def with_sources(self, contents: FileContents) -> FileContents:
        """The contents, with the sources that every package may come from.

        As soon as there is a primary source, Poetry searches PyPI only where that is a source too.
        """
        primary = [
            (name, url, path)
            for name, (url, priority, path) in self.sources.items()
            if priority in {"primary", "default"}
        ]
        urls = [(url, self.project.line((*path, "url"))) for _, url, path in primary if url]
        has_public = len(urls) < len(primary)
        for name, (url, priority, path) in self.sources.items():
            if priority in {"supplemental", "secondary"} and url:
                if urls and not has_public:
                    urls.append((url, self.project.line((*path, "url"))))
                    continue
                text = f"the source `{shown(name)}` is searched only for packages that name it"
                self.notes.append((text, self.project.line(path)))
        if urls and not has_public:
            *others, default = urls
            contents = contents._replace(default_index=contents.default_index or default)
            urls = others
        return contents._replace(
            indexes=(*contents.indexes, *urls), notes=(*contents.notes, *dict.fromkeys(self.notes))
        )

    def _sources(self) -> dict[str, tuple[str, str, Key]]:
        """The sources by name: the URL, empty for PyPI, the priority, and the key."""
        found: dict[str, tuple[str, str, Key]] = {}
        for item, path in self.project.items("tool", "poetry", "source"):
            if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                raise self.project.fault("a source must be a table with a `name`", path, hint='add `name = "..."`')
            name, url = item["name"], item.get("url", "")
            is_public = name.lower() == "pypi"
            older = (
                "default"
                if item.get("default") is True
                else "secondary"
                if item.get("secondary") is True
                else "primary"
            )
            priority = str(item.get("priority", older)).lower()
            if priority not in _PRIORITIES:
                hint = did_you_mean(priority, _PRIORITIES) or f"use one of {', '.join(_PRIORITIES)}"
                raise self.project.fault("this is not a priority that Poetry knows", (*path, "priority"), hint=hint)
            if not is_public and not (isinstance(url, str) and is_web(url)):
                raise BadIndexUrl(str(url)).at(*self.project.file.places(self.project.line((*path, "url")).line))
            found[name.lower()] = ("" if is_public else url, priority, path)
        return found

    def _all(self, path: Key) -> list[tuple[Entry, bool]]:
        """The dependencies of a table, each with whether it is optional."""
        found = []
        for name, value in self.project.table(*path).items():
            if name.lower() == "python":
                continue
            items = self.project.items(*path, name) if isinstance(value, list) else [(value, (*path, name))]
            found += [self._dependency(name, item, at) for item, at in items]
        return found

    def _dependency(self, name: str, value: Any, path: Key) -> tuple[Entry, bool]:
        table = {"version": value} if isinstance(value, str) else value
        self._check(table, path)
        read = self.project.reading
        own = read(path, lambda: normalize_name(name))
        version = read((*path, "version"), lambda: specifier_of(table.get("version", "*")))
        extras = read((*path, "extras"), lambda: tuple(sorted(map(normalize_name, table.get("extras", ())))))
        takes_pre_releases = bool(table.get("allow-prereleases") or table.get("allows-prereleases"))
        entry = Entry(
            PypiRequirement(own, extras, version, self._marker(table, path)),
            path,
            takes_pre_releases=takes_pre_releases,
        )
        return self._from(table, path, entry), table.get("optional") is True

    def _check(self, table: Any, path: Key) -> None:
        if not isinstance(table, dict):
            hint = 'write it as `name = "^1.2"`'
            raise self.project.fault("a dependency must be a version or a table", path, hint=hint)
        for key, value in table.items():
            if key not in _KEYS:
                hint = did_you_mean(key, _KEYS) or "remove it"
                raise self.project.fault(f"`{shown(key)}` is not a key of a dependency", (*path, key), hint=hint)
            is_right = (
                isinstance(value, list) and all(isinstance(each, str) for each in value)
                if key == "extras"
                else type(value) is (bool if key in _BOOLEANS else str)
            )
            if not is_right:
                raise self.project.fault(f"`{key}` has a value of the wrong type", (*path, key), hint="correct it")

    def _marker(self, table: Mapping[str, Any], path: Key) -> str:
        read = self.project.reading
        markers: str = table.get("markers", "")
        return all_hold(
            read((*path, "markers"), lambda: normalize_marker(markers)) if markers.strip() else "",
            read((*path, "python"), lambda: marker_of(table.get("python", "*"))),
            self._platform(table.get("platform", "*"), (*path, "platform")),
        )

    def _platform(self, text: str, path: Key) -> str:
        if text.strip() == "*":
            return ""
        ways = []
        for way in re.split(r"\s*\|\|?\s*", text.strip()):
            terms = [_PLATFORM.fullmatch(term.strip()) for term in way.split(",")]
            if not all(terms):
                hint = 'write it as `platform = "linux"`'
                raise self.project.fault("this is not a platform", path, hint=hint)
            ways.append(" and ".join(f"sys_platform {term[1] or '=='} '{term[2]}'" for term in terms if term))
        return " or ".join(ways)

    def _from(self, table: Mapping[str, Any], path: Key, entry: Entry) -> Entry:
        name = entry.requirement.name
        if "source" in table:
            entry = self._of_source(table["source"], path, entry)
        if table.get("develop") is True:
            text = f"`{name}` is locked by its content: `develop` is not used"
            self.notes.append((text, self.project.line((*path, "develop"))))
        if "url" in table:
            return from_url(self.project, entry, path, table)
        own = {key: table[key] for key in ("git", "rev", "tag", "branch", "subdirectory", "path") if key in table}
        if "file" in table:
            own["path"] = table["file"]
        return from_source(self.project, entry, path, own) if own.keys() & {"git", "path"} else entry

    def _of_source(self, name: str, path: Key, entry: Entry) -> Entry:
        if name.lower() in self.sources:
            url = self.sources[name.lower()][0]
            if url:
                return entry.from_index(url)
        elif name.lower() != "pypi":
            hint = (
                did_you_mean(name, list(self.sources))
                or f'add it: `[[tool.poetry.source]]` with `name = "{shown(name)}"`'
            )
            raise self._no_source(name, path, hint)
        if any(url for url, priority, _ in self.sources.values() if priority in {"primary", "default"}):
            hint = 'give the other sources `priority = "explicit"`, and name them where they are needed'
            reason = f"`{entry.requirement.name}` cannot come from PyPI alone, beside another primary source"
            raise self.project.fault(reason, (*path, "source"), hint=hint)
        return entry

    def _no_source(self, name: str, path: Key, hint: str) -> ConfigError:
        return self.project.fault(
            f"`[[tool.poetry.source]]` has no source `{shown(name)}`", (*path, "source"), hint=hint
        )
