"""Install conda packages into a folder with py-rattler, from archives on this machine, each compared with its hash.

Archives are unpacked once, into a folder that all environments of this machine share, and files are hard links into it
where they can be. Whoever writes into such a file writes into the shared one: so each unpacked package is held against
the hashes of its own list of files each time (py-rattler's full validation), and unpacked again where one differs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from envlock.conda.event_loop import run
from envlock.conda.records import record_of
from envlock.files import RECORD_BYTES, json_of, read_file, sha256_of
from envlock.model.arch import Arch
from envlock.model.lock import LockedPackage
from envlock.reporter import working
from envlock.words import count

_META = "conda-meta"
_LOSERS = "__clobbers__"
_NO_RECORD = (ValueError, KeyError, TypeError, AttributeError)
_PATHS_JSON, _FILES = "info/paths.json", "info/files"
_MOST_HASHING_THREADS = 8
_HASHED_AT_ONCE = 1 << 20
_SUSPICIOUS = re.compile(rb'\.\.|\\u|"_path"\s*:\s*"[/\\]')
_LINK = re.compile(rb'"_path": ("(?:[^"\\]|\\.)*"),\s*"path_type": "softlink"')
_PATH = re.compile(rb'"_path": ("(?:[^"\\]|\\.)*")')


class NotLinked(Exception):
    """py-rattler could not link the packages; `reasons` are its messages, the cause last."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class LeadsOut(Exception):
    """A package has a path, or a link, that leaves its environment."""

    def __init__(self, package: LockedPackage, reason: str) -> None:
        super().__init__(reason)
        self.package = package
        self.reason = reason


class Clobber(NamedTuple):
    """A path that two packages have with different bytes."""

    path: str
    winner: str
    loser: str


def install(
    archives: Sequence[tuple[LockedPackage, Path]], arch: Arch, *, stage: Path, place: Path, unpacked: Path
) -> None:
    """Fill `stage`, an empty folder, with exactly these packages of an arch, each from its archive.

    Files that name their own prefix name `place`, where the stage is renamed to. `unpacked` is the shared folder of
    unpacked packages; many processes may use it at once. Nothing is asked of a network, and no script is run. Where two
    packages want one path, which of them has it depends on the packages alone. Nothing is unpacked from an archive that
    is not the locked one, and nothing that was stays. Raises NotLinked, LeadsOut, and OSError of the local disk.
    """
    with _hashing(archives) as hashes:
        _install(archives, hashes, arch, stage, place, unpacked)


def _install(
    archives: Sequence[tuple[LockedPackage, Path]],
    hashes: Mapping[str, Future[str]],
    arch: Arch,
    stage: Path,
    place: Path,
    unpacked: Path,
) -> None:
    from rattler import exceptions
    from rattler.install import install as link
    from rattler.package_cache import PackageCache, ValidationMode
    from rattler.platform import Subdir

    packages = [package for package, _ in archives]
    urls = {package.name: path.as_uri() for package, path in archives}
    records = [record_of(package, urls[package.name]) for package, _ in archives]

    async def linked() -> None:
        # py-rattler ends the whole process for a path that is absolute, and takes any other as it is.
        lists = await asyncio.gather(
            *(_listed(package, archive, unpacked, hashes[package.sha256]) for package, archive in archives)
        )
        for package, listed in zip(packages, lists, strict=True):
            _refuse_paths(package, listed)
        # An unpacked package is known by its archive's path too, which holds the SHA-256: two channels may have
        # different archives of one name, version and build.
        cache = PackageCache.new_layered([unpacked], True, ValidationMode.full())
        with working(f"link {count(len(records), 'conda package')} into {stage}"):
            await link(
                records,
                stage,
                package_cache=cache,
                installed_packages=[],
                platform=Subdir(arch),
                execute_link_scripts=False,
                show_progress=False,
                alternative_target_prefix=place,
            )

    try:
        run(linked())
    except (exceptions.InstallerError, exceptions.LinkError, exceptions.IoError, exceptions.CacheDirError) as error:
        _refuse_changed(archives, hashes, unpacked)
        raise NotLinked(tuple(line.removeprefix("Caused by: ") for line in str(error).splitlines())) from None
    _refuse_changed(archives, hashes, unpacked)
    _refuse_links(packages, stage, place)
    for package in packages:
        record = stage / _META / f"{package.name}-{package.version}-{package.build}.json"
        _say_where_it_is_from(record, urls[package.name], package.url)
    _remove_empty(stage / _LOSERS)


