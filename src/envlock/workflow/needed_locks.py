"""Which files of the lock folder the environments of a project need."""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path

from envlock.config.project import Environment, Project
from envlock.lockfile.folder import candidates, full_id_of, path_of
from envlock.model.arch import Arch


def locks_of(
    project: Project, environment: Environment, arch: Arch, given_up: frozenset[str] = frozenset()
) -> tuple[Path, ...]:
    """The files that lock an environment of a project for an arch: one, when all is well. Sorted.

    For a named environment, its own lock alone. Beside another environment with the same requirements, there may be a
    lock that only a named one is pinned to: that is no second lock of it. `given_up` are full_ids that no pin names any
    more.
    """
    req_id = environment.requirements.req_id
    found = candidates(project.lock_folder, arch, req_id)
    if environment.base is not None and (full_id := environment.base.full_id(arch)):
        own = path_of(project.lock_folder, arch, req_id, full_id)
        return (own,) if own in found else ()
    kept = not_only_pinned(project, arch, req_id, map(full_id_of, found), given_up)
    return tuple(path for path in found if full_id_of(path) in kept)


def not_only_pinned(
    project: Project, arch: Arch, req_id: str, full_ids: Iterable[str], given_up: frozenset[str]
) -> Set[str]:
    """Of the full_ids that these requirements are locked to, those that are not there for a named environment alone.

    `given_up` are those that no pin names any more. Where nothing else is left, those are kept, or all.
    """
    found = {*full_ids}
    if len(found) < 2:
        return found
    pinned = {
        each.base.full_id(arch)
        for each in project.environments()
        if each.base is not None and each.requirements.req_id == req_id
    }
    kept = found - given_up
    return kept - pinned or kept or found


class NeededLocks:
    """Which locks the environments of a project need; made once for many looks."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.req_ids: set[str] = set()
        self._free: set[str] = set()
        self._pinned: set[tuple[str, str, str]] = set()
        for each in project.environments():
            req_id = each.requirements.req_id
            self.req_ids.add(req_id)
            if each.base is None or each.base.extends or each.base.pin is None:
                self._free.add(req_id)
            else:
                self._pinned |= {(arch, req_id, full_id) for arch, full_id in each.base.pin.full_ids}

    def has(self, path: Path) -> bool:
        """Whether an environment needs the lock in a file, whatever else is locked for it."""
        is_free = path.parent.name in self._free and path.parent.parent.name in self._project.settings.archs
        return is_free or self.is_pinned(path)

    def is_pinned(self, path: Path) -> bool:
        """Whether a named environment is pinned to just that lock, for an arch of the project."""
        arch = path.parent.parent.name
        return arch in self._project.settings.archs and (arch, path.parent.name, full_id_of(path)) in self._pinned
