"""One environment, resolved for one arch: exact, hashed, and named by `full_id`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from envlock.model.arch import Arch
from envlock.model.identity import canonical, full_id, prefix_name, sha256
from envlock.model.requirements import Requirements
from envlock.values import NamedTuple


@dataclass(frozen=True)
class CondaFacts:
    """The metadata of a conda package that installing it and solving again need."""

    channel: str
    """The channel it is from, without credentials: a URL."""
    subdir: str
    """The arch's own, or `noarch`."""
    build_number: int = 0
    depends: tuple[str, ...] = ()
    """Match specifications of what it needs, virtual packages included, in the order of its own metadata."""
    constrains: tuple[str, ...] = ()
    """Match specifications of what must fit where it is there at all."""
    noarch: str = ""
    """`python`, `generic`, or nothing for a package of one arch."""
    md5: str = ""
    license: str = ""
    site_packages: str = ""
    """Of a Python interpreter: where its packages are, relative to the prefix (CEP 17)."""
    provides: tuple[tuple[str, str], ...] = ()
    """The PyPI distributions in it, `(normalised name, version)`: known where PyPI packages are locked on top."""


@dataclass(frozen=True)
class Source:
    """What a wheel was built from; of a local wheel, where it was.

    >>> Source("git", url="https://code.example/tool", commit="ab" * 20).said
    'https://code.example/tool at abababababab'
    """

    kind: str
    """`sdist`, `git`, `folder`, or `wheel`."""
    url: str = ""
    """Of an sdist of the web; of `git` that of the repository (`https://…` or `ssh://…`). Without credentials."""
    commit: str = ""
    """Of `git`: all 40 or 64 hex digits."""
    sha256: str = ""
    """Of an sdist that of the archive; of a folder its content hash."""
    filename: str = ""
    """Of an sdist."""
    subdirectory: str = ""
    """The folder in it that was built; empty for its top."""
    path: str = ""
    """Of what was on this machine: relative to envlock.toml, with `/`. In no id."""
    requires: tuple[str, ...] = ()
    """The packages that built it, as `setuptools==80.9.0`, sorted; none for `wheel`."""

    @property
    def identity(self) -> tuple[str, ...]:
        """What two sources have in common that give the same package, wherever they lie."""
        return (self.kind, self.url, self.commit, self.sha256, self.subdirectory)

    @property
    def key(self) -> str:
        """64 hex digits that name it, on machines of every kind."""
        return sha256(canonical(["envlock-source", 1, *self.identity]))

    @property
    def said(self) -> str:
        """Where it came from, for messages."""
        place = self.path or self.filename or self.url
        below = f", in {self.subdirectory}" if self.subdirectory else ""
        return f"{place} at {self.commit[:12]}{below}" if self.commit else f"{place}{below}"


@dataclass(frozen=True)
class LockedPackage:
    """The one artifact that will be installed for a package."""

    name: str
    version: str
    filename: str
    url: str
    """Where upstream keeps it: canonical, without credentials, query or fragment. Empty if it has a `source`."""
    sha256: str
    kind: str = "pypi"
    build: str = ""
    size: int | None = None
    """Bytes, where the index tells."""
    upload_time: str = ""
    """RFC 3339, where the index tells."""
    index: str = ""
    dependencies: tuple[str, ...] = ()
    """Names of the locked packages of its own kind that this one needs, sorted."""
    conda: CondaFacts | None = None
    """Of a conda package, and of no other."""
    source: Source | None = None
    """Of a wheel that no upstream has: `filename`, `sha256` and `size` are the wheel's, `index` and `upload_time` the
    sdist's."""

    @property
    def is_of_index_sdist(self) -> bool:
        """Whether it was built from an sdist of an index, which `build` has to allow."""
        return self.source is not None and self.source.kind == "sdist" and self.index != ""


@dataclass(frozen=True)
class LockedPython:
    """The locked interpreter: a minor series of this machine, one exact build, or the conda package of that name.

    >>> LockedPython(source="machine", version="3.12.4").series
    '3.12'
    """

    source: str
    """`machine` (any CPython of the series, from `version` on), `uv` (exactly this build), or `conda` (the package
    `python` of the lock, which is a file among the others)."""
    version: str
    """Three numbers. For `machine`, the oldest release of the series that is allowed: what was solved for."""
    url: str = ""
    filename: str = ""
    sha256: str = ""

    @property
    def series(self) -> str:
        """`major.minor`."""
        return ".".join(self.version.split(".")[:2])


class Newer(NamedTuple):
    """The newest releases of a locked package."""

    allowed: str
    """The newest that the requirements, the Python and the arch allow; empty if there is none."""
    newest: str
    """The newest of all; empty if there is none."""
    is_allowed_newer: bool
    """Whether the first is newer than the locked release."""
    is_newer: bool
    """Whether the second is."""


@dataclass(frozen=True)
class Lock:
    """A locked environment for one arch."""

    arch: Arch
    requirements: Requirements
    python: LockedPython
    packages: tuple[LockedPackage, ...]
    """Sorted by kind and name; names are unique within a kind."""
    exclude_newer: str = ""
    """The instant that was in force, a span in envlock.toml made absolute. Not part of any id."""
    asked_by: tuple[str, ...] = ()
    """The environments that it was first locked for, such as `Train/start`. Not part of any id."""
    resolved_by: str = ""
    resolved_at: str = ""

    @property
    def conda_packages(self) -> tuple[LockedPackage, ...]:
        """The packages that are linked from conda archives."""
        return tuple(package for package in self.packages if package.kind == "conda")

    @property
    def pypi_packages(self) -> tuple[LockedPackage, ...]:
        """The packages that are installed from wheels."""
        return tuple(package for package in self.packages if package.kind == "pypi")

    @property
    def unasked_builds(self) -> tuple[str, ...]:
        """The packages that were built from an sdist of an index, without their requirements asking for that."""
        built = (each.name for each in self.packages if each.is_of_index_sdist)
        return tuple(name for name in built if not self.requirements.is_built(name))

    @property
    def req_id(self) -> str:
        """The id of the requirements."""
        return self.requirements.req_id

    @cached_property
    def full_id(self) -> str:
        """40 hex digits that name what was resolved: contents only, never where they lie or who locked them."""
        return full_id(
            self.python.source,
            self.python.version,
            self.python.filename,
            self.python.sha256,
            [(p.kind, p.name, p.version, p.build, p.filename, p.sha256) for p in self.packages],
        )

    @property
    def identity(self) -> str:
        """`req_id:full_id`."""
        return f"{self.req_id}:{self.full_id}"

    @property
    def prefix_name(self) -> str:
        """The name of the hydrated prefix's folder."""
        return prefix_name(self.req_id, self.full_id)
