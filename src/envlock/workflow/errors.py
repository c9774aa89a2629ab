"""Why locks cannot be used, and why a flow is not started: raised before any task runs, with the repair."""

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
    """The flow that is started is not in the nearest envlock.toml."""

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
    """The flow that is started has a step that envlock does not find in the project's files."""

    code = "step-not-in-config"

    def __init__(self, flow: str, steps: Sequence[str], known: Sequence[str], location: Location) -> None:
        named = ", ".join(f"`{step}`" for step in steps)
        every = ", ".join(f'"{step}"' for step in (*known, *steps))
        super().__init__(
            f"envlock does not know {'the step' if len(steps) == 1 else 'the steps'} {named} of `{flow}`",
            locations=(location,),
            details=(
                f"steps that envlock finds: {', '.join(known) or 'none'}",
                "envlock cannot find steps that come from files outside of the project, or are made at run time",
            ),
            hint=f"write `steps = [{every}]` in `[flow.{flow}]`, then run `envlock lock`",
        )


class StaleLock(StaleError):
    """The requirements of some steps changed in envlock.toml since they were locked."""

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
    """A lock has a URL on a host that envlock.toml does not allow."""

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
        raise HostNotAllowed(environments, reasons, at, "if you trust the host, add it to `hosts` in envlock.toml")


class DatastoreNotLocked(StaleError):
    """A flow is started with a datastore, and the locked environments lack the client for it."""

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
        """`added` is whether envlock adds Metaflow's requirements to these environments.

        `named` is the named environment that they are, if they are one: nothing is added to that.
        """
        change = (
            f'write `datastore = "{datastore}"` in `[envlock]` of envlock.toml'
            if added
            else f"take `metaflow-requirements = false` out of envlock.toml, or require {', '.join(missing)} yourself"
        )
        if named:
            tables = ", ".join(f'{name} = ""' for name in missing)
            change = f"add it to `{named}`: `pypi = {{ packages = {{ {tables} }} }}` beside `named_env`"
        super().__init__(
            f"{_named(environments)} {_lacks(environments)} what Metaflow needs for the datastore `{datastore}`",
            locations=(location,),
            details=(f"not locked: {', '.join(missing)}",),
            hint=f"{change}, then run `envlock lock`",
        )


class RemoteStepsNotYet(ConfigError):
    """Steps would run on other machines, which this version of envlock does not support."""

    code = "remote-steps-not-yet"

    def __init__(self, flow: str, remote: Mapping[str, str], command: str) -> None:
        """`remote` has the decorator of each step that has one; `command` is the command that deploys, if one does."""
        details = [f"`{step}` runs on {decorator}" for step, decorator in remote.items()]
        if command:
            details.append(f"`{command}` runs every step of `{flow}` on other machines")
        tables = ", ".join(f"`[flow.{flow}.step.{step}]`" for step in remote)
        super().__init__(
            "this version of envlock cannot run steps on other machines in locked environments",
            details=tuple(details),
            hint=f"run it locally, or set `disabled = true` in {tables or f'`[flow.{flow}]`'}",
        )


def _named(environments: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in environments)


def _was(environments: Sequence[str]) -> str:
    return "it was" if len(environments) == 1 else "they were"


def _lacks(environments: Sequence[str]) -> str:
    return "lacks" if len(environments) == 1 else "lack"
