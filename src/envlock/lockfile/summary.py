"""The fast reader: what `check` and `run` need to know of a lock file, verified without parsing most of it.

Sound because of how the digest is defined (`canonical_text`): a body that hashes to its digest is in canonical
spelling, where each package is one line of known form. Only the small rest is parsed as TOML. A file that is spelt
otherwise is left to the full reader (`document`), which can say what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from envlock.files import toml_of
from envlock.lockfile.allowed_values import (
    NAME,
    WHEEL_LINE,
    is_instant,
    is_python,
    is_wheel,
    twice,
)
from envlock.lockfile.canonical_text import (
    BUILT_FORMAT,
    CONDA,
    REQUIREMENTS,
    STAMP,
    TAIL,
    body_of,
    digest_of,
    ends_with_stamp,
    filename_of,
    format_of,
    head_of,
    table_lines,
    tail_of,
)
from envlock.lockfile.consistency import (
    Root,
    another_python,
    another_source,
    overridden,
    roots_in,
    unasked_source,
    unmet_limit,
    unmet_root,
    unneeded_wheel,
    wrong_wheel,
)
from envlock.model.arch import ARCHS, Arch
from envlock.model.identity import Plain, full_id, req_id
from envlock.model.requirements import requirements_document, type_of
from envlock.model.url import is_links_of_folder
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from envlock.lockfile.built_packages import BuiltLine

_NAMES = rf'\{{name = "({NAME})"(\}}|, version = )'
"""The name of a package at the beginning of its line, or of one that it depends on."""
_LINE = "    {"
"""How the line of a package begins."""


class Summary(NamedTuple):
    """A verified lock file: its digest and both ids are what its content hashes to."""

    arch: Arch
    req_id: str
    full_id: str
    urls: tuple[str, ...]
    """Where the packages come from, those that have a URL."""
    python_url: str
    """Where the Python comes from; empty where it has no file of its own."""
    others: frozenset[str] = frozenset()
    """The other URLs in it: indexes and channels, of packages and of requirements, and what wheels were built from."""
    inconsistency: str = ""
    """How its packages differ from what it is for, in a sentence (see `consistency`); empty where they do not."""
    built: tuple[str, ...] = ()
    """The packages that were built from an sdist of an index, but for those whose requirements ask for that."""

    def all_urls(self, *, has_mirror: bool) -> tuple[str, ...]:
        """Every URL in it; where Python builds come from a mirror, not the one that the lock names for its Python."""
        return (*self.urls, *sorted(self.others), *([self.python_url] if self.python_url and not has_mirror else []))


class PackageLines(NamedTuple):
    """The packages of a lock, read line by line."""

    rows: list[tuple[str, str, str, str, str, str]]
    """What full_id hashes of each."""
    urls: list[str]
    end: int
    """Where in the body they end."""
    others: set[str]
    """The other URLs in their lines."""
    provided: frozenset[str] = frozenset()
    """The PyPI distributions in conda packages, and the names of those."""
    indexes: Mapping[str, str] = {}
    """The index that each wheel's package is from, where its line names one."""
    built: Mapping[str, BuiltLine] = {}
    """The packages that no upstream has, by name."""
    missing: str = ""
    """A conda package that is required, and that is not there, in a sentence."""
    unneeded: str = ""
    """A conda package that nothing needs, in a sentence."""


class _LockedRequirements(NamedTuple):
    """A section of requirements, read."""

    req_id: str
    kind: str
    python: str
    """A specifier set."""
    python_from: str
    roots: tuple[Root, ...]
    metaflow: tuple[str, ...]
    """The names of what Metaflow needs, where channels or PyPI may bring it."""
    base: str
    conda: tuple[str, ...]
    urls: frozenset[str]
    constraints: tuple[Root, ...]
    overrides: tuple[Root, ...]
    """They stand in the place of the roots of their packages."""
    hashes: Mapping[str, frozenset[str]]
    document: Mapping[str, Plain]


