"""`envlock add`: add packages to envlock.toml."""

from __future__ import annotations

from typing import Annotated

import typer

from envlock.cli.options import ConfigOption, JsonOption, complete_environment, complete_flow, complete_step

FlowTarget = Annotated[
    str, typer.Option("--flow", metavar="FLOW", autocompletion=complete_flow, help="The flow, where there are several.")
]
StepTarget = Annotated[
    str, typer.Option("--step", metavar="STEP", autocompletion=complete_step, help="Only for this step of the flow.")
]
EnvTarget = Annotated[
    str, typer.Option("--env", metavar="NAME", autocompletion=complete_environment, help="For this `[env.NAME]`.")
]
CondaTarget = Annotated[bool, typer.Option("--conda", help="From a conda channel, not from PyPI.")]
Channel = Annotated[
    str, typer.Option("--channel", metavar="CHANNEL", help="Take it from this conda channel; needs `--conda`.")
]


Index = Annotated[
    str,
    typer.Option(
        "--index", metavar="INDEX", help="Take it from this index only: a name in `[envlock.indexes]`, or a URL."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def add(
        packages: Annotated[
            list[str], typer.Argument(metavar="PACKAGE...", help='A name, or a requirement: `"pandas>=2,<3"`.')
        ],
        flow: FlowTarget = "",
        step: StepTarget = "",
        env: EnvTarget = "",
        conda: CondaTarget = False,
        channel: Channel = "",
        index: Index = "",
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Add packages to a flow, one of its steps, or a named environment.

        Edits envlock.toml and keeps your comments, order and style. A package that it lists already gets the new
        version. It does not lock anything: run `envlock lock` next.

        With `--channel`, only that package comes from the channel.

        Examples: `envlock add "pandas>=2,<3"`, `envlock add rich --step train`,
        `envlock add "requests[socks]" --env base`, `envlock add "demo @ https://index.example/demo-1-py3-none-any.whl"`,
        `envlock add --conda "ffmpeg>=6" --step encode`, `envlock add --conda samtools --channel bioconda`,
        `envlock add "torch>=2.3" --index pytorch`.
        """
        return edit(
            config,
            flow,
            step,
            env,
            packages,
            conda=conda,
            channel=channel,
            index=index,
            adding=True,
            as_json=as_json,
        )


def edit(
    config: object,
    flow: str,
    step: str,
    env: str,
    packages: list[str],
    *,
    conda: bool,
    adding: bool,
    as_json: bool,
    channel: str = "",
    index: str = "",
) -> int:
    """Add or remove packages, and say what changed."""
    from pathlib import Path

    from envlock.cli.console import err, out
    from envlock.cli.errors import BadUsage
    from envlock.cli.options import open_project
    from envlock.config.edit.add_remove import add_packages, channel_name, choose_level, remove_packages
    from envlock.config.edit.save import save

    command = f"envlock {'add' if adding else 'remove'}"
    if env and (flow or step):
        raise BadUsage("`--env` names an environment of its own, of no flow", command)
    if channel and (not conda or any("::" in package for package in packages)):
        reason = "a package names its channel already" if conda else "`--channel` is for conda packages: add `--conda`"
        raise BadUsage(reason, command)
    if index and conda:
        raise BadUsage("`--index` is for PyPI packages; for a conda package, use `--channel`", command)
    assert config is None or isinstance(config, Path)
    project = open_project(config)
    level = choose_level(project, flow=flow, step=step, env=env)
    text = project.text
    if channel:
        channel = channel_name(text, level, channel)
    if adding:
        text, changes = add_packages(text, level, packages, conda=conda, channel=channel, index=index)
    else:
        text, changes = remove_packages(text, level, packages, conda=conda)
    if text != project.text:
        save(project.path, text)
    if as_json:
        import json

        facts: dict[str, object] = {"config": str(project.path)}
        facts["changes"] = [
            {"table": ".".join(one.level), "before": _json(one.before), "after": _json(one.after)} for one in changes
        ]
        out.print(json.dumps(facts, indent=2))
        return 0
    for one in changes:
        out.print(f"{one}  [{'.'.join(one.level)}]")
    if changes:
        err.print("hint: envlock lock")
    else:
        err.print(f"[{'.'.join(level)}] lists that already")
    return 0


def _json(entry: tuple[str, object] | None) -> dict[str, object] | None:
    return {"package": _clean(entry[0]), "version": _clean(entry[1])} if entry else None


def _clean(value: object) -> object:
    """A value of envlock.toml without the credentials that an index's URL in it may have."""
    from envlock.config.quoting import without_credentials

    if isinstance(value, dict):
        return {part: _clean(inner) for part, inner in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else without_credentials(str(value))
