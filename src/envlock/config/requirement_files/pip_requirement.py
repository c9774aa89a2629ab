"""The lines of a requirements.txt, and one requirement, as pip takes them.

A requirement has the name of a package, or a URL or a path, which may have the name in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import tomli

from envlock.config.errors import BadSource
from envlock.files import CONFIG_BYTES, NotPlain, read_file, toml_of
from envlock.model.requirement import PypiRequirement, is_package_name, normalized, parse_requirement
from envlock.revisions import exists, is_file, is_folder
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

URL = re.compile(r"(?:[a-z]+\+)?(?:https?|file|ssh|git)://", re.IGNORECASE)
"""How a URL begins."""
_COMMENT = re.compile(r"(?:^|(?<!\s)\s+)#.*$")
"""A comment with the space before it; it is looked for once in a row of spaces, however long."""
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\s*(?P<extras>\[[^\]]*\]))?\s*@\s*(?P<url>.*)\Z", re.DOTALL)
_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tlz", ".tar.lz")


class Line(NamedTuple):
    """A line without comment, with those that it continues in."""

    number: int
    """Of the first of them, from 1."""
    text: str


def logical_lines(lines: Iterable[tuple[str, int]]) -> Iterator[Line]:
    r"""The lines with what they continue in, without comments: pip's own rules.

    >>> list(logical_lines([("rich \\", 1), ("  >=13 # pretty", 2), ("# none", 3), ("x#y", 4)]))
    [Line(number=1, text='rich   >=13'), Line(number=4, text='x#y')]
    """
    begun: list[str] = []
    first = 0
    for text, number in lines:
        is_comment = _COMMENT.match(text) is not None
        if text.endswith("\\") and not is_comment:
            first = first if begun else number
            begun.append(text.strip("\\"))
            continue
        begun.append(f" {text}" if is_comment else text)
        yield from _stripped(first or number, begun)
        begun, first = [], 0
    if begun:
        yield from _stripped(first, begun)


def _stripped(number: int, parts: list[str]) -> Iterator[Line]:
    text = "".join(parts)
    if text := (_COMMENT.sub("", text) if "#" in text else text).strip():
        yield Line(number, text)


class NoName(ValueError):
    """A URL or a path that does not tell the name of the package. `reason` and `hint` are those of an error."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Found(NamedTuple):
    """A requirement, and, if it is of this machine, its URL and its path."""

    requirement: PypiRequirement
    local: tuple[str, str] | None = None


def pip_requirement(text: str, *, folder: Path, project: Path) -> Found:
    """The requirement that pip reads in a text. Paths are relative to `folder`; `project` is that of envlock.toml.

    >>> str(pip_requirement("https://files.example/rich-13.0.tar.gz", folder=Path(), project=Path()).requirement)
    'rich @ https://files.example/rich-13.0.tar.gz'

    Raises NoName, BadSource, and what parse_requirement raises.
    """
    # In a URL without a name, a `;` is a part of it unless a space follows.
    text, _, marker = text.partition("; " if URL.match(text) else ";")
    text, marker = text.strip(), marker.strip()
    named = _NAMED.match(text)
    name, extras, place = (named["name"], named["extras"] or "", named["url"].strip()) if named else ("", "", text)
    is_path = place.startswith((".", "/", "file:")) if named else _is_path(place)
    if not is_path and (named or not URL.match(place)):
        return Found(parse_requirement(f"{text} ; {marker}" if marker else text))
    if not extras:
        place, extras = _parted(place)
    place, _, fragment = place.partition("#")
    parts = [part for part in fragment.split("&") if part]
    name = name or next((part[4:] for part in parts if part.startswith("egg=")), "")
    parts = [part for part in parts if not part.startswith("egg=")]
    if is_path:
        return _local(name, extras, place, parts, marker, folder, project)
    name = name or ("" if place.startswith("git+") else _of_archive(place.rpartition("/")[2]))
    if not name:
        raise NoName("the name of the package is missing before the URL", "write it as `NAME @ URL`")
    url = f"{place}#{'&'.join(parts)}" if parts else place
    return Found(parse_requirement(f"{name}{extras} @ {url}" + (f" ; {marker}" if marker else "")))


