"""`envlock check`: find drift between envlock.toml and its locks. Offline, read-only, quick."""

from __future__ import annotations

import sys
from pathlib import Path

from envlock import words
from envlock.cli.command import CommandLine, Flag, Value, command
from envlock.cli.options import ARCHS, CONFIG, ENVS, FLOWS, JSON, STEPS, config_given, selection
from envlock.errors import EnvlockError, Location, one_line, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.workflow.check import CheckResult
    from envlock.workflow.check_rules import Finding

_FORMAT = Value(
    "--format",
    "FORMAT",
    "`text`, `json`, or `github` (annotations).",
    default="text",
    choices=("text", "json", "github"),
)
_ONLINE = Flag("--online", "Also check the cache for aliases that moved, and the indexes for yanked releases.")


@command(
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _FORMAT,
    _ONLINE,
    JSON,
    CONFIG,
    epilog="Exit status: 0 fresh, 1 stale or missing, 2 bad configuration, 3 damaged.",
)
def check(line: CommandLine) -> int:
    """Check that the locks match envlock.toml. Offline by default; never writes anything.

    For example:

    - `envlock check`
    - `envlock check --step train --arch linux-64`
    - `envlock check --format github`
    """
    from envlock.config.read import load_project
    from envlock.workflow import check as offline

    chosen = selection(line)
    project = load_project(Path(config_given(line)) if line.has(CONFIG) else None)
    if line.has(_ONLINE):
        from envlock.cli.progress import LiveReporter
        from envlock.workflow.check_online import check_online

        with LiveReporter() as reporter:
            result = check_online(project, chosen, reporter)
    else:
        result = offline.check(project, chosen)
    style = "json" if line.has(JSON) else line.value(_FORMAT)
    if style == "json":
        from envlock.cli.console import write_json

        write_json(as_document(result))
    elif style == "github":
        sys.stdout.write("".join(as_github(finding, project.folder) for finding in result.findings))
    else:
        sys.stdout.write(as_text(result))
    return result.exit_status


def as_text(result: CheckResult) -> str:
    """The findings as text: a paragraph for each, with all archs that it concerns."""
    if not result.findings:
        later = f"{result.fetched} fetched when the step starts" if result.fetched else ""
        if not result.environments and later:
            return f"nothing is locked: {later}\n"
        if not result.environments:
            return "nothing to check: envlock.toml has no environments\n"
        count = words.count(result.environments, "environment")
        archs = words.count(result.archs, "arch")
        return f"fresh: {count} on {archs}{f'; {later}' if later else ''}\n"
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in result.findings:
        path = finding.location.path if finding.verdict.is_of_file and finding.location else ""
        key = (finding.environment, finding.verdict, finding.reasons, finding.repair, path)
        groups.setdefault(key, []).append(finding)
    paragraphs = []
    for group in groups.values():
        first = group[0]
        archs = ", ".join(finding.arch for finding in group if finding.arch)
        name = first.environment or "(no environment)"
        lines = [f"{one_line(name)}{f' on {archs}' if archs else ''}: {first.verdict.words}"]
        if first.location is not None:
            lines.append(f"  at {one_line(str(first.location))}")
        lines += [f"  {one_line(reason)}" for reason in first.reasons]
        lines.append(f"  repair: {one_line(first.repair)}")
        paragraphs.append("\n".join(lines))
    return printable("\n\n".join(paragraphs)) + f"\n\n{_summary(result)}\n"


def _summary(result: CheckResult) -> str:
    meaning = {1: "stale or missing", 2: "unusable", 3: "damaged"}[result.exit_status]
    return f"{words.count(len(result.findings), 'finding')}; worst: {meaning} (exit {result.exit_status})"


def as_document(result: CheckResult) -> dict[str, object]:
    """The findings, for `--json`."""
    return {
        "exit_status": result.exit_status,
        "environments": result.environments,
        "archs": result.archs,
        "findings": [
            {
                "environment": finding.environment,
                "arch": finding.arch,
                "verdict": finding.verdict.value,
                "exit_status": finding.exit_status,
                "reasons": list(finding.reasons),
                "path": finding.location.path if finding.location else None,
                "line": finding.location.line if finding.location else None,
                "key": finding.location.key if finding.location else None,
                "repair": finding.repair,
            }
            for finding in result.findings
        ],
    }


def as_github(finding: Finding, folder: Path) -> str:
    """A finding as a GitHub workflow command, which is shown beside its line of the checkout."""
    text = "; ".join((*finding.reasons, f"repair: {finding.repair}"))
    where = " on ".join(part for part in (finding.environment, finding.arch) if part)
    return _annotation(
        f"envlock: {finding.verdict.words}", [f"{where}: {text}" if where else text], finding.location, folder
    )


def error_as_github(error: EnvlockError, arguments: Sequence[str]) -> str:
    """An error that ends a command, as GitHub workflow commands: each one beside its line of the checkout.

    Places in errors are relative to the folder of envlock.toml, which `arguments` may name.
    """
    from itertools import pairwise

    from envlock.config.read import find_config
    from envlock.errors import ManyErrors

    given = [each.removeprefix("--config=") for each in arguments if each.startswith("--config=")]
    given += [value for option, value in pairwise(arguments) if option == "--config"]
    try:
        folder = Path(given[-1]).parent if given else find_config(Path.cwd()).parent
    except EnvlockError:
        folder = Path.cwd()
    return "".join(
        _annotation(
            f"envlock: {each.code}",
            [each.message, *each.details, *([f"hint: {each.hint}"] if each.hint else [])],
            each.locations[0] if each.locations else None,
            folder,
        )
        for each in (error.errors if isinstance(error, ManyErrors) else (error,))
    )


def _annotation(title: str, lines: Sequence[str], at: Location | None, folder: Path) -> str:
    """One workflow command. No name or value in it can end the line or start another command."""
    import os

    properties = []
    if at is not None and os.path.lexists(folder / at.path):
        base = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()  # noqa: PTH109
        properties.append(f"file={_of_property(os.path.relpath(folder / at.path, base))}")
        properties += [f"line={at.line}"] if at.line is not None else []
    properties.append(f"title={_of_property(title)}")
    text = "%0A".join(_of_message(line) for each in lines for line in each.splitlines() or [""])
    return f"::error {','.join(properties)}::{text}\n"


def _of_message(text: str) -> str:
    return one_line(text).replace("%", "%25")


def _of_property(text: str) -> str:
    return _of_message(text).replace(":", "%3A").replace(",", "%2C")
