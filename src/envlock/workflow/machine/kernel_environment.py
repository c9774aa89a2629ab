"""The environment of a Jupyter kernel: a locked one, extended by ipykernel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from envlock.config.project import Base, Environment
from envlock.model.arch import host_arch
from envlock.model.conda_requirement import CondaRequirement, parse_conda_requirement
from envlock.model.requirement import PypiRequirement, parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import is_links_of_folder, strip_channel_credentials, strip_credentials
from envlock.named.bases import Bases
from envlock.named.pin import Pin, with_pin
from envlock.words import listed
from envlock.workflow.hydrate import find_lock
from envlock.workflow.machine.errors import IpykernelDoesNotFit
from envlock.workflow.machine.local_names import Origin

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Project
    from envlock.model.lock import Lock
    from envlock.reporter import Reporter

IPYKERNEL = "ipykernel"


@dataclass(frozen=True)
class Subject:
    """The locked environment that a kernel is for."""

    name: str
    """What messages call it: `TrainFlow/train`, `team/base:v1`."""
    lock: Lock
    environment: Environment | None = None
    """The environment of the project; None for what is of no project."""
    origin: Origin | None = None
    """How the project names it, so that a newer lock is noticed."""
    options: str = ""
    """How a command line names it, quoted for a shell."""
    more: tuple[str, ...] = ()
    """What the kernel has beside ipykernel: requirements of PyPI packages, or of conda packages where the
    environment has no others."""


def of_project(project: Project, chosen: Environment, options: str, more: tuple[str, ...] = ()) -> Subject:
    """An environment of a project, with its lock for this machine. Raises as `find_lock`."""
    kind, *names = chosen.key
    of_table = Origin(project.path, environment=names[0])
    origin = of_table if kind == "env" else Origin(project.path, flow=names[0], step=names[2])
    return Subject(chosen.name, find_lock(project, chosen, host_arch()), chosen, origin, options, more)


def resolve(project: Project, subject: Subject, folder: Path, reporter: Reporter, *, offline: bool = False) -> Lock:
    """The lock of a kernel's environment: the locked one, extended by ipykernel and what else the kernel has.

    The same lock where that has ipykernel, and nothing else is asked for. `folder` has the locks that the kernel had:
    what still serves is kept, so nothing is solved while the locked environment stays the same. Raises
    IpykernelDoesNotFit, what else resolving raises, and ConfigError for what is no requirement.
    """
    from envlock.resolve.errors import (
        ConflictWithConda,
        NoCondaBuild,
        NoSolution,
        NoSuchCondaPackage,
        NoSuchPackage,
        NoWheel,
    )
    from envlock.workflow.locking.jobs import Job, Upgrade
    from envlock.workflow.locking.previous_locks import PreviousLocks
    from envlock.workflow.locking.solve import Solver

    if not subject.more and any(package.name == IPYKERNEL for package in subject.lock.packages):
        return subject.lock
    settings = project.settings._replace(use_remote_latest=":none:")
    alone = project._replace(flows=(), named=(), locks=folder, settings=settings)
    job = Job((_with_ipykernel(project, subject),), subject.lock.arch)
    solver = Solver(
        alone,
        PreviousLocks(alone),
        Bases(project, known=(subject.lock,)),
        Upgrade(),
        reporter,
        resolver=None,
        moment=datetime.now(timezone.utc),
        offline=offline,
    )
    try:
        done = solver.run([job])[job]
    except (NoSolution, ConflictWithConda, NoWheel, NoSuchPackage, NoSuchCondaPackage, NoCondaBuild) as error:
        reason = error.message.removeprefix(f"{job.names[0]} on {job.arch}: ")
        raise IpykernelDoesNotFit(listed([IPYKERNEL, *subject.more]), subject.name, reason, error.details) from None
    assert done.lock is not None
    return done.lock


def _with_ipykernel(project: Project, subject: Subject) -> Environment:
    """The environment that extends the locked one: by the conda package if it has conda packages alone."""
    locked = subject.lock.requirements
    own = Requirements(
        python=locked.python,
        python_from=locked.python_from,
        indexes=locked.indexes,
        default_index=locked.default_index,
        pip_flags=locked.pip_flags,
        find_links=tuple(url for url in locked.find_links if not is_links_of_folder(url)),
        exclude_newer=locked.exclude_newer,
        overrides=locked.overrides,
    )
    if locked.type == "conda":
        packages = (CondaRequirement(IPYKERNEL), *map(parse_conda_requirement, subject.more))
        own = own._replace(conda=packages, channels=locked.channels, channel_priority=locked.channel_priority)
    else:
        own = own._replace(pypi=(PypiRequirement(IPYKERNEL), *map(parse_requirement, subject.more)))
    reference = subject.name
    pin = Pin("name", reference, locked, ((subject.lock.arch, subject.lock.full_id),))
    base = Base("name", reference, (), own, extends=True, reference=reference)
    urls = _Urls(project, subject.environment)
    made = Environment(
        f"the kernel of {subject.name}",
        own,
        index_urls=tuple(map(urls.index, own.indexes)),
        default_index_url=urls.index(own.default_index),
        find_links_urls=tuple(map(urls.index, own.find_links)),
        channel_urls=tuple(map(urls.channel, own.channels)),
        base=base,
    )
    return with_pin(made, pin)


class _Urls:
    """The URLs of a lock as the project writes them: with credentials and variables."""

    def __init__(self, project: Project, environment: Environment | None) -> None:
        every = (environment,) if environment is not None else project.environments()
        self._indexes = {strip_credentials(url): url for each in every for url in each.every_index_url}
        self._channels = {strip_channel_credentials(url): url for each in every for url in each.channel_urls}

    def index(self, url: str) -> str:
        return self._indexes.get(url, url)

    def channel(self, url: str) -> str:
        return self._channels.get(url, url)
