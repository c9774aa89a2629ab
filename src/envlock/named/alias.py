"""Aliases (`team/base:v1`, as Docker has tags), and the other texts that name an environment.

A reference is an alias, a move of its tag (`team/base:stable@3`), ids (`req_id:full_id`), or the pathspec of a step
that ran. `latest`, `candidate` and `stable` are tags that move; every other tag is given once and never moves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from envlock.model.arch import Arch
from envlock.values import NamedTuple
from envlock.words import short_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.named.errors import BadAlias

MOVING_TAGS = ("latest", "candidate", "stable")
DEFAULT_TAG = "latest"
LONGEST_NAME = 200
LONGEST_TAG = 128

_PART = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_TAG = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9_-])?")
_MOVE = re.compile(r"(?P<alias>[^@]*)@(?P<sequence>[1-9][0-9]{0,9})")
_ID = re.compile(r"[0-9a-f]{40}")
_IDS = re.compile(r"([0-9a-f]{4,40}):([0-9a-f]{4,40})")
_PATHSPEC = re.compile(
    r"[A-Za-z_]\w*/[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z_]\w*(?:/[A-Za-z0-9][A-Za-z0-9_.-]*)?", re.ASCII
)
_VARIABLE = re.compile(r"@\{([^{}]*)\}")


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


class EnvironmentIds(NamedTuple):
    """The ids of one environment: of its requirements, and of what they resolved to on each arch.

    >>> ids = EnvironmentIds("1" * 40, ((Arch("linux-64"), "2" * 40), (Arch("osx-64"), "3" * 40)))
    >>> ids.archs, ids.full_id(Arch("osx-arm64"))
    (('linux-64', 'osx-64'), None)
    """

    req_id: str
    full_ids: tuple[tuple[Arch, str], ...]
    """Sorted by arch."""

    @property
    def archs(self) -> tuple[Arch, ...]:
        """The archs that it is locked for."""
        return tuple(arch for arch, _ in self.full_ids)

    def full_id(self, arch: Arch) -> str | None:
        """What it resolved to on an arch; None if it is not locked for that."""
        return dict(self.full_ids).get(arch)

    def __str__(self) -> str:
        """For messages: the ids, shortened, and the archs; a full_id that several archs share is said once.

        >>> both = ((Arch("osx-64"), "3" * 40), (Arch("osx-arm64"), "3" * 40))
        >>> print(EnvironmentIds("1" * 40, ((Arch("linux-64"), "2" * 40), *both)))
        111111111111:222222222222 on linux-64; :333333333333 on osx-64, osx-arm64
        """
        archs: dict[str, list[str]] = {}
        for arch, full_id in self.full_ids:
            archs.setdefault(short_ids(full_id), []).append(arch)
        return short_ids(self.req_id) + "; ".join(f":{full_id} on {', '.join(on)}" for full_id, on in archs.items())


def parse_alias(text: str) -> Alias:
    """The alias that a text names; without a tag, `latest`.

    A name has parts of lowercase letters, digits, `-` and `_`, separated by `/`; a tag may have dots too.

    >>> parse_alias("team/base"), parse_alias("ml-team/fraud/gpu:prod-release-1.2")
    (Alias(name='team/base', tag='latest'), Alias(name='ml-team/fraud/gpu', tag='prod-release-1.2'))

    Raises BadAlias.
    """
    name, separator, tag = text.partition(":")
    if ":" in tag:
        raise _bad_alias(text, "a name has one tag")
    if separator and not tag:
        raise _bad_alias(text, "the tag is empty")
    if len(name) > LONGEST_NAME:
        raise _bad_alias(text, f"a name has at most {LONGEST_NAME} characters")
    if len(tag) > LONGEST_TAG:
        raise _bad_alias(text, f"a tag has at most {LONGEST_TAG} characters")
    if is_id(name):
        raise _bad_alias(text, "40 hex digits are an id, not a name")
    for part in name.split("/"):
        if not _PART.fullmatch(part):
            raise _bad_alias(text, _why(part, "name"))
    if separator and (not _TAG.fullmatch(tag) or ".." in tag):
        raise _bad_alias(text, _why(tag, "tag"))
    return Alias(name, tag or DEFAULT_TAG)


def parse_move_reference(text: str) -> tuple[Alias, int | None]:
    """The alias that a text names, and which of its moves if it says so.

    >>> parse_move_reference("team/base:stable@3"), parse_move_reference("team/base")
    ((Alias(name='team/base', tag='stable'), 3), (Alias(name='team/base', tag='latest'), None))

    Raises BadAlias.
    """
    match = _MOVE.fullmatch(text)
    if match is None:
        return parse_alias(text), None
    return parse_alias(match["alias"]), int(match["sequence"])


def is_id(text: object) -> bool:
    """Whether a value is a whole req_id or full_id: 40 hex digits."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def ids_in(text: str) -> tuple[str, str] | None:
    """The req_id and the full_id that a text gives, or the first digits of both, as `show` prints them.

    >>> ids_in("3f2a90c1d4e5:77b0"), ids_in("team:v1")
    (('3f2a90c1d4e5', '77b0'), None)
    """
    match = _IDS.fullmatch(text)
    return (match[1], match[2]) if match else None


