"""Solve for the exact conda packages of one arch, with py-rattler's solver.

Specifications are always made with `MatchSpec`, which reads them as conda does; py-rattler reads plain text more
strictly. Records become locked packages only once they are chosen: a channel has tens of thousands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from envlock.conda.channels import channel_address
from envlock.conda.errors import ChannelFailure
from envlock.conda.event_loop import Calls
from envlock.conda.fetch import failure_of
from envlock.conda.host_check import while_alive
from envlock.conda.match_specs import edges, name_in
from envlock.conda.records import instant, package_of, record_of
from envlock.conda.repodata import Gateways
from envlock.conda.solve_request import (
    Offer,
    Solved,
    SolveRequest,
    TookTooLong,
    Unlockable,
    Unsolvable,
    match_spec,
    virtual_packages,
)
from envlock.model.lock import LockedPackage, Newer
from envlock.reporter import working
from envlock.words import count

if TYPE_CHECKING:
    from rattler import Channel, Gateway, MatchSpec, PackageName, RepoDataRecord, Subdir
    from rattler.repo_data.source import RepoDataSource

Answer = TypeVar("Answer")

SECONDS = 120.0
"""The longest time for one solve, once its data is here; hard ones of real channels take under five."""
_SHADOWED_ROUNDS = 20
_ARCHIVES = (".conda", ".tar.bz2")


class Solving:
    """Solves requests. Any thread may call it; all of them share its repodata."""

    def __init__(self, *, offline: bool = False, seconds: float = SECONDS) -> None:
        self._offline = offline
        self._gateways = Gateways(offline=offline)
        self._seconds = seconds
        self._calls = Calls()
        self._guard = threading.Lock()
        self._failures: list[ChannelFailure] = []

    def stop(self) -> None:
        """End the running solves: every running and later call raises Ended."""
        self._calls.end()

    def solve(self, request: SolveRequest) -> Solved:
        """The packages. Raises BadSpecification, Unsolvable, TookTooLong, Unlockable, ChannelFailure and Ended."""
        specs = [match_spec(each, request) for each in request.wanted]
        return self._asked(lambda: self._solve(request, specs), request)

    def offers(self, name: str, request: SolveRequest, subdirs: Sequence[str]) -> tuple[Offer, ...]:
        """What the channels have of a package in these subdirs, the best last. Raises ChannelFailure and Ended."""
        found = self._asked(lambda: self._records(request, self._sources(request), subdirs, [name]), request)
        records = sorted(found, key=lambda record: (record.version, record.build_number))
        return tuple(Offer(record.subdir, str(record.version), str(record.build)) for record in records)

    def newer(
        self, request: SolveRequest, locked: Mapping[str, LockedPackage], limits: Mapping[str, Sequence[str]]
    ) -> dict[str, Newer]:
        """The newest versions of locked packages.

        Allowed is what the match specifications in `limits` allow and what goes with the locked Python. With strict
        priority, only the first channel that has a package counts. Raises BadSpecification, ChannelFailure and Ended.
        """
        found = self._asked(
            lambda: self._records(request, self._sources(request), request.subdirs, list(locked)), request
        )
        return newest_of(request, found, locked, limits)

    def names(self, request: SolveRequest) -> tuple[str, ...]:
        """The names of all packages for the arch. Slow on a large channel; raises what `offers` raises."""
        from rattler import Subdir

        async def ask() -> tuple[str, ...]:
            names = await self._gateways.of(request.places).names(
                request.channels, [Subdir(each) for each in request.subdirs], channel_relations="disabled"
            )
            return tuple(name.normalized for name in names)

        return self._asked(ask, request)

    def _asked(
        self, make: Callable[[], Coroutine[Any, Any, Answer]], request: SolveRequest, *, again: bool = True
    ) -> Answer:
        from rattler.exceptions import FetchRepoDataError, GatewayError

        try:
            return self._calls.run(make() if self._offline else while_alive(make, request.places))
        except ChannelFailure as failure:
            raise self._first(failure, request) from None
        except (GatewayError, FetchRepoDataError) as error:
            found = self._first(failure_of(str(error), places=request.places), request)
            if again and not found.url:  # another solve asked, and only that one was told what is wrong
                return self._asked(make, request, again=False)
            raise found from None

    def _first(self, failure: ChannelFailure, request: SolveRequest) -> ChannelFailure:
        """The first failure of these channels, so that it is the same for every arch."""
        bases = {place.base for place in request.places}
        with self._guard:
            if failure.url:
                self._failures.append(failure)
            return next((each for each in self._failures if each.url in bases), failure)

    async def _solve(self, request: SolveRequest, specs: list[MatchSpec]) -> Solved:
        from rattler import MatchSpec

        # Without their times: what was published later than anything new may be is there all the same.
        fixed = {package.name: record_of(replace(package, upload_time="")) for package in request.fixed}
        specs = [*specs, *map(MatchSpec, fixed)]
        kept, gone = await self._kept(request)
        shadowed: dict[str, str] = {}
        for _ in range(_SHADOWED_ROUNDS):
            constraints = [MatchSpec(f"{source}::{name}") for name, source in sorted(shadowed.items())]
            free = [record for record in kept if record.name.normalized not in {*shadowed, *fixed}]
            records = await self._run(request, specs, free, [*fixed.values()], constraints, shadowed)
            new = [record for record in records if record.name.normalized not in fixed]
            more = await self._shadowed(request, new)
            if not more:
                break
            shadowed |= more
        else:
            raise Unsolvable("", shadowed)
        return Solved((*_as_they_are(request, records), *_locked(request, new)), gone)

    async def _run(
        self,
        request: SolveRequest,
        specs: list[MatchSpec],
        kept: list[RepoDataRecord],
        fixed: list[RepoDataRecord],
        constraints: list[MatchSpec],
        shadowed: Mapping[str, str],
    ) -> list[RepoDataRecord]:
        from rattler import ChannelPriority, Subdir, solve
        from rattler.exceptions import SolverError

        channels = " ".join(place.base for place in request.places)
        try:
            with working(f"solve {count(len(specs), 'conda requirement')} for {request.arch}, with {channels}") as told:
                found = await solve(
                    self._sources(request),
                    specs,
                    gateway=self._gateways.of(request.places),
                    platforms=[Subdir(each) for each in request.subdirs],
                    virtual_packages=virtual_packages(request.arch, request.system),
                    channel_priority=ChannelPriority.Strict if request.is_strict else ChannelPriority.Disabled,
                    exclude_newer=_utc(request.exclude_newer) if request.exclude_newer else None,
                    timestamp_policy="allow-missing",
                    locked_packages=kept,
                    pinned_packages=fixed,
                    constraints=constraints,
                    timeout=timedelta(seconds=self._seconds),
                    channel_relations="disabled",
                )
                told.ended(count(len(found), "package"))
            return found
        except SolverError as error:
            if "has been cancelled" in str(error):
                raise TookTooLong(self._seconds) from None
            sources = {place.source: place.base for place in request.places}
            raise Unsolvable(str(error), {name: sources[source] for name, source in shadowed.items()}) from None

    async def _kept(self, request: SolveRequest) -> tuple[list[RepoDataRecord], tuple[LockedPackage, ...]]:
        """The packages to keep as the channels have them now: what they need may have been corrected since.

        Also those of them that are gone.
        """
        from rattler import MatchSpec

        bases = {place.base for place in request.places}
        keep = [
            package
            for package in request.keep
            if package.conda is not None
            and package.conda.channel in bases
            and request.gives(package.conda.channel, package.name)
        ]
        if not keep:
            return [], ()
        specs = [MatchSpec(f"{package.name} =={package.version}") for package in keep]
        records = await self._records(request, self._sources(request), request.subdirs, specs)
        offered: dict[tuple[str, str, str], list[RepoDataRecord]] = {}
        for record in records:
            key = (record.name.normalized, str(record.version), request.place_of(record).base)
            offered.setdefault(key, []).append(record)
        python = next((package for package in keep if package.name == "python"), None)
        found, gone = [], []
        for package in keep:
            assert package.conda is not None
            same = offered.get((package.name, package.version, package.conda.channel), [])
            chosen = _kept_build(package, same, python, request)
            if chosen is not None:
                found.append(chosen)
            elif package.conda.subdir in request.subdirs:
                gone.append(package)
        return found, tuple(gone)

    def _sources(self, request: SolveRequest) -> list[Channel | str | RepoDataSource]:
        """The channels as py-rattler takes them; those of single packages deliver only these."""
        gateway = self._gateways.of(request.places)
        single = ((place, request.single.get(place.base)) for place in request.places)
        return [place.source if names is None else _Single(gateway, place.source, names) for place, names in single]

    async def _records(
        self,
        request: SolveRequest,
        sources: Sequence[Channel | str | RepoDataSource],
        subdirs: Sequence[str],
        specs: Sequence[MatchSpec | str],
    ) -> list[RepoDataRecord]:
        from rattler import Subdir

        answers = await self._gateways.of(request.places).query(
            sources, [Subdir(each) for each in subdirs], specs, recursive=False, channel_relations="disabled"
        )
        return [record for answer in answers for record in answer]

    async def _shadowed(self, request: SolveRequest, records: Sequence[RepoDataRecord]) -> dict[str, str]:
        """Of these packages, those of which an earlier channel has some, and that channel as py-rattler is told it.

        py-rattler's own strictness sees only the packages that fit what is asked: without this, `tool >=2` would
        come from any later channel when the first one has `tool 1`.
        """
        if not request.is_strict or len(request.places) == 1:
            return {}
        free = {each.name for each in request.wanted if each.channel}
        found: dict[str, str] = {}
        for number, place in enumerate(request.places):
            later = [r.name.normalized for r in records if request.place_of(r) == place]
            names = [name for name in later if name not in free]
            if number == 0 or not names or place.base in request.single:
                continue
            earlier = [each.source for each in request.places[:number]]
            for record in await self._records(request, earlier, request.subdirs, names):
                source = request.place_of(record).source
                first = found.get(record.name.normalized)
                if first is None or earlier.index(source) < earlier.index(first):
                    found[record.name.normalized] = source
        return found


class _Single:
    """A channel limited to some packages; implements py-rattler's RepoDataSource."""

    def __init__(self, gateway: Gateway, source: str, names: frozenset[str]) -> None:
        self._gateway = gateway
        self._source = source
        self._names = names

    async def fetch_package_records(self, platform: Subdir, name: PackageName) -> list[RepoDataRecord]:
        """The channel's records of a package, where it is one of those."""
        if name.normalized not in self._names:
            return []
        answers = await self._gateway.query(
            [self._source], [platform], [name.normalized], recursive=False, channel_relations="disabled"
        )
        return [record for answer in answers for record in answer]

    def package_names(self, platform: Subdir) -> list[str]:  # noqa: ARG002
        """The names of those packages."""
        return sorted(self._names)


