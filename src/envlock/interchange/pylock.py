"""pylock.toml (PEP 751) as any tool writes it: the PyPI packages, and nothing of envlock's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.interchange.exported import Export, Given, build_notes, python_notes
from envlock.interchange.requirements_txt import without_conda
from envlock.lockfile.canonical_text import MARKERS, array, filename_of, quoted, requires_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from envlock.lockfile.built_packages import BuiltLine
    from envlock.lockfile.rows import PackageRow


def write(given: Given) -> Export:
    """The PyPI packages of one or several archs, each with one wheel.

    A wheel that not all archs have is in an entry of its own, under a marker: which of several fit best is then decided
    by the lock, not by who reads it.
    """
    pythons = dict.fromkeys(requires_python(lock.python.source, lock.python.version) for lock in given.locks)
    if len(pythons) > 1:
        raise given.cannot("several Pythons", list(pythons), f"choose one arch: `--arch {given.archs[0]}`")
    versions: dict[str, dict[str, None]] = {}
    needed: dict[tuple[str, str], set[str]] = {}
    for lock in given.locks:
        for each in given.files(lock):
            versions.setdefault(each.name, {})[each.version] = None
            needed.setdefault((each.name, each.filename), set()).update(each.dependencies)
    lines = [
        'lock-version = "1.0"',
        f"environments = {array(MARKERS[arch] for arch in given.archs)}",
        f"requires-python = {quoted(next(iter(pythons)))}",
        'created-by = "envlock"',
        "" if versions else "packages = []",
    ]
    for package, archs in given.across_archs():
        lines += _entry(package, given.marker(archs), needed[package.name, package.filename], versions)
    notes = [*python_notes(given), *build_notes(given), *without_conda(given)]
    if any(each.source and each.source.path for lock in given.locks for each in given.packages(lock)):
        notes.append("its paths are relative to the folder of envlock.toml: keep the file there")
    return Export(given.header() + "\n".join(lines).rstrip() + "\n", tuple(notes))


def _entry(
    package: PackageRow, marker: str, needed: Set[str], versions: Mapping[str, Mapping[str, None]]
) -> Iterator[str]:
    yield "[[packages]]"
    yield f"name = {quoted(package.name)}"
    yield f"version = {quoted(package.version)}"
    if marker:
        yield f"marker = {quoted(marker)}"
    tables = []
    for name in sorted(needed):
        for version in sorted(versions[name]):
            said = f", version = {quoted(version)}" if len(versions[name]) > 1 else ""
            tables.append(f"{{name = {quoted(name)}{said}}}")
    if tables:
        yield f"dependencies = [{', '.join(tables)}]"
    if package.from_index:
        yield f"index = {quoted(package.from_index)}"
    if package.source is not None:
        yield from (_of_source(package, package.source), "")
        return
    wheel = [f"name = {quoted(package.filename)}"] if filename_of(package.url) != package.filename else []
    if package.upload_time:
        wheel.append(f"upload-time = {package.upload_time}")
    wheel.append(f"url = {quoted(package.url)}")
    if package.size is not None:
        wheel.append(f"size = {package.size}")
    wheel.append(f"hashes = {{sha256 = {quoted(package.sha256)}}}")
    yield f"wheels = [{{{', '.join(wheel)}}}]"
    yield ""


def _of_source(package: PackageRow, source: BuiltLine) -> str:
    """What a wheel was built from; of a local wheel, where it is."""
    hashes = f"hashes = {{sha256 = {quoted(source.content)}}}"
    below = f", subdirectory = {quoted(source.subdirectory)}" if source.subdirectory else ""
    place = f"path = {quoted(source.path)}" if source.path else f"url = {quoted(source.url)}"
    if source.kind == "git":
        return f'vcs = {{type = "git", {place}, commit-id = {quoted(source.commit)}{below}}}'
    if source.kind == "folder":
        return f"directory = {{{place}{below}}}"
    if source.kind == "wheel":
        own = f"name = {quoted(package.filename)}, {place}, size = {source.size}"
        return f"wheels = [{{{own}, hashes = {{sha256 = {quoted(package.sha256)}}}}}]"
    if not package.from_index:
        return f"archive = {{{place}, {hashes}{below}}}"
    name = f"name = {quoted(source.archive)}, " if filename_of(source.url) != source.archive else ""
    return f"sdist = {{{name}{place}, {hashes}}}"
