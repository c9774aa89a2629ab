"""pdm.lock, version 4: files by name and SHA-256, with URLs where pdm was told so (`static_urls`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from envlock.interchange.errors import UnknownImportChoice, UnknownLockVersion
from envlock.interchange.imported import Choice, Imported, parts_of, toml_document
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
    sha256_in,
    wheel_named,
    wheel_of,
)
from envlock.lockfile.canonical_text import MARKERS
from envlock.model.arch import ARCHS, MARKER_VALUES, Arch
from envlock.model.lock import Source
from envlock.model.requirement import normalize_name, normalize_specifier
from envlock.resolve.python_releases import Edge

KIND = "pdm"
CHOICES = frozenset({"extras", "groups"})
"""What of a Choice has a meaning for it."""
DEFAULT = "default"


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The packages of the group `default`, and of the extras and groups of the choice, for one Python.

    Raises what `universal.imported` raises, UnknownLockVersion, UnknownImportChoice, BrokenImport.
    """
    shown = path.name
    document = toml_document(text, shown, KIND)
    with parts_of(shown, KIND):
        version = str(document["metadata"].get("lock_version"))
        if version.partition(".")[0] != "4":
            raise UnknownLockVersion(shown, KIND, version, "4")
        lock = _universal(document, shown, choice)
    return imported(lock, shown, choice)


def _universal(document: Mapping[str, Any], shown: str, choice: Choice) -> Universal:
    tables: list[Mapping[str, Any]] = document.get("package", [])
    metadata = document["metadata"]
    groups = {*metadata.get("groups", [DEFAULT])}
    for name in (*choice.extras, *choice.groups):
        if name not in groups:
            raise UnknownImportChoice(shown, "group", name, groups)
    wanted = {DEFAULT, *choice.extras, *choice.groups}
    candidates: dict[tuple[str, str], Candidate] = {}
    needs: dict[str, tuple[tuple[str, str], ...]] = {}
    markers: dict[tuple[str, str], list[str]] = {}
    for table in tables:  # a package with extras has a table of its own
        key = (normalize_name(table["name"]), table["version"])
        candidates.setdefault(key, _candidate(table))
        needs[key[0]] = (*needs.get(key[0], ()), *map(_needed, table.get("dependencies", ())))
        if wanted & {*table.get("groups", wanted)}:
            markers.setdefault(key, []).append(table.get("marker", ""))
    edges = tuple(Edge(*key, (), either(each)) for key, each in markers.items() if either(each) != NEVER)
    left = sorted(groups - wanted)
    targets = metadata.get("targets", [{}])
    ranges = {each.get("requires_python", "") for each in targets}
    return Universal(
        kind=KIND,
        requires_python=normalize_specifier(next(iter(ranges))) if len(ranges) == 1 else "",
        edges={ROOT: edges, **{(*key, ""): () for key in candidates}},
        candidates=candidates,
        needs=needs,
        environments=tuple(_environments(targets)),
        notes=(f"without the groups {', '.join(left)}: `--extra` and `--group` take them",) if left else (),
    )


def _environments(targets: Iterable[Mapping[str, Any]]) -> list[str]:
    """A marker for each arch of the targets; none where a target is for every machine."""
    found = []
    for target in targets:
        platform = str(target.get("platform", ""))
        if not platform:
            return []
        found += [MARKERS[arch] for arch in ARCHS if _is_of(platform, arch)]
    return found or [NEVER]


def _is_of(platform: str, arch: Arch) -> bool:
    """Whether a platform of pdm, such as `manylinux_2_28_x86_64`, `linux` or `macos_arm64`, is that of an arch."""
    values = MARKER_VALUES[arch]
    has_system = ("linux" if values["sys_platform"] == "linux" else "mac") in platform
    return has_system and (platform.endswith(values["platform_machine"]) or platform in {"linux", "macos"})


def _needed(text: str) -> tuple[str, str]:
    from packaging.requirements import Requirement

    found = Requirement(text)
    return normalize_name(found.name), str(found.marker or "")


def _candidate(table: Mapping[str, Any]) -> Candidate:
    built_from = next((kind for key, kind in (("git", "git"), ("path", "folder")) if key in table), "sdist")
    wheels = [_wheel(each, table.get("url", "")) for each in table.get("files", ())]
    return Candidate(
        name=normalize_name(table["name"]),
        version=table["version"],
        wheels=tuple(each for each in wheels if each is not None) if built_from == "sdist" else (),
        built_from=built_from,
        source=_source(table),
    )


def _source(table: Mapping[str, Any]) -> Source | None:
    if "path" in table:
        return Source("folder", path=table["path"])
    below = table.get("subdirectory", "")
    if "git" in table:
        return commit_of(table["git"], table.get("revision", ""), below)
    if "url" in table:
        return None
    files = [each for each in table.get("files", ()) if "file" in each]
    return sdist_named((each["file"], sha256_in(each.get("hash", ""))) for each in files)


def _wheel(table: Mapping[str, Any], place: str) -> Wheel | None:
    sha256, url = sha256_in(table.get("hash", "")), table.get("url", place)
    return wheel_of(url, sha256) if url else wheel_named(table["file"], sha256)
