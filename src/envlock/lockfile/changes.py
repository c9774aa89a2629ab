"""What moved between two locks of one arch: packages that were added, removed, upgraded, downgraded or rebuilt.

There is one comparison of locks, and this is it: `lock` uses it to say what it changed, `alias log` what a move
changed, and `diff` how two environments differ. Locks may be `Lock`s or plain rows. Why they moved is often in what
is required: `required_changes` compares that.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from functools import lru_cache

from envlock.model.arch import Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias, TypeVar

    from envlock.lockfile.rows import LockRows, PackageRow
    from envlock.model.lock import Lock, LockedPackage

    AnyLock: TypeAlias = Lock | LockRows
    AnyPackage: TypeAlias = LockedPackage | PackageRow
    Change = TypeVar("Change")

    Places: TypeAlias = tuple[tuple[tuple[str, ...], tuple[Arch, ...]], ...]
    """Environments, and the archs on which they have something."""

VERBS = ("added", "removed", "upgraded", "downgraded", "rebuilt")
"""What can become of a package, in the order of counts. A rebuilt one has its version, and is another file."""
_CALLED = {"conda": "conda", "pypi": "PyPI"}
_NUMBERS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})*\Z")
_PACKAGE = '    {name = "'
"""How the line of a package begins."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class PackageChange(NamedTuple):
    """What became of one package."""

    kind: str
    """`conda` or `pypi`; `python` for the interpreter."""
    name: str
    verb: str
    """One of VERBS."""
    old: str
    """The version before; empty for an added package."""
    new: str
    """Empty for a removed package."""
    old_file: str = ""
    """What distinguishes the file from others of that version: a conda build, a commit, or digits of its SHA-256. Empty
    where the versions do."""
    new_file: str = ""
    direct: bool = False
    """Whether the requirements name it: it is there, or was, for its own sake."""
    of: str = ""
    """`conda` or `PyPI`, if both have a package of the name."""

    @property
    def before(self) -> str:
        """What was there: a version, and the file where that is needed."""
        return f"{self.old} ({self.old_file})" if self.old_file else self.old

    @property
    def after(self) -> str:
        """What is there now."""
        return f"{self.new} ({self.new_file})" if self.new_file else self.new

    def __str__(self) -> str:
        """`+rich 14.0`, `-rich 13.0`, `rich 13.0 -> 14.0`, or `ninja 1.11 -> 1.13 (conda)` beside PyPI's."""
        said = {"added": f"+{self.name} {self.after}", "removed": f"-{self.name} {self.before}"}
        told = said.get(self.verb, f"{self.name} {self.before} -> {self.after}")
        return f"{told} ({self.of})" if self.of else told


class ArchChanges(NamedTuple):
    """How two locks of one arch differ."""

    arch: Arch
    changes: tuple[PackageChange, ...]
    """Python first, then by name."""
    same: int
    """How many packages are the same file in both."""


class FoldedChange(NamedTuple):
    """One change, and all archs that have it."""

    change: PackageChange
    archs: tuple[Arch, ...]


def compare(
    before: AnyLock | None, after: AnyLock, asked: Set[tuple[str, str]] | None = None, *, others: Container[str] = ()
) -> ArchChanges:
    """How one lock differs from another of the same arch; all packages are added, if there is none before.

    Versions are compared as PEP 440 says, or by conda's order. `asked` are the packages that the requirements name, as
    `asked_in` has them, if they are known already. `others` are names of packages that both have and that are left out.
    """
    changes = []
    if before is not None and python_of(before) != python_of(after):
        verb = _verb("pypi", before.python.version, after.python.version)
        changes.append(PackageChange("python", "Python", verb, python_of(before), python_of(after), direct=True))
    old = {(package.name, package.kind): package for package in before.packages} if before is not None else {}
    new = {(package.name, package.kind): package for package in after.packages}
    kinds: dict[str, set[str]] = {}
    for name, kind in {*old, *new}:
        kinds.setdefault(name, set()).add(kind)
    same = 0
    for name, kind in sorted({*old, *new}):
        one, other = old.get((name, kind)), new.get((name, kind))
        if one and other and _identity(one) == _identity(other):
            same += 1
            continue
        if asked is None:
            asked = asked_in(_document(after)) | (asked_in(_document(before)) if before is not None else set())
        of = _CALLED[kind] if len(kinds[name]) > 1 or name in others else ""
        changes.append(_change(one, other, direct=(name, kind) in asked, of=of))
    return ArchChanges(after.arch, tuple(changes), same)


def compare_files(before: bytes, after: bytes, asked: Set[tuple[str, str]]) -> ArchChanges:
    """As `compare`, of two lock files that were verified: of what both have, nothing is read but names.

    So it costs less than reading one of them. `asked` is for `compare`.
    """
    from envlock.lockfile.rows import rows_in

    texts = [data.decode().split("\n") for data in (before, after)]
    both = {line for line in {*texts[0]} & {*texts[1]} if line.startswith(_PACKAGE)}
    rows = [
        rows_in("\n".join([line for line in lines if line not in both]).encode(), with_requirements=False)
        for lines in texts
    ]
    names = {line[len(_PACKAGE) : line.index('"', len(_PACKAGE))] for line in both}
    found = compare(rows[0], rows[1], asked, others=names)
    return found._replace(same=found.same + len(both))


def removed(before: AnyLock) -> ArchChanges:
    """What is gone with a whole lock."""
    asked = asked_in(_document(before))
    changes = [_change(each, None, direct=(each.name, each.kind) in asked) for each in _by_name(before.packages)]
    return ArchChanges(before.arch, tuple(changes), 0)


