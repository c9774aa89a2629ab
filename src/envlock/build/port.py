"""What a build is asked for, and what it makes."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path
from typing import NamedTuple

from envlock.model.lock import Source
from envlock.model.url import strip_credentials


class Recipe(NamedTuple):
    """All that decides what a build makes."""

    source: Source
    python: Path
    """The interpreter, of this machine, that builds."""
    python_version: str
    """Three numbers."""
    place: Path | None = None
    """The archive, or the folder, on this machine; None for git, which is fetched."""
    name: str = ""
    """The name that the wheel has to have, normalised; empty for any."""
    version: str = ""
    """The version that it has to have; empty for any."""
    requires: tuple[str, ...] = ()
    """Versions of build requirements to keep if they fit, as `setuptools==80.9.0`."""
    index_urls: tuple[str, ...] = ()
    """The indexes before the default one, with credentials."""
    default_index_url: str = ""
    find_links_urls: tuple[str, ...] = ()
    """Pages of links, which are searched beside the indexes, with credentials."""
    no_index: bool = False
    """Whether the pages of links are all that there is."""
    exclude_newer: str = ""
    """RFC 3339; empty for none."""
    fetch_url: str = ""
    """The URL of a git repository with credentials, where envlock.toml gives them; empty for that of the source."""
    offline: bool = False

    @property
    def said(self) -> str:
        """What messages call it."""
        if self.name:
            return f"{self.name} {self.version}".rstrip()
        return self.source.filename or self.source.said

    @property
    def has_links(self) -> bool:
        """Whether more than indexes is searched, or less."""
        return bool(self.find_links_urls or self.no_index)

    @property
    def key(self) -> str:
        """64 hex digits that name what is built, of what, for which machine: the same wheel is built once.

        It depends neither on where the source lies nor on credentials.
        """
        source = self.source
        asked = [
            *(source.kind, source.url, source.commit, source.sha256, source.subdirectory),
            *(".".join(self.python_version.split(".")[:2]), sys.platform, platform.machine()),
            sorted(self.requires),
            [*map(strip_credentials, self.index_urls), strip_credentials(self.default_index_url)],
            self.exclude_newer,
            *([list(map(strip_credentials, self.find_links_urls)), self.no_index] if self.has_links else []),
        ]
        return hashlib.sha256(json.dumps(["envlock build 1", asked]).encode()).hexdigest()


class Built(NamedTuple):
    """A wheel that was built."""

    path: Path
    filename: str
    name: str
    """Normalised."""
    version: str
    sha256: str
    size: int
    """Bytes."""
    requires: tuple[str, ...]
    """The packages that built it, as `setuptools==80.9.0`, sorted."""
    is_pure: bool
    """Whether it fits every arch: its platform is `any`."""
    tags: tuple[str, ...]
    """As `py3-none-any`, sorted."""
    glibc: str = ""
    """The oldest glibc that its binaries run with, as `2.17`; empty for a wheel that needs none."""
    from_folders: tuple[str, ...] = ()
    """Packages that it needs and that its source takes from folders beside it, normalised."""
