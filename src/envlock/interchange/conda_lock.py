"""conda-lock.yml (CEP 37): conda and PyPI packages of several archs, one row for each package and arch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.conda.match_specs import name_in
from envlock.interchange.exported import Export, Given, build_notes, channels_of, scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.lockfile.rows import LockRows, PackageRow


def write(given: Given) -> Export:
    """The packages of all archs. `content_hash` is the `req_id`, so it changes when the requirements do."""
    lines = ["version: 1", "metadata:", "  content_hash:"]
    lines += [f"    {lock.arch}: {scalar(lock.req_id)}" for lock in given.locks]
    lines.append("  channels:")
    lines += [f"  - url: {scalar(name)}\n    used_env_vars: []" for name in channels_of(given).values()]
    lines += ["  platforms:", *(f"  - {arch}" for arch in given.archs), "  sources:", "  - envlock.toml", "package:"]
    rows = {(each.name, each.kind, place): each for place, lock in enumerate(given.locks) for each in given.files(lock)}
    without_md5 = [each.name for each in rows.values() if each.conda is not None and not each.conda.md5]
    if without_md5:
        raise given.cannot("conda packages without an MD5", sorted({*without_md5}), "use `--format pixi`")
    for row in sorted(rows):
        lines += _row(rows[row], given.locks[row[2]])
    return Export(given.header() + "\n".join(lines) + "\n", build_notes(given))


def _row(package: PackageRow, lock: LockRows) -> Iterator[str]:
    yield f"- name: {scalar(package.name)}"
    yield f"  version: {scalar(package.version)}"
    yield f"  manager: {'conda' if package.conda else 'pip'}"
    yield f"  platform: {lock.arch}"
    needed = _needed(package)
    if needed:
        yield "  dependencies:"
        yield from (f"    {scalar(name)}: {scalar(needed[name])}" for name in sorted(needed))
    else:
        yield "  dependencies: {}"
    yield f"  url: {scalar(package.url)}"
    yield "  hash:"
    if package.conda:
        yield f"    md5: {scalar(package.conda.md5)}"
    yield f"    sha256: {scalar(package.sha256)}"
    if package.conda:
        yield f"  build: {scalar(package.build)}"
    yield "  category: main"
    yield "  optional: false"


def _needed(package: PackageRow) -> dict[str, str]:
    """What a package needs, by name: of a conda package, the versions too, but nothing that the machine brings."""
    if package.conda is None:
        return dict.fromkeys(package.dependencies, "*")
    found: dict[str, str] = {}
    for text in package.conda.depends:
        name = name_in(text)
        if name in package.dependencies:
            versions = text.partition(" ")[2].strip()
            found[name] = ",".join(filter(None, [found.get(name, ""), versions]))
    return found
