"""Which PyPI distributions a conda package contains, and their metadata.

A package's own list of files is the truth. It is read from the archive, where this machine has it, else from the
channel by a range request for the end of the file, and remembered by the archive's SHA-256: it cannot change. Where
neither can be had, the published mapping of names stands in. Nothing here ever fails a lock.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from envlock.conda.client import Place, client_of, places_of
from envlock.conda.event_loop import Calls
from envlock.conda.match_specs import name_in
from envlock.conda.names import pypi_names
from envlock.files import MEMO_BYTES, json_of, read_file
from envlock.model.requirement import normalize_name
from envlock.places import folder_in_home, home
from envlock.trust import Closed

if TYPE_CHECKING:
    from rattler.networking import Client
    from rattler.package_streaming import PackageArchive

    from envlock.model.lock import LockedPackage

_INSTALLED = re.compile(r"(?:lib/python3\.\d+/|Lib/)?site-packages/([^/]+)\.(?:dist|egg)-info(?:/|$)")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*?)(?:-(?P<version>v?\d[^-]*))?(?:-py\d[\d.]*)?\Z")
_LISTS = ("info/files", "info/paths.json")
_INDEX = "info/index.json"
_AT_ONCE = 12
_SECONDS = 20.0
"""How long to wait for one archive."""
_WHOLE_BYTES = 4 << 20
"""Archives up to this size are downloaded whole if the server has no range requests."""
_METADATA_BYTES = 64 << 20
"""The same limit if the metadata of one package is needed, because the lock would fail without it."""
_ENOUGH_FAILURES = 4
"""After so many failures in a row the channel is not asked again."""


class ArchiveContents(NamedTuple):
    """The PyPI distributions in a conda package."""

    distributions: tuple[tuple[str, str], ...]
    """Normalized name and version; conda's version if the distribution has none."""
    is_known: bool = True
    """False if the published mapping stands in for the archive."""


class Archives:
    """Reads the archives of conda packages. Any thread may call it."""

    def __init__(
        self,
        channel_urls: Sequence[str] = (),
        mirrors: Mapping[str, str] | None = None,
        calls: Calls | None = None,
        *,
        offline: bool = False,
    ) -> None:
        """Offline, reads only archives on this machine."""
        self._offline = offline
        self._channel_urls = tuple(channel_urls)
        self._mirrors = mirrors or {}
        self._calls = calls or Calls()
        self._failures = 0

    @cached_property
    def _places(self) -> tuple[Place, ...]:
        return places_of(self._channel_urls, self._mirrors)

    def contents(self, packages: Iterable[LockedPackage]) -> dict[str, ArchiveContents]:
        """What each package contains, by its name. Packages that cannot hold Python are not read.

        Costs a small request for each archive that was never looked into on this machine, twelve at a time. Raises
        Ended.
        """
        found = {package.name: ArchiveContents(()) for package in packages}
        unknown = []
        for package in packages:
            if not may_hold_python(package):
                continue
            remembered = _remembered(package)
            if remembered is None:
                unknown.append(package)
            else:
                found[package.name] = ArchiveContents(remembered)
        if unknown:
            lists = self._calls.run(self._lists(unknown))
            for package, files in zip(unknown, lists, strict=True):
                if files is None:
                    found[package.name] = ArchiveContents(
                        tuple((name, package.version) for name in pypi_names(package.name)), is_known=False
                    )
                else:
                    distributions = distributions_among(files, package.version)
                    found[package.name] = ArchiveContents(distributions)
                    _remember(package, distributions)
        return found

    def metadata(self, package: LockedPackage, distribution: str) -> str | None:
        """The METADATA of a distribution in a package; None if it cannot be read. Raises Ended.

        Costs up to the whole archive, which is read until the file is found.
        """
        return self._calls.run(self._metadata(package, distribution))

    def index(self, package: LockedPackage) -> Mapping[str, Any] | None:
        """What a package's own archive states of it (`info/index.json`); None if that cannot be read. Raises Ended."""

        async def read() -> Mapping[str, Any] | None:
            archive = await self._opened(client_of(self._places, self._places), package, _METADATA_BYTES)
            with suppress(OSError, TimeoutError, asyncio.TimeoutError, ValueError):
                data = None if archive is None else await asyncio.wait_for(archive.read_file(_INDEX), _SECONDS)
                found = None if data is None else json_of(data)
                return found if isinstance(found, dict) else None
            return None

        return self._calls.run(read())

    async def _lists(self, packages: Sequence[LockedPackage]) -> list[list[str] | None]:
        client = client_of(self._places, self._places)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(package: LockedPackage) -> list[str] | None:
            async with limit:
                if self._failures >= _ENOUGH_FAILURES:
                    return None
                archive = await self._opened(client, package, _WHOLE_BYTES)
                return None if archive is None else await self._list(archive)

        return list(await asyncio.gather(*map(one, packages)))

    async def _opened(self, client: Client, package: LockedPackage, whole: int) -> PackageArchive | None:
        """The archive, from this machine or from its channel; None where it cannot be opened."""
        from rattler.package_streaming import PackageArchive

        with suppress(OSError, TimeoutError, asyncio.TimeoutError):
            path = self._local(package)
            if path is not None:
                return await PackageArchive.from_path(path)
            if self._offline or not package.filename.endswith(".conda"):
                return None  # nothing of a .tar.bz2 can be read but all of it
            opening = PackageArchive.from_url(client, package.url, max_spool_size=whole)
            archive = await asyncio.wait_for(opening, _SECONDS)
            self._failures = 0
            return archive
        self._failures += 1
        return None

    async def _list(self, archive: PackageArchive) -> list[str] | None:
        with suppress(OSError, TimeoutError, asyncio.TimeoutError, ValueError, KeyError, TypeError):
            read = await asyncio.wait_for(archive.read_files(_LISTS), _SECONDS)
            plain, described = (read[name] for name in _LISTS)
            if described is not None:
                return [str(entry["_path"]) for entry in json_of(described)["paths"]]
            if plain is not None:
                return plain.decode().splitlines()
        return None

    async def _metadata(self, package: LockedPackage, distribution: str) -> str | None:
        archive = await self._opened(client_of(self._places, self._places), package, _METADATA_BYTES)
        files = None if archive is None else await self._list(archive)
        if archive is None or files is None:
            return None
        for path in files:
            match = _INSTALLED.match(path)
            if match is None or not path.endswith(("/METADATA", "/PKG-INFO")) or path.count("/", match.end()):
                continue
            if _named(match[1], "")[0] == distribution:
                with suppress(OSError, TimeoutError, asyncio.TimeoutError):
                    data = await asyncio.wait_for(archive.read_file(path), 3 * _SECONDS)
                    return None if data is None else data.decode(errors="replace")
        return None

    def _local(self, package: LockedPackage) -> Path | None:
        """The archive's file on this machine: verified for an environment before, or in a channel that is a folder."""
        if "/" not in package.filename:
            path = home() / "packages" / package.sha256[:2] / package.sha256 / package.filename
            if path.is_file():
                return path
        for place in self._places:
            if place.is_file and package.url.startswith(f"{place.base}/"):
                url = place.url + package.url.removeprefix(place.base)
                return Path(unquote(urlsplit(url).path))
        return Path(unquote(urlsplit(package.url).path)) if package.url.startswith("file:") else None


