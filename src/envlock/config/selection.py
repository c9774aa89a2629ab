"""The part of a project that a command works on: `--flow`, `--step`, `--env`, `--arch`."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.config.project import Environment, Flow, Project
from envlock.model.arch import Arch
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.config.project import KeyPath


class Choice(NamedTuple):
    """A step of a flow, or an `[env.*]` table."""

    flow: str
    """Empty for a table."""
    step: str
    """The step's name, or the table's."""
    environment: Environment | None
    """None for a step that is disabled."""

    @property
    def name(self) -> str:
        """`Flow/step`, or the table's name."""
        return f"{self.flow}/{self.step}" if self.flow else self.step

    @property
    def key(self) -> KeyPath:
        """Its table in envlock.toml."""
        return ("flow", self.flow, "step", self.step) if self.flow else ("env", self.step)


def steps_of(project: Project) -> list[Choice]:
    """Every step of the project's flows."""
    return [Choice(flow.name, step.name, step.environment) for flow in project.flows for step in flow.steps]


def tables_of(project: Project) -> list[Choice]:
    """Every `[env.*]` table of the project."""
    return [Choice("", each.name, each) for each in project.named]


def options_of(key: KeyPath) -> str:
    """The options that name a table of envlock.toml: a flow's, a step's or an `[env.*]` one.

    >>> options_of(("flow", "Train", "step", "fit"))
    '--flow Train --step fit'
    """
    from shlex import quote

    if key[0] == "env":
        return f"--env {quote(key[1])}"
    return f"--flow {quote(key[1])}" + (f" --step {quote(key[3])}" if len(key) > 2 else "")


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
        if not (self.flows or self.steps or self.environments):
            return project.environments()
        steps, tables = steps_of(project), tables_of(project)
        _all_known(project, "flow", self.flows, [flow.name for flow in project.flows])
        _all_known(project, "step", self.steps, [*(each.step for each in steps), *(each.name for each in steps)])
        _all_known(project, "environment", self.environments, [each.name for each in tables])
        chosen = [
            each
            for each in (steps if self.flows or self.steps else ())
            if (not self.flows or each.flow in self.flows)
            and (not self.steps or each.step in self.steps or each.name in self.steps)
        ]
        chosen += [each for each in tables if each.name in self.environments]
        return tuple(each.environment for each in chosen if each.environment is not None)

    def choose_archs(self, project: Project) -> tuple[Arch, ...]:
        """The selected archs of the project. Raises NoSuchSelection."""
        _all_known(project, "arch", self.archs, project.settings.archs)
        return tuple(arch for arch in project.settings.archs if not self.archs or arch in self.archs)


def _all_known(project: Project, kind: str, found: Sequence[str], right: Sequence[str]) -> None:
    for name in found:
        if name not in right:
            from envlock.config.errors import NoSuchSelection

            raise NoSuchSelection(kind, name, list(dict.fromkeys(right)), project.path.name)


def steps_named(project: Project, *, flow: str = "", step: str = "") -> list[Choice]:
    """The steps with these names, disabled or not; an empty name leaves the choice open. Raises NoSuchSelection."""
    Selection(flows=(flow,) if flow else (), steps=(step,) if step else ()).choose(project)
    of_flow = [each for each in steps_of(project) if flow in {"", each.flow}]
    chosen = [each for each in of_flow if step in {"", each.step, each.name}]
    if step and not chosen:
        _all_known(project, "step", [f"{flow}/{step}"], [each.name for each in of_flow])
    return chosen


def choose_one(
    project: Project, *, flow: str = "", step: str = "", environment: str = "", by_options: bool = True
) -> Environment:
    """The environment of a step, or of an `[env.*]` table; an empty name leaves the choice open.

    `by_options` says whether a user names one by options, or else by a reference.

    Steps with the same requirements count as one. Raises NoSuchSelection, SeveralEnvironments, StepDisabled,
    NoEnvironments.
    """
    if environment:
        return Selection(environments=(environment,)).choose(project)[0]
    if flow or step:
        choices = steps_named(project, flow=flow, step=step)
    else:
        choices = [each for each in (*steps_of(project), *tables_of(project)) if each.environment is not None]
    return one_of(project, choices, by_options=by_options)


def one_of(project: Project, choices: Sequence[Choice], *, by_options: bool = False) -> Environment:
    """The environment that all of these have, as `choose_one` gives it.

    Raises SeveralEnvironments, StepDisabled, NoEnvironments.
    """
    ids = {each.environment.requirements.req_id if each.environment else "" for each in choices}
    if len(ids) == 1 and choices[0].environment is not None:
        return choices[0].environment
    from envlock.config.errors import NoEnvironments, SeveralEnvironments, StepDisabled

    if len(ids) > 1:
        names = [each.name for each in choices]
        raise SeveralEnvironments(names, choices[0].key, project.path.name, by_options=by_options)
    if choices:
        raise StepDisabled(choices[0].name, project.locate(choices[0].key))
    raise NoEnvironments(project.path.name)