def path_entry(text: str, *, folder: Path, project: Path) -> tuple[str, dict[str, Any]]:
    """Key and value of `packages` for a folder, a wheel or an sdist, whose path is relative to `folder`.

    `text` is the path, or `name[extras] @ path ; marker`. The name is what it says, or else what the folder's project
    files say, or the file's name. Raises BadSource.
    """
    from envlock.config.local_sources import source_requirement

    named = _NAMED.match(text)
    text, _, marker = (named["url"] if named else text).partition(" ;")
    text, inside = _parted(text)
    extras = [each.strip() for each in f"{(named and named['extras']) or ''}{inside}".strip("[]").split(",")]
    place = folder / text
    path = os.path.relpath(os.path.normpath(place.absolute()), project.absolute()).replace(os.sep, "/")
    name = normalized(_of_archive(place.name)) if is_file(place) else _of_folder(place, project)
    if named and is_package_name(name) and normalized(name) != normalized(named["name"]):
        raise BadSource(named["name"], "path", path, f"it is the project of {normalized(name)}")
    name = named["name"] if named else name
    if exists(place) and not is_package_name(name):
        hint = f'write `NAME = {{ path = "{path}" }}` in envlock.toml'
        raise BadSource(text, "path", path, "the name of the package is not written down there", hint=hint)
    entry: dict[str, Any] = {"path": path}
    if any(extras):
        entry["extras"] = [each for each in extras if each]
    if marker.strip():
        entry["marker"] = marker.strip()
    source_requirement(name or text, entry, folder=project, project=project)
    return name, entry


def _parted(text: str) -> tuple[str, str]:
    """A URL or a path, and the extras behind it."""
    place, bracket, inside = text.rstrip().rpartition("[")
    is_extras = bool(bracket and place) and inside.endswith("]") and not set(inside[:-1]) & set("]/\\")
    return (place.rstrip(), f"[{inside}") if is_extras else (text, "")


def _is_path(text: str) -> bool:
    """Whether a requirement names a folder or an archive of this machine, as pip tells it."""
    if text.startswith("file:"):
        return True
    bare = _parted(text)[0].partition("#")[0]
    if URL.match(text) or any(each in bare for each in "<>=!~"):
        return False
    return bare.startswith(".") or os.sep in bare or bare.lower().endswith(_ARCHIVES)


def _local(name: str, extras: str, place: str, parts: list[str], marker: str, folder: Path, project: Path) -> Found:
    from envlock.config.local_sources import is_in, source_requirement

    path = re.sub(r"^file:(//(localhost)?(?=/))?", "", place)
    below = next((part[13:] for part in parts if part.startswith("subdirectory=")), "")
    if not name:
        at = folder / path / below
        name = _of_folder(at, project) if is_folder(at) else _of_archive(Path(path).name)
    table: dict[str, Any] = {"path": path, "marker": marker, "subdirectory": below}
    if not name and exists(folder / path) and is_in(folder / path, project):
        raise NoName(
            "the name of the package is not written down there",
            "write `name` in the `[project]` of its pyproject.toml, or `NAME @ PATH` here",
        )
    return Found(*source_requirement(f"{name or 'the package'}{extras}", table, folder=folder, project=project))


def _of_archive(filename: str) -> str:
    """The package that a wheel or an sdist is of, by its name; empty if that does not tell.

    >>> _of_archive("rich-13.0-py3-none-any.whl"), _of_archive("ruamel_yaml-0.18.tar.gz"), _of_archive("main.zip")
    ('rich', 'ruamel_yaml', '')
    """
    stem = next((filename[: -len(each)] for each in _ARCHIVES if filename.lower().endswith(each)), "")
    if filename.lower().endswith(".whl"):
        name = stem.partition("-")[0]
    else:
        name, _, version = stem.rpartition("-")
        name = name if version[:1].isdecimal() else ""
    return name if is_package_name(name) else ""


def _of_folder(folder: Path, project: Path) -> str:
    """The name of the package in a folder, as its project files say it; empty if none does. Runs nothing."""

    def text(file: str) -> str:
        try:
            return read_file(folder / file, CONFIG_BYTES, within=project).decode()
        except (OSError, NotPlain, ValueError):
            return ""

    try:
        document = toml_of(text("pyproject.toml"))
    except tomli.TOMLDecodeError:
        document = {}
    tool = document.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    for table in (document.get("project"), poetry):
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            return str(table["name"])
    return _of_setup_cfg(text("setup.cfg")) or _of_setup_py(text("setup.py"))


def _of_setup_cfg(text: str) -> str:
    section = ""
    for line in text.splitlines():
        key, _, value = line.replace(":", "=", 1).partition("=")
        if line.startswith("["):
            section = line.strip()
        elif section == "[metadata]" and key.rstrip() == "name":
            return value.strip()
    return ""


def _of_setup_py(text: str) -> str:
    """The name that setup.py gives to `setup`, where it is written out."""
    import ast

    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and "setup" in {getattr(node.func, "id", ""), getattr(node.func, "attr", "")}:
            for keyword in node.keywords:
                if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                    return str(keyword.value.value)
    return ""
