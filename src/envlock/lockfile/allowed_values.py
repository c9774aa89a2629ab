"""The values that a lock may hold. A digest shows accidental changes only: an attacker computes a new one.

Paths, URLs and installers' files are made of these values, so a value that could lead one of them astray is damage,
whatever the digest says. Patterns are strings, because `summary` builds one regular expression of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import LockedPackage

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

_WHEEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,195}\.whl")
_ARCHIVE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!~@=,%-]{0,199}")
_PYTHON = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:(?:a|b|rc)[0-9]{1,4})?")
_INSTANT = re.compile(
    r"[0-9]{1,4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
LARGEST = 10**15
"""One more than `COUNT` can say."""


def is_wheel(filename: str) -> bool:
    """Whether a wheel's file may have this name.

    >>> is_wheel("demo-1.0-py3-none-any.whl"), is_wheel("../demo-1.0-py3-none-any.whl")
    (True, False)
    """
    return _WHEEL.fullmatch(filename) is not None


def is_instant(text: str) -> bool:
    """Whether `exclude-newer` of a lock may have this value.

    >>> is_instant("2026-11-02T00:00:00Z"), is_instant("7d"), is_instant("2026-13-02T00:00:00Z")
    (True, False, False)
    """
    return _INSTANT.fullmatch(text) is not None


def wrong_package(package: LockedPackage) -> str:
    """The value of a PyPI package that no lock may hold; empty where there is none."""
    for what, value, pattern in (
        ("name", package.name, NAME),
        ("version", package.version, VERSION),
        ("url", package.url, URL),
        ("sha256", package.sha256, SHA256),
        ("index", package.index, f"(?:{INDEX})?"),
        *(("dependency", name, NAME) for name in package.dependencies),
    ):
        if re.fullmatch(pattern, value) is None:
            return f"{what} {shown(what, value)!r}"
    if not is_wheel(package.filename):
        return f"file name {package.filename!r}"
    if package.size is not None and (type(package.size) is not int or not 0 <= package.size < LARGEST):
        return f"size {package.size!r}"
    return ""


def shown(what: str, value: str) -> str:
    """A refused value as a message may repeat it: a URL without its secrets.

    >>> shown("url", "https://me:secret@index.example/t/token/x?token=y")
    'https://index.example/t/***/x'
    """
    if what not in {"url", "channel", "index"} or type(value) is not str:
        return value
    from envlock.model.url import strip_credentials

    return re.sub(r"/t/[^/]+", "/t/***", strip_credentials(value))


def wrong_python(source: str, version: str, url: str = "", filename: str = "", sha256: str = "") -> str:
    """The value of a Python that no lock may hold; empty where there is none. A mirror may be a local folder.

    >>> wrong_python("machine", "3.12.0"), wrong_python("machine", "3.12")
    ('', "version '3.12'")
    """
    if source not in {"machine", "uv", "conda"}:
        return f"source {source!r}"
    if _PYTHON.fullmatch(version) is None:
        return f"version {version!r}"
    if source != "uv":
        return "a file, though it has none of its own" if url or filename or sha256 else ""
    if re.fullmatch(URL, url) is None and not (url.startswith(("/", "file:///")) and url.isprintable()):
        return f"url {shown('url', url)!r}"
    if _ARCHIVE.fullmatch(filename) is None:
        return f"file name {filename!r}"
    return "" if re.fullmatch(SHA256, sha256) else f"sha256 {sha256!r}"


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
