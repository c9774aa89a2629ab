"""`check`: whether envlock.toml and the locks still agree. Offline, read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from envlock.config.project import Environment, Flow, Project
from envlock.config.read import find_config, load_project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, Location
from envlock.lockfile.folder import candidates, full_id_of, lock_bytes, lock_files, read_lock
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import Arch
from envlock.model.url import strange_hosts
from envlock.workflow.needed_locks import NeededLocks, locks_of

TYPE_CHECKING = False  # a lock is read whole only to say what is wrong
if TYPE_CHECKING:
    from envlock.model.lock import Lock


EXIT_STATUS = {
    "missing": 1,
    "arch-missing": 1,
    "stale": 1,
    "restamp": 1,
    "two-locks": 1,
    "orphan": 1,
    "base-lacks-arch": 1,
    "alias-moved": 1,
    "yanked": 1,
    "not-yet": 2,
    "unknown-name": 2,
    "steps-unknown": 2,
    "unreadable": 2,
    "damaged": 3,
    "pin-disagrees": 3,
    "host-not-allowed": 3,
}
"""What `check` exits with, by verdict."""


class Finding(NamedTuple):
    """One thing that is not as it should be."""

    environment: str
    """`Flow/step` or an `[env.*]` name; empty for a file that belongs to none."""
    arch: str
    verdict: str
    """A key of EXIT_STATUS."""
    reasons: tuple[str, ...]
    location: Location | None
    repair: str
    """The command that repairs it."""

    @property
    def exit_status(self) -> int:
        """What `check` exits with for this finding alone."""
        return EXIT_STATUS[self.verdict]


class CheckResult(NamedTuple):
    """What `check` found."""

    findings: tuple[Finding, ...]
    environments: int
    """Those that are locked, or ought to be."""
    archs: int
    fetched: int = 0
    """Environments that are looked up when their step starts, so there is nothing to check."""

    @property
    def exit_status(self) -> int:
        """0 fresh, 1 stale or missing, 2 unusable configuration, 3 damaged: the gravest of the findings."""
        return max((finding.exit_status for finding in self.findings), default=0)


def check_config(config: Path | None = None, selection: Selection | None = None) -> tuple[Project, CheckResult]:
    """The project of `config` (or the one around the current folder), checked.

    Raises ConfigError where there is no envlock.toml, or a wrong one.
    """
    project = load_project(config or find_config(Path.cwd()))
    return project, check(project, selection)


def check(project: Project, selection: Selection | None = None) -> CheckResult:
    """Whether every chosen environment is locked for every chosen arch, by a lock that is whole and is what was asked.

    Reads the locks and nothing else; writes nothing. Good locks cost a fraction of a millisecond each; heavier
    machinery is imported only to explain what is wrong.
    """
    selection = selection or Selection()
    environments = selection.choose(project)
    archs = selection.choose_archs(project)
    fetched = sum(environment.is_fetched for environment in environments)
    findings = tuple(_Checking(project).run(environments, archs, selection))
    return CheckResult(findings, len(environments) - fetched, len(archs), fetched)


class _Checking:
    """One pass over a project; remembers what it has proved and who asks for what."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder = project.lock_folder
        self.claims = NeededLocks(project)
        self.proved: dict[Path, tuple[Finding, ...]] = {}
        self.places: dict[tuple[str, Arch], tuple[Path, ...]] = {}
        self.explained: set[Path] = set()
        self.others: list[tuple[Path, Lock]] | None = None

    def run(
        self, environments: tuple[Environment, ...], archs: tuple[Arch, ...], selection: Selection
    ) -> Iterator[Finding]:
        for environment in environments:
            if environment.deferred:
                yield self.not_yet(environment)
                continue
            if environment.base is not None and (environment.is_fetched or environment.base.pin is None):
                yield from self.unpinned(environment, archs)
                continue
            for arch in archs:
                yield from self.environment(environment, arch)
        yield from map(self.unread, selection.doubtful_flows(self.project))
        if selection.is_everything:
            yield from self.orphans()

    def environment(self, environment: Environment, arch: Arch) -> Iterator[Finding]:
        if environment.base is not None and (lacking := self.lacking(environment, arch)):
            yield lacking
            return
        key = (environment.requirements.req_id, arch)
        if environment.base is not None:
            paths = locks_of(self.project, environment, arch)
        elif key in self.places:
            paths = self.places[key]
        else:
            paths = self.places[key] = locks_of(self.project, environment, arch)
        if not paths:
            yield self.unlocked(environment, arch)
        if len(paths) > 1:
            yield Finding(
                environment=environment.name,
                arch=arch,
                verdict="two-locks",
                reasons=tuple(f"{self.project.shown(path)} locks it too" for path in paths[1:]),
                location=Location(self.project.shown(paths[0])),
                repair="envlock lock",
            )
        for path in paths:
            yield from self.file(environment, arch, path)

    def file(self, environment: Environment, arch: Arch, path: Path) -> Iterator[Finding]:
        """What is wrong with one lock file that should be this environment's: proved once, whoever shares it."""
        if path not in self.proved:
            self.proved[path] = tuple(self.of_file(arch, path))
        for finding in self.proved[path]:
            yield finding._replace(environment=environment.name)

    def of_file(self, arch: Arch, path: Path) -> Iterator[Finding]:
        """What is wrong with a lock file, whoever it is for."""
        try:
            proof = quick_summary(lock_bytes(path, shown=self.project.shown(path)))
            if proof is None:
                from envlock.lockfile.document import summary_of

                proof = summary_of(read_lock(path, shown=self.project.shown(path)))
        except EnvlockError as error:
            yield self.unreadable("", arch, path, error)
            return
        is_here = proof[:3] == (arch, path.parent.name, full_id_of(path))
        wrong = "" if is_here else "the file lies where another lock belongs"
        if wrong or proof.inconsistency:
            yield Finding(
                environment="",
                arch=arch,
                verdict="damaged",
                reasons=(wrong or proof.inconsistency,),
                location=Location(self.project.shown(path)),
                repair="envlock lock" if wrong else f"git checkout -- {self.project.shown(path)}",
            )
        settings = self.project.settings
        strange = strange_hosts(proof.all_urls(has_mirror=bool(settings.python_mirror)), settings.hosts)
        if strange:
            yield Finding(
                environment="",
                arch=arch,
                verdict="host-not-allowed",
                reasons=tuple(f"{name} is not among the hosts of envlock.toml" for name in strange),
                location=Location(self.project.shown(path), _line_with(path, strange[0])),
                repair=f"git checkout -- {self.project.shown(path)}, or add the host to `hosts` in envlock.toml",
            )

    def unlocked(self, environment: Environment, arch: Arch) -> Finding:
        """Why an environment has no lock for an arch: never locked, this arch missing, or changed since."""
        from envlock.workflow.previous_locks import predecessor

        if environment.base is not None and not environment.base.extends:
            return self.never_fetched(environment, arch)
        own = [(path, lock) for path, lock in self.readable() if environment.name in lock.asked_by]
        before = predecessor(environment, arch, [lock for _, lock in own], self.claims.req_ids)
        if before is not None:
            branches = [each for each in own if each[1].arch == arch and each[1].req_id not in self.claims.req_ids]
            self.explained.update(path for path, lock in own if lock == before)
            self.explained.update(path for path, _ in branches)
            return self.changed(environment, arch, before, len({lock for _, lock in branches}))
        elsewhere = [
            other
            for other in self.project.settings.archs
            if candidates(self.folder, other, environment.requirements.req_id)
        ]
        return Finding(
            environment=environment.name,
            arch=arch,
            verdict="arch-missing" if elsewhere else "missing",
            reasons=(f"locked only for {', '.join(elsewhere)}" if elsewhere else "never locked",),
            location=self.project.locate(environment.key),
            repair=f"envlock lock --arch {arch}" if elsewhere else "envlock lock",
        )

    def unpinned(self, environment: Environment, archs: tuple[Arch, ...]) -> Iterator[Finding]:
        """What is wrong with an environment that is named, and not known by that name yet."""
        from envlock.named.base import trouble

        base = environment.base
        assert base is not None
        if base.fetch_at_exec:
            return
        error = trouble(self.project, environment)
        if error is None:
            for arch in archs:
                yield Finding(
                    environment=environment.name,
                    arch=arch,
                    verdict="missing",
                    reasons=(f"what `{base.reference}` stands for was never looked up",),
                    location=self.project.locate(base.key),
                    repair="envlock lock",
                )
            return
        verdicts = {"damaged-pin": "damaged", "newer-pin-format": "unreadable"}
        yield Finding(
            environment=environment.name,
            arch="",
            verdict=verdicts.get(error.code, "unknown-name"),
            reasons=(error.message, *error.details),
            location=error.locations[0],
            repair=error.hint or "envlock lock",
        )

    def unread(self, flow: Flow) -> Finding:
        """That a flow may have other steps than those that are checked."""
        at = flow.doubts[0]
        reasons = [
            at.reason,
            *(f"{self.project.shown(doubt.path)}:{doubt.line}: {doubt.reason}" for doubt in flow.doubts[1:]),
        ]
        if flow.missing:
            reasons.append(f"steps that it has, and that cannot be read: {', '.join(flow.missing)}")
        steps = ", ".join(f'"{step}"' for step in (*(step.name for step in flow.steps), *flow.missing))
        return Finding(
            environment=f"{flow.name}/*",
            arch="",
            verdict="steps-unknown",
            reasons=tuple(reasons),
            location=Location(self.project.shown(at.path), at.line),
            repair=f"write `steps = [{steps}]` in `[flow.{flow.name}]`, and what else it has, then `envlock lock`",
        )

    def lacking(self, environment: Environment, arch: Arch) -> Finding | None:
        """That the environment which is named is not there for an arch, where it is not."""
        base = environment.base
        if base is None or base.pin is None or base.pin.full_id(arch) is not None:
            return None
        from envlock.named.errors import ways_to_have

        there = ", ".join(each for each, _ in base.pin.full_ids)
        return Finding(
            environment=environment.name,
            arch=arch,
            verdict="base-lacks-arch",
            reasons=(f"`{base.reference}` is not there for {arch}; it is there for {there}",),
            location=self.project.locate(base.key),
            repair=ways_to_have(base.pin, arch),
        )

    def never_fetched(self, environment: Environment, arch: Arch) -> Finding:
        """Why there is no lock of an environment that is a named one."""
        base, req_id = environment.base, environment.requirements.req_id
        assert base is not None
        others = candidates(self.folder, arch, req_id)
        return Finding(
            environment=environment.name,
            arch=arch,
            verdict="stale" if others else "missing",
            reasons=(
                (f"`{base.reference}` is {base.full_id(arch)}, and another environment is locked",)
                if others
                else (f"the lock of `{base.reference}` is not here",)
            ),
            location=self.project.locate(base.key),
            repair="envlock lock",
        )

    def changed(self, environment: Environment, arch: Arch, before: Lock, branches: int) -> Finding:
        from envlock.lockfile.differences import differences

        found = differences(before, environment.requirements)
        graver = [difference for difference in found if not difference.is_satisfied] or list(found)
        keys = [key for key in (environment.origin(difference.thing) for difference in graver) if key]
        merged = f"{branches} branches that locked it were merged; `envlock lock` keeps the packages of all"
        return Finding(
            environment=environment.name,
            arch=arch,
            verdict="restamp" if all(difference.is_satisfied for difference in found) else "stale",
            reasons=(*(difference.sentence for difference in graver), *([merged] if branches > 1 else [])),
            location=self.project.locate(keys[0] if keys else environment.key),
            repair="envlock lock",
        )

    def orphans(self) -> Iterator[Finding]:
        """Locks that no environment asks for, and pins that none names."""
        for path in lock_files(self.folder):
            if path not in self.explained and not self.claims.has(path):
                yield self.unasked(path)
        if os.path.isdir(self.folder / "aliases"):  # noqa: PTH112  no pins, nothing to import
            from envlock.named.pin import unnamed_pins

            for path in unnamed_pins(self.project):
                yield self.orphan(path, "", "no environment of envlock.toml names what this pins")

    def unasked(self, path: Path) -> Finding:
        from envlock.lockfile.errors import ConflictMarkersInLock

        arch = path.parent.parent.name
        try:
            read_lock(path, shown=self.project.shown(path))
        except ConflictMarkersInLock as error:
            return self.unreadable("", arch, path, error)
        except EnvlockError:  # whatever is wrong with it, it goes
            pass
        return self.orphan(path, arch, "no environment of envlock.toml asks for this lock")

    def orphan(self, path: Path, arch: str, reason: str) -> Finding:
        return Finding("", arch, "orphan", (reason,), Location(self.project.shown(path)), "envlock lock")

    def readable(self) -> list[tuple[Path, Lock]]:
        """The locks that can be read, read once: one that others still ask for may have been this environment's too."""
        if self.others is None:
            self.others = []
            for path in lock_files(self.folder):
                with suppress(EnvlockError):  # a damaged one explains nothing; it is reported by itself
                    self.others += [(path, lock) for lock in self.locks_in(path)]
        return self.others

    def locks_in(self, path: Path) -> tuple[Lock, ...]:
        """The lock in a file; of one with conflict markers, both sides. Raises as `read_lock`."""
        from envlock.lockfile.errors import ConflictMarkersInLock
        from envlock.lockfile.merge_conflicts import locks_in

        try:
            return (read_lock(path),)
        except ConflictMarkersInLock:
            return tuple(lock for lock, _ in locks_in(path, self.project.shown(path)))

    def not_yet(self, environment: Environment) -> Finding:
        table, key = environment.deferred[0]
        return Finding(
            environment=environment.name,
            arch="",
            verdict="not-yet",
            reasons=(f"`{table}` is read, but this version of envlock cannot resolve it yet",),
            location=self.project.locate(key),
            repair=f"take `{table}` out of envlock.toml, or wait for the version that resolves it",
        )

    def unreadable(self, environment: str, arch: str, path: Path, error: EnvlockError) -> Finding:
        at = error.locations[0] if error.locations else Location(self.project.shown(path))
        return Finding(
            environment=environment,
            arch=arch,
            verdict="damaged" if error.exit_status == 3 else "unreadable",
            reasons=(error.message, *error.details),
            location=Location(self.project.shown(path), at.line),
            repair=error.hint or "envlock lock",
        )


def _line_with(path: Path, text: str) -> int | None:
    lines = lock_bytes(path).decode().splitlines()
    return next((number for number, line in enumerate(lines, start=1) if text in line), None)
