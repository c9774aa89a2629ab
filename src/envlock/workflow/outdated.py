"""`outdated`: the locked packages of which indexes and channels have newer releases. Asks them, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from envlock.cache.parallel import in_parallel
from envlock.conda.match_specs import name_in
from envlock.config.instants import format_instant, span_of
from envlock.errors import EnvlockError
from envlock.lockfile.changes import places_of
from envlock.lockfile.graph import REQUIRED, Root, applies, roots_of
from envlock.model.lock import Newer
from envlock.model.url import strange_hosts
from envlock.reporter import Reporter
from envlock.resolve.conda_rattler import CondaResolver, conda_version
from envlock.resolve.index_check import files_of
from envlock.resolve.newer_releases import Limits, newer_releases
from envlock.resolve.platform_tags import target_of
from envlock.resolve.port import Request
from envlock.values import NamedTuple
from envlock.words import limits_in_order
from envlock.workflow.check_online import as_written

if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.lockfile.changes import Places
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.resolve.index_check import FileFacts
    from envlock.workflow.references import Referred

_Key = TypeVar("_Key")
_Answer = TypeVar("_Answer")

_ASKING = "asking indexes and channels"


class Compared(NamedTuple):
    """A locked package, and the newest releases of it."""

    kind: str
    name: str
    locked: str
    newer: Newer
    requirement: str
    """What requires it, as it is written; empty if nothing does by name."""
    places: Places

    @property
    def is_outdated(self) -> bool:
        """Whether there is a newer release, whether or not it is allowed."""
        return self.newer.is_allowed_newer or self.newer.is_newer


class _Wanted(NamedTuple):
    """A locked package of one environment on one arch."""

    environment: Environment
    lock: Lock
    package: LockedPackage
    roots: tuple[Root, ...]
    """What requires it by its name."""

    @property
    def requirement(self) -> str:
        return ", ".join(dict.fromkeys(limits_in_order(root.requirement) for root in self.roots))


def outdated(
    project: Project, referred: Sequence[Referred], *, everything: bool = False, reporter: Reporter | None = None
) -> tuple[Compared, ...]:
    """The packages that the project requires by name, or `everything` that is locked, with their newest releases.

    Packages that are built from git, a folder or a URL have none. Each index gets one request for a package. Raises
    HostNotAllowed, IndexUnreachable, IndexUnauthorized, ChannelUnreachable, ChannelUnauthorized, and what is wrong with
    a lock.
    """
    wanted = list(_wanted(project, referred, everything=everything))
    asking = _Asking(project, reporter or Reporter())
    newer = asking.newer(wanted)
    found: dict[tuple[str, str, str, Newer, str], dict[str, list[Arch]]] = {}
    for each, answer in zip(wanted, newer, strict=True):
        if answer is not None:
            package = each.package
            key = (package.kind, package.name, package.version, answer, each.requirement)
            found.setdefault(key, {}).setdefault(each.environment.name, []).append(each.lock.arch)
    return tuple(
        Compared(*key, places_of(places)) for key, places in sorted(found.items(), key=lambda row: row[0][1:3])
    )


def _wanted(project: Project, referred: Sequence[Referred], *, everything: bool) -> Iterator[_Wanted]:
    for each in referred:
        if each.environment is None or each.project is not project:
            continue
        for arch in each.archs:
            lock = each.lock(arch)
            roots: dict[tuple[str, str], list[Root]] = {}
            for root in roots_of(arch, lock.packages, lock.requirements):
                roots.setdefault(root.node, []).append(root)
            for package in lock.packages:
                own = tuple(roots.get((package.kind, package.name), ()))
                if everything or any(root.why == REQUIRED for root in own):
                    yield _Wanted(each.environment, lock, package, own)


class _Asking:
    """One look at all indexes and channels."""

    def __init__(self, project: Project, reporter: Reporter) -> None:
        self.project = project
        self.reporter = reporter
        self.moment = datetime.now(timezone.utc)
        self.known: dict[object, Newer] = {}
        """What was found in the files of a package, which several environments and archs may share."""

    def newer(self, wanted: Sequence[_Wanted]) -> list[Newer | None]:
        """The answer for each package, in order; None for those that no index or channel has releases of."""
        pypi: dict[tuple[str, str], _Wanted] = {}
        conda: dict[object, list[_Wanted]] = {}
        for each in wanted:
            if each.package.kind == "pypi" and each.package.index:
                index = as_written(self.project, each.environment, each.package.index)
                pypi.setdefault((index, each.package.name), each)
            elif each.package.kind == "conda":
                conda.setdefault((each.environment.channel_urls, each.lock.identity, each.lock.arch), []).append(each)
        self._refuse_strange_hosts(wanted)
        self.reporter.began(_ASKING, len(pypi) + len(conda), "questions")
        try:
            files = self._ask(partial(self._files, pypi), pypi)
            resolver = CondaResolver()
            try:
                channels = self._ask(lambda key: self._newer_conda(resolver, conda[key]), conda)
            finally:
                resolver.stop()
        finally:
            self.reporter.ended(_ASKING)
        by_channel = {key: answer for answers in channels.values() for key, answer in answers.items()}
        return [
            by_channel.get((each.environment.name, each.lock.arch, each.package.name))
            if each.package.kind == "conda"
            else self._newer_pypi(each, files)
            for each in wanted
        ]

    def _ask(self, work: Callable[[_Key], _Answer], keys: Iterable[_Key]) -> dict[_Key, _Answer]:
        """The answers, by what was asked. Raises the first error, once all have answered."""
        found: dict[_Key, _Answer] = {}
        errors: list[EnvlockError] = []
        for key, answer in in_parallel(work, keys):
            self.reporter.advanced(_ASKING, "")
            if isinstance(answer, EnvlockError):
                errors.append(answer)
            else:
                found[key] = answer
        if errors:
            raise errors[0]
        return found

    def _files(self, asked: Mapping[tuple[str, str], _Wanted], key: tuple[str, str]) -> dict[str, FileFacts]:
        each = asked[key]
        is_page = key[0] in each.environment.find_links_urls
        return files_of(*key, each.environment.name, each.lock.arch, is_page=is_page)

    def _newer_pypi(self, each: _Wanted, files: Mapping[tuple[str, str], Mapping[str, FileFacts]]) -> Newer | None:
        package, requirements = each.package, each.lock.requirements
        if not package.index:
            return None
        named = (*requirements.pypi, *requirements.metaflow, *requirements.constraints)
        overridden = {each.name for each in requirements.overrides}
        named = (*(each for each in named if each.name not in overridden), *requirements.overrides)
        build = self.project.settings.build
        limits = Limits(
            target_of(requirements, each.lock.arch, each.lock.python.version),
            tuple(
                sorted({one.specifier for one in named if one.name == package.name and applies(one, each.lock.arch)})
            ),
            takes_sdists=requirements.is_built(package.name)
            or (build if isinstance(build, bool) else package.name in build),
            takes_pre_releases="pre" in requirements.pip_flags or package.name in requirements.flagged("all-releases"),
            exclude_newer=self._instant(each),
        )
        key = (as_written(self.project, each.environment, package.index), package.name)
        if (key, package.version, limits) not in self.known:
            found = newer_releases(package.name, package.version, files[key], limits)
            self.known[key, package.version, limits] = found
        return self.known[key, package.version, limits]

    def _newer_conda(self, resolver: CondaResolver, group: Sequence[_Wanted]) -> dict[tuple[str, Arch, str], Newer]:
        """The answers for packages of one lock, by environment, arch and name."""
        first = group[0]
        lock, environment = first.lock, first.environment
        requirements = lock.requirements
        if requirements.base:  # whose channels an environment that extends it need not have
            own = [package.conda.channel for package in lock.conda_packages if package.conda is not None]
            requirements = requirements._replace(channels=tuple(dict.fromkeys((*requirements.channels, *own))))
        request = Request(
            environment.name,
            lock.arch,
            requirements,
            "",
            exclude_newer=self._instant(first),
            channel_urls=(*environment.channel_urls, *(requirements.channels if requirements.base else ())),
            channel_mirrors=self.project.settings.channel_mirrors,
        )
        names = {each.package.name for each in group}
        locked = [package for package in lock.conda_packages if package.name in {*names, "python"}]
        newer = resolver.newer(request, locked, _conda_limits(group))
        return {(each.environment.name, lock.arch, each.package.name): newer[each.package.name] for each in group}

    def _instant(self, each: _Wanted) -> str:
        """The `exclude-newer` in force, as `lock` has it."""
        span = span_of(self.project.settings.exclude_newer)
        return each.lock.requirements.exclude_newer if span is None else format_instant(self.moment - span)

    def _refuse_strange_hosts(self, wanted: Sequence[_Wanted]) -> None:
        for each in wanted:
            package = each.package
            strange = strange_hosts(
                filter(None, [package.index, package.conda.channel if package.conda else ""]),
                self.project.settings.hosts,
            )
            if strange:
                from envlock.workflow.errors import HostNotAllowed

                at = self.project.locate(("envlock", "hosts"))
                hint = "if you trust the host, add it to `hosts` in envlock.toml"
                raise HostNotAllowed([each.environment.name], strange, at, hint)


def _conda_limits(group: Sequence[_Wanted]) -> dict[str, list[str]]:
    """For each package, the match specifications of what requires it by its name, or else of what needs it."""
    lock = group[0].lock
    limits: dict[str, list[str]] = {}
    for each in group:
        name = each.package.name
        if each.roots:
            limits[name] = [text for root in each.roots if (text := _specification(root, name, lock))]
        else:
            depends = (text for other in lock.conda_packages if other.conda for text in other.conda.depends)
            limits[name] = [text for text in depends if name_in(text) == name]
    return limits


def _specification(root: Root, name: str, lock: Lock) -> str:
    """What a root requires of a conda package, as a match specification without its channel."""
    if root.things == (f"conda:{name}",):
        return next(
            str(each._replace(channel="")) for each in lock.requirements.conda_of(lock.arch) if each.name == name
        )
    if root.things == ("python",):
        return f"python {conda_version(lock.requirements.python)}".strip()
    named = (*lock.requirements.pypi, *lock.requirements.metaflow)
    specifier = next((each.specifier for each in named if each.said == root.requirement), "")
    return f"{name} {conda_version(specifier)}".strip()
