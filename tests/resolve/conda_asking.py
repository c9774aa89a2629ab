"""Requests for conda packages, as the tests of the resolver make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from envlock.config.system_packages import system_rows
from envlock.model.arch import LINUX_64, Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirements import Requirements
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.port import Request, Resolution
from tests.support import conda_requirements


def request(
    *conda: str,
    arch: Arch = LINUX_64,
    channels: tuple[str, ...] = ("conda-forge",),
    urls: tuple[str, ...] = (),
    mirrors: tuple[tuple[str, str], ...] = (),
    python: str = "",
    system: Mapping[str, str] | None = None,
    keep: Iterable[LockedPackage] = (),
    exclude_newer: str = "",
    conda_only: Iterable[str] = (),
    **more: object,
) -> Request:
    """A request for these packages (canonical texts) and Python."""
    requirements = Requirements(
        python=python,
        python_from="conda",
        conda=conda_requirements(*conda),
        conda_only=conda_requirements(*conda_only),
        channels=channels,
        system=system_rows({}, system or {}, has_conda=True),
        **more,  # type: ignore[arg-type]
    )
    return Request(
        "demo",
        arch,
        requirements,
        "",
        conda_pins=tuple(keep),
        exclude_newer=exclude_newer,
        channel_urls=urls,
        channel_mirrors=mirrors,
    )


def ask(*conda: str, resolver: CondaResolver | None = None, **options: object) -> Resolution:
    """The answer of a resolver, a new one where none is given."""
    return (resolver or CondaResolver()).resolve(request(*conda, **options))  # type: ignore[arg-type]


def pins(resolution: Resolution) -> dict[str, str]:
    """Versions by name, without Python."""
    return {package.name: package.version for package in resolution.packages if package.name != "python"}


def builds(resolution: Resolution) -> dict[str, str]:
    """Builds by name, without Python."""
    return {package.name: package.build for package in resolution.packages if package.name != "python"}
