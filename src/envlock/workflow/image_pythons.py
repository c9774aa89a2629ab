"""The interpreter of each environment of an image, and the CPython that compiles its modules."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from envlock.cache.plans import find_plan
from envlock.hydration.errors import BadPythonArchive
from envlock.hydration.pythons import allows, unpack
from envlock.image.errors import NotForImage
from envlock.image.layers import Layer, LayerFile, folder_layer
from envlock.image.prefix import ImagePython, python_folder
from envlock.interpreters import NoInterpreter, find_interpreter
from envlock.model.artifact import Artifact
from envlock.model.python_range import python_allows
from envlock.pack.bytecode import Span, compile_modules, compiler_of
from envlock.remote.kit import Kits
from envlock.workflow.packs import called, kept_bytecode

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.cache.plan import Plan
    from envlock.cache.port import Store
    from envlock.config.project import Project
    from envlock.hydration.port import ArtifactSource, Pythons
    from envlock.image.image import Base
    from envlock.model.lock import Lock, LockedPython
    from envlock.pack.tree import Tree
    from envlock.reporter import Reporter

KIT, BASE = "kit", "base"
_UNUSED = frozenset({"test", "tests", "idlelib", "lib2to3", "turtledemo", "tkinter", "ensurepip", "site-packages"})
"""What of the standard library a task does not import: it gets no bytecode."""


class ChosenPython(NamedTuple):
    """The interpreter of an environment in an image."""

    interpreter: ImagePython
    build: Layer | None = None
    """The layer with it, if it is neither the base's nor among the packages."""
    version: str = ""
    sha256: str = ""
    """Of the build's archive."""


