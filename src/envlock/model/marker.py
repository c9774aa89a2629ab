"""Environment markers (PEP 508): their grammar, and whether one is true as far as the machine's arch decides that."""

from __future__ import annotations

import re
from collections.abc import Mapping

from envlock.errors import ConfigError

_GRAMMAR = (
    r"\s*(?:(?P<paren>[()])"
    r"|(?P<join>(?:and|or)\b)"
    r"|(?P<operator><=|>=|===|==|~=|!=|<|>|in\b|not\s+in\b)"
    r"|(?P<variable>(?:python_version|python_full_version|os_name|sys_platform|platform_release|platform_system"
    r"|platform_version|platform_machine|platform_python_implementation|implementation_name|implementation_version"
    r"|os\.name|sys\.platform|platform\.version|platform\.machine|platform\.python_implementation"
    r"|python_implementation|extras|dependency_groups|extra)\b)"
    r"""|(?P<text>'[^']*'|"[^"]*"))"""
)
_VALUES = ("variable", "text")
FOREIGN = re.compile(r"[^\S \t]|[\x00\\]")
"""What no requirement has: white space other than PEP 508's, and what would escape something in a marker's text."""
_DEEPEST = 50
"""Parentheses in each other that a marker may have. What reads markers does so by recursion."""
_LONGEST = 255
"""Characters that a text in a marker may have. One that is a version is read as numbers."""


class NotAMarker(ConfigError):
    """What stands after `;` in a requirement is not an environment marker."""

    code = "not-a-marker"
    message = "`{found}` is not an environment marker"
    details = ("examples: `sys_platform == 'linux'`, `python_version < '3.12'`",)
    hint = "correct it, or remove what stands after `;`"

    def __init__(self, found: str) -> None:
        super().__init__(found=found)


def is_marker(text: str) -> bool:
    """Whether `text` follows the grammar of markers.

    >>> is_marker("sys_platform == 'linux' and (python_version < '3.12' or os_name == 'nt')")
    True
    >>> is_marker("sys_platform = 'linux'"), is_marker("colour == 'red'"), is_marker("")
    (False, False, False)
    """
    if FOREIGN.search(text):
        return False
    tokens = _tokens(text)
    if not tokens or any(kind == "text" and len(spelt) > _LONGEST + 2 for kind, spelt in tokens):
        return False
    kinds = [spelt if kind == "paren" else kind for kind, spelt in tokens]
    return not _is_deep(kinds) and _expression(kinds, 0) == len(kinds)


def _tokens(text: str) -> list[tuple[str, str]]:
    """The tokens of a marker, each with its kind; none where it has anything that is no token."""
    tokens: list[tuple[str, str]] = []
    position, end = 0, len(text.rstrip())
    token = re.compile(_GRAMMAR)  # kept by re: most projects have no marker, and compiling it takes a millisecond
    while position < end:
        match = token.match(text, position)
        if match is None or match.lastgroup is None:
            return []
        tokens.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return tokens


def _is_deep(kinds: list[str]) -> bool:
    depth = 0
    for kind in kinds:
        depth += (kind == "(") - (kind == ")")
        if depth > _DEEPEST:
            return True
    return False


def _expression(kinds: list[str], at: int) -> int:
    """Where the expression that begins at `at` ends, or -1."""
    at = _comparison(kinds, at)
    while 0 <= at < len(kinds) and kinds[at] == "join":
        at = _comparison(kinds, at + 1)
    return at


def _comparison(kinds: list[str], at: int) -> int:
    if kinds[at : at + 1] == ["("]:
        at = _expression(kinds, at + 1)
        return at + 1 if at >= 0 and kinds[at : at + 1] == [")"] else -1
    left, operator, right = (*kinds[at : at + 3], "", "", "")[:3]
    return at + 3 if left in _VALUES and operator == "operator" and right in _VALUES else -1


