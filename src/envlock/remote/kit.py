"""The kit of an environment: what a bare node needs, beside its packages, to make it.

That is uv, and for conda packages py-rattler, each in the version that is installed here; a Python build where the
image may bring no Python that fits; and envlock's own kernel. The wheels come from the project's own indexes, Python
builds from where `python-from = "uv"` has them. What was chosen is noted in envlock's home, so the next push asks
nobody.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from envlock.cache.layout import environment_place, kit_path
from envlock.cache.packages import path_of
from envlock.cache.plan import (
    CondaTools,
    Pack,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    PlanTools,
    PythonBuild,
)
from envlock.cache.plans import executable_of, image_of
from envlock.errors import EnvlockError, ResolveError
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.lockfile.document import render
from envlock.model.arch import LINUX_64, LINUX_AARCH64, Arch
from envlock.model.artifact import Artifact
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import strange_hosts, strip_credentials
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.uv_command import run_uv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.model.lock import Lock, LockedPython
    from envlock.resolve.port import FileHashes

FOLDER = "kits"
REMOTE_ARCHS = (LINUX_64, LINUX_AARCH64)
"""The archs of nodes."""
ZSTD = "backports-zstd"
_GLIBC = "2.28"
"""Wheels of kits may need a glibc as new as this one; a plan requires what they need."""
_ANY_PYTHON = "3.12.0"
"""The wheels of uv and py-rattler are for any Python from 3.10 on."""
_OLDEST_KERNEL_PYTHON = (3, 10)
_MANYLINUX = re.compile(r"manylinux_2_([0-9]+)_")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!]*")
_Chosen = TypeVar("_Chosen")


class NoKit(ResolveError):
    """Something that a node needs to make an environment cannot be got here."""

    code = "no-kit"
    message = "no kit for remote steps on {arch}: {what}"
    hint = "{advice}; if no step runs remotely, set `remote = false` in envlock.toml"

    def __init__(self, arch: str, what: str, why: EnvlockError | None, advice: str, *, series: str = "") -> None:
        """`advice` is what helps those who do have remote steps."""
        self.facts = (arch, what, why, advice)
        self.series = series
        details = (why.message, *why.details) if why else ()
        super().__init__(details=details, arch=arch, what=what, advice=advice, series=series)


class NoKitPython(NoKit):
    """A kit has no Python build, so remote steps need an image whose own Python fits."""

    code = "no-kit-python"
    message = "remote steps on {arch} need an image with CPython {series}: {what}"


class Build(NamedTuple):
    """A Python build of a kit."""

    artifact: Artifact
    version: str


class Kernel(NamedTuple):
    """envlock's kernel as a file of a kit."""

    file: PlanFile
    data: bytes


@dataclass(frozen=True)
class Kit:
    """What a node needs for one environment, beside its packages."""

    uv: Artifact
    python: Build | None = None
    """What serves if the image's Python does not."""
    rattler: tuple[Artifact, ...] = ()
    kernel: Kernel | None = None
    kernel_python: Build | None = None
    lacking: NoKitPython | None = None
    """Why there is no Python build, so that only the image's Python can serve."""

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """Its files that are downloaded."""
        builds = [build.artifact for build in (self.python, self.kernel_python) if build]
        return (self.uv, *self.rattler, *builds)


def place_of(artifact: Artifact) -> str:
    """The path of a downloaded file of a kit in a cache. Raises UnsafePath."""
    return kit_path(artifact.sha256, artifact.filename)


@cache
def _kernel() -> Kernel:
    from envlock.remote.kernel import KERNEL_NAME, kernel

    data = kernel()
    sha256 = hashlib.sha256(data).hexdigest()
    return Kernel(PlanFile(kit_path(sha256, KERNEL_NAME), len(data), sha256), data)