class ImagePythons:
    """Chooses interpreters for one push."""

    def __init__(
        self,
        project: Project,
        store: Store,
        source: ArtifactSource,
        interpreters: Pythons,
        scratch: Path,
        reporter: Reporter,
        chosen: str,
    ) -> None:
        """`chosen` is `kit`, `base`, or an absolute path in the base."""
        self.bytecode = scratch / "bytecode"
        self._reporter = reporter
        self._builds: dict[str, Layer] = {}
        self._store = store
        self._source = source
        self._interpreters = interpreters
        self._scratch = scratch
        self._chosen = chosen
        self._kits = Kits(project)
        self._plans: dict[tuple[str, str], Plan | None] = {}

    def of(self, lock: Lock, tree: Tree, folder: str, base: Base) -> ChosenPython:
        """The interpreter of an environment in a folder of the image. Raises NotForImage, NoKit."""
        series = lock.python.series
        if lock.python.source == "conda":
            version = next(each.version for each in lock.conda_packages if each.name == "python")
            size = next((file.size for file in tree.files if file.path == f"bin/python{series}"), None)
            return ChosenPython(ImagePython(f"{folder}/bin/python{series}", version, size))
        if lock.python.source == "machine" and self._chosen != KIT:
            return ChosenPython(_of_base(lock, base, self._chosen))
        python, archive = self._build(lock)
        try:
            interpreter = unpack(python, archive, self._scratch)
        except BadPythonArchive as error:
            if lock.python.source == "uv":
                raise
            raise error.with_hint(
                "check what `python-mirror` has, or use the Python of the base: `--python base`"
            ) from error
        unpacked, place = self._scratch / python.sha256, python_folder(python.sha256)
        path = f"{place}/{interpreter.relative_to(unpacked).as_posix()}"
        if python.sha256 not in self._builds:
            layer = folder_layer(f"CPython {python.version}", unpacked, place)
            self._builds[python.sha256] = self._compiled(layer, unpacked, place, lock)
        layer = self._builds[python.sha256]
        known = ImagePython(path, python.version, interpreter.stat().st_size)
        return ChosenPython(known, layer, python.version, python.sha256)

    def _compiled(self, layer: Layer, folder: Path, place: str, lock: Lock) -> Layer:
        """The layer of a Python build with the bytecode of its standard library.

        Builds come without it, and what a container compiles is gone with the container.
        """
        series = lock.python.series
        library = folder / "python" / "lib" / f"python{series}"
        modules = {
            path.relative_to(folder).as_posix(): Span.of(path)
            for path in library.rglob("*.py")
            if path.relative_to(library).parts[0] not in _UNUSED and not path.is_symlink()
        }
        if any(library.rglob("__pycache__")):
            return layer
        python = compiler_of(lock, self._interpreters, self.compiler(lock))  # as for its packages
        self.bytecode.mkdir(exist_ok=True)
        made = compile_modules(modules, self.bytecode, python, self._reporter, kept_bytecode())
        tag = f"cpython-{series.replace('.', '')}"
        files = []
        for path, compiled in made.items():
            inside, _, name = path.rpartition("/")
            target = f"{place.lstrip('/')}/{inside}/__pycache__/{name[: -len('.py')]}.{tag}.pyc"
            files.append(LayerFile(target, compiled.file, size=compiled.size, start=compiled.start))
        return layer._replace(files=(*layer.files, *files))

    def key(self, lock: Lock) -> list[str]:
        """What decides the interpreter of a lock, and its bytecode. Raises HydrateError, PlanDamaged, CacheUnusable."""
        compiler = compiler_of(lock, self._interpreters, self.compiler(lock)).version
        if lock.python.source == "conda" or (lock.python.source == "machine" and self._chosen != KIT):
            return [compiler, self._chosen]
        plan = None if lock.python.source == "uv" else self._plan(lock)
        if plan is not None and plan.python.build is not None:
            return [compiler, plan.python.build.file.sha256]
        if lock.python.source == "uv":
            return [compiler, lock.python.sha256]
        kit = self._kits.of(lock)
        return [compiler, kit.python.artifact.sha256 if kit.python is not None else ""]

    def compiler(self, lock: Lock) -> str:
        """The release that compiled the pack of a lock, if this machine has it, so that both have the same bytecode."""
        plan = self._plan(lock)
        if plan is not None and plan.pack is not None:
            with suppress(NoInterpreter):
                return find_interpreter(lock.python.series, plan.pack.compiler.__eq__).version
        return ""

    def _plan(self, lock: Lock) -> Plan | None:
        """The newest plan of a lock in the cache. Raises PlanDamaged, NewerPlan, CacheUnusable."""
        key = lock.arch, lock.identity
        if key not in self._plans:
            self._plans[key] = find_plan(self._store, lock, with_python=lock.python.source == "machine")
        return self._plans[key]

    def _build(self, lock: Lock) -> tuple[LockedPython, Path]:
        """The Python build of a lock: its own, that of its newest plan in the cache, or the one a push would choose."""
        python = lock.python
        plan = None if python.source == "uv" else self._plan(lock)
        if plan is not None and plan.python.build is not None:
            build = plan.python.build
            filename = build.file.path.rpartition("/")[2]
            archive = self._scratch / f"archive-{build.file.sha256}" / filename
            if not archive.exists():
                archive.parent.mkdir()
                self._store.fetch(build.file.path, archive)
            return replace(python, version=build.version, filename=filename, sha256=build.file.sha256), archive
        if python.source != "uv":
            kit = self._kits.of(lock)
            if kit.python is None:
                assert kit.lacking is not None, "a kit without a Python build says why"
                raise kit.lacking
            found, version = kit.python.artifact, kit.python.version
            python = replace(python, version=version, url=found.url, filename=found.filename, sha256=found.sha256)
        artifact = Artifact(python.filename, python.sha256, python.url)
        return python, self._source.fetch([artifact])[python.sha256]


def _of_base(lock: Lock, base: Base, chosen: str) -> ImagePython:
    """The base's own interpreter. Which release it is can be told only by a variable of the base. Raises NotForImage.

    Docker's own images of Python, and those built on them, have PYTHON_VERSION.
    """
    series, said = lock.python.series, base.variables.get("PYTHON_VERSION", "")
    if chosen != BASE:
        return ImagePython(chosen, series)
    if not said:
        reason = "the base has no variable PYTHON_VERSION that says which Python it has"
        raise NotForImage(called(lock), reason, f"give the path of its Python: `--python /usr/bin/python{series}`")
    if not allows(lock, said):
        later, wanted = f">={lock.python.version},=={series}.*", lock.requirements.python
        needs = later if python_allows(wanted, said) else wanted
        reason = f"the base has Python {said}, and this environment needs `{needs}`"
        raise NotForImage(called(lock), reason, "use another base, or bring the Python: `--python kit`")
    return ImagePython(f"/usr/local/bin/python{series}", said)
