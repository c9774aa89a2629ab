from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import envlock.workflow.locking.remote_latest as module
from envlock.cache.environments import Environments
from envlock.cache.layout import environment_place
from envlock.cache.port import Store
from envlock.cache.resolution_records import Resolved
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPython
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import LockResult, Upgrade
from envlock.workflow.push import push_locks
from tests.cache.locks import locked_project
from tests.conftest import Envlock
from tests.index import Index
from tests.named.alias_drafts import CountingStore
from tests.workflow.made_up import paths, store_of
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
LAM = "lam-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LINUX = Arch("linux-64")
OLDEST = {"mia": "3.12.0", "joe": "3.11.0", "../Zoë": "3.10.0", "tester": "3.13.0"}
"""The Python of each user's solution, so that all are told apart."""


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def pushed(tmp_path: Path, own: Index) -> Callable[..., Lock]:
    """Lets a user resolve and push, at an hour of one day; the lock."""

    def push_as(user: str, hour: int, arch: str = "linux-64", **changes: object) -> Lock:
        folder = tmp_path / f"of-{len(list(tmp_path.iterdir()))}"
        python = LockedPython("machine", OLDEST[user])
        project = locked_project(folder, own, {"alpha": [ALPHA]}, archs=[arch], python=python)
        (path,) = lock_files(project.lock_folder)
        made = replace(
            read_lock(path), **{"resolved_by": user, "resolved_at": f"2024-11-01T{hour:02}:00:00Z", **changes}
        )  # type: ignore[arg-type]
        push_locks(project, store_of(project), [made]).raise_failures()
        return made

    return push_as


@pytest.fixture
def fresh(tmp_path: Path, own: Index) -> Callable[..., Project]:
    """A project that asks for the same and has nothing locked."""

    def make(latest: str, *, archs: tuple[str, ...] = ("linux-64",), more: str = "") -> Project:
        settings = f'cache = "../cache"\nuse-remote-latest = {latest}\n{more}'
        project = locked_project(tmp_path / "project", own, {"alpha": [ALPHA]}, archs=archs, settings=settings)
        shutil.rmtree(project.lock_folder)
        own.forget()
        return project

    return make


def taken(project: Project, **options: object) -> tuple[str | None, LockResult]:
    """Whose lock was taken; nobody's where it was resolved."""
    result = lock(project, **options)  # type: ignore[arg-type]
    (done,) = result.locked
    assert done.lock is not None
    return (done.lock.resolved_by if done.action == "fetched" else None), result


def test_a_push_says_who_resolved_what(pushed: Callable[..., Lock], tmp_path: Path) -> None:
    made = pushed("../Zoë", 9)
    store = store_of(load_project(next(tmp_path.glob("of-*/envlock.toml"))))
    (place,) = Resolved(store).of(made.req_id, LINUX)
    assert place.environment == environment_place(made)
    assert (place.time, place.user) == ("20241101T090000Z", "..=2FZo=C3=AB")
    assert paths(store, "resolved") == {place.path}
    assert Resolved(store).of(made.req_id, Arch("osx-64")) == ()


@pytest.mark.parametrize(
    ("latest", "whose"),
    [
        ('":none:"', None),
        ('":username:"', "tester"),
        ('":any:"', "../Zoë"),
        ('["mia", "joe"]', "joe"),
        ('["joe", "mia"]', "joe"),
        ('["mia"]', "mia"),
        ('["../Zoë"]', "../Zoë"),
        ('["jo", "mi", "Mia"]', None),
        ("[]", None),
    ],
)
def test_whose_lock_is_taken(
    pushed: Callable[..., Lock], fresh: Callable[..., Project], own: Index, latest: str, whose: str | None
) -> None:
    locks = {user: pushed(user, hour) for hour, user in enumerate(["tester", "mia", "joe", "../Zoë"])}
    project = fresh(latest)
    who, result = taken(project)
    assert who == whose
    assert bool(own.requests) == (whose is None), "nothing is resolved, or it is"
    if whose is not None:
        (path,) = lock_files(project.lock_folder)
        assert read_lock(path) == replace(locks[whose], asked_by=("alpha",))
        (note,) = result.locked[0].notes
        assert note == f"resolved by {whose} at {locks[whose].resolved_at}, and taken from {store_of(project).url}"
    assert lock(project).locked[0].action == "kept"


def test_a_clock_that_is_ahead_makes_nobody_the_newest_for_ever(
    pushed: Callable[..., Lock], fresh: Callable[..., Project], tmp_path: Path
) -> None:
    """A record that says it was resolved after it was written is as old as it was written, by the store's own clock."""
    for user, year, written in (("mia", 2077, 1_000_000_000), ("joe", 2024, 1_750_000_000)):
        known = set((tmp_path / "cache").rglob("resolved/**/*"))
        pushed(user, 9, resolved_at=f"{year}-11-01T09:00:00Z")
        for record in set((tmp_path / "cache").rglob("resolved/**/*")) - known:
            os.utime(record, (written, written))
    assert taken(fresh('":any:"'))[0] == "joe"