def may_hold_python(package: LockedPackage) -> bool:
    """Whether a conda package may contain Python distributions, judged by its metadata."""
    facts = package.conda
    if facts is None or package.name == "python":
        return False
    return facts.noarch == "python" or not {"python", "python_abi"}.isdisjoint(map(name_in, facts.depends))


def distributions_among(files: Iterable[str], version: str) -> tuple[tuple[str, str], ...]:
    """The distributions that these files install, sorted; `version` stands in for one without a version.

    What is deeper than in site-packages itself belongs to whoever vendored it.

    >>> distributions_among(["site-packages/Foo_Bar-1.0.dist-info/METADATA", "site-packages/foo_bar/x.py"], "1.0_1")
    (('foo-bar', '1.0'),)
    >>> distributions_among(["lib/python3.12/site-packages/a-2-py3.12.egg-info", "site-packages/b.egg-info/x"], "7")
    (('a', '2'), ('b', '7'))
    >>> distributions_among(["site-packages/setuptools/_vendor/wheel-0.43.0.dist-info/METADATA"], "75.1.0")
    ()
    """
    infos = {match[1] for match in map(_INSTALLED.match, files) if match is not None}
    return tuple(sorted({named for info in infos if (named := _named(info, version))[0]}))


def _named(info: str, version: str) -> tuple[str, str]:
    match = _NAMED.match(info)
    if match is None or not match["name"].strip("._-"):
        return "", ""
    return normalize_name(match["name"].rstrip("._-")), match["version"] or version


def _memo(package: LockedPackage) -> Path:
    return home() / "conda" / "distributions" / package.sha256[:2] / f"{package.sha256}.json"


def _remembered(package: LockedPackage) -> tuple[tuple[str, str], ...] | None:
    try:
        rows = json_of(read_file(_memo(package), MEMO_BYTES))["distributions"]
        return tuple((str(name), str(version)) for name, version in rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(package: LockedPackage, distributions: tuple[tuple[str, str], ...]) -> None:
    data = json.dumps({"package": package.filename, "distributions": distributions}, indent=1)
    path = _memo(package)
    with suppress(OSError), Closed():  # it will be looked up again
        folder_in_home(*path.parent.relative_to(home()).parts)
        # Not forced to the disk, which takes longer than to look it up: half a memo is none.
        stage = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
        stage.write_text(f"{data}\n", encoding="utf-8")
        stage.replace(path)
