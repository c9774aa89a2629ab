"""The upstream of a project: where the artifacts of its locks were published, or their mirrors, with its credentials.

A lock names canonical URLs, without credentials. What envlock.toml configures beside them (credentials in a URL,
variables, mirrors) is added here, when something is fetched.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from envlock.addresses import MirroredUrl, UnsetVariable, address, at_mirror, revealed, upstream_rows
from envlock.cache.download import Upstream
from envlock.credentials import Credentials
from envlock.model.requirement import normalize_name
from envlock.model.url import is_channel, strip_channel_credentials, strip_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.config.project import Project
    from envlock.model.artifact import Artifact

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
        mirrors = (*project.settings.channel_mirrors, *project.settings.index_mirrors)
        self.known = [*map(str, indexes), *channels, *(url for _, url in mirrors), project.settings.python_mirror]
        """Every URL that may have credentials."""
        self._project = project
        self._with_variables = tuple(dict.fromkeys(url for url in (*indexes, *direct) if "${" in url))
        self._channel_urls = channels
        self._channels: ChannelPlaces | None = None
        self._lock = threading.Lock()
        self._mirrors = _Mirrors(project, indexes) if project.settings.index_mirrors else None

    def of(self, artifact: Artifact) -> str:
        """The URL of an artifact. Variables in it are filled in only if envlock.toml has them. Raises UnsetVariable."""
        if artifact.channel:
            with self._lock:
                if self._channels is None:
                    self._channels = ChannelPlaces(self._channel_urls, self._project.settings.channel_mirrors)
            return self._channels.of(artifact)
        if not artifact.filename.endswith(_WHEEL) and not artifact.is_source:
            return from_mirror(artifact, self._project.python_mirror)
        if self._mirrors is not None and (found := self._mirrors.of(artifact)):
            return found
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


class _Mirrors:
    """From the file of an index to where a mirror of the index has it. Any thread may call it."""

    def __init__(self, project: Project, indexes: Iterable[str]) -> None:
        self._project = project
        self._indexes = tuple(dict.fromkeys(indexes))
        self._rows: tuple[tuple[str, str], ...] | None = None
        self._by_index: dict[str, str] = {}
        self._links: dict[tuple[str, str], dict[str, str]] = {}
        self._lock = threading.Lock()

    def of(self, artifact: Artifact) -> str:
        """The URL of a file on a mirror; empty if it is of no index with one, or if the mirror does not have it.

        It is known if the folder of the file has a mirror of its own. Else the mirror's page of the package has a link
        to the file: one request a package. Raises IndexUnauthorized, IndexUnreachable, UnsetVariable, BadVariable.
        """
        with self._lock:
            if self._rows is None:
                default = self._project.asked_default(self._project.settings.index_url)
                urls = (each for each in (*self._indexes, default) if isinstance(each, MirroredUrl))
                self._by_index = {strip_credentials(str(each)).rstrip("/"): each for each in urls}
                self._rows = upstream_rows(self._project.settings.index_mirrors)
        found = at_mirror(artifact.url, self._rows)
        if found:
            return found
        own = [artifact.index.rstrip("/")] if artifact.index else list(self._by_index)
        links = (self._page(self._by_index[each], artifact) for each in own if each in self._by_index)
        return next((each[artifact.filename] for each in links if artifact.filename in each), "")

    def _page(self, index: str, artifact: Artifact) -> dict[str, str]:
        from envlock.resolve.index_check import links_of

        parts = artifact.filename.rpartition("-") if artifact.is_source else artifact.filename.partition("-")
        key = (index, normalize_name(parts[0]))
        if key not in self._links:
            self._links[key] = links_of(*key, f"the mirror of {strip_credentials(str(index))}", "all archs")
        return self._links[key]


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
