"""`check --online`: whether tags have moved since they were pinned, and whether indexes still offer what is locked.

Goes on from the lock files as the offline check read them: no file is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from envlock.addresses import address
from envlock.cache.parallel import in_parallel
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, Location
from envlock.lockfile.document import parse
from envlock.named.alias import are_whole_ids, parse_alias
from envlock.named.lookup import Lookup
from envlock.named.pin import pin_path
from envlock.reporter import Reporter
from envlock.resolve.index_check import FileFacts, files_of
from envlock.resolve.uv_failures import yanked_sentence
from envlock.workflow.check import CheckResult, check_and_read
from envlock.workflow.check_rules import Finding, Verdict
from envlock.workflow.needed_locks import locks_of

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock
    from envlock.named.pin import Pin


def check_online(project: Project, selection: Selection | None = None, reporter: Reporter | None = None) -> CheckResult:
    """As `check`; with what the cache and the indexes say of what is pinned and locked.

    Raises CacheUnusable, what is wrong with a tag's history, and what `files_of` raises.
    """
    selection = selection or Selection()
    result, read = check_and_read(project, selection)
    result = with_cache(project, result, selection)
    findings = _yanked(project, read, selection, reporter or Reporter())
    return result._replace(findings=(*result.findings, *findings))


def with_cache(project: Project, result: CheckResult, selection: Selection | None = None) -> CheckResult:
    """The result, with the pinned aliases that the cache has moved or tells otherwise; each alias is looked up once.

    A reference by ids, or by a pathspec, cannot move. Raises CacheUnusable, and what is wrong with a tag's history.
    """
    pins: dict[Pin, list[Environment]] = {}
    for environment in (selection or Selection()).choose(project):
        pin = environment.base.pin if environment.base is not None else None
        if pin is not None and pin.kind == "name" and not are_whole_ids(pin.reference):
            pins.setdefault(pin, []).append(environment)
    if not pins:
        return result
    lookup = Lookup(project)
    found = [finding for pin, users in pins.items() for finding in _of_pin(project, lookup, pin, users)]
    return result._replace(findings=(*result.findings, *found))


def _of_pin(project: Project, lookup: Lookup, pin: Pin, users: Sequence[Environment]) -> Iterator[Finding]:
    alias = parse_alias(pin.reference)
    newest = lookup.aliases.newest(alias)
    wrong = lookup.aliases.disagreement(pin, newest)
    names = ", ".join(each.name for each in users)
    if wrong:
        path = pin_path(project.lock_folder, pin.kind, pin.reference).relative_to(project.folder).as_posix()
        reasons = (f"`{alias}` is pinned to {pin.req_id}, move {pin.sequence}", wrong)
        repair = f"`git log -- {path}` and `envlock alias log {alias}` tell which of the two was changed"
        yield Finding(names, "", Verdict.PIN_DISAGREES, reasons, Location(path), repair)
    elif newest is not None and newest.ids != pin.ids:
        why = f": {newest.why}" if newest.why else ""
        news = f"{newest.who} made move {newest.sequence} at {newest.when}{why}"
        moved = f"`{alias}` is pinned to move {pin.sequence}, and {news}"
        at = project.locate(users[0].base.key) if users[0].base else None
        repair = f"envlock lock --upgrade-alias {alias}, to use what it names now"
        yield Finding(names, "", Verdict.ALIAS_MOVED, (moved,), at, repair)


def _yanked(project: Project, read: Mapping[Path, bytes], selection: Selection, reporter: Reporter) -> list[Finding]:
    """The locked releases that were yanked, or are no longer on their index. One request a package.

    `read` is what the lock files hold. Raises what `files_of` raises.
    """
    locks = dict(_locks(project, read, selection))
    packages: dict[tuple[str, str], tuple[str, str]] = {}
    pages: set[str] = set()
    for lock, users in locks.values():
        for package in lock.pypi_packages:
            if package.index:
                written = as_written(project, users[0], package.index)
                packages.setdefault((written, package.name), (users[0].name, lock.arch))
                pages.update({written}.intersection(users[0].find_links_urls))
    files: dict[tuple[str, str], dict[str, FileFacts]] = {}
    errors: list[EnvlockError] = []
    reporter.began("asking indexes", len(packages), "packages")
    for key, found in in_parallel(lambda key: files_of(*key, *packages[key], is_page=key[0] in pages), packages):
        reporter.advanced("asking indexes", key[1])
        if isinstance(found, EnvlockError):
            errors.append(found)
        else:
            files[key] = found
    reporter.ended("asking indexes")
    if errors:
        raise errors[0]
    return [each for path, (lock, users) in locks.items() for each in _yanked_of(project, path, lock, users, files)]


def _locks(
    project: Project, read: Mapping[Path, bytes], selection: Selection
) -> Iterator[tuple[Path, tuple[Lock, list[Environment]]]]:
    """The whole locks of the chosen environments, each once, with the environments that need it."""
    users: dict[Path, list[Environment]] = {}
    for environment in selection.choose(project):
        if not environment.is_fetched:
            for arch in selection.choose_archs(project):
                for path in locks_of(project, environment, arch):
                    users.setdefault(path, []).append(environment)
    for path, environments in users.items():
        if path in read:  # else what is wrong with it is found already
            yield path, (parse(read[path], project.shown(path)), environments)


def as_written(project: Project, environment: Environment, index: str) -> str:
    """The index of a lock as envlock.toml has it, with credentials; as locked, if envlock.toml does not have it."""
    same = (each for each in environment.every_index_url if address(each).kept.rstrip("/") == index.rstrip("/"))
    return next(same, project.mirrored(index))


def _yanked_of(
    project: Project,
    path: Path,
    lock: Lock,
    users: Sequence[Environment],
    files: Mapping[tuple[str, str], Mapping[str, FileFacts]],
) -> Iterator[Finding]:
    reasons: dict[str, str] = {}
    for package in lock.pypi_packages:
        there = files.get((as_written(project, users[0], package.index), package.name)) if package.index else None
        if there is None:
            continue
        filename = package.source.filename if package.source is not None else package.filename
        if filename not in there:
            reasons[package.name] = f"{filename} is no longer on {package.index}"
        elif (why := there[filename].yanked) is not None:
            reasons[package.name] = yanked_sentence(package.name, package.version, why)
    if reasons:
        keys = [key for each in users for name in reasons if (key := each.origin(name)) is not None]
        at = project.locate(keys[0]) if keys else Location(project.shown(path))
        repair = "envlock lock " + " ".join(f"-P {name}" for name in reasons)
        names = ", ".join(each.name for each in users)
        yield Finding(names, lock.arch, Verdict.YANKED, tuple(reasons.values()), at, repair)
