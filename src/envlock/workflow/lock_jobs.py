"""What there is to lock: each set of requirements, or named environment, for each arch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from envlock.config.project import Environment, KeyPath, Project
from envlock.errors import ConfigError, EnvlockError
from envlock.model.arch import Arch
from envlock.model.requirements import Requirements
from envlock.model.url import strip_channel_credentials, strip_credentials
from envlock.named.pin import Pin
from envlock.resolve.errors import IndexUnreachable, NotYet

_Result = TypeVar("_Result")

_WORKERS = min(8, max(2, os.cpu_count() or 1))
"""Solves at a time. Each opens up to fifty connections to the index: four at once on two processors were measured to
take twice as long as two at once."""
_PATIENCE = 4.0
"""Seconds without any answer, after which the indexes are asked for a sign of life, and as long to give one."""
_CONDA_WORKERS = 8
"""The same where all are of conda packages: they share what is read of the channels, so the archs are read together."""


@dataclass(frozen=True)
class Job:
    """One set of requirements for one arch, and the environments that ask it."""

    environments: tuple[Environment, ...]
    arch: Arch

    @property
    def requirements(self) -> Requirements:
        """What is asked."""
        return self.environments[0].requirements

    @property
    def pin(self) -> Pin | None:
        """What the environments are, where they are a named one and nothing else."""
        base = self.environments[0].base
        return base.pin if base is not None and not base.extends else None

    @property
    def extended(self) -> Pin | None:
        """What the environments extend, where they do."""
        base = self.environments[0].base
        return base.pin if base is not None and base.extends else None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the environments."""
        return tuple(environment.name for environment in self.environments)


def jobs_of(environments: Sequence[Environment], archs: Sequence[Arch]) -> list[Job]:
    """One for each arch and all environments that ask for the same."""
    # A named environment may be another solution of what a second environment asks for.
    groups: dict[tuple[str, object], list[Environment]] = {}
    for environment in environments:
        base = environment.base
        named = base.pin.full_ids if base is not None and base.pin is not None and not base.extends else None
        groups.setdefault((environment.requirements.req_id, named), []).append(environment)
    return [Job(tuple(group), arch) for group in groups.values() for arch in archs]


def workers(jobs: Sequence[Job]) -> int:
    """How many of them are solved at a time."""
    most = _CONDA_WORKERS if all(job.requirements.type == "conda" for job in jobs) else _WORKERS
    return min(most, len(jobs) or 1)


def unfit_urls(project: Project, jobs: Iterable[Job]) -> list[ConfigError]:
    """An error for each URL that these jobs ask, and that is none once its variables are filled in, with its places.

    An index that is passed over would leave its packages to the next one, which may be anybody's.
    """
    asked: dict[tuple[str, str, str], list[KeyPath | None]] = {}
    for environment in dict.fromkeys(each for job in jobs for each in job.environments):
        origins = dict(environment.origins)
        rows: list[tuple[str, str, KeyPath | None]] = [
            *(("index", url, origins.get(strip_credentials(url))) for url in environment.index_urls),
            *(("index", url, origins.get(strip_credentials(url))) for url in environment.package_index_urls),
            ("index", environment.default_index_url, ("envlock", "index-url")),
            *(("channel", url, origins.get(strip_channel_credentials(url))) for url in environment.channel_urls),
            *(("package", root.url, origins.get(root.name)) for root in environment.requirements.pypi),
        ]
        for kind, written, key in rows:
            asked.setdefault((kind, written, ""), []).append(key)
        if environment.requirements.has_conda:
            for channel, url in project.settings.channel_mirrors:
                asked["mirror", url, channel] = [("envlock", "channel-mirrors", channel)]
    errors: list[ConfigError] = []
    for (kind, written, channel), keys in asked.items():
        if "${" in written + channel:
            try:
                _fill_in(kind, written, channel)
            except ConfigError as error:
                errors.append(error.at(*dict.fromkeys(project.locate(key) for key in keys if key)))
    return errors


def _fill_in(kind: str, written: str, channel: str) -> None:
    """Raise UnsetVariable or BadVariable where a URL cannot be filled in."""
    from envlock.conda.channels import channel_address, mirrors_in_force
    from envlock.credentials import address
    from envlock.resolve.uv_compile import wheel_address

    if kind == "mirror":
        mirrors_in_force([(channel, written)])
    elif kind == "channel":
        channel_address(written)
    elif kind == "package":
        wheel_address(written)
    else:
        address(written)


def outcomes(
    futures: Mapping[Future[_Result], tuple[int, Job]], *, offline: bool = False
) -> Iterator[tuple[int, Job, _Result | EnvlockError]]:
    """What becomes of each job, as they end: its result, or why it failed.

    Where none ends for a while, the indexes are asked for a sign of life. Raises IndexUnreachable for all jobs where
    nobody is at an index.
    """
    jobs = [job for _, job in futures.values()]
    ended, pending = wait(futures, timeout=None if offline else _PATIENCE, return_when=FIRST_COMPLETED)
    if pending and not ended:
        from envlock.resolve.index_check import silent

        urls = {url for job in jobs for url in job.environments[0].every_index_url}
        quiet = silent(sorted(urls), seconds=_PATIENCE)
        if quiet and not any(future.done() for future in futures):
            raise _nobody_at(quiet, jobs)
    for future in chain(ended, as_completed(pending)):
        number, job = futures[future]
        try:
            yield number, job, future.result()
        except IndexUnreachable as error:
            if error.nobody_there:
                raise _nobody_at(error.packages, jobs, error.details) from None
            yield number, job, error
        except EnvlockError as error:  # each fails for itself; all failures are shown
            yield number, job, error


def _nobody_at(indexes: Sequence[str], jobs: Sequence[Job], details: tuple[str, ...] = ()) -> IndexUnreachable:
    names = [name for job in jobs for name in job.names]
    return IndexUnreachable.by(names, [job.arch for job in jobs], indexes, details)


def not_yet(project: Project, environments: Sequence[Environment]) -> list[NotYet]:
    """An error for each table that cannot be resolved yet, with the environments that it is for."""
    names: dict[tuple[str, KeyPath], list[str]] = {}
    for environment in environments:
        for deferred in environment.deferred[:1]:
            names.setdefault(deferred, []).append(environment.name)
    return [NotYet(", ".join(each), table, location=project.locate(key)) for (table, key), each in names.items()]