def holds(marker: str, values: Mapping[str, str]) -> bool | None:
    """Whether a marker is true where these variables have these values; None where it hangs on others too.

    Only what compares texts is judged: versions are others'.

    >>> linux = {"sys_platform": "linux", "platform_machine": "x86_64"}
    >>> holds("sys_platform == 'linux' and platform_machine in 'x86_64 aarch64'", linux)
    True
    >>> holds("sys_platform == 'linux' and python_version < '3.12'", linux) is None
    True
    >>> holds("(sys_platform == 'darwin' or sys_platform == 'win32') and python_version < '3.12'", linux)
    False
    """
    tokens = _tokens(marker)
    try:
        found, at = _any_of(tokens, 0, values)
    except IndexError:  # it is no marker
        return None
    return found if at == len(tokens) else None


def _any_of(tokens: list[tuple[str, str]], at: int, values: Mapping[str, str]) -> tuple[bool | None, int]:
    found, at = _all_of(tokens, at, values)
    while tokens[at : at + 1] == [("join", "or")]:
        other, at = _all_of(tokens, at + 1, values)
        found = True if found or other else None if None in (found, other) else False
    return found, at


def _all_of(tokens: list[tuple[str, str]], at: int, values: Mapping[str, str]) -> tuple[bool | None, int]:
    found, at = _judged(tokens, at, values)
    while tokens[at : at + 1] == [("join", "and")]:
        other, at = _judged(tokens, at + 1, values)
        found = False if False in (found, other) else None if None in (found, other) else True
    return found, at


def _judged(tokens: list[tuple[str, str]], at: int, values: Mapping[str, str]) -> tuple[bool | None, int]:
    if tokens[at] == ("paren", "("):
        found, at = _any_of(tokens, at + 1, values)
        return found, at + 1
    left, right = (text[1:-1] if kind == "text" else values.get(text) for kind, text in (tokens[at], tokens[at + 2]))
    operator = " ".join(tokens[at + 1][1].split())
    if left is None or right is None or operator not in {"==", "!=", "in", "not in"}:
        return None, at + 3
    is_so = left in right if operator.endswith("in") else left == right
    return is_so == (operator in {"==", "in"}), at + 3


_OPPOSITES = {"==": "!=", "<": ">=", ">": "<=", "in": "not in"}
_OPPOSITES |= {other: one for one, other in _OPPOSITES.items()}


def negated(marker: str) -> str:
    """The marker that is true where this one is not; empty if there is none, because it compares with `~=` or `===`.

    >>> negated("sys_platform == 'linux' and python_version < '3.12'")
    "sys_platform != 'linux' or python_version >= '3.12'"
    >>> negated("os_name not in 'a b' or (os_name == 'c' and extra == 'd')"), negated("python_version ~= '3.9'")
    ("os_name in 'a b' and (os_name != 'c' or extra != 'd')", '')
    """
    tokens = _tokens(marker)
    if any(kind == "operator" and " ".join(spelt.split()) not in _OPPOSITES for kind, spelt in tokens):
        return ""
    return _not_any(tokens, 0)[0]


def _not_any(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    found, at = _not_all(tokens, at)
    parts = [found]
    while tokens[at : at + 1] == [("join", "or")]:
        found, at = _not_all(tokens, at + 1)
        parts.append(found)
    return " and ".join(f"({each})" if len(parts) > 1 and _has_or(each) else each for each in parts), at


def _not_all(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    parts = []
    while True:
        if tokens[at] == ("paren", "("):
            inside, at = _not_any(tokens, at + 1)
            parts.append(inside if _has_or(inside) else f"({inside})" if " and " in inside else inside)
            at += 1
        else:
            left, operator, right = (
                " ".join(spelt.split()) if kind == "operator" else spelt for kind, spelt in tokens[at : at + 3]
            )
            parts.append(f"{left} {_OPPOSITES[operator]} {right}")
            at += 3
        if tokens[at : at + 1] != [("join", "and")]:
            return " or ".join(parts), at
        at += 1


def _has_or(marker: str) -> bool:
    return ("join", "or") in _tokens(marker)


def all_hold(*markers: str) -> str:
    """The marker that is true where all of these are; an empty one always is.

    >>> all_hold("", "os_name == 'posix'"), all_hold("os_name == 'a' or os_name == 'b'", "python_version < '3.12'")
    ("os_name == 'posix'", "(os_name == 'a' or os_name == 'b') and python_version < '3.12'")
    """
    given = list(dict.fromkeys(filter(None, markers)))
    if len(given) < 2:
        return "".join(given)
    return " and ".join(f"({each})" if _has_or(each) else each for each in given)
