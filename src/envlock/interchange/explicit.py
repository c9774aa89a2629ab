"""Explicit lists of conda packages (CEP 23): a URL and a hash in each line, in the order of installing."""

from __future__ import annotations

import re

from envlock.interchange.errors import BrokenImport, ImportUnclear
from envlock.interchange.exported import Export, Given
from envlock.lockfile.canonical_text import filename_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from envlock.interchange.imported import Choice, Imported
    from envlock.lockfile.rows import PackageRow
    from envlock.model.lock import LockedPackage

KIND = "@EXPLICIT"
CHOICES: frozenset[str] = frozenset()
"""What of a Choice has a meaning for it."""
_HASH = re.compile(r"(?:md5[:=])?(?P<md5>[0-9a-fA-F]{32})|(?:sha256[:=])(?P<sha256>[0-9a-fA-F]{64})")
_ARCHIVE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\.(?:conda|tar\.bz2)")
_PLATFORM = re.compile(r"^# *platform: *(\S+)", re.MULTILINE)
_PIP = re.compile(r"# *pip +(?P<name>\S+) *@ *(?P<url>\S+?)(?:#sha256[:=](?P<sha256>[0-9a-fA-F]{64}))? *\Z")
_COMMENT = re.compile(r"\s#.*")


def write(given: Given) -> Export:
    """The conda packages of one arch, each with its SHA-256."""
    (lock,) = given.locks
    lines = [f"{package.url}#sha256:{package.sha256}\n" for package in in_order(given.packages(lock))]
    return Export(f"{given.header()}# platform: {lock.arch}\n@EXPLICIT\n{''.join(lines)}")


def in_order(packages: Sequence[PackageRow]) -> Iterator[PackageRow]:
    """The packages, each after those that it needs; by name where neither needs the other, or where both do."""
    by_name = {package.name: package for package in packages}
    seen: set[str] = set()
    for first in sorted(by_name):
        waiting = [iter((first,))]
        names: list[str] = []
        while waiting:
            name = next((each for each in waiting[-1] if each in by_name and each not in seen), None)
            if name is None:
                waiting.pop()
                if names:
                    yield by_name[names.pop()]
            else:
                seen.add(name)
                names.append(name)
                waiting.append(iter(by_name[name].dependencies))


def read(text: str, path: Path, choice: Choice) -> Imported:
    """The environment in an `@EXPLICIT` file. Raises what `conda_parts.environment` raises, and BrokenImport."""
    from envlock.conda.channels import without_secrets
    from envlock.conda.lock_files import PlatformPart, PypiRow
    from envlock.interchange.conda_parts import environment

    shown = path.name
    conda: list[LockedPackage] = []
    pypi: list[PypiRow] = []
    for number, line in enumerate(text.splitlines(), start=1):
        pip = _PIP.match(line.strip())
        if pip is not None:
            filename = filename_of(without_secrets(pip["url"]))
            version = filename.split("-")[1] if filename.count("-") > 1 else ""
            pypi.append(PypiRow(pip["name"], version, pip["url"], (pip["sha256"] or "").lower(), ()))
            continue
        entry = _COMMENT.sub("", line).strip()
        if entry and not entry.startswith("#") and entry != "@EXPLICIT":
            found = archive(entry)
            if found is None:
                raise BrokenImport(shown, KIND, "it is not the URL of a conda archive with its hash", line=number)
            conda.append(found)
    subdirs = {each.conda.subdir for each in conda if each.conda is not None} - {"noarch"}
    said = _PLATFORM.search(text)
    names = sorted(subdirs or {*([said[1]] if said else choice.archs)})
    if len(names) != 1:
        if len(subdirs) > 1:
            raise BrokenImport(shown, KIND, f"it has packages of {', '.join(names)}, and is for one platform")
        raise ImportUnclear(shown, "possible archs: all of its packages are `noarch`", names, "--arch")
    part = PlatformPart((), tuple(conda), tuple(pypi), ())
    return environment(KIND, shown, {names[0]: part}, (), choice, has_conda_facts=False)


def archive(entry: str) -> LockedPackage | None:
    """The package of an archive's URL with its hash, as far as these tell; None where it is none.

    >>> found = archive("https://me:pw@conda.example/main/linux-64/zlib-1.3-h1_0.conda#" + "ab" * 16)
    >>> found.name, found.version, found.build, found.url, found.conda.subdir
    ('zlib', '1.3', 'h1_0', 'https://conda.example/main/linux-64/zlib-1.3-h1_0.conda', 'linux-64')
    """
    from envlock.conda.channels import without_secrets
    from envlock.model.lock import CondaFacts, LockedPackage

    place, _, digest = entry.partition("#")
    url = without_secrets(place)
    folder, _, _ = url.rpartition("/")
    channel, _, subdir = folder.rpartition("/")
    match = _ARCHIVE.fullmatch(filename_of(url))
    known = _HASH.fullmatch(digest)
    if match is None or (digest and known is None) or "://" not in channel:
        return None
    return LockedPackage(
        kind="conda",
        name=match["name"].lower(),
        version=match["version"],
        build=match["build"],
        filename=filename_of(url),
        url=url,
        sha256=(known["sha256"] or "").lower() if known else "",
        conda=CondaFacts(channel=channel, subdir=subdir, md5=(known["md5"] or "").lower() if known else ""),
    )
