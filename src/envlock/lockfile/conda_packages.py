"""The conda packages of a lock: what they may hold, their lines, and both readers of those lines.

A field that is empty is left out of a line, and so is what another field says: `channel` and `subdir` where the URL is
`channel/subdir/file`, `filename` where the URL ends in it, and the edges, which are the names in `depends`. Only locks
with conda packages import this module.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain

from envlock.conda.match_specs import edges, name_in
from envlock.lockfile.allowed_values import CHANNEL_URL, CONDA_BUILD, CONDA_LINE, CONDA_NAME, CONDA_VERSION
from envlock.lockfile.canonical_text import CONDA, array, filename_of, quoted
from envlock.lockfile.consistency import missing, unneeded
from envlock.lockfile.summary import PackageLines

TYPE_CHECKING = False
if TYPE_CHECKING:  # defining a dataclass takes longer than reading the lines
    from datetime import datetime
    from typing import Any

    from envlock.model.lock import CondaFacts, LockedPackage

_UNPRINTABLE = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
_PRIVATE_URL = r"[Hh][Tt][Tt][Pp][Ss]?://.*/t/[^/]"
_ARCHIVE = rf"{CONDA_NAME}-{CONDA_VERSION}-{CONDA_BUILD}\.(?:conda|tar\.bz2)"


def _is_steady(lines: str) -> bool:
    """Whether lines have no control character of ASCII or Latin-1, and nothing that turns the direction of a line."""
    is_plain = lines.isascii() and lines.replace("\n", "").isprintable()
    return is_plain or re.search(_UNPRINTABLE, lines) is None


def _is_archive(filename: str, name: str, version: str, build: str) -> bool:
    """Whether a file has the name that the archive of that package has.

    >>> _is_archive("zlib-1.3-h1_0.conda", "zlib", "1.3", "h1_0")
    True
    >>> _is_archive("zlib-1.3-h1_0.whl", "zlib", "1.3", "h1_0")
    False
    """
    stem = f"{name}-{version}-{build}"
    return filename in (f"{stem}.conda", f"{stem}.tar.bz2") and len(filename) <= 200


def _has_token(url: str) -> bool:
    """Whether a URL carries an access token as conda's channels do, `/t/TOKEN/`.

    >>> _has_token("https://conda.example/t/ab-123/main/noarch/zlib-1.3-0.conda")
    True
    >>> _has_token("https://conda.example/main/noarch/zlib-1.3-0.conda")
    False
    """
    return "/t/" in url and re.match(_PRIVATE_URL, url) is not None


@lru_cache(maxsize=64)
def _is_channel(url: str) -> bool:
    """Whether a channel may have this name: a plain URL, without a token, and without a slash at its end.

    >>> _is_channel("https://conda.example/main"), _is_channel("main"), _is_channel("https://u:p@conda.example/main")
    (True, False, False)
    """
    return not url.endswith("/") and re.fullmatch(CHANNEL_URL, url + "/") is not None and not _has_token(url)


def is_archive(url: str, filename: str, name: str, version: str, build: str) -> bool:
    """Whether a lock may name the archive of this package at this URL.

    >>> is_archive("https://conda.example/main/noarch/zlib-1.3-0.conda", "zlib-1.3-0.conda", "zlib", "1.3", "0")
    True
    >>> is_archive("main/noarch/zlib-1.3-0.conda", "zlib-1.3-0.conda", "zlib", "1.3", "0")
    False
    """
    is_place = re.fullmatch(CHANNEL_URL, url) is not None and "${" not in url and not _has_token(url)
    return is_place and re.fullmatch(_ARCHIVE, filename) is not None and _is_archive(filename, name, version, build)


def parts(url: str) -> tuple[str, str]:
    """The channel and the subdir in an archive's URL.

    >>> parts("https://conda.example/main/noarch/tzdata-2026a-0.conda")
    ('https://conda.example/main', 'noarch')
    """
    channel, _, subdir = url.rpartition("/")[0].rpartition("/")
    return channel, subdir


def conda_line(package: LockedPackage) -> str:
    """A conda package as one line of TOML.

    >>> from envlock.model.lock import CondaFacts, LockedPackage
    >>> print(conda_line(LockedPackage(
    ...     kind="conda", name="zlib", version="1.3", build="h1_0", filename="zlib-1.3-h1_0.conda", sha256="ab",
    ...     url="https://conda.example/main/linux-64/zlib-1.3-h1_0.conda", upload_time="2026-01-02T03:04:05.678Z",
    ...     conda=CondaFacts(channel="https://conda.example/main", subdir="linux-64", depends=("__glibc >=2.17",)))))
    ... # doctest: +NORMALIZE_WHITESPACE
    {name = "zlib", version = "1.3", build = "h1_0", url = "https://conda.example/main/linux-64/zlib-1.3-h1_0.conda",
     timestamp = 2026-01-02T03:04:05.678Z, sha256 = "ab", depends = ["__glibc >=2.17"]}
    """
    facts = package.conda
    assert facts is not None, "a conda package has its facts"
    line = f"name = {quoted(package.name)}, version = {quoted(package.version)}, build = {quoted(package.build)}"
    if facts.build_number:
        line += f", number = {facts.build_number}"
    if facts.noarch:
        line += f", noarch = {quoted(facts.noarch)}"
    line += f", url = {quoted(package.url)}"
    if parts(package.url) != (facts.channel, facts.subdir):
        line += f", channel = {quoted(facts.channel)}, subdir = {quoted(facts.subdir)}"
    if filename_of(package.url) != package.filename:
        line += f", filename = {quoted(package.filename)}"
    if package.size is not None:
        line += f", size = {package.size}"
    if package.upload_time:
        line += f", timestamp = {package.upload_time}"
    if facts.md5:
        line += f", md5 = {quoted(facts.md5)}"
    return f"{{{line}, sha256 = {quoted(package.sha256)}{_facts(facts)}}}"


def _facts(facts: CondaFacts) -> str:
    """What follows the SHA-256 in a line."""
    line = ""
    if facts.license:
        line += f", license = {quoted(facts.license)}"
    if facts.depends:
        line += f", depends = {array(facts.depends)}"
    if facts.constrains:
        line += f", constrains = {array(facts.constrains)}"
    if facts.provides:
        line += f", provides = [{', '.join(map(array, facts.provides))}]"
    if facts.site_packages:
        line += f", site-packages = {quoted(facts.site_packages)}"
    return line


def conda_packages_from(entries: Sequence[Mapping[str, Any]]) -> tuple[LockedPackage, ...]:
    """The packages of `[tool.envlock.conda]`. Raises KeyError, TypeError, ValueError on other content."""
    names = {entry["name"] for entry in entries}
    return tuple(_package_from(entry, names) for entry in entries)


def _package_from(entry: Mapping[str, Any], names: Container[str]) -> LockedPackage:
    from envlock.model.lock import CondaFacts, LockedPackage

    url = entry["url"]
    channel, subdir = parts(url)
    stamp = entry.get("timestamp")
    depends = _list(entry, "depends")
    return LockedPackage(
        kind="conda",
        name=entry["name"],
        version=entry["version"],
        build=entry["build"],
        filename=entry.get("filename") or filename_of(url),
        url=url,
        sha256=entry["sha256"],
        size=entry.get("size"),
        upload_time=format_timestamp(stamp) if stamp is not None else "",
        dependencies=edges(depends, names),
        conda=CondaFacts(
            channel=entry.get("channel", channel),
            subdir=entry.get("subdir", subdir),
            build_number=entry.get("number", 0),
            depends=depends,
            constrains=_list(entry, "constrains"),
            noarch=entry.get("noarch", ""),
            md5=entry.get("md5", ""),
            license=entry.get("license", ""),
            site_packages=entry.get("site-packages", ""),
            provides=tuple((name, version) for name, version in _list(entry, "provides")),
        ),
    )


def _list(entry: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    value = entry.get(key, [])
    if type(value) is not list:
        raise TypeError(f"{key} is no list")
    return tuple(value)


def format_timestamp(moment: datetime) -> str:
    """A date-time in UTC, to the millisecond where it has any: a channel's timestamps are that exact."""
    exact = "milliseconds" if moment.microsecond and moment.microsecond % 1000 == 0 else "auto"
    return moment.isoformat(timespec=exact).replace("+00:00", "Z")


