"""`envlock doctor`: look at this machine and this project, and tell what is wrong and what repairs it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.options import CONFIG, JSON, open_project

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.workflow.machine.doctor import Finding

_WRITE = Flag("--write", "Also check that the cache can be written: write a small file and delete it again.")
_COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "bold red"}


@command(_WRITE, JSON, CONFIG, epilog="Exit status: 0; 1 if there is an error.")
def doctor(line: CommandLine) -> int:
    """Look at this machine and this project: what envlock finds, what that means, and what repairs it.

    Looks at Pythons, uv, git, envlock's home, Metaflow and its extensions, the system, proxies; in a project also at
    locks, the cache, indexes, channels, and which credentials there are (by their names: no value is shown). Each check
    has a deadline, and one that hangs does not stop the others.

    For example:

    - `envlock doctor`
    - `envlock doctor --write`
    - `envlock doctor --json`
    """
    from envlock import __version__
    from envlock.cli.console import write_json
    from envlock.workflow.machine.doctor import ERROR, examine

    findings = examine(lambda: open_project(line), is_named=line.has(CONFIG), writes=line.has(_WRITE))
    status = int(any(each.state == ERROR for each in findings))
    if line.has(JSON):
        document = [each._asdict() for each in findings]
        write_json({"envlock": __version__, "exit_status": status, "findings": document})
    else:
        _show(findings)
    sys.stdout.flush()
    sys.stderr.flush()
    if any(each.hangs for each in findings):
        os._exit(status)  # a thread that hangs may have others of a library with it, for which Python would wait
    return status


def _show(findings: Sequence[Finding]) -> None:
    from envlock.cli.console import write, write_styled

    for each in findings:
        first, *others = finding_lines(each)
        state = (each.state, _COLOURS[each.state])
        write_styled([(state, (first.removeprefix(each.state), "")), *(((line, ""),) for line in others)])
    write(summary(findings))


def finding_lines(finding: Finding) -> Iterator[str]:
    r"""One finding: what was looked at and found, then what it means and what repairs it.

    >>> from envlock.workflow.machine.doctor import Finding
    >>> print(*finding_lines(Finding("git", "git on PATH", "none", "note", "no builds", "install git")), sep="\n")
    note     git: none (git on PATH)
               no builds
               to repair: install git
    """
    from envlock.errors import one_line

    yield one_line(f"{finding.state:<8} {finding.check}: {finding.found} ({finding.looked_at})")
    if finding.meaning:
        yield f"           {one_line(finding.meaning)}"
    if finding.repair:
        yield f"           to repair: {one_line(finding.repair)}"


def summary(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are."""
    from envlock.words import count, listed

    found = {state: sum(each.state == state for each in findings) for state in ("error", "warning", "note")}
    parts = [count(number, state) for state, number in found.items() if number]
    return f"\n{listed(parts) if parts else 'all is well'}"
