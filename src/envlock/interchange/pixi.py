"""pixi.lock: versions 4 to 7 are read; 6 is written, with one environment, `default`."""

from __future__ import annotations

import re

from envlock.interchange.errors import ImportUnclear, UnknownImportChoice, UnknownLockVersion
from envlock.interchange.exported import Export, Given, build_notes, channels_of, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from envlock.interchange.imported import Choice, Imported
    from envlock.lockfile.rows import PackageRow

KIND = "pixi"
CHOICES = frozenset({"environment"})
"""What of a Choice has a meaning for it."""
VERSIONS = range(4, 8)
_VERSION = r"^version: *(\S+) *$"
_DEFAULT = "default"

_NOTE = "pixi reads it beside a pixi.toml with the same channels and platforms"


def write(given: Given) -> Export:
    """The packages of all archs: each is described once, and named by every arch that has it."""
    lines = ["version: 6", "environments:", "  default:", "    channels:"]
    lines += [f"    - url: {scalar(f'{url}/')}" for url in channels_of(given)]
    indexes = dict.fromkeys(each.from_index for lock in given.locks for each in given.packages(lock) if each.from_index)
    if indexes:
        lines += ["    indexes:", *(f"    - {scalar(index)}" for index in indexes)]
    lines.append("    packages:")
    described: dict[str, PackageRow] = {}
    for lock in given.locks:
        lines.append(f"      {lock.arch}:")
        for each in given.files(lock):
            described[each.url] = each
            lines.append(f"      - {'conda' if each.conda else 'pypi'}: {scalar(each.url)}")
    lines.append("packages:")
    for each in sorted(described.values(), key=lambda each: (each.kind, each.name, each.url)):
        lines += _conda(each) if each.conda else _pypi(each)
    return Export(given.header() + "\n".join(lines) + "\n", (*build_notes(given), _NOTE))


def _conda(package: PackageRow) -> Iterator[str]:
    facts = package.conda
    assert facts is not None
    yield f"- conda: {scalar(package.url)}"
    if "%" in package.url:  # else they are read from the URL
        yield f"  name: {scalar(package.name)}"
        yield f"  version: {scalar(package.version)}"
        yield f"  build: {scalar(package.build)}"
        yield f"  subdir: {facts.subdir}"
    yield f"  build_number: {facts.build_number}"
    if facts.noarch:
        yield f"  noarch: {facts.noarch}"
    yield f"  sha256: {scalar(package.sha256)}"
    if facts.md5:
        yield f"  md5: {scalar(facts.md5)}"
    yield from _listed("depends", facts.depends)
    yield from _listed("constrains", facts.constrains)
    if not package.url.startswith(f"{facts.channel}/"):
        yield f"  channel: {scalar(facts.channel)}"
    if facts.license:
        yield f"  license: {scalar(facts.license)}"
    purls = [f"pkg:pypi/{name}@{version}" for name, version in facts.provides]
    yield from _listed("purls", purls)
    if package.size is not None:
        yield f"  size: {package.size}"
    if package.upload_time:
        yield f"  timestamp: {_milliseconds(package.upload_time)}"
    if facts.site_packages:
        yield f"  python_site_packages_path: {scalar(facts.site_packages)}"


def _pypi(package: PackageRow) -> Iterator[str]:
    yield f"- pypi: {scalar(package.url)}"
    yield f"  name: {scalar(package.name)}"
    yield f"  version: {scalar(package.version)}"
    yield f"  sha256: {scalar(package.sha256)}"
    yield from _listed("requires_dist", package.dependencies)


def _listed(key: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield f"  {key}:"
        yield from (f"  - {scalar(text)}" for text in texts)


def _milliseconds(moment: str) -> int:
    """An instant (RFC 3339, UTC) in milliseconds since 1970.

    >>> _milliseconds("1970-01-02T00:00:01.005Z")
    86401005
    """
    from datetime import datetime, timedelta, timezone

    since = datetime.fromisoformat(moment.replace("Z", "+00:00")) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since // timedelta(milliseconds=1)


def read(text: str, path: Path, choice: Choice) -> Imported:
    """One environment of a pixi.lock: the chosen one, else `default`, else the only one.

    Raises what `conda_parts.environment` raises, UnknownLockVersion, UnknownImportChoice, ImportUnclear.
    """
    from envlock.conda.lock_files import NotALock, read_lock_file
    from envlock.interchange.conda_lock import broken
    from envlock.interchange.conda_parts import environment

    shown = path.name
    version = re.search(_VERSION, text, re.MULTILINE)
    if version is None or version[1] not in map(str, VERSIONS):
        known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise UnknownLockVersion(shown, KIND, version[1] if version else "none", known)
    try:
        found = read_lock_file(path)
    except NotALock as error:
        raise broken(shown, KIND, str(error)) from None
    name = choice.environment or (_DEFAULT if _DEFAULT in found else "")
    if not name and len(found) != 1:
        raise ImportUnclear(shown, "environments", sorted(found), "--environment")
    name = name or next(iter(found))
    if name not in found:
        raise UnknownImportChoice(shown, "environment", name, found)
    chosen = found[name]
    others = [each for each in found if each != name]
    notes = (f"imported its environment `{name}`; it also has {', '.join(sorted(others))}",) if others else ()
    return environment(KIND, shown, chosen.platforms, chosen.channels, choice, has_conda_facts=True, notes=notes)
