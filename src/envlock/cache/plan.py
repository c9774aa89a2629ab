"""A plan: all that a node does for one environment on one arch.

A plan is canonical JSON, named by its SHA-256, and is written after everything that it names. Nodes read it with the
standard library of an older Python (`metaflow_extensions/envlock/plugins/node`), which holds to the same format.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.cache.errors import NewerPlan, PlanDamaged
from envlock.cache.layout import EnvironmentPlace, PlanPlace, kit_at, package_at, part_at
from envlock.errors import Location
from envlock.files import PACKAGE_BYTES, json_of
from envlock.model.arch import Arch

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 4
"""The newest format. Only plans with a pack have it, or 3 if the modules of tests have bytecode in it. Plans with
variables have 2, and others 1: older nodes read those."""
WHEELS = "wheels"
CONDA = "conda"
_SERIES = re.compile(r"[0-9]+\.[0-9]+\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+[a-z0-9]{0,9}\Z")
_PLACEHOLDER = re.compile(r"(?:(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+)?\Z")
_EXECUTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")


class PlanFile(NamedTuple):
    """A file of the cache that a plan names."""

    path: str
    """Below the root of the cache, among its packages, its parts, or the files of its kits."""
    size: int
    sha256: str


class PythonBuild(NamedTuple):
    """A Python build that a plan names."""

    file: PlanFile
    version: str
    executable: str
    """Its interpreter, relative to where the archive is unpacked."""


class PlanPackage(NamedTuple):
    """A package that a plan names."""

    kind: str
    """`wheel` or `conda`."""
    name: str
    version: str
    file: PlanFile


class PlanPython(NamedTuple):
    """The Python of an environment on a node."""

    series: str
    image: tuple[tuple[int, int | None], ...] | None = None
    """The releases of the series that may be the image's own: first and last, None for no last; None for none at all.
    """
    build: PythonBuild | None = None
    """What serves otherwise; None for a conda package, or where no kit could be got."""


class CondaTools(NamedTuple):
    """What a node needs to link conda packages."""

    rattler: tuple[PlanFile, ...]
    """The wheel of py-rattler, and of what it needs."""
    kernel: PlanFile
    python: PythonBuild
    """What runs the node kernel, with py-rattler on its path."""


class PlanTools(NamedTuple):
    """The files of a kit that a node needs for an environment."""

    uv: PlanFile
    conda: CondaTools | None = None
    zstd: PlanFile | None = None
    """The wheel of backports.zstd, whose library decompresses parts where an image has none. Only beside a pack."""


class Part(NamedTuple):
    """One compressed tar of a pack."""

    file: PlanFile
    raw_size: int
    """Bytes before compression."""
    raw_sha256: str


class Pack(NamedTuple):
    """The finished prefix of an environment, as parts of the cache."""

    compiler: str
    """The version of the CPython that made the bytecode in it: `3.12.4`."""
    placeholder: str
    """The path that stands for the prefix in the files of conda packages; empty if there are none."""
    parts: tuple[Part, ...]
    compiles_tests: bool = False
    """Whether the packages' own tests have bytecode, as they have in plans of format 3."""

    @property
    def format(self) -> int:
        """The format of a plan with it."""
        return 3 if self.compiles_tests else FORMAT

    @property
    def raw(self) -> str:
        """Its raw digest, which is the same wherever the pack is made."""
        return raw_of(part.raw_sha256 for part in self.parts)

    @property
    def size(self) -> int:
        """Compressed bytes of all parts."""
        return sum(part.file.size for part in self.parts)