def test_what_is_locked_here_stays(pushed: Callable[..., Lock], fresh: Callable[..., Project], own: Index) -> None:
    pushed("mia", 9)
    project = fresh('":any:"')
    assert taken(project)[0] == "mia"
    pushed("joe", 10)
    assert lock(project).locked[0].action == "kept"
    assert taken(project, upgrade=Upgrade(everything=True))[0] is None
    assert own.requests, "an upgrade is resolved"


def test_what_was_swept_or_damaged_is_passed_by(pushed: Callable[..., Lock], fresh: Callable[..., Project]) -> None:
    pushed("mia", 9)
    joe, zoe = pushed("joe", 10), pushed("../Zoë", 11)
    project = fresh('":any:"')
    store = store_of(project)
    store.delete(environment_place(zoe).path)
    store.put(environment_place(joe).path, b"")
    store.put(f"resolved/{joe.req_id}/linux-64/README", b"")
    recorder = Recorder()
    assert taken(project, reporter=recorder)[0] == "mia"
    (warning,) = recorder.warnings
    assert environment_place(joe).path in warning


def test_nobody_has_resolved_it(fresh: Callable[..., Project]) -> None:
    assert taken(fresh('":any:"'))[0] is None


def test_a_cache_that_cannot_be_read(fresh: Callable[..., Project], tmp_path: Path) -> None:
    project = fresh('":any:"')
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "resolved").symlink_to("resolved")
    (tmp_path / "cache" / "CACHE.json").mkdir()
    recorder = Recorder()
    assert taken(project, reporter=recorder)[0] is None
    (warning,) = recorder.warnings
    assert "missing locks are resolved here" in warning


def test_archs_that_nobody_resolved_get_the_same_python(
    pushed: Callable[..., Lock], fresh: Callable[..., Project]
) -> None:
    pushed("mia", 9, python=LockedPython(source="machine", version="3.11.0"))
    result = lock(fresh('":any:"', archs=("linux-64", "osx-arm64")))
    linux, osx = sorted(result.locked, key=lambda each: each.arch)
    assert (linux.action, osx.action) == ("fetched", "locked")
    assert linux.lock is not None
    assert osx.lock is not None
    assert osx.lock.python == linux.lock.python == LockedPython(source="machine", version="3.11.0")


def test_a_span_is_kept_to(pushed: Callable[..., Lock], fresh: Callable[..., Project]) -> None:
    """`exclude-newer = "7d"` is in no id: what others resolved with less patience may be too new."""
    pushed("tester", 12)
    pushed("mia", 9, exclude_newer="2024-11-01T00:00:00Z")
    pushed("joe", 10, exclude_newer="2100-01-01T00:00:00Z")
    assert taken(fresh('":any:"', more='exclude-newer = "7d"'))[0] == "mia"


def test_one_listing_for_each_arch(
    pushed: Callable[..., Lock], fresh: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(3):
        for arch in ("linux-64", "osx-arm64"):
            pushed("mia", hour, arch)
    project = fresh('":any:"', archs=("linux-64", "osx-arm64", "osx-64"))
    store = CountingStore(store_of(project))
    monkeypatch.setattr(module, "open_cache", lambda *_: store)
    requirements = project.environments()[0].requirements
    assert lock(project).locked[0].action == "fetched"
    assert store.asked["entries"] == 3
    assert store.asked["read"] == 1 + 2, "the cache's format, and a lock for each arch that has one"
    assert module.find(project, store, requirements, LINUX) is not None


def test_the_command_says_so(pushed: Callable[..., Lock], fresh: Callable[..., Project], envlock: Envlock) -> None:
    made = pushed("mia", 9)
    project = fresh('["mia"]')
    said = envlock("lock").stdout
    assert "fetched alpha on linux-64: 1 package, CPython" in said
    assert f"note: resolved by mia at {made.resolved_at}, and taken from {store_of(project).url}" in said
    assert "nothing changed" in envlock("lock").stdout
    envlock("check")


def test_a_lock_without_a_time_leaves_no_record(pushed: Callable[..., Lock], tmp_path: Path) -> None:
    pushed("mia", 9)
    project = load_project(next(tmp_path.glob("of-*/envlock.toml")))
    store: Store = store_of(project)
    made = replace(read_lock(lock_files(project.lock_folder)[0]), resolved_at="")
    for path in paths(store, "resolved"):
        store.delete(path)
    Resolved(store).write(made)
    assert paths(store, "resolved") == set()
    assert Environments(store).has(made)