def are_whole_ids(text: str) -> bool:
    """Whether a text is `req_id:full_id`, with all 40 digits of both.

    >>> are_whole_ids("a" * 40 + ":" + "b" * 40), are_whole_ids("3f2a90c1d4e5:77b0")
    (True, False)
    """
    return len(text) == 81 and _IDS.fullmatch(text) is not None and text[40] == ":"


def canonical_reference(kind: str, text: str) -> str:
    """A reference without variables in its one spelling. `kind` is `name` (an alias, or whole ids) or `pathspec`.

    >>> canonical_reference("name", "team/base"), canonical_reference("pathspec", "TrainFlow/142/train")
    ('team/base:latest', 'TrainFlow/142/train')

    Raises BadAlias, BadPathspec.
    """
    if kind == "name":
        return text if are_whole_ids(text) else str(parse_alias(text))
    if not _PATHSPEC.fullmatch(text) or ".." in text:
        from envlock.named.errors import BadPathspec

        raise BadPathspec(text)
    return text


def check_reference(kind: str, text: str) -> None:
    """Raise BadAlias or BadPathspec for a text that names nothing, whatever the values of the variables in it.

    `kind` may be `aliases` too: aliases that are given, which ids are not.
    """
    if not has_variables(text):
        if kind == "aliases":
            parse_alias(text)
        else:
            canonical_reference(kind, text)


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """The text with the value of each `@{VARIABLE}` in its place.

    >>> filled_in("@{TEAM}/base:@{VERSION}", {"TEAM": "ml", "VERSION": "v2"})
    'ml/base:v2'

    Raises UnsetNameVariable.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            from envlock.named.errors import UnsetNameVariable

            raise UnsetNameVariable(text, match[1])
        return variables[match[1]]

    return _VARIABLE.sub(value, text)


def has_variables(text: str) -> bool:
    """Whether a text has a `@{VARIABLE}` in it."""
    return _VARIABLE.search(text) is not None


def _bad_alias(text: str, reason: str) -> BadAlias:
    from envlock.named.errors import BadAlias

    return BadAlias(text, reason)


def _why(part: str, kind: str) -> str:
    if not part:
        return f"a part of the {kind} is empty"
    if part in {".", ".."} or ".." in part:
        return f"`{part}` is a path, not a part of a {kind}"
    if part != part.lower():
        return f"`{part}` has capitals; a {kind} has lowercase letters"
    strange = next((each for each in part if not re.match(r"[a-z0-9._-]", each)), None)
    if strange is not None:
        return f"{strange!r} (U+{ord(strange):04X}) cannot stand in a {kind}"
    if kind == "name" and "." in part:
        return f"`{part}` has a dot, which only a tag may have"
    return f"`{part}` begins or ends with a character that may stand only inside"