def _kept_build(
    package: LockedPackage, offered: Sequence[RepoDataRecord], python: LockedPackage | None, request: SolveRequest
) -> RepoDataRecord | None:
    """The build to keep for a locked package, among those of its version.

    For a package of another arch, that is one which goes with the same Python, and of those the newest.
    """
    exact = next((record for record in offered if str(record.build) == package.build), None)
    if exact is not None or package.conda is None or package.conda.subdir in request.subdirs:
        return exact
    fitting = [record for record in offered if python is None or _fits(record, python)]
    return max(fitting, key=lambda record: (record.build_number, str(record.build)), default=None)


def _fits(record: RepoDataRecord, python: LockedPackage) -> bool:
    from rattler import MatchSpec

    interpreter = record_of(python)
    needed = (text for text in record.depends if name_in(text) == "python")
    return all(MatchSpec(text).matches(interpreter) for text in needed)


def newest_of(
    request: SolveRequest,
    records: Sequence[RepoDataRecord],
    locked: Mapping[str, LockedPackage],
    limits: Mapping[str, Sequence[str]],
) -> dict[str, Newer]:
    """As `Solving.newer`, of records that are here."""
    from rattler import MatchSpec, Version
    from rattler.exceptions import InvalidVersionError

    bases = [place.base for place in request.places]
    offered: dict[str, list[tuple[int, RepoDataRecord]]] = {}
    for record in records:
        published = instant(record.indexed_timestamp or record.timestamp)
        if not request.exclude_newer or published <= request.exclude_newer:
            rank = bases.index(request.place_of(record).base)
            offered.setdefault(record.name.normalized, []).append((rank, record))
    wanted = {each.name: each for each in request.wanted}
    answers: dict[str, Newer] = {}
    for name, package in locked.items():
        own = offered.get(name, [])
        asked = wanted.get(name)
        if asked is not None and asked.channel:
            base = channel_address(asked.channel).kept
            own = [(rank, record) for rank, record in own if bases[rank] == base]
        elif request.is_strict:
            first = min((rank for rank, _ in own), default=0)
            own = [(rank, record) for rank, record in own if rank == first]
        specs = [MatchSpec(text) for text in limits.get(name, ())]
        python = locked.get("python") if name != "python" else None
        fitting = [
            record.version
            for _, record in own
            if all(spec.matches(record) for spec in specs) and (python is None or _fits(record, python))
        ]
        newest, allowed = max((record.version for _, record in own), default=None), max(fitting, default=None)
        try:
            now = Version(package.version)
        except InvalidVersionError:  # older than all that are versions
            now = Version("0")
        answers[name] = Newer(
            allowed=str(allowed or ""),
            newest=str(newest or ""),
            is_allowed_newer=allowed is not None and bool(allowed > now),
            is_newer=newest is not None and bool(newest > now),
        )
    return answers


