"""What `check` can find: the verdicts, and the rules that each lock file is held to.

A rule looks at one lock file and yields what is wrong with it. A new policy is a `Rule` in `LOCK_RULES`, with a
`Verdict` of its own where none of these says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path

from envlock.config.project import Project
from envlock.errors import EnvlockError, Location
from envlock.lockfile.folder import full_id_of, lock_bytes
from envlock.lockfile.summary import Summary, summarize
from envlock.model.arch import Arch
from envlock.model.url import strange_hosts
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias


class Verdict(str, Enum):
    """What is wrong with an environment or a file. The value names it in `--json`."""

    exit_status: int
    """What `check` exits with for this finding alone."""
    words: str
    rule: str
    """What holds where nothing is wrong."""
    is_of_file: bool
    """Whether it is about one file, so that what is said of two files is not put together."""

    def __new__(cls, name: str, exit_status: int, words: str, rule: str, is_of_file: bool = False) -> Verdict:
        """A member, with what it says."""
        verdict = str.__new__(cls, name)
        verdict._value_ = name
        verdict.exit_status, verdict.words, verdict.rule, verdict.is_of_file = exit_status, words, rule, is_of_file
        return verdict

    __hash__ = str.__hash__
    __str__ = str.__str__

    MISSING = "missing", 1, "not locked", "each environment has a lock"
    ARCH_MISSING = "arch-missing", 1, "not locked for this arch", "each environment has a lock for each arch"
    STALE = "stale", 1, "changed since it was locked", "a lock serves the requirements of its environment"
    RESTAMP = "restamp", 1, "changed, and the locked packages still fit (re-stamp)", "a lock states them as they are"
    TWO_LOCKS = "two-locks", 1, "locked twice", "each environment has one lock for an arch", True
    ORPHAN = "orphan", 1, "not needed by any environment", "an environment needs each lock and each pin", True
    NOT_ADDED = "not-added", 1, "not added to git", "git's index has each lock as it is (`--staged`)", True
    BASE_LACKS_ARCH = "base-lacks-arch", 1, "named for another arch", "a named environment is there for each arch"
    ALIAS_MOVED = "alias-moved", 1, "moved since it was pinned", "a tag names what it is pinned to (`--online`)"
    YANKED = "yanked", 1, "yanked, or deleted from its index", "indexes have not yanked what is locked (`--online`)"
    UNKNOWN_NAME = "unknown-name", 2, "unknown name", "each `named_env` names an environment"
    STEPS_UNKNOWN = "steps-unknown", 2, "may have steps that envlock cannot read", "the steps of each flow are known"
    UNREADABLE = "unreadable", 2, "written by another version", "this envlock can read each lock and each pin"
    DAMAGED = "damaged", 3, "DAMAGED", "a lock or a pin is as it was written, and consistent", True
    PIN_DISAGREES = (
        "pin-disagrees",
        3,
        "PINNED TO SOMETHING ELSE THAN THE CACHE SAYS",
        "a pin and the cache name the same move (`--online`)",
        True,
    )
    BUILD_NOT_ALLOWED = (
        "build-not-allowed",
        3,
        "BUILD NOT ALLOWED",
        "`build` allows each package that was built from an sdist of an index",
        True,
    )
    HOST_NOT_ALLOWED = "host-not-allowed", 3, "HOST NOT ALLOWED", "each URL is on one of `hosts`", True


_NOT_ALLOWED = "{} is not among the hosts of envlock.toml"


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    environment: str
    """`Flow/step` or an `[env.*]` name; empty for a file that belongs to none."""
    arch: str
    verdict: Verdict
    reasons: tuple[str, ...]
    location: Location | None
    repair: str = "envlock lock"
    """The command that repairs it."""

    @property
    def exit_status(self) -> int:
        """What `check` exits with for this finding alone."""
        return self.verdict.exit_status


class LockFile(NamedTuple):
    """A verified lock file that is to be a lock for an arch of a project."""

    project: Project
    arch: Arch
    path: Path
    data: bytes
    summary: Summary

    @property
    def restore(self) -> str:
        """The command that brings the committed file back."""
        return f"git checkout -- {self.project.shown(self.path)}"

    def finding(self, verdict: Verdict, *reasons: str, repair: str, line: int | None = None) -> Finding:
        """What is wrong with it, whichever environment it is for."""
        return Finding("", self.arch, verdict, reasons, Location(self.project.shown(self.path), line), repair)


Rule: TypeAlias = "Callable[[LockFile], Iterator[Finding]]"
"""What a lock file is held to: everything in which the lock breaks it. Needs no network."""


def lies_where_its_ids_say(lock: LockFile) -> Iterator[Finding]:
    """A lock is found by its path, so one that lies elsewhere would be taken for another."""
    if lock.summary[:3] != (lock.arch, lock.path.parent.name, full_id_of(lock.path)):
        yield lock.finding(Verdict.DAMAGED, "the file lies where another lock belongs", repair="envlock lock")


def is_consistent(lock: LockFile) -> Iterator[Finding]:
    """A lock has what its requirements and its packages call for, in versions that they allow, and nothing else."""
    if lock.summary.inconsistency:
        yield lock.finding(Verdict.DAMAGED, lock.summary.inconsistency, repair=lock.restore)


def names_allowed_hosts(lock: LockFile) -> Iterator[Finding]:
    """Where `hosts` is set, each URL of a lock is on one of them."""
    strange = _strange_hosts_in(lock.project, lock.summary)
    if strange:
        yield lock.finding(
            Verdict.HOST_NOT_ALLOWED,
            *map(_NOT_ALLOWED.format, strange),
            repair=f"{lock.restore}, or add the host to `hosts` in envlock.toml",
            line=_line_with(lock.data, strange[0]),
        )


def refuse_strange_hosts(project: Project, summary: Summary, environments: Sequence[str]) -> None:
    """The same rule for a lock from elsewhere, or a new one. Raises HostNotAllowed."""
    strange = _strange_hosts_in(project, summary)
    if strange:
        from envlock.workflow.errors import HostNotAllowed

        reasons = list(map(_NOT_ALLOWED.format, strange))
        at = project.locate(("envlock", "hosts"))
        raise HostNotAllowed(environments, reasons, at, "if you trust the host, add it to `hosts` in envlock.toml")


def _strange_hosts_in(project: Project, summary: Summary) -> tuple[str, ...]:
    """The hosts in a lock's URLs that are not among `hosts`, where that is set."""
    has_mirror = project.is_said_here("python-mirror")  # a machine's own changes no verdict
    return strange_hosts(summary.all_urls(has_mirror=has_mirror), project.settings.hosts)


