"""poetry.lock, versions 2.0 and 2.1: files by name and SHA-256, without URLs. Version 2.0 knows no groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envlock.config.requirement_files.poetry_versions import specifier_of
from envlock.interchange.errors import UnknownImportChoice, UnknownLockVersion
from envlock.interchange.imported import Choice, Imported, parts_of, roots_among, toml_document
from envlock.interchange.universal import (
    NEVER,
    ROOT,
    Candidate,
    Universal,
    Wheel,
    commit_of,
    either,
    imported,
    sdist_named,
    sdist_of,
    sha256_in,
    wheel_named,
    wheel_of,
    with_extras,
)
from envlock.model.lock import Source
from envlock.model.requirement import normalize_name
from envlock.model.url import strip_credentials
from envlock.resolve.python_releases import Edge

KIND = "poetry"
CHOICES = frozenset({"extras", "groups"})
"""What of a Choice has a meaning for it."""
MAIN = "main"
VERSIONS = ("2.0", "2.1")
_BUILT = {"git": "git", "directory": "folder", "file": "file"}


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The packages of `main`, and of the extras and groups of the choice, for one Python.

    Raises what `universal.imported` raises, UnknownLockVersion, UnknownImportChoice, BrokenImport.
    """
    shown = path.name
    document = toml_document(text, shown, KIND)
    with parts_of(shown, KIND):
        version = str(document["metadata"].get("lock-version"))
        if version not in VERSIONS:
            raise UnknownLockVersion(shown, KIND, version, " or ".join(VERSIONS))
        lock = _universal(document, shown, choice)
    return imported(lock, shown, choice)


def _universal(document: Mapping[str, Any], shown: str, choice: Choice) -> Universal:
    tables: list[Mapping[str, Any]] = document.get("package", [])
    extras = {normalize_name(name): needed for name, needed in document.get("extras", {}).items()}
    groups = {group for table in tables for group in table.get("groups", ())}
    for what, chosen, known in (("extra", choice.extras, extras), ("group", choice.groups, groups)):
        for name in chosen:
            if normalize_name(name) not in {*map(normalize_name, known)}:
                raise UnknownImportChoice(shown, what, name, known)
    wanted = {MAIN, *choice.groups}
    edges: dict[tuple[str, str, str], tuple[Edge, ...]] = {}
    candidates = {(each.name, each.version): each for each in map(_candidate, tables)}
    needs: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, _ in candidates:
        needs[name] = ()
    for table in tables:
        name = normalize_name(table["name"])
        needs[name] += tuple((needed, marker) for needed, _, marker in _needed(table))
    notes: tuple[str, ...] = ()
    if groups:
        edges[ROOT] = tuple(edge for table in tables for edge in _of_groups(table, wanted, choice.extras))
        edges |= {(*key, ""): () for key in candidates}
        left = [*(f"extra `{each}`" for each in sorted({*extras} - {*choice.extras}))]
        left += [f"group `{each}`" for each in sorted(groups - wanted)]
        notes = (f"without {', '.join(left)}: `--extra` and `--group` take them",) if left else ()
    else:
        edges = _walked(tables, candidates, {normalize_name(each) for each in _of_extras(extras, choice)})
        notes = ("a poetry.lock of version 2.0 does not tell groups apart: those of all groups are imported",)
    return Universal(
        kind=KIND,
        requires_python=specifier_of(document["metadata"].get("python-versions", "*"), is_python=True),
        edges=edges,
        candidates=candidates,
        needs=needs,
        notes=notes,
    )


def _of_groups(table: Mapping[str, Any], wanted: Iterable[str], extras: Iterable[str]) -> list[Edge]:
    groups = [group for group in table.get("groups", ()) if group in wanted]
    markers = table.get("markers", "")
    if not groups:
        return []
    said = [markers] if isinstance(markers, str) else [markers.get(group, "") for group in groups]
    marker = either([with_extras(each, extras) for each in said])
    return [] if marker == NEVER else [Edge(normalize_name(table["name"]), table["version"], (), marker)]


def _of_extras(extras: Mapping[str, Iterable[str]], choice: Choice) -> list[str]:
    """The names in `[extras]` of what was chosen: `name`, or `name (>=1)`."""
    return [each.split()[0].partition("[")[0] for name in choice.extras for each in extras[normalize_name(name)]]


def _walked(
    tables: Iterable[Mapping[str, Any]], candidates: Mapping[tuple[str, str], Candidate], of_extras: Iterable[str]
) -> dict[tuple[str, str, str], tuple[Edge, ...]]:
    """The graph from what nothing needs, without the packages of extras that were not chosen."""
    tables = list(tables)
    versions: dict[str, list[str]] = {}
    for name, version in candidates:
        versions.setdefault(name, []).append(version)
    optional = {normalize_name(each["name"]) for each in tables if each.get("optional")} - {*of_extras}
    edges: dict[tuple[str, str, str], tuple[Edge, ...]] = {}
    for table in tables:
        found = [
            Edge(name, version, (), marker)
            for name, specifier, marker in _needed(table)
            for version in versions.get(name, ())
            if _allows(specifier, version)
        ]
        edges[normalize_name(table["name"]), table["version"], ""] = tuple(found)
    own = {name: [edge.name for version in versions[name] for edge in edges[name, version, ""]] for name in versions}
    roots = roots_among({name: needed for name, needed in own.items() if name not in optional})
    edges[ROOT] = tuple(
        Edge(name, version, (), "") for name in sorted({*roots, *of_extras} & {*versions}) for version in versions[name]
    )
    return edges


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return specifier in {"", "*"} or SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def _needed(table: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What a package needs without extras: name, version and marker. Those of an extra are among them, if locked."""
    found = []
    for name, value in table.get("dependencies", {}).items():
        for each in value if isinstance(value, list) else [value]:
            parts = {"version": each} if isinstance(each, str) else each
            if not parts.get("optional"):
                found.append((normalize_name(name), parts.get("version", "*"), parts.get("markers", "")))
    return found


def _candidate(table: Mapping[str, Any]) -> Candidate:
    source = table.get("source", {})
    kind = source.get("type", "legacy")
    files = [_file(each, source) for each in table.get("files", ())]
    wheels = [each for each in files if each is not None]
    return Candidate(
        name=normalize_name(table["name"]),
        version=table["version"],
        wheels=tuple(wheels) if kind in {"legacy", "url"} else (),
        from_index=strip_credentials(f"{source['url'].rstrip('/')}/") if kind == "legacy" and "url" in source else "",
        built_from=_BUILT.get(kind, "sdist"),
        source=_source(table, source),
    )


def _source(table: Mapping[str, Any], source: Mapping[str, Any]) -> Source | None:
    """What a package is built from: a commit, a path, an archive of the web, or an sdist whose URL is not there."""
    if source.get("type") in {"directory", "file"}:
        return Source("folder", path=source["url"])
    if source.get("type") == "git":
        return commit_of(source["url"], source["resolved_reference"], source.get("subdirectory", ""))
    if source.get("type") == "url":
        digests = [sha256_in(each["hash"]) for each in table.get("files", ())]
        return sdist_of(source["url"], digests[0] if digests else "", source.get("subdirectory", ""))
    return sdist_named((each["file"], sha256_in(each["hash"])) for each in table.get("files", ()))


def _file(table: Mapping[str, Any], source: Mapping[str, Any]) -> Wheel | None:
    sha256 = sha256_in(table["hash"])
    return wheel_of(source["url"], sha256) if source.get("type") == "url" else wheel_named(table["file"], sha256)
