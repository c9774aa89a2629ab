"""The text of `envlock/config/settings.py`: what the light reader has to know of the models of envlock.toml.

`scripts/reference_pages.py` writes the file; a test holds it current.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import types
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from envlock.config.schema import PLACE, ArchName, Document, MachineTable, ProjectTable, Ruled, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "src" / "envlock" / "config" / "settings.py"
_HEAD = '''\
"""The settings of `[envlock]` with their types and defaults, and the shape of envlock.toml.

Made from the models in `schema` by scripts/reference_pages.py: change those, and run `make docs-check`.
"""

from __future__ import annotations

from envlock.config import rules
from envlock.model.arch import ARCHS, Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

Shape: TypeAlias = "str | dict[str, Shape] | tuple[Any, ...]"
"""What a value may be: `string`, `boolean`, `date`; a dict of known keys with their shapes; or a tuple that begins with
a word: `choice` and the texts to choose from, `rule` and the rule that a text keeps, `list` or `filled list` and the
shape of an item, `table` and the shapes of its free keys and their values, `any` and several shapes."""
'''


def settings_module() -> str:
    """The module's text, formatted."""
    parts = [_HEAD, *_types(ProjectTable, "Settings"), *_shapes(Document, {}), _machine()]
    ruff = Path(sys.executable).with_name("ruff")
    command = [ruff, "format", "--stdin-filename", str(MODULE), "-"]
    return subprocess.run(command, input="\n".join(parts), capture_output=True, text=True, check=True, cwd=ROOT).stdout


def _machine() -> str:
    """What a machine or a user may set."""
    places = {
        field.alias or "": _shape(field.annotation, field.metadata)
        for field in ProjectTable.model_fields.values()
        if PLACE in field.metadata
    }
    own = {key: _shape(field.annotation, field.metadata) for key, field in MachineTable.model_fields.items()}
    rows = ", ".join(f"{key!r}: {shape}" for key, shape in {**places, **own}.items())
    meaning = "The settings that a machine or a user may set: places and transports."
    return f'\nPLACES = {tuple(places)!r}\n"""{meaning}"""\n\n{_constant(MachineTable)}: Shape = {{{rows}}}'


def _types(model: type[Table], name: str) -> Iterator[str]:
    """The named tuples of a table and the tables in it."""
    lines = [f"class {name}(NamedTuple):", f'    """{_text(model.__doc__)}"""', ""]
    for key, field in model.model_fields.items():
        if _is_table(field.annotation):
            yield from _types(field.annotation, _name(field.annotation))
        lines.append(f"    {key}: {_type(field.annotation)} = {_default(field)}")
        lines += textwrap.wrap(
            f'"""{_text(field.description)}"""', 120, initial_indent="    ", subsequent_indent="    "
        )
    if model is ProjectTable:
        lines += [
            "    written: tuple[str, ...] = ()",
            '    """The keys that envlock.toml has: the others have their defaults."""',
        ]
    yield "\n".join(["", *lines])


def _text(doc: str | None) -> str:
    return " ".join((doc or "").split())


def _name(model: Any) -> str:
    return str(model.__name__).removesuffix("Table")


def _constant(model: Any) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", _name(model)).upper()


def _is_table(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Table)


def _ways(annotation: Any) -> list[Any]:
    """The types of which a value has one; None means that the key is absent."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return [each for each in get_args(annotation) if each is not type(None)]
    return [annotation]


def _type(annotation: Any) -> str:
    """The Python type of a setting: lists and tables of free keys are tuples, dates the text of them."""
    found = []
    for way in _ways(annotation):
        origin, inner = get_origin(way), get_args(way)
        if way is ArchName:
            found.append("Arch")
        elif _is_table(way):
            found.append(_name(way))
        elif origin is list:
            found.append(f"tuple[{_type(inner[0])}, ...]")
        elif origin is dict:
            found.append(f"tuple[tuple[{_type(inner[0])}, {_type(inner[1])}], ...]")
        else:
            found.append("bool" if way is bool else "str")
    return " | ".join(dict.fromkeys(found))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value == list(get_args(ArchName)):
        return "ARCHS"
    if isinstance(value, Table):
        return f"{_name(type(value))}()"
    return repr("" if value is None else tuple(value) if isinstance(value, list | dict) else value)


def _shapes(model: type[Table], done: dict[type[Table], str]) -> Iterator[str]:
    """The shapes of a table and of the tables in it, each as a constant, those that others need first."""
    for field in model.model_fields.values():
        for table in _tables(field.annotation):
            if table not in done:
                yield from _shapes(table, done)
    done[model] = _constant(model)
    rows = (
        f"{(field.alias or key)!r}: {_shape(field.annotation, field.metadata)}"
        for key, field in model.model_fields.items()
    )
    yield f"\n{done[model]}: Shape = {{{', '.join(rows)}}}"


def _tables(annotation: Any) -> Iterator[type[Table]]:
    if _is_table(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables(inner)


def _shape(annotation: Any, metadata: Any = ()) -> str:
    ways = _ways(annotation)
    if len(ways) > 1:
        return f"('any', {', '.join(dict.fromkeys(map(_shape, ways)))})"
    (way,) = ways
    origin, inner = get_origin(way), get_args(way)
    if origin is Annotated:
        return _shape(inner[0], [*metadata, *_metadata(way)])
    rule = next((each.rule.__name__ for each in metadata if isinstance(each, Ruled)), "")
    if rule:
        return f"('rule', rules.{rule})"
    if _is_table(way):
        return _constant(way)
    if origin is Literal:
        return f"('choice', {', '.join(map(repr, inner))})"
    if origin is list:
        filled = "filled " if any(getattr(each, "min_length", 0) for each in metadata) else ""
        return f"('{filled}list', {_shape(inner[0])})"
    if origin is dict:
        return f"('table', {_shape(inner[0])}, {_shape(inner[1])})"
    if way is bool:
        return "'boolean'"
    return "'date'" if issubclass(way, date) else "'string'"


def _metadata(annotated: Any) -> list[Any]:
    found: list[Any] = []
    for each in annotated.__metadata__:
        found += getattr(each, "metadata", [each])  # a Field within holds what it means for itself
    return found
