"""A commit of a repository: found by its name, fetched alone, and nothing of the repository is run."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from envlock.build import git as of_build
from envlock.build.errors import AmbiguousRef, GitUnreachable, NoGit, NoSuchRef, UnusableRepository
from envlock.build.git import checkout, commit_of
from envlock.build.port import Recipe
from envlock.build.wheels import build
from envlock.model.lock import Source
from envlock.places import folder_in_home
from envlock.source_tree import content_hash
from tests.build.repositories import WHEN, Served, commit, git, served
from tests.build.sources import PROJECT, PYTHON, PYTHON_VERSION


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Served]:
    """Serves `tmp_path / "served"`."""
    with served(tmp_path / "served") as found:
        yield found


def repository(tmp_path: Path, name: str = "demo") -> Path:
    return tmp_path / "served" / name


def fetched(url: str, which: str, tmp_path: Path, name: str = "fetched") -> Path:
    checkout(url, which, tmp_path / name, "demo")
    return tmp_path / name


def test_a_name_means_a_commit_and_one_of_two_has_to_be_said(tmp_path: Path, host: Served) -> None:
    folder = repository(tmp_path)
    first = commit(folder, {"x": "1"})
    git(folder, "tag", "--annotate", "-m", "release", "v1")
    git(folder, "branch", "v1")
    git(folder, "branch", "team/v1")
    second = commit(folder, {"x": "2"})
    git(folder, "branch", "--force", "v1", second)
    url = f"{host.url}/demo/.git"
    names = {"refs/heads/v1": second, "refs/tags/v1": first, "team/v1": first, "main": second, "": second}
    assert {name: commit_of(url, name, "demo") for name in names} == names
    with pytest.raises(AmbiguousRef) as raised:
        commit_of(url, "v1", "demo")
    assert "refs/heads/v1" in (raised.value.hint or "")
    git(folder, "branch", "--force", "v1", first)
    assert commit_of(url, "v1", "demo") == first, "both are one commit"


def test_a_whole_commit_asks_nobody(host: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)
    assert commit_of("http://host.invalid/x.git", "AB" * 20, "demo") == "ab" * 20


@pytest.mark.parametrize("ref", ["nothing", "refs/heads/nothing", "abcdef1"])
def test_a_name_that_is_not_there(tmp_path: Path, host: Served, ref: str) -> None:
    commit(repository(tmp_path), {"x": "1"})
    with pytest.raises(NoSuchRef) as raised:
        commit_of(f"{host.url}/demo/.git", ref, "demo")
    assert ref in raised.value.message
    assert bool(raised.value.details) == (ref == "abcdef1")


@pytest.mark.parametrize("is_filtered", [True, False])
def test_the_first_digits_of_a_commit_mean_it(tmp_path: Path, host: Served, is_filtered: bool) -> None:
    first = commit(repository(tmp_path), {"x": "1"})
    git(repository(tmp_path), "config", "uploadpack.allowFilter", str(is_filtered).lower())
    commit(repository(tmp_path), {"x": "2"})
    assert commit_of(f"{host.url}/demo/.git", first[:8], "demo") == first


def test_an_empty_repository_has_no_commit(tmp_path: Path, host: Served) -> None:
    repository(tmp_path).mkdir(parents=True)
    git(repository(tmp_path), "init", "--quiet")
    with pytest.raises(NoSuchRef):
        commit_of(f"{host.url}/demo/.git", "", "demo")


def test_a_commit_is_fetched_alone(tmp_path: Path, host: Served) -> None:
    folder = repository(tmp_path)
    first = commit(folder, {"old": "1", "run": "#!/bin/sh\n"})
    (folder / "run").chmod(0o755)
    second = commit(folder, {"new": "2"})
    commit(folder, {"newer": "3"})
    before = os.umask(0o077)
    try:
        found = fetched(f"{host.url}/demo/.git", second, tmp_path)
    finally:
        os.umask(before)
    assert sorted(path.name for path in found.iterdir()) == [".git", "new", "old", "run"]
    assert {path: stat.S_IMODE((found / path).stat().st_mode) for path in ("run", "new")} == {
        "run": 0o755,
        "new": 0o644,
    }
    assert (found / "new").stat().st_mtime == WHEN
    assert git(found, "rev-list", "--all", "HEAD") == second
    assert first not in git(found, "cat-file", "--batch-check", "--batch-all-objects")


@pytest.mark.parametrize("options", [{"is_dumb": True}, {"protocol": False}])
def test_a_host_that_refuses_single_commits_gives_all(tmp_path: Path, options: dict[str, bool]) -> None:
    folder = repository(tmp_path)
    first = commit(folder, {"x": "1"})
    commit(folder, {"x": "2"})
    git(folder, "update-server-info")
    with served(tmp_path / "served", **options) as host:
        assert (fetched(f"{host.url}/demo/.git", first, tmp_path) / "x").read_text() == "1"
        with pytest.raises((NoSuchRef, GitUnreachable)):
            fetched(f"{host.url}/demo/.git", "ab" * 20, tmp_path, "other")


def test_a_commit_that_is_not_there(tmp_path: Path, host: Served) -> None:
    commit(repository(tmp_path), {"x": "1"})
    with pytest.raises(NoSuchRef) as raised:
        fetched(f"{host.url}/demo/.git", "ab" * 20, tmp_path)
    assert "ab" * 20 in raised.value.message


def test_a_host_that_is_not_there_is_named_without_credentials(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://me:s3cr3t@127.0.0.1:{port}/demo.git"
    for call in (lambda: commit_of(url, "main", "demo"), lambda: fetched(url, "ab" * 20, tmp_path)):
        with pytest.raises(GitUnreachable) as raised:
            call()
        assert f"http://127.0.0.1:{port}/demo.git" in raised.value.message
        assert "s3cr3t" not in raised.value.render()


def test_ssh_gets_the_user_and_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = commit(repository(tmp_path), {"x": "1"})
    program = tmp_path / "ssh"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nfor last; do :; done\neval "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    url = f"ssh://git:s3cr3t@code.example{repository(tmp_path)}/.git"
    assert commit_of(url, "main", "demo") == first
    assert (fetched(url, first, tmp_path) / "x").read_text() == "1"
    asked = (tmp_path / "asked").read_text()
    assert "git@code.example" in asked
    assert "s3cr3t" not in asked


def test_the_value_of_a_variable_in_a_url_is_not_shown(tmp_path: Path, host: Served) -> None:
    url, kept = f"{host.url}/tk-s3cr3t/demo.git", f"{host.url}/${{TOKEN}}/demo.git"
    for call in (
        lambda: commit_of(url, "main", "demo", kept=kept),
        lambda: checkout(url, "ab" * 20, tmp_path / "x", "demo", kept=kept),
    ):
        with pytest.raises(GitUnreachable) as raised:
            call()
        assert "${TOKEN}" in raised.value.message
        assert "tk-s3cr3t" not in raised.value.render()


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_build, "_LOOKING", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(GitUnreachable):
        commit_of(f"http://127.0.0.1:{server.getsockname()[1]}/demo.git", "main", "demo")


@pytest.mark.parametrize("place", ["url", "netrc", "variables", "helper", "settings"])
def test_credentials_come_from_where_git_and_envlock_have_them(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commit(repository(tmp_path), {"x": "1"})
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with served(tmp_path / "served", credentials="me:s3cr3t") as host:
        url = f"{host.url}/demo/.git"
        with pytest.raises(GitUnreachable):
            commit_of(url, "main", "demo")
        if place == "url":
            url = url.replace("//", "//me:s3cr3t@")
        elif place == "netrc":
            (home / ".netrc").write_text("machine 127.0.0.1 login me password s3cr3t\n")
            (home / ".netrc").chmod(0o600)
        elif place == "variables":
            monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_USERNAME", "me")
            monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_PASSWORD", "s3cr3t")
        elif place == "settings":
            monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
            monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{host.url.replace('//', '//me:s3cr3t@')}/.insteadOf")
            monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://code.example/")
            url = "https://code.example/demo/.git"
        else:
            helper = "!f() { echo username=me; echo password=s3cr3t; }; f"
            (home / ".gitconfig").write_text(f'[credential]\n\thelper = "{helper}"\n')
        assert commit_of(url, "main", "demo") == first
        found = fetched(url, first, tmp_path)
    assert (found / "x").read_text() == "1"
    said = [path for path in found.rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert said == []


def test_no_hook_and_no_filter_is_run(tmp_path: Path, host: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    home = tmp_path / "home"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    (hooks / "post-checkout").write_text(f"#!/bin/sh\ntouch {trap}\n")
    (hooks / "post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {trap}\n\tautocrlf = true\n"
        f'[filter "evil"]\n\tsmudge = "touch {trap}; cat"\n[init]\n\ttemplateDir = {home}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    first = commit(repository(tmp_path), {"x": "1\n", ".gitattributes": "x filter=evil\n"})
    found = fetched(f"{host.url}/demo/.git", first, tmp_path)
    assert (found / "x").read_bytes() == b"1\n"
    assert not trap.exists()


def with_submodule(folder: Path, path: str, url: str, which: str) -> str:
    """A commit with a submodule; the URL is written only if there is one."""
    modules = {".gitmodules": f'[submodule "x"]\n\tpath = {path}\n\turl = {url}\n'} if url else {}
    commit(folder, {"x": "1", **modules})
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{which},{path}")
    git(folder, "commit", "--quiet", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def test_submodules_are_fetched_at_their_commits(tmp_path: Path, host: Served) -> None:
    inner = commit(repository(tmp_path, "inner"), {"deep.txt": "1"})
    middle = with_submodule(repository(tmp_path, "middle"), "lib/inner", "../../inner/.git", inner)
    commit(repository(tmp_path, "inner"), {"deep.txt": "2"})
    whole = with_submodule(repository(tmp_path), "sub", f"{host.url}/middle/.git", middle)
    found = fetched(f"{host.url}/demo/.git", whole, tmp_path)
    assert (found / "sub/lib/inner/deep.txt").read_text() == "1"
    assert git(found / "sub/lib/inner", "rev-parse", "HEAD") == inner


@pytest.mark.parametrize("url", ["", "/srv/lib", "file:///srv/lib", "ext::touch /tmp/evil"])
def test_a_submodule_without_a_url_of_the_web_is_refused(tmp_path: Path, host: Served, url: str) -> None:
    whole = with_submodule(repository(tmp_path), "lib", url, "ab" * 20)
    with pytest.raises(UnusableRepository) as raised:
        fetched(f"{host.url}/demo/.git", whole, tmp_path)
    assert "`lib`" in raised.value.message


def written_tree(folder: Path, rows: list[tuple[str, str, str]]) -> str:
    """A tree as git itself never writes one: mode, name and id of each row, in this order."""
    body = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(which) for mode, name, which in rows)
    data = b"tree %d\0" % len(body) + body
    made = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    place = folder / ".git" / "objects" / made[:2] / made[2:]
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(zlib.compress(data))
    return made


def test_a_submodule_below_a_link_is_refused(tmp_path: Path, host: Served) -> None:
    folder, outside = repository(tmp_path), tmp_path / "outside"
    outside.mkdir()
    first = commit(folder, {".gitmodules": '[submodule "x"]\n\tpath = a/b\n\turl = ../.git\n', "says": f"{outside}"})
    modules, says = (git(folder, "rev-parse", f"HEAD:{name}") for name in (".gitmodules", "says"))
    inner = written_tree(folder, [("160000", "b", first)])
    rows = [("100644", ".gitmodules", modules), ("40000", "a", inner), ("120000", "a", says)]
    whole = git(folder, "commit-tree", written_tree(folder, rows), "-m", "x")
    git(folder, "branch", "evil", whole)
    with pytest.raises(UnusableRepository):
        fetched(f"{host.url}/demo/.git", whole, tmp_path)
    assert not list(outside.iterdir())


def test_files_of_git_lfs_are_refused(tmp_path: Path, host: Served) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    first = commit(repository(tmp_path), {".gitattributes": "*.bin filter=lfs diff=lfs\n", "models/base.bin": pointer})
    with pytest.raises(UnusableRepository) as raised:
        fetched(f"{host.url}/demo/.git", first, tmp_path)
    assert "models/base.bin" in raised.value.message


def test_a_machine_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoGit):
        commit_of("https://code.example/demo.git", "main", "demo")


@pytest.mark.parametrize("url", ["ext::sh -c touch% /tmp/evil", "--upload-pack=touch /tmp/evil", "fd::17"])
def test_a_url_never_runs_a_program(url: str) -> None:
    with pytest.raises(GitUnreachable):
        commit_of(url, "main", "demo")
    assert not Path("/tmp/evil").exists()


def test_a_commit_becomes_a_wheel_with_the_time_of_the_commit(tmp_path: Path, host: Served) -> None:
    said = "open('demo.py', 'w').write(os.environ['SOURCE_DATE_EPOCH'])"
    files = {f"libs/demo/{name}": text for name, text in {**PROJECT, "during.py": said}.items()}
    first = commit(repository(tmp_path), files)
    source = Source("git", url=f"{host.url}/demo/.git", commit=first, subdirectory="libs/demo")
    recipe = Recipe(source, PYTHON, PYTHON_VERSION, name="demo")
    wheels = [build(recipe, folder_in_home("builds", "wheels") / name) for name in ("one", "two")]
    assert len({wheel.sha256 for wheel in wheels}) == 1
    assert str(WHEN).encode() in wheels[0].path.read_bytes()
    with pytest.raises(GitUnreachable):
        build(recipe._replace(offline=True), folder_in_home("builds", "wheels") / "three")


OF_TAGS = """
import subprocess
# setuptools-scm
said = subprocess.run(["git", "describe", "--tags"], capture_output=True, text=True, check=True).stdout
VERSION = said.strip().removeprefix("v").replace("-", ".post", 1).partition("-")[0]
"""


@pytest.mark.parametrize("is_filtered", [True, False])
def test_a_version_that_comes_from_tags_is_found(tmp_path: Path, host: Served, is_filtered: bool) -> None:
    folder = repository(tmp_path)
    text = PROJECT["pyproject.toml"] + "\n[tool.setuptools_scm]\n"
    first = commit(folder, {**PROJECT, "pyproject.toml": text, "during.py": OF_TAGS, "large": "x" * 9999})
    git(folder, "tag", "v1.4")
    git(folder, "config", "uploadpack.allowFilter", str(is_filtered).lower())
    second = commit(folder, {"large": "y"})
    versions = {first: "1.4", second: "1.4.post1"}
    for which, version in versions.items():
        source = Source("git", url=f"{host.url}/demo/.git", commit=which)
        recipe = Recipe(source, PYTHON, PYTHON_VERSION, name="demo", version=version)
        assert build(recipe, folder_in_home("builds", "wheels") / which).version == version


def test_a_checkout_has_the_content_that_was_committed(tmp_path: Path, host: Served) -> None:
    folder = repository(tmp_path)
    first = commit(folder, {"a/b": "1\r\n", "c": "2\n", ".gitattributes": "* text=auto\n"})
    assert content_hash(fetched(f"{host.url}/demo/.git", first, tmp_path)) == content_hash(
        fetched(f"file://{folder}", first, tmp_path, "again")
    )
