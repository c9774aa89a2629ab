"""Whether a Python release lies in a range, without `packaging` (30 ms to import) where plain numbers are compared.

A property test holds it to `packaging`'s answer; whatever is not plain numbers is put to `packaging` itself.
"""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"(==|!=|<=|>=|<|>|~=)(\d+(?:\.\d+)*)(\.\*)?\Z")
_RELEASE = r"\d+(?:\.\d+)*\Z"
OLDEST = (3, 6)
"""The oldest series that packages can be solved for, and that an environment can be made of."""
_PATCHES = 60
"""No series of Python has as many releases."""


def python_allows(specifier: str, version: str) -> bool:
    """Whether a normalised PEP 440 specifier set allows a version.

    >>> python_allows("<3.13,>=3.11", "3.12.4"), python_allows("==3.11.*", "3.12.0"), python_allows("", "3.9.1")
    (True, False, True)
    """
    clauses = [_CLAUSE.match(clause) for clause in specifier.split(",") if clause]
    if re.match(_RELEASE, version) is None or any(clause is None for clause in clauses):
        from packaging.specifiers import SpecifierSet

        return SpecifierSet(specifier).contains(version)
    found = _numbers(version)
    return all(_fits(found, clause[1], clause[2], clause[3]) for clause in clauses if clause is not None)


def is_too_old(specifier: str) -> bool:
    """Whether one clause of a normalised specifier set allows nothing but Pythons older than OLDEST.

    >>> [is_too_old(each) for each in ("==2.7.*", "<3.6,>=3.5", "~=3.4", "<3.7", ">=2.7", "!=3.5.*", "")]
    [True, True, True, False, False, False, False]
    """
    for clause in map(_CLAUSE.match, specifier.split(",")):
        if clause is not None and clause[1] in {"==", "~=", "<=", "<"}:
            wanted = tuple(_padded(_numbers(clause[2]), 3))
            if wanted[:2] < OLDEST or (clause[1] == "<" and wanted == (*OLDEST, 0)):
                return True
    return False


def releases_of(oldest: str, specifier: str) -> tuple[str, ...]:
    """The releases of a series, in order, from `oldest` on, that a normalised specifier set allows.

    Those to come are among them: a series has up to sixty.

    >>> releases_of("3.11.4", "<3.11.7,>=3.11"), len(releases_of("3.11.0", ""))
    (('3.11.4', '3.11.5', '3.11.6'), 60)
    """
    series, _, first = oldest.rpartition(".")
    all_of_them = (f"{series}.{patch}" for patch in range(int(first), _PATCHES))
    return tuple(release for release in all_of_them if python_allows(specifier, release))


def _fits(found: list[int], operator: str, text: str, wildcard: str | None) -> bool:
    wanted = _numbers(text)
    if wildcard:
        return (_padded(found, len(wanted))[: len(wanted)] == wanted) is (operator == "==")
    length = max(len(found), len(wanted))
    left, right = _padded(found, length), _padded(wanted, length)
    if operator == "~=":
        return left >= right and left[: len(wanted) - 1] == wanted[:-1]
    return {
        "==": left == right,
        "!=": left != right,
        "<=": left <= right,
        ">=": left >= right,
        "<": left < right,
        ">": left > right,
    }[operator]


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def _padded(numbers: list[int], length: int) -> list[int]:
    return numbers + [0] * (length - len(numbers))
