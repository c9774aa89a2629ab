"""requirements.txt, as far as it says what is asked: names, versions, markers, indexes.

What would change the meaning silently (`-r`, `-c`, `-e`, `--hash`, ...) is refused with its line, never skipped. A line
means what the same text means in envlock.toml, and passes the same gates. The text of a file that is not of the project
is never repeated in a message: envlock.toml may name one that whoever reads the log must not see.
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
    (re.compile(r"\\\Z"), "a line that goes on with `\\`, which envlock does not take"),
    (re.compile(r"\s--[a-z]"), "a requirement with an option, which envlock does not take"),
    (
        re.compile(r"\A[a-zA-Z][a-zA-Z0-9+.-]*://"),
        "a URL without the name of its package, which is written as `name @ URL`",
    ),
    (re.compile(r"\A\.{0,2}/"), "a path, which other machines do not have"),
)
"""What pip takes beside requirements (PEP 508)."""
_HASHES = (
    "leave out hashes and what follows `\\`, for the lock has the hashes of all files itself: `pip-compile` without"
    " `--generate-hashes`; or name the file that this one is made from, such as `requirements.in`"
)
_ADVICE = (
    (re.compile(r"\\\Z|(?:\A|\s)--hash\b"), _HASHES),
    (
        re.compile(r"\A(?:-r|--requirement)\b"),
        "write here what that file asks for: no file is read from within another",
    ),
    (re.compile(r"\A(?:-c|--constraint)\b"), "write the versions of that file as requirements, or in envlock.toml"),
    (re.compile(r"\A(?:-i|--index-url)\b"), "write `index-url` into `[envlock]`, or `--extra-index-url URL` here"),
)
"""What to do instead of what stands in a line."""
_OPTION = re.compile(r"(?P<name>-[^\s=]*)(?:[\s=]\s*(?P<value>.*))?")


class RequirementsFile(NamedTuple):
    """What a requirements file asks, each thing with its line."""

    packages: tuple[tuple[PypiRequirement, int], ...]
    indexes: tuple[tuple[str, int], ...]
    pip_flags: tuple[str, ...]


def read_requirements(path: Path, *, name: str, named_by: Location, project: Path) -> RequirementsFile:
    """What the file asks. `name` is how messages call it, `named_by` where it is named, `project` the project's folder.

    Raises BadRequirementsFile, BadIndexUrl, CredentialsInDirectUrl, DirectUrlOfThisMachine or PythonIsNoPackage, with
    the line; UnsafeFile.
    """
    text = _text(path, name, named_by, project)
    is_quoted = is_of(path, project)
    if not is_quoted and path.suffix not in _SUFFIXES:
        # What is asked there goes into a lock, and to indexes: a file of a secret would be one of requirements.
        reason = "it is not of the project, and has no name of a file of requirements: `*.txt` or `*.in`"
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
                raise _NotTaken(other)
            else:
                packages.append((parse_requirement(line), number))
        except _NotTaken as refused:
            hint = next((advice for pattern, advice in _ADVICE if pattern.search(line)), "")
            reason = f"{refused}: `{shown(line)}`" if is_quoted else str(refused)
            raise BadRequirementsFile(reason, at, hint=hint) from None
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine, PythonIsNoPackage) as error:
            raise error.at(*at) from None
        except BadIndexUrl as error:
            raise BadIndexUrl(error.found if is_quoted else "what stands here", *at) from None
        except ConfigError as error:
            reason = without_credentials(error.message) if is_quoted else "a line that is no requirement"
            raise BadRequirementsFile(reason, at) from None
    return RequirementsFile(tuple(packages), tuple(indexes), tuple(flags))


def _text(path: Path, name: str, named_by: Location, project: Path) -> str:
    try:
        return read_file(path, REQUIREMENTS_BYTES, within=project).decode("utf-8-sig")
    except NotPlain as error:
        if "\0" in name:
            raise BadRequirementsFile(f"`{shown(name)}` is no name of a file", (named_by,), is_read=False) from None
        raise UnsafeFile(name, error.reason, (named_by,)) from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "it is not UTF-8 text") or type(error).__name__
        raise BadRequirementsFile(
            f"the requirements file `{shown(name)}` cannot be read: {reason[:1].lower()}{reason[1:]}",
            (named_by,),
            is_read=False,
        ) from None


class _NotTaken(Exception):
    """An option that a file may not have."""


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
        raise _NotTaken("an option that envlock does not take from a file")
