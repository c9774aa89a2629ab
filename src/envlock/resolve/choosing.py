"""Which resolver a project has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.resolve.pypi_uv import UvResolver

if TYPE_CHECKING:
    from envlock.config.project import Settings
    from envlock.resolve.port import Resolver


def resolver_for(settings: Settings) -> Resolver:
    """The resolver that the settings ask for."""
    del settings
    return UvResolver()
