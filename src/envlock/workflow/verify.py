"""`verify`: the environments of a project that are on this machine, compared with what was installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from envlock.config.selection import Selection
from envlock.hydration.prefix import prefix_of, read_receipt
from envlock.hydration.verify import VerifiedPrefix, verify_prefix
from envlock.lockfile.folder import read_lock
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock


@dataclass(frozen=True)
class VerifiedEnvironment:
    """One environment on this machine."""

    names: tuple[str, ...]
    """The steps and tables that it is for."""
    lock: Lock
    verification: VerifiedPrefix
    repair: str
    """The command that makes it again."""


@dataclass(frozen=True)
class VerifyResult:
    """The chosen environments: those on this machine, verified, and the others."""

    verified: tuple[VerifiedEnvironment, ...]
    absent: tuple[str, ...]
    """Locked, and not on this machine."""
    unlocked: tuple[str, ...]
    """Without a lock of this arch for their requirements, or with more than one."""

    @property
    def damaged(self) -> tuple[VerifiedEnvironment, ...]:
        """Those that differ from what was installed."""
        return tuple(each for each in self.verified if each.verification.findings)


def verify(
    project: Project,
    selection: Selection | None = None,
    reporter: Reporter | None = None,
    *,
    unexpected: bool = False,
) -> VerifyResult:
    """Compare each chosen environment's prefix on this machine with what was installed, and that with its lock.

    Reads every file once, and writes nothing. `unexpected` also finds modules and activation scripts that belong to no
    package. Raises NoSuchSelection, and DamageError for a lock that is not whole.
    """
    names: dict[Path, list[str]] = {}
    first: dict[Path, Environment] = {}
    verified, absent, unlocked = [], [], []
    for environment in (selection or Selection()).choose(project):
        if environment.is_fetched:
            continue
        paths = locks_of(project, environment, host_arch())
        if len(paths) != 1:
            unlocked.append(environment.name)
            continue
        names.setdefault(paths[0], []).append(environment.name)
        first.setdefault(paths[0], environment)
    for path, named in names.items():
        lock = read_lock(path, shown=project.shown(path))
        prefix = prefix_of(lock, home())
        if read_receipt(prefix) is None:
            absent += named
            continue
        verification = verify_prefix(lock, prefix, reporter, unexpected=unexpected)
        verified.append(VerifiedEnvironment(tuple(named), lock, verification, _repair(first[path])))
    return VerifyResult(tuple(verified), tuple(absent), tuple(unlocked))


def _repair(environment: Environment) -> str:
    from envlock.config.selection import options_of

    return f"envlock create {options_of(environment.key)} --rebuild"
