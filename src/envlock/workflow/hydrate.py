"""`hydrate`: from a lock of the project to a prefix on this machine, and which lock an environment has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.hydrate.marker import find
from envlock.places import home
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project, Settings
    from envlock.hydrate.port import Installer
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock


def hydrate(
    project: Project,
    lock: Lock,
    reporter: Reporter | None = None,
    *,
    offline: bool = False,
    force: bool = False,
    anew: bool = False,
) -> Path:
    """The prefix of a lock, made now if it is not there: from the project's cache, else from upstream.

    `offline` asks the cache alone, `force` goes on where this machine lacks what the lock asks for, `anew` makes it
    also where it is there. Costs half a millisecond when it is there. May be called from several threads and processes
    at once. Raises HydrateError, DamageError, UntrustedHome, and what fetching raises.
    """
    found = None if anew else find_prefix(lock)
    if found is not None:
        return found
    from envlock.hydrate.prefix import ensure
    from envlock.workflow.pythons import LockedPythons
    from envlock.workflow.sources import CacheThenUpstream

    if project.settings.hosts:
        from envlock.lockfile.document import summary_of
        from envlock.workflow.launch_errors import refuse_strange_hosts

        refuse_strange_hosts(project, summary_of(lock), lock.asked_by or (lock.identity,))
    reporter = reporter or Reporter()
    source = CacheThenUpstream(project, reporter, offline)
    if anew:
        _disown(environments_folder() / lock.prefix_name)
    return ensure(
        lock,
        environments=environments_folder(),
        source=source,
        installer=_installer(project.settings, lock, reporter, unpack_anew=anew),
        pythons=LockedPythons(source, reporter, mirror=lambda: project.python_mirror, offline=offline),
        reporter=reporter,
        force=force,
    )


def _disown(prefix: Path) -> None:
    """Take away what says of a prefix that it is whole: the next who wants it replaces it. Raises HydrateError."""
    from envlock.hydrate.errors import storage_error
    from envlock.hydrate.marker import NAME

    try:
        (prefix / NAME).unlink(missing_ok=True)
    except NotADirectoryError:
        return
    except OSError as error:
        raise storage_error(error, prefix) from error


def _installer(settings: Settings, lock: Lock, reporter: Reporter, *, unpack_anew: bool) -> Installer:
    if lock.python.source != "conda":
        from envlock.hydrate.pypi_uv import UvInstaller

        return UvInstaller(reporter, compile_bytecode=settings.compile_bytecode, unpack_anew=unpack_anew)
    from envlock.hydrate.conda_rattler import CondaInstaller

    return CondaInstaller(
        home() / "conda" / "packages",
        reporter,
        link_scripts=settings.link_scripts,
        compile_bytecode=settings.compile_bytecode,
        unpack_anew=unpack_anew,
    )


def find_prefix(lock: Lock) -> Path | None:
    """The prefix of a lock, where it is there and whole. Never makes one."""
    return find(lock, environments_folder())


def find_lock(project: Project, environment: Environment, arch: Arch) -> Lock:
    """The one lock of an environment for an arch, fresh and proved whole; looked up in the cache for `fetch_at_exec`.

    Raises NotLocked, ArchNotLocked, StaleLock, TwoLocks, NotYet, DamageError: each with the command that repairs it.
    """
    if environment.is_fetched:
        from envlock.named.bases import looked_up

        return looked_up(project, environment, arch, {})
    from envlock.workflow.launch import locks_by_name

    return locks_by_name(project, (environment,), arch)[environment.name]


def environments_folder() -> Path:
    """Where the prefixes of this machine are."""
    return home() / "environments"
