"""What a lock file says, as plain rows, for who goes on with a file that was verified and needs no `Lock`.

The names are those of `envlock.model.lock`, and so are the values; a property test holds both readers to that. Defining
dataclasses takes longer than all of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from envlock.files import toml_of
from envlock.lockfile.allowed_values import CONDA_LINE, WHEEL_LINE
from envlock.lockfile.canonical_text import (
    CONDA,
    REQUIREMENTS,
    STAMP,
    TAIL,
    body_of,
    digest_of,
    ends_with_stamp,
    filename_of,
)
from envlock.model.arch import Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from envlock.lockfile.built_packages import BuiltLine

_PACKAGES = "\npackages = [\n"


class CondaRow(NamedTuple):
    """As CondaFacts."""

    channel: str
    subdir: str
    build_number: int = 0
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: str = ""
    md5: str = ""
    license: str = ""
    site_packages: str = ""
    provides: tuple[tuple[str, str], ...] = ()


class PackageRow(NamedTuple):
    """As LockedPackage."""

    name: str
    version: str
    filename: str
    url: str
    sha256: str
    kind: str = "pypi"
    build: str = ""
    size: int | None = None
    upload_time: str = ""
    from_index: str = ""
    """Its `index`, a name that tuples have for something else."""
    dependencies: tuple[str, ...] = ()
    conda: CondaRow | None = None
    source: BuiltLine | None = None
    """The whole line of a wheel that no upstream has: its `content` is the SHA-256 of what was built."""


class PythonRow(NamedTuple):
    """As LockedPython."""

    source: str
    version: str
    url: str = ""
    filename: str = ""
    sha256: str = ""

    @property
    def series(self) -> str:
        """`major.minor`."""
        return ".".join(self.version.split(".")[:2])


class LockRows(NamedTuple):
    """A lock; `requirements` is the document that req_id hashes."""

    arch: Arch
    req_id: str
    full_id: str
    requirements: Mapping[str, Any]
    python: PythonRow
    packages: tuple[PackageRow, ...]
    resolved_at: str = ""

    @property
    def identity(self) -> str:
        """`req_id:full_id`."""
        return f"{self.req_id}:{self.full_id}"

    @property
    def prefix_name(self) -> str:
        """The name of the hydrated prefix's folder."""
        from envlock.model.identity import prefix_name

        return prefix_name(self.req_id, self.full_id)

    @property
    def conda_packages(self) -> tuple[PackageRow, ...]:
        """The packages that are linked from conda archives."""
        return tuple(package for package in self.packages if package.kind == "conda")

    @property
    def pypi_packages(self) -> tuple[PackageRow, ...]:
        """The packages that are installed from wheels."""
        return tuple(package for package in self.packages if package.kind == "pypi")


def verified_rows(data: bytes, shown: str) -> LockRows:
    """The rows of a lock file, which nobody has verified yet, as `verified` does it. `shown` is for messages.

    Half a millisecond for 60 packages.
    """
    canonical = verified(data, shown)
    try:
        return rows_in(canonical)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):  # what somebody else put a digest to
        from envlock.lockfile.document import parse, render

        return rows_in(render(parse(canonical, shown)).encode())


def verified(data: bytes, shown: str) -> bytes:
    """A lock file in canonical spelling, verified. `shown` is how messages call the file.

    A body that hashes to its digest is what envlock wrote: whether it still fits envlock.toml is for `check` to
    say. Any other file is read in full. Raises DamagedLock, ConflictMarkersInLock, NewerLockFormat.
    """
    try:
        text = data.decode()
        stamp = text.rfind(STAMP) + len(STAMP)
        if ends_with_stamp(text) and text.startswith(f'digest = "{digest_of(body_of(text))}"\n', stamp):
            return data
    except (ValueError, KeyError, TypeError, AttributeError):
        pass  # the full reader says what is wrong
    from envlock.lockfile.document import parse, render

    return render(parse(data, shown)).encode()


def rows_in(data: bytes, *, with_requirements: bool = True) -> LockRows:
    """The rows of a lock file that was verified; with no requirements, if those are not needed.

    Raises KeyError, TypeError, ... on other content.
    """
    text = data.decode()
    packages = _rows(text)
    if packages is not None:
        requirements, stamp = text.rfind(REQUIREMENTS), text.rfind(STAMP)
        table = toml_of(text[text.rfind(TAIL) : requirements] + text[stamp:])["tool"]["envlock"]
        document = _requirements(text[requirements:stamp]) if with_requirements else {}
    else:
        whole = toml_of(text)
        table = whole["tool"]["envlock"]
        document = table["requirements"]
        conda = table.get("conda", {}).get("packages", ())
        names = {entry["name"] for entry in conda}
        packages = [*[_conda(entry, names) for entry in conda], *[_pypi(entry) for entry in whole["packages"]]]
    return LockRows(
        arch=Arch(table["arch"]),
        req_id=table["req-id"],
        full_id=table["full-id"],
        requirements=document,
        python=PythonRow(**table["python"]),
        packages=tuple(packages),
        resolved_at=table["stamp"]["resolved-at"],
    )


