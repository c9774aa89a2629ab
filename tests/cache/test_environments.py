from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.environments import Environments
from envlock.cache.errors import CachedLockDamaged
from envlock.cache.folder_store import FolderStore
from envlock.cache.layout import environment_place
from envlock.lockfile.document import render
from envlock.lockfile.errors import NewerLockFormat
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements

LOCK = Lock(
    LINUX_64,
    Requirements(python=">=3.11", pypi=(parse_requirement("demo"),)),
    LockedPython("machine", "3.12.0"),
    (
        LockedPackage(
            "demo", "1.0", "demo-1.0-py3-none-any.whl", "https://index.example/demo-1.0-py3-none-any.whl", "ab" * 32
        ),
    ),
    asked_by=("Train/start",),
    resolved_by="me",
    resolved_at="2026-11-01T00:00:00Z",
)
PLACE = environment_place(LOCK)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "cache")


def test_in_and_out(store: FolderStore) -> None:
    environments = Environments(store)
    assert not environments.has(LOCK)
    assert list(environments.places()) == []
    environments.write(LOCK)
    assert environments.has(LOCK)
    assert list(environments.places()) == [PLACE]
    assert environments.read(PLACE) == LOCK
    assert store.read(PLACE.path) == render(LOCK).encode()


def test_who_locked_it_does_not_matter(store: FolderStore) -> None:
    Environments(store).write(replace(LOCK, resolved_by="you", resolved_at="2026-12-01T00:00:00Z", asked_by=("x",)))
    assert Environments(store).has(LOCK)


@pytest.mark.parametrize("cut", [0, 10, 300, -20])
def test_a_lock_that_is_cut_off(store: FolderStore, cut: int) -> None:
    store.put(PLACE.path, render(LOCK).encode()[:cut])
    environments = Environments(store)
    assert not environments.has(LOCK)
    with pytest.raises(CachedLockDamaged) as caught:
        environments.read(PLACE)
    assert caught.value.exit_status == 3
    assert str(caught.value.locations[0]) == f"{store.url}/{PLACE.path}"
    assert "git checkout" not in caught.value.render(), "what repairs a file of git does not repair this one"


def test_a_lock_that_is_changed(store: FolderStore) -> None:
    store.put(PLACE.path, render(LOCK).replace("ab" * 32, "ac" * 32).encode())
    assert not Environments(store).has(LOCK)
    with pytest.raises(CachedLockDamaged):
        Environments(store).read(PLACE)


def test_a_lock_of_another_environment(store: FolderStore) -> None:
    store.put(PLACE.path, render(replace(LOCK, python=LockedPython("machine", "3.11.0"))).encode())
    assert not Environments(store).has(LOCK)
    with pytest.raises(CachedLockDamaged, match="changed or cut off"):
        Environments(store).read(PLACE)


def test_a_lock_whose_files_would_lie_elsewhere(store: FolderStore) -> None:
    evil = replace(LOCK, packages=(replace(LOCK.packages[0], filename="../../x.whl"),))
    place = environment_place(evil)
    store.put(place.path, render(evil).encode())
    with pytest.raises(CachedLockDamaged) as caught:
        Environments(store).read(place)
    assert repr(evil.packages[0].name) in caught.value.details[0]


def test_a_lock_of_a_newer_envlock(store: FolderStore) -> None:
    store.put(PLACE.path, render(LOCK).replace("format = 1\n", "format = 4\n").encode())
    with pytest.raises(NewerLockFormat):
        Environments(store).read(PLACE)


def test_other_files_are_no_environments(store: FolderStore) -> None:
    store.put("envs/README.md", b"ours")
    store.put("envs/linux-64/notes/x.toml", b"ours")
    assert list(Environments(store).places()) == []
