"""The Python code of a Jupyter notebook, each line of it where the notebook's file has it.

What is read from a flow has its lines, and those are lines of the file: so the code of a notebook is its cells, with
an empty line for every line of the file that is none of theirs. No cell is run.
"""

from __future__ import annotations

import json
import re
from json import scanner
from typing import Any

from envlock.config.flows.errors import NotANotebook

NOTEBOOK_BYTES = 64 << 20
"""A notebook may hold its outputs, with all their pictures."""

_FORMAT = 4
_RUN_AS_PYTHON = ("%%capture", "%%prun", "%%time", "%%timeit")
"""Cell magics that run their cell as Python where the others do, instead of giving it to another language."""
_COMMAND = re.compile(r"(\s*)[%!?]")
_ASSIGNED = re.compile(r"([\w.,\[\]\s]+?=\s*)[%!]")
_ASKED = re.compile(r"(\s*)[\w.*%]+\?{1,2}\s*\Z")
_FLOW_WORDS = ("FlowSpec", "@step")
_PYTHONS = {"", "ipython", "python"}


def code_of(data: bytes) -> str:
    r"""The Python code of a notebook's cells. Raises NotANotebook.

    What IPython alone understands is left out: `%` and `!` commands, cells for other languages, questions. So is a cell
    that is not Python and speaks of no flow: one that somebody was trying something in. Where a file has several lines
    of code on one of its own, they follow each other.

    >>> code_of(b'{"nbformat": 4, "cells": [\n{"cell_type": "code", "source": [\n"x = 1\\n",\n"!ls"]}]}')
    '\n\nx = 1\npass'
    """
    text = data.decode("utf-8-sig", "replace")
    lines: list[str] = []
    at, line = 0, 1
    for cell in _cells(_parsed(text)):
        for place, code in zip(*_readable(cell), strict=True):
            line += text.count("\n", at, place)
            at = place
            lines += [""] * (line - 1 - len(lines))
            lines.append(code)
    return "\n".join(lines)


class _Placed(str):
    """A text of the notebook, with its place in the file."""

    __slots__ = ("place",)
    place: int


def _parsed(text: str) -> Any:
    """The notebook, its texts with their places.

    Python's JSON reader gives no places. The one that `json` has for where there is no C asks its decoder to read a
    text, and says where that begins.
    """
    decoder: Any = json.JSONDecoder()
    read_text = decoder.parse_string

    def placed(whole: str, begin: int, strict: bool = True) -> tuple[str, int]:
        found, end = read_text(whole, begin, strict)
        made = _Placed(found)
        made.place = begin
        return made, end

    decoder.parse_string = placed
    decoder.scan_once = scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    try:
        return decoder.decode(text)
    except RecursionError:
        raise NotANotebook("it is nested too deeply") from None
    except ValueError as error:
        raise NotANotebook(f"it is no JSON: {error}") from None


def _cells(notebook: Any) -> list[list[_Placed]]:
    """The source of each code cell, in lines or in one text, as the file has it."""
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        found = notebook.get("nbformat") if isinstance(notebook, dict) else None
        if isinstance(found, int) and found < _FORMAT:
            raise NotANotebook(f"it has notebook format {found}: open and save it in Jupyter, which makes it 4")
        raise NotANotebook("it has no list of cells")
    language = _language(notebook.get("metadata"))
    if language.lower() not in _PYTHONS:
        raise NotANotebook(f"its language is {language}")
    found = []
    for cell in notebook["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", [])
        texts = source if isinstance(source, list) else [source]
        found.append([text for text in texts if isinstance(text, _Placed)])
    return found


def _language(metadata: Any) -> str:
    for key, name in (("language_info", "name"), ("kernelspec", "language")):
        table = metadata.get(key) if isinstance(metadata, dict) else None
        said = table.get(name) if isinstance(table, dict) else None
        if isinstance(said, str) and said:
            return said
    return ""


def _readable(cell: list[_Placed]) -> tuple[list[int], list[str]]:
    """The lines of a cell that Python can read, and the place of each."""
    places: list[int] = []
    lines: list[str] = []
    for text in cell:
        own = text.split("\n")
        if text.endswith("\n") or not text:
            own.pop()
        places += [text.place] * len(own)
        lines += own
    return places, _python_of(lines)


def _python_of(lines: list[str]) -> list[str]:
    """The lines of a cell without what only IPython reads; all empty if that leaves no Python."""
    first = next((line.split()[0] for line in lines if line.strip()), "")
    if first.startswith("%%") and first not in _RUN_AS_PYTHON:
        return [""] * len(lines)
    if first.startswith("%%"):
        number = next(number for number, line in enumerate(lines) if line.strip())
        lines = [*lines[:number], "", *lines[number + 1 :]]
    if _is_python(lines):
        return lines
    plain = _without_commands(lines)
    if not _is_python(plain) and not any(word in line for line in lines for word in _FLOW_WORDS):
        return [""] * len(lines)
    return plain


def _without_commands(lines: list[str]) -> list[str]:
    plain = []
    continues = False
    for line in lines:
        command, assigned = _COMMAND.match(line) or _ASKED.match(line), _ASSIGNED.match(line)
        if continues:
            plain.append("")
        elif command:
            plain.append(f"{command[1]}pass")
        elif assigned:
            plain.append(f"{assigned[1]}None")
        else:
            plain.append(line)
        continues = line.endswith("\\") and bool(continues or command or assigned)
    return plain


def _is_python(lines: list[str]) -> bool:
    import _ast
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile("\n".join(lines), "", "exec", _ast.PyCF_ONLY_AST, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