class Kits:
    """Chooses the kits of a project's locks. Asks the project's indexes and the host of Python builds once for each."""

    def __init__(self, project: Project, hashes: FileHashes | None = None) -> None:
        """`hashes` finds the SHA-256 of wheels whose index publishes none."""
        self._project = project
        self._hashes = hashes
        self._memos: set[Path] = set()
        self._known: dict[str, list[Build]] = {}
        self._failed: dict[str, EnvlockError] = {}
        self._unreachable: dict[str, EnvlockError] = {}
        self._uv = ""

    def of(self, lock: Lock) -> Kit:
        """The kit for a lock of a Linux arch. Raises NoKit."""
        uv = self._wheels("uv", self._uv_version(), lock.arch)[0]
        if lock.python.source == "conda":
            return self._with_kernel(Kit(uv), lock.arch)
        if lock.python.source != "machine":
            return Kit(uv)
        clauses = [f"=={lock.python.series}.*", *lock.requirements.python.split(",")]
        if not lock.python.version.endswith(".0"):
            clauses.append(f">={lock.python.version}")
        try:
            return Kit(uv, self._build(",".join(dict.fromkeys(filter(None, clauses))), lock.arch))
        except NoKit as error:
            return self.without_python(Kit(uv), lock, error)

    def zstd(self, arch: Arch) -> Artifact:
        """The wheel whose library decompresses parts, for a Linux arch; it is for any Python. Raises NoKit."""
        return self._wheels(ZSTD, _installed(ZSTD), arch)[0]  # where this Python has it itself, any version

    def without_python(self, kit: Kit, lock: Lock, reason: NoKit) -> Kit:
        """The kit of a lock whose Python build cannot be got. Raises NoKit if the image's Python may not serve."""
        if self._project.settings.remote_python == "kit":
            raise reason
        return replace(kit, python=None, lacking=NoKitPython(*reason.facts, series=lock.python.series))

    def forget(self) -> None:
        """Forget what was noted of the kits that were chosen: their files are no longer what they were."""
        for memo in self._memos:
            with suppress(OSError):
                memo.unlink()

    def _with_kernel(self, kit: Kit, arch: Arch) -> Kit:
        version = _installed("py-rattler")
        if not version:
            raise NoKit(arch, "py-rattler is not installed here", None, "pip install py-rattler")
        series = max(sys.version_info[:2], _OLDEST_KERNEL_PYTHON)
        return replace(
            kit,
            rattler=self._wheels("py-rattler", version, arch),
            kernel=_kernel(),
            kernel_python=self._build("=={}.{}.*".format(*series), arch),
        )

    def _wheels(self, name: str, version: str, arch: Arch) -> tuple[Artifact, ...]:
        """The wheels of a package and of what it needs, its own first. Raises NoKit."""
        settings = self._project.settings
        indexes = [*settings.extra_indices, settings.index_url]
        wanted = f"{name} {version}".strip()
        found = self._remembered(
            ["wheels", name, version, arch, _GLIBC, *map(strip_credentials, indexes)],
            lambda: self._resolved(name, version, arch),
            lambda error: NoKit(arch, f"no wheel of {wanted} can be got", error, _advice(name, error)),
            arch,
        )
        return tuple(build.artifact for build in found)

    def _resolved(self, name: str, version: str, arch: Arch) -> list[Build]:
        from envlock.resolve.errors import IndexUnreachable
        from envlock.resolve.port import Request
        from envlock.resolve.pypi_uv import UvResolver

        settings = self._project.settings
        request = Request(
            name="the kit",
            arch=arch,
            requirements=Requirements(
                python_from="uv",
                pypi=(parse_requirement(f"{name}=={version}" if version else name),),
                indexes=tuple(map(strip_credentials, settings.extra_indices)),
                default_index=strip_credentials(settings.index_url),
                system=((arch, "__glibc", _GLIBC),),
            ),
            python=_ANY_PYTHON,
            index_urls=settings.extra_indices,
            default_index_url=self._project.asked_default(settings.index_url),
            file_hashes=self._hashes,
        )
        with self._once("the index", IndexUnreachable):
            packages = sorted(UvResolver().resolve(request).packages, key=lambda package: package.name != name)
        return [
            Build(
                Artifact(package.filename, package.sha256, package.url, package.size, index=package.index),
                package.version,
            )
            for package in packages
        ]

    def _build(self, specifier: str, arch: Arch) -> Build:
        """The newest Python build in a specifier set. Raises NoKit."""
        from envlock.resolve.python_builds import PythonHostUnreachable, exact_builds

        def chosen() -> list[Build]:
            with self._once("Python builds", PythonHostUnreachable):
                python: LockedPython = exact_builds(specifier, [arch], mirror=self._project.python_mirror)[arch]
            return [Build(Artifact(python.filename, python.sha256, python.url), python.version)]

        mirror = strip_credentials(self._project.settings.python_mirror)
        (build,) = self._remembered(
            ["python", specifier, arch, self._uv_version(), mirror],
            chosen,
            lambda error: NoKit(arch, f"no build of CPython `{specifier}` can be got", error, _advice("", error)),
            arch,
        )
        return build

    @contextmanager
    def _once(self, whose: str, unreachable: type[EnvlockError]) -> Iterator[None]:
        """Ask a host inside; one that did not answer is not waited for again."""
        if whose in self._unreachable:
            raise self._unreachable[whose]
        try:
            yield
        except unreachable as error:
            self._unreachable[whose] = error
            raise

    def _uv_version(self) -> str:
        if not self._uv:
            found = _VERSION.search(run_uv(["--version"]).stdout)
            self._uv = found[0] if found else ""
        return self._uv

    def _remembered(
        self, key: list[str], choose: Callable[[], list[Build]], failing: Callable[[EnvlockError], NoKit], arch: Arch
    ) -> list[Build]:
        """What is chosen for a key: noted in this process, or in the home, or chosen now and noted in both."""
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
        if name in self._failed:
            raise failing(self._failed[name])
        if name not in self._known:
            memo = home() / FOLDER / f"{name}.json"
            found = _noted(memo)
            if found is None:
                try:
                    found = choose()
                except EnvlockError as error:
                    self._failed[name] = error
                    raise failing(error) from None
                with suppress(OSError), Closed():
                    folder_in_home(FOLDER)
                    write_atomically(memo, json.dumps([[*_row(build)] for build in found]).encode())
            self._memos.add(memo)
            self._known[name] = found
        found = self._known[name]
        strange = strange_hosts([build.artifact.url for build in found], self._project.settings.hosts)
        if strange:
            what = f"{found[0].artifact.filename} is on {', '.join(strange)}, which is not among `hosts`"
            raise NoKit(arch, what, None, "add the host to `hosts` in envlock.toml, if you trust it")
        return found


