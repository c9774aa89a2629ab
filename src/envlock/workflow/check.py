"""`check`: whether envlock.toml and the locks still agree. Offline, read-only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from envlock.config.project import Environment, Flow, KeyPath, Project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, Location
from envlock.lockfile.folder import candidates, lock_files, read_lock
from envlock.model.arch import Arch
from envlock.values import NamedTuple
from envlock.workflow.check_rules import Finding, Verdict, findings_of, unreadable
from envlock.workflow.needed_locks import NeededLocks, locks_of

TYPE_CHECKING = False  # a lock is read whole only to say what is wrong
if TYPE_CHECKING:
    from envlock.model.lock import Lock


class CheckResult(NamedTuple):
    """What `check` found."""

    findings: tuple[Finding, ...]
    environments: int
    """Those that are locked, or ought to be."""
    archs: int
    fetched: int = 0
    """Environments that are looked up when their step starts, so there is nothing to check."""
    environment_names: tuple[str, ...] = ()
    arch_names: tuple[Arch, ...] = ()
    fetched_names: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 fresh, 1 stale or missing, 2 unusable configuration, 3 damaged: the gravest of the findings."""
        return max((finding.exit_status for finding in self.findings), default=0)


def check(project: Project, selection: Selection | None = None) -> CheckResult:
    """Whether each chosen environment has one whole lock for each chosen arch, made for its requirements.

    Reads the locks and nothing else; writes nothing. Good locks cost a fraction of a millisecond each; heavier
    machinery is imported only to explain what is wrong.
    """
    return _checked(project, selection or Selection(), None)


def check_index(project: Project) -> tuple[Finding, ...] | None:
    """Whether git's index, and so a commit, has the locks, and what they were made from, as they are.

    That is envlock.toml, with its team files and requirement files. None outside of a work tree.
    """
    import shlex

    from envlock import words
    from envlock.lockfile.merge_conflicts import not_added

    others = (project.path, *project.team_files, *project.files)
    found = not_added(project.lock_folder, *others)
    if not found:
        return None if found is None else ()
    names = [*map(project.shown, (project.path, project.lock_folder)), *map(project.shown, others[1:])]
    named = [name for name in names if any(path == name or path.startswith(f"{name}/") for path in found)]
    reasons = (f"git's index lacks {words.first_of(words.short_paths(found), 3)}, or has another version of it",)
    at = Location(names[1] if names[1] in named else named[0] if named else names[0])
    added = " ".join(shlex.quote(os.path.relpath(project.folder / name)) for name in named or names)
    return (Finding("", "", Verdict.NOT_ADDED, reasons, at, f"git add {added}"),)


def check_and_read(project: Project, selection: Selection) -> tuple[CheckResult, Mapping[Path, bytes]]:
    """As `check`; with what each lock file held when it was checked, for who goes on with the locks."""
    read: dict[Path, bytes] = {}
    return _checked(project, selection, read), read


def _checked(project: Project, selection: Selection, read: dict[Path, bytes] | None) -> CheckResult:
    environments = selection.choose(project)
    archs = selection.choose_archs(project)
    fetched = tuple(environment.name for environment in environments if environment.is_fetched)
    locked = tuple(environment.name for environment in environments if not environment.is_fetched)
    findings = tuple(_Check(project, read).run(environments, archs, selection))
    return CheckResult(findings, len(locked), len(archs), len(fetched), locked, archs, fetched)


