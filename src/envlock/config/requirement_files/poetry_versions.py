"""Poetry's version constraints as PEP 440 and as markers: `^1.2`, `~1.2`, `1.*`, `>=1 <2`, `^2.7 || ^3.6`.

A property test holds both to what poetry-core allows.
"""

from __future__ import annotations

import re

from envlock.model.requirement import BadVersionSpecifier, normalize_specifier
from envlock.values import NamedTuple

_CLAUSE = re.compile(
    r"(?P<operator>\^|~=|~|==?|!=|<=|>=|<|>)?\s*v?"
    r"(?P<version>(?P<release>(?:[0-9]{1,9}!)?[0-9]{1,9}(?:\.[0-9]{1,9})*)(?P<rest>[A-Za-z0-9.+_-]*?))(?P<any>(?:\.[*xX])*)\Z"
)
_ANY = re.compile(r"v?[*xX](?:\.[*xX])*\Z")
_PLAIN = re.compile(r"(==|>=|<=|<|>)([0-9]+(?:\.[0-9]+)*)(\.\*)?\Z")
_MOST = 40
"""Series that may lie between two alternatives."""
_LAST_OF_2 = (2, 7)


def specifier_of(constraint: str, *, is_python: bool = False) -> str:
    """The PEP 440 specifier of a constraint, normalised. `is_python`: of Pythons, of which 2.7 is the last before 3.

    >>> specifier_of("^1.2.3"), specifier_of("^0.2"), specifier_of("~1.2"), specifier_of("1.2.*"), specifier_of("*")
    ('<2.0.0,>=1.2.3', '<0.3,>=0.2', '<1.3,>=1.2', '==1.2.*', '')
    >>> specifier_of(">=1.2 <2.0"), specifier_of("1.4"), specifier_of("<1.4 || >=1.6")
    ('<2.0,>=1.2', '==1.4', '!=1.4.*,!=1.5.*')
    >>> specifier_of("~2.7 || ^3.6", is_python=True)
    '!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,!=3.5.*,<4.0,>=2.7'

    Raises BadVersionSpecifier, also for alternatives that PEP 440 cannot say.
    """
    ways = [_clauses(each) for each in re.split(r"\s*\|\|?\s*", constraint.strip())]
    if not all(ways):
        return ""
    if len(ways) == 1:
        return normalize_specifier(",".join(ways[0]))
    spans = sorted((_span(each, constraint) for each in ways), key=lambda span: span.low)
    excluded: list[str] = []
    joined = spans[0]
    for span in spans[1:]:
        if joined.high is None or span.low <= joined.high:
            highest = None if joined.high is None or span.high is None else max(joined, span, key=_high)
            joined = joined._replace(high=highest.high if highest else None, upper=highest.upper if highest else "")
            continue
        excluded += [f"!={series}.*" for series in _between(joined, span, constraint, is_python)]
        joined = _Span(joined.low, joined.lower, span.high, span.upper)
    return normalize_specifier(",".join(filter(None, (joined.lower, joined.upper, *excluded))))


def marker_of(constraint: str) -> str:
    """The marker of a constraint of Pythons, as poetry makes it of `python = "..."`; empty for any.

    >>> marker_of("^3.9")
    "python_version >= '3.9' and python_version < '4.0'"
    >>> marker_of("~2.7 || >=3.6.2")
    "(python_version >= '2.7' and python_version < '2.8') or python_full_version >= '3.6.2'"

    Raises BadVersionSpecifier.
    """
    ways = []
    for each in re.split(r"\s*\|\|?\s*", constraint.strip()):
        terms = [_term(clause, constraint) for clause in _clauses(each)]
        if not terms:
            return ""
        ways.append(" and ".join(terms))
    if len(ways) == 1:
        return ways[0]
    return " or ".join(f"({each})" if " and " in each or " or " in each else each for each in ways)


def _term(clause: str, constraint: str) -> str:
    found = re.fullmatch(r"(==|!=|>=|<=|<|>)([0-9]+(?:\.[0-9]+)*)(\.\*)?", clause)
    if found is None:
        raise BadVersionSpecifier(constraint, "of Pythons, write plain numbers")
    operator, version, is_series = found.groups()
    numbers = version.count(".") + 1
    if is_series and numbers == 1:
        after = int(version) + 1
        inside = f"python_version >= '{version}' and python_version < '{after}'"
        return inside if operator == "==" else f"(python_version < '{version}' or python_version >= '{after}')"
    if is_series and numbers > 2:
        raise BadVersionSpecifier(constraint, "of Pythons, write plain numbers")
    if numbers > 2:
        return f"python_full_version {operator} '{version}'"
    if operator in {">", "<=", "!="} and not is_series:  # 3.9.1 is not 3.9, and its python_version is
        return f"python_full_version {operator} '{version}{'.0' * (3 - numbers)}'"
    return f"python_version {operator} '{version}'"


