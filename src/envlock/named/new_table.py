"""`lock --using` and `lock --from`: lock an environment that is there already, and write its `[env.*]` table.

envlock.toml is written when the locks are there: if locking fails, the file was never touched.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.config.edit.env_tables import env_from_requirements, name_base
from envlock.config.edit.errors import CannotWrite, EnvironmentExists
from envlock.config.edit.save import load_text, save
from envlock.errors import EnvlockError, ManyErrors, as_one
from envlock.files import holds
from envlock.lockfile.folder import lock_files
from envlock.named.alias import are_whole_ids, check_reference, ids_in
from envlock.named.errors import ChangedMeanwhile
from envlock.named.lookup import Lookup
from envlock.named.pin import pin_files, pin_path
from envlock.workflow.lock import lock
from envlock.workflow.locking.prune import remove

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.config.selection import Selection
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter
    from envlock.workflow.locking.jobs import LockResult, Upgrade


@dataclass(frozen=True)
class NewTable:
    """envlock.toml with the table of an environment, not written yet."""

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

    def lock(
        self,
        selection: Selection,
        upgrade: Upgrade,
        reporter: Reporter,
        *,
        offline: bool = False,
        dry_run: bool = False,
    ) -> LockResult:
        """Lock what the table says, then write envlock.toml. If either fails, or in a dry run, nothing was written.

        Raises CannotWrite, ChangedMeanwhile, and what locking raises.
        """
        self._check_writable()
        try:
            there = self._locks_there()
            result = lock(
                self.project,
                selection=selection,
                upgrade=upgrade,
                reporter=reporter,
                offline=offline,
                dry_run=dry_run,
                start=self.start,
            )
        except EnvlockError as error:
            raise self._not_written(error) from None
        if not dry_run:
            self._write(result, there)
        return result

    def _check_writable(self) -> None:
        """Raise CannotWrite if envlock.toml could not be written when all is locked."""
        path = self.before.path.resolve()
        if self.is_new and not os.access(path.parent, os.W_OK):
            raise CannotWrite(path.name, os.strerror(errno.EACCES))

    def _locks_there(self) -> frozenset[Path]:
        """What the lock folder has before locking."""
        folder = self.before.lock_folder
        return frozenset((*lock_files(folder), *pin_files(folder)) if self.is_new else ())

    def _write(self, result: LockResult, there: frozenset[Path]) -> None:
        """Write envlock.toml; if that fails, delete the new locks. `there` are the files of the folder before."""
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

    def _not_written(self, error: EnvlockError) -> EnvlockError:
        """The error of locking, which may point at lines that envlock.toml does not have."""
        if not self.is_new:
            return error
        *others, last = error.errors if isinstance(error, ManyErrors) else (error,)
        note = f"{self.before.path.name} was not changed: the lines are those that would have been written"
        return as_one([*others, last.adding(note)])


def using(project: Project, name: str, kind: str, written: str) -> NewTable:
    """An `[env.<name>]` with this `name` or `pathspec` as its base.

    The first digits of ids are enough; whole ids are written. Raises BadAlias, BadPathspec, NamesAnother.
    """
    check_reference(kind, written)
    if kind == "name" and ids_in(written) and not are_whole_ids(written):
        found = Lookup(project).reference(written)
        written = found.reference if found.move is None else written
    text = name_base(project, name, kind, written)
    return NewTable(name, load_text(project.path, text) if text != project.text else project, project)


def from_requirements(project: Project, name: str, kind: str, reference: str) -> NewTable:
    """An `[env.<name>]` with the requirements of the environment that an alias, ids or a pathspec names.

    The packages that are locked there are kept. Raises EnvironmentExists, SettingsDiffer, CannotCopyRequirements, and
    what looking it up and reading its locks raise.
    """
    if any(each.name == name for each in project.named):
        raise EnvironmentExists(name, project.locate(("env", name)))
    lookup = Lookup(project)
    found = lookup.reference(reference) if kind == "name" else lookup.pathspec(reference)
    archs = [arch for arch in project.settings.archs if arch in found.archs] or found.archs[:1]
    locks = tuple(lookup.lock(found, arch) for arch in archs)
    use = f"envlock lock --env {name} --using{'' if kind == 'name' else '-pathspec'} {reference}"
    changed = env_from_requirements(project, name, locks[0].requirements, source=found.reference, use=use)
    return NewTable(name, changed, project, locks)
