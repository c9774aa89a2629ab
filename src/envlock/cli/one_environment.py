"""The options of the commands that work on one environment: `run`, `path`, `create`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from envlock.cli.light.wanted import Wanted
from envlock.cli.options import ConfigOption, complete_environment, complete_flow, complete_step

__all__ = [
    "ConfigOption",
    "ForceOption",
    "KeepOption",
    "NameOption",
    "OfflineOption",
    "OneEnv",
    "OneFlow",
    "OneStep",
    "wanted",
]


def complete_name(incomplete: str) -> list[str]:
    """Names that `envlock create --name` gave on this machine."""
    from envlock.places import home

    folder = home() / "named"
    return sorted(link.name for link in folder.glob(f"{incomplete}*")) if folder.is_dir() else []


# typer reads these annotations when it runs, on Python 3.10 too.
OneFlow = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--flow", metavar="FLOW", autocompletion=complete_flow, help="The flow of the step."),
]
OneStep = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--step", metavar="STEP", autocompletion=complete_step, help="The step; enough alone when one flow has it."
    ),
]
OneEnv = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--env", metavar="NAME", autocompletion=complete_environment, help="The `[env.NAME]`."),
]
NameOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--name", metavar="N", autocompletion=complete_name, help="What `envlock create --name N` made; works anywhere."
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Take packages from the cache only.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Make the environment even if this machine lacks what its lock requires.")
]

KeepOption = Annotated[
    bool, typer.Option("--keep-pythonpath", help="Pass PYTHONPATH on; the modules that it leads to are not locked.")
]


def wanted(
    flow: str | None,
    step: str | None,
    env: str | None,
    config: Path | None,
    *,
    name: str | None = None,
    offline: bool = False,
    hydrate: bool = True,
    force: bool = False,
    rebuild: bool = False,
) -> Wanted:
    """The environment that these options ask for."""
    return Wanted(
        flow=flow or "",
        step=step or "",
        environment=env or "",
        name=name or "",
        config=str(config or ""),
        offline=offline,
        hydrate=hydrate,
        force=force,
        rebuild=rebuild,
    )
