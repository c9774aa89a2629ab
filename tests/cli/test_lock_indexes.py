"""`envlock lock` and its indexes: their order, who we are to them, what they may hide, and when."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.lockfile.folder import read_lock as read
from tests.conftest import Envlock
from tests.index import Index, Release
from tests.support import ProjectFolder, files_holding, own_project

SECRET = "s3cr3t-t0ken"

MakeIndex = Callable[..., Index]


# Indexes.


def test_a_second_index_cannot_take_over_a_name(
    index: Index, make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    evil = make_index(Release("alpha", "99.0"), Release("only-here", "1.0", requires=("alpha",)))
    project = ProjectFolder.make(tmp_path / "project", evil.url)
    project.write_env("alpha", "only-here", archs=["linux-64"], more=f'extra_indices = ["{index.url}"]')
    envlock("lock")
    assert project.pins() == {"alpha": "2.0", "beta": "2.0", "only-here": "1.0"}
    lock = read(project.lock_of("linux-64"))
    where = {package.name: package.url.startswith(evil.base) for package in lock.packages}
    assert where == {"alpha": False, "beta": False, "only-here": True}


def test_the_order_of_indexes_counts_and_changes_the_req_id(
    index: Index, make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    other = make_index(Release("lam", "5.0"))
    project = ProjectFolder.make(tmp_path / "project", index.url)
    found = []
    for first, second in ((index, other), (other, index)):
        urls = f'extra_indices = ["{first.url}", "{second.url}"]'
        project.write_env("lam", archs=["linux-64"], more=urls)
        envlock("lock", "--upgrade")
        found.append((project.pins()["lam"], project.lock_of("linux-64").parent.name))
    assert [version for version, _ in found] == ["1.0", "5.0"]
    assert found[0][1] != found[1][1]


CREDENTIALS = {
    "in the URL": ("http://reader:s3cr3t-t0ken@", {}, ""),
    "variables in the URL": (
        "http://${INDEX_USER}:${INDEX_TOKEN}@",
        {"INDEX_USER": "reader", "INDEX_TOKEN": SECRET},
        "",
    ),
    "netrc": ("http://", {}, f"machine 127.0.0.1 login reader password {SECRET}\n"),
    "variables": (
        "http://",
        {"ENVLOCK_INDEX_127_0_0_1_USERNAME": "reader", "ENVLOCK_INDEX_127_0_0_1_PASSWORD": SECRET},
        "",
    ),
}


@pytest.mark.parametrize("way", CREDENTIALS)
def test_credentials_are_used_and_never_written(
    index: Index, private_index: Index, tmp_path: Path, isolated: Path, envlock: Envlock, way: str
) -> None:
    scheme, variables, netrc = CREDENTIALS[way]
    if netrc:
        (isolated / ".netrc").write_text(netrc)
        (isolated / ".netrc").chmod(0o600)
    url = private_index.url.replace("http://", scheme)
    project = ProjectFolder.make(tmp_path / "project", url)
    project.write_env("alpha", archs=["linux-64"], more=f'extra_indices = ["{url}", "{index.url}"]')
    ran = envlock("lock", "-v", env={**variables, "UV_CACHE_DIR": str(tmp_path / "uv-cache"), "TMPDIR": str(tmp_path)})
    assert re.search(r"^debug: \[2\] run \S*uv lock ", ran.stderr, re.MULTILINE)
    assert project.pins() == {"alpha": "2.0", "beta": "2.0"}
    assert {request.user for request in private_index.requests if request.status == 200} == {"reader"}
    assert SECRET not in ran.text
    assert files_holding(SECRET, tmp_path, isolated) <= {project.config, isolated / ".netrc"}
    assert "reader" not in project.lock_of("linux-64").read_text()
    wrong = {name: "wr0ng-passw0rd" if value == SECRET else value for name, value in variables.items()}
    project.config.write_text(project.config.read_text().replace(SECRET, "wr0ng-passw0rd").replace("alpha", "lam"))
    (isolated / ".netrc").write_text(netrc.replace(SECRET, "wr0ng-passw0rd"))
    ran = envlock("lock", "-v", check=4, env=wrong)
    assert "error[index-unauthorized]" in ran.stderr
    assert "wr0ng-passw0rd" not in ran.text
    ran = envlock("lock", "--json", check=4, env=wrong)
    assert "wr0ng-passw0rd" not in ran.text


def test_the_same_credentials_or_others_are_the_same_requirements(
    private_index: Index, tmp_path: Path, envlock: Envlock
) -> None:
    project = ProjectFolder.make(tmp_path / "project", private_index.url_with("reader", SECRET))
    project.write_env("lam", archs=["linux-64"])
    envlock("lock")
    for url in (private_index.url, private_index.url_with("somebody", "else")):
        ProjectFolder(project.folder, url).write_env("lam", archs=["linux-64"])
        envlock("check")
        assert "nothing changed" in envlock("lock").stdout


def test_secrets_in_links_never_reach_a_lock(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    signed = make_index(link=lambda url: f"{url.replace('http://', f'http://me:{SECRET}@')}?sig={SECRET}")
    project = own_project(tmp_path, signed)
    project.write_env("alpha", archs=["linux-64"])
    ran = envlock("lock", env={"UV_CACHE_DIR": str(tmp_path / "elsewhere" / "uv")})
    assert project.pins() == {"alpha": "2.0", "beta": "2.0"}
    assert SECRET not in ran.text
    assert files_holding(SECRET, project.folder) == set()


def test_a_direct_url_is_locked_and_one_with_credentials_is_refused(
    index: Index, project: ProjectFolder, envlock: Envlock
) -> None:
    url = index.file_url("alpha-1.1-py3-none-any.whl")
    project.write_env(f"alpha@{url}", "lam", archs=["linux-64", "osx-64"])
    envlock("lock")
    assert project.pins() == {"alpha": "1.1", "lam": "1.0"}
    assert read(project.lock_of("linux-64")).packages[0].url == url
    envlock("check")
    project.write_env(f"alpha@{url.replace('http://', f'http://me:{SECRET}@')}", archs=["linux-64"])
    ran = envlock("lock", check=2)
    assert "error[credentials-in-direct-url]" in ran.stderr
    assert "envlock.toml:" in ran.stderr


@pytest.mark.parametrize("url", ["file:///tmp/alpha-1.1-py3-none-any.whl", "../alpha-1.1-py3-none-any.whl"])
def test_files_of_this_machine_are_never_locked(project: ProjectFolder, envlock: Envlock, url: str) -> None:
    project.write_env(f"alpha@{url}", archs=["linux-64"])
    ran = envlock("lock", check=False)
    assert ran.status in {2, 4}
    assert "error[" in ran.stderr
    assert not project.lock_folder.exists()


# exclude-newer.


def test_exclude_newer_as_a_day(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", settings='exclude-newer = "2021-02-28"', archs=["linux-64"])
    envlock("lock")
    assert project.pins() == {"alpha": "1.0"}
    project.write_env("alpha", settings="exclude-newer = 2021-03-01", archs=["linux-64"])
    assert "exclude-newer" in envlock("check", check=1).stdout
    envlock("lock", "--upgrade")
    assert project.pins() == {"alpha": "1.1"}
    lock = read(project.lock_of("linux-64"))
    assert lock.exclude_newer == lock.requirements.exclude_newer == "2021-03-02T00:00:00Z"


def test_exclude_newer_as_a_span_is_fixed_and_stays_out_of_the_req_id(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    now = time.time()
    stamp = {days: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - days * 86400)) for days in (1, 5, 30)}
    served = make_index(*(Release("one", f"1.{9 - i}", uploaded=stamp[days]) for i, days in enumerate((1, 5, 30))))
    project = own_project(tmp_path, served)
    req_ids = set()
    for span, version in (("3d", "1.8"), ("1 week", "1.7"), ("P2D", "1.8")):
        project.write_env("one", settings=f'exclude-newer = "{span}"', archs=["linux-64"])
        envlock("lock", "--upgrade")
        assert project.pins() == {"one": version}
        lock = read(project.lock_of("linux-64"))
        assert lock.requirements.exclude_newer == ""
        assert lock.exclude_newer.endswith("Z")
        req_ids.add(lock.req_id)
        envlock("check")
    assert len(req_ids) == 1
