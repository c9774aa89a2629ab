"""The resolver that uses uv: exact wheels for any arch, on any machine, without downloading one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

from envlock.config.rules import pip_flag
from envlock.model.lock import LockedPackage
from envlock.model.python_range import OLDEST
from envlock.model.url import strip_credentials
from envlock.resolve.all_archs import Known, SharedRuns, is_for_one_run, known_of, run_for_all
from envlock.resolve.errors import (
    ARCH,
    BadDirectUrl,
    NoSolution,
    NoWheel,
    ResolverCannot,
    UnexpectedAnswer,
    UnknownPipFlag,
)
from envlock.resolve.index_check import missing_index, refuse_missing_index
from envlock.resolve.index_files import (
    hashed,
    refuse_files_of_mirrors,
    refuse_other_hashes,
    refuse_secrets,
    required_hashes,
)
from envlock.resolve.platform_tags import target_of
from envlock.resolve.port import Request, Resolution, may_build
from envlock.resolve.processes import Processes
from envlock.resolve.provided_conflicts import contested, extras_unknown, refuse_hashes
from envlock.resolve.python_releases import Graph, More, needed_by_releases, releases_differ
from envlock.resolve.uv_compile import Compilation
from envlock.resolve.uv_failures import NO_WHEEL, culprit, explain, missing_extras, nobody_answers, to_build, yanked
from envlock.resolve.uv_output import NotAPylock, Selected, sdists_in, sdists_listed, select, wheels_listed, with_edges
from envlock.resolve.wheel_fallback import Fallbacks, fallbacks
from envlock.stage import temporary_folder

_ROUNDS = 30
"""How often the solve may repeat because uv does not know a floor; each round costs a warm solve."""
_SETTLING = 10
"""How often the needs of a release of Python may add packages; each round is a solve."""
_FROM_INDEX = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==\S+\n\s+# from (\S+)", re.MULTILINE)
_Files: TypeAlias = Mapping[str, tuple[LockedPackage, ...]]
"""Files of packages, by name."""


class UvResolver:
    """Implements the Resolver port with `uv pip compile`. Any thread may call it."""

    def __init__(self) -> None:
        self._processes = Processes()
        self._shared = SharedRuns()

    def stop(self) -> None:
        """End the running solves, and start no more."""
        self._processes.end()

    def resolve(self, request: Request) -> Resolution:
        """One wheel for each package.

        Costs one run of uv for all archs of which the same is asked, if each package is the newest that the request
        allows; else one more for each arch, and one or two against its cache. Raises ResolveError.
        """
        return self.wheels_of(request, {})

    def wheels_of(self, request: Request, versions: Mapping[str, str]) -> Resolution:
        """Like `resolve`, with these versions: for a resolver that chooses versions itself.

        Packages that are not named are free. Raises ResolveError.
        """
        _refuse_flags(request)
        target = target_of(request.requirements, request.arch, request.python)
        with temporary_folder() as folder, ThreadPoolExecutor(1) as beside:
            compilation = Compilation(folder, request, target, self._processes)
            if not request.requirements.roots():
                refuse_missing_index(request, ())
                return Resolution(())
            _refuse_old_python(request)
            refuse_hashes(request)
            known, warnings = (None, "") if versions else self._known(compilation)
            older: Future[Fallbacks] | None = None
            if known is not None and known.packages is not None:
                packages, graph = _checked(request, Selected(known.packages, (), ())).packages, known.graph
            else:
                beside.submit(importlib.import_module, "packaging.pylock")  # takes as long as a third of a warm solve
                packages, warnings, graph, older = self._for_all_releases(compilation, versions, beside, known)
            extras = _missing_extras(request, warnings)
            wheels_of_base = [each.name for each in request.provided if not each.package]
            found = with_edges(packages, graph.needed_by, graph.indexes, wheels_of_base)
            refuse_missing_index(request, found)
            notes, lacking = older.result() if older is not None else Fallbacks()
            notes = (*yanked(warnings, found), *extras, *notes)
            return Resolution(found, notes, not_of_oldest=graph.not_of_oldest, lacking=lacking)

    def sdists_of(self, request: Request, names: Collection[str]) -> tuple[LockedPackage, ...]:
        """The newest sdists of packages with which the request may have a solution, if they need nothing.

        Those of others that may be built are among them, if without these there is none. `filename`, `url`, `sha256`
        and `index` are the sdist's. Empty if there is no such solution; raises NoSolution if wheels would not help.
        """
        target = target_of(request.requirements, request.arch, request.python)
        with temporary_folder() as folder:
            compilation = Compilation(folder, request, target, self._processes)
            pins = _as_pylock(request.pins, compilation.asked_indexes())
            names = set(names)
            while True:
                built = [(name, "") for name in sorted(names)]
                answer = compilation.run(
                    compilation.roots, "--format", "pylock.toml", "--no-annotate", built=built, pins=pins
                )
                if answer.status == 0:
                    break
                other = culprit(answer.error) if NO_WHEEL.search(answer.error) else None
                if not NO_WHEEL.search(answer.error) and not request.provided:  # wheels would not help
                    raise explain(request, answer.error, lambda: missing_index(request))
                if other is None or other in names or not may_build(request, other):
                    return ()
                names.add(other)
            try:
                found = sdists_in(answer.output, names)
            except NotAPylock as error:
                raise UnexpectedAnswer(request.name, request.arch, f"uv printed an invalid lock: {error}") from error
            refuse_files_of_mirrors(request, found.packages)
            exact = [f"{each.name}=={each.version}" for each in found.packages]
            answer = compilation.run(exact, "--no-deps", "--no-annotate", "--emit-index-annotation", wheels_only=False)
            indexes = dict(_FROM_INDEX.findall(answer.output))
            located = (
                replace(each, index=strip_credentials(indexes.get(each.name) or each.url.rpartition("/")[0]))
                for each in found.packages
            )
            return hashed(request, replace(found, packages=tuple(located)))

    def files_of(self, request: Request) -> _Files:
        """Every wheel that the indexes have of exactly the required versions, by the name of the package.

        Requirements are `name==version`; nothing that they need is looked for. A wheel has no SHA-256 if its index
        publishes none. Costs one run of uv. Raises ResolveError.
        """
        return self._listed(request, wheels_listed)

    def sdist_files_of(self, request: Request) -> _Files:
        """Their sdists, with the index that each is from; as `files_of`."""
        return self._listed(request, sdists_listed)

    def _listed(self, request: Request, read: Callable[[str], _Files]) -> _Files:
        """What uv lists of exactly the required versions."""
        target = target_of(request.requirements, request.arch, request.python)
        with temporary_folder() as folder:
            compilation = Compilation(folder, request, target, self._processes)
            answer = compilation.run(
                compilation.roots, "--format", "pylock.toml", "--no-annotate", "--no-deps", wheels_only=False
            )
            if answer.status != 0:
                raise explain(request, answer.error, lambda: missing_index(request))
            try:
                listed = read(answer.output)
            except NotAPylock as error:
                raise UnexpectedAnswer(request.name, request.arch, f"uv printed an invalid lock: {error}") from error
            refuse_files_of_mirrors(request, [each for files in listed.values() for each in files])
            return listed

    def _known(self, compilation: Compilation) -> tuple[Known | None, str]:
        """What one run for all archs says of the request's own, and uv's warnings. Raises IndexUnreachable."""
        request = compilation.request
        if not is_for_one_run(request):
            return None, ""
        told = self._shared.told(request, lambda: run_for_all(compilation.beside("archs")))
        if not request.offline and told.answer.status != 0 and nobody_answers(told.answer.error):
            raise explain(request, told.answer.error, lambda: None)  # a second run would wait as long once more
        return known_of(told, compilation), told.answer.error

    def _for_all_releases(
        self, compilation: Compilation, versions: Mapping[str, str], pool: Executor, known: Known | None
    ) -> tuple[tuple[LockedPackage, ...], str, Graph, Future[Fallbacks]]:
        """The packages for all allowed releases of Python, uv's warnings, who needs whom, and what could be newer.

        What the oldest release needs is solved for first. `known` is right if it has what that finds. Raises
        ReleasesDiffer.
        """
        request = compilation.request
        beside, alone = compilation.beside("releases"), compilation.beside("alone")
        more, graph, lacking = More(), None, ""
        for _ in range(_SETTLING):
            try:
                selected, warnings = self._solve(compilation, versions, more)
            except (NoSolution, NoWheel) as error:
                if graph is None:
                    raise
                reason = (error.sentence, *error.details)
                raise releases_differ(request, graph, lacking, reason=reason) from None
            packages = selected.packages
            if known is not None and not _has_exactly(known.graph, packages, request):
                known = None
            older = pool.submit(fallbacks, alone, packages, known and known.at_best)
            graph = known.graph if known is not None else needed_by_releases(beside, packages)
            new = more.lacking(graph, packages, request.provided)
            if not new:
                packages = hashed(request, selected)
                refuse_other_hashes(request, packages)
                return packages, warnings, graph, older
            lacking = min(new)
            more = more.adding(new, packages, request)
        assert graph is not None
        raise releases_differ(request, graph, lacking)

    def _solve(self, compilation: Compilation, versions: Mapping[str, str], more: More) -> tuple[Selected, str]:
        """The packages for the oldest release of Python, and uv's warnings."""
        request = compilation.request
        decided = [f"{name}=={version}" for name, version in versions.items()]
        excluded: list[str] = []
        for _ in range(1 if decided else _ROUNDS):
            answer = compilation.run(
                [*compilation.roots, *more.roots],
                "--format", "pylock.toml", "--no-annotate",
                constraints=(*decided, *more.constraints, *excluded),
                pins=_as_pylock({**request.pins, **more.limits}, compilation.asked_indexes()),
            )  # fmt: skip
            if answer.status != 0:
                error = explain(request, answer.error, lambda: missing_index(request))
                from envlock.resolve.failure_causes import cause_of

                raise cause_of(compilation.beside("cause"), answer.error, error)
            try:
                found = select(
                    answer.output, compilation.target, request.provided, required_hashes(request), request.wheels,
                    request.link_folders,
                )  # fmt: skip
            except NotAPylock as error:
                raise UnexpectedAnswer(request.name, request.arch, f"uv printed an invalid lock: {error}") from error
            selected = _checked(request, found)
            if not selected.unfit:
                return selected, answer.error
            excluded += [item.replace("==", "!=") for item in selected.unfit]
        names = tuple(sorted({item.partition("!=")[0] for item in excluded}))
        raise NoWheel(
            request.name,
            request.arch,
            f"no release of {', '.join(names)} has a compatible wheel",
            hint=f"raise the floor in [envlock.system-requirements]; {to_build(request, names)}",
            lacking=names,
        )


def _refuse_flags(request: Request) -> None:
    """Raises UnknownPipFlag for a flag that another envlock wrote, and for two that contradict each other."""
    flags, final = request.requirements.pip_flags, request.requirements.flagged("only-final")
    said = {f"`{each}`, which has no effect on a lock": "remove it" for each in sorted(flags) if pip_flag(each)}
    for package in sorted(final):
        allowing = "pre" if package == ":all:" else f"all-releases={package}"
        if allowing in flags:
            said[f"`{allowing}` and `only-final={package}`, which contradict each other"] = "remove one of them"
    for fault, hint in said.items():
        raise UnknownPipFlag(request.name, request.arch, f"`extras` has {fault}", hint=hint)


def _has_exactly(graph: Graph, packages: Iterable[LockedPackage], request: Request) -> bool:
    """Whether a graph has these packages, and what is provided, but nothing else."""
    provided = {each.name for each in request.provided}
    needed = {name: version for name, version in graph.packages.items() if name not in provided}
    return needed == {each.name: each.version for each in packages}


def _refuse_old_python(request: Request) -> None:
    """Raises ResolverCannot."""
    oldest = "{}.{}".format(*OLDEST)
    major, minor = (int(part) for part in request.python.split(".")[:2])
    if (major, minor) < OLDEST:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"Python {request.python} is older than {oldest}, the oldest that PyPI packages can be locked for",
            hint=f"use Python {oldest} or later, or conda packages only",
            packages=("python",),
        )


def _missing_extras(request: Request, warnings: str) -> tuple[str, ...]:
    """A sentence for each missing extra. Raises ExtraOfCondaPackage if a conda package may have it."""
    missing = missing_extras(warnings)
    unknown = extras_unknown(request, [(name, extra) for name, _, extra in missing])
    if unknown is not None:
        raise unknown
    return tuple(f"{name} {version}".strip() + f" has no extra `{extra}`" for name, version, extra in missing)


def _checked(request: Request, selected: Selected) -> Selected:
    refuse_secrets(request, selected)
    refuse_files_of_mirrors(request, selected.packages)
    if selected.contested:
        raise contested(request, selected.contested)
    if selected.not_wheels:
        raise BadDirectUrl(
            request.name,
            request.arch,
            f"{', '.join(selected.not_wheels)} is not a wheel, or exists on this machine only",
            hint="use the URL of a wheel or an sdist that other machines can download",
            packages=selected.not_wheels,
        )
    if selected.unfit_urls:
        raise NoWheel(
            request.name,
            request.arch,
            f"the wheel at the direct URL of `{selected.unfit_urls[0]}` is not for {ARCH} "
            f"with Python {'.'.join(request.python.split('.')[:2])}",
            hint="add a marker to the URL, such as `; sys_platform == 'linux' and platform_machine == 'x86_64'`",
            packages=selected.unfit_urls,
        )
    return selected


def _as_pylock(pins: Mapping[str, str], indexes: Mapping[str, str]) -> str:
    """The versions to keep, in the only form in which uv takes preferences: its own output file."""
    if not pins:
        return ""
    import tomli_w

    return tomli_w.dumps(
        {
            "lock-version": "1.0",
            "created-by": "envlock",
            "packages": [
                # Where a package comes from one index alone, uv prefers only what is of that.
                {"name": name, "version": version, **({"index": indexes[name]} if name in indexes else {})}
                for name, version in sorted(pins.items())
            ],
        }
    )
