"""The one environment that a flow's step, or a name, stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.config.selection import NoSuchSelection, Selection
from envlock.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.config.project import Environment, Project


class SeveralEnvironments(ConfigError):
    """One environment is needed, and what was said stands for several."""

    code = "several-environments"

    def __init__(self, names: Sequence[str], named: Sequence[str]) -> None:
        self.names = tuple(names)
        first = names[0]
        flow, _, step = first.partition("/")
        super().__init__(
            "several environments are meant, and one is needed",
            locations=(Location("envlock.toml"),),
            details=tuple(f"{name}" for name in names),
            hint="say which: " + (f"`--env {first}`" if first in named else f"`--flow {flow} --step {step}`"),
        )


class StepDisabled(ConfigError):
    """A step has no environment of its own."""

    code = "step-disabled"

    def __init__(self, name: str, location: Location) -> None:
        super().__init__(
            f"`{name}` is disabled: it has no environment, and runs in the interpreter that starts the flow",
            locations=(location,),
            hint="take `disabled = true` away there, or name another step",
        )


class NoEnvironments(ConfigError):
    """envlock.toml describes no environment."""

    code = "no-environments"

    def __init__(self, path: str) -> None:
        super().__init__(
            "envlock.toml describes no environment",
            locations=(Location(path),),
            hint="add a `[flow.NAME]` or an `[env.NAME]` table",
        )


def choose_one(project: Project, *, flow: str = "", step: str = "", environment: str = "") -> Environment:
    """The environment of a step, or of an `[env.*]` table; empty words are left open.

    Steps that ask for the same count as one. Raises NoSuchSelection, SeveralEnvironments, StepDisabled, NoEnvironments.
    """
    if environment:
        return Selection(environments=(environment,)).choose(project)[0]
    if not (flow or step):
        meant: list[tuple[str, Environment | None]] = [(each.name, each) for each in project.environments()]
    else:
        Selection(flows=(flow,) if flow else (), steps=(step,) if step else ()).choose(project)
        meant = _steps(project, flow, step)
    if not meant:
        if flow and step:
            raise NoSuchSelection("step", f"{flow}/{step}", [name for name, _ in _steps(project, flow, "")])
        raise NoEnvironments(project.path.name)
    if len({each.requirements.req_id if each else "" for _, each in meant}) > 1:
        raise SeveralEnvironments([name for name, _ in meant], [each.name for each in project.named])
    name, chosen = meant[0]
    if chosen is None:
        raise StepDisabled(name, project.locate(("flow", *_halves(name))))
    return chosen


def _steps(project: Project, flow: str, step: str) -> list[tuple[str, Environment | None]]:
    return [
        (f"{each.name}/{one.name}", one.environment)
        for each in project.flows
        for one in each.steps
        if flow in {"", each.name} and step in {"", one.name, f"{each.name}/{one.name}"}
    ]


def _halves(name: str) -> tuple[str, str, str]:
    flow, _, step = name.partition("/")
    return flow, "step", step
