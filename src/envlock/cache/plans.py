"""The plans of a cache: each lists all that a node does for one environment on one arch.

A plan is canonical JSON, named by its SHA-256, and is written after everything that it names. Nodes read it with the
standard library of an older Python (`metaflow_extensions/envlock/plugins/node`), which holds to the same format.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.cache.errors import NewerPlan, PlanDamaged
from envlock.cache.layout import (
    PLANS,
    EnvironmentPlace,
    PlanPlace,
    environment_place,
    kit_at,
    package_at,
    package_path,
    plan_at,
    plan_folder,
)
from envlock.errors import DamageError, EnvlockError, Location
from envlock.files import PACKAGE_BYTES, json_of
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import Arch
from envlock.model.python_range import releases_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.cache.port import Entry, Store
    from envlock.model.lock import Lock

FORMAT = 2
"""The newest format. Only plans with variables have it; others have 1, which older nodes read too."""
WHEELS = "wheels"
CONDA = "conda"
_SERIES = re.compile(r"[0-9]+\.[0-9]+\Z")
_EXECUTABLE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\Z")


class PlanFile(NamedTuple):
    """A file of the cache that a plan names."""

    path: str
    """Below the root of the cache, among its packages or the parts of its kits."""
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
    """The parts of a kit that a node needs for an environment."""

    uv: PlanFile
    conda: CondaTools | None = None


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
        return tuple(dict.fromkeys([self.tools.uv, *tools, *build, *(package.file for package in self.packages)]))

    @property
    def kits(self) -> frozenset[str]:
        """The paths of the parts of kits that the plan names."""
        return frozenset(file.path for file in self.files if kit_at(file.path))

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
            "format": FORMAT if self.variables else 1,
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
            "tools": {"uv": self.tools.uv._asdict(), **(_conda_document(conda) if conda else {})},
            "packages": [
                {"kind": each.kind, "name": each.name, "version": each.version, **each.file._asdict()}
                for each in self.packages
            ],
            **({"lock": self.lock} if self.lock else {}),
            **({"variables": [list(each) for each in self.variables]} if self.variables else {}),
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
        raise PlanDamaged(reason=f"a part is missing or malformed: {error}", locations=locations) from None
    if not is_canonical:
        raise PlanDamaged(reason="it holds something that envlock did not write", locations=locations)
    if plan.environment != place.environment:
        raise PlanDamaged(reason="it is the plan of another environment", locations=locations)
    return plan


class Plans:
    """The plans of one store. Any thread may call any method."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def places(self) -> Iterator[tuple[Entry, PlanPlace]]:
        """Every plan in the store, damaged or not. One listing."""
        for entry in self._store.entries(PLANS):
            place = plan_at(entry.path)
            if place is not None:
                yield entry, place

    def of(self, environment: EnvironmentPlace) -> list[PlanPlace]:
        """The plans of an environment, damaged or not, the newest first. One listing."""
        entries = sorted(
            self._store.entries(plan_folder(environment)), key=lambda each: (-(each.modified or 0.0), each.path)
        )
        return [place for entry in entries if (place := plan_at(entry.path)) is not None]

    def has(self, plan: Plan) -> bool:
        """Whether the plan is there, undamaged. One request."""
        try:
            return self._store.read(plan.place.path) == plan.render()
        except (FileNotFoundError, DamageError):
            return False

    def write(self, plan: Plan) -> None:
        """Write a plan. All that it names must be there already."""
        self._store.put(plan.place.path, plan.render())

    def read(self, place: PlanPlace) -> Plan:
        """A plan, verified. Raises PlanDamaged, NewerPlan, FileNotFoundError."""
        return parse_plan(self._store.read(place.path), place, f"{self._store.url}/{place.path}")


