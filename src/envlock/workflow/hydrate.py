"""`hydrate` for a project: choose the lock and the source, and let the kernel make the prefix."""

from __future__ import annotations

from envlock.hydration.prefix import check_place, find_prefix, prefix_of
from envlock.in_use import stays, used
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.machine.known_projects import know

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock


def hydrate(
    project: Project,
    lock: Lock,
    reporter: Reporter | None = None,
    *,
    offline: bool = False,
    force: bool = False,
    rebuild: bool = False,
    into: Path | None = None,
) -> Path:
    """The prefix of a lock in this machine's home, with artifacts from the project's cache, else from upstream.

    `into` is another home for the prefix and its Python build; all else stays in this machine's. `offline` uses the
    cache alone. This machine knows the project from then on, and that the prefix was used. Costs half a millisecond if
    the prefix is there. Everything else is as in `envlock.hydration.hydrate`. Raises HostNotAllowed too.
    """
    place = into or home()
    found = None if rebuild else find_prefix(lock, place)
    if found is None:
        check_place(lock, prefix_of(lock, place))  # first: a place that is refused gets no note either
    if into is None:
        know(project, lock)
    if found is not None and (into is not None or stays(str(found))):
        return found
    from envlock.cache.local import LocalPackages
    from envlock.hydration import hydrate as kernel
    from envlock.hydration.port import InstallOptions
    from envlock.hydration.pythons import LockedPythons
    from envlock.workflow.artifacts import artifact_source

    settings = project.settings
    if settings.hosts:
        from envlock.lockfile.document import summary_of
        from envlock.workflow.check_rules import refuse_strange_hosts

        refuse_strange_hosts(project, summary_of(lock), lock.asked_by or (lock.identity,))
    reporter = reporter or Reporter()
    source = artifact_source(project, reporter, offline=offline)
    options = InstallOptions(settings.compile_bytecode, settings.link_scripts, unpack_again=rebuild)
    pythons = LockedPythons(source, place, reporter, mirror=lambda: project.python_mirror, offline=offline)
    with LocalPackages(home()).in_use():
        made = kernel.hydrate(
            lock,
            source,
            place,
            pythons=pythons,
            installer=kernel.installer_for(lock, home(), reporter, options),
            reporter=reporter,
            force=force,
            rebuild=rebuild,
        )
    if into is None:
        used(str(made))
    return made


def where_to_hydrate(lock: Lock, place: Path, reporter: Reporter, *, force: bool = False) -> Path:
    """Where `hydrate` would make the prefix of a lock, on a machine that can have it. Raises as it does."""
    from envlock.hydration.hydrate import check_machine

    check_machine(lock, place, reporter, force=force)
    return prefix_of(lock, place)


def find_lock(project: Project, environment: Environment, arch: Arch) -> Lock:
    """The one lock of an environment for an arch, fresh and verified; looked up in the cache for `fetch_at_exec`.

    Raises NotLocked, ArchNotLocked, StaleLock, TwoLocks, DamageError: each with the command that repairs it.
    """
    if environment.is_fetched:
        from envlock.named.bases import lock_at_exec

        return lock_at_exec(project, environment, arch, {})
    from envlock.workflow.fresh_locks import fresh_locks

    return fresh_locks(project, (environment,), arch)[environment.name]