class _Span(NamedTuple):
    """Versions from `low` to before or at `high`, with the clauses that say so."""

    low: tuple[int, ...]
    lower: str
    high: tuple[int, ...] | None
    upper: str


def _high(span: _Span) -> tuple[int, ...]:
    return span.high or ()


def _clauses(text: str) -> list[str]:
    """The clauses of one alternative, in PEP 440; none if it allows all."""
    text = re.sub(r"([<>=!~^])\s+", r"\1", text.strip().rstrip(","))
    words = [each for each in re.split(r"[\s,]+", text) if each]
    if not words:
        raise BadVersionSpecifier(text, "a constraint is missing")
    return [clause for word in words for clause in _of_clause(word)]


def _of_clause(word: str) -> list[str]:
    if _ANY.match(word):
        return []
    found = _CLAUSE.match(word)
    if found is None:
        raise BadVersionSpecifier(word)
    operator, version, is_series = found["operator"] or "", found["version"], bool(found["any"])
    if operator in {"^", "~"} or (operator == "~=" and "." not in found["release"]):
        if is_series:
            raise BadVersionSpecifier(word)
        return [f">={version}", f"<{_next(operator, found['release'])}"]
    if operator in {"<", "<=", ">", ">=", "~="}:
        return [f"{operator}{version}"]
    operator = "!=" if operator == "!=" else "=="
    return [f"{operator}{version}{'.*' if is_series else ''}"]


def _next(operator: str, release: str) -> str:
    """The first version that `^` or `~` before a version does not allow.

    >>> _next("^", "0.0.3"), _next("^", "0.2.3"), _next("^", "0"), _next("~", "1.2.3"), _next("~", "1")
    ('0.0.4', '0.3.0', '1', '1.3.0', '2')
    """
    epoch, separator, numbers = release.rpartition("!")
    parts = [int(each) for each in numbers.split(".")]
    if operator == "^":
        place = next((n for n, each in enumerate(parts[:2]) if each), min(len(parts), 3) - 1)
    else:
        place = min(len(parts) - 1, 1) if operator == "~" else 0
    raised = [*parts[:place], parts[place] + 1, *([0] * (min(len(parts), 3) - place - 1))]
    return f"{epoch}{separator}{'.'.join(map(str, raised))}"


def _span(clauses: list[str], constraint: str) -> _Span:
    """The versions that one of several alternatives allows: from one to another, or one series."""
    low: tuple[int, ...] = ()
    lower, high, upper = "", None, ""
    for clause in clauses:
        found = _PLAIN.match(clause)
        if found is None or (found[3] and found[1] != "==") or (found[1] == "==" and len(clauses) > 1):
            raise BadVersionSpecifier(constraint, "PEP 440 cannot say these alternatives")
        numbers = tuple(map(int, found[2].split(".")))
        if found[1] == "==" and not found[3]:
            raise BadVersionSpecifier(constraint, "PEP 440 cannot say these alternatives")
        if found[1] == "==":
            after = (*numbers[:-1], numbers[-1] + 1)
            return _Span(_trimmed(numbers), f">={found[2]}", _trimmed(after), f"<{'.'.join(map(str, after))}")
        if found[1][0] == ">" and not lower:
            low, lower = numbers, clause
        elif found[1][0] == "<" and not upper:
            high, upper = numbers, clause
        else:
            raise BadVersionSpecifier(constraint, "PEP 440 cannot say these alternatives")
    if lower[:2] not in {"", ">="} or upper.startswith("<="):
        raise BadVersionSpecifier(constraint, "PEP 440 cannot say these alternatives")
    return _Span(_trimmed(low), lower, _trimmed(high) if high else None, upper)


def _between(one: _Span, other: _Span, constraint: str, is_python: bool) -> list[str]:
    """The series between two alternatives, all of which are left out."""
    assert one.high is not None
    high, low = one.high, other.low
    if is_python and high[0] == _LAST_OF_2[0] and high > _LAST_OF_2 and low[0] == 3:
        high = (3, 0)
    length = max(len(high), len(low))
    high, low = ((*each, *([0] * (length - len(each)))) for each in (high, low))
    if high[:-1] != low[:-1] or low[-1] - high[-1] > _MOST:
        raise BadVersionSpecifier(constraint, "PEP 440 cannot say these alternatives")
    return [".".join(map(str, (*high[:-1], number))) for number in range(high[-1], low[-1])]


def _trimmed(numbers: tuple[int, ...]) -> tuple[int, ...]:
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers
