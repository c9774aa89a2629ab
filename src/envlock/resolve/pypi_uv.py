"""The resolver that uses uv: exact wheels for any arch, on any machine, without downloading one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

from envlock.addresses import revealed
from envlock.config.rules import pip_flag
from envlock.model.lock import LockedPackage
from envlock.model.python_range import OLDEST
from envlock.model.url import VARIABLE, host, strip_credentials
from envlock.resolve.errors import (
    ARCH,
    BadDirectUrl,
    IndexHashMismatch,
    NoRequiredHash,
    NoSolution,
    NoWheel,
    ResolverCannot,
    SecretInLink,
    UnexpectedAnswer,
    UnknownHash,
    UnknownPipFlag,
)
from envlock.resolve.failure_causes import cause_of
from envlock.resolve.index_check import missing_index, refuse_missing_index
from envlock.resolve.platform_tags import target_of
from envlock.resolve.port import Request, Resolution, may_build
from envlock.resolve.processes import Processes
from envlock.resolve.provided_conflicts import contested, extras_unknown, refuse_hashes
from envlock.resolve.python_releases import Graph, More, needed_by_releases, releases_differ
from envlock.resolve.uv_compile import Compilation, addresses_of, refuse_files_of_mirrors
from envlock.resolve.uv_failures import NO_WHEEL, culprit, explain, missing_extras, to_build, yanked
from envlock.resolve.uv_output import NotAPylock, Selected, sdists_in, sdists_listed, select, wheels_listed, with_edges
from envlock.resolve.wheel_fallback import Fallbacks, fallbacks
from envlock.stage import temporary_folder

_ROUNDS = 30
"""How often the solve may repeat because uv does not know a floor; each round costs a warm solve."""
_ALGORITHMS = frozenset({"md5", "sha1", "sha224", "sha384", "sha512"})
"""The hashes that an index may publish instead of SHA-256."""
_FETCHES = 4
_SETTLING = 10
"""How often the needs of a release of Python may add packages; each round is a solve."""
_FROM_INDEX = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==\S+\n\s+# from (\S+)", re.MULTILINE)
_Files: TypeAlias = Mapping[str, tuple[LockedPackage, ...]]
"""Files of packages, by name."""


class UvResolver:
    """Implements the Resolver port with `uv pip compile`. Any thread may call it."""

    def __init__(self) -> None:
        self._processes = Processes()

    def stop(self) -> None:
        """End the running solves, and start no more."""
        self._processes.end()

    def resolve(self, request: Request) -> Resolution:
        """One wheel for each package. Costs one uv run against the indexes, and two against its cache.

        Raises ResolveError.
        """
        return self.wheels_of(request, {})

    def wheels_of(self, request: Request, versions: Mapping[str, str]) -> Resolution:
        """Like `resolve`, with these versions: for a resolver that chooses versions itself.

        Packages that are not named are free. Raises ResolveError.
        """
        _refuse_flags(request)
        target = target_of(request.requirements, request.arch, request.python)
        with temporary_folder() as folder, ThreadPoolExecutor(1) as beside:
            beside.submit(importlib.import_module, "packaging.pylock")  # takes as long as a third of a warm solve
            compilation = Compilation(folder, request, target, self._processes)
            if not request.requirements.roots():
                refuse_missing_index(request, ())
                return Resolution(())
            _refuse_old_python(request)
            refuse_hashes(request)
            packages, warnings, graph, older = self._for_all_releases(compilation, versions, beside)
            extras = _missing_extras(request, warnings)
            wheels_of_base = [each.name for each in request.provided if not each.package]
            found = with_edges(packages, graph.needed_by, graph.indexes, wheels_of_base)
            refuse_missing_index(request, found)
            notes, lacking = older.result()
            notes = (*yanked(warnings), *extras, *notes)
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
            return _hashed(request, replace(found, packages=tuple(located)))

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

    def _for_all_releases(
        self, compilation: Compilation, versions: Mapping[str, str], pool: Executor
    ) -> tuple[tuple[LockedPackage, ...], str, Graph, Future[Fallbacks]]:
        """The packages for all allowed releases of Python, uv's warnings, who needs whom, and what could be newer.

        What the oldest release needs is solved for first. Raises ReleasesDiffer.
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
            older = pool.submit(fallbacks, alone, packages)
            graph = needed_by_releases(beside, packages)
            new = more.lacking(graph, packages, request.provided)
            if not new:
                hashed = _hashed(request, selected)
                refuse_other_hashes(request, hashed)
                return hashed, warnings, graph, older
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
    _refuse_secrets(request, selected)
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