@lru_cache(maxsize=256)
def _requirements(section: str) -> Mapping[str, Any]:
    """A section of requirements, which is the same text in the lock of each arch."""
    found: Mapping[str, Any] = toml_of(section)["tool"]["envlock"]["requirements"]
    return found


def _rows(text: str) -> list[PackageRow] | None:
    """The packages of a lock by their lines; None if one has a value that only TOML's rules can read.

    Parsing all of the TOML takes five times as long.
    """
    position = text.find(_PACKAGES) + len(_PACKAGES)
    wheels = []
    line = re.compile(WHEEL_LINE) if text.startswith("    {", position) else None
    while line is not None and (match := line.match(text, position)):
        name, version, needed, index, written, uploaded, url, size, sha256 = match.groups()
        wheels.append(
            PackageRow(
                name,
                version,
                written or filename_of(url),
                url,
                sha256,
                size=None if size is None else int(size),
                upload_time=uploaded or "",
                from_index=index or "",
                dependencies=_split(needed),
            )
        )
        position = match.end()
    conda: list[PackageRow] = []
    if text.startswith(CONDA, position):
        position += len(CONDA)
        archive = re.compile(CONDA_LINE)
        while (match := archive.match(text, position)) and "\\" not in match[0]:
            conda.append(_of_line(*match.groups()))
            position = match.end()
        from envlock.conda.match_specs import edges

        names = {row.name for row in conda}
        conda = [row._replace(dependencies=edges(row.conda.depends, names)) for row in conda if row.conda]
    return [*conda, *wheels] if text.startswith(f"]\n{TAIL}", position) else None


def _split(texts: str | None) -> tuple[str, ...]:
    return tuple(texts.split('"')[1::2]) if texts else ()


def _of_line(
    name: str,
    version: str,
    build: str,
    number: str | None,
    noarch: str | None,
    url: str,
    channel: str | None,
    subdir: str | None,
    filename: str | None,
    size: str | None,
    timestamp: str | None,
    md5: str | None,
    sha256: str,
    license: str | None,  # noqa: A002
    depends: str | None,
    constrains: str | None,
    provides: str | None,
    site_packages: str | None,
) -> PackageRow:
    own_channel, _, own_subdir = url.rpartition("/")[0].rpartition("/")
    provided = _split(provides)
    facts = CondaRow(
        channel or own_channel,
        subdir or own_subdir,
        int(number or 0),
        _split(depends),
        _split(constrains),
        noarch or "",
        md5 or "",
        license[1:-1] if license else "",
        site_packages or "",
        tuple(zip(provided[::2], provided[1::2], strict=True)),
    )
    return PackageRow(
        name,
        version,
        filename or filename_of(url),
        url,
        sha256,
        kind="conda",
        build=build,
        size=None if size is None else int(size),
        upload_time=timestamp or "",
        conda=facts,
    )


def _pypi(entry: Mapping[str, Any]) -> PackageRow:
    if "tool" in entry or "path" in entry["wheels"][0]:
        from envlock.lockfile.built_packages import built_line

        line = built_line(entry)
        return PackageRow(
            line.name,
            line.version,
            line.filename,
            "",
            line.sha256,
            size=line.size,
            upload_time=line.upload_time,
            from_index=line.from_index,
            dependencies=line.dependencies,
            source=line,
        )
    (wheel,) = entry["wheels"]
    uploaded: datetime | None = wheel.get("upload-time")
    return PackageRow(
        entry["name"],
        entry["version"],
        wheel.get("name") or filename_of(wheel["url"]),
        wheel["url"],
        wheel["hashes"]["sha256"],
        size=wheel.get("size"),
        upload_time=uploaded.isoformat().replace("+00:00", "Z") if uploaded else "",
        from_index=entry.get("index", ""),
        dependencies=tuple([each["name"] for each in entry.get("dependencies", ())]),
    )


def _conda(entry: Mapping[str, Any], names: set[str]) -> PackageRow:
    from envlock.conda.match_specs import edges
    from envlock.lockfile.conda_packages import format_timestamp, parts

    url = entry["url"]
    channel, subdir = parts(url)
    stamp = entry.get("timestamp")
    return PackageRow(
        entry["name"],
        entry["version"],
        entry.get("filename") or filename_of(url),
        url,
        entry["sha256"],
        kind="conda",
        build=entry["build"],
        size=entry.get("size"),
        upload_time=format_timestamp(stamp) if stamp else "",
        dependencies=edges(entry.get("depends", ()), names),
        conda=CondaRow(
            entry.get("channel", channel),
            entry.get("subdir", subdir),
            entry.get("number", 0),
            tuple(entry.get("depends", ())),
            tuple(entry.get("constrains", ())),
            entry.get("noarch", ""),
            entry.get("md5", ""),
            entry.get("license", ""),
            entry.get("site-packages", ""),
            tuple([(name, version) for name, version in entry.get("provides", ())]),
        ),
    )
