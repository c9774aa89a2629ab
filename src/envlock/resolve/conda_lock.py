"""The resolver that uses conda-lock: conda, mamba or micromamba solves, or py-rattler if none of them is installed.

conda-lock's pipeline runs in a process of its own (`conda_lock_process.py`). What it writes lacks much of what a lock
holds, so its answer is asked of the channels once more, with no freedom: the same packages, whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from envlock.conda.channels import channel_address
from envlock.lockfile.graph import edges_of, reachable
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage
from envlock.resolve.choose_resolver import require_conda_lock
from envlock.resolve.conda_lock_formats import CannotMerge, NamedChannel, canonical, merged, named_channels
from envlock.resolve.conda_lock_run import CondaLockFailed, Row, conda_executable, locked_rows
from envlock.resolve.conda_rattler import CondaResolver, solve_request_of
from envlock.resolve.errors import (
    CondaConflict,
    NoCondaBuild,
    NoSuchCondaPackage,
    ResolverCannot,
    ResolversDisagree,
    UnexpectedAnswer,
    UnmetSystemRequirement,
)
from envlock.resolve.port import Request, Resolution
from envlock.resolve.processes import Processes

_USE_RATTLER = 'set `resolver.conda = "rattler"`'
_DECIDED = "conda-lock chose the conda packages, with {}"
_NOT_KEPT = "{} could not keep the locked versions with these requirements, and resolved without them"


class CondaLockResolver:
    """Implements the Resolver port with conda-lock, for the conda part. Any thread may call it."""

    def __init__(self, *, offline: bool = False) -> None:
        require_conda_lock()
        self._processes = Processes()
        self._rattler = CondaResolver(offline=offline)

    def stop(self) -> None:
        """End the running processes, and start no more."""
        self._processes.end()
        self._rattler.stop()

    def resolve(self, request: Request) -> Resolution:
        """The conda packages of a request, and its Python.

        Costs the seconds in which conda-lock starts, its solve, and one solve of ours that has no choice. Raises
        ResolveError.
        """
        if request.fixed:  # which conda-lock has no way to be told
            return self._rattler.resolve(request)
        solve_request = solve_request_of(request)
        general = [place for place in solve_request.places if place.base not in solve_request.single]
        channels = named_channels(request.requirements.channels, general)
        run = _Run(request, channels, _merged(request, solve_request.wanted), conda_executable())
        notes: tuple[str, ...] = (_DECIDED.format(run.solver),)
        if run.executable is not None:
            _refuse_what_an_executable_cannot(run)
            if request.conda_pins:
                kept = self._with_old_versions(run)
                if kept is not None:
                    return replace(kept, notes=(*notes, *kept.notes))
                notes += (_NOT_KEPT.format(run.executable.name),)
        try:
            rows = self._rows(run)
        except CondaLockFailed as failure:
            raise self._explained(run, failure) from None
        found = self._completed(run, rows)
        return replace(found, notes=(*notes, *found.notes))

    def _with_old_versions(self, run: _Run) -> Resolution | None:
        """The solution that keeps every package of the older lock, or None.

        conda has no preferences: what is to be kept has to be demanded, and what nothing needs any more taken out.
        """
        pins = {pin.name: CondaRequirement(pin.name, f"=={pin.version}", pin.build) for pin in run.request.conda_pins}
        try:
            asked = merged((*run.asked, *pins.values()))
            rows = self._rows(run._replace(asked=asked))
        except (CannotMerge, CondaLockFailed):
            return None
        return _needed(self._completed(run, rows), run.asked)

    def _rows(self, run: _Run) -> list[Row]:
        def solve(understood: tuple[CondaRequirement, ...]) -> Sequence[LockedPackage]:
            return self._rattler.resolve(_only(run.request, understood)).packages

        return locked_rows(run.request, run.channels, run.asked, run.executable, self._processes, solve)

    def _explained(self, run: _Run, failure: CondaLockFailed) -> UnexpectedAnswer:
        """The error: py-rattler solves the same request, because its explanation is the best."""
        self._rattler.resolve(run.request)
        who = run.executable.name if run.executable is not None else "conda-lock"
        return UnexpectedAnswer(
            run.request.name,
            run.request.arch,
            f"{who} found no solution, but py-rattler does",
            details=failure.reason,
            hint=_USE_RATTLER,
        )

    def _completed(self, run: _Run, rows: Sequence[Row]) -> Resolution:
        """The packages of conda-lock's rows, with the channels' metadata."""
        places = {row["name"]: canonical(row["url"], run.channels) for row in rows}
        exact = tuple(
            CondaRequirement(row["name"], f"=={row['version']}", _build(row), places[row["name"]][0]) for row in rows
        )
        try:
            found = self._rattler.resolve(replace(_only(run.request, exact), conda_pins=()))
        except (CondaConflict, NoCondaBuild, NoSuchCondaPackage, UnmetSystemRequirement) as error:
            raise _disagree(run, (error.sentence, *error.details)) from None
        packages = {package.name: package for package in found.packages}
        odd = [f"only one of them locks {name}" for name in sorted(packages.keys() ^ places.keys())]
        for row in rows:
            package = packages.get(row["name"])
            if package is not None and not _is_same(row, places[row["name"]], package):
                odd.append(f"{unquote(places[row['name']][1])} is not the same file as {package.filename}")
        if odd:
            raise _disagree(run, tuple(odd))
        return found


class _Run(NamedTuple):
    """A request, in the form that conda-lock takes."""

    request: Request
    channels: tuple[NamedChannel, ...]
    asked: tuple[CondaRequirement, ...]
    executable: Path | None

    @property
    def solver(self) -> str:
        """The solver, in words: another machine may have another executable."""
        return self.executable.name if self.executable is not None else "envlock's own solver"


def _merged(request: Request, wanted: Iterable[CondaRequirement]) -> tuple[CondaRequirement, ...]:
    try:
        return merged(wanted)
    except CannotMerge as error:
        raise ResolverCannot(
            request.name,
            request.arch,
            f"conda-lock takes one requirement for each package, and {' and '.join(f'`{t}`' for t in error.texts)} "
            "cannot be combined",
            hint=f"require `{error.name}` once, or {_USE_RATTLER}",
            packages=(f"conda:{error.name}",),
        ) from None


def _only(request: Request, asked: Iterable[CondaRequirement]) -> Request:
    """The request, for these conda packages only."""
    return replace(request, requirements=request.requirements._replace(conda=tuple(asked), conda_only=(), metaflow=()))


def _refuse_what_an_executable_cannot(run: _Run) -> None:
    request, executable = run.request, run.executable
    assert executable is not None
    reason = ""
    packages: tuple[str, ...] = ()
    if request.offline:
        reason = f"{executable.name} cannot lock offline"
    elif request.exclude_newer or request.requirements.exclude_newer:
        reason = f"{executable.name} does not support `exclude-newer`"
    elif buckets := [channel.name for channel in run.channels if channel.text.startswith("s3://")]:
        reason, packages = f"{executable.name} cannot read a channel in a bucket, such as {buckets[0]}", (buckets[0],)
    named = {channel.name for channel in run.channels if "://" not in channel.text}
    for each in run.asked:
        if not reason and each.channel and each.channel not in named:
            reason = f"conda-lock cannot take `{each.name}` from a channel that is given by its URL"
            if channel_address(each.channel).kept not in {channel.base for channel in run.channels}:
                reason = f"conda-lock cannot use {each.channel} for `{each.name}` only"
            packages = (f"conda:{each.name}",)
    if reason:
        raise ResolverCannot(
            request.name,
            request.arch,
            reason,
            hint=f"export ENVLOCK_CONDA_EXE= to use envlock's own solver, or {_USE_RATTLER}",
            packages=packages,
        )


def _build(row: Row) -> str:
    """The build: conda-lock keeps only the file name."""
    filename = unquote(row["url"].rpartition("/")[2])
    return filename.removesuffix(".conda").removesuffix(".tar.bz2").rpartition("-")[2]


def _is_same(row: Row, place: tuple[str, str], package: LockedPackage) -> bool:
    """Whether both are the same file: by URL, and by the hashes that both have."""
    facts = package.conda
    assert facts is not None
    return (
        unquote(place[1]) == f"{facts.subdir}/{unquote(package.filename)}"
        and row["sha256"] in {"", package.sha256}
        and (not row["md5"] or not facts.md5 or row["md5"] == facts.md5)
    )


def _needed(found: Resolution, asked: Iterable[CondaRequirement]) -> Resolution:
    """The requested packages, and those that they need."""
    needed = reachable(edges_of(found.packages), [each.name for each in asked])
    return replace(found, packages=tuple(package for package in found.packages if package.name in needed))


def _disagree(run: _Run, reason: Sequence[str]) -> ResolversDisagree:
    return ResolversDisagree(
        run.request.name,
        run.request.arch,
        "the channels do not have the packages that conda-lock chose",
        details=tuple(reason),
        hint=f"run `envlock lock` again, in case a channel has changed, or {_USE_RATTLER}",
    )
