from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cache.errors import (
    CacheHashMismatch,
    CacheUnusable,
    NotInCache,
    UpstreamHashMismatch,
    UpstreamMissing,
)
from envlock.cache.open import open_store
from envlock.cache.packages import path_of
from envlock.config.project import Project
from envlock.errors import ManyErrors
from envlock.files import sha256_of
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.artifact import Artifact, artifacts_of
from envlock.places import home
from envlock.reporter import Reporter
from envlock.workflow.artifacts import artifact_source
from envlock.workflow.push import push
from tests.cache.locks import locked_project
from tests.index import Index
from tests.support import snapshot
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
LAM = "lam-1.0-py3-none-any.whl"


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def project(tmp_path: Path, own: Index) -> Project:
    return locked_project(tmp_path / "project", own, {"one": [ALPHA, LAM]})


def wanted(project: Project) -> tuple[Artifact, ...]:
    return tuple(artifact for path in lock_files(project.lock_folder) for artifact in artifacts_of(read_lock(path)))


def placed() -> list[str]:
    """The names of the files among this machine's packages, whatever they are."""
    return sorted(path.name for path in (home() / "packages").rglob("*") if path.is_file())


def damage(project: Project, artifact: Artifact) -> None:
    store = open_store(project.cache_url)
    store.put(path_of(artifact), store.read(path_of(artifact))[::-1])


def test_from_upstream_then_from_this_machine(project: Project, own: Index) -> None:
    recorder = Recorder()
    source = artifact_source(project, recorder)
    files = source.fetch(wanted(project))
    assert set(files) == {artifact.sha256 for artifact in wanted(project)}
    for artifact in wanted(project):
        assert files[artifact.sha256].name == artifact.filename
        assert sha256_of(files[artifact.sha256]) == artifact.sha256
    assert recorder.totals["fetching"] == recorder.done["fetching"] == sum(a.size or 0 for a in wanted(project))
    assert len(own.downloads()) == 2
    before = snapshot(home() / "packages")
    own.close()
    recorder = Recorder()
    assert artifact_source(project, recorder).fetch(wanted(project)) == files
    assert recorder.totals == {}, "what is there costs no phase"
    assert snapshot(home() / "packages") == before


@pytest.mark.parametrize("offline", [True, False])
def test_from_the_cache(project: Project, own: Index, offline: bool) -> None:
    push(project)
    own.close()
    files = artifact_source(project, Reporter(), offline=offline).fetch(wanted(project))
    assert sorted(path.name for path in files.values()) == placed() == [ALPHA, LAM]


def test_what_the_cache_lacks_comes_from_upstream(project: Project, own: Index) -> None:
    push(project)
    lam = next(artifact for artifact in wanted(project) if artifact.filename == LAM)
    open_store(project.cache_url).delete(path_of(lam))
    own.forget()
    artifact_source(project, Reporter()).fetch(wanted(project))
    assert [request.path.rpartition("/")[2] for request in own.downloads()] == [LAM]


def test_offline_says_what_is_missing(project: Project, own: Index) -> None:
    own.forget()
    with pytest.raises(NotInCache) as caught:
        artifact_source(project, Reporter(), offline=True).fetch(wanted(project))
    text = caught.value.render()
    assert ALPHA in text
    assert LAM in text
    assert "hint: run `envlock push`" in text
    assert own.requests == ()
    assert placed() == []


def test_a_corrupt_file_in_the_cache_is_refused(project: Project, own: Index) -> None:
    """Not even upstream is asked instead: somebody has to know."""
    push(project)
    alpha = next(artifact for artifact in wanted(project) if artifact.filename == ALPHA)
    damage(project, alpha)
    own.forget()
    for offline in (True, False):
        with pytest.raises(CacheHashMismatch) as caught:
            artifact_source(project, Reporter(), offline=offline).fetch(wanted(project))
        assert ALPHA in caught.value.message
        assert caught.value.exit_status == 3
        assert caught.value.hint == "envlock cache verify --repair"
    assert own.requests == ()
    assert placed() == [LAM]


