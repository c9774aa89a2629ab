"""What a lock file says, as plain rows, for who goes on with a file that was verified and needs no `Lock`.

The names are those of `envlock.model.lock`, and so are the values; a property test holds both readers to that. Defining
dataclasses takes longer than all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.files import toml_of
from envlock.lockfile.canonical_text import filename_of
from envlock.model.arch import Arch

if TYPE_CHECKING:
    from datetime import datetime

    from envlock.lockfile.built_packages import BuiltLine


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
    def conda_packages(self) -> tuple[PackageRow, ...]:
        """The packages that are linked from conda archives."""
        return tuple(package for package in self.packages if package.kind == "conda")


def rows_in(data: bytes) -> LockRows:
    """The rows of a lock file that was verified. Raises KeyError, TypeError, ... on other content."""
    document = toml_of(data.decode())
    table = document["tool"]["envlock"]
    conda = table.get("conda", {}).get("packages", ())
    names = {entry["name"] for entry in conda}
    return LockRows(
        arch=Arch(table["arch"]),
        req_id=table["req-id"],
        full_id=table["full-id"],
        requirements=table["requirements"],
        python=PythonRow(**table["python"]),
        packages=(
            *[_conda(entry, names) for entry in conda],
            *[_pypi(entry) for entry in document["packages"]],
        ),
        resolved_at=table["stamp"]["resolved-at"],
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
