"""`envlock build`: build the wheels of the locks again, and compare; put them into the cache for other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.options import ARCHS, CONFIG, ENVS, FLOWS, JSON, OFFLINE, STEPS, open_project, selection
from envlock.errors import DamageError, one_line
from envlock.words import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.workflow.build import BuildResult

_PUSH = Flag("--push", "Put the wheels into the cache, where `envlock lock` finds them on other machines.")


@command(
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _PUSH,
    OFFLINE,
    JSON,
    CONFIG,
    epilog="Exit status: 0 all wheels are as locked, or nothing is locked for this architecture; 3 a wheel differs.",
)
def build(line: CommandLine) -> int:
    """Build the packages that the project builds from source, and compare them with the locks.

    Builds for the architecture of this machine: what its locks have, each from the locked source, and what is not
    locked yet as `envlock lock` would. A wheel that is the same, byte for byte, is then on this machine. With `--push`,
    the wheels go into the cache, so that `envlock lock` on another architecture can lock them for this one.

    For example:

    - `envlock build`
    - `envlock build --env base --push`
    """
    from envlock.cli.console import say, write, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.build import build_wheels

    project = open_project(line)
    with LiveReporter() as reporter:
        result = build_wheels(
            project,
            selection=selection(line),
            reporter=reporter,
            push=line.has(_PUSH),
            offline=line.has(OFFLINE),
        )
    status = DamageError.exit_status if result.different else 0
    if line.has(JSON):
        write_json(as_document(result, status))
        return status
    for text in as_lines(result):
        (write if status else say)(one_line(text))
    return status


def as_lines(result: BuildResult) -> Iterator[str]:
    """The result, a line for each package, and a sentence."""
    if not result.packages:
        yield "nothing is built from source"
        return
    for each in result.packages:
        same = {"same": "as locked", "different": "differs from what is locked", "built": "built"}[each.outcome]
        yield f"{each.name} {each.version} from {each.source}: {same}"
        if each.outcome == "different":
            yield f"  locked  {each.locked}"
            yield f"  built   {each.sha256}"
    wheels = count(len(result.packages) - len(result.different), "wheel")
    if result.cache:
        yield f"{wheels} for {result.arch} in {result.cache}"
    if result.different:
        names = ", ".join(each.name for each in result.different)
        yield f"to lock what was built: envlock lock --upgrade-package {names.replace(', ', ' --upgrade-package ')}"


def as_document(result: BuildResult, status: int) -> dict[str, object]:
    """The result, for `--json`."""
    return {
        "status": status,
        "arch": result.arch,
        "cache": result.cache or None,
        "packages": [
            {
                "name": each.name,
                "version": each.version,
                "source": each.source,
                "outcome": each.outcome,
                "filename": each.filename,
                "sha256": each.sha256,
                "locked": each.locked or None,
            }
            for each in result.packages
        ],
    }
