"""`envlock lock`: resolve what changed, write the locks, show what is different."""

from __future__ import annotations

import sys
from pathlib import Path

from envlock.cli.light.arguments import read_options
from envlock.cli.light.lock_new import OPTIONS as BASES
from envlock.cli.light.lock_new import asked, check_usage
from envlock.config.project import Project
from envlock.config.read import find_config, load_project
from envlock.config.selection import Selection
from envlock.errors import EnvlockError, one_line, without_commands
from envlock.lockfile.merge_conflicts import awaits_git_add
from envlock.model.arch import parse_arch
from envlock.named.lock_aliases import LockAliases
from envlock.words import count
from envlock.workflow.lock import lock as lock_project
from envlock.workflow.lock_result import Locked, LockResult, Pinned, Upgrade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from envlock.named.give import GiveResult
    from envlock.reporter import Reporter
    from envlock.workflow.lock_new import Asked

_VALUES = (
    *("--config", "--flow", "--step", "--env", "--arch", "--upgrade-package", "-P", "--upgrade-alias", "--alias"),
    *BASES,
)
_FLAGS = ("--upgrade", "-U", "--upgrade-aliases", "--offline", "--json")


def main(arguments: Sequence[str]) -> int:
    """Lock, say what was done, and return the exit status."""
    options = read_options(arguments, values=_VALUES, flags=_FLAGS)
    if options is None:
        from envlock.cli.app import run

        return run(["lock", *arguments])
    selection = Selection(
        flows=tuple(options.get("--flow", ())),
        steps=tuple(options.get("--step", ())),
        environments=tuple(options.get("--env", ())),
        archs=tuple(parse_arch(arch) for arch in options.get("--arch", ())),
    )
    upgrade = Upgrade.of(
        everything="--upgrade" in options or "-U" in options,
        packages=[*options.get("--upgrade-package", ()), *options.get("-P", ())],
        aliases=options.get("--upgrade-alias", ()),
        all_aliases="--upgrade-aliases" in options,
    )
    config = options.get("--config")
    return report(
        Path(config[-1]) if config else None,
        selection,
        upgrade,
        names=options.get("--alias", ()),
        bases={option: options[option][-1] for option in BASES if option in options},
        offline="--offline" in options,
        as_json="--json" in options,
    )


def report(
    config: Path | None,
    selection: Selection,
    upgrade: Upgrade,
    *,
    names: Sequence[str] = (),
    bases: Mapping[str, str] | None = None,
    offline: bool = False,
    as_json: bool = False,
) -> int:
    """Lock, give the environment these names, and print what was done; the exit status.

    `bases` are the options that name another environment, to be used or asked for anew, each with its value.
    """
    from envlock.cli.progress import LiveReporter

    check_usage(bases or {}, selection)
    project = load_project(config or find_config(Path.cwd()))
    new = asked(project, bases, selection) if bases else None
    project = new.project if new is not None else project
    naming = LockAliases(project, selection, names)
    naming.refuse_taken(project, upgrade)
    with LiveReporter() as reporter:
        if new is not None:
            result = _locked_anew(new, selection, upgrade, reporter, offline=offline)
        else:
            result = lock_project(project, selection=selection, upgrade=upgrade, reporter=reporter, offline=offline)
        try:
            given = naming.give(result, reporter)
        except EnvlockError as error:
            error.details += ("the locks are written; only the name is not given: `envlock alias` gives it",)
            raise
    if as_json:
        import json

        document = as_document(project, result, given)
        if new is not None:
            document["written"] = [f"env.{new.name}"] if new.is_new else []
        sys.stdout.write(without_commands(json.dumps(document, indent=2)) + "\n")
    else:
        if new is not None and new.is_new:
            sys.stdout.write(f"{one_line(f'wrote [env.{new.name}] into {project.path.name}')}\n")
        sys.stdout.write(as_text(project, result))
        sys.stdout.write("".join(f"{_given_text(each)}\n" for each in given))
        sys.stderr.write("".join(f"{one_line(line)}\n" for line in naming.left(result)))
    return 0