def is_lockable(package: LockedPackage, arch: str) -> bool:
    """Whether a lock for this arch may hold a conda package as it is."""
    match = re.fullmatch(CONDA_LINE, f"    {conda_line(package)},\n")
    return match is not None and _is_steady(match[0]) and _artifact(match, arch) is not None


def with_conda(
    body: str,
    wheels: PackageLines,
    arch: str,
    source: str,
    version: str,
    required: Sequence[str],
    metaflow: Iterable[str],
) -> PackageLines | None:
    """The conda packages whose lines follow those of the wheels, and the wheels; None where a value is not allowed.

    `source` and `version` are the locked Python's; `required` are match specifications, `metaflow` what Metaflow
    needs, by PyPI's names.
    """
    if not body.startswith(CONDA, wheels.end) or source != "conda":
        return None
    rows: list[tuple[str, str, str, str, str, str]] = []
    urls: list[str] = []
    others = set(wheels.others)
    provided: dict[str, str] = {}
    needed: dict[str, list[str]] = {}
    start = position = wheels.end + len(CONDA)
    line_at = re.compile(CONDA_LINE).match
    while match := line_at(body, position):
        artifact = _artifact(match, arch)
        if artifact is None:
            return None
        name, number, build, url, channel, digest, depends, provides = match.group(1, 2, 3, 6, 7, 13, 15, 17)
        if channel is not None:
            others.add(channel)
        needed[name] = depends[2:-2].split('", "') if depends else []  # a quote in a text has a backslash before it
        if provides:
            provided.update(dict.fromkeys(provides.split('"')[1::4], name))
        rows.append(("conda", name, number, build, artifact, digest))
        urls.append(url)
        position = match.end()
    names = {row[1] for row in rows}
    is_whole = len(names) == len(rows) and any(row[1:3] == ("python", version) for row in rows)
    brings_twice = not provided.keys().isdisjoint(row[1] for row in wheels.rows)
    if not is_whole or brings_twice or not _is_steady(body[start:position]):
        return None
    texts = dict.fromkeys(chain.from_iterable(needed.values()))
    named = {text: name_in(text) for text in texts}
    edges = {name: [named[text] for text in each] for name, each in needed.items()}
    roots = [name_in(each) for each in required]
    wanted = {*metaflow}.difference(row[1] for row in wheels.rows)
    return PackageLines(
        rows=rows + wheels.rows,
        urls=urls + wheels.urls,
        end=position,
        others=others,
        provided=frozenset({*provided, *names}),
        indexes=wheels.indexes,
        built=wheels.built,
        missing=missing(roots, _names_in(texts), names),
        unneeded=_unneeded(edges, [*roots, "python"], wanted, provided),
    )


