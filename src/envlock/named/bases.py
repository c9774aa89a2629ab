"""The bases of a project's environments while it is locked: their pins, and the locks behind those."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from envlock.config.errors import NoSuchSelection
from envlock.errors import EnvlockError
from envlock.files import PIN_BYTES, read_file
from envlock.lockfile.merge_conflicts import sides, versions_in_git
from envlock.named.alias import are_whole_ids, parse_alias
from envlock.named.errors import BaseLacksArch, BrokenAliasChain, DamagedPin
from envlock.named.pin import (
    FOLDER,
    Pin,
    base_error,
    full_ids_in,
    parse_pin,
    pin_path,
    reference_in,
    unnamed_pins,
    with_pin,
)
from envlock.workflow.locking.jobs import Pinned

if TYPE_CHECKING:
    from envlock.config.project import Base, Environment, Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock, LockedPackage
    from envlock.named.lookup import Lookup
    from envlock.resolve.port import LockedBase
    from envlock.workflow.locking.jobs import Upgrade

_SEQUENCE = re.compile(r"^sequence = ([0-9]{1,15})$", re.MULTILINE)


class Bases:
    """The bases of one project. The cache is opened if a reference has to be looked up."""

    def __init__(self, project: Project, known: Iterable[Lock] = ()) -> None:
        """`known` are locks that need not be looked up."""
        self._project = project
        self._locks: dict[tuple[str, Arch], Lock] = {(lock.identity, lock.arch): lock for lock in known}

    @cached_property
    def _lookup(self) -> Lookup:
        from envlock.named.lookup import Lookup

        return Lookup(self._project)

    def pin(
        self, environments: Sequence[Environment], upgrade: Upgrade
    ) -> tuple[Project, tuple[Pinned, ...], tuple[EnvlockError, ...]]:
        """The project with the base of each of these environments pinned, the pins that are new, and what is wrong.

        A reference is looked up if it has no pin, or if its tag moves and is to be upgraded: once for all environments
        that have it.
        """
        upgraded = _upgraded(self._project, upgrade)
        new: dict[tuple[str, str], Pinned] = {}
        errors: list[EnvlockError] = []
        seen: set[tuple[str, str]] = set()
        for environment in environments:
            base = environment.base
            if base is None or base.fetch_at_exec or (base.kind, base.reference or base.written) in seen:
                continue
            seen.add((base.kind, base.reference or base.written))
            wrong = base_error(self._project, environment)
            is_merge = isinstance(wrong, DamagedPin) and wrong.is_merge
            if wrong is not None and not is_merge:
                errors.append(wrong)
            elif base.pin is None or base.reference in upgraded:
                try:
                    before, pin = self._merged(base) if is_merge else (base.pin, self.look_up(base))
                    self._refuse_another_history(base.pin, pin)
                except EnvlockError as error:
                    errors.append(error.adding(locations=(self._project.locate(base.key),)))
                else:
                    if is_merge or pin != base.pin:
                        new[base.kind, base.reference] = Pinned(pin, before)

        def renewed(each: Environment) -> Environment:
            pinned = new.get((each.base.kind, each.base.reference)) if each.base and not each.is_fetched else None
            return with_pin(each, pinned.pin) if pinned else each

        return self._project.with_environments(renewed), tuple(new.values()), tuple(errors)

    def _merged(self, base: Base) -> tuple[Pin, Pin]:
        """The two moves that a merge left in a pin, the later one last; the same twice if only that can be read.

        If git put lines of both together, the later move is looked up. Raises DamagedPin if it is another one.
        """
        path = pin_path(self._project.lock_folder, base.kind, base.reference)
        shown = self._project.shown(path)
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

    def look_up(self, base: Base, sequence: int = 0) -> Pin:
        """What a base's reference names now, or what its alias named at a move.

        Raises what looking it up raises, and what reading its lock raises.
        """
        if base.kind == "name":
            reference = f"{base.reference}@{sequence}" if sequence else base.reference
            found = self._lookup.reference(reference, exact=True)
        else:
            found = self._lookup.pathspec(base.reference)
        arch = next((arch for arch in self._project.settings.archs if arch in found.archs), found.archs[0])
        lock = self._lookup.lock(found, arch)
        pin = Pin(base.kind, base.reference, lock.requirements, found.full_ids)
        return pin._replace(sequence=found.move.sequence, record=found.move.digest) if found.move else pin

    def _refuse_another_history(self, before: Pin | None, now: Pin) -> None:
        """Raise BrokenAliasChain if an alias moved on from something else than the move that it is pinned to.

        Otherwise anyone who can write to the cache could rewrite or cut off a history, and an upgrade would accept it.
        """
        if before is None or not before.sequence or before.record == now.record:
            return
        from envlock.cache.layout import move_path

        alias = parse_alias(before.reference)
        wrong = self._lookup.aliases.disagreement(before, self._lookup.aliases.newest(alias))
        if wrong:
            pin = self._project.shown(pin_path(self._project.lock_folder, before.kind, before.reference))
            place = f"{self._lookup.store.url}/{move_path(alias, before.sequence)}"
            raise BrokenAliasChain(alias, place, f"it is pinned to move {before.sequence}, and {wrong}").adding(
                f"if that is meant, delete {pin} and run `envlock lock`"
            )

    def lock(self, pin: Pin, arch: Arch) -> Lock:
        """The lock of a pinned base: of the project, else of the cache, verified to be the pinned one.

        Raises EnvironmentNotInCache, and what reading a lock raises.
        """
        from envlock.named.lookup import NamedEnvironment

        key = (f"{pin.req_id}:{pin.full_id(arch)}", arch)
        if key not in self._locks:
            self._locks[key] = self._lookup.lock(NamedEnvironment(pin.reference, pin.req_id, pin.full_ids), arch)
        return self._locks[key]

    def request(self, pin: Pin, arch: Arch) -> LockedBase:
        """The pinned base, to be extended. Raises as `lock`."""
        from envlock.resolve.port import LockedBase

        return LockedBase(pin.reference, self.lock(pin, arch), self.metadata)

    def metadata(self, package: LockedPackage) -> str | None:
        """The METADATA in a wheel, which is fetched if this machine does not have it; None if it has none.

        Raises what fetching raises.
        """
        from envlock.hydration.wheels import metadata_in
        from envlock.model.artifact import Artifact
        from envlock.reporter import Reporter
        from envlock.workflow.artifacts import artifact_source

        artifact = Artifact(package.filename, package.sha256, package.url, package.size)
        path = artifact_source(self._project, Reporter()).fetch([artifact])[artifact.sha256]
        return metadata_in(path) or None


def lacking_archs(
    project: Project, environments: Iterable[Environment], archs: Sequence[Arch]
) -> tuple[BaseLacksArch, ...]:
    """An error for each base and arch that it is not locked for."""
    lacking: dict[tuple[Pin, Arch], list[tuple[str, Base]]] = {}
    for environment in environments:
        base = environment.base
        if base is not None and base.pin is not None:
            for arch in archs:
                if base.pin.full_id(arch) is None:
                    lacking.setdefault((base.pin, arch), []).append((environment.name, base))
    return tuple(
        BaseLacksArch([name for name, _ in users], pin, arch, project.locate(users[0][1].key))
        for (pin, arch), users in lacking.items()
    )


def given_up(project: Project, pinned: Iterable[Pinned]) -> frozenset[str]:
    """The full_ids that references were pinned to until now, and none is any more."""
    if not (project.lock_folder / FOLDER).is_dir():
        return frozenset()
    moved = {full_id for each in pinned if each.before for _, full_id in each.before.full_ids}
    pins = [each.base.pin for each in project.environments() if each.base is not None and each.base.pin is not None]
    kept = {full_id for pin in pins for _, full_id in pin.full_ids}
    return (full_ids_in(unnamed_pins(project)) | moved) - kept


def _upgraded(project: Project, upgrade: Upgrade) -> set[str]:
    """The aliases with moving tags that are to be looked up again. Raises NoSuchSelection for one that is no base."""
    moving: dict[str, set[str]] = {}
    known: set[str] = set()
    for environment in project.environments():
        base = environment.base
        if base is None or base.fetch_at_exec or base.kind != "name" or not base.reference:
            continue
        name = base.reference.partition(":")[0]
        known |= {name, base.reference}
        if not are_whole_ids(base.reference) and parse_alias(base.reference).moves:
            moving.setdefault(name, set()).add(base.reference)
            moving.setdefault(base.reference, set()).add(base.reference)
    for alias in sorted(upgrade.aliases - known):
        raise NoSuchSelection("named environment", alias, sorted(known), project.path.name)
    return set().union(*(moving.get(alias, ()) for alias in (moving if upgrade.all_aliases else upgrade.aliases)))


# Bases that are looked up when their step starts: `fetch_at_exec`.


def lock_at_exec(project: Project, environment: Environment, arch: Arch, variables: Mapping[str, str]) -> Lock:
    """The lock of an environment whose base is looked up now, and never pinned.

    `variables` are those that only the run knows; those of this process come before them. Raises UnsetNameVariable,
    BadAlias, BadPathspec, BaseLacksArch, and what looking up in the cache raises.
    """
    base = environment.base
    assert base is not None
    at = project.locate(base.key)
    try:
        reference = reference_in(base, {**variables, **os.environ})
    except EnvlockError as error:
        raise error.at(at) from None
    bases = Bases(project)
    pin = bases.look_up(base._replace(reference=reference))
    if pin.full_id(arch) is None:
        raise BaseLacksArch((environment.name,), pin, arch, at)
    return bases.lock(pin, arch)
