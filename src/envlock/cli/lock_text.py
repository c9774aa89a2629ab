"""What `envlock lock` prints: a line for each group of environments, a table of what moved, and the next command."""

from __future__ import annotations

import os

from envlock.cli.console import CHANGE_STYLES, aligned
from envlock.errors import one_line
from envlock.words import count, count_between, did, first_of, listed, short_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from envlock.config.project import Project
    from envlock.lockfile.changes import ArchChanges, FoldedChange, PackageChange
    from envlock.named.give import Behind, GiveResult
    from envlock.workflow.locking.jobs import Locked, LockResult, Pinned

_MOST_ROWS = 60
_MOST_NAMES = 8
_NAMES_OF_A_ROW = 3


class Group:
    """Environments that were locked alike: the same happened to all of them, on these archs."""

    def __init__(self, locked: Sequence[Locked]) -> None:
        from envlock.lockfile.changes import fold

        first = locked[0]
        self.environments = first.environments
        self.action = first.action
        self.archs = tuple(each.arch for each in locked)
        self.notes = tuple(dict.fromkeys(note.replace(each.arch, "{arch}") for each in locked for note in each.notes))
        self.is_new = first.lock is not None and (first.before is None or first.before.arch != first.arch)
        compared = [] if self.is_new else [_compared(each) for each in locked if each.lock is not None]
        self.changes: tuple[FoldedChange, ...] = fold(compared)
        self.summary = _new(locked) if self.is_new else _moved(self.changes, compared)

    @property
    def alike(self) -> tuple[object, ...]:
        """What groups have in common that are shown as one. What is new has packages of its own."""
        alone = self.environments if self.is_new else ()
        return self.action, self.archs, self.notes, alone, self.summary, self.changes

    @property
    def names(self) -> str:
        """The environments, for a line."""
        return first_of(self.environments, _MOST_NAMES)


def _compared(each: Locked) -> ArchChanges:
    from envlock.lockfile.changes import compare

    assert each.lock is not None
    return compare(each.before, each.lock)


def _new(locked: Sequence[Locked]) -> str:
    locks = [each.lock for each in locked if each.lock is not None]
    packages = count_between([len(lock.packages) for lock in locks], "package")
    return f"{packages}, CPython {listed(dict.fromkeys(lock.python.series for lock in locks), 'or')}"


def _moved(changes: Sequence[FoldedChange], compared: Sequence[ArchChanges]) -> str:
    from envlock.lockfile.changes import counts

    if not changes:
        return "the same packages"
    same = max(each.same for each in compared)
    told = [f"{number} {verb}" for verb, number in counts(each.change for each in changes).items()]
    return ", ".join([*told, *([f"{same} the same"] if same else [])])


def groups_of(result: LockResult) -> list[Group]:
    """What was locked, or has a note, in groups: environments that are alike, with all archs that agree."""
    by_archs: dict[tuple[object, ...], list[Locked]] = {}
    for each in result.locked:
        if each.action != "kept" or each.notes:
            notes = tuple(note.replace(each.arch, "{arch}") for note in each.notes)
            is_new = each.before is None or each.before.arch != each.arch
            by_archs.setdefault((each.action, each.environments, notes, is_new), []).append(each)
    found: dict[tuple[object, ...], Group] = {}
    for locked in by_archs.values():
        group = Group(locked)
        known = found.setdefault(group.alike, group)
        if known is not group:
            known.environments = (*known.environments, *group.environments)
    return list(found.values())


def as_lines(project: Project, result: LockResult, *, dry_run: bool = False) -> Iterator[Sequence[tuple[str, str]]]:
    """All that is printed, as lines of parts with their style."""
    from envlock.lockfile.merge_conflicts import awaits_git_add

    groups = groups_of(result)
    for each in result.pinned:
        yield ((one_line(_pinned(each, did("pinned", dry_run=dry_run))), ""),)
    for group in groups:
        verb = did(group.action, dry_run=dry_run and group.action != "kept")
        archs = ", ".join(group.archs)
        yield (f"{verb} ", ""), (one_line(group.names), "bold"), (one_line(f" on {archs}: {group.summary}"), "")
        for note in group.notes:
            yield ((f"  note: {one_line(note.replace('{arch}', archs))}", "dim"),)
    for path in result.pruned:
        yield ((one_line(f"{did('removed', dry_run=dry_run)} {project.shown(path)} (unused)"), ""),)
    table = list(_table(groups))
    if table:
        yield from ((), *table, ())
    if not dry_run and (is_settled(result) or awaits_git_add(project.lock_folder)):
        told = f"branches were merged: run `git add {project.lock_folder.name}` to mark the locks as resolved"
        yield ((told, ""),)
    yield ((_summary(result, dry_run=dry_run), "bold"),)


def is_settled(result: LockResult) -> bool:
    """Whether locks of several branches were made one."""
    return any(each.action in {"merged", "settled"} for each in result.locked)


def as_text(project: Project, result: LockResult, *, dry_run: bool = False) -> str:
    """The same without style."""
    lines = as_lines(project, result, dry_run=dry_run)
    return "\n".join("".join(text for text, _ in parts) for parts in lines)