def _unneeded(
    edges: Mapping[str, Sequence[str]], roots: Sequence[str], metaflow: Iterable[str], provided: Mapping[str, str]
) -> str:
    """A package that is locked and that nothing needs, in a sentence.

    What Metaflow needs is a package of PyPI's name, or one that provides it. No published names are read: nodes do not
    have them.
    """
    return unneeded(edges, chain(roots, (name if name in edges else provided.get(name, "") for name in metaflow)))


def _artifact(match: re.Match[str], arch: str) -> str | None:
    """The file name of the package in a line; None where it says what it need not, or a value is not allowed."""
    name, number, build, url, channel, subdir, written = match.group(1, 2, 3, 6, 7, 8, 9)
    filename = filename_of(url)
    if written == filename:
        return None
    if channel is None:
        is_place = _is_subdir(url[: url.rfind("/")], arch)
    else:
        is_place = _is_channel(channel) and subdir in {arch, "noarch"} and (channel, subdir) != parts(url)
        is_place = is_place and not _has_token(url)
    filename = written or filename
    return filename if is_place and _is_archive(filename, name, number, build) else None


@lru_cache(maxsize=64)
def _is_subdir(folder: str, arch: str) -> bool:
    """Whether the folder of an archive's URL, which a lock may hold, is what an arch has of a channel."""
    channel, _, subdir = folder.rpartition("/")
    return "://" in channel and not channel.endswith("/") and subdir in {arch, "noarch"} and not _has_token(folder)


def _names_in(needed: Iterable[str]) -> Iterator[str]:
    """The packages in match specifications; without system packages, and those under a condition."""
    return (name_in(text) for text in needed if not text.startswith("__") and ";" not in text)
