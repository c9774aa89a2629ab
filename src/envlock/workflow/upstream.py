"""The upstream of a project: where the artifacts of its locks were published, or their mirrors, with its credentials.

A lock names canonical URLs, without credentials. What envlock.toml configures beside them (credentials in a URL,
variables, mirrors) is added here, when something is fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.addresses import UnsetVariable, address, revealed
from envlock.cache.download import Upstream
from envlock.cache.local import LocalPackages
from envlock.credentials import Credentials
from envlock.files import MEMO_BYTES, json_of, read_file, temporary_folder, write_atomically
from envlock.model.artifact import Artifact
from envlock.model.url import is_channel, strip_channel_credentials, strip_credentials
from envlock.places import folder_in_home, home
from envlock.trust import Closed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from envlock.config.project import Project
    from envlock.model.lock import LockedPackage
    from envlock.reporter import Reporter

_HASHING = "fetching files without a SHA-256"
_WHEEL = ".whl"


def upstream_of(project: Project) -> Upstream:
    """What fetches the artifacts of a project's locks. Opens nothing yet; close it, or use it in a `with`."""
    places = _Places(project)
    return Upstream(Credentials(places.known), locate=places.of)


class _Places:
    """From an artifact to the URL to fetch. Any thread may call it."""

    def __init__(self, project: Project) -> None:
        environments = project.environments()
        indexes = [url for each in environments for url in each.every_index_url]
        direct = (root.url for each in environments for root in each.requirements.pypi if root.url)
        channels = tuple(dict.fromkeys(url for each in environments for url in each.channel_urls))
        mirrors = project.settings.channel_mirrors
        self.known = [*indexes, *channels, *(url for _, url in mirrors), project.settings.python_mirror]
        """Every URL that may have credentials."""
        self._project = project
        self._with_variables = tuple(dict.fromkeys(url for url in (*indexes, *direct) if "${" in url))
        self._channel_urls = channels
        self._channels: ChannelPlaces | None = None
        self._lock = threading.Lock()

    def of(self, artifact: Artifact) -> str:
        """The URL of an artifact. Variables in it are filled in only if envlock.toml has them. Raises UnsetVariable."""
        if artifact.channel:
            with self._lock:
                if self._channels is None:
                    self._channels = ChannelPlaces(self._channel_urls, self._project.settings.channel_mirrors)
            return self._channels.of(artifact)
        if not artifact.filename.endswith(_WHEEL):
            return from_mirror(artifact, self._project.python_mirror)
        if "${" not in artifact.url:
            return artifact.url
        unset: UnsetVariable | None = None
        for written in self._with_variables:
            try:
                found = revealed(artifact.url, [address(written)])
            except UnsetVariable as error:  # noqa: PERF203  another URL may be the one
                unset = unset or error
            else:
                if found != artifact.url:
                    return found
        if unset is not None:
            raise unset
        return artifact.url


class ChannelPlaces:
    """From the canonical URL of a channel's package to the one that is fetched."""

    def __init__(self, channel_urls: Iterable[str], mirrors: tuple[tuple[str, str], ...]) -> None:
        """`channel_urls` as configured, credentials included; `mirrors` as in envlock.toml."""
        self._urls: dict[str, str] = {}
        self._unset: dict[str, UnsetVariable] = {}
        for url in channel_urls:
            if "://" not in url and "${" not in url:
                continue
            try:
                found = address(url, fits=is_channel, expected="a conda channel")
            except UnsetVariable as error:
                self._unset[strip_channel_credentials(url).rstrip("/")] = error
            else:
                self._urls[strip_channel_credentials(found.kept).rstrip("/")] = found.asked.rstrip("/")
        self._mirrors: dict[str, str] = {}
        if mirrors or os.environ.get("ENVLOCK_CHANNEL_MIRRORS"):
            from envlock.conda.channels import mirrors_in_force

            self._mirrors = dict(mirrors_in_force(mirrors))

    def of(self, artifact: Artifact) -> str:
        """The URL of a channel's package. It has no user name and password; it may have a token.

        Raises UnsetVariable if the channel's own URL has a variable that is not set.
        """
        channel = artifact.channel.rstrip("/")
        if not artifact.url.startswith(f"{channel}/"):
            return artifact.url
        rest = artifact.url[len(channel) :]
        if channel in self._mirrors:
            return self._mirrors[channel].rstrip("/") + rest
        if channel in self._unset:
            raise self._unset[channel]
        return self._urls.get(channel, channel) + rest


