"""The options that several commands share, what they mean, and what a shell completes them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.errors import EnvlockError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.config.project import Project
    from envlock.config.selection import Selection


def open_project(config: Path | None) -> Project:
    """The project of `--config`, or of the nearest envlock.toml at or above the working folder.

    Raises ConfigError.
    """
    from envlock.config.read import find_config, load_project

    return load_project(config.absolute() if config is not None else find_config(Path.cwd()))


def selection(
    flows: Iterable[str] | None = None,
    steps: Iterable[str] | None = None,
    environments: Iterable[str] | None = None,
    archs: Iterable[str] | None = None,
) -> Selection:
    """What `--flow`, `--step`, `--env` and `--arch` choose. Raises UnknownArch."""
    from envlock.config.selection import Selection
    from envlock.model.arch import parse_arch

    return Selection(
        flows=tuple(flows or ()),
        steps=tuple(steps or ()),
        environments=tuple(environments or ()),
        archs=tuple(parse_arch(arch) for arch in archs or ()),
    )


def _nearby_project() -> Project | None:
    """The project of the working folder, where there is a whole one: a shell's completion has no room for errors."""
    try:
        return open_project(None)
    except (EnvlockError, OSError):
        return None


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_flow(incomplete: str) -> list[str]:
    """Flows of the project."""
    project = _nearby_project()
    return _starting((flow.name for flow in project.flows), incomplete) if project else []


def complete_step(incomplete: str) -> list[str]:
    """Steps of the project's flows."""
    project = _nearby_project()
    return _starting((step.name for flow in project.flows for step in flow.steps), incomplete) if project else []


def complete_environment(incomplete: str) -> list[str]:
    """Named environments of the project."""
    project = _nearby_project()
    return _starting((environment.name for environment in project.named), incomplete) if project else []


def complete_alias(incomplete: str) -> list[str]:
    """Names in the project's cache, where that is a folder: a shell does not wait for a bucket."""
    project = _nearby_project()
    if project is None:
        return []
    from envlock.cache.open import open_store
    from envlock.named.history import Aliases

    try:
        if "://" in project.cache_url:
            return []
        store = open_store(project.cache_url, project.cache_options)
        return [str(alias) for alias in Aliases(store).names(incomplete)]
    except (EnvlockError, OSError):
        return []


def complete_arch(incomplete: str) -> list[str]:
    """Architectures: the project's, or all."""
    from envlock.model.arch import ARCHS

    project = _nearby_project()
    return _starting(project.settings.archs if project else ARCHS, incomplete)


# typer reads these annotations when it runs, on Python 3.10 too.
FlowOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--flow", metavar="FLOW", autocompletion=complete_flow, help="Only this flow. Repeatable."),
]
StepOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--step", metavar="STEP", autocompletion=complete_step, help="Only this step. Repeatable."),
]
EnvOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--env", metavar="NAME", autocompletion=complete_environment, help="Only this `[env.NAME]`. Repeatable."
    ),
]
ArchOption = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--arch", metavar="ARCH", autocompletion=complete_arch, help="Only this architecture. Repeatable."),
]
PathspecOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--pathspec", metavar="FLOW/RUN/STEP[/TASK]", help="The environment that this task ran in."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigOption = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--config", metavar="PATH", help="The envlock.toml to use. Default: the nearest at or above the working folder."
    ),
]
