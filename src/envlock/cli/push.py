"""`envlock push`: mirror the packages of all locks into the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, command
from envlock.cli.errors import BadUsage
from envlock.cli.options import ARCHS, CONFIG, DRY_RUN, ENVS, FLOWS, JSON, STEPS, open_project, selection
from envlock.errors import one_line
from envlock.words import byte_size, count, did, listed, short_hashes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.workflow.push import PushResult

_VERIFY = Flag("--verify", "Also read what is in the cache already, and replace damaged files.")

_PACK = Flag("--pack", "Also pack the environments, so that nodes unpack them instead of installing packages.")
_NO_PACK = Flag("--no-pack", "Pack nothing, whatever envlock.toml says; nodes install packages.")


@command(FLOWS, STEPS, ENVS, ARCHS, _VERIFY, _PACK, _NO_PACK, DRY_RUN, JSON, CONFIG)
def push(line: CommandLine) -> int:
    """Mirror the packages of the locks, for every arch, into the cache.

    Skips packages that are in the cache already, so an interrupted push continues where it stopped. Writes each
    environment after all of its packages. Then makes a plan for each environment on Linux, by which remote steps get
    it, unless `remote = false` is set or the cache is a folder.

    With `--pack`, or `pack` in `[envlock]`, it also packs these environments: nodes then unpack them, which is faster.

    For example:

    - `envlock push`
    - `envlock push --flow TrainFlow --arch linux-64`
    - `envlock push --pack`
    - `envlock push --dry-run`
    """
    from envlock.cli.console import say, write_err, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.push import push as push_locks

    if line.has(_PACK) and line.has(_NO_PACK):
        raise BadUsage("`--pack` and `--no-pack` exclude each other", "envlock push")
    project = open_project(line)
    if line.has(_PACK) and not project.settings.remote:
        raise BadUsage("`--pack` needs plans, and `remote = false` is set", "envlock push", hint="remote = true")
    pack = True if line.has(_PACK) else False if line.has(_NO_PACK) else None
    dry_run = line.has(DRY_RUN)
    with LiveReporter() as reporter:
        result = push_locks(
            project,
            selection=selection(line),
            reporter=reporter,
            verify=line.has(_VERIFY),
            dry_run=dry_run,
            pack=pack,
        )
    if line.has(JSON):
        write_json(as_document(result), dry_run=dry_run)
        return max((error.exit_status for error in result.all_failures), default=0)
    say(as_text(result, dry_run=dry_run))
    for note in _notes(result):
        write_err(one_line(note))
    result.raise_failures()
    return 0


def as_text(result: PushResult, *, dry_run: bool = False) -> str:
    """The result, as a sentence."""
    plans, packs = result.plans, result.plans.packs
    there = listed(
        [
            count(result.packages, "package"),
            count(result.environments, "environment"),
            *([count(plans.plans - len(plans.without), "plan")] if plans.plans > len(plans.without) else []),
            *([count(packs.packs, "pack")] if packs.packs else []),
        ]
    )
    if not result.environments:
        from envlock.cli.lock_text import later

        return f"nothing to push: {later(result.fetched) if result.fetched else 'no environment is selected'}"
    if result.moved_nothing:
        return f"nothing to push: {there} are already in {result.cache}"
    kits = f" (kits: {count(plans.moved, 'file')}, {byte_size(plans.moved_bytes)})" if plans.moved else ""
    parts = f" ({count(packs.moved, 'part')}, {byte_size(packs.moved_bytes)})" if not dry_run else ""
    moved = f"{count(result.moved, 'package')} ({byte_size(result.moved_bytes)})"
    done = listed(
        [
            moved,
            count(result.written, "environment"),
            *([f"{count(plans.written, 'plan')}{kits}"] if plans.plans else []),
            *([f"{count(packs.made, 'pack')}{parts}"] if packs.made else []),
        ]
    )
    is_all = (result.moved, result.written) == (result.packages, result.environments)
    return f"{did('pushed', dry_run=dry_run)} {done} to {result.cache}" + ("" if is_all else f", of {there}")


def as_document(result: PushResult) -> dict[str, object]:
    """The result, for `--json`."""
    packs = result.plans.packs
    return {
        "cache": result.cache,
        "packages": result.packages,
        "moved": result.moved,
        "moved_bytes": result.moved_bytes,
        "environments": result.environments,
        "written": result.written,
        "withheld": list(result.withheld),
        "damaged": [*result.damaged, *result.plans.damaged],
        "unread": result.unread,
        "collisions": [
            {"environment": environment, "path": each.path, "packages": list(each.owners)}
            for environment, found in result.collisions
            for each in found
        ],
        "plans": result.plans.plans,
        "plans_written": result.plans.written,
        "kits": result.plans.kits,
        "kits_moved": result.plans.moved,
        "kits_moved_bytes": result.plans.moved_bytes,
        "without_plan": list(result.plans.without),
        "plan_errors": [error.as_dict() for error in result.plans.errors],
        "plan_warnings": [error.as_dict() for error in result.plans.warnings],
        "packs": packs.packs,
        "packs_made": packs.made,
        "parts": packs.parts,
        "parts_moved": packs.moved,
        "parts_moved_bytes": packs.moved_bytes,
        "without_pack": list(packs.without),
        "pack_errors": [error.as_dict() for error in packs.errors],
        "errors": [error.as_dict() for error in result.all_failures],
    }


def _notes(result: PushResult) -> Iterator[str]:
    """Warnings and notes."""
    for sentence in _collisions(result):
        yield f"warning: {sentence}"
    damaged = (*result.damaged, *result.plans.damaged)
    if damaged:
        files = count(len(damaged), "file")
        yield f"warning: damaged in the cache, and replaced: {files} ({short_hashes(', '.join(damaged))})"
    if result.unread:
        were = "was" if result.unread == 1 else "were"
        yield (
            f"note: {count(result.unread, 'package')} {were} in the cache already (same name and size) and "
            f"{were} not read; `envlock push --verify` reads and repairs them"
        )
    for environment in result.withheld:
        yield f"not pushed, because a package is missing: {environment}"
    yield from plan_notes(result)


def plan_notes(result: PushResult) -> Iterator[str]:
    """Warnings about plans and packs."""
    plans, packs = result.plans, result.plans.packs
    warnings = (
        *plans.warnings,
        *(() if plans.is_failure else plans.errors),
        *(() if packs.is_failure else packs.errors),
    )
    for error in warnings:
        yield f"warning: {'; '.join([error.message, *error.details])}; {error.hint}"
    without = [each for each in plans.without if each not in result.withheld]
    if without:
        yield f"no plan for remote steps: {', '.join(without)}"
    for environment in packs.without:
        yield f"note: not packed, so nodes install its packages: {environment}"


def _collisions(result: PushResult) -> tuple[str, ...]:
    """Packages that install the same path: each pair once, with the first environment that has it."""
    from envlock.hydration.collisions import sentences

    said: dict[str, str] = {}
    for environment, found in result.collisions:
        for sentence in sentences(found):
            said.setdefault(sentence, environment)
    return tuple(f"{environment}: {sentence}" for sentence, environment in said.items())
