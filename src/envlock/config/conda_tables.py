"""The conda tables of envlock.toml: packages, the Python, channels.

Imported only for projects that have one: the others do not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from envlock.config.project import KeyPath
from envlock.config.tables import Conflict, Level, agree_python, normalize_python
from envlock.model.conda_requirement import CondaRequirement, both_of, conda_requirement
from envlock.model.url import is_channel, strip_channel_credentials
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CondaEntry(NamedTuple):
    """One package of a conda table, with its key."""

    requirement: CondaRequirement
    """Its channel carries no credentials."""
    key: KeyPath
    channel: str
    """The channel as written, with its credentials: for fetching only."""


class NoChannel(ValueError):
    """The text before `::` is not a channel."""

    def __init__(self, channel: str) -> None:
        super().__init__(channel)
        self.channel = channel


def entry_of(name: str, constraint: str) -> tuple[CondaRequirement, str]:
    """The requirement of one entry of `libraries` or `conda_only`, and its channel as written.

    >>> requirement, channel = entry_of("https://me:pw@conda.example/t/token/team::demo", ">=1")
    >>> str(requirement)
    'https://conda.example/team::demo >=1'

    Raises BadCondaRequirement, NoChannel.
    """
    written, separator, bare = name.strip().rpartition("::")
    if separator and not is_channel(written):
        raise NoChannel(written)
    channel = strip_channel_credentials(written)
    return conda_requirement(f"{channel}::{bare}" if separator else bare, constraint), written


def python_range(text: str) -> str:
    """The version of conda's Python as a PEP 440 range: `=3.11` means any 3.11, as in conda.

    >>> python_range("=3.11"), python_range("3.11.*"), python_range("3.11"), python_range("=3.11.4")
    ('==3.11.*', '==3.11.*', '==3.11.*', '==3.11.4')
    >>> python_range(">=3.10,<3.13"), python_range("")
    ('<3.13,>=3.10', '')

    Raises BadVersionSpecifier.
    """
    text = text.strip()
    if text.startswith("=") and not text.startswith("=="):
        number = text[1:].strip().removesuffix(".*")
        text = number if number.count(".") >= 2 else f"{number}.*"
    return normalize_python(text)


def python_of(requirement: CondaRequirement, constraint: str) -> tuple[str, CondaRequirement | None]:
    """The range of Pythons of a requirement of `python`, and the requirement to pass on to conda.

    That is None unless the requirement has a build or a channel: the range says the rest.

    >>> python_of(conda_requirement("python", "=3.11"), "=3.11")
    ('==3.11.*', None)
    >>> found, left = python_of(conda_requirement("python", "3.11=*_cpython"), "3.11=*_cpython")
    >>> found, str(left)
    ('==3.11.*', 'python 3.11.* *_cpython')

    Raises BadVersionSpecifier.
    """
    if not requirement.build and not requirement.channel:
        return python_range(constraint), None
    exact = requirement.version.removeprefix("==")
    # Two numbers mean their whole series, as they do for every `python` of envlock.toml.
    found = python_range(exact if exact.replace(".", "").isdecimal() else requirement.version)
    series = found.removeprefix("==")
    is_series = series.endswith(".*") and series[:-2].replace(".", "").isdecimal()
    return found, requirement._replace(version=series) if is_series else requirement


def read_conda(level: Level, table: Mapping[str, Any], key: KeyPath) -> None:
    """Add a `conda` table to its level. Raises Conflict, BadCondaRequirement, BadVersionSpecifier."""
    if set(table) - {"disabled"}:
        level.conda_table = level.conda_table or key
    _read_packages(level, level.conda, table.get("libraries", {}), (*key, "libraries"))
    level.channels += [(channel, (*key, "channels", str(n))) for n, channel in enumerate(table.get("channels", ()))]


def read_conda_only(level: Level, packages: Mapping[str, str], key: KeyPath) -> None:
    """Add a `conda_only` table to its level. Raises what `read_conda` raises."""
    _read_packages(level, level.conda_only, packages, key)


def _read_packages(level: Level, entries: dict[str, CondaEntry], packages: Mapping[str, str], key: KeyPath) -> None:
    for name, constraint in packages.items():
        read_package(level, entries, name, constraint, (*key, name))


def read_package(level: Level, entries: dict[str, CondaEntry], name: str, constraint: str, key: KeyPath) -> None:
    """Read one package into `conda` or `conda_only` of its level. Raises what `read_conda` raises, and NoChannel."""
    requirement, channel = entry_of(name, constraint)
    left: CondaRequirement | None = requirement
    if requirement.name == "python":
        found, left = python_of(requirement, constraint)
        agree_python(level, constraint.strip(), found, key)
    if left is None:
        level.conda_table = level.conda_table or key
        return
    add_conda(level, entries, CondaEntry(left, key, channel))


def add_conda(level: Level, entries: dict[str, CondaEntry], entry: CondaEntry) -> None:
    """Add a conda package to one of the level's two tables, `entries`.

    Requirements of one table add up. A Conflict is one that no version can meet beside those that are there, or that
    differs from what the other table has.
    """
    requirement = entry.requirement
    other = level.conda_only if entries is level.conda else level.conda
    for before in filter(None, (entries.get(requirement.name), other.get(requirement.name))):
        both = both_of(before.requirement, requirement)
        if both is None or (both != before.requirement and before is other.get(requirement.name)):
            values = (str(before.requirement), str(requirement))
            raise Conflict("disagreeing-values", before.key, entry.key, values=values)
        if before is entries.get(requirement.name) and both != before.requirement:
            entries[requirement.name] = before._replace(requirement=both)
    entries.setdefault(requirement.name, entry)
