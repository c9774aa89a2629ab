"""What may stand in a lock of a conda package: the same strictness as `values` has for wheels.

Patterns are strings: `conda_proof` puts them into one regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from envlock.lockfile.values import NAME, SHA256, URL, VERSION, shown, twice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.model.lock import CondaFacts, Lock, LockedPackage

CONDA_NAME = r"(?!__)[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?"
CONDA_VERSION = r"[0-9A-Za-z][0-9A-Za-z.!+_]*"
BUILD = r"[0-9A-Za-z_][0-9A-Za-z_.+]*"
MD5 = r"[0-9a-f]{32}"
_PATH = r"/[^\x00-\x20\x7f\"\\?#]*"
CONDA_URL = rf"(?:{URL}|s3://[A-Za-z0-9._-]+{_PATH}|file://{_PATH})"
TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?!000)[0-9]{3})?Z"
NOARCH = r"python|generic"
SITE_PACKAGES = r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(?:/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*"
# No control character of ASCII or Latin-1, and nothing that turns the direction of a line.
UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"

_TEXT = re.compile(rf"[^{UNPRINTABLE}]*")
_SECRET = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://.*/t/[^/]")
_ENDINGS = (".conda", ".tar.bz2")
_LONGEST = 200
_LARGEST = 1 << 50


def is_conda_archive(filename: str, name: str, version: str, build: str) -> bool:
    """Whether it is what the archive of that package is called.

    >>> is_conda_archive("zlib-1.3-h1_0.conda", "zlib", "1.3", "h1_0")
    True
    >>> is_conda_archive("zlib-1.3-h1_0.whl", "zlib", "1.3", "h1_0")
    False
    """
    stem = f"{name}-{version}-{build}"
    return filename in (stem + _ENDINGS[0], stem + _ENDINGS[1]) and len(filename) <= _LONGEST


def has_token(url: str) -> bool:
    """Whether a URL carries an access token as conda's channels do, `/t/TOKEN/`.

    >>> has_token("https://conda.example/t/ab-123/main/noarch/zlib-1.3-0.conda")
    True
    >>> has_token("https://conda.example/main/noarch/zlib-1.3-0.conda")
    False
    """
    return "/t/" in url and _SECRET.match(url) is not None


@lru_cache(maxsize=64)
def is_channel(url: str) -> bool:
    """Whether it is what a channel may be called: a plain URL, without token and without a slash at its end.

    >>> is_channel("https://conda.example/main"), is_channel("main"), is_channel("https://u:p@conda.example/main")
    (True, False, False)
    """
    return not url.endswith("/") and re.fullmatch(CONDA_URL, url + "/") is not None and not has_token(url)


def parts(url: str) -> tuple[str, str]:
    """The channel and the subdir that an archive's URL says.

    >>> parts("https://conda.example/main/noarch/tzdata-2026a-0.conda")
    ('https://conda.example/main', 'noarch')
    """
    channel, _, subdir = url.rpartition("/")[0].rpartition("/")
    return channel, subdir


def wrong_conda_part(lock: Lock) -> str:
    """What of a lock's conda packages no lock may say, in a sentence; empty where all is well."""
    packages = lock.conda_packages
    for package in packages:
        wrong = wrong_conda_package(package, (lock.arch, "noarch"))
        if wrong:
            return f"conda package {package.name!r} has {wrong}"
    name = twice(package.name for package in packages)
    if name:
        return f"conda package {name!r} is there twice"
    rows = [(package.name, package.version) for package in packages]
    provided = {name for package in packages if package.conda for name, _ in package.conda.provides}
    return wrong_whole(lock.python.source, lock.python.version, rows, provided, [p.name for p in lock.pypi_packages])


def wrong_whole(
    source: str, version: str, conda: Iterable[tuple[str, str]], provided: set[str], pypi: Iterable[str]
) -> str:
    """How the parts of a lock with conda packages contradict each other; empty where they do not.

    `conda` are names and versions; `provided` are the PyPI distributions in them; `pypi` are the names of the wheels.
    """
    if source != "conda":
        return f"it has conda packages, but its Python is from {source!r}"
    if ("python", version) not in conda:
        return f"its Python is the conda package of version {version!r}, which is not in it"
    both = sorted(provided.intersection(pypi))
    return f"package {both[0]!r} is locked from PyPI, though a conda package provides it" if both else ""


def wrong_conda_package(package: LockedPackage, subdirs: Iterable[str]) -> str:
    """What of a conda package no lock may say; empty where all is well. `subdirs` are those that its arch can use."""
    facts = package.conda
    if facts is None:
        return "no channel"
    for what, value, pattern in (
        ("name", package.name, CONDA_NAME),
        ("version", package.version, CONDA_VERSION),
        ("build", package.build, BUILD),
        ("url", package.url, CONDA_URL),
        ("sha256", package.sha256, SHA256),
        ("md5", facts.md5, f"(?:{MD5})?"),
        ("timestamp", package.upload_time, f"(?:{TIMESTAMP})?"),
        ("noarch", facts.noarch, f"(?:{NOARCH})?"),
        ("site-packages", facts.site_packages, f"(?:{SITE_PACKAGES})?"),
    ):
        if type(value) is not str or re.fullmatch(pattern, value) is None:
            return f"{what} {shown(what, value)!r}"
    if has_token(package.url):
        return f"an access token in its URL, {shown('url', package.url)!r}"
    if not is_channel(facts.channel):
        return f"channel {shown('channel', facts.channel)!r}"
    if facts.subdir not in subdirs:
        return f"subdir {facts.subdir!r}"
    if not is_conda_archive(package.filename, package.name, package.version, package.build):
        return f"file name {package.filename!r}"
    return _wrong_numbers(package, facts) or _wrong_texts(facts)


def _wrong_numbers(package: LockedPackage, facts: CondaFacts) -> str:
    for what, number in (("size", package.size), ("number", facts.build_number)):
        if number is not None and (type(number) is not int or not 0 <= number < _LARGEST):
            return f"{what} {number!r}"
    return ""


def _wrong_texts(facts: CondaFacts) -> str:
    for text in (facts.license, *facts.depends, *facts.constrains):
        if type(text) is not str or _TEXT.fullmatch(text) is None:
            return f"text {text!r}"
    for name, version in facts.provides:
        if re.fullmatch(NAME, name) is None or re.fullmatch(VERSION, version) is None:
            return f"distribution {name!r} {version!r}"
    return ""
