"""What a sweep of the cache takes away and leaves, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from envlock.cache.gc import ENVIRONMENT, KINDS, LEFTOVER, PACKAGE, POINTER, Unneeded
from envlock.cache.gc_roots import BY_AGE, BY_DOUBT, BY_LOCK, BY_NAME, BY_PUSH, BY_RUN
from envlock.errors import one_line
from envlock.words import byte_size, count

if TYPE_CHECKING:
    from envlock.cache.gc import Garbage, Limits

_LARGEST = 5
_TITLES = {
    ENVIRONMENT: "environments",
    PACKAGE: "packages",
    POINTER: "records of them",
    LEFTOVER: "left by killed processes",
}
_KEPT = {
    BY_NAME: "by names",
    BY_RUN: "by runs",
    BY_LOCK: "by locks",
    BY_PUSH: "by pushes under way",
    BY_AGE: "by their age",
    BY_DOUBT: "by files that cannot be read",
}
_DAY = 24 * 3600


def sweep_text(swept: Garbage, *, deleted: bool) -> str:
    """What goes, how much it is, what stays and why."""
    lines = []
    if swept.doomed:
        verb = "deleted from" if deleted else "nothing needs, in"
        lines.append(f"{verb} {swept.url}:")
        lines += [_row(swept, kind) for kind in (ENVIRONMENT, PACKAGE, POINTER, LEFTOVER) if swept.of(kind)]
        largest = sorted(swept.of(PACKAGE), key=lambda each: (-each.size, each.path))[:_LARGEST]
        if largest:
            lines += ["", "the largest:"]
            lines += [f"  {byte_size(each.size):>10}  {_called(each)}, {_aged(each)}" for each in largest]
        lines.append("")
    else:
        lines.append(f"nothing to delete in {swept.url}")
    kept = sum(swept.kept.values())
    reasons = [f"{swept.kept[reason]} {said}" for reason, said in _KEPT.items() if swept.kept.get(reason)]
    lines.append(f"kept: {count(kept, 'environment')}" + (f", {', '.join(reasons)}" if reasons else ""))
    if swept.pushes:
        lines.append(f"{count(swept.pushes, 'push', 'pushes')} under way, or killed within a day")
    if swept.doomed and not deleted:
        lines.append("nothing was deleted; `--delete` does it")
    if swept.unreadable:
        lines.append(f"{count(len(swept.unreadable), 'file')} cannot be read; what they may need is kept")
    return "\n".join(map(one_line, lines))


def sweep_document(swept: Garbage, limits: Limits, *, deleted: bool) -> dict[str, object]:
    """The same for machines, with every file."""
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
        "kept": {reason.rpartition(" ")[2]: count for reason, count in swept.kept.items()},
        "pushes": swept.pushes,
        "errors": [error.as_dict() for error in swept.unreadable],
        "files": [
            {"kind": each.kind, "path": each.path, "bytes": each.size, "age_seconds": round(each.age)}
            for each in swept.doomed
        ],
    }


def _row(swept: Garbage, kind: str) -> str:
    going = swept.of(kind)
    size = sum(each.size for each in going)
    total = swept.totals.get(kind)
    if total is None:
        return f"  {_TITLES[kind]}: {len(going)}"
    of = f" of {byte_size(total.size)}" if kind == PACKAGE else ""
    return f"  {_TITLES[kind]}: {len(going)} of {total.count}" + (f", {byte_size(size)}{of}" if of else "")


def _called(each: Unneeded) -> str:
    return each.path.rpartition("/")[2]


def _aged(each: Unneeded) -> str:
    """Its age, in words.

    >>> _aged(Unneeded("package", "x", 1, 90_000.0)), _aged(Unneeded("package", "x", 1, 60.0))
    ('1 day old', 'less than a day old')
    """
    days = int(each.age // _DAY)
    return f"{count(days, 'day')} old" if days else "less than a day old"
