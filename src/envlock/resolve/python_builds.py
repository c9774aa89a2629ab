"""Exact Python builds: uv's own list of them (offline), and the SHA-256 that their publisher gives.

uv's list says where each build lies, but not what is in it. The SHA-256 comes from the SHA256SUMS file in the release
folder that the archive itself lies in, and goes into the lock: from then on nobody's word is needed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from envlock.errors import DamageError, ResolveError
from envlock.files import json_of
from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPython
from envlock.model.url import strip_credentials
from envlock.reporter import asking
from envlock.uv_command import run_uv, uv_reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_PLATFORMS = {
    ("linux", "x86_64", "gnu"): LINUX_64,
    ("linux", "aarch64", "gnu"): LINUX_AARCH64,
    ("macos", "x86_64", "none"): OSX_64,
    ("macos", "aarch64", "none"): OSX_ARM64,
}
_ARCHIVES = ("install_only.tar.gz", "install_only_stripped.tar.gz")
_SUMS = "SHA256SUMS"
_SUMS_BYTES, _SUMS_SECONDS = 8 << 20, 60.0
"""Limits of such a file: ten times the size of the largest known one, and a time."""


class NoPythonBuild(ResolveError):
    """uv knows no Python build that meets the requirements."""

    code = "no-python-build"

    def __init__(self, specifier: str, archs: Sequence[str], details: tuple[str, ...]) -> None:
        where = f" for each of {', '.join(archs)}" if archs else ""
        super().__init__(
            f"uv knows no build of CPython `{specifier or 'any'}`{where}",
            details=details,
            hint='widen `python` in envlock.toml, or set `python-from = "machine"`',
        )


class PythonHostUnreachable(ResolveError):
    """The host of the Python builds did not deliver their SHA-256."""

    code = "python-host-unreachable"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            "cannot download the SHA-256 of a Python build",
            details=(f"{url}: {reason}",),
            hint="set `python-mirror` in envlock.toml to a mirror that this machine can reach, "
            'or `python-from = "machine"` to lock a minor series instead of an exact build',
        )


class PythonSumMissing(DamageError):
    """A release of Python builds does not list the SHA-256 of one of its own archives."""

    code = "python-sum-missing"

    def __init__(self, url: str, filename: str) -> None:
        super().__init__(
            f"{_SUMS} has no SHA-256 for {filename}",
            details=(f"read from {url}",),
            hint="use a mirror (`python-mirror`) of whole releases; without a mirror, choose another `python`",
        )


@dataclass(frozen=True)
class Build:
    """One build of uv's list."""

    version: Version
    arch: Arch
    url: str

    @property
    def filename(self) -> str:
        """The archive's name in SHA256SUMS."""
        return unquote(self.url.rsplit("/", 1)[1])

    @property
    def folder(self) -> str:
        """The URL of the release folder."""
        return self.url.rsplit("/", 1)[0]


def exact_builds(specifier: str, archs: Sequence[Arch], *, mirror: str = "") -> Mapping[Arch, LockedPython]:
    """One exact Python build for each arch: the newest allowed version that all archs have.

    `mirror` replaces the part of the URL before the release's folder, for fetching only: what is locked names the
    original place. Fetches one small file a release. Raises NoPythonBuild, PythonHostUnreachable, PythonSumMissing.
    """
    chosen = _choose(specifier, archs)
    sums: dict[str, Mapping[str, str]] = {}
    locked = {}
    for arch, build in chosen.items():
        place = f"{_fetched_from(build.folder, mirror)}/{_SUMS}"
        if place not in sums:
            sums[place] = _read_sums(place)
        sha256 = sums[place].get(build.filename)
        if sha256 is None:
            raise PythonSumMissing(strip_credentials(place), build.filename)
        locked[arch] = LockedPython(
            source="uv", version=str(build.version), url=build.url, filename=build.filename, sha256=sha256
        )
    return locked


def newest_series(specifier: str) -> str:
    """The newest minor series of CPython with a release in the specifier. Offline. Raises NoPythonBuild.

    >>> newest_series(">=3.9,<3.12")
    '3.11'
    """
    allowed = SpecifierSet(specifier)
    versions = [build.version for build in _builds() if allowed.contains(build.version)]
    if not versions:
        raise NoPythonBuild(specifier, (), ())
    newest = max(versions)
    return f"{newest.major}.{newest.minor}"