def fold(archs: Sequence[ArchChanges]) -> tuple[FoldedChange, ...]:
    """The changes of several archs, each once, with all archs that have it: Python first, then by name.

    A package that was rebuilt is another file on each arch: that counts as one change, which then names no files.
    """
    found: dict[PackageChange, list[tuple[Arch, PackageChange]]] = {}
    for each in archs:
        for change in each.changes:
            plain = change._replace(old_file="", new_file="")
            found.setdefault(plain, []).append((each.arch, change))
    folded = []
    for plain, each_arch in found.items():
        first = each_arch[0][1]
        is_alike = all(change == first for _, change in each_arch)
        folded.append(FoldedChange(first if is_alike else plain, tuple(arch for arch, _ in each_arch)))
    return tuple(sorted(folded, key=lambda each: (each.change.kind != "python", each.change.name)))


def grouped(changes: Iterable[tuple[str, Change]]) -> tuple[tuple[tuple[str, ...], Change], ...]:
    """The names of all that have the same change, in the order of the first of them.

    >>> grouped([("a", 1), ("b", 2), ("c", 1)])
    ((('a', 'c'), 1), (('b',), 2))
    """
    groups: dict[Change, list[str]] = {}
    for name, change in changes:
        groups.setdefault(change, []).append(name)
    return tuple((tuple(names), change) for change, names in groups.items())


def places_of(archs: Mapping[str, Sequence[Arch]]) -> Places:
    """Where something is: the environments, those with the same archs together, and the archs on which they have it.

    >>> places_of({"a": ["linux-64"], "b": ["osx-arm64"], "c": ["linux-64"]})
    ((('a', 'c'), ('linux-64',)), (('b',), ('osx-arm64',)))
    """
    return grouped((name, tuple(each)) for name, each in archs.items())


def counts(changes: Iterable[PackageChange]) -> dict[str, int]:
    """How many there are of each verb, without those that are none.

    >>> counts([PackageChange("pypi", "rich", "added", "", "14.0")])
    {'added': 1}
    """
    verbs = [change.verb for change in changes]
    return {verb: verbs.count(verb) for verb in VERBS if verb in verbs}


def python_of(lock: AnyLock) -> str:
    """The interpreter as `full_id` counts it; a conda package is among the packages."""
    if lock.python.source == "conda":
        return "of conda"
    return lock.python.series if lock.python.source == "machine" else f"{lock.python.version} ({lock.python.filename})"


def _identity(package: AnyPackage) -> tuple[str, ...]:
    """What `full_id` counts of a package, beside its kind and name."""
    return package.version, package.build, package.filename, package.sha256


def _by_name(packages: Iterable[AnyPackage]) -> list[AnyPackage]:
    return sorted(packages, key=lambda package: (package.name, package.kind))


def _change(one: AnyPackage | None, other: AnyPackage | None, *, direct: bool, of: str = "") -> PackageChange:
    package = other or one
    assert package is not None
    old, new = (each.version if each else "" for each in (one, other))
    verb = "added" if one is None else "removed" if other is None else _verb(package.kind, old, new)
    files = [_file(each, alone=old == new) if each else "" for each in (one, other)]
    return PackageChange(package.kind, package.name, verb, old, new, files[0], files[1], direct, of)


def _file(package: AnyPackage, *, alone: bool) -> str:
    """What distinguishes a file from others; `alone` is whether the version does not. A git commit always does."""
    if package.source is not None and package.source.kind == "git":
        return package.source.commit[:12]
    return (package.build or package.sha256[:12]) if alone else ""


def _verb(kind: str, old: str, new: str) -> str:
    order = compared(kind, old, new)
    return "rebuilt" if order == 0 else "upgraded" if order < 0 else "downgraded"


@lru_cache(maxsize=4096)
def compared(kind: str, one: str, other: str) -> int:
    """Below 0 if a version is older than another, above if it is newer, 0 if they are equal: by the rules of its kind.

    >>> compared("pypi", "1.9", "1.10"), compared("pypi", "2.0rc1", "2.0"), compared("conda", "1.1.1w", "1.1.1v")
    (-1, -1, 1)
    >>> compared("pypi", "1.0.post1", "1.0.0"), compared("conda", "1!0.5", "2.0"), compared("pypi", "1.0", "1")
    (1, 1, 0)
    """
    if _NUMBERS.match(one) and _NUMBERS.match(other):  # which both kinds order alike: nothing is imported for them
        numbers, others = ([int(part) for part in each.split(".")] for each in (one, other))
        length = max(len(numbers), len(others))
        numbers += [0] * (length - len(numbers))
        others += [0] * (length - len(others))
        return (numbers > others) - (numbers < others)
    if kind == "conda":
        from envlock.conda.match_specs import version_order

        return version_order(one, other)
    from packaging.version import InvalidVersion, Version

    try:
        versions = Version(one), Version(other)
    except InvalidVersion:  # a lock may hold what uv takes: then only equal ones can be recognized
        return (one > other) - (one < other)
    return (versions[0] > versions[1]) - (versions[0] < versions[1])


def _document(lock: AnyLock) -> Mapping[str, Any]:
    required: Any = lock.requirements
    document: Mapping[str, Any] = required if isinstance(required, Mapping) else required.document()
    return document


def asked_in(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Name and kind of each package that requirements name, by their document."""
    from envlock.conda.match_specs import name_in
    from envlock.model.requirement import normalized

    wheels = {match[0] for text in document.get("pypi", ()) if (match := _NAME.match(text))}
    conda = {name_in(text) for key in ("conda", "conda-only") for text in document.get(key, ())}
    return {(normalized(name), "pypi") for name in wheels} | {(name, "conda") for name in conda}