def _as_they_are(request: SolveRequest, records: Sequence[RepoDataRecord]) -> tuple[LockedPackage, ...]:
    """The fixed packages. Raises Unlockable if the solver chose another one of that name."""
    found = {record.name.normalized: record for record in records}
    for package in request.fixed:
        record = found.get(package.name)
        if record is None or (record.sha256 or b"").hex() != package.sha256:
            raise Unlockable(f"{package.name} {package.version}", "the solver chose another package instead")
    return request.fixed


def _locked(request: SolveRequest, records: Sequence[RepoDataRecord]) -> tuple[LockedPackage, ...]:
    names = {*(record.name.normalized for record in records), *(package.name for package in request.fixed)}
    packages = []
    for record in sorted(records, key=lambda record: record.name.normalized):
        title = f"{record.name.normalized} {record.version}"
        if not record.file_name.endswith(_ARCHIVES):
            raise Unlockable(title, f"`{record.file_name}` is not a conda archive")
        if record.sha256 is None:
            raise Unlockable(title, "its channel has no SHA-256 for it")
        place = request.place_of(record)
        packages.append(package_of(record, place.base, edges(record.depends, names), url=place.canonical(record.url)))
    return tuple(packages)


def _utc(instant: str) -> datetime:
    """The instant in UTC: py-rattler ignores the zone."""
    return datetime.fromisoformat(instant.replace("Z", "+00:00")).astimezone(timezone.utc)
