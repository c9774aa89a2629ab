"""What is read from a verified lock file as plain rows is what the full reader reads."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envlock.errors import EnvlockError
from envlock.lockfile.canonical_text import STAMP, body_of, digest_of
from envlock.lockfile.document import parse, render
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.rows import rows_in, verified_rows
from envlock.lockfile.summary import quick_summary
from envlock.model.lock import Lock, LockedPackage
from tests.lockfile.conda_locks import WHOLE
from tests.property.conda_strategies import conda_locks
from tests.property.strategies import locks as wheel_locks

_OF_BOTH = ("name", "version", "filename", "url", "sha256", "kind", "build", "size", "upload_time", "dependencies")
_OF_SOURCES = ("kind", "url", "commit", "subdirectory", "path", "requires")


@given(lock=st.one_of(wheel_locks, conda_locks()))
def test_rows_are_what_the_lock_says(lock: Lock) -> None:
    rows = rows_in(render(lock).encode())
    assert (rows.arch, rows.identity, rows.resolved_at) == (lock.arch, lock.identity, lock.resolved_at)
    assert tuple(rows.python) == tuple(vars(lock.python).values())
    assert len(rows.packages) == len(lock.packages)
    for row, package in zip(rows.packages, lock.packages, strict=True):
        assert [getattr(row, name) for name in _OF_BOTH] == [getattr(package, name) for name in _OF_BOTH]
        assert row.from_index == package.index
        assert (row.conda._asdict() if row.conda else None) == (vars(package.conda) if package.conda else None)
        assert _source(row) == _source(package)


@settings(max_examples=30, deadline=None)
@given(lock=wheel_locks, at=st.integers(min_value=0), byte=st.integers(0, 127))
def test_rows_that_were_changed_are_never_read(lock: Lock, at: int, byte: int) -> None:
    data = bytearray(render(lock).encode())
    whole = verified_rows(bytes(data), "a")
    assert whole == rows_in(bytes(data))
    data[at % len(data)] = byte
    with suppress(EnvlockError):
        assert verified_rows(bytes(data), "a")._replace(resolved_at="") == whole._replace(resolved_at="")


@pytest.mark.parametrize("byte", [0, 13, ord("\n"), ord('"'), ord("\\"), ord("a"), 127])
def test_what_no_digest_covers_is_toml_or_the_lock_is_damaged(byte: int) -> None:
    """Each byte of the header comment and of the stamp is changed: all readers say the same of it."""
    whole = render(replace(WHOLE, asked_by=("a b", 'a "b"\n'), resolved_by="")).encode()
    stamp = whole.index(STAMP.encode())
    for at in (*range(whole.index(b"\nlock-version")), *range(stamp, len(whole))):
        data = bytearray(whole)
        data[at] = byte
        try:
            lock = parse(bytes(data), "a")
        except DamagedLock:
            assert quick_summary(bytes(data)) is None
            with pytest.raises(DamagedLock):
                verified_rows(bytes(data), "a")
        else:
            assert verified_rows(bytes(data), "a") == rows_in(render(lock).encode())


@pytest.mark.parametrize(
    "change", [("req-id = ", "req-id ="), ("arch = ", "ar = "), ("packages = [\n", "packages = [1,\n")]
)
def test_a_digest_of_something_else_than_a_lock_is_damage(change: tuple[str, str]) -> None:
    text = render(WHOLE)
    body = body_of(text)
    other = body.replace(*change)
    assert other != body
    restamped = text.replace(body, other).replace(digest_of(body), digest_of(other)).encode()
    with suppress(DamagedLock):
        assert verified_rows(restamped, "a") == rows_in(text.encode())


def test_a_lock_in_another_spelling_is_read_all_the_same() -> None:
    text = render(WHOLE)
    assert verified_rows(text.replace("\n\n[tool.envlock]", "\n\n\n[tool.envlock]").encode(), "a") == rows_in(
        text.encode()
    )


def _source(package: object) -> list[object] | None:
    source = getattr(package, "source", None)
    if source is None:
        return None
    content, archive = ("sha256", "filename") if isinstance(package, LockedPackage) else ("content", "archive")
    return [getattr(source, name) for name in (*_OF_SOURCES, content, archive)]
