"""Making one environment on a node: its plan, what the plan names, and the prefix that is made of that."""

from __future__ import annotations

import os

from . import home as homes
from . import machine, pythons
from .errors import DiskFull
from .fetch import fetch, fetch_plan
from .install import FILES, Wheels, compile_bytecode, link_conda, unpack_tool, unpacked_tool, uv_in
from .kept import Kept, make_room
from .members import Placeholder
from .report import Reporter
from .transport import Throttled, Unreachable, together
from .unpack import unpack
from .venv import make_venv
from .zstd import open_zstd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Sequence

    from .manifest import Target
    from .plan import Build, Fetched, Object, Pack, Plan
    from .prepare import Preparing
    from .zstd import Decompress

_UNPACKED_WHEELS, _UNPACKED_CONDA = 4, 6
"""How much an environment takes while it is made, as a multiple of its packages, those included."""
_UNPACKED_PACK = 1.1
"""The same for a pack, of its raw parts."""


class Filling:
    """Fills the prefix of one environment in one home. Each method raises NodeError, OSError."""

    def __init__(self, preparing: Preparing, target: Target, home: str) -> None:
        self._preparing = preparing
        self._manifest = preparing.manifest
        self._reporter = preparing.reporter
        self._environ = preparing.environ
        self._target = target
        self._home = home
        self._prefix = homes.prefix_in(home, target)
        self._plan: Plan | None = None
        self._python = ("", "")
        self._uses: tuple[str, ...] = ()
        self._has_bytecode = False

    def planned(self) -> Plan:
        """The plan of the environment, fetched once."""
        if self._plan is None:
            self._reporter.began("reading the plan of the environment")
            self._plan = fetch_plan(self._preparing.transport, self._target)
        return self._plan

    def fill(self, new: str) -> None:
        """Make an empty folder the environment, but for what it gets at its place."""
        try:
            self._fill(new)
        except (Unreachable, Throttled) as error:
            # Of many tasks that wait for a cache that does not answer, one asks it.
            Kept(self._home, homes.place_of(self._target)).failed(str(error))
            raise

    def _fill(self, new: str) -> None:
        plan = self.planned()
        machine.check(plan.system, plan.arch)
        check_place(plan, self._prefix)
        decompress = self._decompress(plan, new) if plan.pack is not None else None
        if plan.pack is not None and decompress is not None:
            self._unpack(plan, plan.pack, decompress, new)
            return
        factor = _UNPACKED_CONDA if plan.install == "conda" else _UNPACKED_WHEELS
        self._make_room(factor * sum(each.size for each in plan.packages))
        wanted = _Wanted(self._home, plan.packages)
        wanted.tool(plan.tools.uv)
        install = self._install_conda if plan.install == "conda" else self._install_wheels
        for line in install(plan, wanted, new):
            self._reporter.said(line)

    def _decompress(self, plan: Plan, new: str) -> Decompress | None:
        """What decompresses the pack of a plan; None if the environment is to be made of its packages, and says why."""
        scripts = {each.name for each in plan.packages if each.kind == "conda"}.intersection(
            self._manifest.link_scripts
        )
        if scripts:
            text = "the link script of %s is allowed since the pack was made: making the environment of its packages"
            self._reporter.said(text % min(scripts))
            return None
        found = open_zstd()
        if found is None and plan.tools.zstd is not None:
            wanted = _Wanted(self._home, ())
            wanted.tool(plan.tools.zstd)
            self._fetch(wanted, new)
            found = open_zstd(wanted.places[plan.tools.zstd.sha256])
        if found is None:
            self._reporter.said(
                "nothing here decompresses the pack, so the environment is made of its packages, which takes longer: "
                "install libzstd (libzstd1) in the image"
            )
        return found

    def _unpack(self, plan: Plan, pack: Pack, decompress: Decompress, new: str) -> None:
        """Fill a folder with a pack, and with what each node has of its own."""
        self._make_room(int(_UNPACKED_PACK * sum(part.raw_size for part in pack.parts)))
        transport = self._preparing.transport
        wanted = _Wanted(self._home, ())
        if plan.install == "conda":
            placeholder: Placeholder | None = Placeholder(pack.placeholder, self._prefix)
        else:
            placeholder = None
            self._choose_python(plan, wanted)
        beside = [lambda: self._fetch_beside(wanted, new)] if wanted.objects else []
        together(
            transport, lambda: unpack(transport, pack.parts, decompress, new, placeholder, self._reporter), *beside
        )
        self._has_bytecode = True
        if plan.install == "conda":
            self._python = self._conda_python(plan)
        else:
            self._python = self._chosen_python(plan, wanted)
            uv = plan.tools.uv.filename.partition("-")[2].partition("-")[0]
            make_venv(new, *self._python, plan.python.series, uv)

    def _install_wheels(self, plan: Plan, wanted: _Wanted, new: str) -> list[str]:
        self._choose_python(plan, wanted)
        self._fetch(wanted, new)
        self._reporter.began("installing %d packages" % len(plan.packages))
        self._python = self._chosen_python(plan, wanted)
        uv = uv_in(wanted.places[plan.tools.uv.sha256], plan.tools.uv)
        return Wheels(plan, wanted.places, new, uv, self._home).install(self._python[0])

    def _choose_python(self, plan: Plan, wanted: _Wanted) -> None:
        """Choose the image's own Python if the environment may be made from it; else want the kit's."""
        forced = self._manifest.python == "kit"
        found = None if forced or plan.python.image is None else pythons.of_image(plan.python, self._environ)
        if found is not None:
            self._python = found
        elif plan.python.build is not None:
            wanted.build(plan.python.build)
        else:
            raise pythons.no_python(plan.python, forced=forced)

    def _chosen_python(self, plan: Plan, wanted: _Wanted) -> tuple[str, str]:
        """The path and the version of the interpreter that was chosen, which is there now."""
        build = plan.python.build
        if build is None or build.sha256 not in wanted.places:
            return self._python
        path = wanted.places[build.sha256]
        self._uses = (pythons.place_of(build),)
        return path, pythons.checked_version(path, build)

    def _conda_python(self, plan: Plan) -> tuple[str, str]:
        """The path and the version of the interpreter that a conda package brings."""
        versions = (each.version for each in plan.packages if (each.kind, each.name) == ("conda", "python"))
        return os.path.join(self._prefix, "bin", "python%s" % plan.python.series), next(versions, "")

    def _install_conda(self, plan: Plan, wanted: _Wanted, new: str) -> list[str]:
        kernel, build = plan.tools.kernel, plan.tools.python
        assert kernel is not None, "a plan without one was refused"
        assert build is not None, "a plan without one was refused"
        wanted.file(kernel)
        for wheel in plan.tools.rattler:
            wanted.tool(wheel)
        runner = pythons.newest_of_image(self._environ)
        if runner is None:
            wanted.build(build)
        self._fetch(wanted, new)
        self._reporter.began("installing %d packages" % len(plan.packages))
        programs = {
            "python": runner or wanted.places[build.sha256],
            "kernel": wanted.places[kernel.sha256],
            "uv": uv_in(wanted.places[plan.tools.uv.sha256], plan.tools.uv),
        }
        options = {
            "compile-bytecode": self._manifest.compile_bytecode,
            "link-scripts": list(self._manifest.link_scripts),
        }
        self._python = self._conda_python(plan)
        rattler = [wanted.places[each.sha256] for each in plan.tools.rattler]
        return link_conda(plan, programs, rattler, os.path.dirname(new), self._prefix, options, self._home)

    def _fetch_beside(self, wanted: _Wanted, new: str) -> None:
        """Fetch what a pack does not bring, with one request for each, while its parts come and tell of progress."""
        self._fetch(wanted, new, Reporter(quiet=float("inf")), max(each.size for each in wanted.objects))

    def _fetch(
        self, wanted: _Wanted, new: str, reporter: Reporter | None = None, range_bytes: int | None = None
    ) -> None:
        files = os.path.join(os.path.dirname(new), FILES)
        transport, reporter = self._preparing.transport, reporter or self._reporter
        try:
            places = fetch(transport, wanted.objects, files, reporter, wanted.arrived, range_bytes)
        except DiskFull as error:
            raise DiskFull(str(error).replace(files, self._home)) from None
        for each in wanted.objects:
            wanted.arrived(each, places[each.sha256])

    def _make_room(self, needed: int) -> None:
        make_room(self._home, max(self._manifest.keep - needed, 0), needed)
        others = homes.homes(self._environ, self._preparing.folder)
        if homes.free_bytes(self._home) < needed and self._home != others[-1]:
            last = os.path.dirname(others[-1])
            if homes.free_bytes(last) > homes.free_bytes(self._home):
                raise DiskFull("no room for the environment in %s" % self._home)

    def seal(self) -> None:
        """Finish the environment at its place, and declare it whole."""
        plan = self.planned()
        modules = os.path.join("lib", "python%s" % plan.python.series, "site-packages")
        if plan.install == "wheels" and self._manifest.compile_bytecode and not self._has_bytecode:
            python = os.path.join(self._prefix, "bin", "python")
            compile_bytecode(os.path.join(self._prefix, modules), python, self._reporter)
        scripts = list(self._manifest.link_scripts) if plan.install == "conda" else None
        if not os.path.isdir(os.path.join(self._prefix, modules)):  # some Pythons of conda have them elsewhere
            modules = ""
        Kept(self._home, homes.place_of(self._target)).write(self._uses, modules, scripts, plan.system)
        homes.write_variables(self._prefix, plan.variables)
        path, version = self._python
        homes.Receipt(self._target, path, version).write(self._prefix)


