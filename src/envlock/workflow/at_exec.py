"""Environments that are looked up when a step starts: `fetch_at_exec`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from envlock.config.base_errors import BadNamedEnv, NamedEnvVariableUnset
from envlock.config.named import named
from envlock.model.alias import BadAlias, MissingVariable, substituted
from envlock.workflow.base_errors import BaseLacksArch
from envlock.workflow.bases import Bases
from envlock.workflow.launch import Plan, refuse_unserved_datastore

if TYPE_CHECKING:
    from envlock.config.project import Environment, Project
    from envlock.model.arch import Arch
    from envlock.model.lock import Lock


def fetch(planned: Plan, step: str, values: Mapping[str, str]) -> Lock:
    """The lock of what a step's name stands for now; `values` are the variables that only the run knows.

    Those of this process's environment come before them. Raises as `looked_up`, and DatastoreNotLocked.
    """
    environment = planned.fetched[step]
    lock = looked_up(planned.project, environment, planned.arch, values)
    refuse_unserved_datastore(planned.project, planned.datastore, {environment: lock})
    return lock


def looked_up(project: Project, environment: Environment, arch: Arch, values: Mapping[str, str]) -> Lock:
    """The lock of an environment whose name is looked up now, and never pinned.

    Raises NamedEnvVariableUnset, BadNamedEnv, BaseLacksArch, and what finding an environment in the cache raises.
    """
    base = environment.base
    assert base is not None
    at = project.locate(base.key)
    try:
        meant = named(base.kind, substituted(base.written, {**values, **os.environ}))
    except MissingVariable as missing:
        raise NamedEnvVariableUnset(base.written, missing.variable, at) from None
    except BadAlias as bad:
        raise BadNamedEnv(base.kind, bad.text, bad.reason, at) from None
    bases = Bases(project)
    pin = bases.look_up(base._replace(meant=meant))
    if pin.full_id(arch) is None:
        raise BaseLacksArch((environment.name,), pin, arch, at)
    return bases.lock(pin, arch)
