"""What Metaflow itself, and Netflix's extension of it, keep of the environments that they resolved.

`conda.manifest` (Metaflow): by the id of an environment and the platform, the URLs of its conda packages, and of its
PyPI packages on top. It has no hashes. `conda_v2.cnd` (metaflow-netflixext): by arch, `req_id` and `full_id`, the
packages with a URL each, and the MD5 of conda packages or the SHA-256 of wheels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from envlock.conda.lock_files import PlatformPart, PypiRow
from envlock.files import json_of
from envlock.interchange.conda_parts import environment
from envlock.interchange.errors import (
    ImportNeedsBuild,
    ImportUnclear,
    UnknownImportChoice,
    UnknownLockVersion,
)
from envlock.interchange.explicit import archive
from envlock.interchange.imported import Choice, Imported, parts_of
from envlock.lockfile.canonical_text import filename_of
from envlock.model.lock import LockedPackage
from envlock.model.url import strip_credentials

KIND, NETFLIX = "conda.manifest", "conda_v2.cnd"
CHOICES = frozenset({"environment"})
"""What of a Choice has a meaning for it."""
_IDS = re.compile(r"[0-9a-f]{40}")
_SHA256_DIGITS = 64
_SHOWN = 12
"""Digits of an id that messages show, and that are enough to choose an environment."""


def read(text: str, path: Path, choice: Choice) -> Imported:
    """One environment of a manifest: the chosen one, else the only one.

    Raises what `conda_parts.environment` raises, UnknownLockVersion, UnknownImportChoice, ImportUnclear, BrokenImport.
    """
    shown = path.name
    with parts_of(shown, KIND):
        document = json_of(text)
        if not isinstance(document, dict):
            raise TypeError("it is no JSON object")
        is_netflix = "environments" in document and "version" in document
        if is_netflix and document["version"] != 1:
            raise UnknownLockVersion(shown, NETFLIX, document["version"], "1")
        found = _of_netflix(document) if is_netflix else _of_metaflow(document)
        name = _chosen(shown, found, choice, document.get("aliases", {}) if is_netflix else {})
        kind = NETFLIX if is_netflix else KIND
        parts = {arch: _part(shown, packages) for arch, packages in found[name].items()}
    others = len(found) - 1
    notes = (f"imported its environment {name[:_SHOWN]}; it has {others} more",) if others else ()
    if kind == KIND:
        notes = (*notes, "it has no hashes: the files are those that the channels and indexes have now")
    return environment(kind, shown, parts, (), choice, has_conda_facts=False, notes=notes)


def _of_metaflow(document: Mapping[str, Any]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """The packages by id and platform. Metaflow resolves conda's part for this machine too: that has no PyPI part."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for name, platforms in document.items():
        has_wheels = [platform for platform, kinds in platforms.items() if kinds.get("pypi")]
        for platform, kinds in platforms.items():
            if not has_wheels or platform in has_wheels:
                found.setdefault(name, {})[platform] = [*kinds.get("conda", ()), *kinds.get("pypi", ())]
    return found


def _of_netflix(document: Mapping[str, Any]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """The packages by `req_id:full_id` and arch."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for arch, of_arch in document["environments"].items():
        for req_id, by_full_id in of_arch.items():
            for full_id, described in by_full_id.items():
                if full_id != "_default":
                    found.setdefault(f"{req_id}:{full_id}", {})[arch] = described["packages"]
    return found


def _chosen(shown: str, found: Mapping[str, Any], choice: Choice, aliases: Mapping[str, Any]) -> str:
    """The id of the environment to import, by an alias, by its ids, or by their first digits."""
    if not choice.environment:
        if len(found) != 1:
            raise ImportUnclear(shown, "environments", [name[:_SHOWN] for name in found], "--environment")
        return next(iter(found))
    alias = aliases.get(choice.environment.replace(":", "/"))
    wanted = ":".join(alias) if isinstance(alias, list) else choice.environment
    fitting = [name for name in found if name.startswith(wanted) or name.rpartition(":")[2].startswith(wanted)]
    if len(fitting) != 1:
        known = [*(name[:_SHOWN] for name in fitting or found), *(each for each in aliases if not _IDS.fullmatch(each))]
        raise UnknownImportChoice(shown, "environment", choice.environment, known)
    return fitting[0]


def _part(shown: str, packages: Sequence[Mapping[str, Any]]) -> PlatformPart:
    conda: list[LockedPackage] = []
    pypi: list[PypiRow] = []
    for package in packages:
        url = package["url"]
        filename = filename_of(strip_credentials(url.partition("#")[0]))
        if filename.endswith((".conda", ".tar.bz2")):
            digest = next(_hashes(package), "")
            hashed = f"#{'sha256:' if len(digest) == _SHA256_DIGITS else ''}{digest}" if digest else ""
            found = archive(url.partition("#")[0] + hashed)
            if found is None:
                raise ValueError(f"{strip_credentials(url)} is no conda archive")
            conda.append(found)
        elif package.get("require_build") or not filename.endswith(".whl"):
            raise ImportNeedsBuild(shown, [filename])
        else:
            name, version = filename.split("-")[:2]
            pypi.append(PypiRow(name, version, url, next(_hashes(package), ""), ()))
    return PlatformPart((), tuple(conda), tuple(pypi), ())


def _hashes(package: Mapping[str, Any]) -> Iterator[str]:
    """The hash of the package's own file, in the form that its URL has."""
    known = package.get("hashes") or {}
    wanted = package.get("url_format", "")
    for ending in (wanted, ".whl"):
        digest = known.get(ending)
        if isinstance(digest, str) and re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{64}", digest):
            yield digest.lower()
