"""Where a project's artifacts come from when the cache does not have them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from envlock.model.url import strip_credentials

if TYPE_CHECKING:
    from envlock.cache.download import Upstream
    from envlock.config.project import Project
    from envlock.model.artifact import Artifact

_WHEEL = ".whl"


def open_upstream(project: Project) -> Upstream:
    """The hosts that the project's locks name, with the credentials of its indexes. To be closed. Asks nobody yet."""
    from envlock.cache.download import Upstream
    from envlock.credentials import Credentials

    urls = [
        url
        for environment in project.environments()
        for url in (*environment.index_urls, environment.default_index_url)
        if url
    ]
    return Upstream(Credentials([*urls, project.settings.python_mirror]))


def from_mirror(artifact: Artifact, python_mirror: str) -> Artifact:
    """The artifact with the URL to fetch it from: an exact Python build comes from the mirror, where there is one.

    >>> from envlock.model.artifact import Artifact
    >>> build = Artifact("cpython-3.12.tar.gz", "0" * 64, "https://builds.example/download/20261110/cpython-3.12.tar.gz")
    >>> from_mirror(build, "https://me:pw@mirror.example/python/").url
    'https://mirror.example/python/20261110/cpython-3.12.tar.gz'
    """
    if not python_mirror or artifact.filename.endswith(_WHEEL):
        return artifact
    release = "/".join(artifact.url.rsplit("/", 2)[1:])
    return replace(artifact, url=f"{strip_credentials(python_mirror).rstrip('/')}/{release}")