def _choose(specifier: str, archs: Sequence[Arch]) -> dict[Arch, Build]:
    allowed = SpecifierSet(specifier)
    found: dict[Version, dict[Arch, Build]] = {}
    for build in _builds():
        if build.arch in archs and allowed.contains(build.version):
            found.setdefault(build.version, {})[build.arch] = build
    for version in sorted(found, reverse=True):
        if set(found[version]) == set(archs):
            return {arch: found[version][arch] for arch in archs}
    newest = {arch: max((v for v in found if arch in found[v]), default=None) for arch in archs}
    raise NoPythonBuild(
        specifier, archs, tuple(f"{arch}: {version or 'none'}" for arch, version in newest.items() if found)
    )


def _builds() -> Iterator[Build]:
    """Every stable CPython of uv's list in its usual form: gnu libc, baseline processor, with the GIL."""
    for entry in _list():
        arch = _PLATFORMS.get((entry["os"], entry["arch"], entry["libc"]))
        usual = entry["implementation"] == "cpython" and entry["variant"] == "default"
        if arch is None or not usual or not entry["url"].endswith(_ARCHIVES):
            continue
        version = Version(entry["version"])
        if not version.is_prerelease:
            yield Build(version, arch, entry["url"])


def _list() -> list[dict[str, Any]]:
    """What uv can download, from the list inside its executable: offline, about 70 ms."""
    listed = run_uv(
        [
            "python", "list", "--all-versions", "--all-platforms", "--all-arches",
            "--only-downloads", "--output-format", "json", "--offline",
        ],
        extra={"UV_PYTHON_DOWNLOADS": "manual"},
    )  # fmt: skip
    if listed.returncode != 0:
        raise NoPythonBuild("", (), uv_reason(listed.stderr))
    entries: list[dict[str, Any]] = json_of(listed.stdout)
    return entries


def _fetched_from(folder: str, mirror: str) -> str:
    """The URL of a release folder, at the mirror if there is one.

    >>> _fetched_from("https://builds.example/releases/download/20261110", "https://mirror.example/python/")
    'https://mirror.example/python/20261110'
    """
    return f"{mirror.rstrip('/')}/{folder.rsplit('/', 1)[1]}" if mirror else folder


def _read_sums(url: str) -> Mapping[str, str]:
    """SHA-256 by file name, from a SHA256SUMS file."""
    import httpx

    from envlock.certificates import trusted
    from envlock.credentials import credentials_for

    shown = strip_credentials(url)
    try:
        limits = httpx.Timeout(30, connect=10)
        with (
            asking("GET", shown) as told,
            httpx.stream(
                "GET", shown, auth=credentials_for(url), follow_redirects=True, timeout=limits, verify=trusted()
            ) as answer,
        ):
            told.ended(answer.status_code)
            answer.raise_for_status()
            text = _bounded(shown, answer.iter_bytes()).decode(errors="replace")
    except httpx.HTTPStatusError as error:
        raise PythonHostUnreachable(shown, f"HTTP status {error.response.status_code}") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise PythonHostUnreachable(shown, str(error) or type(error).__name__) from None
    rows = (line.split() for line in text.splitlines())
    return {row[1].lstrip("*"): row[0].lower() for row in rows if len(row) == 2 and _is_sha256(row[0])}


def _bounded(url: str, blocks: Iterable[bytes]) -> bytes:
    """An answer, read within limits of time and size."""
    began, found = time.monotonic(), bytearray()
    for block in blocks:
        found += block
        if len(found) > _SUMS_BYTES:
            raise PythonHostUnreachable(url, f"it sent more than {_SUMS_BYTES} bytes")
        if time.monotonic() - began > _SUMS_SECONDS:
            raise PythonHostUnreachable(url, f"it sent {len(found)} bytes in {_SUMS_SECONDS:.0f} seconds")
    return bytes(found)


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and set(text.lower()) <= set("0123456789abcdef")
