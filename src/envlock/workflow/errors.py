"""Why locks cannot be used, and why a flow is not started: raised before any task runs, with the repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envlock.errors import ConfigError, DamageError, Location, StaleError
from envlock.words import did_you_mean


class FlowNotInConfig(ConfigError):
    """The flow that is started is not in the nearest envlock.toml."""

    code = "flow-not-in-config"
    message = "the flow `{flow}` is not in envlock.toml"
    details = ("flows there: {flows}",)
    hint = '{near}add `[flow.{flow}]` with `file = "{file}"`, then run `envlock lock`'

    def __init__(self, flow: str, config: str, flows: Sequence[str], file: str) -> None:
        near = did_you_mean(flow, flows)
        super().__init__(
            flow=flow,
            flows=", ".join(flows) or "none",
            file=file,
            near=f"{near} Else " if near else "",
            locations=(Location(config),),
        )


class StepNotInConfig(ConfigError):
    """The flow that is started has a step that envlock does not find in the project's files."""

    code = "step-not-in-config"
    message = "envlock does not know the {steps} of `{flow}`"
    details = (
        "steps that envlock finds: {known}",
        "envlock cannot find steps that come from files outside of the project, or are made at run time",
    )
    hint = "write `steps = [{every}]` in `[flow.{flow}]`, then run `envlock lock`"

    def __init__(self, flow: str, steps: Sequence[str], known: Sequence[str], location: Location) -> None:
        super().__init__(
            flow=flow,
            steps=f"step{'' if len(steps) == 1 else 's'} {_quoted(steps)}",
            known=", ".join(known) or "none",
            every=", ".join(f'"{step}"' for step in (*known, *steps)),
            locations=(location,),
        )


class StaleLock(StaleError):
    """The requirements of some steps changed in envlock.toml since they were locked."""

    code = "stale-lock"
    message = "{environments} changed in envlock.toml after {they_were} locked for {arch}"

    def __init__(
        self, environments: Sequence[str], arch: str, reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            environments=_quoted(environments),
            they_were="it was" if len(environments) == 1 else "they were",
            arch=arch,
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


class HostNotAllowed(DamageError):
    """A lock has a URL on a host that envlock.toml does not allow."""

    code = "host-not-allowed"
    message = "the lock of {environments} names a host that is not allowed"

    def __init__(
        self, environments: Sequence[str], reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            environments=_quoted(environments),
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


class DatastoreNotLocked(StaleError):
    """A flow is started with a datastore, and the locked environments lack the client for it."""

    code = "datastore-not-locked"
    message = "{environments} {lack} what Metaflow needs for the datastore `{datastore}`"
    details = ("not locked: {missing}",)
    hint = "{change}, then run `envlock lock`"

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
        packages = ", ".join(missing)
        if named:
            tables = ", ".join(f'{name} = ""' for name in missing)
            change = f"add it to `{named}`: `pypi = {{ packages = {{ {tables} }} }}` beside `named_env`"
        elif added:
            change = f'write `datastore = "{datastore}"` in `[envlock]` of envlock.toml'
        else:
            change = f"remove `metaflow-requirements = false` from envlock.toml, or require {packages} yourself"
        super().__init__(
            environments=_quoted(environments),
            lack="lacks" if len(environments) == 1 else "lack",
            datastore=datastore,
            missing=packages,
            change=change,
            locations=(location,),
        )


class RemoteStepsNotYet(ConfigError):
    """Steps would run on other machines, which this version of envlock does not support."""

    code = "remote-steps-not-yet"
    message = "this version of envlock cannot run steps on other machines in locked environments"
    hint = "run it locally, or set `disabled = true` in {tables}"

    def __init__(self, flow: str, remote: Mapping[str, str], command: str) -> None:
        """`remote` has the decorator of each step that has one; `command` is the command that deploys, if one does."""
        details = [f"`{step}` runs on {decorator}" for step, decorator in remote.items()]
        if command:
            details.append(f"`{command}` runs every step of `{flow}` on other machines")
        tables = _quoted([f"[flow.{flow}.step.{step}]" for step in remote] or [f"[flow.{flow}]"])
        super().__init__(tables=tables, details=tuple(details))


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