def plan_of(
    lock: Lock, kit: Kit, size_of: Callable[[str], int], pack: Pack | None = None, zstd: Artifact | None = None
) -> Plan:
    """The plan of a lock with a kit, and with a pack and what decompresses it.

    `size_of` tells the sizes of files of the cache that neither knows. The same of all of them give the same plan.
    """

    def file_of(artifact: Artifact, place: Callable[[Artifact], str] = place_of) -> PlanFile:
        path = place(artifact)
        return PlanFile(path, size_of(path) if artifact.size is None else artifact.size, artifact.sha256)

    def build_of(build: Build, place: Callable[[Artifact], str] = place_of) -> PythonBuild:
        return PythonBuild(file_of(build.artifact, place), build.version, executable_of(build.version))

    python, conda, build = lock.python, None, None
    if kit.kernel is not None and kit.kernel_python is not None:
        conda = CondaTools(tuple(map(file_of, kit.rattler)), kit.kernel.file, build_of(kit.kernel_python))
    elif python.url:
        build = build_of(Build(Artifact(python.filename, python.sha256, python.url), python.version), path_of)
    elif kit.python is not None:
        build = build_of(kit.python)
    return Plan(
        environment=environment_place(lock),
        python=PlanPython(python.series, image_of(lock), build),
        system=_system(lock, [kit.uv, *kit.rattler]),
        tools=PlanTools(file_of(kit.uv), conda, file_of(zstd) if pack and zstd else None),
        packages=tuple(
            PlanPackage(
                "conda" if package.kind == "conda" else "wheel",
                package.name,
                package.version,
                file_of(Artifact(package.filename, package.sha256, package.url, package.size), path_of),
            )
            for package in lock.packages
        ),
        lock=render(replace(lock, asked_by=(), resolved_by="", resolved_at="", exclude_newer="")) if conda else "",
        variables=lock.requirements.variables,
        pack=pack,
    )


def _installed(name: str) -> str:
    """The version of a package that is installed with envlock; empty if it is not."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _advice(name: str, error: EnvlockError) -> str:
    """What helps if a wheel of this name cannot be got, or without a name a Python build."""
    if not name:
        is_known = error.code != "no-python-build"
        mirror = "set `python-mirror` in envlock.toml to a mirror that this machine can reach"
        return mirror if is_known else "update uv, or choose another `python` in envlock.toml"
    if error.code.startswith("index-") and error.hint:  # it does not answer, or lets nobody in
        return error.hint
    return f"add it to the package index, or install the {name} that the index has"


def _system(lock: Lock, wheels: list[Artifact]) -> tuple[tuple[str, str], ...]:
    """What a node must have: what the lock requires, and the glibc that the wheels of the kit need."""
    found = {name: version for arch, name, version in lock.requirements.system if arch == lock.arch}
    minors = [min(map(int, tags)) for wheel in wheels if (tags := _MANYLINUX.findall(wheel.filename))]
    needed = max(minors, default=0)
    if needed and tuple(map(int, found.get("__glibc", "2.0").split("."))) < (2, needed):
        found["__glibc"] = f"2.{needed}"
    return tuple(sorted(found.items()))


def _row(build: Build) -> tuple[object, ...]:
    artifact = build.artifact
    return artifact.filename, artifact.sha256, artifact.url, artifact.size, build.version


def _noted(memo: Path) -> list[Build] | None:
    """What a memo has; None if it is not there, or damaged."""
    try:
        rows = json_of(read_file(memo, MEMO_BYTES))
        found = [_from_row(*row) for row in rows]
        for build in found:
            place_of(build.artifact)
    except (OSError, ValueError, TypeError, EnvlockError):
        return None
    return found or None


def _from_row(filename: object, sha256: object, url: object, size: object, version: object) -> Build:
    texts = (filename, sha256, url, version)
    if not all(type(text) is str for text in texts) or not (size is None or type(size) is int):
        raise ValueError(f"{texts!r} is no file of a kit")
    return Build(Artifact(str(filename), str(sha256), str(url), size if type(size) is int else None), str(version))