def clobbers(stage: Path) -> tuple[Clobber, ...]:
    """The paths that two packages in `stage` have with different bytes, sorted.

    Costs a look through the records of the packages; they are parsed only where there is such a path.
    """
    documents = list(_documents(stage))
    if not any(b'"original_path"' in document for document in documents):
        return ()
    owners: dict[str, tuple[str, str]] = {}
    losers: list[tuple[str, str, str]] = []
    for document in documents:
        with suppress(*_NO_RECORD):
            name, entries = _record_in(document)
            for entry in entries:
                if "original_path" in entry:
                    losers.append((str(entry["original_path"]), name, str(entry.get("sha256", ""))))
                else:
                    owners[entry["_path"]] = (name, entry.get("sha256", ""))
    found = (
        Clobber(path, owners[path][0], loser)
        for path, loser, digest in losers
        if path in owners and owners[path][1] != digest
    )
    return tuple(sorted(found, key=lambda clobber: (clobber.path, clobber.loser)))


def contested(stage: Path) -> dict[str, list[str]]:
    """The paths of each package in its archive, by name, where two packages in `stage` want one path; else nothing.

    Costs what `clobbers` does.
    """
    documents = list(_documents(stage))
    found: dict[str, list[str]] = {}
    for document in documents if any(b'"original_path"' in document for document in documents) else ():
        with suppress(*_NO_RECORD):
            name, entries = _record_in(document)
            files = (entry for entry in entries if entry.get("path_type") != "directory")
            found[name] = [str(entry.get("original_path", entry["_path"])) for entry in files]
    return found


def owners_of(stage: Path, paths: Iterable[str]) -> dict[str, str]:
    """The package of each of `paths` (relative to the stage) that a conda package has."""
    wanted = {json.dumps(path, ensure_ascii=False).encode(): path for path in paths}
    owners: dict[str, str] = {}
    for document, found in _paths_by_package(stage):
        hits = wanted.keys() & found
        if hits:
            with suppress(*_NO_RECORD):
                name, _ = _record_in(document)
                owners |= {wanted[hit]: name for hit in hits}
    return owners


def _documents(stage: Path) -> Iterator[bytes]:
    """The files where records of packages are: a package may have put another file, or a link, there."""
    for path in sorted((stage / _META).glob("*.json")):
        with suppress(OSError):
            yield read_file(path, RECORD_BYTES)


def _record_in(document: bytes) -> tuple[str, list[dict[str, Any]]]:
    """The name of a package and its paths. Raises one of _NO_RECORD if it is not the record of a package."""
    record = json_of(document)
    return str(record["name"]), list(record["paths_data"]["paths"])


