"""Conda packages in a lock: one line of TOML each, and back.

A field that is empty is left out, and so is what another one says: `channel` and `subdir` where the URL is
`channel/subdir/file`, `filename` where the URL ends in it, and the edges, which are the names in `depends`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from envlock.conda.matching import edges
from envlock.lockfile.conda_values import parts
from envlock.lockfile.quoting import array, quoted
from envlock.lockfile.text import filename_of
from envlock.model.lock import CondaFacts, LockedPackage


def conda_line(package: LockedPackage) -> str:
    """A conda package as one line of TOML.

    >>> print(conda_line(LockedPackage(
    ...     kind="conda", name="zlib", version="1.3", build="h1_0", filename="zlib-1.3-h1_0.conda", sha256="ab",
    ...     url="https://conda.example/main/linux-64/zlib-1.3-h1_0.conda", upload_time="2026-01-02T03:04:05.678Z",
    ...     conda=CondaFacts(channel="https://conda.example/main", subdir="linux-64", depends=("__glibc >=2.17",)))))
    ... # doctest: +NORMALIZE_WHITESPACE
    {name = "zlib", version = "1.3", build = "h1_0", url = "https://conda.example/main/linux-64/zlib-1.3-h1_0.conda",
     timestamp = 2026-01-02T03:04:05.678Z, sha256 = "ab", depends = ["__glibc >=2.17"]}
    """
    return "{" + ", ".join(f"{key} = {value}" for key, value in _fields(package, package.conda)) + "}"


def _fields(package: LockedPackage, facts: CondaFacts | None) -> Iterator[tuple[str, str]]:
    assert facts is not None, "a conda package has its facts"
    yield "name", quoted(package.name)
    yield "version", quoted(package.version)
    yield "build", quoted(package.build)
    yield from _unless_empty("number", facts.build_number, str)
    yield from _unless_empty("noarch", facts.noarch)
    yield "url", quoted(package.url)
    if parts(package.url) != (facts.channel, facts.subdir):
        yield "channel", quoted(facts.channel)
        yield "subdir", quoted(facts.subdir)
    if filename_of(package.url) != package.filename:
        yield "filename", quoted(package.filename)
    if package.size is not None:
        yield "size", str(package.size)
    yield from _unless_empty("timestamp", package.upload_time, str)
    yield from _unless_empty("md5", facts.md5)
    yield "sha256", quoted(package.sha256)
    yield from _unless_empty("license", facts.license)
    yield from _unless_empty("depends", facts.depends, array)
    yield from _unless_empty("constrains", facts.constrains, array)
    yield from _unless_empty("provides", [array(each) for each in facts.provides], _joined)
    yield from _unless_empty("site-packages", facts.site_packages)


def _unless_empty(key: str, value: Any, spell: Callable[[Any], str] = quoted) -> Iterator[tuple[str, str]]:
    if value:
        yield key, spell(value)


def _joined(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"


def conda_packages_from(entries: Sequence[Mapping[str, Any]]) -> tuple[LockedPackage, ...]:
    """The packages of `[tool.envlock.conda]`. Raises KeyError, TypeError, ValueError on other content."""
    names = {entry["name"] for entry in entries}
    return tuple(_package_from(entry, names) for entry in entries)


def _package_from(entry: Mapping[str, Any], names: Container[str]) -> LockedPackage:
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
        upload_time=_text_of(stamp) if stamp is not None else "",
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


def _text_of(moment: datetime) -> str:
    """A date-time in UTC, to the millisecond where it has any: a channel's timestamps are that exact."""
    exact = "milliseconds" if moment.microsecond and moment.microsecond % 1000 == 0 else "auto"
    return moment.isoformat(timespec=exact).replace("+00:00", "Z")
