"""Names of conda packages and PyPI distributions, from the published mapping in `data/`.

What a conda package really contains is in its own archive (`archives.py`); this is for when that cannot be read, and
for the way from PyPI to conda. A name that the mapping does not have is the same on both sides.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from envlock.model.requirement import normalized


def pypi_names(conda_name: str) -> tuple[str, ...]:
    """The PyPI distributions that a conda package usually contains, normalized; none if it is not on PyPI.

    The first call costs some milliseconds, later ones nothing.

    >>> pypi_names("pytorch"), pypi_names("numpy"), pypi_names("ffmpeg"), pypi_names("Our_Own")
    (('torch',), ('numpy',), (), ('our-own',))
    """
    name = conda_name.lower()
    found = _published().get(name)
    return (normalized(name),) if found is None else tuple(found.split())


def conda_name(pypi_name: str) -> str:
    """The conda package that usually contains a PyPI distribution.

    >>> conda_name("torch"), conda_name("typing_extensions"), conda_name("numpy"), conda_name("Our.Own")
    ('pytorch', 'typing_extensions', 'numpy', 'our-own')
    """
    name = normalized(pypi_name)
    return _packages().get(name, name)


@cache
def _published() -> Mapping[str, str]:
    """The packages whose distributions have other names, with those distributions."""
    return _by_first_word(_sections()[0])


@cache
def _packages() -> Mapping[str, str]:
    """The distributions whose package has another name, with that package."""
    return _by_first_word(_sections()[1])


@cache
def _sections() -> tuple[str, str]:
    # Not importlib.resources: importing it takes longer than all that is done here.
    text = gzip.decompress((Path(__file__).parent / "data" / "pypi_names.txt.gz").read_bytes()).decode()
    packages, _, distributions = text.partition("\n\n")
    return packages, distributions


def _by_first_word(lines: str) -> Mapping[str, str]:
    rows = [line.partition(" ") for line in lines.splitlines()]
    return {first: rest for first, _, rest in rows}
