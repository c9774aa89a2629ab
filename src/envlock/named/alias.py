"""Names under which environments are shared: `team/base:v1`, as Docker has tags.

`latest`, `candidate` and `stable` are tags that move; every other tag is given once and never moves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MOVING_TAGS = ("latest", "candidate", "stable")
DEFAULT_TAG = "latest"
LONGEST_NAME = 200
LONGEST_TAG = 128

_PART = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_TAG = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9_-])?")
_VARIABLE = re.compile(r"@\{([^{}]*)\}")
_ID = re.compile(r"[0-9a-f]{40}")
_AT = re.compile(r"(?P<alias>[^@]*)@(?P<sequence>[1-9][0-9]{0,9})")


class BadAlias(ValueError):
    """The text is no name that an environment can have; `reason` says why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text!r}: {reason}")
        self.text = text
        self.reason = reason


class MissingVariable(LookupError):
    """`@{VARIABLE}` stands in a name, and nothing is known under that name."""

    def __init__(self, text: str, variable: str) -> None:
        super().__init__(variable)
        self.text = text
        self.variable = variable


class Alias(NamedTuple):
    """A name and a tag.

    >>> str(Alias("team/base", "v1")), Alias("team/base", "stable").moves
    ('team/base:v1', True)
    """

    name: str
    tag: str = DEFAULT_TAG

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"

    @property
    def moves(self) -> bool:
        """Whether the tag may be given to another environment later."""
        return self.tag in MOVING_TAGS


def parse_alias(text: str) -> Alias:
    """The alias that a text names; without a tag, `latest`.

    A name has parts of small letters, digits, `-` and `_`, separated by `/`; a tag may have dots too.

    >>> parse_alias("team/base"), parse_alias("ml-team/fraud/gpu:prod-release-1.2")
    (Alias(name='team/base', tag='latest'), Alias(name='ml-team/fraud/gpu', tag='prod-release-1.2'))

    Raises BadAlias.
    """
    name, separator, tag = text.partition(":")
    if ":" in tag:
        raise BadAlias(text, "a name has one tag")
    if separator and not tag:
        raise BadAlias(text, "the tag is empty")
    if len(name) > LONGEST_NAME:
        raise BadAlias(text, f"a name has at most {LONGEST_NAME} characters")
    if len(tag) > LONGEST_TAG:
        raise BadAlias(text, f"a tag has at most {LONGEST_TAG} characters")
    if _ID.fullmatch(name):
        raise BadAlias(text, "40 hex digits are an id, and no name")
    for part in name.split("/"):
        if not _PART.fullmatch(part):
            raise BadAlias(text, _why(part, "name"))
    if separator and (not _TAG.fullmatch(tag) or ".." in tag):
        raise BadAlias(text, _why(tag, "tag"))
    return Alias(name, tag or DEFAULT_TAG)


def parse_reference(text: str) -> tuple[Alias, int | None]:
    """The alias that a text names, and which of its moves where it says so.

    >>> parse_reference("team/base:stable@3"), parse_reference("team/base")
    ((Alias(name='team/base', tag='stable'), 3), (Alias(name='team/base', tag='latest'), None))

    Raises BadAlias.
    """
    match = _AT.fullmatch(text)
    if match is None:
        return parse_alias(text), None
    return parse_alias(match["alias"]), int(match["sequence"])


def _why(part: str, kind: str) -> str:
    if not part:
        return f"a part of the {kind} is empty"
    if part in {".", ".."} or ".." in part:
        return f"`{part}` is a path, not a part of a {kind}"
    if part != part.lower():
        return f"`{part}` has capitals; {kind}s have small letters"
    strange = next((each for each in part if not re.match(r"[a-z0-9._-]", each)), None)
    if strange is not None:
        return f"{strange!r} (U+{ord(strange):04X}) cannot stand in a {kind}"
    if kind == "name" and "." in part:
        return f"`{part}` has a dot, which only a tag may have"
    return f"`{part}` begins or ends with a character that may only stand inside"


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """The text with the value of each `@{VARIABLE}` in its place.

    >>> substituted("@{TEAM}/base:@{VERSION}", {"TEAM": "ml", "VERSION": "v2"})
    'ml/base:v2'

    Raises MissingVariable.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise MissingVariable(text, match[1])
        return variables[match[1]]

    return _VARIABLE.sub(value, text)


def has_variables(text: str) -> bool:
    """Whether something stands in the text that `substituted` would replace."""
    return _VARIABLE.search(text) is not None
