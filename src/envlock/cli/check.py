"""`envlock check`: find drift between envlock.toml and its locks. Offline, read-only, quick."""

from __future__ import annotations

import sys
from pathlib import Path

from envlock import words
from envlock.cli.command import QUIET, CommandLine, Flag, Value, command
from envlock.cli.options import ARCHS, CONFIG, ENVS, FLOWS, JSON, STAGED, STEPS, config_given, index_findings, selection
from envlock.errors import one_line, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.workflow.check import CheckResult

_FORMAT = Value(
    "--format",
    "FORMAT",
    "`text`, `json`, or what code hosts read: `github` (annotations), `gitlab` (Code Quality), `sarif`, `junit`.",
    default="text",
    choices=("text", "json", "github", "gitlab", "sarif", "junit"),
)
_ONLINE = Flag("--online", "Also check the cache for aliases that moved, and the indexes for yanked releases.")


@command(
    FLOWS,
    STEPS,
    ENVS,
    ARCHS,
    _FORMAT,
    _ONLINE,
    STAGED,
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
    - `envlock check --format sarif > envlock.sarif`
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
    result = result._replace(findings=(*result.findings, *index_findings(line, project)))
    style = "json" if line.has(JSON) else line.value(_FORMAT)
    if style == "json":
        from envlock.cli.console import write_json

        write_json(as_document(result))
    elif style == "text":
        if result.findings or not line.has(QUIET):
            sys.stdout.write(as_text(result))
    else:
        from envlock.cli.check_formats import write_result

        sys.stdout.write(write_result(style, result, project.folder))
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
    from envlock.cli.check_formats import folded

    paragraphs = []
    for group in folded(result.findings):
        first = group[0]
        archs = ", ".join(finding.arch for finding in group if finding.arch)
        on = f" on {archs}" if archs else ""
        said = first.verdict.words
        lines = [f"{one_line(first.environment)}{on}: {said}" if first.environment else f"{said}{on}"]
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
