"""VS Code's settings of a project: `.vscode/settings.json`, where the interpreter is one that envlock makes.

The file is JSON with comments and trailing commas. It is edited as text, so both stay, and so does all that is not the
one setting.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

from envlock.config.edit.errors import BadVscodeSettings, CannotWrite
from envlock.files import CONFIG_BYTES, DEEPEST, leads_out, read_file, write_atomically

PLACE = Path(".vscode", "settings.json")
KEY = "python.defaultInterpreterPath"
_INDENT = "    "
_SPACE = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_PLAIN = re.compile(r"true|false|null|-?\d[\d.eE+-]*")


def interpreter(link: Path) -> str:
    """The setting for a link in the project's folder, relative to that.

    >>> interpreter(Path(".envlock/envs/base"))
    '${workspaceFolder}/.envlock/envs/base/bin/python'
    """
    return f"${{workspaceFolder}}/{link.as_posix()}/bin/python"


class Vscode(NamedTuple):
    """The settings of a folder, with an interpreter."""

    path: Path
    """Relative to the folder."""
    text: str
    is_changed: bool
    """Whether the text is another one than the file has."""
    next_lines: tuple[str, ...]
    """What the user does then."""

    @classmethod
    def of(cls, folder: Path, link: Path, next_lines: tuple[str, ...] = ()) -> Vscode:
        """The settings of a folder with the interpreter of a link in it.

        Raises BadVscodeSettings for what is not JSON with comments; CannotWrite for what cannot be read.
        """
        value = interpreter(link)
        missing = f'"{KEY}": {json.dumps(value)}'
        path = folder / PLACE
        before = ""
        try:
            if leads_out(path, folder):
                raise CannotWrite(PLACE.as_posix(), "it is a link that leads out of the project")
            if path.exists():
                before = read_file(path, CONFIG_BYTES).decode()
            text = with_setting(before, KEY, value)
        except UnicodeDecodeError:
            raise BadVscodeSettings(PLACE.as_posix(), "it is not UTF-8", None, missing) from None
        except NotJson as error:
            line = before.count("\n", 0, error.place) + 1
            raise BadVscodeSettings(PLACE.as_posix(), error.reason, line, missing) from None
        except OSError as error:
            raise CannotWrite(PLACE.as_posix(), error.strerror or str(error)) from None
        return cls(PLACE, text, text != before, next_lines)


def write_settings(folder: Path, text: str) -> Path:
    """Write the settings of a folder, and return the file. Raises CannotWrite."""
    path = folder / PLACE
    try:
        path.parent.mkdir(exist_ok=True)
        write_atomically(Path(os.path.realpath(path)), text.encode())
    except OSError as error:
        raise CannotWrite(PLACE.as_posix(), error.strerror or str(error)) from None
    return path


class NotJson(ValueError):
    """A text is not JSON with comments: why, and where."""

    def __init__(self, reason: str, place: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


def with_setting(text: str, key: str, value: str) -> str:
    r"""The text of a settings file with one setting; the same text if it has that. Raises NotJson.

    >>> print(with_setting('{\n  // mine\n  "a": 1 // one\n}\n', "b", "x"), end="")
    {
      // mine
      "a": 1, // one
      "b": "x"
    }
    >>> with_setting('{"b": ["old", /* and */ 2,], "a": 1,}', "b", "x")
    '{"b": "x", "a": 1,}'
    """
    if not text[_space(text, 0) :]:
        text += "\n" if text and not text.endswith("\n") else ""
        return f"{text}{{\n{_INDENT}{json.dumps(key)}: {json.dumps(value)}\n}}\n"
    found = _settings(text)
    if key in found.values:
        start, end = found.values[key]
        written = text[start:end]
        return text if _says(written) == value else f"{text[:start]}{json.dumps(value)}{text[end:]}"
    newline = "\r\n" if "\r\n" in text else "\n"
    before = text[: found.close].rstrip(" \t\r\n")
    after = text[len(before) : found.close]
    if found.needs_comma:
        before = f"{before[: found.end]},{before[found.end :]}"
    added = f"{newline}{found.indent}{json.dumps(key)}: {json.dumps(value)}"
    return f"{before}{added}{after if newline in after else newline}{text[found.close :]}"


def _says(written: str) -> object:
    """What a value says; None for one that is not JSON, such as a string with an unknown escape."""
    try:
        return json.loads(written, strict=False)
    except (ValueError, RecursionError):
        return None


class _Settings(NamedTuple):
    """Where the settings of a text are."""

    values: dict[str, tuple[int, int]]
    """The place of each value: where it begins and ends."""
    end: int
    """The end of the last value, or of the opening brace."""
    needs_comma: bool
    """Whether a further setting needs a comma at `end`."""
    close: int
    """The place of the closing brace."""
    indent: str


def _settings(text: str) -> _Settings:
    values: dict[str, tuple[int, int]] = {}
    place = _space(text, 0)
    if text[place] != "{":
        raise NotJson("it is not an object", place)
    end = place = place + 1
    needs_comma = False
    indent = _INDENT
    while True:
        place = _space(text, place)
        if text[place : place + 1] == "}":
            break
        if needs_comma:
            raise NotJson("a comma is missing" if text[place:] else "it ends too early", place)
        if not values:
            line = text[text.rfind("\n", 0, place) + 1 : place]
            indent = line if line and not line.strip() else _INDENT
        key = _STRING.match(text, place)
        if key is None:
            raise NotJson("a key, in quotation marks, is missing" if text[place:] else "it ends too early", place)
        place = _space(text, key.end())
        if text[place : place + 1] != ":":
            raise NotJson("a colon is missing", place)
        start = _space(text, place + 1)
        end = place = _value_end(text, start, 0)
        try:
            values[json.loads(key[0], strict=False)] = (start, end)
        except ValueError:
            raise NotJson("a key has an unknown escape", key.start()) from None
        place = _space(text, place)
        needs_comma = text[place : place + 1] != ","
        place += 0 if needs_comma else 1
    if text[_space(text, place + 1) :]:
        raise NotJson("there is more after its last brace", _space(text, place + 1))
    return _Settings(values, end, needs_comma, place, indent)


def _value_end(text: str, start: int, depth: int) -> int:
    """Where the value ends that begins at `start`."""
    simple = _STRING.match(text, start) or _PLAIN.match(text, start)
    if simple is not None:
        return simple.end()
    close = {"{": "}", "[": "]"}.get(text[start : start + 1])
    if close is None or depth > DEEPEST:
        raise NotJson("it is nested too deeply" if close else "a value is missing or malformed", start)
    place = _space(text, start + 1)
    while text[place : place + 1] != close:
        if close == "}":
            key = _STRING.match(text, place)
            place = _space(text, key.end()) if key else place
            if key is None or text[place : place + 1] != ":":
                raise NotJson("a key, in quotation marks, and a colon are missing", place)
            place = _space(text, place + 1)
        place = _space(text, _value_end(text, place, depth + 1))
        if text[place : place + 1] == ",":
            place = _space(text, place + 1)
        elif text[place : place + 1] != close:
            raise NotJson("a comma is missing", place)
    return place + 1


def _space(text: str, place: int) -> int:
    """Where the whitespace and comments end that begin at `place`."""
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()
