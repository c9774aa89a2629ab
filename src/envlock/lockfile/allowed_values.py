"""The values that a lock may hold. A digest shows accidental changes only: an attacker computes a new one.

Paths, URLs and installers' files are made of these values, so a value that could lead one of them astray is damage,
whatever the digest says. The full reader takes only what fits the patterns too. A pattern is compiled where it is used,
and kept by `re`: most locks need few of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

NAME = r"[a-z0-9]+(?:-[a-z0-9]+)*"
VERSION = r"[0-9A-Za-z][0-9A-Za-z.!+_-]{0,199}"
SHA256 = r"[0-9a-f]{64}"
# The authority is plain: two readers of a stranger one may not agree on which host it names.
URL = r"[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?/[^\x00-\x20\x7f\"\\?#]*"

INDEX = r"[Hh][Tt][Tt][Pp][Ss]?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?(?:/[^\x00-\x20\x7f\"\\?#]*)?"
UPLOAD_TIME = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?!000000)[0-9]{6})?"
    r"(?:Z|[+-](?!00:00)[0-9]{2}:[0-9]{2})"
)
COUNT = r"(?:0|[1-9][0-9]{0,14})"
WHEEL_LINE = (
    rf'    \{{name = "({NAME})", version = "({VERSION})"'
    rf'(?:, dependencies = \[(\{{name = "{NAME}"\}}(?:, \{{name = "{NAME}"\}})*)\])?'
    rf'(?:, index = "({INDEX})")?'
    rf', wheels = \[\{{(?:name = "([^"\\]*)", )?(?:upload-time = ({UPLOAD_TIME}), )?'
    rf'url = "({URL})"(?:, size = ({COUNT}))?, hashes = \{{sha256 = "({SHA256})"\}}\}}\]\}},\n'
)
"""The line of a wheel: a group for each key."""

CONDA_NAME = r"(?!__)[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
CONDA_VERSION = r"[0-9A-Za-z][0-9A-Za-z.!+_]*"
CONDA_BUILD = r"[0-9A-Za-z_][0-9A-Za-z_.+]*"
_MD5 = r"[0-9a-f]{32}"
_PATH = r"/[^\x00-\x20\x7f\"\\?#]*"
CHANNEL_URL = rf"(?:{URL}|s3://[A-Za-z0-9._-]+{_PATH}|file://{_PATH})"
_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?!000)[0-9]{3})?Z"
_NOARCH = r"python|generic"
_SITE_PACKAGES = r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*"
_CHARACTERS = r'[^"\\\n]*'
_TEXT = rf'"{_CHARACTERS}(?:\\["\\]{_CHARACTERS})*"'
_SOME_TEXT = rf'(?!""){_TEXT}'
_TEXTS = rf"\[{_TEXT}(?:, {_TEXT})*\]"
_PROVIDED = rf'\["{NAME}", "{VERSION}"\]'
CONDA_LINE = (
    rf'    \{{name = "({CONDA_NAME})", version = "({CONDA_VERSION})", build = "({CONDA_BUILD})"'
    rf'(?:, number = ([1-9][0-9]{{0,14}}))?(?:, noarch = "({_NOARCH})")?, url = "({CHANNEL_URL})"'
    rf'(?:, channel = "([^"\\]*)", subdir = "([a-z0-9-]+)")?(?:, filename = "([^"\\]*)")?'
    rf'(?:, size = ({COUNT}))?(?:, timestamp = ({_TIMESTAMP}))?(?:, md5 = "({_MD5})")?, sha256 = "({SHA256})"'
    rf"(?:, license = ({_SOME_TEXT}))?(?:, depends = ({_TEXTS}))?(?:, constrains = ({_TEXTS}))?"
    rf"(?:, provides = \[({_PROVIDED}(?:, {_PROVIDED})*)\])?"
    rf'(?:, site-packages = "({_SITE_PACKAGES})")?\}},\n'
)
"""The line of a conda package: a group for each key. `conda_packages` refuses what cannot be printed, which this does
not: compiling that would take a millisecond."""

_WHEEL = r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,195}\.whl"
_ARCHIVE = r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}"
_PYTHON = r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:(?:a|b|rc)[0-9]{1,4})?"
_INSTANT = (
    r"[0-9]{1,4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def is_wheel(filename: str) -> bool:
    """Whether a wheel's file may have this name.

    >>> is_wheel("demo-1.0-py3-none-any.whl"), is_wheel("../demo-1.0-py3-none-any.whl")
    (True, False)
    """
    return re.fullmatch(_WHEEL, filename) is not None


def is_instant(text: str) -> bool:
    """Whether `exclude-newer` of a lock may have this value.

    >>> is_instant("2026-11-02T00:00:00Z"), is_instant("7d"), is_instant("2026-13-02T00:00:00Z")
    (True, False, False)
    """
    return re.fullmatch(_INSTANT, text) is not None


def is_python(source: str, version: str, url: str = "", filename: str = "", sha256: str = "") -> bool:
    """Whether a lock may hold this Python. A mirror's URL may be that of a local file.

    >>> is_python("machine", "3.12.0"), is_python("machine", "3.12"), is_python("uv", "3.12.0")
    (True, False, False)
    """
    if source not in {"machine", "uv", "conda"} or re.fullmatch(_PYTHON, version) is None:
        return False
    if source != "uv":
        return not (url or filename or sha256)  # it has no file of its own
    is_place = re.fullmatch(URL, url) is not None or (url.startswith(("/", "file:///")) and url.isprintable())
    return is_place and re.fullmatch(_ARCHIVE, filename) is not None and re.fullmatch(SHA256, sha256) is not None


def twice(names: Iterable[str]) -> str:
    """A name that occurs more than once; empty where none does.

    >>> twice(["a", "b", "a"])
    'a'
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