def summarize(data: bytes, path: str) -> Summary:
    """The summary of a lock file. `path` is how messages call the file.

    Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    summary = quick_summary(data)
    if summary is None:
        from envlock.lockfile.document import parse, summary_of

        summary = summary_of(parse(data, path))
    return summary


@lru_cache(8)  # what was checked is read in full right after
def quick_summary(data: bytes) -> Summary | None:
    """The summary of a lock file that is spelt as envlock writes it; None for any other file.

    Costs about a quarter of a millisecond for 60 packages.
    """
    try:
        return _summary(data.decode())
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _summary(text: str) -> Summary | None:
    body = body_of(text)
    tail = body.rfind(TAIL)
    requirements = body.rfind(REQUIREMENTS)
    stamp = text.rfind(STAMP)
    if not 0 <= tail < requirements or not ends_with_stamp(text):
        return None
    table = toml_of(body[tail:requirements] + text[stamp:])["tool"]["envlock"]
    arch, python = table["arch"], table["python"]
    source, version = python["source"], python["version"]
    if arch not in ARCHS or table["stamp"]["digest"] != digest_of(body):
        return None
    url, filename, sha256 = (python.get(key, "") for key in ("url", "filename", "sha256"))
    if not is_python(source, version, url, filename, sha256):
        return None
    head = head_of(arch, source, version)
    required = _requirements(body[requirements:])
    number = table["format"]
    found = wheels_in(body, len(head), with_built=number == BUILT_FORMAT) if body.startswith(head) else None
    if found is None or required is None:
        return None
    edges = _edges(body, found.end)
    has_conda = body.startswith(CONDA, found.end)
    if number != format_of(has_conda=has_conda, has_source=bool(found.built), document=required.document):
        return None
    if has_conda:
        from envlock.lockfile.conda_packages import with_conda
        from envlock.model.conda_requirement import texts_for

        conda = texts_for(required.conda, arch)
        found = with_conda(body, found, arch, source, version, conda, required.metaflow)
    elif source == "conda":
        return None
    if found is None or body[found.end : tail + 1] != "]\n\n":
        return None
    ids = (required.req_id, full_id(source, version, filename, sha256, found.rows))
    newest = table.get("exclude-newer", "")
    if newest and not is_instant(newest):
        return None
    if body[tail:requirements] != tail_of(number, arch, required.kind, ids, newest, python):
        return None
    inconsistency = _inconsistency(found, edges, required, (source, version), arch, number)
    built = [name for name, line in found.built.items() if line.from_index]
    if built:
        asked = {
            flag.partition("=")[2] for flag in _texts(required.document, "pip-flags") if flag.startswith("no-binary=")
        }
        built = [name for name in built if asked.isdisjoint({name, ":all:"})]
    return Summary(arch, *ids, tuple(found.urls), url, required.urls.union(found.others), inconsistency, tuple(built))


def _inconsistency(
    found: PackageLines,
    edges: Mapping[str, Sequence[str]],
    required: _LockedRequirements,
    python: tuple[str, str],
    arch: Arch,
    number: int,
) -> str:
    """How packages differ from what they are for. `edges` are those of wheels, `python` is its source and version."""
    source, version = python
    wheels = {row[1]: row[2] for row in found.rows if row[0] == "pypi"}
    return (
        found.missing
        or another_python(required.python, required.python_from, version, source)
        or wrong_wheel(found.rows, arch, version)
        or unmet_root(wheels, found.indexes, found.provided, edges, required.roots, arch)
        or (_unmet_of_format_3(found, required, arch) if number == BUILT_FORMAT else "")
        or ("" if required.base else found.unneeded)  # the requirements of a base are not in the lock
        or ("" if required.base else unneeded_wheel(edges, found.provided, required.roots, required.metaflow, arch))
    )


def _unmet_of_format_3(found: PackageLines, required: _LockedRequirements, arch: Arch) -> str:
    limit = unmet_limit(found.rows, found.built, required.constraints, required.overrides, required.hashes, arch)
    wheels = {row[1] for row in found.rows if row[0] == "pypi"}
    return (
        limit
        or another_source(found.built, wheels, required.roots, arch)
        # the requirements of a base are not in the lock
        or (
            ""
            if required.base
            else unasked_source(
                found.built,
                (*required.roots, *required.constraints, *required.overrides),
                arch,
                has_folders=any(map(is_links_of_folder, _texts(required.document, "find-links"))),
            )
        )
    )


def wheels_in(body: str, start: int, *, with_built: bool = False) -> PackageLines | None:
    """The wheels whose lines begin at `start`, up to a line of another form; None where a value is not allowed.

    Only `with_built` are lines of packages read that no upstream has.
    """
    rows: list[tuple[str, str, str, str, str, str]] = []
    urls: list[str] = []
    others: set[str] = set()
    indexes: dict[str, str] = {}
    lines: dict[str, BuiltLine] = {}
    position = start
    line_of_wheel = re.compile(WHEEL_LINE) if body.startswith(_LINE, start) else None
    while line_of_wheel is not None:
        match = line_of_wheel.match(body, position)
        if match is None:
            built = _built_at(body, position) if with_built else None
            if built is None:
                break
            line, position = built
            lines[line.name] = line
            rows.append(("pypi", line.name, line.version, "", line.filename, line.sha256))
            others.update(filter(None, (line.url,)))
            name, index = line.name, line.from_index
        else:
            name, version, index, written, place, digest = match.group(1, 2, 4, 5, 7, 9)
            wheel = filename_of(place)
            if written is not None:
                if written == wheel:
                    return None
                wheel = written
            if not is_wheel(wheel):
                return None
            rows.append(("pypi", name, version, "", wheel, digest))
            urls.append(place)
            position = match.end()
        if index:
            indexes[name] = index
    if twice(row[1] for row in rows):
        return None
    return PackageLines(rows, urls, position, others.union(indexes.values()), indexes=indexes, built=lines)


def _texts(document: Mapping[str, Plain], key: str) -> list[str]:
    found = document.get(key, [])
    return list(map(str, found)) if isinstance(found, list) else []


def _edges(body: str, end: int) -> dict[str, list[str]]:
    """What each wheel depends on, from the lines up to `end`."""
    found: dict[str, list[str]] = {}
    needed: list[str] = []
    for name, rest in re.compile(_NAMES).findall(body, 0, end):
        if rest == "}":
            needed.append(name)
        else:
            found[name] = needed = []
    return found


def _built_at(body: str, position: int) -> tuple[BuiltLine, int] | None:
    if not body.startswith(_LINE, position):
        return None
    from envlock.lockfile.built_packages import line_at

    return line_at(body, position)


@lru_cache(maxsize=256)
def _requirements(section: str) -> _LockedRequirements | None:
    """A section of requirements, the same text in the lock of each arch; None where it is not in canonical spelling."""
    document = requirements_document(toml_of(section)["tool"]["envlock"]["requirements"])
    if section != REQUIREMENTS + "".join(f"{line}\n" for line in table_lines(document)):
        return None
    said: Mapping[str, Any] = document
    pypi, metaflow, conda, conda_only, channels, indexes = (
        [str(text) for text in said[key]] for key in ("pypi", "metaflow", "conda", "conda-only", "channels", "indexes")
    )
    kind = type_of(str(document["base"]), str(document["python-from"]), pypi, conda, conda_only)
    texts = (*pypi, *(metaflow if kind == "pypi" else ()))
    own = {str(text): str(index) for text, index in said.get("package-indexes", ())}
    pages, limits, overrides = (
        [str(each) for each in said.get(key, ())] for key in ("find-links", "constraints", "overrides")
    )
    others = roots_in(overrides, {})
    urls = [url for url in (*indexes, *own.values(), str(document["default-index"]), *channels, *pages) if "://" in url]
    hashes: dict[str, frozenset[str]] = {}
    for name, sha256 in said.get("hashes", ()):
        hashes[name] = hashes.get(name, frozenset()) | {sha256}
    return _LockedRequirements(
        req_id(document),
        kind,
        str(document["python"]),
        str(document["python-from"]),
        overridden(roots_in(texts, own), others),
        tuple(root.name for root in roots_in(metaflow, {})) if kind != "pypi" else (),
        str(document["base"]),
        (*conda, *conda_only),
        frozenset(urls),
        roots_in(limits, {}),
        others,
        hashes,
        document,
    )
