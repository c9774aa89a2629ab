"""Whether the package that an optional resolver rests on is here, in a release that works."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from envlock.resolve.errors import ResolverNotInstalled


def require(
    key: str, resolver: str, module: str, *, least: tuple[int, int], below: tuple[int, int] | None = None
) -> None:
    """Refuse to go on without the distribution named as the resolver is, from `least` on and before `below`.

    Imports nothing of it. Raises ResolverNotInstalled, which names the key of envlock.toml that asks for it.
    """
    needed = f"{resolver} {_text(least)}" + (f" or later, before {_text(below)}" if below else " or later")
    found = ""
    if find_spec(module) is not None:
        try:
            found = version(resolver)
        except PackageNotFoundError:
            found = ""
    release = tuple(int(number) if number.isdecimal() else 0 for number in (found or "0").split(".")[:2])
    if release < least or (below is not None and release >= below):
        raise ResolverNotInstalled(key, resolver, found, needed)


def _text(release: tuple[int, int]) -> str:
    return ".".join(str(number) for number in release)
