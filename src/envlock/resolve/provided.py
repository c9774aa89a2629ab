"""What conda packages provide, as PyPI knows it: names, versions, extras."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock.model.requirement import BadPackageName, name_in_either, normalize_name
from envlock.resolve.port import Extras, Provided

if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage


def provided_by(packages: Iterable[LockedPackage]) -> tuple[Provided, ...]:
    """What conda packages provide, one of each name: of several, that of the package which is called so."""
    found: dict[str, Provided] = {}
    for package in packages:
        for name, version in package.conda.provides if package.conda else ():
            if name not in found or name_in_either(package.name) == name:
                found[name] = Provided(name, version, f"{package.name} {package.version}")
    return tuple(found[name] for name in sorted(found))


def extras_in(metadata: str) -> Extras | None:
    r"""The extras that a distribution's METADATA has; None where it cannot be read.

    >>> extras_in("Name: a\nProvides-Extra: Fast\nRequires-Dist: b\nRequires-Dist: c>=1; extra == 'fast'\n")
    Extras(names=('fast',), requires=('c>=1; extra == "fast"',))
    """
    from email.parser import HeaderParser

    from packaging.requirements import InvalidRequirement, Requirement

    headers = HeaderParser().parsestr(metadata)
    try:
        names = {normalize_name(str(name).strip()) for name in headers.get_all("Provides-Extra", ())}
        requires = [Requirement(str(text)) for text in headers.get_all("Requires-Dist", ())]
    except (InvalidRequirement, BadPackageName):
        return None
    return Extras(
        tuple(sorted(names)), tuple(str(each) for each in requires if each.marker and "extra" in str(each.marker))
    )


def pypi_version(version: str) -> str:
    """The version as PEP 440 has it; empty for what is no such version.

    What conda has to write as `1.2_3` is `1.2-3`.

    >>> pypi_version("1.26.4"), pypi_version("1.2_3"), pypi_version("2024a"), pypi_version("1.1.1w")
    ('1.26.4', '1.2.post3', '2024a0', '')
    """
    from packaging.version import InvalidVersion, Version

    for text in (version, version.replace("_", "-")):
        with suppress(InvalidVersion):
            return str(Version(text))
    return ""
