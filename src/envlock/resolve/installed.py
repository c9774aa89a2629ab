"""Whether the package that an optional resolver rests on is here, in a release that works."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from envlock.resolve.errors import ResolverNotInstalled


def require_conda_lock() -> None:
    """Refuse to go on without conda-lock, in a release whose inner functions are known. Raises ResolverNotInstalled."""
    _require("resolver.conda", "conda-lock", "conda_lock", least=(4, 0), below=(4, 1))


def require_pip_tools() -> None:
    """Refuse to go on without pip-tools. Raises ResolverNotInstalled."""
    _require("resolver.pypi", "pip-tools", "piptools", least=(7, 6))


def _require(
    key: str, resolver: str, module: str, *, least: tuple[int, int], below: tuple[int, int] | None = None
) -> None:
    """Refuse to go on without the distribution of the resolver's name, from `least` on and before `below`.

    Imports nothing of it.
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