def from_mirror(artifact: Artifact, python_mirror: str) -> str:
    """The URL of an exact Python build: at the mirror, if there is one.

    >>> from envlock.model.artifact import Artifact
    >>> build = Artifact("cpython-3.12.tar.gz", "0" * 64, "https://builds.example/download/20261110/cpython-3.12.tar.gz")
    >>> from_mirror(build, "https://me:pw@mirror.example/python/")
    'https://mirror.example/python/20261110/cpython-3.12.tar.gz'
    """
    if not python_mirror:
        return artifact.url
    release = "/".join(artifact.url.rsplit("/", 2)[1:])
    return f"{strip_credentials(python_mirror).rstrip('/')}/{release}"


class FetchedHashes:
    """Implements resolve's FileHashes for files whose index publishes other digests than SHA-256.

    Fetches and hashes a file once, and keeps it among this machine's packages, from where `push` copies it.
    """

    def __init__(self, project: Project, reporter: Reporter, *, offline: bool = False) -> None:
        """`offline` fetches nothing: it knows only the files that were fetched before."""
        self._project = project
        self._offline = offline
        self._reporter = reporter
        self._guard = threading.Lock()
        self._each: dict[Path, threading.Lock] = {}
        self._running = 0

    def digests(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int] | None:
        """As FileHashes has it. Raises what `Upstream.hash` raises, and OSError of the local disk."""
        memo = _memo_of(package.url, published)
        with self._guard:
            each = self._each.setdefault(memo, threading.Lock())
        with each:  # several archs and environments may need the same file at once
            known = _remembered(memo)
            if known is not None:
                return {**published, "sha256": known[0]}, known[1]
            if self._offline:
                return None
            found, size = self._fetch(package, published)
            if all(found[name] == digest for name, digest in published.items()):
                folder_in_home("hashed")
                with Closed():
                    write_atomically(memo, json.dumps({"sha256": found["sha256"], "size": size}).encode())
            return found, size

    def _fetch(self, package: LockedPackage, published: Mapping[str, str]) -> tuple[Mapping[str, str], int]:
        artifact = Artifact(package.filename, "", package.url, package.size)
        self._began(package)
        packages = folder_in_home("packages")
        try:
            with (
                temporary_folder(".hashed-", packages) as folder,
                upstream_of(self._project) as upstream,
            ):
                file = folder / "file"
                found = upstream.hash(
                    artifact,
                    file,
                    published,
                    on_bytes=lambda count: self._reporter.advanced(_HASHING, package.filename, count),
                    on_size=lambda size: self._reporter.grew(_HASHING, size),
                )
                size = file.stat().st_size
                artifact = Artifact(package.filename, found["sha256"], package.url, size)

                def move(stage: Path) -> None:
                    file.rename(stage)

                LocalPackages(home()).place(artifact, move)
        finally:
            self._ended()
        return found, size

    def _began(self, package: LockedPackage) -> None:
        with self._guard:
            self._running += 1
            if self._running == 1:
                self._reporter.began(_HASHING, 0, "bytes")
        self._reporter.grew(_HASHING, package.size or 0)
        self._reporter.doing(_HASHING, package.filename)

    def _ended(self) -> None:
        with self._guard:
            self._running -= 1
            if not self._running:
                self._reporter.ended(_HASHING)


def _memo_of(url: str, published: Mapping[str, str]) -> Path:
    """The memo of a file's SHA-256. Its name has the published digests, as the index may change the file."""
    key = json.dumps([url, sorted(published.items())]).encode()
    return home() / "hashed" / f"{hashlib.sha256(key).hexdigest()}.json"


def _remembered(memo: Path) -> tuple[str, int] | None:
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json_of(read_file(memo, MEMO_BYTES))
        sha256, size = found["sha256"], found["size"]
        if isinstance(sha256, str) and len(bytes.fromhex(sha256)) == 32 and isinstance(size, int):
            return sha256, size
    return None