class _Wanted:
    """What is fetched for an environment, and where it is on this node: what is a tool or a Python is unpacked."""

    def __init__(self, home: str, packages: Sequence[Fetched]) -> None:
        self._home = home
        self._unpack: dict[str, Callable[[str], str]] = {}
        self.objects: list[Fetched] = list(packages)
        self.places: dict[str, str] = {}
        """By SHA-256."""

    def file(self, each: Fetched) -> None:
        """Want a file as it is."""
        self.objects.append(each)

    def tool(self, each: Object) -> None:
        """Want a tool of the kit."""
        self._add(each, unpacked_tool(each, self._home), lambda path: unpack_tool(each, path, self._home))

    def build(self, each: Build) -> None:
        """Want an interpreter."""
        found = pythons.unpacked_build(each, self._home)
        self._add(each, found, lambda path: pythons.unpack_build(each, path, self._home))

    def _add(self, each: Fetched, found: str | None, unpack: Callable[[str], str]) -> None:
        if found is None:
            self.objects.append(each)
            self._unpack[each.sha256] = unpack
        else:
            self.places[each.sha256] = found

    def arrived(self, each: Fetched, path: str) -> None:
        """Take a file whose bytes have been verified. Unpacking one does not hold up the others."""
        if each.sha256 not in self.places:
            unpack = self._unpack.get(each.sha256)
            self.places[each.sha256] = path if unpack is None else unpack(path)


def check_place(plan: Plan, prefix: str) -> None:
    """Raise Unusable for a path that breaks PATH, the command of the task, or what conda packages write it into."""
    conda = plan.install == "conda"
    unfit = homes.unfit_characters(prefix, conda=conda) + homes.unquotable(prefix)
    length = len(os.fsencode(prefix))
    if unfit:
        reason = "of %r in its path" % unfit
    elif conda and length > homes.LONGEST_PREFIX:
        reason = "its path has %d bytes, and conda packages have room for %d" % (length, homes.LONGEST_PREFIX)
    else:
        return
    text = "the environment cannot be in %s, because %s: set %s to a short folder such as /tmp/envlock"
    raise homes.Unusable(text % (prefix, reason, homes.HOME_VARIABLE))
