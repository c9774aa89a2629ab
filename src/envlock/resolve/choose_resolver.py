"""Which resolvers a project uses: `resolver` in envlock.toml, for conda and for PyPI packages."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock.resolve.errors import ResolverNotInstalled

if TYPE_CHECKING:
    from envlock.config.settings import Settings
    from envlock.resolve.building import BuildingResolver
    from envlock.resolve.port import Resolver


def resolver_for(settings: Settings, *, offline: bool = False) -> Resolver:
    """The resolver for environments of every type, as the settings choose it.

    Starts no process, and imports what conda packages need when the first of them is resolved. Raises
    ResolverNotInstalled if the package of a chosen resolver is missing, even if no environment needs it.
    """
    from envlock.resolve.mixed import ByType

    if settings.resolver.conda == "conda-lock":
        require_conda_lock()
    if settings.resolver.pypi == "pip-tools":
        require_pip_tools()
    return ByType(lambda: conda_resolver(settings, offline=offline), lambda: pypi_resolver(settings))


def conda_resolver(settings: Settings, *, offline: bool = False) -> Resolver:
    """The resolver of conda packages: py-rattler, or conda-lock. Raises ResolverNotInstalled."""
    if settings.resolver.conda == "conda-lock":
        from envlock.resolve.conda_lock import CondaLockResolver

        return CondaLockResolver(offline=offline)
    from envlock.resolve.conda_rattler import CondaResolver

    return CondaResolver(offline=offline)


def pypi_resolver(settings: Settings) -> BuildingResolver:
    """The resolver of PyPI packages: uv, or pip-tools, around what is built. Raises ResolverNotInstalled."""
    from envlock.resolve.building import BuildingResolver
    from envlock.resolve.pypi_uv import UvResolver

    uv = UvResolver()
    if settings.resolver.pypi == "pip-tools":
        from envlock.resolve.pypi_piptools import PipToolsResolver

        return BuildingResolver(PipToolsResolver(), uv)
    return BuildingResolver(uv, uv)


def require_conda_lock() -> None:
    """Refuse to go on without conda-lock in a release whose internals are known. Raises ResolverNotInstalled."""
    _require("resolver.conda", "conda-lock", "conda_lock", least=(4, 0), below=(4, 1))


def require_pip_tools() -> None:
    """Refuse to go on without pip-tools. Raises ResolverNotInstalled."""
    _require("resolver.pypi", "pip-tools", "piptools", least=(7, 6))


def _require(
    key: str, resolver: str, module: str, *, least: tuple[int, int], below: tuple[int, int] | None = None
) -> None:
    """Refuse to go on unless a release of the resolver from `least` on, and before `below`, is installed.

    Looks at its metadata, and imports nothing of it.
    """
    needed = f"{resolver} {_text(least)}" + (f" or later, before {_text(below)}" if below else " or later")
    from importlib import metadata

    found = ""
    if importlib.util.find_spec(module) is not None:
        with suppress(metadata.PackageNotFoundError):
            found = metadata.version(resolver)
    release = tuple(int(number) if number.isdecimal() else 0 for number in (found or "0").split(".")[:2])
    if release < least or (below is not None and release >= below):
        raise ResolverNotInstalled(key, resolver, found, needed)


def _text(release: tuple[int, int]) -> str:
    return ".".join(str(number) for number in release)