class _Check:
    """One pass over a project. Looks at each lock file once, however many environments share it."""

    def __init__(self, project: Project, read: dict[Path, bytes] | None) -> None:
        self.project = project
        self.read = read
        self.folder = project.lock_folder
        self.needed = NeededLocks(project)
        self.files: dict[Path, tuple[Finding, ...]] = {}
        """What is wrong with the lock files that were looked at."""
        self.places: dict[tuple[str, Arch], tuple[Path, ...]] = {}
        """Where the locks of environments without a base are, by req_id and arch."""
        self.explained: set[Path] = set()
        """Old locks that a finding is about already."""
        self.others: list[tuple[Path, Lock]] | None = None

    def run(
        self, environments: tuple[Environment, ...], archs: tuple[Arch, ...], selection: Selection
    ) -> Iterator[Finding]:
        for environment in environments:
            base = environment.base
            if base is not None and (base.fetch_at_exec or base.pin is None):
                yield from self.unpinned(environment, archs)
            else:
                for arch in archs:
                    yield from self.environment(environment, arch)
        yield from map(self.steps_unknown, selection.doubtful_flows(self.project))
        if selection.is_everything:
            yield from self.orphans()

    def environment(self, environment: Environment, arch: Arch) -> Iterator[Finding]:
        base = environment.base
        if base is not None and base.pin is not None and base.pin.full_id(arch) is None:
            yield self.base_lacks_arch(environment, arch)
            return
        key = (environment.requirements.req_id, arch)
        paths = self.places.get(key) if base is None else None
        if paths is None:
            paths = locks_of(self.project, environment, arch)
            if base is None:
                self.places[key] = paths
        if not paths:
            yield self.unlocked(environment, arch)
        if len(paths) > 1:
            reasons = tuple(f"{self.project.shown(path)} locks it too" for path in paths[1:])
            at = Location(self.project.shown(paths[0]))
            yield Finding(environment.name, arch, Verdict.TWO_LOCKS, reasons, at)
        for path in paths:
            if path not in self.files:
                self.files[path] = tuple(findings_of(self.project, arch, path, self.read))
            for finding in self.files[path]:
                yield finding._replace(environment=environment.name)

    def finding(
        self,
        environment: Environment,
        arch: str,
        verdict: Verdict,
        *reasons: str,
        key: KeyPath | None = None,
        repair: str = "envlock lock",
    ) -> Finding:
        """What is wrong with an environment, at its table of envlock.toml or another key."""
        at = self.project.locate(key or environment.key)
        return Finding(environment.name, arch, verdict, reasons, at, repair)

    def unlocked(self, environment: Environment, arch: Arch) -> Finding:
        """Why an environment has no lock for an arch: never locked, this arch missing, or changed since."""
        if environment.base is not None and not environment.base.extends:
            return self.without_its_lock(environment, arch)
        own = [(path, lock) for path, lock in self.readable() if environment.name in lock.asked_by]
        before = self.predecessor(environment, arch, [lock for _, lock in own]) if own else None
        if before is not None:
            branches = [each for each in own if each[1].arch == arch and each[1].req_id not in self.needed.req_ids]
            self.explained.update(path for path, lock in own if lock == before)
            self.explained.update(path for path, _ in branches)
            return self.changed(environment, arch, before, len({lock for _, lock in branches}))
        req_id, archs = environment.requirements.req_id, self.project.settings.archs
        elsewhere = [other for other in archs if candidates(self.folder, other, req_id)]
        if not elsewhere:
            return self.finding(environment, arch, Verdict.MISSING, "never locked")
        reason = f"locked only for {', '.join(elsewhere)}"
        return self.finding(environment, arch, Verdict.ARCH_MISSING, reason, repair=f"envlock lock --arch {arch}")

    def predecessor(self, environment: Environment, arch: Arch, own: list[Lock]) -> Lock | None:
        """The lock that an environment had before it changed."""
        from envlock.workflow.locking.previous_locks import predecessor

        return predecessor(environment, arch, own, self.needed.req_ids)

    def without_its_lock(self, environment: Environment, arch: Arch) -> Finding:
        """Why the lock that a named environment is pinned to is not there."""
        base = environment.base
        assert base is not None
        if candidates(self.folder, arch, environment.requirements.req_id):
            reason = f"`{base.reference}` is {base.full_id(arch)}, and another environment is locked"
            return self.finding(environment, arch, Verdict.STALE, reason, key=base.key)
        return self.finding(
            environment, arch, Verdict.MISSING, f"the lock of `{base.reference}` is not here", key=base.key
        )

    def changed(self, environment: Environment, arch: Arch, before: Lock, branches: int) -> Finding:
        from envlock.lockfile.differences import differences

        found = differences(before, environment.requirements)
        graver = [difference for difference in found if not difference.is_satisfied] or list(found)
        keys = [key for key in (environment.origin(difference.thing) for difference in graver) if key]
        reasons = [_with_paths(difference.sentence, environment) for difference in graver]
        if branches > 1:
            reasons.append(f"{branches} branches that locked it were merged; `envlock lock` keeps the packages of all")
        verdict = Verdict.RESTAMP if all(difference.is_satisfied for difference in found) else Verdict.STALE
        return self.finding(environment, arch, verdict, *reasons, key=keys[0] if keys else None)

    def unpinned(self, environment: Environment, archs: tuple[Arch, ...]) -> Iterator[Finding]:
        """What is wrong with a named environment that has no pin yet."""
        from envlock.named.pin import base_error

        base = environment.base
        assert base is not None
        if base.fetch_at_exec:
            return
        error = base_error(self.project, environment)
        if error is None:
            for arch in archs:
                reason = f"`{base.reference}` has not been resolved yet"
                yield self.finding(environment, arch, Verdict.MISSING, reason, key=base.key)
            return
        verdicts = {"damaged-pin": Verdict.DAMAGED, "newer-pin-format": Verdict.UNREADABLE}
        verdict, reasons = verdicts.get(error.code, Verdict.UNKNOWN_NAME), (error.message, *error.details)
        yield Finding(environment.name, "", verdict, reasons, error.locations[0], error.hint or "envlock lock")

    def base_lacks_arch(self, environment: Environment, arch: Arch) -> Finding:
        from envlock.named.errors import ways_to_have

        base = environment.base
        assert base is not None
        assert base.pin is not None
        there = ", ".join(each for each, _ in base.pin.full_ids)
        reason = f"`{base.reference}` is not there for {arch}; it is there for {there}"
        repair = ways_to_have(base.pin, arch)
        return self.finding(environment, arch, Verdict.BASE_LACKS_ARCH, reason, key=base.key, repair=repair)

    def steps_unknown(self, flow: Flow) -> Finding:
        """That a flow may have other steps than those that are checked."""
        first, *others = flow.doubts
        reasons = [first.reason, *(f"{self.project.shown(at.path)}:{at.line}: {at.reason}" for at in others)]
        if flow.missing:
            reasons.append(f"steps that it has, and that cannot be read: {', '.join(flow.missing)}")
        steps = ", ".join(f'"{step}"' for step in (*(step.name for step in flow.steps), *flow.missing))
        repair = f"write `steps = [{steps}]` in `[flow.{flow.name}]`, and what else it has, then `envlock lock`"
        at = Location(self.project.shown(first.path), first.line)
        return Finding(f"{flow.name}/*", "", Verdict.STEPS_UNKNOWN, tuple(reasons), at, repair)

    def orphans(self) -> Iterator[Finding]:
        """Locks that no environment needs, and pins that none names."""
        for path in lock_files(self.folder):
            if path not in self.explained and not self.needed.has(path):
                yield self.orphan(path)
        if os.path.isdir(self.folder / "aliases"):  # noqa: PTH112  no pins, nothing to import
            from envlock.named.pin import unnamed_pins

            for path in unnamed_pins(self.project):
                reasons = ("no environment of envlock.toml names what this pins",)
                yield Finding("", "", Verdict.ORPHAN, reasons, Location(self.project.shown(path)))

    def orphan(self, path: Path) -> Finding:
        from envlock.lockfile.errors import ConflictMarkersInLock

        arch, shown = path.parent.parent.name, self.project.shown(path)
        try:
            read_lock(path, shown=shown)
        except ConflictMarkersInLock as error:
            return unreadable(arch, shown, error)
        except EnvlockError:  # whatever is wrong with it, it goes
            pass
        reasons = ("no environment of envlock.toml needs this lock",)
        return Finding("", arch, Verdict.ORPHAN, reasons, Location(shown))

    def readable(self) -> list[tuple[Path, Lock]]:
        """The locks that can be read, read once: one that others still need may have been this environment's too."""
        if self.others is None:
            self.others = [(path, lock) for path in lock_files(self.folder) for lock in self._whole_in(path)]
        return self.others

    def _whole_in(self, path: Path) -> tuple[Lock, ...]:
        try:
            return self.locks_in(path)
        except EnvlockError:  # a damaged one explains nothing; it is reported by itself
            return ()

    def locks_in(self, path: Path) -> tuple[Lock, ...]:
        """The lock in a file; of one with conflict markers, both sides. Raises as `read_lock`."""
        from envlock.lockfile.errors import ConflictMarkersInLock
        from envlock.lockfile.merge_conflicts import locks_in

        try:
            return (read_lock(path),)
        except ConflictMarkersInLock:
            return tuple(lock for lock, _ in locks_in(path, self.project.shown(path)))


def _with_paths(sentence: str, environment: Environment) -> str:
    """The sentence with the paths of folders and files in place of URLs that hash what is in them."""
    for url, path in environment.local:
        sentence = sentence.replace(url, f"`{path}` as it is now")
    return sentence
