"""The part of a project that a command works on: `--flow`, `--step`, `--env`, `--arch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from envlock.config.project import Environment, Flow, Project
from envlock.model.arch import Arch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from envlock.config.project import KeyPath

    _Meant: TypeAlias = tuple[str, KeyPath, Environment | None]


class Selection(NamedTuple):
    """The flows, steps, environments and archs of the command line; empty for everything."""

    flows: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    archs: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether it is empty."""
        return self == Selection()

    def doubtful_flows(self, project: Project) -> tuple[Flow, ...]:
        """The selected flows that may have steps which envlock cannot read.

        None if steps are selected: who names steps knows them, as Metaflow does.
        """
        if self.steps or (self.environments and not self.flows):
            return ()
        return tuple(flow for flow in project.flows if flow.doubts and (not self.flows or flow.name in self.flows))

    def choose(self, project: Project) -> tuple[Environment, ...]:
        """The selected environments. Raises NoSuchSelection."""
        flows = [flow.name for flow in project.flows]
        steps = [step.name for flow in project.flows for step in flow.steps]
        named = [environment.name for environment in project.named]
        _all_known("flow", self.flows, flows)
        _all_known("step", self.steps, [*steps, *(f"{f.name}/{s.name}" for f in project.flows for s in f.steps)])
        _all_known("environment", self.environments, named)
        if not (self.flows or self.steps or self.environments):
            return project.environments()
        chosen = [
            step.environment
            for flow in project.flows
            for step in flow.steps
            if (self.flows or self.steps)
            and (not self.flows or flow.name in self.flows)
            and (not self.steps or step.name in self.steps or f"{flow.name}/{step.name}" in self.steps)
        ]
        chosen += [environment for environment in project.named if environment.name in self.environments]
        return tuple(environment for environment in chosen if environment is not None)

    def choose_archs(self, project: Project) -> tuple[Arch, ...]:
        """The selected archs of the project. Raises NoSuchSelection."""
        _all_known("arch", self.archs, project.settings.archs)
        return tuple(arch for arch in project.settings.archs if not self.archs or arch in self.archs)


def _all_known(kind: str, found: Sequence[str], right: Sequence[str]) -> None:
    for name in found:
        if name not in right:
            from envlock.config.errors import NoSuchSelection

            raise NoSuchSelection(kind, name, list(dict.fromkeys(right)))


def choose_one(project: Project, *, flow: str = "", step: str = "", environment: str = "") -> Environment:
    """The environment of a step, or of an `[env.*]` table; an empty name leaves the choice open.

    Steps with the same requirements count as one. Raises NoSuchSelection, SeveralEnvironments, StepDisabled,
    NoEnvironments.
    """
    if environment:
        return Selection(environments=(environment,)).choose(project)[0]
    if not (flow or step):
        meant: list[_Meant] = [(each.name, each.key, each) for each in project.environments()]
    else:
        Selection(flows=(flow,) if flow else (), steps=(step,) if step else ()).choose(project)
        meant = _steps(project, flow, step)
    ids = {each.requirements.req_id if each else "" for *_, each in meant}
    name, key, chosen = meant[0] if meant else ("", (), None)
    if chosen is not None and len(ids) == 1:
        return chosen
    from envlock.config.errors import NoEnvironments, NoSuchSelection, SeveralEnvironments, StepDisabled

    if len(ids) > 1:
        raise SeveralEnvironments([name for name, *_ in meant], key)
    if meant:
        raise StepDisabled(name, project.locate(key))
    if flow and step:
        raise NoSuchSelection("step", f"{flow}/{step}", [name for name, *_ in _steps(project, flow, "")])
    raise NoEnvironments(project.path.name)


def _steps(project: Project, flow: str, step: str) -> list[_Meant]:
    return [
        (f"{each.name}/{one.name}", ("flow", each.name, "step", one.name), one.environment)
        for each in project.flows
        for one in each.steps
        if flow in {"", each.name} and step in {"", one.name, f"{each.name}/{one.name}"}
    ]
