"""Which resolver a project has: what envlock.toml says under `resolver`, for conda and for PyPI packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envlock.config.project import Settings
    from envlock.resolve.port import Resolver


def resolver_for(settings: Settings, *, offline: bool = False) -> Resolver:
    """The resolver that the settings ask for, for environments of every type.

    Starts nothing, and what conda packages need is imported only once one is solved for. Raises ResolverNotInstalled
    where the package of a chosen resolver is missing, whether or not an environment needs it.
    """
    from envlock.resolve.mixed import ByType

    if settings.conda_resolver == "conda-lock":
        from envlock.resolve.installed import require_conda_lock

        require_conda_lock()
    if settings.pypi_resolver == "pip-tools":
        from envlock.resolve.installed import require_pip_tools

        require_pip_tools()
    return ByType(lambda: conda_resolver(settings, offline=offline), lambda: pypi_resolver(settings))


def conda_resolver(settings: Settings, *, offline: bool = False) -> Resolver:
    """What solves conda packages: py-rattler, or conda-lock. Raises ResolverNotInstalled."""
    if settings.conda_resolver == "conda-lock":
        from envlock.resolve.conda_lock import CondaLockResolver

        return CondaLockResolver(offline=offline)
    from envlock.resolve.conda_rattler import CondaResolver

    return CondaResolver(offline=offline)


def pypi_resolver(settings: Settings) -> Resolver:
    """What solves PyPI packages: uv, or pip-tools. Raises ResolverNotInstalled."""
    if settings.pypi_resolver == "pip-tools":
        from envlock.resolve.pypi_piptools import PipToolsResolver

        return PipToolsResolver()
    from envlock.resolve.pypi_uv import UvResolver

    return UvResolver()
