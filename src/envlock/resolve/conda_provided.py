"""What conda packages provide, as PyPI knows it (names, versions, extras), in the two forms that resolvers take.

uv takes a package from the first index that knows its name. `write_index` makes an index that knows exactly the
provided distributions, each in its one version and without dependencies: PyPI is never asked for them, and a
requirement that they do not meet has no solution. No files are behind its links; uv reads all it needs from
`dependency-metadata`.

pip-tools takes wheels: as a constraint by URL, a wheel that holds only its metadata is the one release of its name that
pip considers. None of them is installed or locked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from envlock.model.requirement import BadPackageName, name_in_either, normalize_name
from envlock.resolve.port import Extras, Provided

if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage


def provided_by(packages: Iterable[LockedPackage]) -> tuple[Provided, ...]:
    """What conda packages provide, one of each name: if several have it, the package of that name wins."""
    found: dict[str, Provided] = {}
    for package in packages:
        for name, version in package.conda.provides if package.conda else ():
            if name not in found or name_in_either(package.name) == name:
                found[name] = Provided(name, version, f"{package.name} {package.version}")
    return tuple(found[name] for name in sorted(found))


def extras_in(metadata: str) -> Extras | None:
    r"""The extras in a distribution's METADATA; None if it cannot be read.

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
    """The version in the spelling of PEP 440; empty if it has none.

    What conda has to write as `1.2_3` is `1.2-3`.

    >>> pypi_version("1.26.4"), pypi_version("1.2_3"), pypi_version("2024a"), pypi_version("1.1.1w")
    ('1.26.4', '1.2.post3', '2024a0', '')
    """
    from packaging.version import InvalidVersion, Version

    for text in (version, version.replace("_", "-")):
        with suppress(InvalidVersion):
            return str(Version(text))
    return ""


INDEX_NAME = "envlock-provided"
_NOWHERE = "https://conda.invalid/"
"""A host that cannot exist (RFC 2606): if uv ever wanted one of the files, it would fail."""


def write_index(folder: Path, provided: Iterable[Provided]) -> str:
    """Write an index (PEP 503) of what is provided below `folder`, and return its URL."""
    for each in provided:
        page = folder / each.name / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        link = f'<a href="{_url(each)}#sha256={hashlib.sha256(_filename(each).encode()).hexdigest()}">'
        page.write_text(f"<!DOCTYPE html><html><body>{link}{_filename(each)}</a></body></html>\n", encoding="utf-8")
    return folder.as_uri()


def dependency_metadata(provided: Iterable[Provided]) -> list[dict[str, object]]:
    """What uv should assume about the provided distributions, as its `dependency-metadata`.

    >>> dependency_metadata([Provided("numpy", "1.26.4", "numpy 1.26.4")])
    [{'name': 'numpy', 'version': '1.26.4', 'requires-dist': [], 'provides-extra': []}]
    """
    return [
        {
            "name": each.name,
            "version": each.version,
            "requires-dist": list(each.extras.requires) if each.extras else [],
            "provides-extra": list(each.extras.names) if each.extras else [],
        }
        for each in provided
    ]


def is_stub(url: str) -> bool:
    """Whether it is a URL of `write_index`."""
    return url.startswith(_NOWHERE)


def _url(provided: Provided) -> str:
    return _NOWHERE + quote(_filename(provided))


def _filename(provided: Provided) -> str:
    return f"{_stem(provided)}-py3-none-any.whl"


def _stem(provided: Provided) -> str:
    return f"{provided.name.replace('-', '_')}-{provided.version}"


_WHEEL = "Wheel-Version: 1.0\nGenerator: envlock\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def write_stub_wheels(folder: Path, provided: Iterable[Provided]) -> tuple[str, ...]:
    """Write a wheel for each provided distribution into `folder`, and return constraints (PEP 508, by URL)."""
    folder.mkdir()
    return tuple(f"{each.name} @ {_write(folder, each).as_uri()}" for each in provided)


def _write(folder: Path, provided: Provided) -> Path:
    import zipfile  # which no lock without conda packages needs

    lines = ["Metadata-Version: 2.1", f"Name: {provided.name}", f"Version: {provided.version}"]
    if provided.extras is not None:
        lines += [f"Provides-Extra: {extra}" for extra in provided.extras.names]
        lines += [f"Requires-Dist: {requirement}" for requirement in provided.extras.requires]
    files = {"METADATA": "".join(f"{line}\n" for line in lines), "WHEEL": _WHEEL, "RECORD": ""}
    path = folder / _filename(provided)
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(f"{_stem(provided)}.dist-info/{file}", text)
    return path
