"""`get`: locks of others, from the cache into the project that needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.errors import CachedLockDamaged
from envlock.cache.layout import environment_place
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.document import render
from envlock.lockfile.folder import lock_files, read_lock, write_lock
from envlock.model.arch import LINUX_64, OSX_64, OSX_ARM64
from envlock.model.lock import LockedPython
from envlock.named.errors import (
    AliasLacksArch,
    EnvironmentNotInCache,
    NotNeeded,
)
from envlock.named.lookup import Lookup
from envlock.workflow.check import check
from envlock.workflow.errors import HostNotAllowed
from envlock.workflow.get import get
from tests.index import Index
from tests.named.projects import (
    locks,
    of_another,
    pushed_project,
)
from tests.support import snapshot
from tests.workflow.recording import Recorder


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return pushed_project(tmp_path, index)


def test_what_a_project_needs(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    assert check(other.project).exit_status == 1
    told = Recorder()
    fetched = get(other, other.reference("team/base:v1"), reporter=told)
    assert told.done == told.totals == {"reading team/base:v1": 2}
    assert fetched.serves == ("mine",)
    assert len(fetched.written) == 2
    assert fetched.kept == fetched.replaced == fetched.left_out == ()
    assert locks(other.project) == [each for each in locks(project) if each.asked_by == ("one",)]
    assert check(other.project).findings == ()
    again = get(other, other.reference("team/base:v1"))
    assert (again.written, again.kept) == ((), fetched.written)


def test_what_names_a_host_that_is_not_allowed_is_not_written(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    text = other.project.path.read_text().replace("[envlock]", '[envlock]\nhosts = ["files.example"]')
    other.project.path.write_text(text)
    with pytest.raises(HostNotAllowed):
        get(Lookup(load_project(other.project.path)), other.reference("team/base:v1"))
    assert not other.project.lock_folder.exists()


def test_what_lacks_a_package_is_damage_in_the_cache_too(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    (lock, *_) = (each for each in locks(project) if each.asked_by == ("one",))
    first = replace(lock.packages[0], dependencies=("ghost",))
    place = tmp_path / "cache" / environment_place(lock).path
    place.write_text(render(replace(lock, packages=(first, *lock.packages[1:]))))
    with pytest.raises(CachedLockDamaged) as caught:
        get(other, other.reference("team/base:v1"))
    assert "ghost" in caught.value.render()


def test_what_nothing_needs_is_not_written(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project, name="three")
    before = snapshot(other.project.folder)
    with pytest.raises(NotNeeded) as caught:
        get(other, other.reference("team/base:v1"))
    assert "--into FOLDER" in caught.value.render()
    assert snapshot(other.project.folder) == before


def test_into_a_folder_whatever_the_project_needs(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project, name="three")
    fetched = get(other, other.reference("team/base:v1"), into=tmp_path / "into")
    assert fetched.serves == ()
    assert [read_lock(path) for path in lock_files(tmp_path / "into")] == list(fetched.locks)
    assert not other.project.lock_folder.exists()


def test_archs(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project, archs=(OSX_ARM64, OSX_64))
    fetched = get(other, other.reference("team/base:v1"))
    assert [lock.arch for lock in fetched.locks] == [OSX_ARM64]
    assert fetched.left_out == (LINUX_64,)
    assert [lock.arch for lock in get(other, other.reference("team/base:v1"), (LINUX_64,)).locks] == [LINUX_64]
    with pytest.raises(AliasLacksArch):
        get(other, other.reference("team/base:v1"), (OSX_64,))


def test_no_arch_of_the_project(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project, archs=(OSX_64,))
    with pytest.raises(AliasLacksArch, match="not there for osx-64"):
        get(other, other.reference("team/base:v1"))


def test_it_takes_the_place_of_what_was_locked(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    wanted = other.reference("team/base:v1")
    (lock, _) = [each for each in locks(project) if each.req_id == wanted.req_id]
    mine = replace(lock, asked_by=("mine",), python=LockedPython("machine", "3.11.0"))
    path = write_lock(other.project.lock_folder, mine)
    assert get(other, wanted).replaced == (path,)
    assert check(other.project).findings == ()


def test_a_damaged_lock_of_the_project_is_put_right(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    (path, _) = get(other, other.reference("team/base:v1")).written
    path.write_bytes(path.read_bytes()[:-50])
    assert get(other, other.reference("team/base:v1")).written == (path,)
    assert check(other.project).findings == ()


def test_who_locked_it_stays_as_it_is_committed(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    for path in get(other, other.reference("team/base:v1")).written:
        write_lock(other.project.lock_folder, replace(read_lock(path), resolved_by="me"))
    assert get(other, other.reference("team/base:v1")).written == ()


def test_a_damaged_lock_of_the_cache_is_refused(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    (lock, _) = [each for each in locks(project) if each.asked_by == ("one",)]
    path = environment_place(lock).path
    other.store.put(path, other.store.read(path).replace(b"alpha-1.0", b"alpha-1.1"))
    with pytest.raises(CachedLockDamaged):
        get(other, other.reference("team/base:v1"))
    assert not other.project.lock_folder.exists()


def test_what_is_no_longer_in_the_cache(project: Project, tmp_path: Path) -> None:
    other = of_another(tmp_path, project)
    for entry in list(other.store.entries("envs/osx-arm64")):
        other.store.delete(entry.path)
    with pytest.raises(EnvironmentNotInCache, match="`team/base:v1` for osx-arm64"):
        get(other, other.reference("team/base:v1"))
    assert not other.project.lock_folder.exists(), "all are read before any is written"


def test_the_project_itself_changes_nothing(project: Project) -> None:
    before = snapshot(project.folder)
    lookup = Lookup(project)
    assert len(get(lookup, lookup.reference("team/base:v1")).kept) == 2
    assert snapshot(project.folder) == before