def find_plan(store: Store, lock: Lock, *, with_python: bool = False) -> Plan | None:
    """The newest plan of a lock that this envlock can read; None if there is no plan. One listing, and one read.

    `with_python` passes over those that need the image's own Python. The plan installs what the lock says and nothing
    else: only for its kit, the cache has to be trusted. Raises what is wrong with the newest one, if no other can be
    used: PlanDamaged or NewerPlan. Raises CacheUnusable.
    """
    plans = Plans(store)
    first: EnvlockError | None = None
    for place in plans.of(environment_place(lock)):
        try:
            plan = plans.read(place)
            if not is_of(plan, lock):
                shown = Location(f"{store.url}/{place.path}")
                raise PlanDamaged(reason="it does not install what the lock says", locations=(shown,))
            if not with_python or plan.python.build or plan.tools.conda:
                return plan
        except FileNotFoundError:  # noqa: PERF203  a gc deleted it since it was listed
            continue
        except (DamageError, NewerPlan) as error:
            first = first or error
    if first is not None:
        raise first
    return None


def is_of(plan: Plan, lock: Lock) -> bool:
    """Whether a plan is for exactly the packages and the Python of a lock. Sizes and the kit are its own."""
    python, conda, build = lock.python, plan.tools.conda, plan.python.build
    names = [package_path(package.sha256, package.filename) for package in lock.packages]
    kinds = ["conda" if package.kind == "conda" else "wheel" for package in lock.packages]
    if [(each.kind, each.file.path) for each in plan.packages] != list(zip(kinds, names, strict=True)):
        return False
    if plan.environment != environment_place(lock) or plan.python.series != python.series:
        return False
    if plan.variables != lock.requirements.variables:
        return False
    if python.source == "conda":
        found = quick_summary(plan.lock.encode())
        ids = found and (found.arch, found.req_id, found.full_id)
        return bool(conda and not build and plan.python.image is None) and ids == (lock.arch, lock.req_id, lock.full_id)
    if build is not None and build.executable != executable_of(build.version):
        return False
    if python.url:
        is_its_own = build is not None and build.file.path == package_path(python.sha256, python.filename)
        return is_its_own and plan.python.image is None and conda is None
    is_allowed = build is None or build.version in releases_of(python.version, lock.requirements.python)
    return is_allowed and plan.python.image == image_of(lock) and conda is None


def executable_of(version: str) -> str:
    """Where the archive of a Python build has its interpreter.

    >>> executable_of("3.12.9")
    'python/bin/python3.12'
    """
    return f"python/bin/python{'.'.join(version.split('.')[:2])}"


def image_of(lock: Lock) -> tuple[tuple[int, int | None], ...] | None:
    """The releases that an image's own Python may be of, for a lock without a Python of its own; None for others.

    One range for each run of numbers, first and last; a range that reaches the last possible release has no end.
    """
    if lock.python.source != "machine":
        return None
    releases = releases_of(lock.python.version, lock.requirements.python)
    found: list[tuple[int, int | None]] = []
    for number in (int(release.rpartition(".")[2]) for release in releases):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    if found and releases[-1] == releases_of(releases[-1], "")[-1]:
        found[-1] = (found[-1][0], None)
    return tuple(found)


def _conda_document(conda: CondaTools) -> dict[str, object]:
    return {
        "rattler": [each._asdict() for each in conda.rattler],
        "kernel": conda.kernel._asdict(),
        "python": _build_document(conda.python),
    }


def _build_document(build: PythonBuild | None) -> dict[str, object] | None:
    return build and {**build.file._asdict(), "version": build.version, "executable": build.executable}


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
        tools=PlanTools(_file(tools["uv"]), conda),
        packages=tuple(
            PlanPackage(_text(each["kind"]), _text(each["name"]), _text(each["version"]), _file(each))
            for each in document["packages"]
        ),
        lock=_text(document["lock"]) if conda else "",
        variables=tuple((_text(name), _text(value)) for name, value in document.get("variables", ())),
    )


def _file(document: Any) -> PlanFile:
    path, size, sha256 = _text(document["path"]), document["size"], document["sha256"]
    found = kit_at(path) or package_at(path)
    if found is None or found[0] != sha256:
        raise ValueError(f"{path!r} is not a file of a cache")
    if type(size) is not int or not 0 <= size <= PACKAGE_BYTES:
        raise ValueError(f"{size!r} is not a size")
    return PlanFile(path, size, sha256)


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
