"""Which resolver a project has: what envlock.toml says under `resolver`, for conda and for PyPI packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envlock.config.project import Settings
    from envlock.resolve.port import Resolver


def resolver_for(settings: Settings) -> Resolver:
    """The resolver that the settings ask for, for environments of every type.

    Costs the imports of what is chosen, and starts nothing. Raises ResolverNotInstalled where its package is missing.
    """
    return pypi_resolver(settings)


def pypi_resolver(settings: Settings) -> Resolver:
    """What solves PyPI packages: uv, or pip-tools. Raises ResolverNotInstalled."""
    if settings.pypi_resolver == "pip-tools":
        from envlock.resolve.pypi_piptools import PipToolsResolver

        return PipToolsResolver()
    from envlock.resolve.pypi_uv import UvResolver

    return UvResolver()
