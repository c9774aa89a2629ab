"""Files whose index tells no SHA-256: fetched once, hashed, and locked with it; never where the index is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import read_lock
from envlock.places import home
from envlock.workflow.lock import Upgrade, lock
from envlock.workflow.push import push
from tests.index import Index, Release
from tests.support import ProjectFolder
from tests.workflow.recording import Recorder

ONE = Release("one", "1.0", requires=("two",))
TWO = Release("two", "1.0")
FILES = [f"{name}-1.0-py3-none-any.whl" for name in ("one", "two")]
MakeIndex = Callable[..., Index]


def project_of(place: Path, index: Index) -> ProjectFolder:
    project = ProjectFolder.make(place / "project", index.url)
    project.write_env("one", archs=["linux-64", "osx-arm64"], settings='cache = "../cache"')
    return project


@pytest.mark.parametrize(
    ("hashes", "html_only"),
    [(("md5",), False), (("sha512",), True), (("sha384",), False), (("md5", "sha256"), False), ((), True)],
)
def test_every_package_is_locked_with_its_sha256(
    tmp_path: Path, make_index: MakeIndex, hashes: tuple[str, ...], html_only: bool
) -> None:
    index = make_index(ONE, TWO, hashes=hashes, html_only=html_only)
    project = project_of(tmp_path, index)
    lock(load_project(project.config))
    assert project.locks
    for path in project.locks:
        packages = read_lock(path).packages
        assert [each.sha256 for each in packages] == [index.artifact(name).sha256 for name in FILES]
        if hashes:
            assert [each.size for each in packages] == [len(index.artifact(name).data) for name in FILES]


def test_a_file_is_fetched_once_with_progress_and_pushed_from_this_machine(
    tmp_path: Path, make_index: MakeIndex
) -> None:
    index = make_index(ONE, TWO, hashes=("md5",))
    project = load_project(project_of(tmp_path, index).config)
    recorder = Recorder()
    lock(project, reporter=recorder)
    assert sorted(each.path.rpartition("/")[2] for each in index.downloads()) == FILES
    (phase,) = [each for each in recorder.totals if "SHA-256" in each]
    assert phase in recorder.over
    assert recorder.done[phase] > 0
    index.forget()
    lock(project, upgrade=Upgrade(everything=True))
    push(project)
    assert index.downloads() == ()


def test_an_index_with_the_digest_of_other_bytes_is_refused(tmp_path: Path, make_index: MakeIndex) -> None:
    index = make_index(ONE, TWO, hashes=("sha512",))
    index.tamper(FILES[1], b"something else".ljust(len(index.artifact(FILES[1]).data), b"\0"))
    project = project_of(tmp_path, index)
    with pytest.raises(EnvlockError) as refused:
        lock(load_project(project.config))
    error = refused.value
    assert (error.code, error.exit_status) == ("index-hash-mismatch", 4)
    assert FILES[1] in error.message
    assert [detail.split()[1] for detail in error.details] == ["sha512", "sha512"]
    assert project.locks == ()
    index.mend()
    lock(load_project(project.config))  # nothing of the refused file was remembered
    assert len(project.locks) == 2


def test_offline_only_what_was_fetched_before_is_known(tmp_path: Path, make_index: MakeIndex) -> None:
    index = make_index(ONE, TWO, hashes=("md5",))
    project = load_project(project_of(tmp_path, index).config)
    lock(project)
    again = lock(project, offline=True, upgrade=Upgrade(everything=True))
    assert {each.action for each in again.locked} == {"kept"}
    shutil.rmtree(home() / "hashed")
    with pytest.raises(EnvlockError) as refused:
        lock(project, offline=True, upgrade=Upgrade(everything=True))
    assert refused.value.code == "unknown-hash"
    assert "md5" in refused.value.details[0]