def _table(groups: Sequence[Group]) -> Iterator[Sequence[tuple[str, str]]]:
    """What moved, each change once, with all environments and archs that have it."""
    rows: dict[tuple[PackageChange, tuple[str, ...]], list[Group]] = {}
    for group in groups:
        for change, archs in group.changes:
            rows.setdefault((change, () if archs == group.archs else archs), []).append(group)
    if not rows:
        return
    has_archs = any(archs for _, archs in rows)
    has_names = len([group for group in groups if group.changes]) > 1
    titles = [
        "package",
        "from",
        "to",
        "change",
        *(["environments"] if has_names else []),
        *(["archs"] if has_archs else []),
    ]
    cells = [
        [
            f"{change.name} ({change.of})" if change.of else change.name,
            change.before,
            change.after,
            change.verb,
            *([first_of([name for group in of for name in group.environments], _NAMES_OF_A_ROW)] if has_names else []),
            *([", ".join(archs)] if has_archs else []),
        ]
        for (change, archs), of in sorted(rows.items(), key=lambda each: (each[0][0].kind != "python", each[0][0].name))
    ]
    head, *shown = aligned((titles, *cells[:_MOST_ROWS]))
    direct = {change.name for change, _ in rows if change.direct}
    yield [("  ".join(head).rstrip(), "dim")]
    for row in shown:
        verb = row[3].rstrip()
        rest = "".join(f"  {cell}" for cell in row[4:]).rstrip()
        yield [
            (row[0], "bold" if row[0].split(" ")[0] in direct else ""),
            (f"  {row[1]}  {row[2]}  ", ""),
            (row[3] if rest else verb, CHANGE_STYLES[verb]),
            (rest, "dim"),
        ]
    if len(cells) > _MOST_ROWS:
        yield [(f"and {len(cells) - _MOST_ROWS} more: `envlock diff` lists all", "dim")]


def git_add(project: Project, *, also: Sequence[str] = ()) -> str:
    """The command that lets git know the locks, from the working folder; empty if they are in no repository."""
    folder = project.folder
    if folder not in project.lock_folder.parents or not any(
        os.path.lexists(each / ".git") for each in (folder, *folder.parents)
    ):
        return ""
    from shlex import quote

    places = [folder / name for name in also] + [project.lock_folder]
    return f"git add {' '.join(quote(os.path.relpath(place)) for place in places)}"


def _pinned(each: Pinned, verb: str) -> str:
    """What an alias is pinned to, and what it was pinned to before."""
    new, old = each.pin, each.before
    move = f", move {new.sequence}" if new.sequence else ""
    if old is None:
        return f"{verb} {new.reference}{move}: {new.req_id}, {', '.join(arch for arch, _ in new.full_ids)}"
    same = (old.req_id, old.full_ids) == (new.req_id, new.full_ids)
    what = "the same environment" if same else f"{old.req_id} -> {new.req_id}"
    return f"{verb} {new.reference} again, move {old.sequence} -> {new.sequence}: {what}"


def _summary(result: LockResult, *, dry_run: bool) -> str:
    total = count(len(result.locked), "lock")
    if not result.changed and not result.locked:
        return f"nothing to lock: {later(result.fetched) if result.fetched else 'envlock.toml has no environments'}"
    if not result.changed:
        return f"nothing {'would change' if dry_run else 'changed'}: {total} up to date"
    written = sum(each.action != "kept" for each in result.locked)
    words = ("to write", "to replace", "to remove") if dry_run else ("written", "replaced", "removed")
    parts = [f"{written} {words[0]}", f"{len(result.locked) - written} up to date"]
    if result.replaced:
        parts.append(f"{len(result.replaced)} {words[1]}")
    if result.pruned:
        parts.append(f"{len(result.pruned)} {words[2]}")
    return f"{total}: {', '.join(parts)}" + (" (dry run: nothing was written)" if dry_run else "")


def later(fetched: int) -> str:
    """How messages speak of environments that are fetched when their steps start.

    >>> later(1), later(2)
    ('1 environment is fetched when its step starts', '2 environments are fetched when their steps start')
    """
    if fetched == 1:
        return "1 environment is fetched when its step starts"
    return f"{fetched} environments are fetched when their steps start"


def changes_of(each: Locked) -> tuple[PackageChange, ...]:
    """The packages that were added, removed or changed; none where it failed."""
    from envlock.lockfile.changes import compare

    return compare(each.before, each.lock).changes if each.lock is not None else ()


def as_document(project: Project, result: LockResult, given: Sequence[GiveResult] = ()) -> dict[str, object]:
    """The result, for `--json`."""
    from envlock.cli.diff import change_document

    changes = [changes_of(each) for each in result.locked]
    return {
        "aliases": [{"name": str(each.move.alias), "move": each.move.sequence} for each in given],
        "changed": result.changed,
        "locks": [
            {
                "environments": list(each.environments),
                "arch": each.arch,
                "action": each.action,
                "path": project.shown(each.path),
                "changes": list(map(str, of_each)),
                "packages": list(map(change_document, of_each)),
                "notes": list(each.notes),
            }
            for each, of_each in zip(result.locked, changes, strict=True)
        ],
        "pinned": [
            {
                "name": each.pin.reference,
                "req_id": each.pin.req_id,
                "full_ids": dict(each.pin.full_ids),
                "move": each.pin.sequence or None,
                "before": each.before.sequence if each.before else None,
            }
            for each in result.pinned
        ],
        "replaced": [project.shown(path) for path in result.replaced],
        "pruned": [project.shown(path) for path in result.pruned],
    }


def behind_text(each: Behind) -> str:
    """Which alias stays where it is, and how to give the next."""
    from shlex import quote

    where = f", and write it into {each.at.path}:{each.at.line}" if each.at else ""
    return (
        f"note: {each.move.alias} still names the previous environment ({short_ids(each.move.req_id)}), because its tag"
        f" is given only once; to give the next: envlock alias {each.following} --env {quote(each.environment)}{where}"
    )


def behind_document(each: Behind) -> dict[str, object]:
    """The same, for `--json`."""
    return {
        "name": str(each.move.alias),
        "environment": each.environment,
        "req_id": each.move.req_id,
        "full_ids": dict(each.move.full_ids),
        "next": str(each.following),
        "line": each.at.line if each.at else None,
    }
