"""uv.lock: a graph with markers for all archs and Pythons, with the URL and the SHA-256 of every wheel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from envlock.config.local_sources import repository_url
from envlock.interchange.errors import ImportUnclear, UnknownImportChoice, UnknownLockVersion
from envlock.interchange.imported import Choice, Imported, parts_of, toml_document
from envlock.interchange.universal import (
    NEVER,
    ROOT,
    Candidate,
    Universal,
    Wheel,
    commit_of,
    imported,
    sdist_of,
    sha256_in,
    wheel_of,
    with_extras,
)
from envlock.lockfile.document import format_upload_time
from envlock.model.lock import Source
from envlock.model.requirement import PypiRequirement, normalize_name, parse_requirement
from envlock.model.url import is_web, strip_credentials
from envlock.resolve.python_releases import Edge

KIND = "uv"
CHOICES = frozenset({"package", "extras", "groups"})
"""What of a Choice has a meaning for it."""
_PLACES = {"virtual": "folder", "editable": "folder", "directory": "folder", "git": "git", "path": "file"}


def read(text: str, path: Path, choice: Choice) -> Imported:
    """One project of a uv.lock, with the extras and groups of the choice, for one Python.

    Raises what `universal.imported` raises, UnknownLockVersion, UnknownImportChoice, ImportUnclear, BrokenImport.
    """
    shown = path.name
    document = toml_document(text, shown, KIND)
    if document.get("version") != 1:
        raise UnknownLockVersion(shown, KIND, document.get("version"), "1")
    with parts_of(shown, KIND):
        lock = _universal(document, shown, choice)
    return imported(lock, shown, choice)


def _universal(document: Mapping[str, Any], shown: str, choice: Choice) -> Universal:
    tables: list[Mapping[str, Any]] = document.get("package", [])
    versions: dict[str, list[str]] = {}
    for table in tables:
        versions.setdefault(table["name"], []).append(table.get("version", ""))
    edges: dict[tuple[str, str, str], tuple[Edge, ...]] = {}
    active = _active(shown, document, tables, choice)
    for table in tables:
        key = (table["name"], table.get("version", ""))
        edges[(*key, "")] = _edges(table.get("dependencies", ()), versions, active.names)
        for extra, needed in table.get("optional-dependencies", {}).items():
            edges[(*key, extra)] = _edges(needed, versions, active.names)
    edges[ROOT] = _edges(active.dependencies, versions, active.names)
    candidates = {(table["name"], table.get("version", "")): _candidate(table) for table in tables}
    return Universal(
        kind=KIND,
        requires_python=",".join(sorted(document.get("requires-python", "").replace(" ", "").split(","))),
        edges=edges,
        candidates=candidates,
        environments=tuple(document.get("supported-markers", ())),
        roots=tuple(dict.fromkeys(map(_requirement, active.requirements))),
        overrides=_overrides(document.get("manifest", {})),
        notes=active.notes,
        itself=active.name,
    )


class _Active:
    """The project that is imported: what it needs with the extras and groups that were chosen."""

    def __init__(self, project: Mapping[str, Any], manifest: Mapping[str, Any], shown: str, choice: Choice) -> None:
        self.extras = tuple(map(normalize_name, choice.extras))
        groups = tuple(map(normalize_name, choice.groups))
        metadata = project.get("metadata", {})
        of_extras = project.get("optional-dependencies", {})
        of_groups = project.get("dev-dependencies", {})
        stated = metadata.get("requires-dev", manifest.get("dependency-groups", {}))
        known = {*of_extras, *metadata.get("provides-extras", ())}
        name = self.name = project.get("name", "")
        for extra in self.extras:
            if extra not in known:
                raise UnknownImportChoice(shown, "extra", extra, known)
        for group in groups:
            if group not in {*of_groups, *stated}:
                raise UnknownImportChoice(shown, "group", group, {*of_groups, *stated})
        self.dependencies = [*project.get("dependencies", ())]
        published = metadata.get("requires-dist", manifest.get("requirements", ()))
        self.requirements = _own_extras(published, self.extras, published, name)
        for extra in self.extras:
            self.dependencies += of_extras.get(extra, ())
        for group in groups:
            self.dependencies += of_groups.get(group, stated.get(group, ()) if not project else ())
            self.requirements += _own_extras(stated.get(group, ()), (), published, name)
        if not project:
            self.dependencies += manifest.get("requirements", ())
        # How uv writes a choice of extras and groups that exclude each other into markers.
        self.names = {f"extra-{len(name)}-{name}-{extra}" for extra in self.extras}
        self.names |= {f"group-{len(name)}-{name}-{group}" for group in groups}
        had = {
            *self.extras,
            *(extra for each in self.dependencies if each["name"] == name for extra in each.get("extra", ())),
        }
        had |= {extra for extra, needed in of_extras.items() if all(each in self.dependencies for each in needed)}
        has = {
            *groups,
            *(each for each, needed in of_groups.items() if all(one in self.dependencies for one in needed)),
        }
        left = [
            *(f"extra `{extra}`" for extra in sorted(known - had)),
            *(f"group `{group}`" for group in sorted({*of_groups, *stated} - has)),
        ]
        self.notes = (f"without {', '.join(left)}: `--extra` and `--group` take them",) if left else ()


def _own_extras(
    tables: Iterable[Mapping[str, Any]],
    extras: Iterable[str],
    published: Iterable[Mapping[str, Any]],
    itself: str,
    seen: tuple[str, ...] = (),
) -> list[Mapping[str, Any]]:
    """The requirements that hold with these extras, with those of an extra in place of the project itself: `demo[gpu]`.

    `published` are all that the project states, where an extra is a comparison in a marker.
    """
    found: list[Mapping[str, Any]] = []
    for table in tables:
        marker = with_extras(table.get("marker", ""), extras)
        if marker == NEVER:
            continue
        if not itself or table["name"] != itself:
            found.append({**table, "marker": marker})
            continue
        for extra in table.get("extras", ()):
            if extra not in seen:
                of_extra = [each for each in published if with_extras(each.get("marker", ""), ()) == NEVER]
                inner = _own_extras(of_extra, (extra,), published, itself, (*seen, extra))
                found += [{**each, "marker": _both(marker, each["marker"])} for each in inner]
    return found


def _both(one: str, other: str) -> str:
    return f"({one}) and ({other})" if one and other else one or other


def _active(shown: str, document: Mapping[str, Any], tables: Iterable[Mapping[str, Any]], choice: Choice) -> _Active:
    """The chosen project of a workspace: the one at its root, if none is named, or the only one; none for a script."""
    here = {
        table["name"]: table
        for table in tables
        if _PLACES.get(next(iter(table["source"]), "")) == "folder"
        and table["name"] in document.get("manifest", {}).get("members", [table["name"]])
    }
    manifest = document.get("manifest", {})
    if choice.package:
        name = normalize_name(choice.package)
        if name not in here:
            raise UnknownImportChoice(shown, "project", choice.package, here)
        return _Active(here[name], manifest, shown, choice)
    root = next((table for table in here.values() if "." in table["source"].values()), None)
    if root is None and len(here) > 1:
        raise ImportUnclear(shown, "projects", sorted(here), "--package")
    return _Active(root or next(iter(here.values()), {}), manifest, shown, choice)


def _edges(
    tables: Iterable[Mapping[str, Any]], versions: Mapping[str, list[str]], names: Iterable[str]
) -> tuple[Edge, ...]:
    found = []
    for table in tables:
        name = table["name"]
        extras = tuple(table.get("extra", table.get("extras", ())))
        marker = with_extras(table.get("marker", ""), names)
        found.append(Edge(name, table.get("version", versions[name][0]), extras, marker))
    return tuple(found)


def _candidate(table: Mapping[str, Any]) -> Candidate:
    ((kind, place), *_) = table["source"].items()
    wheels = [_wheel(wheel, place if kind == "url" else "") for wheel in table.get("wheels", ())]
    source: Source | None = None
    if kind == "git":
        url, chosen, commit = _repository(place)
        source = commit_of(url, commit, chosen.get("subdirectory", ""))
    elif kind in {"editable", "directory", "path"}:
        source = Source("folder", path=place)  # whatever lies there: its content is not known yet
    elif kind in {"registry", "url"} and "sdist" in table:
        digest = sha256_in(table["sdist"].get("hash", ""))
        url = place if kind == "url" else table["sdist"].get("url", "")
        source = sdist_of(url, digest, table["source"].get("subdirectory", ""))
    return Candidate(
        name=table["name"],
        version=table.get("version", ""),
        wheels=tuple(wheel for wheel in wheels if wheel is not None) if kind in {"registry", "url"} else (),
        from_index=strip_credentials(place) if kind == "registry" and is_web(place) else "",
        built_from=_PLACES.get(kind, "sdist"),
        source=source,
    )


def _repository(text: str) -> tuple[str, dict[str, str], str]:
    """The URL of a repository as uv writes it, what its query says (`rev`, `subdirectory`), and the commit."""
    place, _, commit = text.partition("#")
    url, _, query = place.partition("?")
    return url, dict(parse_qsl(query)), commit


def _wheel(table: Mapping[str, Any], place: str) -> Wheel | None:
    uploaded = table.get("upload-time")
    return wheel_of(
        table.get("url") or place,
        sha256_in(table.get("hash", "")),
        table.get("size"),
        _instant(uploaded) if uploaded else "",
    )


def _instant(uploaded: str) -> str:
    from datetime import datetime, timezone

    return format_upload_time(datetime.fromisoformat(uploaded.replace("Z", "+00:00")).astimezone(timezone.utc))


def _overrides(manifest: Mapping[str, Any]) -> tuple[PypiRequirement, ...]:
    """What the lock was solved with in place of requirements; what is excluded has a marker that is never true."""
    left_out = [each["name"] if isinstance(each, dict) else each for each in manifest.get("excludes", ())]
    found = [_requirement(each) for each in manifest.get("overrides", ())]
    return (*found, *(parse_requirement(f"{name} ; python_version < '0'") for name in left_out))


def _requirement(table: Mapping[str, Any]) -> PypiRequirement:
    """A requirement as the project states it."""
    wanted = f"[{','.join(table['extras'])}]" if table.get("extras") else ""
    marker = table.get("marker", "")
    body = f"{table['name']}{wanted}" + table.get("specifier", "")
    if "url" in table:
        below = f"#subdirectory={table['subdirectory']}" if table.get("subdirectory") else ""
        body = f"{table['name']}{wanted} @ {table['url']}{below}"
    elif "git" in table:
        url, chosen, _ = _repository(table["git"])
        known = {key: value for key, value in chosen.items() if key in {"rev", "tag", "branch", "subdirectory"}}
        body = f"{table['name']}{wanted} @ {repository_url(table['name'], {'git': url, **known})}"
    index = table.get("index", "")
    found = parse_requirement(f"{body} ; {marker}" if marker else body)
    return found._replace(from_index=strip_credentials(index) if is_web(index) else "")
