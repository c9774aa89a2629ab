"""The named environments of a project while it is locked: what each name stands for, and the locks behind it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from envlock.config.errors import NoSuchSelection
from envlock.config.project import Base, Environment, Project
from envlock.errors import EnvlockError
from envlock.files import PIN_BYTES, read_file
from envlock.lockfile.merge_conflicts import sides, versions_in_git
from envlock.named.alias import BadAlias, MissingVariable, parse_alias, substituted
from envlock.named.base import IDENTITY, named, trouble, with_pin
from envlock.named.errors import BadNamedEnv, BaseLacksArch, DamagedPin, NamedEnvVariableUnset
from envlock.named.pin import FOLDER, Pin, parse_pin, pin_path, pinned_by, unnamed_pins
from envlock.workflow.lock_result import Pinned, Upgrade

if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.named.lookup import Lookup
    from envlock.resolve.port import LockedBase
    from envlock.workflow.launch import Plan

_SEQUENCE = re.compile(r"^sequence = ([0-9]{1,15})$", re.MULTILINE)


class Bases:
    """The named environments of one project. The cache is opened when something has to be looked up."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._locks: dict[tuple[str, Arch], Lock] = {}

    @cached_property
    def _lookup(self) -> Lookup:
        from envlock.named.lookup import Lookup

        return Lookup(self._project)

    def pinned(
        self, environments: Sequence[Environment], upgrade: Upgrade
    ) -> tuple[Project, tuple[Pinned, ...], tuple[EnvlockError, ...]]:
        """The project with every name of these environments pinned, the pins that are new, and what is wrong.

        A name is looked up where it has no pin, or its tag moves and is to be upgraded: once, however many name it.
        """
        wanted = _upgraded(self._project, upgrade)
        fresh: dict[tuple[str, str], Pinned] = {}
        errors: list[EnvlockError] = []
        seen: set[tuple[str, str]] = set()
        for environment in environments:
            base = environment.base
            if base is None or base.fetch_at_exec or (base.kind, base.reference or base.written) in seen:
                continue
            seen.add((base.kind, base.reference or base.written))
            wrong = trouble(self._project, environment)
            is_merge = isinstance(wrong, DamagedPin) and wrong.is_merge
            if wrong is not None and not is_merge:
                errors.append(wrong)
            elif base.pin is None or base.reference in wanted:
                try:
                    before, pin = self.settled(base) if is_merge else (base.pin, self.look_up(base))
                    self.refuse_another_history(base.pin, pin)
                except EnvlockError as error:
                    error.locations += (self._project.locate(base.key),)
                    errors.append(error)
                else:
                    if is_merge or pin != base.pin:
                        fresh[base.kind, base.reference] = Pinned(pin, before)

        def renewed(each: Environment) -> Environment:
            found = (
                fresh.get((each.base.kind, each.base.reference)) if each.base and not each.base.fetch_at_exec else None
            )
            return with_pin(each, found.pin) if found else each

        return self._project.with_environments(renewed), tuple(fresh.values()), tuple(errors)

    def settled(self, base: Base) -> tuple[Pin, Pin]:
        """The two moves that a merge left in a pin, the later one last; the same twice where only that can be read.

        Where git put lines of both together, the later move is looked up. Raises DamagedPin where it is another one.
        """
        path = pin_path(self._project.lock_folder, base.kind, base.reference)
        shown = path.relative_to(self._project.folder).as_posix()
        text = read_file(path, PIN_BYTES, within=self._project.folder).decode("utf-8", "replace")
        pins: list[Pin] = []
        for side in (*(each.encode() for each in sides(text) or ()), *versions_in_git(path, self._project.folder)):
            with suppress(EnvlockError):
                pins.append(parse_pin(side, base.kind, base.reference, shown))
        pins.sort(key=lambda pin: pin.sequence)
        latest = max(map(int, _SEQUENCE.findall(text)), default=0)
        if not pins or pins[-1].sequence < latest:
            pins.append(self.look_up(base, latest))
            if pins[-1].record not in text:
                raise DamagedPin(shown, f"move {latest} is another one in the cache than on either branch")
        return pins[0], pins[-1]

    def look_up(self, base: Base, move: int = 0) -> Pin:
        """What a name, ids or a pathspec stand for now, by the cache or by Metaflow; or what a name did at a move.

        Raises what finding it raises, and what reading its lock raises.
        """
        word = f"{base.reference}@{move}" if move else base.reference
        found = (
            self._lookup.reference(word, exact=True) if base.kind == "name" else self._lookup.pathspec(base.reference)
        )
        arch = next((arch for arch in self._project.settings.archs if arch in found.archs), found.archs[0])
        lock = self._lookup.lock(found, arch)
        record = found.move
        return Pin(
            kind=base.kind,
            reference=base.reference,
            requirements=lock.requirements,
            full_ids=found.full_ids,
            sequence=record.sequence if record else 0,
            record=record.digest if record else "",
        )

    def refuse_another_history(self, before: Pin | None, now: Pin) -> None:
        """Raise BrokenAliasChain where a name moved on from something else than the move that it is pinned to.

        Else whoever can write to the cache could write a history anew, or cut it off, and each upgrade would take it.
        """
        if before is None or not before.sequence or before.record == now.record:
            return
        from envlock.cache.layout import move_path
        from envlock.named.errors import BrokenAliasChain
        from envlock.workflow.check_online import disagreement

        alias = parse_alias(before.reference)
        wrong = disagreement(self._lookup, before, alias, self._lookup.aliases.head(alias))
        if wrong:
            pin = pin_path(self._project.lock_folder, before.kind, before.reference).relative_to(self._project.folder)
            place = f"{self._lookup.store.url}/{move_path(alias, before.sequence)}"
            reason = f"it is pinned to move {before.sequence}, and {wrong}"
            error = BrokenAliasChain(alias, place, reason)
            error.details += (f"where that is meant, delete {pin.as_posix()} and run `envlock lock`",)
            raise error

    def lock(self, pin: Pin, arch: Arch) -> Lock:
        """The lock of a pinned environment: of the project, else of the cache, proved to be the pinned one.

        Raises EnvironmentNotInCache, and what reading a lock raises.
        """
        from envlock.named.lookup import NamedEnvironment

        key = (f"{pin.req_id}:{pin.full_id(arch)}", arch)
        if key not in self._locks:
            self._locks[key] = self._lookup.lock(NamedEnvironment(pin.reference, pin.req_id, pin.full_ids), arch)
        return self._locks[key]

    def request(self, pin: Pin, arch: Arch) -> LockedBase:
        """The pinned environment, to be extended. Raises as `lock`."""
        from envlock.resolve.port import LockedBase

        return LockedBase(pin.reference, self.lock(pin, arch), self.metadata)

    def metadata(self, package: LockedPackage) -> str | None:
        """The METADATA in a wheel, which is fetched where this machine does not have it; None where it has none.

        Raises what fetching raises.
        """
        from envlock.hydrate.wheels import metadata_in
        from envlock.model.artifact import Artifact
        from envlock.reporter import Reporter
        from envlock.workflow.artifacts import CacheThenUpstream

        artifact = Artifact(package.filename, package.sha256, package.url, package.size)
        path = CacheThenUpstream(self._project, Reporter()).fetch([artifact])[artifact.sha256]
        return metadata_in(path) or None


