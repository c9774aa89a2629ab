"""The files that a lock names: what is mirrored, fetched, verified and installed."""

from __future__ import annotations

from dataclasses import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import Lock


@dataclass(frozen=True)
class Artifact:
    """A file that a lock names: a package's, or an exact Python build's."""

    filename: str
    sha256: str
    url: str
    """Where upstream keeps it, without credentials; empty for a wheel that was built, which only caches have."""
    size: int | None = None
    """Bytes, where the lock knows."""
    channel: str = ""
    """The conda channel that it belongs to, a URL without credentials; empty for what is from elsewhere."""
    is_source: bool = False
    """Whether it is an sdist, which no lock installs."""
    index: str = field(default="", compare=False)
    """The index that it is from, without credentials, where that is known: by it, a mirror of the index is found."""


def artifacts_of(lock: Lock) -> tuple[Artifact, ...]:
    """Every file that is needed to hydrate a lock: its packages', and its Python's where that is one exact build."""
    artifacts = [
        Artifact(
            filename=package.filename,
            sha256=package.sha256,
            url=package.url,
            size=package.size,
            channel=package.conda.channel if package.conda else "",
            index=package.index,
        )
        for package in lock.packages
    ]
    python = lock.python
    if python.url:
        artifacts.append(Artifact(filename=python.filename, sha256=python.sha256, url=python.url))
    return tuple(artifacts)
