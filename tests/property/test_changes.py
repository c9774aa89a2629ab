"""Comparing two lock files reads only what differs, and says what comparing the whole locks says."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from envlock.lockfile.changes import asked_in, compare, compare_files, fold, removed
from envlock.lockfile.document import render
from envlock.lockfile.rows import rows_in
from envlock.model.lock import Lock
from tests.property.conda_strategies import conda_locks
from tests.property.strategies import locks as wheel_locks

LOCKS = st.one_of(wheel_locks, conda_locks())


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Lock, Lock]:
    """Two locks of one arch that have some packages in common."""
    before = draw(LOCKS)
    kept = tuple(each for each in before.packages if draw(st.booleans()))
    other = draw(LOCKS)
    names = {(each.kind, each.name) for each in kept}
    added = tuple(each for each in other.packages if (each.kind, each.name) not in names)
    packages = tuple(sorted((*kept, *added), key=lambda each: (each.kind, each.name)))
    return before, replace(before, packages=packages, python=other.python)


@settings(max_examples=25, deadline=None)
@given(pairs())
def test_files_differ_as_their_locks_do(locks: tuple[Lock, Lock]) -> None:
    files = [render(each).encode() for each in locks]
    whole = compare(*locks)
    assert compare_files(files[0], files[1], asked_in(locks[0].requirements.document())) == whole
    assert compare(*map(rows_in, files)) == whole
    for change in whole.changes:
        assert (change.before == "") == (change.verb == "added")
        assert (change.after == "") == (change.verb == "removed")
    assert {folded.change.name for folded in fold([whole])} == {change.name for change in whole.changes}


@settings(max_examples=15, deadline=None)
@given(pairs())
def test_what_was_added_one_way_is_removed_the_other(locks: tuple[Lock, Lock]) -> None:
    opposite = {"added": "removed", "removed": "added", "upgraded": "downgraded", "downgraded": "upgraded"}
    forth, back = compare(*locks), compare(*locks[::-1])
    assert forth.same == back.same
    assert [(each.name, opposite.get(each.verb, each.verb)) for each in forth.changes] == [
        (each.name, each.verb) for each in back.changes
    ]


@settings(max_examples=15, deadline=None)
@given(LOCKS)
def test_a_whole_lock_is_added_or_removed(lock: Lock) -> None:
    assert compare(lock, lock).changes == ()
    assert {each.verb for each in compare(None, lock).changes} <= {"added"}
    assert [each.name for each in removed(lock).changes] == sorted(each.name for each in lock.packages)
