"""Why a flow is not started: each is told before any task runs, with what repairs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from envlock.errors import ConfigError, DamageError, Location, StaleError
from envlock.model.url import strange_hosts
from envlock.words import did_you_mean

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.lockfile.summary import Summary


class FlowNotInConfig(ConfigError):
    """A flow is started with envlock that the nearest envlock.toml does not name."""

    code = "flow-not-in-config"

    def __init__(self, flow: str, config: str, flows: Sequence[str], file: str) -> None:
        near = did_you_mean(flow, flows)
        table = f'add `[flow.{flow}]` with `file = "{file}"`, then run `envlock lock`'
        super().__init__(
            f"the flow `{flow}` is not in envlock.toml",
            locations=(Location(config),),
            details=(f"flows there: {', '.join(flows) or 'none'}",),
            hint=f"{near} Else {table}" if near else table,
        )


class StepNotInConfig(ConfigError):
    """A flow that is started has a step which cannot be read from the files of its project."""

    code = "step-not-in-config"

    def __init__(self, flow: str, steps: Sequence[str], known: Sequence[str], location: Location) -> None:
        named = ", ".join(f"`{step}`" for step in steps)
        every = ", ".join(f'"{step}"' for step in (*known, *steps))
        super().__init__(
            f"envlock does not know {'the step' if len(steps) == 1 else 'the steps'} {named} of `{flow}`",
            locations=(location,),
            details=(
                f"steps that can be read: {', '.join(known) or 'none'}",
                "steps that come from outside of the project's files, or are made while it runs, have to be named",
            ),
            hint=f"write `steps = [{every}]` in `[flow.{flow}]`, then run `envlock lock`",
        )


class StaleLock(StaleError):
    """Steps ask for something else in envlock.toml than what was locked."""

    code = "stale-lock"

    def __init__(
        self, environments: Sequence[str], arch: str, reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            f"{_named(environments)} changed in envlock.toml after {_was(environments)} locked for {arch}",
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


class HostNotAllowed(DamageError):
    """A lock names a host that envlock.toml does not allow."""

    code = "host-not-allowed"

    def __init__(
        self, environments: Sequence[str], reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            f"the lock of {_named(environments)} names a host that is not allowed",
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


def refuse_strange_hosts(project: Project, summary: Summary, environments: Sequence[str]) -> None:
    """Raise HostNotAllowed for a lock with a URL on a host that envlock.toml does not allow."""
    settings = project.settings
    strange = strange_hosts(summary.all_urls(has_mirror=bool(settings.python_mirror)), settings.hosts)
    if strange:
        reasons = [f"{name} is not among the hosts of envlock.toml" for name in strange]
        at = project.locate(("envlock", "hosts"))
        raise HostNotAllowed(environments, reasons, at, "add the host to `hosts` in envlock.toml, if it is right")


class DatastoreNotLocked(StaleError):
    """A flow is started with a datastore whose client the locked environments do not hold."""

    code = "datastore-not-locked"

    def __init__(
        self,
        environments: Sequence[str],
        datastore: str,
        missing: Sequence[str],
        location: Location,
        *,
        added: bool,
        named: str = "",
    ) -> None:
        """`added` says whether envlock adds to these environments what Metaflow needs, or was told not to.

        `named` is the named environment that they are, to which nothing is added.
        """
        change = (
            f'write `datastore = "{datastore}"` in `[envlock]` of envlock.toml'
            if added
            else f"take `metaflow-requirements = false` out of envlock.toml, or ask for {', '.join(missing)} yourself"
        )
        if named:
            asked = ", ".join(f'{name} = ""' for name in missing)
            change = f"add it to `{named}`: `pypi = {{ packages = {{ {asked} }} }}` beside `named_env`"
        super().__init__(
            f"{_named(environments)} {_lacks(environments)} what Metaflow needs for the datastore `{datastore}`",
            locations=(location,),
            details=(f"not locked: {', '.join(missing)}",),
            hint=f"{change}, then run `envlock lock`",
        )


class RemoteStepsNotYet(ConfigError):
    """Steps would run on another machine, which this version of envlock cannot give a locked environment."""

    code = "remote-steps-not-yet"

    def __init__(self, flow: str, remote: Mapping[str, str], command: str) -> None:
        """`remote` names a decorator for each step that has one; `command` is the one that deploys, if one does."""
        details = [f"`{step}` runs on {decorator}" for step, decorator in remote.items()]
        if command:
            details.append(f"`{command}` runs every step of `{flow}` on other machines")
        tables = ", ".join(f"`[flow.{flow}.step.{step}]`" for step in remote)
        super().__init__(
            "locked environments for remote steps come with a later version of envlock",
            details=tuple(details),
            hint=f"run it locally, or set `disabled = true` in {tables or f'`[flow.{flow}]`'}",
        )


def _named(environments: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in environments)


def _was(environments: Sequence[str]) -> str:
    return "it was" if len(environments) == 1 else "they were"


def _lacks(environments: Sequence[str]) -> str:
    return "lacks" if len(environments) == 1 else "lack"
