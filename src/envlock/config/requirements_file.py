"""requirements.txt: names, versions, markers, indexes.

Options that would change the meaning (`-r`, `-c`, `-e`, `--hash`, ...) are an error with their line, never skipped. A
line has the same meaning, and the same rules, as in envlock.toml. No message quotes a file from outside the project:
envlock.toml may name one that whoever reads the log must not see.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from envlock.config.errors import BadIndexUrl, BadRequirementsFile, UnsafeFile
from envlock.errors import ConfigError, Location
from envlock.files import REQUIREMENTS_BYTES, NotPlain, is_of, read_file
from envlock.model.requirement import (
    CredentialsInDirectUrl,
    DirectUrlOfThisMachine,
    PypiRequirement,
    PythonIsNoPackage,
    parse_requirement,
)
from envlock.model.url import is_web
from envlock.redaction import shown, without_credentials

_SUFFIXES = (".txt", ".in")
_COMMENT = re.compile(r"(?:^|\s+)#.*")
_OTHERS = (
    (re.compile(r"\\\Z"), "a line that continues with `\\` is not supported"),
    (re.compile(r"\s--[a-z]"), "a requirement with an option is not supported"),
    (
        re.compile(r"\A[a-zA-Z][a-zA-Z0-9+.-]*://"),
        "a URL without the name of its package: write `name @ URL`",
    ),
    (re.compile(r"\A\.{0,2}/"), "a path, which other machines do not have"),
)
"""What pip accepts beside requirements (PEP 508), and envlock does not."""
_HASHES = (
    "leave out the hashes (run `pip-compile` without `--generate-hashes`): the lock has hashes of its own; or name the"
    " file that this one is made from, such as `requirements.in`"
)
_ADVICE = (
    (re.compile(r"\\\Z|(?:\A|\s)--hash\b"), _HASHES),
    (
        re.compile(r"\A(?:-r|--requirement)\b"),
        "copy the requirements of that file to here",
    ),
    (re.compile(r"\A(?:-c|--constraint)\b"), "write the versions of that file as requirements, or in envlock.toml"),
    (re.compile(r"\A(?:-i|--index-url)\b"), "write `index-url` in `[envlock]`, or `--extra-index-url URL` here"),
)
"""What to write instead, by what a line has."""
_OPTION = re.compile(r"(?P<name>-[^\s=]*)(?:[\s=]\s*(?P<value>.*))?")


class RequirementsFile(NamedTuple):
    """The contents of a requirements file, each entry with its line."""

    packages: tuple[tuple[PypiRequirement, int], ...]
    indexes: tuple[tuple[str, int], ...]
    pip_flags: tuple[str, ...]


def read_requirements(path: Path, *, name: str, named_by: Location, project: Path) -> RequirementsFile:
    """The contents of a requirements file. `name` is its name in messages, `named_by` the key that names it.

    Raises BadRequirementsFile, BadIndexUrl, CredentialsInDirectUrl, DirectUrlOfThisMachine or PythonIsNoPackage, with
    the line; UnsafeFile.
    """
    text = _text(path, name, named_by, project)
    is_quoted = is_of(path, project)
    if not is_quoted and path.suffix not in _SUFFIXES:
        # Its lines would go to a lock and to indexes: they might be a secret.
        reason = "a requirements file outside the project must be called `*.txt` or `*.in`"
        raise UnsafeFile(name, reason, (named_by,))
    packages: list[tuple[PypiRequirement, int]] = []
    indexes: list[tuple[str, int]] = []
    flags: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).strip()
        at = (Location(name, number), named_by)
        try:
            if not line:
                continue
            if line.startswith("-"):
                _take_option(line, number, indexes, flags)
            elif other := next((why for pattern, why in _OTHERS if pattern.search(line)), ""):
                raise _NotSupported(other)
            else:
                packages.append((parse_requirement(line), number))
        except _NotSupported as refused:
            hint = next((advice for pattern, advice in _ADVICE if pattern.search(line)), "")
            reason = f"{refused}: `{shown(line)}`" if is_quoted else str(refused)
            raise BadRequirementsFile(reason, at, hint=hint) from None
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine, PythonIsNoPackage) as error:
            raise error.at(*at) from None
        except BadIndexUrl as error:
            raise BadIndexUrl(error.found if is_quoted else "this line", *at) from None
        except ConfigError as error:
            reason = without_credentials(error.message) if is_quoted else "this line is not a requirement"
            raise BadRequirementsFile(reason, at) from None
    return RequirementsFile(tuple(packages), tuple(indexes), tuple(flags))


def _text(path: Path, name: str, named_by: Location, project: Path) -> str:
    try:
        return read_file(path, REQUIREMENTS_BYTES, within=project).decode("utf-8-sig")
    except NotPlain as error:
        if "\0" in name:
            raise BadRequirementsFile(f"`{shown(name)}` is not a file name", (named_by,), is_read=False) from None
        raise UnsafeFile(name, error.reason, (named_by,)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "it is not UTF-8 text") or type(error).__name__
        raise BadRequirementsFile(
            f"cannot read the requirements file `{shown(name)}`: {reason[:1].lower()}{reason[1:]}",
            (named_by,),
            is_read=False,
        ) from None


class _NotSupported(Exception):
    """A line that envlock does not support."""


def _take_option(line: str, number: int, indexes: list[tuple[str, int]], flags: list[str]) -> None:
    option = _OPTION.fullmatch(line)
    assert option is not None, line
    value = (option["value"] or "").strip()
    if option["name"] == "--extra-index-url" and value:
        if not is_web(value):
            raise BadIndexUrl(value)
        indexes.append((value, number))
    elif option["name"] == "--pre" and not value:
        flags.append("pre")
    else:
        raise _NotSupported("this option is not supported")
