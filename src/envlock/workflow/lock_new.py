"""`lock --using` and `lock --from`: an environment that is there already, asked for in envlock.toml, then locked.

envlock.toml gets its new lines when the locks are there: where locking fails, the file was never touched.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.config.edit.env_tables import name_base
from envlock.config.edit.errors import CannotWrite, EnvironmentExists
from envlock.config.edit.save import load_text, save
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors, as_one
from envlock.files import files_below, holds
from envlock.named.alias import BadReference, are_whole_ids, check_reference, ids_in
from envlock.named.errors import bad_reference
from envlock.named.pin import pin_path
from envlock.workflow.prune import remove

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.named.lookup import NamedEnvironment
    from envlock.workflow.lock_result import LockResult


class ChangedMeanwhile(ConfigError):
    """Somebody else wrote envlock.toml while what it was to ask for was locked."""

    code = "changed-meanwhile"

    def __init__(self, config: str) -> None:
        super().__init__(
            f"`{config}` was changed by somebody else while this locked",
            locations=(Location(config),),
            details=("their change is kept, and nothing was written",),
            hint="run the command again",
        )


@dataclass(frozen=True)
class Asked:
    """envlock.toml as it shall be, not written yet."""

    name: str
    """Of the `[env.*]` table."""
    project: Project
    before: Project
    start: tuple[Lock, ...] = ()
    """Locks of the same requirements, whose packages are kept."""

    @property
    def is_new(self) -> bool:
        """Whether envlock.toml has to be written."""
        return self.project.text != self.before.text

    def check_writable(self) -> None:
        """Raise CannotWrite where the file could not be written when all is locked."""
        path = self.before.path.resolve()
        if self.is_new and not os.access(path.parent, os.W_OK):
            raise CannotWrite(path.name, os.strerror(errno.EACCES))

    def locks_before(self) -> frozenset[Path]:
        """What is in the lock folder now."""
        return frozenset(
            Path(where, name)
            for where, names in (files_below(self.before.lock_folder) if self.is_new else ())
            for name in names
            if name.endswith(".toml")
        )

    def write(self, result: LockResult, there: frozenset[Path]) -> None:
        """Write envlock.toml, now that it is locked; where that fails, take back what is new of the locks.

        `there` are the files that the lock folder had before. Raises ChangedMeanwhile, CannotWrite.
        """
        if not self.is_new:
            return
        path = self.before.path
        try:
            if not holds(path, self.before.text.encode()):
                raise ChangedMeanwhile(path.name)
            save(path, self.project.text)
        except BaseException:
            if not holds(path, self.project.text.encode()):
                pins = {pin_path(self.before.lock_folder, each.pin.kind, each.pin.reference) for each in result.pinned}
                for made in ({each.path for each in result.locked} | pins) - there:
                    remove(made)
            raise

    def explained(self, error: EnvlockError) -> EnvlockError:
        """The error of locking, which may point at lines that are not there."""
        if not self.is_new:
            return error
        *others, last = error.errors if isinstance(error, ManyErrors) else (error,)
        note = f"{self.before.path.name} is as it was: its lines are those that would have been written"
        return as_one([*others, last.adding(note)])


def using(project: Project, name: str, kind: str, written: str) -> Asked:
    """An `[env.<name>]` that is, or extends, the environment of this `name` or `pathspec`.

    Of ids, the beginnings of both are enough; what is written is whole. Raises BadAlias, BadPathspec, NamesAnother.
    """
    try:
        check_reference(kind, written)
    except BadReference as error:
        raise bad_reference(kind, error.text, error.reason) from None
    from envlock.named.lookup import Lookup

    if kind == "name" and ids_in(written) and not are_whole_ids(written):
        found = Lookup(project).reference(written)
        written = found.reference if found.move is None else written
    text = name_base(project, name, kind, written)
    return Asked(name, load_text(project.path, text) if text != project.text else project, project)


def from_requirements(project: Project, name: str, kind: str, said: str) -> Asked:
    """An `[env.<name>]` that asks for what the environment asks for that a name, ids or a pathspec stand for.

    What is locked of it keeps its packages. Raises EnvironmentExists, SettingsDiffer, CannotCopyRequirements, and what
    finding it and reading its locks raise.
    """
    from envlock.config.edit.env_tables import env_from_requirements
    from envlock.named.lookup import Lookup

    if any(each.name == name for each in project.named):
        raise EnvironmentExists(name, project.locate(("env", name)))
    lookup = Lookup(project)
    found: NamedEnvironment = lookup.reference(said) if kind == "name" else lookup.pathspec(said)
    archs = [arch for arch in project.settings.archs if arch in found.archs] or found.archs[:1]
    locks = tuple(lookup.lock(found, arch) for arch in archs)
    use = f"envlock lock --env {name} --using{'' if kind == 'name' else '-pathspec'} {said}"
    return Asked(
        name,
        env_from_requirements(project, name, locks[0].requirements, source=found.reference, use=use),
        project,
        locks,
    )
