"""`envlock lock`: resolve what changed, write the locks, show what is different."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from envlock.cli.options import (
    ArchOption,
    ConfigOption,
    EnvOption,
    FlowOption,
    JsonOption,
    StepOption,
    open_project,
    selection,
)

if TYPE_CHECKING:
    from envlock.config.project import Project
    from envlock.workflow.lock import Locked, LockResult


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def lock(
        flow: FlowOption = None,
        step: StepOption = None,
        env: EnvOption = None,
        arch: ArchOption = None,
        upgrade: Annotated[bool, typer.Option("--upgrade", "-U", help="Let every pin move.")] = False,
        upgrade_package: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option(
                "--upgrade-package", "-P", metavar="NAME", help="Let this pin move; `python` too. Repeatable."
            ),
        ] = None,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Resolve what changed in envlock.toml into locks, one for each environment and arch.

        Old pins are kept; with nothing changed, nothing is written. Locks that nothing asks for any more are deleted.

        Examples: `envlock lock`, `envlock lock --step train --arch linux-64`, `envlock lock -P pandas`.
        """
        from envlock.workflow.lock import Upgrade
        from envlock.workflow.lock import lock as lock_project

        project = open_project(config)
        chosen = selection(flow, step, env, arch)
        wanted = Upgrade.of(everything=upgrade, packages=upgrade_package or ())
        if as_json:
            import json

            result = lock_project(project, selection=chosen, upgrade=wanted)
            typer.echo(json.dumps(as_document(project, result), indent=2))
            return 0
        from envlock.cli.progress import LiveReporter

        with LiveReporter() as reporter:
            result = lock_project(project, selection=chosen, upgrade=wanted, reporter=reporter)
        typer.echo(as_text(project, result), nl=False)
        return 0


def as_text(project: Project, result: LockResult) -> str:
    """What was done, one line for each environment and arch that changed, and a summary."""
    lines: list[str] = []
    for each in result.locked:
        if each.action != "kept":
            lines.append(f"{each.action} {', '.join(each.environments)} on {each.arch}: {_change(each)}")
        lines += [f"  note: {note}" for note in each.notes]
    lines += [f"pruned {os.path.relpath(path, project.folder)}: nothing asks for it" for path in result.pruned]
    total = f"{len(result.locked)} lock{'s' if len(result.locked) != 1 else ''}"
    if not result.changed:
        lines.append(f"nothing changed: {total} up to date")
    else:
        changed = sum(each.action != "kept" for each in result.locked)
        lines.append(
            f"{total}: {changed} written, {len(result.locked) - changed} up to date, {len(result.pruned)} pruned"
        )
    return "\n".join(lines) + "\n"


def _change(each: Locked) -> str:
    assert each.lock is not None
    if each.before is None or each.before.arch != each.arch:
        return f"{len(each.lock.packages)} packages, CPython {each.lock.python.series}"
    changes = differences_of(each)
    return ", ".join(changes) if changes else "the same packages"


def differences_of(each: Locked) -> list[str]:
    """The packages that came, went or moved, such as `rich 13.0 -> 14.0`."""
    assert each.lock is not None
    old = {package.name: package for package in each.before.packages} if each.before else {}
    new = {package.name: package for package in each.lock.packages}
    changes = []
    if each.before is not None and each.before.python != each.lock.python:
        changes.append(f"python {each.before.python.version} -> {each.lock.python.version}")
    for name in sorted({*old, *new}):
        if name not in old:
            changes.append(f"+{name} {new[name].version}")
        elif name not in new:
            changes.append(f"-{name} {old[name].version}")
        elif old[name].version != new[name].version:
            changes.append(f"{name} {old[name].version} -> {new[name].version}")
        elif old[name].sha256 != new[name].sha256:
            changes.append(f"{name} {new[name].version} (another artifact)")
    return changes


def as_document(project: Project, result: LockResult) -> dict[str, object]:
    """What was done, for machines."""
    return {
        "changed": result.changed,
        "locks": [
            {
                "environments": list(each.environments),
                "arch": each.arch,
                "action": each.action,
                "path": os.path.relpath(each.path, project.folder),
                "changes": differences_of(each) if each.lock is not None else [],
                "notes": list(each.notes),
            }
            for each in result.locked
        ],
        "pruned": [os.path.relpath(path, project.folder) for path in result.pruned],
    }
