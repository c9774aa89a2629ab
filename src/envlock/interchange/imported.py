"""What a lock of another tool says, in envlock's terms, and the choice of its reader.

A reader takes text and decides nothing: which of several wheels fits an arch and a Python is the only thing that a lock
for all of them leaves open. What a lock does not say is left empty, and completed by `workflow/import_locks.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.files import NotPlain, read_file, toml_of
from envlock.interchange.errors import (
    BrokenImport,
    ConflictMarkersInImport,
    UnknownImportChoice,
    UnknownLockFormat,
    UnreadableImport,
)
from envlock.lockfile.canonical_text import conflict_line
from envlock.lockfile.graph import reachable
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import LockedPackage, LockedPython
from envlock.model.requirement import BadVersionSpecifier

if TYPE_CHECKING:
    from envlock.model.conda_requirement import CondaRequirement
    from envlock.model.requirement import PypiRequirement

BYTES = 64 << 20
"""The most that is read of a file: ten times the largest lock of a conda-lock.yml of four platforms."""


_CHOICES = {"environment": "environment", "package": "project", "extras": "extra", "groups": "group"}
"""What may be chosen, as messages name it."""
_BEGINNING = 100_000
"""Characters in which a lock says what it is."""
_KEY = re.compile(r"^([A-Za-z]+):", re.MULTILINE)
_TABLE = re.compile(r"^\[.*?\]+(?=\s*$)", re.MULTILINE)


class Choice(NamedTuple):
    """What to take of a lock that has several things, and what it leaves open."""

    pythons: Callable[[str, Sequence[Arch]], Mapping[Arch, LockedPython]]
    """From a range of Pythons to the locked one for each arch."""
    archs: tuple[Arch, ...] = ()
    """Empty for all that the lock has."""
    environment: str = ""
    """Of a pixi.lock, or a manifest of Metaflow."""
    package: str = ""
    """The project of a workspace in a uv.lock."""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    system: tuple[tuple[Arch, str, str], ...] = ()
    """The floors of the project, as in Requirements."""
    python: str = ""
    """The Pythons that were asked for; empty for those that the lock allows."""


class Imported(NamedTuple):
    """The environment that a lock of another tool describes."""

    kind: str
    """The format, as messages name it."""
    locks: Mapping[Arch, tuple[LockedPackage, ...]]
    """Sorted by kind and name. A package has no SHA-256, or no URL, where the lock has none."""
    pythons: Mapping[Arch, LockedPython]
    python: str = ""
    """The Pythons that envlock.toml will allow, a PEP 440 specifier set."""
    states_requirements: bool = False
    """Whether `roots` are what the lock itself states; else they are found from who needs whom."""
    roots: tuple[PypiRequirement, ...] = ()
    conda_roots: tuple[CondaRequirement, ...] = ()
    overrides: tuple[PypiRequirement, ...] = ()
    """What stands in place of what anybody requires of these packages."""
    channels: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    """Extra package indexes, in order, without credentials."""
    default_index: str = ""
    system: tuple[tuple[Arch, str, str], ...] = ()
    """System packages, as in Requirements."""
    notes: tuple[str, ...] = ()
    has_conda_facts: bool = True
    """Whether its conda packages have all their facts: what they need, their build number, whether they are noarch."""
    has_index_sdists: bool = False
    """Whether its sdists may be of an index that it does not name, so that `build` has to allow them."""
    local: tuple[tuple[str, str], ...] = ()
    """The URL of each requirement that is known by its content, and its path relative to envlock.toml."""
    hashes: Mapping[tuple[str, str], frozenset[str]] = {}
    """For PyPI packages whose file is not known yet: by name and version, the SHA-256 that it may have."""


def read(path: Path, choice: Choice) -> Imported:
    """The environment in a lock of another tool. The format is told from the content.

    Raises UnreadableImport, UnknownLockFormat, UnknownImportChoice, ConflictMarkersInImport, and what the reader of the
    format raises.
    """
    shown = path.name
    try:
        data = read_file(path, BYTES)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnknownLockFormat(shown, f"it is not UTF-8 at byte {error.start}") from None
    except NotPlain as error:
        raise UnreadableImport(shown, error.reason) from None
    except OSError as error:
        raise UnreadableImport(str(path), error.strerror or str(error)) from None
    line = conflict_line(text)
    if line is not None:
        raise ConflictMarkersInImport(shown, line)
    return _reader_of(text, shown, choice)(text, path, choice)


def toml_document(text: str, shown: str, kind: str) -> dict[str, Any]:
    """The values of a lock in TOML. Raises BrokenImport, with the line."""
    import tomli

    try:
        return toml_of(text)
    except tomli.TOMLDecodeError as error:
        raise BrokenImport(shown, kind, f"not TOML: {error}", line=getattr(error, "lineno", None)) from None


@contextmanager
def parts_of(shown: str, kind: str) -> Iterator[None]:
    """Raises BrokenImport where a lock does not have the parts, or the kinds of values, that its format has."""
    try:
        yield
    except BadVersionSpecifier as error:
        raise BrokenImport(shown, kind, error.message) from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise BrokenImport(shown, kind, f"a part is missing or malformed: {error}") from None


Reader = Callable[[str, Path, Choice], Imported]


def _reader_of(text: str, shown: str, choice: Choice) -> Reader:
    """The reader of a text, told by what each tool writes first. Raises where the choice has no meaning for it."""
    module = _module_of(text)
    if not module:
        raise UnknownLockFormat(shown)
    # Only the one that is needed: some of them import as much as a solve does.
    found = __import__(f"envlock.interchange.{module}", fromlist=["read"])
    for field, what in _CHOICES.items():
        chosen = getattr(choice, field)
        if chosen and field not in found.CHOICES:
            raise UnknownImportChoice(shown, what, chosen if isinstance(chosen, str) else chosen[0], ())
    read: Reader = found.read
    return read


def _module_of(text: str) -> str:
    r"""The module of the format that a text has; empty if it has none that is known.

    >>> _module_of("version: 6\nenvironments:\n"), _module_of('{"a": {}}'), _module_of("rich>=13\n")
    ('pixi', 'metaflow_manifest', '')
    """
    beginning = [line for line in text[:_BEGINNING].splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if any(line.strip() == "@EXPLICIT" for line in beginning):
        return "explicit"
    if text[:_BEGINNING].lstrip().startswith("{"):
        return "metaflow_manifest"
    if "--hash" in text and re.search(r"--hash[= ]", text):
        return "requirements_txt"
    keys = {*_KEY.findall(text[:_BEGINNING])}
    if {"version", "environments"} <= keys:
        return "pixi"
    if {"version", "package"} <= keys:
        return "conda_lock"
    of_toml = {line.partition("=")[0].strip() for line in beginning if "=" in line}
    tables = {*_TABLE.findall(text)}
    if "[metadata]" in tables and re.search(r"^lock-version *=", text, re.MULTILINE):
        return "poetry_lock"
    if "[metadata]" in tables and re.search(r"^lock_version *=", text, re.MULTILINE):
        return "pdm_lock"
    if "lock-version" in of_toml:
        return "pylock"
    return "uv_lock" if "[[package]]" in tables and {"version", "requires-python"} <= of_toml else ""


def known_archs(names: Iterable[str]) -> tuple[tuple[Arch, ...], tuple[str, ...]]:
    """Of these platforms, the archs that envlock knows, in its order, and the others.

    >>> known_archs(["win-64", "osx-arm64", "linux-64"])
    (('linux-64', 'osx-arm64'), ('win-64',))
    """
    names = list(names)
    return tuple(arch for arch in ARCHS if arch in names), tuple(sorted({*names} - {*ARCHS}))


def roots_among(edges: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The names from which all are reached, and that no other needs; of a circle, its first name. Sorted.

    >>> roots_among({"a": ["b"], "b": [], "c": ["d"], "d": ["c"]})
    ('a', 'c')
    """
    known = {name: [each for each in needed if each in edges and each != name] for name, needed in edges.items()}
    needed = {each for names in known.values() for each in names}
    plain = known.keys() - needed
    reached = reachable(known, plain)
    first: dict[str, set[str]] = {}
    for name in sorted(known.keys() - reached):
        if name not in reached:
            first[name] = reachable(known, [name])
            reached |= first[name]
    # One that a later circle reaches is no root: it only was the first of its own.
    circles = [name for name in first if not any(name in others for each, others in first.items() if each != name)]
    return tuple(sorted((*plain, *circles)))