@contextmanager
def _hashing(archives: Sequence[tuple[LockedPackage, Path]]) -> Iterator[dict[str, Future[str]]]:
    """The hashes of archives, by the locked ones. They come meanwhile; half of the processors are py-rattler's."""
    threads = min(_MOST_HASHING_THREADS, max((os.cpu_count() or 1) // 2, 1))
    largest_first = sorted(archives, key=lambda each: -(each[0].size or 0))
    pool = ThreadPoolExecutor(threads)
    try:
        yield {package.sha256: pool.submit(_hash, archive) for package, archive in largest_first}
    finally:
        pool.shutdown(cancel_futures=True)


def _hash(archive: Path) -> str:
    """The SHA-256 of an archive; empty if it cannot be read, and so is not the locked one either."""
    try:
        return sha256_of(archive, _HASHED_AT_ONCE)
    except OSError:
        return ""


def _refuse_changed(
    archives: Sequence[tuple[LockedPackage, Path]], hashes: Mapping[str, Future[str]], unpacked: Path
) -> None:
    """Raise NotLinked for archives that are not the locked ones, and remove what was unpacked of them.

    That can be only where it was unpacked before, and py-rattler did it again because somebody had changed a file.
    """
    changed = [each for each in archives if hashes[each[0].sha256].result() != each[0].sha256]
    for package, archive in changed:
        shutil.rmtree(unpacked / _folder_of(package, archive), ignore_errors=True)
    if changed:
        raise NotLinked(tuple(_not_locked(package) for package, _ in changed))


def _not_locked(package: LockedPackage) -> str:
    return f"{package.filename} is not the archive that was locked"


def _folder_of(package: LockedPackage, archive: Path) -> str:
    """Where py-rattler unpacks an archive."""
    return f"{package.name}-{package.version}-{package.build}-{hashlib.sha256(str(archive).encode()).hexdigest()}"


async def _listed(package: LockedPackage, archive: Path, unpacked: Path, found: Future[str]) -> dict[str, bytes | None]:
    """The list of files in a package: where it is unpacked already, from there, which takes a tenth of the time.

    Raises NotLinked for an archive that would be unpacked, and is not the locked one.
    """
    try:
        return {_PATHS_JSON: read_file(unpacked / _folder_of(package, archive) / _PATHS_JSON, RECORD_BYTES)}
    except OSError:
        pass
    if await asyncio.wrap_future(found) != package.sha256:
        raise NotLinked((_not_locked(package),))
    from rattler.package_streaming import PackageArchive

    try:
        opened = await PackageArchive.from_path(archive)
        listed = await opened.read_files([_PATHS_JSON])
        return listed if listed[_PATHS_JSON] is not None else await opened.read_files([_FILES])
    except (OSError, ValueError):  # what is no archive is found when it is unpacked
        return {}


def _refuse_paths(package: LockedPackage, listed: Mapping[str, bytes | None]) -> None:
    """Raise LeadsOut for a path that is not below the environment."""
    document, files = listed.get(_PATHS_JSON) or b"", listed.get(_FILES) or b""
    paths = files.decode(errors="replace").splitlines()
    if _SUSPICIOUS.search(document):  # next to none is, and parsing all of them takes its time
        try:
            paths += [str(entry["_path"]) for entry in json_of(document)["paths"]]
        except (ValueError, KeyError, TypeError):  # py-rattler reads some that we do not
            raise LeadsOut(package, "its list of files cannot be read, and may lead out of the environment") from None
    for path in paths:
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise LeadsOut(package, f"its path `{path}` leads out of the environment")


def _refuse_links(packages: Sequence[LockedPackage], stage: Path, place: Path) -> None:
    """Raise LeadsOut for a link of a package that leaves the stage."""
    links: dict[str, LockedPackage] = {}
    for package in packages:
        record = stage / _META / f"{package.name}-{package.version}-{package.build}.json"
        document = record.read_bytes()
        if b'"softlink"' in document:  # few packages have any, and the pattern takes its time
            links |= {json.loads(path): package for path in _LINK.findall(document)}
    top = os.path.realpath(stage)
    for name, package in links.items():
        try:
            target = os.readlink(stage / name)  # noqa: PTH115
        except OSError:  # another package has the path, as a file
            continue
        stays, is_direct = _followed(name, target, links)
        if stays and not is_direct:
            stays = f"{os.path.realpath(stage / name)}/".startswith(f"{top}/")
        if not stays and not target.startswith(f"{place}/"):
            raise LeadsOut(package, f"its link `{name}` leads out of the environment, to `{target}`")


def _followed(name: str, target: str, links: Collection[str]) -> tuple[bool, bool]:
    """Whether a link stays below the root by its text alone, and whether it goes through no other link.

    >>> _followed("lib/a.so", "../b/a.so", ()), _followed("lib/a.so", "../../b", ()), _followed("a", "/etc", ())
    ((True, True), (False, True), (False, True))
    >>> _followed("lib/a", "b/../../c", {"lib/b"})
    (True, False)
    """
    parts = name.split("/")[:-1]
    is_direct = not any("/".join(parts[:count]) in links for count in range(1, len(parts) + 1))
    for part in target.split("/"):
        if part == ".." and not parts:
            return False, is_direct
        if part == "..":
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
            is_direct = is_direct and "/".join(parts) not in links
    return not target.startswith("/"), is_direct


def _paths_by_package(stage: Path) -> Iterator[tuple[bytes, set[bytes]]]:
    for document in _documents(stage):
        if b"\\" in document:
            yield document, set(_PATH.findall(document))
        else:  # a quarter of the time
            yield document, {rest[: rest.find(b'"', 1) + 1] for rest in document.split(b'"_path": ')[1:]}


def _say_where_it_is_from(record: Path, local: str, upstream: str) -> None:
    """Make the record in the prefix name the channel instead of a file on this machine, and let others read it."""
    old, new = json.dumps(local, ensure_ascii=False).encode(), json.dumps(upstream, ensure_ascii=False).encode()
    with record.open("r+b", buffering=0) as file:
        os.fchmod(file.fileno(), 0o644)
        text = file.read()
        at = text.find(old)
        if at < 0:
            return
        if len(new) <= len(old):  # filled up with spaces: what follows is long, and can stay where it is
            file.seek(at)
            file.write(new.ljust(len(old)))
        else:
            file.seek(0)
            file.write(text.replace(old, new, 1))


def _remove_empty(folder: Path) -> None:
    """Remove empty folders: which ones there are depends on the order of threads."""
    if not folder.is_dir():
        return
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()
