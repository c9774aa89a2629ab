"""Requests to an index go to its mirror; locks, ids and verdicts are the same as without one."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.lockfile.folder import read_lock
from envlock.model.arch import host_arch
from envlock.resolve.errors import AmbiguousMirror, IndexUnreachable
from envlock.uv_command import default_index
from envlock.workflow.check import check
from envlock.workflow.lock import lock
from tests.conftest import Envlock, ProjectFolder
from tests.index import Index, Release

TOKEN = "t0ken-of-a-mirror"
SOURCES = (Release("made", "1.0", tags=(), sdist=True),)


@pytest.fixture
def upstream(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def locked(project: ProjectFolder, upstream: Index, envlock: Envlock) -> dict[str, bytes]:
    """The files of the lock folder, locked from upstream, which is gone then; the project is without them."""
    project.write_env("alpha>=1", "lam", settings=f'index-url = "{upstream.url}"', archs=["linux-64"])
    envlock("lock")
    return files_of(project)


def files_of(project: ProjectFolder) -> dict[str, bytes]:
    """The lock folder, without the line that says when a lock was made."""
    return {
        path.relative_to(project.folder).as_posix(): re.sub(rb'resolved-at = "[^"]*"', b"", path.read_bytes())
        for path in sorted(project.lock_folder.rglob("*"))
        if path.is_file()
    }


def remove(project: ProjectFolder) -> None:
    for path in sorted(project.lock_folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def rows(upstream: Index, mirror: Index, *, files: bool = True, token: str = "") -> dict[str, str]:
    """The mirrors of the index and of its files."""
    base = mirror.base if not token else mirror.base.replace("http://", f"http://{token}@")
    found = {upstream.url.rstrip("/"): f"{base}simple"}
    return {**found, f"{upstream.base}files": f"{base}files/"} if files else found


def write_user_file(isolated: Path, mirrors: dict[str, str]) -> None:
    path = isolated / "config" / "envlock" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[envlock.index-mirrors]\n" + "".join(f'"{key}" = "{value}"\n' for key, value in mirrors.items()))


def test_a_lock_of_a_mirror_is_that_of_upstream_to_the_byte(
    project: ProjectFolder,
    locked: dict[str, bytes],
    upstream: Index,
    make_index: Callable[..., Index],
    envlock: Envlock,
    isolated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror = make_index(credentials=("reader", TOKEN))
    monkeypatch.setenv("MIRROR_TOKEN", TOKEN)
    write_user_file(isolated, rows(upstream, mirror, token="reader:${MIRROR_TOKEN}"))
    upstream.close()
    remove(project)
    said = envlock("lock").text
    assert files_of(project) == locked
    envlock("check")
    pushed = envlock("push").text
    assert mirror.downloads(), "the wheels come from the mirror"
    envlock("check", "--online")
    assert TOKEN not in said + pushed + "".join(each.decode() for each in files_of(project).values())
    shown = json.loads(envlock("config", "show", "index-mirrors", "--json").stdout)["settings"]
    assert len(shown) == 2
    assert TOKEN not in json.dumps(shown)


def test_the_index_of_one_package_an_extra_one_and_a_page_of_links_have_mirrors_too(
    project: ProjectFolder, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = [make_index(Release(name, "1.0")) for name in ("one", "two", "three")]
    mirrors = [make_index(Release(name, "1.0")) for name in ("one", "two", "three")]
    page = f"{upstream[2].url}three/"
    (project.folder / "links.txt").write_text(f"--find-links {page}\nthree\n")
    settings = (
        f'index-url = "{make_index().url}"\nextra-indices = ["{upstream[0].url}"]\nindexes.own = "{upstream[1].url}"'
    )
    project.write(
        '[env.demo]\nrequirements = "links.txt"\n'
        'pypi = { python = "3.12", packages = { one = "", two = { index = "own" } } }\n',
        settings=settings,
        archs=["linux-64"],
    )
    lock(load_project(project.config))
    before = files_of(project)
    remove(project)
    words = [f"{key}={value}" for at, to in zip(upstream, mirrors, strict=True) for key, value in rows(at, to).items()]
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", " ".join([*words, f"{page}={mirrors[2].url}three/"]))
    for each in upstream:
        each.close()
    lock(load_project(project.config))
    assert files_of(project) == before


@pytest.mark.parametrize("resolver", ["uv", "pip-tools"])
def test_a_file_that_a_requirement_names_is_asked_of_the_mirror_of_its_folder(
    project: ProjectFolder, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch, resolver: str
) -> None:
    upstream, mirror = make_index(Release("one", "1.0")), make_index(Release("one", "1.0"))
    url = upstream.file_url("one-1.0-py3-none-any.whl")
    series = ".".join(map(str, sys.version_info[:2]))
    settings = f'index-url = "{upstream.url}"\nresolver.pypi = "{resolver}"'
    project.write_env(f"one@{url}", settings=settings, archs=[host_arch()], python=series)
    words = (f"{key}={value}" for key, value in rows(upstream, mirror).items())
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", " ".join(words))
    upstream.close()
    lock(load_project(project.config))
    (one,) = read_lock(project.lock_of(host_arch())).packages
    assert one.url == url
    monkeypatch.delenv("ENVLOCK_INDEX_MIRRORS")
    assert check(load_project(project.config)).findings == ()


def test_a_mirror_with_paths_of_its_own_serves_a_lock_and_makes_none(
    project: ProjectFolder,
    locked: dict[str, bytes],
    upstream: Index,
    make_index: Callable[..., Index],
    envlock: Envlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror = make_index(html_only=True)
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", f"{upstream.url}={mirror.url}")
    upstream.close()
    error = envlock("lock", "--upgrade", check=4).stderr
    assert "error[unknown-upstream]" in error
    assert "at envlock.toml:" in error
    assert f"{mirror.base}files/" in error
    assert files_of(project) == locked
    envlock("push")
    assert {each.path.rpartition("/")[2] for each in mirror.downloads()} >= {"lam-1.0-py3-none-any.whl"}
    assert any(each.path == "simple/alpha/" for each in mirror.requests), "its page tells where it has the file"


def test_a_mirror_of_the_tools_own_index_is_asked_where_no_index_is_written(
    project: ProjectFolder, make_index: Callable[..., Index], envlock: Envlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, default = make_index(), default_index()
    project.write_env("lam", settings="# no index-url", archs=["linux-64"])
    project.config.write_text(project.config.read_text().replace(f'index-url = "{project.index_url}"\n', ""))
    monkeypatch.setenv(
        "ENVLOCK_INDEX_MIRRORS",
        f"{default.rstrip('/')}/={mirror.url} https://files.example/packages={mirror.base}files",
    )
    req_id = load_project(project.config).environments()[0].requirements.req_id
    envlock("lock")
    (lam,) = read_lock(project.lock_of("linux-64")).packages
    assert (lam.index, req_id) == (default, project.lock_of("linux-64").parent.name)
    assert lam.url.startswith("https://files.example/packages/")
    monkeypatch.delenv("ENVLOCK_INDEX_MIRRORS")
    assert load_project(project.config).environments()[0].requirements.req_id == req_id
    envlock("check")


def test_pip_tools_asks_the_mirror_too(
    project: ProjectFolder,
    upstream: Index,
    make_index: Callable[..., Index],
    envlock: Envlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mirror = make_index()
    settings = f'index-url = "{upstream.url}"\nresolver = {{ pypi = "pip-tools" }}'
    series = ".".join(map(str, sys.version_info[:2]))
    project.write_env("lam", settings=settings, archs=[host_arch()], python=series)
    words = (f"{key}={value}" for key, value in rows(upstream, mirror).items())
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", " ".join(words))
    upstream.close()
    envlock("lock")
    (lam,) = read_lock(project.lock_of(host_arch())).packages
    assert (lam.index.rstrip("/"), lam.url) == (upstream.url.rstrip("/"), upstream.file_url(lam.filename))


def test_an_sdist_is_built_from_the_mirror_and_locked_from_upstream(
    project: ProjectFolder,
    make_index: Callable[..., Index],
    envlock: Envlock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream, mirror = make_index(*SOURCES), make_index(*SOURCES)
    series = ".".join(map(str, sys.version_info[:2]))
    settings = f'index-url = "{upstream.url}"\nbuild = true'
    project.write_env("made", settings=settings, archs=[host_arch()], python=series)
    words = (f"{key}={value}" for key, value in rows(upstream, mirror).items())
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", " ".join(words))
    upstream.close()
    envlock("lock")
    (made,) = read_lock(project.lock_of(host_arch())).packages
    assert made.source is not None
    assert made.source.url == upstream.file_url(made.source.filename)
    assert made.index.rstrip("/") == upstream.url.rstrip("/")


def test_a_mirror_that_is_an_index_too_is_refused(
    project: ProjectFolder, upstream: Index, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_index()
    settings = f'index-url = "{upstream.url}"\nextra-indices = ["{mirror.url}"]'
    project.write_env("lam", settings=settings, archs=["linux-64"])
    for place in (mirror.url, mirror.base):
        monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", f"{upstream.url}={place}")
        with pytest.raises(AmbiguousMirror) as caught:
            lock(load_project(project.config))
        assert {each.key for each in caught.value.locations} == {"envlock.extra-indices.0"}


def test_a_mirror_that_does_not_answer_is_named(
    project: ProjectFolder, upstream: Index, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = make_index()
    project.write_env("lam", settings=f'index-url = "{upstream.url}"', archs=["linux-64"])
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", f"{upstream.url}={mirror.url_with('me', 's3cret')}")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    mirror.close()
    with pytest.raises(IndexUnreachable) as caught:
        lock(load_project(project.config))
    assert mirror.url in caught.value.render()
    assert "s3cret" not in caught.value.render()
