"""`cache gc`: what nothing points to any more goes out of a project's cache."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.cache.errors import BadSpan, CacheFormatDamaged, NoLockTree
from envlock.cache.format import check_format
from envlock.cache.gc import Garbage, Limits, delete_garbage, find_garbage
from envlock.cache.gc_roots import BY_LOCK, Roots
from envlock.cache.layout import EnvironmentPlace
from envlock.cache.open import open_store
from envlock.config.instants import span_of
from envlock.config.project import LOCK_FOLDER_NAME
from envlock.files import PIN_BYTES, files_below, read_file, toml_of
from envlock.lockfile.folder import lock_files, read_lock
from envlock.named.errors import DamagedPin
from envlock.named.pin import FOLDER as PINS
from envlock.named.pin import parse_pin
from envlock.reporter import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from envlock.config.project import Project
    from envlock.named.pin import Pin

GRACE = "7d"
RUNS = "90d"
_ZERO = re.compile(r"0+\Z")


def sweep(
    project: Project,
    limits: Limits,
    *,
    trees: Iterable[Path] = (),
    delete: bool = False,
    reporter: Reporter | None = None,
) -> Garbage:
    """What nothing needs in the project's cache; taken away with `delete`.

    `trees` are folders of locks of other projects, or folders with an envlock.lock in them; the project's own counts
    always. Raises NoLockTree and what is wrong with a lock or a pin, before anything is deleted; what `cache.gc`
    raises; NewerCache and CacheUnusable.
    """
    marks = Roots()
    for folder in (project.lock_folder, *map(_tree, trees)):
        mark_tree(marks, folder, project.shown(folder))
    store = open_store(project.cache_url, project.cache_options)
    try:
        check_format(store)
    except CacheFormatDamaged as error:
        found = find_garbage(store, limits, marks, reporter or Reporter())
        return replace(found, doomed=(), unreadable=(error, *found.unreadable))
    return (delete_garbage if delete else find_garbage)(store, limits, marks, reporter or Reporter())


def limits_of(*, grace: str = GRACE, runs: str = RUNS, moves: int | None = None) -> Limits:
    """From the command line's words. Raises BadSpan.

    >>> limits_of(grace="0", runs="2 weeks")
    Limits(grace=0.0, runs=1209600.0, moves=None)
    """
    return Limits(_seconds("--grace", grace), _seconds("--pathspecs-younger-than", runs), moves)


def mark_tree(marks: Roots, folder: Path, shown: str) -> None:
    """Everything stays that the locks of a tree name, and what its pins of named environments stand for."""
    for path in lock_files(folder):
        marks.lock(read_lock(path, shown=f"{shown}/{path.relative_to(folder)}"))
    for path in _pin_files(folder):
        pin = _pin(path, folder, f"{shown}/{path.relative_to(folder)}")
        for arch, full_id in pin.full_ids:
            marks.mark(EnvironmentPlace(arch, pin.req_id, full_id), BY_LOCK)


def _pin_files(folder: Path) -> list[Path]:
    found = (Path(where, name) for where, names in files_below(folder / PINS) for name in names)
    return sorted(path for path in found if path.suffix == ".toml" and not path.name.startswith("."))


def _pin(path: Path, folder: Path, shown: str) -> Pin:
    try:
        data = read_file(path, PIN_BYTES, within=folder.parent)
    except OSError as error:
        raise DamagedPin(shown, f"it cannot be read: {error.strerror}") from None
    try:
        table = toml_of(data.decode())
    except ValueError:
        table = {}  # what is wrong, the parser says
    kind = "pathspec" if "pathspec" in table else "name"
    return parse_pin(data, kind, str(table.get(kind, "")), shown)


def _tree(folder: Path) -> Path:
    """The folder of locks that is meant. Raises NoLockTree."""
    for each in (folder / LOCK_FOLDER_NAME, folder):
        if lock_files(each) or _pin_files(each):
            return each
    raise NoLockTree(str(folder))


def _seconds(option: str, text: str) -> float:
    span = span_of(text)
    if _ZERO.match(text):
        return 0.0
    if span is None:
        raise BadSpan(option, text)
    return span.total_seconds()
