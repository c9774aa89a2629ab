"""`check --online`: whether names still stand for what they are pinned to, by the cache, and what indexes took back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock.addresses import address
from envlock.cache.parallel import in_parallel
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, Location
from envlock.lockfile.folder import read_lock
from envlock.named.alias import are_whole_ids, parse_alias
from envlock.named.lookup import Lookup
from envlock.named.pin import pin_path
from envlock.reporter import Reporter
from envlock.resolve.index_check import files_of
from envlock.resolve.uv_failures import yanked_sentence
from envlock.workflow.check import CheckResult
from envlock.workflow.check_rules import Finding, Verdict
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock
    from envlock.named.pin import Pin


def with_cache(project: Project, verdict: CheckResult, selection: Selection | None = None) -> CheckResult:
    """The verdict, with what the cache says of the pinned names: once for each, whoever names it.

    What is pinned by its ids or a pathspec cannot move. Raises CacheUnusable, and what is wrong with a name's history.
    """
    named: dict[Pin, list[Environment]] = {}
    for environment in (selection or Selection()).choose(project):
        pin = environment.base.pin if environment.base is not None else None
        if pin is not None and pin.kind == "name" and not are_whole_ids(pin.reference):
            named.setdefault(pin, []).append(environment)
    if not named:
        return verdict
    lookup = Lookup(project)
    found = [each for pin, asking in named.items() for each in _findings(project, lookup, pin, asking)]
    return verdict._replace(findings=(*verdict.findings, *found))


def _findings(project: Project, lookup: Lookup, pin: Pin, asking: Sequence[Environment]) -> Iterator[Finding]:
    alias = parse_alias(pin.reference)
    newest = lookup.aliases.newest(alias)
    wrong = lookup.aliases.disagreement(pin, newest)
    if wrong:
        path = pin_path(project.lock_folder, pin.kind, pin.reference).relative_to(project.folder)
        yield Finding(
            environment=", ".join(each.name for each in asking),
            arch="",
            verdict=Verdict.PIN_DISAGREES,
            reasons=(f"`{alias}` is pinned to {pin.req_id}, move {pin.sequence}", wrong),
            location=Location(path.as_posix()),
            repair=f"`git log -- {path.as_posix()}` and `envlock alias log {alias}` tell which of the two was changed",
        )
    elif newest is not None and newest.ids != pin.ids:
        why = f": {newest.why}" if newest.why else ""
        news = f"{newest.who} made move {newest.sequence} at {newest.when}{why}"
        yield Finding(
            environment=", ".join(each.name for each in asking),
            arch="",
            verdict=Verdict.ALIAS_MOVED,
            reasons=(f"`{alias}` is pinned to move {pin.sequence}, and {news}",),
            location=project.locate(asking[0].base.key) if asking[0].base else None,
            repair=f"envlock lock --upgrade-alias {alias}, where you want what it stands for now",
        )


def with_indexes(
    project: Project, verdict: CheckResult, selection: Selection | None = None, reporter: Reporter | None = None
) -> CheckResult:
    """The verdict, with the locked releases that were yanked, or are on their index no more. One request a package.

    Raises what `files_of` raises.
    """
    selection = selection or Selection()
    reporter = reporter or Reporter()
    locks = dict(_locks(project, selection))
    asked: dict[tuple[str, str], tuple[str, str]] = {}
    for lock, environments in locks.values():
        for package in lock.pypi_packages:
            if package.index:
                written = _as_written(environments[0], package.index)
                asked.setdefault((written, package.name), (environments[0].name, lock.arch))
    files: dict[tuple[str, str], dict[str, str | None]] = {}
    errors: list[EnvlockError] = []
    reporter.began("asking", len(asked), "packages")
    for key, found in in_parallel(lambda key: files_of(*key, *asked[key]), asked):
        reporter.advanced("asking", key[1])
        if isinstance(found, EnvlockError):
            errors.append(found)
        else:
            files[key] = found
    reporter.ended("asking")
    if errors:
        raise errors[0]
    findings = [
        each for path, (lock, asking) in locks.items() for each in _taken_back(project, path, lock, asking, files)
    ]
    return verdict._replace(findings=(*verdict.findings, *findings))


def _locks(project: Project, selection: Selection) -> Iterator[tuple[Path, tuple[Lock, list[Environment]]]]:
    """The whole locks of the chosen environments, each once, with who asks for it."""
    asking: dict[Path, list[Environment]] = {}
    for environment in selection.choose(project):
        if not environment.deferred and not environment.is_fetched:
            for arch in selection.choose_archs(project):
                for path in locks_of(project, environment, arch):
                    asking.setdefault(path, []).append(environment)
    for path, environments in asking.items():
        with suppress(EnvlockError):  # what is wrong with it is found already
            yield path, (read_lock(path), environments)


def _as_written(environment: Environment, index: str) -> str:
    """The index that a lock names as envlock.toml has it, with credentials; where it has it not, as locked."""
    same = (each for each in environment.every_index_url if address(each).kept.rstrip("/") == index.rstrip("/"))
    return next(same, index)


def _taken_back(
    project: Project,
    path: Path,
    lock: Lock,
    asking: Sequence[Environment],
    files: Mapping[tuple[str, str], Mapping[str, str | None]],
) -> Iterator[Finding]:
    reasons: dict[str, str] = {}
    for package in lock.pypi_packages:
        there = files.get((_as_written(asking[0], package.index), package.name)) if package.index else None
        if there is None:
            continue
        if package.filename not in there:
            reasons[package.name] = f"{package.filename} is not on {package.index} any more"
        elif (why := there[package.filename]) is not None:
            reasons[package.name] = yanked_sentence(package.name, package.version, why)
    if reasons:
        keys = (each.origin(name) for each in asking for name in reasons)
        key = next((key for key in keys if key is not None), None)
        yield Finding(
            environment=", ".join(each.name for each in asking),
            arch=lock.arch,
            verdict=Verdict.YANKED,
            reasons=tuple(reasons.values()),
            location=project.locate(key) if key else Location(path.relative_to(project.folder).as_posix()),
            repair="envlock lock " + " ".join(f"-P {name}" for name in reasons),
        )
