"""What there is to lock: each set of requirements, or named environment, for each arch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from envlock.config.project import Environment, KeyPath, Project
from envlock.model.arch import Arch
from envlock.model.pin import Pin
from envlock.model.requirements import Requirements
from envlock.resolve.errors import NotYet

_WORKERS = min(8, max(2, os.cpu_count() or 1))
"""Solves at a time. Each opens up to fifty connections to the index: four at once on two processors were measured to
take twice as long as two at once."""
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


def not_yet(project: Project, environments: Sequence[Environment]) -> list[NotYet]:
    """An error for each table that cannot be resolved yet, with the environments that it is for."""
    names: dict[tuple[str, KeyPath], list[str]] = {}
    for environment in environments:
        for deferred in environment.deferred[:1]:
            names.setdefault(deferred, []).append(environment.name)
    return [NotYet(", ".join(each), table, location=project.locate(key)) for (table, key), each in names.items()]
