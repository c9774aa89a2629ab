"""The entries of `pypi.packages`: what a key and its value say of one package, without looking at anything else."""

from __future__ import annotations

from collections.abc import Mapping

from envlock.model.requirement import (
    BadPackageName,
    BadVersionSpecifier,
    PypiRequirement,
    normalize_marker,
    normalize_name,
    normalize_specifier,
    parse_requirement,
)
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def requirement_of(name: str, value: str) -> PypiRequirement:
    """The requirement of one entry of a `packages` table.

    >>> str(requirement_of("requests[socks]", ">=2 ; sys_platform == 'linux'"))
    "requests[socks]>=2 ; sys_platform == 'linux'"
    >>> str(requirement_of("demo@https://index.example/demo-1-py3-none-any.whl", ""))
    'demo @ https://index.example/demo-1-py3-none-any.whl'
    """
    return one_requirement_of(name, value)[0]


class EntryParts(NamedTuple):
    """What one entry of a `packages` table says beside the package's name, as written."""

    specifier: str
    marker: str = ""
    from_index: str = ""
    is_empty: bool = False
    """Whether it says nothing of versions: then its key may have all of a requirement."""


def entry_parts(value: str | Mapping[str, str]) -> EntryParts:
    """The parts of an entry, a string or a table.

    >>> entry_parts(">=2;os_name=='posix'")
    EntryParts(specifier='>=2', marker="os_name=='posix'", from_index='', is_empty=False)
    >>> entry_parts({"index": "cu121"})
    EntryParts(specifier='', marker='', from_index='cu121', is_empty=True)
    """
    if isinstance(value, str):
        specifier, semicolon, marker = value.partition(";")
        return EntryParts(specifier, marker, is_empty=not (specifier.strip() or semicolon))
    specifier, marker, index = (value.get(part, "") for part in ("version", "marker", "index"))
    return EntryParts(specifier, marker, index, is_empty=not (specifier.strip() or marker.strip()))


def package_name(key: str, *, is_pypi: bool) -> str:
    """The package that a key of `packages` or `libraries` names, without extras, URL and channel.

    >>> package_name("Requests[socks]", is_pypi=True), package_name("conda-forge::FFmpeg", is_pypi=False)
    ('requests', 'ffmpeg')

    Raises BadPackageName.
    """
    if not is_pypi:
        return key.rpartition("::")[2].strip().lower()
    return normalize_name(key.partition("@")[0].partition("[")[0].strip())


def requirement_of_key(key: str, *, alone: bool) -> PypiRequirement:
    """The package, its extras and its URL, as the key of an entry has them; `alone`, without a value, it may have all.

    >>> requirement_of_key("Demo[x]@https://index.example/demo-1-py3-none-any.whl", alone=False).extras
    ('x',)

    Raises BadPackageName, and what parse_requirement raises of a URL.
    """
    try:
        found = parse_requirement(key.replace("@", " @ ", 1))
    except BadVersionSpecifier:
        raise BadPackageName(key) from None
    if not alone and (found.specifier or found.marker):
        raise BadPackageName(key)
    return found


def requirements_of(name: str, value: Any) -> list[tuple[PypiRequirement, str]]:
    """The requirements of an entry of a `packages` table, a string, a table or a list, each with its `index`.

    >>> [str(each) for each, _ in requirements_of("torch", ["2.3.1 ; sys_platform == 'linux'", {"extras": ["opt"]}])]
    ["torch==2.3.1 ; sys_platform == 'linux'", 'torch[opt]']
    >>> requirements_of("torch", {"version": ">=2", "index": "cu121"})[0][1]
    'cu121'
    """
    return [one_requirement_of(name, item) for item in (value if isinstance(value, list) else [value])]


def one_requirement_of(name: str, value: str | Mapping[str, Any]) -> tuple[PypiRequirement, str]:
    """The requirement of an entry that is no list, with its `index`. Raises as `requirement_of_key`."""
    specifier, marker, index, is_empty = entry_parts(value)
    if ";" in specifier or (index and "@" in name):
        raise BadVersionSpecifier(specifier, "a marker belongs to `marker`, and a URL has no index")
    found = requirement_of_key(name, alone=is_empty)
    if specifier.strip():
        if found.url:
            raise BadVersionSpecifier(specifier.strip(), "a URL is one version already")
        found = found._replace(specifier=normalize_specifier(specifier))
    if marker.strip():
        found = found._replace(marker=normalize_marker(marker))
    if not isinstance(value, str):
        extras = {*found.extras, *map(normalize_name, value.get("extras", ()))}
        found = found._replace(extras=tuple(sorted(extras)))
    return found, index