def builds_what_is_allowed(lock: LockFile) -> Iterator[Finding]:
    """Each package of a lock that was built from an sdist of an index is one that `build` allows.

    Not those of a named environment, and of what extends one: who gave the name has built them.
    """
    names = not_allowed(lock.project.settings.build, lock.summary.built)
    if names and not _is_of_base(lock):
        listed = ", ".join(f'"{name}"' for name in names)
        yield lock.finding(
            Verdict.BUILD_NOT_ALLOWED,
            *(f"{name} was built from source, which `build` does not allow" for name in names),
            repair=f"add {listed} to `build` in envlock.toml, or envlock lock",
            line=_line_with(lock.data, f'{{name = "{names[0]}", '),
        )


def _is_of_base(lock: LockFile) -> bool:
    users = [each for each in lock.project.environments() if each.requirements.req_id == lock.summary.req_id]
    return bool(users) and all(each.base is not None for each in users)


def not_allowed(build: tuple[str, ...] | bool, names: Iterable[str]) -> tuple[str, ...]:
    """The packages that `build` of envlock.toml does not allow to be built.

    >>> not_allowed(("docopt",), ["docopt", "pyspark"]), not_allowed(True, ["docopt"]), not_allowed(False, ["docopt"])
    (('pyspark',), (), ('docopt',))
    """
    if isinstance(build, bool):
        return () if build else tuple(names)
    return tuple(name for name in names if name not in build)


LOCK_RULES: tuple[Rule, ...] = (
    lies_where_its_ids_say,
    is_consistent,
    names_allowed_hosts,
    builds_what_is_allowed,
)


def findings_of(project: Project, arch: Arch, path: Path, read: dict[Path, bytes] | None) -> Iterator[Finding]:
    """What is wrong with a lock file, whichever environments it is for. What it holds is put into `read`."""
    shown = project.shown(path)
    try:
        data = lock_bytes(path, shown=shown)
        lock = LockFile(project, arch, path, data, summarize(data, shown))
    except EnvlockError as error:
        yield unreadable(arch, shown, error)
        return
    if read is not None:
        read[path] = data
    for rule in LOCK_RULES:
        yield from rule(lock)


def unreadable(arch: str, shown: str, error: EnvlockError) -> Finding:
    """A file that cannot be read as a lock."""
    at = error.locations[0] if error.locations else Location(shown)
    verdict = Verdict.DAMAGED if error.exit_status == Verdict.DAMAGED.exit_status else Verdict.UNREADABLE
    reasons = (error.message, *error.details)
    return Finding("", arch, verdict, reasons, Location(shown, at.line), error.hint or "envlock lock")


def _line_with(data: bytes, text: str) -> int | None:
    lines = data.decode().splitlines()
    return next((number for number, line in enumerate(lines, start=1) if text in line), None)