def _locked_anew(
    new: Asked, selection: Selection, upgrade: Upgrade, reporter: Reporter, *, offline: bool
) -> LockResult:
    """Lock what envlock.toml shall ask for, then write it; where that fails, nothing was."""
    new.check_writable()
    there = new.locks_before()
    try:
        result = lock_project(
            new.project, selection=selection, upgrade=upgrade, reporter=reporter, offline=offline, start=new.start
        )
    except EnvlockError as error:
        raise new.explained(error) from None
    new.write(result, there)
    return result


def as_text(project: Project, result: LockResult) -> str:
    """What was done: a line for each change, archs put together, and a summary."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Locked]] = {}
    for each in result.locked:
        if each.action != "kept" or each.notes:
            notes = tuple(note.replace(each.arch, "{arch}") for note in each.notes)
            line = f"{each.action} {', '.join(each.environments)} on {{archs}}: {_change(each)}"
            groups.setdefault((each.action, line, notes), []).append(each)
    lines = [_pinned(each) for each in result.pinned]
    for (_, line, notes), group in groups.items():
        archs = ", ".join(each.arch for each in group)
        lines.append(line.replace("{archs}", archs))
        lines += [f"  note: {note.replace('{arch}', archs)}" for note in notes]
    lines += [f"pruned {project.shown(path)}: nothing asks for it" for path in result.pruned]
    is_settled = any(each.action in {"merged", "settled"} for each in result.locked)
    if is_settled or awaits_git_add(project.lock_folder):
        lines.append(f"branches were merged: run `git add {project.lock_folder.name}` to mark the locks as resolved")
    return "".join(f"{one_line(line)}\n" for line in (*lines, _summary(result)))


def _pinned(each: Pinned) -> str:
    """Which environment a name was pinned to, and from which it moved."""
    new, old = each.pin, each.before
    move = f", move {new.sequence}" if new.sequence else ""
    if old is None:
        return f"pinned {new.reference}{move}: {new.req_id}, {', '.join(arch for arch, _ in new.full_ids)}"
    same = (old.req_id, old.full_ids) == (new.req_id, new.full_ids)
    what = "the same environment" if same else f"{old.req_id} -> {new.req_id}"
    return f"pinned {new.reference} anew, move {old.sequence} -> {new.sequence}: {what}"


def _summary(result: LockResult) -> str:
    total = count(len(result.locked), "lock")
    if not result.changed and not result.locked:
        return f"nothing to lock: {later(result.fetched) if result.fetched else 'envlock.toml asks for no environment'}"
    if not result.changed:
        return f"nothing changed: {total} up to date"
    written = sum(each.action != "kept" for each in result.locked)
    parts = [f"{written} written", f"{len(result.locked) - written} up to date"]
    if result.replaced:
        parts.append(f"{len(result.replaced)} replaced")
    if result.pruned:
        parts.append(f"{len(result.pruned)} pruned")
    return f"{total}: {', '.join(parts)}"


def later(fetched: int) -> str:
    """What is said of environments that are fetched when their steps start.

    >>> later(1), later(2)
    ('1 environment is fetched when its step starts', '2 environments are fetched when their steps start')
    """
    if fetched == 1:
        return "1 environment is fetched when its step starts"
    return f"{fetched} environments are fetched when their steps start"


def _change(each: Locked) -> str:
    if each.lock is None or each.action == "kept":
        return "the same packages"
    if each.before is None or each.before.arch != each.arch:
        return f"{count(len(each.lock.packages), 'package')}, CPython {each.lock.python.series}"
    return ", ".join(differences_of(each)) or "the same packages"


def differences_of(each: Locked) -> list[str]:
    """The packages that came, went or moved, such as `rich 13.0 -> 14.0`."""
    from envlock.named.diff import compare

    assert each.lock is not None
    return [str(change) for change in compare(each.before, each.lock).changes]


def _given_text(given: GiveResult) -> str:
    from envlock.cli.alias_text import given_text

    return given_text(given)


def as_document(project: Project, result: LockResult, given: Sequence[GiveResult] = ()) -> dict[str, object]:
    """What was done, for machines."""
    return {
        "aliases": [{"name": str(each.move.alias), "move": each.move.sequence} for each in given],
        "changed": result.changed,
        "locks": [
            {
                "environments": list(each.environments),
                "arch": each.arch,
                "action": each.action,
                "path": project.shown(each.path),
                "changes": differences_of(each) if each.lock is not None else [],
                "notes": list(each.notes),
            }
            for each in result.locked
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
