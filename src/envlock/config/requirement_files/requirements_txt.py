"""requirements.txt: names, versions, markers, indexes.

Options that would change the meaning (`-r`, `-c`, `-e`, `--hash`, ...) are an error with their line, never skipped. A
line has the same meaning, and the same rules, as in envlock.toml. No message quotes a file from outside the project:
envlock.toml may name one that whoever reads the log must not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from envlock.config.errors import BadIndexUrl
from envlock.config.project import LineOfFile
from envlock.config.requirement_files.contents import FileContents, RequirementFile
from envlock.errors import ConfigError
from envlock.model.requirement import (
    CredentialsInDirectUrl,
    DirectUrlOfThisMachine,
    PypiRequirement,
    PythonIsNoPackage,
    parse_requirement,
)
from envlock.model.url import is_web
from envlock.redaction import without_credentials

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


def read_requirements_txt(file: RequirementFile) -> FileContents:
    """What a requirements.txt says.

    Raises BadRequirementsFile, BadIndexUrl, CredentialsInDirectUrl, DirectUrlOfThisMachine or PythonIsNoPackage, with
    the line; UnsafeFile.
    """
    return read_lines(file, ((line, number) for number, line in enumerate(file.text.splitlines(), start=1)))


def read_lines(file: RequirementFile, lines: Iterable[tuple[str, int]]) -> FileContents:
    """What lines of a requirements.txt say, each with its number in the file, which may have another format.

    Raises what `read_requirements_txt` raises, with the error of the file's format in place of BadRequirementsFile.
    """
    packages: list[tuple[PypiRequirement, str, LineOfFile]] = []
    indexes: list[tuple[str, LineOfFile]] = []
    flags: list[str] = []
    for raw, number in lines:
        line = _COMMENT.sub("", raw).strip()
        try:
            if not line:
                continue
            if line.startswith("-"):
                _take_option(line, file.line(number), indexes, flags)
            elif other := next((why for pattern, why in _OTHERS if pattern.search(line)), ""):
                raise _NotSupported(other)
            else:
                packages.append((parse_requirement(line), "", file.line(number)))
        except _NotSupported as refused:
            hint = next((advice for pattern, advice in _ADVICE if pattern.search(line)), "")
            raise file.fault(str(refused), number, line=line, hint=hint) from None
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine, PythonIsNoPackage) as error:
            raise error.at(*file.places(number)) from None
        except BadIndexUrl as error:
            raise BadIndexUrl(error.found if file.is_quoted else "this line", *file.places(number)) from None
        except ConfigError as error:
            reason = without_credentials(error.message) if file.is_quoted else "this line is not a requirement"
            raise file.fault(reason, number) from None
    return FileContents(tuple(packages), indexes=tuple(indexes), pip_flags=tuple(flags), files=(file.path,))


class _NotSupported(Exception):
    """A line that envlock does not support."""


def _take_option(line: str, number: LineOfFile, indexes: list[tuple[str, LineOfFile]], flags: list[str]) -> None:
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