def _refuse_secrets(request: Request, selected: Selected) -> None:
    """Raise SecretInLink for a URL with the value of a variable of another host: it could not be downloaded."""
    for package in selected.packages:
        if "${" not in package.url:
            continue
        left = re.search(VARIABLE, revealed(package.url, addresses_of(request)))
        if left is not None:
            raise SecretInLink(
                request.name,
                request.arch,
                f"the index of {package.name} links to {host(package.url)}, with the value of "
                f"the environment variable `{left[1]}` in the URL",
                details=(
                    "it may be a secret: envlock writes none into a lock, and sends it only to the index's own host",
                ),
                hint=f"use the secret as a password (https://${{USER}}:${{{left[1]}}}@...), or make the index link to "
                "files on its own host",
                packages=(package.name,),
            )


def _hashed(request: Request, selected: Selected) -> tuple[LockedPackage, ...]:
    """The packages, with the SHA-256 of files whose index publishes none: they are downloaded for it.

    Raises UnknownHash, IndexHashMismatch, and what fetching raises.
    """
    if not selected.published:
        return selected.packages
    unknown = [package for package in selected.packages if package.name in selected.published]
    with ThreadPoolExecutor(_FETCHES) as pool:
        hashed = pool.map(lambda package: _with_sha256(request, package, selected.published[package.name]), unknown)
        by_name = {package.name: package for package in hashed}
    return tuple(by_name.get(package.name, package) for package in selected.packages)


def required_hashes(request: Request) -> Mapping[str, frozenset[str]]:
    """For each package that may only have some hashes, those."""
    found: dict[str, set[str]] = {}
    for name, sha256 in request.requirements.hashes:
        found.setdefault(name, set()).add(sha256)
    return {name: frozenset(each) for name, each in found.items()}


def refuse_other_hashes(request: Request, packages: Iterable[LockedPackage]) -> None:
    """Raise NoRequiredHash for the first package whose file, or the sdist it is built from, has no required hash."""
    required = required_hashes(request)
    for package in packages:
        allowed = required.get(package.name)
        of_source = package.source.sha256 if package.source is not None else ""
        if allowed is None or not allowed.isdisjoint({package.sha256, of_source}):
            continue
        first, *others = sorted(allowed)
        raise NoRequiredHash(
            request.name,
            request.arch,
            f"no file of {package.name} {package.version} for {ARCH} has a hash that is required",
            details=(
                f"required: sha256:{first}" + (f", and {len(others)} more" if others else ""),
                f"found:    sha256:{package.sha256}  {package.filename}",
            ),
            hint=f"require the version that the hashes are of, as `{package.name}==VERSION`, or correct the hashes",
            packages=(f"hash:{package.name}",),
        )


def _with_sha256(request: Request, package: LockedPackage, published: Mapping[str, str]) -> LockedPackage:
    known = {name: digest.lower() for name, digest in published.items() if name in _ALGORITHMS}
    answer = request.file_hashes.digests(package, known) if request.file_hashes is not None and known else None
    where = host(package.url) or package.url
    if answer is None:
        raise UnknownHash(
            request.name,
            request.arch,
            f"{where} publishes no SHA-256 for {package.filename}",
            details=(f"it publishes: {', '.join(published) or 'no hash'}",),
            hint="run `envlock lock` once without `--offline`: it downloads the file and remembers its SHA-256"
            if request.offline
            else "use an index that publishes SHA-256 hashes",
            packages=(package.name,),
        )
    found, size = answer
    for name, digest in known.items():
        if found[name] != digest:
            raise IndexHashMismatch(
                request.name,
                request.arch,
                f"{package.filename} does not have the hash that {where} publishes",
                details=(f"published  {name} {digest}", f"got        {name} {found[name]}"),
                hint="report it to the maintainers of the index; no lock was written",
                packages=(package.name,),
            )
    return replace(package, sha256=found["sha256"], size=size)


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
