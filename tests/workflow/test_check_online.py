"""What indexes have taken back since it was locked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.files import read_file
from envlock.workflow.check_online import check_online
from envlock.workflow.check_rules import Finding
from envlock.workflow.lock import lock
from envlock.workflow.locking.jobs import LockResult
from tests.index import DROP, Index, Release
from tests.support import ProjectFolder, own_project

MakeIndex = Callable[..., Index]
SERIES = "{}.{}".format(*sys.version_info[:2])


def locked(project: ProjectFolder) -> LockResult:
    return lock(load_project(project.config))


def found(project: ProjectFolder) -> tuple[Finding, ...]:
    return check_online(load_project(project.config)).findings


def test_each_lock_file_is_read_once(make_index: MakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = own_project(tmp_path, make_index(Release("alpha", "1.0")))
    project.write_env("alpha", archs=["linux-64", "osx-arm64"])
    locked(project)
    read: list[str] = []

    def counted(path: Path | str, *limits: int, **options: str) -> bytes:
        read.append(str(path))
        return read_file(path, *limits, **options)

    monkeypatch.setattr("envlock.files.read_file", counted)
    assert found(project) == ()
    assert sorted(path for path in read if "pylock." in path) == sorted(map(str, project.locks))


@pytest.mark.parametrize("html_only", [True, False], ids=["html", "json"])
def test_a_release_that_was_yanked_is_reported_with_its_reason_and_line(
    make_index: MakeIndex, tmp_path: Path, html_only: bool
) -> None:
    served = make_index(Release("alpha", "1.0"), Release("lam", "1.0"), html_only=html_only)
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", archs=["linux-64", "osx-arm64"])
    locked(project)
    assert found(project) == ()
    served.yank("lam", "1.0", "it was\nbroken")
    for finding, arch in zip(found(project), ("linux-64", "osx-arm64"), strict=True):
        assert (finding.verdict, finding.exit_status, finding.environment) == ("yanked", 1, "demo")
        assert finding.arch == arch
        assert finding.reasons == ("lam 1.0 was yanked: it was broken",)
        assert finding.location is not None
        assert finding.location.key == "env.demo.pypi.packages.lam"
        assert finding.repair == "envlock lock -P lam"


def test_a_file_that_is_not_on_its_index_any_more_is_reported(make_index: MakeIndex, tmp_path: Path) -> None:
    served = make_index(Release("alpha", "1.0"), Release("alpha", "1.1"), Release("lam", "1.0"))
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", archs=["linux-64"])
    locked(project)
    served.withdraw("alpha", "1.1")
    served.withdraw("lam", "1.0")
    (finding,) = found(project)
    assert finding.reasons == tuple(
        f"{name} is no longer on {served.url}" for name in ("alpha-1.1-py3-none-any.whl", "lam-1.0-py3-none-any.whl")
    )


def test_each_package_is_requested_once_with_the_credentials_of_its_index(
    private_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = own_project(tmp_path, private_index)
    monkeypatch.setenv("TOKEN", "s3cr3t-t0ken")
    url = private_index.url_with("reader", "${TOKEN}")
    tables = "".join(
        f'[env.{name}.pypi]\npackages = {{ lam = "{asked}" }}\n' for name, asked in (("a", "1"), ("b", ">=1"))
    )
    project.write(tables, settings=f'index-url = "{url}"')
    locked(project)
    private_index.forget()
    assert found(project) == ()
    assert [(each.path, each.status) for each in private_index.requests] == [("simple/lam/", 200)]
    monkeypatch.setenv("TOKEN", "an-old-t0ken")
    with pytest.raises(EnvlockError) as caught:
        found(project)
    assert caught.value.code == "index-unauthorized"
    assert "t0ken" not in caught.value.render()


def test_an_index_that_does_not_answer_is_an_error(make_index: MakeIndex, tmp_path: Path) -> None:
    served = make_index(Release("lam", "1.0"))
    project = own_project(tmp_path, served)
    project.write_env("lam", archs=["linux-64"])
    locked(project)
    for status in (DROP, 500):
        served.fail("simple/lam/", status)
        with pytest.raises(EnvlockError) as caught:
            found(project)
        assert caught.value.code == "index-unreachable"
        assert served.url in caught.value.render()


def test_what_was_yanked_before_it_is_locked_is_said_when_it_is(index: Index, tmp_path: Path) -> None:
    project = own_project(tmp_path, index)
    project.write_env("xi==1.1", python=SERIES, archs=["linux-64"])  # another one may not be here: a note, too
    assert locked(project).locked[0].notes == ("xi 1.1 was yanked: it was broken",)
    assert [each.reasons for each in found(project)] == [("xi 1.1 was yanked: it was broken",)]
    project.write_env("xi", python=SERIES, archs=["linux-64"])
    project.lock_of("linux-64").unlink()
    assert locked(project).locked[0].notes == ()
    assert project.pins() == {"xi": "1.0"}
