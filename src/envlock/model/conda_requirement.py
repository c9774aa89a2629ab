"""One requirement of a conda package: its name, and the channel, version and build that are allowed.

Read and written without any library, because `check` needs it: the solver has its own, thorough reader, and
reports what this one lets pass.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_CHANNEL = re.compile(r"[A-Za-z0-9._~:/@%${}-]+")
_VERSION = re.compile(r"[0-9A-Za-z.!+_*<>=~|,()-]+")
_BUILD = re.compile(r"[0-9A-Za-z._+*^$()|\[\]-]+")
_OPERATOR = re.compile(r"[<>=!~]")
_UNFINISHED = re.compile(r"[<>=!~,|](?=[,|]|\Z)|\A=*[,|]")
"""A clause without its version, or no clause where one should be."""
_NO_COMMA = re.compile(r"(?<=[\w.*+])(?=[<>~]|[!=]=)")
"""Where a second clause follows the first at once: conda would take it for a build."""
_SPACES = re.compile(r"\s*([,|<>=!~]+)\s*")


class BadCondaRequirement(ValueError):
    """No channel can have what the text requires; `reason` says why."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"`{text}`: {reason}")
        self.text = text
        self.reason = reason


class CondaRequirement(NamedTuple):
    """A requirement of a conda package, as conda's match specification means it.

    `str` gives the canonical text `[channel::]name[ version[ build]]`, which is hashed into req_id.
    """

    name: str
    version: str = ""
    """Conda's version language: `==1.4`, `=1.4` (any 1.4), `>=1,<2`, `1.4.*`; empty for any."""
    build: str = ""
    """A build string, in which `*` matches anything; empty for any."""
    channel: str = ""
    """The channel it must come from, a name or a URL; empty for any."""

    def __str__(self) -> str:
        channel = f"{self.channel}::" if self.channel else ""
        version = self.version or ("*" if self.build else "")
        return " ".join(filter(None, (f"{channel}{self.name}", version, self.build)))


def conda_requirement(name: str, constraint: str = "") -> CondaRequirement:
    """What one entry of a table of conda packages means.

    The name may begin with `channel::`. A constraint without an operator is one exact version, `=` keeps conda's fuzzy
    meaning, and a build may follow the version.

    >>> str(conda_requirement("NumPy", "1.26.4"))
    'numpy ==1.26.4'
    >>> str(conda_requirement("conda-forge::ffmpeg", ""))
    'conda-forge::ffmpeg'
    >>> str(conda_requirement("scikit-learn", "1.4=py310*")), str(conda_requirement("numpy", "=1.26"))
    ('scikit-learn ==1.4 py310*', 'numpy =1.26')
    >>> str(conda_requirement("numpy", ">= 1.26, < 2"))
    'numpy >=1.26,<2'

    Raises BadCondaRequirement.
    """
    text = f"{name} {constraint}".strip()
    channel, separator, bare = name.strip().rpartition("::")
    if separator and not _CHANNEL.fullmatch(channel):
        raise BadCondaRequirement(text, f"`{channel}` is not a channel")
    bare = bare.strip().lower()
    if not _NAME.fullmatch(bare):
        raise BadCondaRequirement(text, f"`{bare}` is not a name of a conda package")
    version, build = _version_and_build(text, constraint)
    return CondaRequirement(bare, version, build, channel.rstrip("/") if separator else "")


def parse_conda_requirement(text: str) -> CondaRequirement:
    """The requirement that a canonical text, or what people write in a line, means.

    >>> parse_conda_requirement("conda-forge::numpy ==1.26.4 py312*")
    CondaRequirement(name='numpy', version='==1.26.4', build='py312*', channel='conda-forge')
    >>> parse_conda_requirement("numpy>=1.26").version, parse_conda_requirement("numpy=1.26=py312_0").build
    ('>=1.26', 'py312_0')

    Raises BadCondaRequirement.
    """
    match = re.match(r"\s*((?:\S+?::)?[^\s<>=!~\[]+)\s*(.*?)\s*$", text, re.DOTALL)
    if match is None:
        raise BadCondaRequirement(text, "it names no package")
    return conda_requirement(match[1], match[2])


def _version_and_build(text: str, constraint: str) -> tuple[str, str]:
    words = _SPACES.sub(r"\1", constraint.strip()).split()
    if len(words) > 2:
        raise BadCondaRequirement(text, "more than a version and a build follow the name")
    version, build = (*words, "", "")[:2]
    if version and not build:
        version, build = _parted(version)
    written = version
    if version and not _OPERATOR.search(version) and "*" not in version and "|" not in version:
        version = f"=={version}"
    if version == "*" and not build:
        version = ""
    parts = _NO_COMMA.split(version)
    if len(parts) > 1:
        raise BadCondaRequirement(text, f"a comma is missing between `{parts[0]}` and `{parts[1]}`")
    if version and (not _VERSION.fullmatch(version) or _UNFINISHED.search(version)):
        raise BadCondaRequirement(text, f"`{written}` is not a version that conda knows")
    if build and not _BUILD.fullmatch(build):
        raise BadCondaRequirement(text, f"`{build}` is not a build")
    return version, build


def _parted(version: str) -> tuple[str, str]:
    """The version and the build of `1.4=py310_0`, and of `=1.4=py310_0` and `==1.4=py310_0`.

    With a build, `=` before the version means what it means to conda: exactly this one.
    """
    operator = version[: len(version) - len(version.lstrip("="))]
    rest = version[len(operator) :]
    if "=" not in rest or re.search(r"[<>!~]", rest.partition("=")[0] + rest[:1]) or rest.count("=") != 1:
        return version, ""
    number, _, build = rest.partition("=")
    if not number or number[-1] in "<>!~,|":
        return version, ""
    return (number if "*" in number else f"=={number}"), build
