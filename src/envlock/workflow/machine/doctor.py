"""`doctor`: what envlock finds on this machine, whether that will do, and what repairs it.

Each check looks at one thing, in a thread of its own and within a deadline: a server of files that is gone, or an index
that never answers, costs its own finding and no other. No finding has the value of a credential in it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from envlock.errors import ConfigError, EnvlockError
from envlock.words import count
from envlock.workflow.machine.deadlines import all_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from envlock.config.project import Project

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
"""What a finding is: as it should be; good to know; may become a failure; fails where it is needed."""
SECONDS = 15.0


class Finding(NamedTuple):
    """What one check has found."""

    check: str
    """The name of the check, such as `home`."""
    looked_at: str
    found: str
    state: str = OK
    meaning: str = ""
    """What follows from it; empty if it is as it should be."""
    repair: str = ""
    """The command, or the change, that helps."""
    hangs: bool = False
    """Whether it has not ended: what waits for an answer still does."""


class Given(NamedTuple):
    """What the checks start from."""

    project: Project | None
    """None outside of a project, and where envlock.toml cannot be read."""
    writes: bool = False
    """Whether a file may be written into the cache, and deleted again."""


class Check(NamedTuple):
    """One thing to look at."""

    name: str
    looks_at: str
    """In words, for a check that does not end."""
    run: Callable[[Given], Iterator[Finding]]


def examine(
    project: Callable[[], Project],
    *,
    is_named: bool = False,
    writes: bool = False,
    seconds: float = SECONDS,
    checks: Sequence[Check] = (),
) -> tuple[Finding, ...]:
    """Every finding, in the order of the checks. Raises nothing that a check meets.

    `project` reads envlock.toml; that there is none is an error if the user named it (`is_named`).
    """
    if not checks:
        from envlock.workflow.machine import machine_checks, project_checks

        checks = (*machine_checks.CHECKS, *project_checks.CHECKS)
    given, found = _given(project, is_named=is_named, writes=writes)
    answers = all_within([partial(_listed, each, given) for each in checks], seconds)
    for check, answer in zip(checks, answers, strict=True):
        if isinstance(answer, list):
            found += answer
        else:
            found.append(_failed(check, answer, seconds))
    return tuple(found)


def _listed(check: Check, given: Given) -> list[Finding]:
    return list(check.run(given))


def _given(project: Callable[[], Project], *, is_named: bool, writes: bool) -> tuple[Given, list[Finding]]:
    try:
        found = project()
    except ConfigError as error:
        if error.code == "no-config" and not is_named:
            said = "checks of locks, of the cache and of indexes need one: run this in a project's folder"
            return Given(None, writes), [Finding("project", "envlock.toml", "there is none here", NOTE, said)]
        return Given(None, writes), [of_error("project", "envlock.toml", error)]
    except EnvlockError as error:
        return Given(None, writes), [of_error("project", "envlock.toml", error)]
    said = f"{count(len(found.flows), 'flow')}, {count(len(found.environments()), 'environment')}"
    return Given(found, writes), [Finding("project", str(found.path), said)]


def of_error(check: str, looked_at: str, error: EnvlockError, state: str = ERROR) -> Finding:
    """The finding for an error that a command would end with."""
    details = "; ".join([*(f"at {place}" for place in error.locations), *error.details])
    return Finding(check, looked_at, f"{error.message} ({error.code})", state, details, error.hint or "")


def _failed(check: Check, answer: Exception | None, seconds: float) -> Finding:
    if answer is None:
        said = "commands that need it hang, too: a server does not answer, or a disk is gone"
        return Finding(check.name, check.looks_at, f"no answer within {seconds:g} s", WARNING, said, hangs=True)
    if isinstance(answer, EnvlockError):
        return of_error(check.name, check.looks_at, answer)
    reason = answer.strerror if isinstance(answer, OSError) and answer.strerror else type(answer).__name__
    return Finding(check.name, check.looks_at, f"it cannot be looked at: {reason}", WARNING)
