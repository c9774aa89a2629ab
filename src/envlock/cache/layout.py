"""Where things lie in a cache. Pure, and the only place that knows.

```
packages/<sha256[:2]>/<sha256>/<file name>      written once
envs/<arch>/<req_id>/<full_id>.toml             the lock, written after its packages
```

Every path is known from a lock alone, so neither push nor hydrate ever lists anything. The parts of a path come from
locks, which come from other people: each is checked, and none leads out of the cache.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.cache.errors import UnsafePath
from envlock.model.arch import ARCHS, Arch

if TYPE_CHECKING:
    from envlock.model.lock import Lock

PACKAGES = "packages"
ENVIRONMENTS = "envs"

# What wheels, conda packages and Python builds are called; nothing that a glob or a store reads as something else.
# 200 letters leave room for what the name of a stage file adds.
_FILENAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_ID = re.compile(r"[0-9a-f]{40}\Z")


@dataclass(frozen=True)
class EnvironmentPlace:
    """What the path of an environment in the cache says of it."""

    arch: Arch
    req_id: str
    full_id: str

    @property
    def identity(self) -> str:
        """`req_id:full_id`."""
        return f"{self.req_id}:{self.full_id}"

    @property
    def path(self) -> str:
        """Where its lock lies in a cache."""
        if self.arch not in ARCHS or not _ID.match(self.req_id) or not _ID.match(self.full_id):
            raise UnsafePath(f"{self.arch}/{self.req_id}/{self.full_id}")
        return f"{ENVIRONMENTS}/{self.arch}/{self.req_id}/{self.full_id}.toml"


def package_path(sha256: str, filename: str) -> str:
    """Where a package lies. Its own file name comes last: installers read it.

    >>> package_path("ab" + "0" * 62, "torch-2.1+cu118-1!0-py3-none-any.whl")
    'packages/ab/ab00000000000000000000000000000000000000000000000000000000000000/torch-2.1+cu118-1!0-py3-none-any.whl'

    Raises UnsafePath for a file name such as `../x.whl`, or what is no SHA-256.
    """
    if not _SHA256.match(sha256) or not _FILENAME.match(filename):
        raise UnsafePath(f"{sha256}/{filename}")
    return f"{PACKAGES}/{sha256[:2]}/{sha256}/{filename}"


def package_at(path: str) -> tuple[str, str] | None:
    """SHA-256 and file name of the package at a path; None where no package belongs.

    >>> package_at("packages/ab/ab" + "0" * 62 + "/demo-1.0-py3-none-any.whl")[1]
    'demo-1.0-py3-none-any.whl'
    >>> package_at("packages/notes.txt") is None
    True
    """
    parts = path.split("/")
    try:
        (_, _, sha256, filename) = parts
        return (sha256, filename) if package_path(sha256, filename) == path else None
    except (ValueError, UnsafePath):
        return None


def environment_place(lock: Lock) -> EnvironmentPlace:
    """Where a lock belongs in a cache."""
    return EnvironmentPlace(lock.arch, lock.req_id, lock.full_id)


def environment_at(path: str) -> EnvironmentPlace | None:
    """What the path of a cached lock says; None where no lock belongs.

    >>> environment_at("envs/osx-arm64/" + "1" * 40 + "/" + "2" * 40 + ".toml").arch
    'osx-arm64'
    >>> environment_at("envs/README.md") is None
    True
    """
    parts = path.removesuffix(".toml").split("/")
    if len(parts) != 4:
        return None
    place = EnvironmentPlace(Arch(parts[1]), parts[2], parts[3])
    try:
        return place if place.path == path else None
    except UnsafePath:
        return None


def checked(path: str) -> str:
    """The path of a store, proved to stay inside of its root. Raises UnsafePath.

    >>> checked("envs/linux-64/1.toml")
    'envs/linux-64/1.toml'
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in path or not path.isprintable():
        raise UnsafePath(path)
    return path
