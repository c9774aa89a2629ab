"""YAML as a tree of texts, each with its line; of requirement files, and no larger than their text.

It is read as a stream of events: anchors and merged keys, by which a file of some kB grows to gigabytes, are refused,
and depth costs no recursion. What a text without quotes means as a number or a date is left to who reads it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from envlock.config.requirement_files.contents import RequirementFile
from envlock.errors import Location
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

_LONGEST = 1 << 20
"""Characters that a file may have: some 20,000 packages, read in two seconds."""
_DEEPEST = 20


class Text(NamedTuple):
    """A text, as written."""

    line: int
    text: str
    is_plain: bool
    """Whether it stands without quotes."""


class List(NamedTuple):
    """A list."""

    line: int
    items: list[Node]


class Table(NamedTuple):
    """A mapping, whose keys are texts that differ."""

    line: int
    entries: list[tuple[Text, Node]]


Node: TypeAlias = "Text | List | Table"
"""A value: texts, lists and mappings, which are called tables here as in TOML."""


def tree_of(file: RequirementFile) -> Node | None:
    """The one document of a YAML file; None if it is empty. Raises BadEnvironmentYml."""
    if len(file.text) > _LONGEST:
        raise file.fault(f"it has more than {_LONGEST} characters", 1)
    try:
        return _built(file, YAML(typ="safe", pure=True).parse(file.text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark is not None and (mark is None or mark.index >= len(file.text.rstrip())):
            mark = error.context_mark  # what is not closed, for an error at the end of the text
        line = mark.line + 1 if mark is not None else 1
        quoted = "".join(file.text.split("\n")[line - 1 : line]).strip()
        if "\\t" in (error.problem or ""):
            raise file.fault("a tab cannot indent YAML", line, hint="indent with spaces") from None
        reason = (error.problem or error.context or "it cannot be parsed") if file.is_quoted else "it cannot be parsed"
        raise file.fault(f"it is not YAML: {reason}", line, line=quoted) from None
    except ReaderError as error:
        line = file.text.count("\n", 0, error.position) + 1
        raise file.fault("it is not YAML: it has a character that no text has", line) from None
    except YAMLError:
        raise file.fault("it is not YAML", 1) from None


def _built(file: RequirementFile, events: Iterator[Event]) -> Node | None:
    """The tree of these events, without recursion; what would make it larger than its text is refused."""
    root: list[Node] = []
    stack: list[List | Table] = []
    keys: list[Text | None] = []  # of each mapping in the stack, the key that waits for its value
    documents = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise file.fault("it has more than one document", line, hint="remove what begins with `---`")
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            stack.pop()
            keys.pop()
        elif isinstance(event, NodeEvent):
            node = _node_of(file, event, line)
            above = stack[-1] if stack else None
            if isinstance(above, Table):
                key = keys[-1]
                if key is None:
                    keys[-1] = _new_key(file, above, node)
                else:
                    above.entries.append((key, node))
                    keys[-1] = None
            else:
                (root if above is None else above.items).append(node)
            if not isinstance(node, Text):
                stack.append(node)
                keys.append(None)
                if len(stack) > _DEEPEST:
                    raise file.fault(f"it is nested more than {_DEEPEST} levels deep", line)
    return root[0] if root and root[0] != Text(root[0].line, "", True) else None


def _node_of(file: RequirementFile, event: NodeEvent, line: int) -> Node:
    """The node that begins with an event. Raises BadEnvironmentYml."""
    if isinstance(event, AliasEvent) or event.anchor is not None:
        what = f"{'*' if isinstance(event, AliasEvent) else '&'}{event.anchor}"
        raise file.fault("anchors and aliases are not supported", line, line=what, hint="write the value out")
    if isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent)) and event.ctag is not None:
        raise file.fault("tags are not supported", line, line=str(event.ctag), hint="remove the tag")
    if isinstance(event, ScalarEvent):
        return Text(line, event.value, is_plain=event.style is None)
    return List(line, []) if isinstance(event, SequenceStartEvent) else Table(line, [])


def _new_key(file: RequirementFile, above: Table, key: Node) -> Text:
    """A key of a mapping that it does not have yet. Raises BadEnvironmentYml."""
    if not isinstance(key, Text):
        raise file.fault("a key is not a text", key.line)
    if key.text == "<<" and key.is_plain:
        raise file.fault("anchors and merged keys are not supported", key.line, line="<<", hint="write the values out")
    before = next((each for each, _ in above.entries if each.text == key.text), None)
    if before is not None:
        error = file.fault("this key is there twice", key.line, line=key.text, hint="merge the two into one")
        raise error.at(Location(file.name, before.line), *error.locations)
    return key
