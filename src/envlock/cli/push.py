"""`envlock push`: the packages of all locks into the cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

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
from envlock.errors import one_line
from envlock.words import byte_size, count

if TYPE_CHECKING:
    from envlock.workflow.push import PushResult


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def push(
        flow: FlowOption = None,
        step: StepOption = None,
        env: EnvOption = None,
        arch: ArchOption = None,
        verify: Annotated[
            bool, typer.Option("--verify", help="Read what is there already, too, and replace what is damaged.")
        ] = False,
        as_json: JsonOption = False,
        config: ConfigOption = None,
    ) -> int:
        """Mirror the packages of the locks, for every arch, into the cache.

        What is there already is not moved again, so an interrupted push goes on where it stopped. An environment is
        written after all of its packages.

        Examples: `envlock push`, `envlock push --flow TrainFlow --arch linux-64`.
        """
        from envlock.cli.console import err, out
        from envlock.cli.progress import LiveReporter
        from envlock.workflow.push import push as push_locks

        project = open_project(config)
        with LiveReporter() as reporter:
            result = push_locks(project, selection=selection(flow, step, env, arch), reporter=reporter, verify=verify)
        if as_json:
            out.print(json.dumps(as_document(result), indent=2))
            return max((error.exit_status for error in result.failures), default=0)
        out.print(as_text(result))
        for sentence in _collisions(result):
            err.print(f"warning: {one_line(sentence)}")
        if result.damaged:
            again = count(len(result.damaged), "file")
            err.print(f"warning: damaged in the cache, fetched again: {again} ({one_line(', '.join(result.damaged))})")
        if result.unread:
            those = "was" if result.unread == 1 else "were"
            there = (
                f"{count(result.unread, 'package')} {those} there already (same name and size), and {those} not read"
            )
            err.print(f"note: {there}; `envlock push --verify` reads and repairs them")
        for environment in result.withheld:
            err.print(f"not pushed, because a package is missing: {one_line(environment)}")
        result.raise_failures()
        return 0


def as_text(result: PushResult) -> str:
    """What was done, as a sentence."""
    there = f"{count(result.packages, 'package')} and {count(result.environments, 'environment')}"
    if not result.environments:
        from envlock.cli.light.lock import later

        return f"nothing to push: {later(result.fetched) if result.fetched else 'no environment is chosen'}"
    if result.moved_nothing:
        return f"nothing to push: {there} are in {result.cache} already"
    moved = f"{count(result.moved, 'package')} ({byte_size(result.moved_bytes)})"
    done = f"pushed {moved} and {count(result.written, 'environment')} to {result.cache}"
    is_all = (result.moved, result.written) == (result.packages, result.environments)
    return done if is_all else f"{done}, of {there}"


def as_document(result: PushResult) -> dict[str, object]:
    """What was done, for machines."""
    return {
        "cache": result.cache,
        "packages": result.packages,
        "moved": result.moved,
        "moved_bytes": result.moved_bytes,
        "environments": result.environments,
        "written": result.written,
        "withheld": list(result.withheld),
        "damaged": list(result.damaged),
        "unread": result.unread,
        "collisions": [
            {"environment": environment, "path": each.path, "packages": list(each.owners)}
            for environment, found in result.collisions
            for each in found
        ],
        "errors": [error.as_dict() for error in result.failures],
    }


def _collisions(result: PushResult) -> tuple[str, ...]:
    """What to say of packages that bring one path: each pair once, with the first environment that has it."""
    from envlock.hydrate.collisions import sentences

    said: dict[str, str] = {}
    for environment, found in result.collisions:
        for sentence in sentences(found):
            said.setdefault(sentence, environment)
    return tuple(f"{environment}: {sentence}" for sentence, environment in said.items())
