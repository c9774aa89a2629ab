"""pylock.toml (PEP 751) as any tool writes it: the PyPI packages, and nothing of envlock's own."""

from __future__ import annotations

from envlock.interchange.errors import BrokenImport, UnknownImportChoice, UnknownLockVersion
from envlock.interchange.exported import Export, Given, build_notes, python_notes
from envlock.interchange.requirements_txt import without_conda
from envlock.lockfile.canonical_text import MARKERS, array, filename_of, quoted, requires_python
from envlock.model.url import strip_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set
    from pathlib import Path

    from packaging.pylock import Package, PackageArchive, PackageWheel, Pylock

    from envlock.interchange.imported import Choice, Imported
    from envlock.interchange.universal import Universal, Wheel
    from envlock.lockfile.built_packages import BuiltLine
    from envlock.lockfile.rows import PackageRow
    from envlock.model.lock import Source

KIND = "pylock.toml"
CHOICES = frozenset({"extras", "groups"})
"""What of a Choice has a meaning for it."""


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
    for name in sorted(needed & versions.keys()):
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


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The environment in a pylock.toml, of envlock or of any other tool, with the extras and groups of the choice.

    Raises what `universal.imported` raises, UnknownLockVersion, UnknownImportChoice, BrokenImport.
    """
    from envlock.interchange.imported import toml_document

    shown = path.name
    document = toml_document(text, shown, KIND)
    version = str(document.get("lock-version", ""))
    if version.partition(".")[0] != "1":
        raise UnknownLockVersion(shown, KIND, version or "none", "1.0")
    if "envlock" in document.get("tool", {}):
        return _own(text, shown, choice)
    from packaging.pylock import Pylock, PylockValidationError

    from envlock.interchange.universal import imported

    try:
        lock = _universal(Pylock.from_dict(document), shown, choice)
    except (PylockValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenImport(shown, KIND, str(error)) from None
    return imported(lock, shown, choice)


def _own(text: str, shown: str, choice: Choice) -> Imported:
    """A lock of envlock itself, conda packages and all. Raises DamagedLock."""
    from envlock.interchange.conda_parts import wanted_archs
    from envlock.interchange.imported import Imported
    from envlock.lockfile.document import parse
    from envlock.model.python_range import python_allows

    lock = parse(text.encode(), shown)
    if not python_allows(choice.python, lock.python.version):
        raise UnknownImportChoice(shown, "Python", choice.python, [lock.python.version])
    asked = lock.requirements
    wanted_archs(shown, [lock.arch], choice)
    return Imported(
        kind="envlock",
        locks={lock.arch: lock.packages},
        pythons={lock.arch: lock.python},
        python=asked.python,
        states_requirements=True,
        roots=asked.pypi,
        conda_roots=asked.all_conda,
        channels=asked.channels,
        indexes=asked.indexes,
        default_index=asked.default_index,
        system=tuple(row for row in asked.system if row[0] == lock.arch),
    )


def _universal(lock: Pylock, shown: str, choice: Choice) -> Universal:
    from envlock.interchange.universal import ROOT, Candidate, Universal, with_sets
    from envlock.resolve.python_releases import Edge

    for what, chosen, known in (
        ("extra", choice.extras, lock.extras or ()),
        ("group", choice.groups, lock.dependency_groups or ()),
    ):
        for name in chosen:
            if name not in known:
                raise UnknownImportChoice(shown, what, name, known)
    groups = (*(lock.default_groups or ()), *choice.groups)
    edges: list[Edge] = []
    candidates: dict[tuple[str, str], Candidate] = {}
    needs: dict[str, tuple[tuple[str, str], ...]] = {}
    for package in lock.packages:
        wheels = _wheels(package)
        kind = next((each for each in ("vcs", "directory", "archive", "sdist") if getattr(package, each)), "sdist")
        version = str(package.version or "") or (wheels[0].filename.split("-")[1] if wheels else "")
        marker = with_sets(str(package.marker or ""), choice.extras, groups)
        edges.append(Edge(package.name, version, (), marker))
        known_before = candidates.get((package.name, version))
        candidates[package.name, version] = Candidate(
            name=package.name,
            version=version,
            wheels=(*(known_before.wheels if known_before else ()), *wheels),
            from_index=strip_credentials(package.index or ""),
            built_from={"vcs": "git", "directory": "folder"}.get(kind, kind),
            source=_source(package),
        )
        needed = [str(each["name"]) for each in package.dependencies or () if "name" in each]
        needs[package.name] = (*needs.get(package.name, ()), *((name, "") for name in needed))
    return Universal(
        kind=KIND,
        requires_python=",".join(sorted(str(lock.requires_python or "").split(","))),
        edges={ROOT: tuple(edges), **{(name, version, ""): () for name, version in candidates}},
        candidates=candidates,
        needs=needs,
        environments=tuple(str(each) for each in lock.environments or ()),
    )


def _source(package: Package) -> Source | None:
    """What a package is built from where it has no wheel with a URL; or where its only local wheel is."""
    from envlock.interchange.universal import commit_of, sdist_of
    from envlock.model.lock import Source

    if package.directory is not None and not package.directory.subdirectory:
        return Source("folder", path=package.directory.path)
    if package.vcs is not None and package.vcs.type == "git":
        return commit_of(package.vcs.url or "", package.vcs.commit_id, package.vcs.subdirectory or "")
    files = (*(package.wheels or ()), package.archive, package.sdist)
    local = [each for each in files if each is not None and each.path]
    if len(local) == 1:
        name = filename_of(local[0].path or "")
        kind = "wheel" if name.endswith(".whl") else "sdist"
        return Source(kind, path=local[0].path or "", sha256=local[0].hashes.get("sha256", ""), filename=name)
    if package.archive is not None:
        archive = package.archive
        return sdist_of(archive.url or "", archive.hashes.get("sha256", ""), archive.subdirectory or "")
    if package.sdist is not None:
        return sdist_of(package.sdist.url or "", package.sdist.hashes.get("sha256", ""))
    return None


def _wheels(package: Package) -> tuple[Wheel, ...]:
    from envlock.interchange.universal import wheel_of
    from envlock.lockfile.document import format_upload_time

    files: list[PackageWheel | PackageArchive] = [*(package.wheels or ())]
    files += [package.archive] if package.archive is not None else []
    found = (
        wheel_of(
            each.url or "",
            each.hashes.get("sha256", ""),
            each.size,
            format_upload_time(each.upload_time) if each.upload_time else "",
        )
        for each in files
    )
    return tuple(each for each in found if each is not None)