def test_several_corrupt_files_are_reported_at_once(project: Project) -> None:
    push(project)
    for artifact in wanted(project):
        damage(project, artifact)
    with pytest.raises(ManyErrors) as caught:
        artifact_source(project, Reporter()).fetch(wanted(project))
    assert [type(error) for error in caught.value.errors] == [CacheHashMismatch] * 2


def test_another_file_upstream_is_refused(project: Project, own: Index) -> None:
    own.tamper(LAM)
    with pytest.raises(UpstreamHashMismatch):
        artifact_source(project, Reporter()).fetch(wanted(project))
    assert placed() == [ALPHA]


def test_gone_upstream(project: Project, own: Index) -> None:
    own.fail("files/*", status=404)
    with pytest.raises(UpstreamMissing, match="2 files"):
        artifact_source(project, Reporter()).fetch(wanted(project))


def test_a_cache_that_cannot_be_read_is_passed_by(project: Project, tmp_path: Path) -> None:
    make_unreadable(tmp_path / "cache", wanted(project))
    recorder = Recorder()
    files = artifact_source(project, recorder).fetch(wanted(project))
    assert len(files) == 2
    assert len(recorder.warnings) == 1
    assert "come from upstream" in recorder.warnings[0]


def test_offline_a_cache_that_cannot_be_read_is_an_error(project: Project, tmp_path: Path) -> None:
    make_unreadable(tmp_path / "cache", wanted(project))
    with pytest.raises((CacheUnusable, ManyErrors)) as caught:
        artifact_source(project, Reporter(), offline=True).fetch(wanted(project))
    assert "cannot be read" in caught.value.render()


def make_unreadable(cache: Path, artifacts: tuple[Artifact, ...]) -> None:
    """Folders stand where files should: even root cannot read those."""
    for artifact in artifacts:
        (cache / path_of(artifact)).mkdir(parents=True)


def test_the_same_file_is_requested_once(project: Project, own: Index) -> None:
    (alpha, _) = wanted(project)
    assert len(artifact_source(project, Reporter()).fetch([alpha, alpha, alpha])) == 1
    assert len(own.downloads()) == 1


def test_credentials_go_to_the_index(tmp_path: Path, private_index: Index) -> None:
    url = private_index.url_with("reader", "s3cr3t-t0ken")
    project = locked_project(tmp_path / "project", private_index, {"one": [ALPHA]}, index_url=url)
    assert len(artifact_source(project, Reporter()).fetch(wanted(project))) == 1


def test_processes_share_one_download(project: Project, own: Index) -> None:
    own.slow("files/*", seconds=0.5)
    code = (
        "import sys; from pathlib import Path; from envlock.config.read import load_project\n"
        "from envlock.lockfile.folder import lock_files, read_lock; from envlock.model.artifact import artifacts_of\n"
        "from envlock.workflow.artifacts import artifact_source; from envlock.reporter import Reporter\n"
        "project = load_project(Path(sys.argv[1])); (path,) = lock_files(project.lock_folder)\n"
        "print(len(artifact_source(project, Reporter()).fetch(artifacts_of(read_lock(path)))))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(project.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["2\n"] * 3
    assert len(own.downloads()) == 2


def test_what_is_there_needs_neither_fsspec_nor_httpx(project: Project) -> None:
    artifact_source(project, Reporter()).fetch(wanted(project))
    code = (
        "import sys; from pathlib import Path; from envlock.config.read import load_project\n"
        "from envlock.lockfile.folder import lock_files, read_lock; from envlock.model.artifact import artifacts_of\n"
        "from envlock.workflow.artifacts import artifact_source; from envlock.reporter import Reporter\n"
        "project = load_project(Path(sys.argv[1])); (path,) = lock_files(project.lock_folder)\n"
        "assert len(artifact_source(project, Reporter()).fetch(artifacts_of(read_lock(path)))) == 2\n"
        "heavy = {'fsspec', 'httpx', 'packaging', 'pydantic', 'rich', 'typer'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(project.path)], check=True)
