"""What `envlock cache` prints: the contents of a cache, what verifying it found, and what gc deletes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.gc import ENVIRONMENT, KINDS, KIT, LEFTOVER, PACKAGE, PART, PLAN, POINTER, Unneeded
from envlock.cache.gc_roots import BY_AGE, BY_ALIAS, BY_DOUBT, BY_LOCK, BY_PUSH, BY_RUN
from envlock.cache.verify import (
    DAMAGED_IMAGE,
    DAMAGED_KIT,
    DAMAGED_LOCK,
    DAMAGED_PACKAGE,
    DAMAGED_PART,
    DAMAGED_PLAN,
    MISSING_KIT,
    MISSING_PART,
)
from envlock.errors import EnvlockError, one_line
from envlock.words import byte_size, count, first_of, listed, short_hashes, short_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from envlock.cache.contents import CachedEnvironment, Contents
    from envlock.cache.gc import Garbage, Limits
    from envlock.cache.verify import CacheFinding
    from envlock.workflow.cache import VerifiedCache

_NAMES_SHOWN = 2
_LARGEST_SHOWN = 5
_TITLES = {
    ENVIRONMENT: "environments",
    PACKAGE: "packages",
    PLAN: "plans",
    KIT: "files of kits",
    PART: "parts of packs",
    POINTER: "records of them",
    LEFTOVER: "left by killed processes",
}
_KEPT = {
    BY_ALIAS: ("name", "by aliases"),
    BY_RUN: ("run", "by runs"),
    BY_LOCK: ("lock", "by locks"),
    BY_PUSH: ("push", "by pushes under way"),
    BY_AGE: ("age", "by their age"),
    BY_DOUBT: ("read", "by files that cannot be read"),
}
"""What environments are kept by: the key in `--json`, and the words for a person."""
_PUSHED_AGAIN = {
    DAMAGED_PLAN: "deleted: `envlock push` writes it again",
    DAMAGED_KIT: "deleted, with the plans that name it: `envlock push` writes them again",
    MISSING_KIT: "the plans that name it are deleted: `envlock push` writes them again",
    DAMAGED_IMAGE: "deleted: `envlock image` writes it again",
    DAMAGED_PART: "deleted; nodes use the packages until `envlock push --pack` packs again",
    MISSING_PART: "nodes use the packages until `envlock push --pack` packs again",
}
_DAY = 24 * 3600


def contents_table(contents: Contents) -> Table:
    """The environments of a cache, one a row."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("environment", "arch", "identity", "python"):
        table.add_column(title, no_wrap=True)
    for title in ("packages", "size", *(["plans"] if contents.plans else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for each in contents.environments:
        identity = short_ids(each.place.identity)
        if isinstance(each.lock, EnvlockError):
            table.add_row(f"({each.lock.code})", each.place.arch, identity)
            continue
        packages = f"{len(each.artifacts)}, {len(each.missing)} missing" if each.missing else str(len(each.artifacts))
        python = each.lock.python.series if each.lock.python.source == "machine" else each.lock.python.version
        row = [_names(each.lock.asked_by), each.place.arch, identity, python, packages, byte_size(each.size)]
        table.add_row(*row, *([str(len(each.plans) or "")] if contents.plans else []))
    return table


def contents_summary(contents: Contents) -> str:
    """Totals, and anything unusual."""
    packages, environments, *more = _totals(contents)
    lines = ["", f"{listed([environments, packages, *more])} in {contents.url}"]
    if contents.unnamed:
        size = sum(contents.packages[path] for path in contents.unnamed)
        lines.append(f"{count(len(contents.unnamed), 'package')} of them ({byte_size(size)}) belong to no environment")
    if contents.errors or any(each.missing or isinstance(each.lock, EnvlockError) for each in contents.environments):
        lines.append("something is damaged or missing: run `envlock cache verify`")
    return "\n".join(lines)


def _totals(contents: Contents) -> list[str]:
    """All that a cache has, in words: packages, environments, and what remote steps need."""
    packages = f"{count(len(contents.packages), 'package')} ({byte_size(contents.size)})"
    found = [packages, count(len(contents.environments), "environment")]
    if contents.plans or contents.kits:
        kits = count(len(contents.kits), "file of kits", "files of kits")
        found += [count(len(contents.plans), "plan"), f"{kits} ({byte_size(contents.kits_size)})"]
    if contents.parts:
        found.append(f"{count(len(contents.parts), 'part')} ({byte_size(contents.parts_size)})")
    return found


def contents_document(contents: Contents) -> dict[str, object]:
    """A cache's contents, for `--json`."""
    return {
        "cache": contents.url,
        "packages": len(contents.packages),
        "bytes": contents.size,
        "unnamed_packages": list(contents.unnamed),
        "plans": len(contents.plans),
        "kits": len(contents.kits),
        "kit_bytes": contents.kits_size,
        "parts": len(contents.parts),
        "part_bytes": contents.parts_size,
        "strangers": list(contents.strangers),
        "error": contents.format_error.as_dict() if contents.format_error else None,
        "environments": [_environment_document(each) for each in contents.environments],
    }


def _environment_document(each: CachedEnvironment) -> dict[str, object]:
    unreadable = isinstance(each.lock, EnvlockError)
    return {
        "identity": each.place.identity,
        "req_id": each.place.req_id,
        "full_id": each.place.full_id,
        "arch": each.place.arch,
        "asked_by": [] if isinstance(each.lock, EnvlockError) else list(each.lock.asked_by),
        "python": None if isinstance(each.lock, EnvlockError) else each.lock.python.version,
        "packages": None if unreadable else len(each.artifacts),
        "bytes": None if unreadable else each.size,
        "missing": [artifact.filename for artifact in each.missing],
        "plans": len(each.plans),
        "error": each.lock.as_dict() if isinstance(each.lock, EnvlockError) else None,
    }


def names_in(contents: Contents) -> dict[str, str]:
    """The steps and tables of each environment, by `identity on arch`, with the first digits of its ids."""
    found = {}
    for each in contents.environments:
        place = f"{each.place.identity} on {each.place.arch}"
        asked_by = () if isinstance(each.lock, EnvlockError) else each.lock.asked_by
        found[place] = (
            f"{first_of(asked_by, _NAMES_SHOWN)} ({short_hashes(place)})" if asked_by else short_hashes(place)
        )
    return found


def finding_text(finding: CacheFinding, names: Mapping[str, str], *, is_repaired: bool) -> str:
    """One finding, as a paragraph; `names` are those of `names_in`."""
    lines = [f"{finding.verdict}: {one_line(short_hashes(finding.path))}", f"  {one_line(finding.reason)}"]
    if finding.needed_by:
        lines.append(f"  needed by {_names([names.get(each, short_hashes(each)) for each in finding.needed_by])}")
    elif finding.verdict in {DAMAGED_PACKAGE, DAMAGED_KIT, DAMAGED_PART}:
        lines.append("  needed by no environment")
    if is_repaired:
        lines.append(f"  {_PUSHED_AGAIN.get(finding.verdict, 'repaired')}")
    return "\n".join(lines) + "\n"


def empty_text(contents: Contents) -> str:
    """What is said of an empty cache."""
    return f"{contents.url} is empty; fill it with `envlock push`"


def verification_summary(result: VerifiedCache, *, repair: bool) -> str:
    """How much was verified, how much of it is damaged, and the next command."""
    contents = result.verification.contents
    read = f"verified {listed(_totals(contents))} in {contents.url}"
    if not result.verification.findings:
        if contents.is_empty:
            return empty_text(contents)
        return f"{read}: nothing is damaged"
    found = f"{read}: {count(len(result.verification.findings), 'finding')}"
    if not result.findings:
        return f"{found}, all repaired"
    if repair:
        hint = "repair a damaged lock from its project: run `envlock push` there"
        only_locks = all(finding.verdict == DAMAGED_LOCK for finding in result.findings)
        return f"{found}, {len(result.findings)} not repaired" + (f"\n{hint}" if only_locks else "")
    return f"{found}\nrepair: envlock cache verify --repair"


def verification_document(result: VerifiedCache, status: int) -> dict[str, object]:
    """A verification, for `--json`."""
    contents = result.verification.contents
    return {
        "cache": contents.url,
        "exit_status": status,
        "packages": len(contents.packages),
        "bytes": contents.size,
        "environments": len(contents.environments),
        "plans": len(contents.plans),
        "kits": len(contents.kits),
        "kit_bytes": contents.kits_size,
        "parts": len(contents.parts),
        "part_bytes": contents.parts_size,
        "unread_environments": list(result.verification.unread),
        "unread_plans": list(result.verification.unread_plans),
        "findings": [
            {
                "verdict": finding.verdict,
                "path": finding.path,
                "reason": finding.reason,
                "needed_by": list(finding.needed_by),
                "repaired": finding in result.repaired,
            }
            for finding in result.verification.findings
        ],
        "errors": [error.as_dict() for error in result.failures],
    }


def _names(names: Sequence[str]) -> str:
    return one_line(first_of(names, _NAMES_SHOWN))


def sweep_text(swept: Garbage, *, deleted: bool) -> str:
    """What is not needed and how large it is; what is kept and why."""
    lines = []
    if swept.doomed:
        verb = "deleted from" if deleted else "not needed in"
        lines.append(f"{verb} {swept.url}:")
        lines += [_row(swept, kind) for kind in _TITLES if swept.of(kind)]
        large = [*swept.of(PACKAGE), *swept.of(KIT), *swept.of(PART)]
        largest = sorted(large, key=lambda each: (-each.size, each.path))[:_LARGEST_SHOWN]
        if largest:
            lines += ["", "the largest:"]
            lines += [f"  {byte_size(each.size):>10}  {Path(each.path).name}, {_aged(each)}" for each in largest]
        lines.append("")
    else:
        lines.append(f"nothing to delete in {swept.url}")
    kept = sum(swept.kept.values())
    reasons = [f"{swept.kept[reason]} {said}" for reason, (_, said) in _KEPT.items() if swept.kept.get(reason)]
    lines.append(f"kept: {count(kept, 'environment')}" + (f", {', '.join(reasons)}" if reasons else ""))
    if swept.pushes:
        lines.append(f"{count(swept.pushes, 'push', 'pushes')} under way, or killed within a day")
    if swept.doomed and not deleted:
        lines.append("nothing was deleted; run again with `--delete` to delete it")
    if swept.unreadable:
        lines.append(f"{count(len(swept.unreadable), 'file')} cannot be read; what they may need is kept")
    return "\n".join(map(one_line, lines))


def sweep_document(swept: Garbage, limits: Limits, *, deleted: bool) -> dict[str, object]:
    """The same for `--json`, with every file."""
    totals = {}
    for kind in KINDS:
        going = swept.of(kind)
        total = swept.totals.get(kind)
        totals[kind] = {
            "files": len(going),
            "bytes": sum(each.size for each in going),
            "of_files": total.count if total else len(going),
            "of_bytes": total.size if total else sum(each.size for each in going),
        }
    return {
        "cache": swept.url,
        "deleted": deleted,
        "grace_seconds": limits.grace,
        "pathspecs_younger_than_seconds": limits.runs,
        "keep_moves": limits.moves,
        "bytes": swept.size,
        "kinds": totals,
        "kept": {_KEPT[reason][0]: number for reason, number in swept.kept.items()},
        "pushes": swept.pushes,
        "errors": [error.as_dict() for error in swept.unreadable],
        "files": [
            {"kind": each.kind, "path": each.path, "bytes": each.size, "age_seconds": round(each.age)}
            for each in swept.doomed
        ],
    }


def _row(swept: Garbage, kind: str) -> str:
    going, total = swept.of(kind), swept.totals.get(kind)
    size = sum(each.size for each in going)
    if total is None:
        return f"  {_TITLES[kind]}: {len(going)}"
    of = f" of {byte_size(total.size)}" if kind in {PACKAGE, KIT, PART} else ""
    return f"  {_TITLES[kind]}: {len(going)} of {total.count}" + (f", {byte_size(size)}{of}" if of else "")


def _aged(each: Unneeded) -> str:
    """Its age, in words.

    >>> _aged(Unneeded("package", "x", 1, 90_000.0)), _aged(Unneeded("package", "x", 1, 60.0))
    ('1 day old', 'less than a day old')
    """
    days = int(each.age // _DAY)
    return f"{count(days, 'day')} old" if days else "less than a day old"
