"""The one environment that a flow's step, or a name, stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.config.errors import NoSuchSelection
from envlock.config.selection import Selection
from envlock.errors import ConfigError, Location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from envlock.config.project import Environment, KeyPath, Project

    Meant: TypeAlias = tuple[str, KeyPath, Environment | None]


class SeveralEnvironments(ConfigError):
    """One environment is needed, and what was said stands for several."""

    code = "several-environments"

    def __init__(self, names: Sequence[str], key: KeyPath) -> None:
        """`key` is the table of one of them."""
        from envlock.config.edit.add_remove import options_of

        self.names = tuple(names)
        super().__init__(
            "several environments are meant, and one is needed",
            locations=(Location("envlock.toml"),),
            details=tuple(names),
            hint=f"say which: `{options_of(key)}`",
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
        meant: list[Meant] = [(each.name, each.key, each) for each in project.environments()]
    else:
        Selection(flows=(flow,) if flow else (), steps=(step,) if step else ()).choose(project)
        meant = _steps(project, flow, step)
    if not meant:
        if flow and step:
            raise NoSuchSelection("step", f"{flow}/{step}", [name for name, *_ in _steps(project, flow, "")])
        raise NoEnvironments(project.path.name)
    name, key, chosen = meant[0]
    if len({each.requirements.req_id if each else "" for *_, each in meant}) > 1:
        raise SeveralEnvironments([name for name, *_ in meant], key)
    if chosen is None:
        raise StepDisabled(name, project.locate(key))
    return chosen


def _steps(project: Project, flow: str, step: str) -> list[Meant]:
    return [
        (f"{each.name}/{one.name}", ("flow", each.name, "step", one.name), one.environment)
        for each in project.flows
        for one in each.steps
        if flow in {"", each.name} and step in {"", one.name, f"{each.name}/{one.name}"}
    ]