def raw_of(digests: Iterable[str]) -> str:
    """The raw digest of a pack: the SHA-256 of the hex digests of its raw parts, one a line."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """All that a node does for one environment on one arch."""

    environment: EnvironmentPlace
    python: PlanPython
    system: tuple[tuple[str, str], ...]
    """System packages with the least version that a node must have, sorted."""
    tools: PlanTools
    packages: tuple[PlanPackage, ...]
    """In the order of the lock."""
    lock: str = ""
    """For `conda` only: the text of the lock, without who locked it and when."""
    variables: tuple[tuple[str, str], ...] = ()
    """The variables to set where the environment is entered, sorted."""
    pack: Pack | None = None
    """What a node unpacks instead of the packages, if it can."""

    @property
    def install(self) -> str:
        """`wheels` or `conda`: how the packages are joined."""
        return CONDA if self.tools.conda else WHEELS

    @property
    def files(self) -> tuple[PlanFile, ...]:
        """Every file of the cache that the plan names, each once."""
        build = [self.python.build.file] if self.python.build else []
        conda = self.tools.conda
        tools = [*conda.rattler, conda.kernel, conda.python.file] if conda else []
        zstd = [self.tools.zstd] if self.tools.zstd else []
        packages = [package.file for package in self.packages]
        parts = [part.file for part in self.pack.parts] if self.pack else []
        return tuple(dict.fromkeys([self.tools.uv, *tools, *zstd, *build, *packages, *parts]))

    @property
    def kits(self) -> frozenset[str]:
        """The paths of the files of kits that the plan names."""
        return frozenset(file.path for file in self.files if kit_at(file.path))

    @property
    def parts(self) -> frozenset[str]:
        """The paths of the parts of its pack."""
        return frozenset(part.file.path for part in self.pack.parts) if self.pack else frozenset()

    def without_pack(self) -> Plan:
        """The same plan without a pack."""
        return replace(self, pack=None, tools=self.tools._replace(zstd=None))

    @property
    def sha256(self) -> str:
        """The SHA-256 of its bytes, which is its name."""
        return hashlib.sha256(self.render()).hexdigest()

    @property
    def place(self) -> PlanPlace:
        """Its place in a cache."""
        return PlanPlace(self.environment, self.sha256)

    def render(self) -> bytes:
        """Its canonical bytes: sorted keys, no spaces, ASCII, a newline at the end."""
        image, conda = self.python.image, self.tools.conda
        document = {
            "format": self.pack.format if self.pack else 2 if self.variables else 1,
            "arch": self.environment.arch,
            "req_id": self.environment.req_id,
            "full_id": self.environment.full_id,
            "install": self.install,
            "python": {
                "series": self.python.series,
                "image": None if image is None else [list(each) for each in image],
                "build": _build_document(self.python.build),
            },
            "system": [list(each) for each in self.system],
            "tools": {
                "uv": self.tools.uv._asdict(),
                **(_conda_document(conda) if conda else {}),
                **({"zstd": self.tools.zstd._asdict()} if self.tools.zstd and self.pack else {}),
            },
            "packages": [
                {"kind": each.kind, "name": each.name, "version": each.version, **each.file._asdict()}
                for each in self.packages
            ],
            **({"lock": self.lock} if self.lock else {}),
            **({"variables": [list(each) for each in self.variables]} if self.variables else {}),
            **({"pack": _pack_document(self.pack)} if self.pack else {}),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def parse_plan(data: bytes, place: PlanPlace, shown: str = "") -> Plan:
    """The plan in these bytes, verified: by the SHA-256 and the ids in its path, and all paths in it.

    `shown` is where it was read. Raises PlanDamaged, NewerPlan.
    """
    locations = (Location(shown or place.path),)
    if hashlib.sha256(data).hexdigest() != place.sha256:
        raise PlanDamaged(reason="its content does not match its name", locations=locations)
    try:
        document = json_of(data)
        if type(document["format"]) is int and document["format"] > FORMAT:
            raise NewerPlan(reason=f"it has format {document['format']}", locations=locations)
        install = _text(document["install"])
        if install not in {WHEELS, CONDA}:
            raise NewerPlan(reason=f"it installs by `{install}`", locations=locations)
        plan = _from_document(document)
        is_canonical = plan.render() == data
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise PlanDamaged(reason=f"a field is missing or malformed: {error}", locations=locations) from None
    if not is_canonical:
        raise PlanDamaged(reason="it holds something that envlock did not write", locations=locations)
    if plan.environment != place.environment:
        raise PlanDamaged(reason="it is the plan of another environment", locations=locations)
    return plan


def _conda_document(conda: CondaTools) -> dict[str, object]:
    return {
        "rattler": [each._asdict() for each in conda.rattler],
        "kernel": conda.kernel._asdict(),
        "python": _build_document(conda.python),
    }


def _build_document(build: PythonBuild | None) -> dict[str, object] | None:
    return build and {**build.file._asdict(), "version": build.version, "executable": build.executable}


def _pack_document(pack: Pack) -> dict[str, object]:
    parts = [{**part.file._asdict(), "raw_size": part.raw_size, "raw_sha256": part.raw_sha256} for part in pack.parts]
    return {"compiler": pack.compiler, "placeholder": pack.placeholder, "raw": pack.raw, "parts": parts}


def _from_document(document: Any) -> Plan:
    python, tools = document["python"], document["tools"]
    image = python["image"]
    conda = None
    if document["install"] == CONDA:
        rattler, kernel = tuple(map(_file, tools["rattler"])), _file(tools["kernel"])
        conda = CondaTools(rattler, kernel, _build(tools["python"]))
    return Plan(
        environment=EnvironmentPlace(
            Arch(_text(document["arch"])), _text(document["req_id"]), _text(document["full_id"])
        ),
        python=PlanPython(
            series=_matching(_SERIES, python["series"]),
            image=None if image is None else tuple(map(_releases, image)),
            build=None if python["build"] is None else _build(python["build"]),
        ),
        system=tuple((_text(name), _text(version)) for name, version in document["system"]),
        tools=PlanTools(_file(tools["uv"]), conda, _file(tools["zstd"]) if "zstd" in tools else None),
        packages=tuple(
            PlanPackage(_text(each["kind"]), _text(each["name"]), _text(each["version"]), _file(each))
            for each in document["packages"]
        ),
        lock=_text(document["lock"]) if conda else "",
        variables=tuple((_text(name), _text(value)) for name, value in document.get("variables", ())),
        pack=_pack(document["pack"], python["series"], document["format"]) if "pack" in document else None,
    )


def _file(document: Any) -> PlanFile:
    path, size, sha256 = _text(document["path"]), document["size"], document["sha256"]
    found = kit_at(path) or package_at(path)
    if found is None or found[0] != sha256:
        raise ValueError(f"{path!r} is not a file of a cache")
    return PlanFile(path, _size(size), sha256)


def _size(size: object) -> int:
    if type(size) is not int or not 0 <= size <= PACKAGE_BYTES:
        raise ValueError(f"{size!r} is not a size")
    return size


def _pack(document: Any, series: str, of_format: int) -> Pack:
    compiler = _matching(_VERSION, document["compiler"])
    if not compiler.startswith(f"{series}."):
        raise ValueError(f"{compiler!r} is not of the series {series}")
    parts = tuple(map(_part, document["parts"]))
    if not parts:
        raise ValueError("a pack has no parts")
    return Pack(compiler, _matching(_PLACEHOLDER, document["placeholder"]), parts, of_format == 3)


def _part(document: Any) -> Part:
    path, sha256 = _text(document["path"]), document["sha256"]
    if part_at(path) is None or part_at(path) != sha256:
        raise ValueError(f"{path!r} is not a part of a cache")
    file = PlanFile(path, _size(document["size"]), sha256)
    return Part(file, _size(document["raw_size"]), _matching(_SHA256, document["raw_sha256"]))


def _build(document: Any) -> PythonBuild:
    return PythonBuild(_file(document), _text(document["version"]), _matching(_EXECUTABLE, document["executable"]))


def _releases(pair: Any) -> tuple[int, int | None]:
    first, last = pair
    if type(first) is not int or (last is not None and type(last) is not int):
        raise ValueError(f"{pair!r} is not a range of releases")
    return first, last


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{value!r} is not a text")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not pattern.match(_text(value)):
        raise ValueError(f"{value!r} is not valid there")
    return str(value)
