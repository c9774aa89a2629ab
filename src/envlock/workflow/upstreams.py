"""Where a project's artifacts come from when the cache does not have them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from envlock.model.url import strip_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from envlock.cache.download import Upstream
    from envlock.config.project import Project
    from envlock.model.artifact import Artifact
    from envlock.workflow.channel_places import ChannelPlaces

_WHEEL = ".whl"


class ProjectUpstream:
    """The hosts that a project's locks name, or their mirrors, with the project's credentials. Asks nobody yet.

    Any thread may fetch. Close it, or use it in a `with`.
    """

    def __init__(self, project: Project) -> None:
        from envlock.cache.download import Upstream
        from envlock.credentials import Credentials

        environments = project.environments()
        indexes = [url for each in environments for url in each.every_index_url]
        direct = (root.url for each in environments for root in each.requirements.pypi if root.url)
        self._with_variables = tuple(dict.fromkeys(url for url in (*indexes, *direct) if "${" in url))
        self._channel_urls = tuple(dict.fromkeys(url for each in environments for url in each.channel_urls))
        self._project = project
        mirrors = (url for _, url in project.settings.channel_mirrors)
        known = [*indexes, *self._channel_urls, *mirrors, project.settings.python_mirror]
        self._http: Upstream = Upstream(Credentials(known))
        self._places: ChannelPlaces | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> ProjectUpstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def fetch(
        self, artifact: Artifact, to: Path, *, on_bytes: Callable[[int], None], on_size: Callable[[int], None]
    ) -> None:
        """Make `to`, which does not exist yet, the artifact's file, proved. As `cache.download.Upstream.fetch`."""
        at = self._place(artifact)
        if at.startswith("s3://"):
            from envlock.workflow.channel_places import fetch_from_bucket

            fetch_from_bucket(artifact, at, to, on_bytes)
        else:
            self._http.fetch(artifact, to, at=at, on_bytes=on_bytes, on_size=on_size)

    def hash(
        self,
        artifact: Artifact,
        to: Path,
        algorithms: Iterable[str],
        *,
        on_bytes: Callable[[int], None],
        on_size: Callable[[int], None],
    ) -> dict[str, str]:
        """Make `to` the file at an artifact's URL; its digests. As `cache.download.Upstream.hash`."""
        at = self._place(artifact)
        return self._http.hash(artifact, to, algorithms, at=at, on_bytes=on_bytes, on_size=on_size)

    def _place(self, artifact: Artifact) -> str:
        if not artifact.channel:
            return self._of_an_index(artifact)
        with self._lock:
            if self._places is None:
                from envlock.workflow.channel_places import ChannelPlaces

                self._places = ChannelPlaces(self._channel_urls, self._project.settings.channel_mirrors)
        return self._places.of(artifact)

    def _of_an_index(self, artifact: Artifact) -> str:
        """The URL of a wheel or of an exact Python; variables in it are only those of envlock.toml."""
        if not artifact.filename.endswith(_WHEEL):
            return from_mirror(artifact, self._project.python_mirror)
        if "${" not in artifact.url:
            return artifact.url
        from envlock.credentials import UnsetVariable, address, revealed

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


def from_mirror(artifact: Artifact, python_mirror: str) -> str:
    """The URL to fetch an artifact from: an exact Python build comes from the mirror, where there is one.

    >>> from envlock.model.artifact import Artifact
    >>> build = Artifact("cpython-3.12.tar.gz", "0" * 64, "https://builds.example/download/20261110/cpython-3.12.tar.gz")
    >>> from_mirror(build, "https://me:pw@mirror.example/python/")
    'https://mirror.example/python/20261110/cpython-3.12.tar.gz'
    """
    if not python_mirror or artifact.filename.endswith(_WHEEL):
        return artifact.url
    release = "/".join(artifact.url.rsplit("/", 2)[1:])
    return f"{strip_credentials(python_mirror).rstrip('/')}/{release}"
