"""What is true of every lock file: it comes back as it was, reads as PEP 751, and shows every change."""

from __future__ import annotations

import random
import re

import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.pylock import Pylock

from envlock.errors import EnvlockError
from envlock.lockfile.canonical_text import STAMP, body_of
from envlock.lockfile.document import parse, render
from envlock.lockfile.summary import quick_summary
from envlock.model.lock import Lock
from tests.property.conda_strategies import conda_locks
from tests.property.strategies import locks as wheel_locks

few = settings(max_examples=30, deadline=None)
locks = st.one_of(wheel_locks, conda_locks())


@few
@given(lock=locks)
def test_what_is_written_is_read(lock: Lock) -> None:
    assert parse(render(lock).encode(), "x") == lock


@few
@given(lock=locks)
def test_writing_what_was_read_changes_no_byte(lock: Lock) -> None:
    text = render(lock)
    assert render(parse(text.encode(), "x")) == text


@few
@given(lock=locks)
def test_it_is_pep_751(lock: Lock) -> None:
    document = Pylock.from_dict(tomli.loads(render(lock)))
    assert [(each.name, str(each.version)) for each in document.packages] == [
        (each.name, each.version) for each in lock.pypi_packages
    ]


@few
@given(lock=locks)
def test_a_written_lock_is_proved_without_parsing_it(lock: Lock) -> None:
    proof = quick_summary(render(lock).encode())
    assert proof is not None
    assert (proof.arch, proof.req_id, proof.full_id) == (lock.arch, lock.req_id, lock.full_id)
    assert proof.urls == tuple(each.url for each in lock.packages if each.source is None)


@few
@given(lock=locks, seed=st.integers(0, 10**6))
def test_a_change_of_one_character_of_the_body_is_damage_or_layout(lock: Lock, seed: int) -> None:
    """Damage, unless TOML does not care: then the lock that is read is the same."""
    text = render(lock)
    body = body_of(text)
    start = text.index(body)
    chance = random.Random(seed)
    position = start + chance.randrange(len(body))
    changed = chance.choice([each for each in "0aZ\"' ,{}[]#\n=.x" if each != text[position]])
    tampered = (text[:position] + changed + text[position + 1 :]).encode()
    assert quick_summary(tampered) is None
    try:
        found = parse(tampered, "x")
    except EnvlockError:
        return
    assert found == lock


@few
@given(lock=locks)
def test_comments_and_spaces_are_layout(lock: Lock) -> None:
    text = render(lock).replace(" = ", "  =  ").replace("\n[", "\n# a remark\n\n[")
    text = re.sub(r'"[^"\n]*"', lambda quoted: quoted[0].replace("  =  ", " = "), text)
    assert quick_summary(text.encode()) is None
    assert parse(text.encode(), "x") == lock


@few
@given(lock=locks, other=locks)
def test_a_stamp_of_another_lock_does_not_fit(lock: Lock, other: Lock) -> None:
    mine, theirs = render(lock), render(other)
    if body_of(mine) == body_of(theirs):
        return
    mixed = mine[: mine.rindex(STAMP)] + theirs[theirs.rindex(STAMP) :]
    assert quick_summary(mixed.encode()) is None
    try:
        parse(mixed.encode(), "x")
    except EnvlockError:
        return
    raise AssertionError("a digest of another lock was taken")


@few
@given(lock=locks, cut=st.floats(0, 0.999))
def test_a_lock_that_is_cut_off_is_damage(lock: Lock, cut: float) -> None:
    data = render(lock).encode()
    part = data[: int(len(data) * cut)]
    assert quick_summary(part) is None
    try:
        found = parse(part, "x")
    except EnvlockError:
        return
    # Cut within the stamp's last lines: nothing that counts is lost.
    assert (found.req_id, found.full_id, found.packages) == (lock.req_id, lock.full_id, lock.packages)