def lacking_archs(
    project: Project, environments: Iterable[Environment], archs: Sequence[Arch]
) -> tuple[BaseLacksArch, ...]:
    """An error for each named environment and arch that it is not there for."""
    names: dict[tuple[Pin, Arch], list[Environment]] = {}
    for environment in environments:
        base = environment.base
        for arch in archs if base is not None and base.pin is not None else ():
            assert base is not None
            assert base.pin is not None
            if base.pin.full_id(arch) is None:
                names.setdefault((base.pin, arch), []).append(environment)
    return tuple(
        BaseLacksArch([each.name for each in asking], pin, arch, project.locate(asking[0].base.key))
        for (pin, arch), asking in names.items()
        if asking[0].base is not None
    )


def given_up(project: Project, pinned: Iterable[Pinned]) -> frozenset[str]:
    """The full_ids that names were pinned to until now, and none is any more."""
    if not (project.lock_folder / FOLDER).is_dir():
        return frozenset()
    moved = {full_id for each in pinned if each.before for _, full_id in each.before.full_ids}
    pins = [each.base.pin for each in project.environments() if each.base is not None and each.base.pin is not None]
    kept = {full_id for pin in pins for _, full_id in pin.full_ids}
    return (pinned_by(unnamed_pins(project)) | moved) - kept


def _upgraded(project: Project, upgrade: Upgrade) -> set[str]:
    """The names whose moving tags are to be looked up again. Raises NoSuchSelection for one that nothing names."""
    moving: dict[str, set[str]] = {}
    known: set[str] = set()
    for environment in project.environments():
        base = environment.base
        if base is None or base.fetch_at_exec or base.kind != "name" or not base.reference:
            continue
        name = base.reference.partition(":")[0]
        known |= {name, base.reference}
        if not IDENTITY.match(base.reference) and parse_alias(base.reference).moves:
            moving.setdefault(name, set()).add(base.reference)
            moving.setdefault(base.reference, set()).add(base.reference)
    for alias in sorted(upgrade.aliases - known):
        raise NoSuchSelection("named environment", alias, sorted(known))
    if upgrade.all_aliases:
        return set().union(*moving.values()) if moving else set()
    return set().union(*(moving.get(alias, set()) for alias in upgrade.aliases))


def fetch(planned: Plan, step: str, values: Mapping[str, str]) -> Lock:
    """The lock of what a step's name stands for now; `values` are the variables that only the run knows.

    Those of this process's environment come before them. Raises as `looked_up`, and DatastoreNotLocked.
    """
    from envlock.workflow.launch import refuse_unserved_datastore

    environment = planned.fetched[step]
    lock = looked_up(planned.project, environment, planned.arch, values)
    refuse_unserved_datastore(planned.project, planned.datastore, {environment: lock})
    return lock


def looked_up(project: Project, environment: Environment, arch: Arch, values: Mapping[str, str]) -> Lock:
    """The lock of an environment whose name is looked up now, and never pinned.

    Raises NamedEnvVariableUnset, BadNamedEnv, BaseLacksArch, and what finding an environment in the cache raises.
    """
    base = environment.base
    assert base is not None
    at = project.locate(base.key)
    try:
        meant = named(base.kind, substituted(base.written, {**values, **os.environ}))
    except MissingVariable as missing:
        raise NamedEnvVariableUnset(base.written, missing.variable, at) from None
    except BadAlias as bad:
        raise BadNamedEnv(base.kind, bad.text, bad.reason, at) from None
    bases = Bases(project)
    pin = bases.look_up(base._replace(reference=meant))
    if pin.full_id(arch) is None:
        raise BaseLacksArch((environment.name,), pin, arch, at)
    return bases.lock(pin, arch)
