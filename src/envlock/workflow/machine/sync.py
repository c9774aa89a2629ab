"""`sync`: let the local names and the kernels of a project follow its locks."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, EnvlockError
from envlock.hydration.errors import storage_error
from envlock.hydration.prefix import find_prefix, prefix_of
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.hydrate import find_lock, hydrate
from envlock.workflow.machine.errors import NoSuchName
from envlock.workflow.machine.kernel_environment import of_project
from envlock.workflow.machine.kernel_start import PREFIX
from envlock.workflow.machine.kernels import Kernel, kernels, update
from envlock.workflow.machine.local_names import LocalName, is_of, lead, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from envlock.config.project import Environment, Project
    from envlock.reporter import Reporter
    from envlock.workflow.machine.local_names import Origin


@dataclass(frozen=True)
class Synced:
    """What became of one local name, or of a kernel."""

    name: str
    kind: str
    """`name` or `kernel`."""
    place: Path
    """The link, or Jupyter's kernel.json."""
    state: str
    """`current`, `updated`, `outdated` (a dry run: it would be updated), or `failed`."""
    environment: str = ""
    """What the project calls the environment; empty if it has none of that kind any more."""
    before: Path | None = None
    """The prefix that it had."""
    after: Path | None = None
    """The prefix that it has, or would have."""
    error: EnvlockError | None = None
    """Why it cannot be updated."""


def kernels_of(project: Project) -> tuple[Kernel, ...]:
    """The kernels that follow a project, without those that somebody removed from Jupyter."""
    return tuple(
        each
        for each in kernels()
        if each.state in {"ready", "gone"}
        and each.made_from is not None
        and each.made_from.origin is not None
        and is_of(each.made_from.origin.config, project)
    )


def left_behind(project: Project, environments: Collection[str]) -> tuple[str, ...]:
    """The names and kernels of a project that are for some of its environments, which were locked again."""
    found: list[str] = []
    origins = [(each.name, each.origin) for each in names_of(project)]
    origins += [(each.name, each.made_from.origin) for each in kernels_of(project) if each.made_from is not None]
    for name, origin in origins:
        assert origin is not None
        with suppress(ConfigError):  # it is for an environment that the project has no more
            found += [name] if origin.of(project).name in environments else []
    return tuple(dict.fromkeys(found))


def sync(
    project: Project, names: Sequence[str], reporter: Reporter, *, dry_run: bool = False, offline: bool = False
) -> tuple[Synced, ...]:
    """Let what follows a project lead to what is locked now, hydrating it where it is not on this machine.

    `names` are those of local names and kernels; none means all. Each changes at once, after its environment is whole;
    one that cannot be updated stays as it is, and the others are updated. With `dry_run`, nothing is written. Raises
    NoSuchName.
    """
    links, own = names_of(project), kernels_of(project)
    known = sorted({*(each.name for each in links), *(each.name for each in own)})
    for name in names:
        if name not in known:
            raise NoSuchName(name, known)
    return (
        *(_link(project, each, reporter, dry_run, offline) for each in links if not names or each.name in names),
        *(_kernel(project, each, reporter, dry_run, offline) for each in own if not names or each.name in names),
    )


def _link(project: Project, local: LocalName, reporter: Reporter, dry_run: bool, offline: bool) -> Synced:
    def follow(environment: Environment, before: Path) -> tuple[str, Path]:
        lock = find_lock(project, environment, host_arch())
        if prefix_of(lock, home()) == before and find_prefix(lock, home()) is not None:
            return "current", before
        if dry_run:
            return "outdated", prefix_of(lock, home())
        after = hydrate(project, lock, reporter, offline=offline)
        lead(local.link, after)
        return "updated", after

    assert local.origin is not None
    synced = Synced(local.name, "name", local.link, "")
    return _synced(project, synced, local.link, local.origin, follow)


def _kernel(project: Project, kernel: Kernel, reporter: Reporter, dry_run: bool, offline: bool) -> Synced:
    made_from = kernel.made_from
    assert made_from is not None
    assert made_from.origin is not None

    def follow(environment: Environment, before: Path) -> tuple[str, Path]:
        subject = of_project(project, environment, "", tuple(made_from.more.split("\n")) if made_from.more else ())
        if subject.lock.identity == made_from.base and kernel.state == "ready":
            return "current", before
        made = update(project, subject, made_from, reporter, offline=offline, dry_run=dry_run)
        return ("outdated" if dry_run else "updated"), made.prefix

    synced = Synced(kernel.name, "kernel", Path(made_from.spec) / "kernel.json", "")
    return _synced(project, synced, kernel.folder / PREFIX, made_from.origin, follow)


def _synced(
    project: Project,
    synced: Synced,
    link: Path,
    origin: Origin,
    follow: Callable[[Environment, Path], tuple[str, Path]],
) -> Synced:
    """What became of something whose prefix is behind a link, and which `follow` lets follow."""
    try:
        before = link.readlink()
        synced = replace(synced, state="failed", before=before, after=before)
        environment = origin.of(project)
        synced = replace(synced, environment=environment.name)
        state, after = follow(environment, before)
    except EnvlockError as error:
        return replace(synced, error=error)
    except OSError as error:
        return replace(synced, state="failed", error=storage_error(error, link.parent))
    return replace(synced, state=state, after=after)
