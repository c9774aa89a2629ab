"""`envlock env`: list the environments of this machine, and delete what nothing needs any more."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from envlock.cli.command import CommandLine, Flag, Group, Value, command
from envlock.cli.options import DRY_RUN, JSON
from envlock.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.workflow.machine.environments import Environments, Prefix
    from envlock.workflow.machine.gc_values import Going, Limits, Sweep
    from envlock.workflow.machine.needs import Needs

_NAMES_SHOWN = 2
_UNITS = ((86400 * 365, "year"), (86400 * 30, "month"), (86400, "day"), (3600, "hour"), (60, "minute"))


@command(JSON)
def ls(line: CommandLine) -> int:
    """List the environments on this machine: for which steps, how large, when they were used, what needs them.

    `own` is what deleting an environment alone would free; `shared` is what it has in common with uv's cache, with
    unpacked packages and with other environments. Sizes are remembered.

    For example:

    - `envlock env ls`
    - `envlock env ls --json`
    """
    from envlock.cli.console import say, write_err, write_json, write_table
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.machine.environments import find_environments, with_sizes

    with LiveReporter() as reporter:
        found = with_sizes(find_environments(), reporter)
    if line.has(JSON):
        write_json(environments_document(found))
        return 0
    if found.prefixes:
        titles = ["environment", "project", "python", "own", "shared", "used", "needed by"]
        if len({each.arch for each in found.prefixes}) > 1:
            titles.insert(2, "arch")
        if len({each.owner for each in found.prefixes}) > 1:  # a group shares the home
            titles.append("owner")
        rows = [[cells[title] for title in titles] for cells in map(_cells, found.prefixes)]
        write_table(titles, rows, right=(titles.index("own"), titles.index("shared")))
        say(environments_summary(found))
    else:
        write_err(f"note: there are no environments in {found.home}")
    for note in _notes(found.needs):
        write_err(one_line(note))
    return 0


_KEEP = Value("--keep", "SPAN", "Keep what was used within SPAN, such as `12h`, `30d`, `8 weeks`; 0 for none.")
_SIZE = Value(
    "--size",
    "SIZE",
    "Keep at most SIZE of environments, such as `20GB`. Also delete those that projects need, the least recently used "
    "first; they are created again when they are needed. Without `--keep`, also those that were used recently.",
)
_PACKAGES = Flag(
    "--packages",
    "Also delete packages, interpreters, builds and memos that no environment here and no lock of a known project "
    "needs.",
)
_DELETE = Flag("--delete", "Delete it. Without this option, gc only lists it.")


@command(
    _KEEP,
    _SIZE,
    _PACKAGES,
    _DELETE,
    DRY_RUN,
    JSON,
    epilog="Exit status: 0; 5 if the home cannot be written.",
)
def gc(line: CommandLine) -> int:
    """List the environments of this machine that nothing needs any more; with `--delete`, delete them.

    Keeps what a process uses, what has a local name or a kernel, what a lock of a known project names, and what was
    used within `--keep` (30 days). A project is known once its environments were locked or created on this machine. If
    it cannot be read now, its environments are kept.

    For example:

    - `envlock env gc`
    - `envlock env gc --keep 7d --delete`
    - `envlock env gc --size 20GB --packages --delete`
    """
    from envlock.cli.console import say, write, write_err, write_json
    from envlock.cli.progress import LiveReporter
    from envlock.workflow.machine.gc import collect
    from envlock.workflow.machine.gc_values import limits_of

    delete = line.has(_DELETE)
    if delete and line.has(DRY_RUN):
        from envlock.cli.errors import BadUsage

        raise BadUsage("`--delete` and `--dry-run` exclude each other: give one of them", "envlock env gc")
    limits = limits_of(keep=line.value(_KEEP), size=line.value(_SIZE), packages=line.has(_PACKAGES))
    with LiveReporter() as reporter:
        swept = collect(limits, delete=delete, reporter=reporter)
    if line.has(JSON):
        write_json(sweep_document(swept, limits, deleted=delete))
        return 0
    (say if delete else write)("\n".join(map(one_line, sweep_lines(swept, deleted=delete))))
    for note in (*(f"note: {each}" for each in swept.notes), *_notes(swept.found.needs)):
        write_err(one_line(note))
    return 0


env = Group("env", "List the environments of this machine, and delete what nothing needs.", (ls, gc))


def ago(seconds: float) -> str:
    """How long ago something was.

    >>> ago(30), ago(7300), ago(86400 * 400)
    ('just now', '2 hours ago', '1 year ago')
    """
    from envlock.words import count

    for length, unit in _UNITS:
        if seconds >= length:
            return f"{count(int(seconds // length), unit)} ago"
    return "just now"


def _name_of(prefix: Prefix) -> str:
    from envlock.words import first_of, short_ids

    return first_of(prefix.asked_by, _NAMES_SHOWN) if prefix.asked_by else short_ids(prefix.identity)


def _cells(prefix: Prefix) -> dict[str, str]:
    from envlock.words import byte_size, first_of

    own, shared = (byte_size(prefix.size.own), byte_size(prefix.size.shared)) if prefix.size else ("", "")
    projects = first_of([_shown(each) for each in prefix.projects], 1) if prefix.projects else ""
    return {
        "environment": _name_of(prefix),
        "project": projects,
        "arch": prefix.arch,
        "python": prefix.python,
        "own": own,
        "shared": shared,
        "used": ago(time.time() - prefix.used),
        "needed by": ", ".join(_needed_by(prefix)),
        "owner": prefix.owner,
    }


def _shown(path: str) -> str:
    """A path as a user writes it, below `~` where it is there."""
    user = os.path.expanduser("~")  # noqa: PTH111  pathlib's own raises
    return f"~{path[len(user) :]}" if path.startswith(f"{user}/") else path


def _needed_by(prefix: Prefix) -> Iterator[str]:
    if not prefix.is_whole:
        yield "not whole"
    if prefix.is_used:
        yield "in use"
    kinds = [need.kind for need in prefix.needs]
    if "project" in kinds:
        number = kinds.count("project")
        yield "project" if number == 1 else f"{number} projects"
    if "unread" in kinds:
        yield "a project that cannot be read"
    for need in prefix.needs:
        if need.kind in {"name", "kernel"}:
            yield f"{need.kind} {need.what.rpartition('/')[2]}"  # of a link in a project, its name
    if prefix.is_whole and not prefix.is_used and not kinds:
        yield "nothing"


def environments_summary(found: Environments) -> str:
    """How many environments there are, how large they are, and what to do about those that nothing needs."""
    from envlock.words import byte_size, count

    own = sum(each.size.own for each in found.prefixes if each.size)
    unneeded = [each for each in found.prefixes if not each.needs and not each.is_used]
    lines = ["", f"{count(len(found.prefixes), 'environment')} in {found.home}, {byte_size(own)} of their own"]
    if unneeded:
        lines.append(f"no project, name or kernel needs {len(unneeded)} of them")
        lines.append("`envlock env gc` lists those of them that nobody used for 30 days")
    return "\n".join(lines)


def _notes(needs: Needs) -> Iterator[str]:
    """What a person should know beside the table."""
    for unread in needs.unread:
        yield f"note: {unread.project.config} cannot be read ({unread.reason}): its environments are kept"
    for each in needs.missing:
        name = os.path.basename(each.what)  # noqa: PTH119
        if each.kind == "kernel":
            yield f"note: the environment of the kernel `{name}` is gone: run `envlock kernel install` for it again"
        else:
            yield f"note: the environment of `{_shown(each.what)}` is gone: run `envlock sync` in its project"


def environments_document(found: Environments) -> dict[str, object]:
    """The environments of this machine, for `--json`."""
    return {
        "home": found.home,
        "environments": [_prefix_document(each) for each in found.prefixes],
        **_needs_document(found.needs),
    }


def _prefix_document(each: Prefix) -> dict[str, object]:
    return {
        "prefix": each.path,
        "identity": each.identity,
        "req_id": each.req_id,
        "full_id": each.full_id,
        "arch": each.arch,
        "python": each.python,
        "whole": each.is_whole,
        "owner": each.owner,
        "asked_by": list(each.asked_by),
        "projects": list(each.projects),
        "own_bytes": each.size.own if each.size else None,
        "shared_bytes": each.size.shared if each.size else None,
        "files": each.size.files if each.size else None,
        "last_used": _instant(each.used),
        "in_use": each.is_used,
        "needed_by": [{"kind": need.kind, "what": need.what} for need in each.needs],
    }


def _needs_document(needs: Needs) -> dict[str, object]:
    return {
        "unread_projects": [{"config": each.project.config, "reason": each.reason} for each in needs.unread],
        "missing": [{"kind": each.kind, "what": each.what, "prefix": each.prefix} for each in needs.missing],
    }


def _instant(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


_TITLES = {
    "environment": "environments",
    "interpreter": "interpreters",
    "package": "packages",
    "build": "builds",
    "memo": "memos",
    "leftover": "left by killed processes",
}
_KEPT = {
    "in-use": "in use",
    "being-made": "being created",
    "name": "by names",
    "kernel": "by kernels",
    "project": "by projects",
    "unread-project": "by projects that cannot be read",
    "recent-run": "by recent runs",
    "cannot-delete": "because they cannot be deleted",
}


def sweep_lines(swept: Sweep, *, deleted: bool) -> Iterator[str]:
    """What nothing needs, by kind; what is kept and why; what is freed."""
    from envlock.words import byte_size, count
    from envlock.workflow.machine.gc_values import KINDS

    if swept.going:
        yield f"{'deleted from' if deleted else 'not needed in'} {swept.home}:"
    else:
        yield f"nothing to delete in {swept.home}"
    for kind in KINDS:
        going = [each for each in swept.going if each.kind == kind]
        if going:
            yield f"  {_TITLES[kind]}: {len(going)}, {byte_size(sum(each.frees for each in going))} of their own"
        if kind == "environment":
            yield from (f"    {_going_row(each)}" for each in going)
    kept: dict[str, int] = {}
    for _, reason in swept.kept:
        kept[reason] = kept.get(reason, 0) + 1
    reasons = [f"{kept[reason]} {said}" for reason, said in _KEPT.items() if reason in kept]
    yield ""
    yield f"kept: {count(len(swept.kept), 'environment')}" + (f", {', '.join(reasons)}" if reasons else "")
    if swept.going:
        yield f"{'freed' if deleted else 'would free'} {byte_size(swept.frees)}"
        if swept.stays:
            shared = "other environments, or uv's cache (`uv cache clean`), have the same files"
            yield f"{byte_size(swept.stays)} more stay on the disk: {shared}"
    if "recent-run" in kept and not deleted:
        yield "to list what was used recently too, run it with a shorter `--keep`"
    if swept.going and not deleted:
        yield "nothing was deleted; run again with `--delete` to delete it"


def _going_row(going: Going) -> str:
    from envlock.words import byte_size

    assert going.prefix is not None
    name = _name_of(going.prefix)
    return f"{name}, {byte_size(going.frees)}, used {ago(time.time() - going.used)}: {going.reason}"


def sweep_document(swept: Sweep, limits: Limits, *, deleted: bool) -> dict[str, object]:
    """What gc deletes and keeps, for `--json`."""
    kinds: dict[str, dict[str, int]] = {}
    for each in swept.going:
        total = kinds.setdefault(each.kind, {"count": 0, "bytes": 0})
        total["count"] += 1
        total["bytes"] += each.frees
    return {
        "home": swept.home,
        "deleted": deleted,
        "keep_seconds": limits.keep,
        "size_bytes": limits.size,
        "freed_bytes": swept.frees,
        "shared_bytes": swept.stays,
        "kinds": kinds,
        "going": [
            {
                "kind": each.kind,
                "path": each.path,
                "reason": each.reason,
                "own_bytes": each.frees,
                "last_used": _instant(each.used) if each.used else None,
                "asked_by": list(each.prefix.asked_by) if each.prefix else [],
            }
            for each in swept.going
        ],
        "kept": [
            {"prefix": prefix.path, "reason": reason, "asked_by": list(prefix.asked_by)}
            for prefix, reason in swept.kept
        ],
        "notes": list(swept.notes),
        **_needs_document(swept.found.needs),
    }
