"""`doctor` finds what is wrong and says what repairs it. No check stops another, and no value of a secret is shown."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from envlock.config.errors import NoConfig
from envlock.config.read import load_project
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine import machine_checks, project_checks
from envlock.workflow.machine.doctor import ERROR, NOTE, OK, WARNING, Check, Finding, Given, examine
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.index import Index
from tests.workflow.machine.homes import MadeUpProject, name_of

NOWHERE = Given(None)


def no_project() -> Any:
    raise NoConfig("/somewhere")


def of(project: ProjectFolder, *, writes: bool = False) -> Given:
    return Given(load_project(project.config), writes)


def test_a_check_that_hangs_holds_up_no_other() -> None:
    never = threading.Event()

    def hangs(_: Given) -> Iterator[Finding]:
        never.wait(60)
        yield Finding("hung", "a disk", "too late")

    def works(_: Given) -> Iterator[Finding]:
        yield Finding("works", "a file", "there")

    checks = (Check("hung", "a disk", hangs), Check("works", "a file", works))
    found = examine(no_project, seconds=0.1, checks=checks)
    never.set()
    assert [(each.check, each.state) for each in found] == [("project", NOTE), ("hung", WARNING), ("works", OK)]
    assert found[1].looked_at == "a disk"
    assert "0.1 s" in found[1].found
    assert [each.hangs for each in found] == [False, True, False]


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/x"), ValueError("secret")])
def test_a_check_that_fails_is_a_finding(error: Exception) -> None:
    def fails(_: Given) -> Iterator[Finding]:
        yield Finding("fails", "a file", "there")
        raise error

    (_, found) = examine(no_project, checks=(Check("fails", "a file", fails),))
    assert (found.check, found.state) == ("fails", WARNING)
    assert "secret" not in str(found)


def test_an_envlock_toml_that_cannot_be_read_is_a_finding_with_its_line(project: ProjectFolder) -> None:
    project.config.write_text("[envlock]\nchache = 1\n")
    (found,) = examine(lambda: load_project(project.config), checks=(Check("x", "", lambda _: iter(())),))
    assert (found.check, found.state) == ("project", ERROR)
    assert "envlock.toml:2" in found.meaning
    assert found.repair


def test_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look() -> list[Finding]:
        return [
            each
            for each in examine(no_project, checks=[each for each in machine_checks.CHECKS if each.name == "home"])
            if each.check == "home"
        ]

    (found,) = look()
    assert (found.looked_at, found.state) == (str(home()), OK)
    assert "not there yet" in found.found
    home().mkdir()
    (found,) = look()
    assert found.state == OK
    assert " free" in found.found
    home().chmod(0o777)
    (found,) = look()
    assert found.state == ERROR
    assert "untrusted-home" in found.found
    assert "chmod" in found.repair
    (tmp_path / "file").touch()
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "file" / "home"))
    (found,) = look()
    assert (found.state, "cannot be written" in found.found) == (ERROR, True)
    monkeypatch.setenv("ENVLOCK_HOME", "~nobody-of-this-name/home")
    (found,) = look()
    assert (found.state, "no-home" in found.found) == (ERROR, True)


def test_the_disk_of_the_home_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    home().mkdir()
    monkeypatch.setattr(machine_checks, "_LITTLE", 1 << 62)
    found = {each.check: each for each in machine_checks.home_folder(NOWHERE)}
    assert found["space"].state == WARNING
    assert found["space"].repair.startswith("envlock env gc")


def test_settings_files_and_variables_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = "s3://bucket/s3cret"
    monkeypatch.setenv("ENVLOCK_CACHE", secret)
    monkeypatch.setenv("ENVLOCK_CACHEE", "x")
    named, misspelt = machine_checks.settings(NOWHERE)
    assert "ENVLOCK_CACHE" in named.found
    assert "s3cret" not in str(named)
    assert (misspelt.looked_at, misspelt.state, misspelt.repair) == (
        "ENVLOCK_CACHEE",
        WARNING,
        "export ENVLOCK_CACHE=...",
    )
    monkeypatch.setenv("ENVLOCK_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("[envlock]\nchache = 1\n")
    checks = [each for each in machine_checks.CHECKS if each.name == "settings"]
    found = examine(no_project, checks=checks)[-1]
    assert (found.check, found.state) == ("settings", ERROR)
    assert "config.toml:2" in found.meaning


def test_uv_and_the_disk_of_its_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = {each.check: each for each in machine_checks.uv(NOWHERE)}
    assert found["uv"].found.startswith("uv ")
    assert found["uv-cache"].state == OK
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setenv("UV_CACHE_DIR", str(shared))
    found = {each.check: each for each in machine_checks.uv(NOWHERE)}
    assert found["uv-cache"].state == NOTE
    assert found["uv-cache"].repair == f"chmod -R go-w {shared}"


def test_the_interpreters_and_those_that_locks_need(
    project: ProjectFolder, envlock: Envlock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    found = list(machine_checks.interpreters(of(project)))
    assert {each.state for each in found} == {OK}
    assert any(each.found.startswith(f"CPython {SERIES}.") for each in found)
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{tmp_path}")
    (missing,) = machine_checks.interpreters(of(project))
    assert (missing.state, missing.found) == (ERROR, f"no CPython {SERIES}")


@pytest.mark.skipif(sys.platform != "linux", reason="CUDA is of Linux")
def test_what_locks_require_of_the_system_and_it_lacks(
    project: ProjectFolder, envlock: Envlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = 'sys_packages = { packages = { __cuda = "12.4" } }'
    project.write(
        f'[env.demo]\npypi = {{ python = "{SERIES}", packages = {{ alpha = "" }} }}\n{wanted}', archs=[host_arch()]
    )
    envlock("lock")
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "")
    (lacking,) = (each for each in machine_checks.system(of(project)) if each.state == WARNING)
    assert lacking.found == "__cuda 12.4 is required, none is here"
    assert "demo" in lacking.meaning
    (lock,) = (project.folder / "envlock.lock").rglob("pylock.*.toml")
    lock.write_bytes(b"\0")
    assert WARNING not in {each.state for each in machine_checks.system(of(project))}, "the check of locks tells"
    assert OK in {each.state for each in machine_checks.interpreters(of(project))}


def test_metaflow_and_what_else_extends_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "metaflow_netflixext-1.3.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: metaflow-netflixext\nVersion: 1.3.0\n")
    (other / "RECORD").write_text("metaflow_extensions/netflix_ext/toplevel/netflix_version.py,,\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = list(machine_checks.metaflow(NOWHERE))
    assert [(each.check, each.state) for each in found][1:] == [("metaflow-extensions", NOTE)]
    assert "--environment=envlock" in found[0].found
    assert (found[1].found, found[1].repair.split()[:2]) == ("metaflow-netflixext", ["envlock", "migrate"])


def test_a_python_without_metaflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "_ASK_METAFLOW", "import nothing_of_this_name")
    (found,) = machine_checks.metaflow(NOWHERE)
    assert (found.state, "pip install" in found.repair) == (NOTE, True)


def test_what_the_system_has_and_what_variables_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = machine_checks.system(NOWHERE)
    assert found.state == OK
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.4")
    (found,) = machine_checks.system(NOWHERE)
    assert (found.state, "CUDA 12.4" in found.found, found.repair) == (NOTE, True, "unset CONDA_OVERRIDE_CUDA")


def test_proxies_are_shown_without_their_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cret@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    (found,) = machine_checks.proxies(NOWHERE)
    assert "proxy.example:3128" in found.found
    assert "no_proxy=localhost" in found.found
    assert "s3cret" not in str(found)


def test_names_and_projects_that_lost_what_they_need(tmp_path: Path) -> None:
    (home() / "named").mkdir(parents=True)
    (home() / "named" / "jup").symlink_to(home() / "environments" / name_of(1))
    project = MadeUpProject(tmp_path / "disk").is_known(1)
    (note,) = (home() / "projects").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), "mount": str(tmp_path / "gone")}))
    project.config.unlink()
    gone, unread = machine_checks.names(NOWHERE)
    assert (gone.state, gone.repair) == (WARNING, "envlock sync")
    assert (unread.state, unread.looked_at) == (NOTE, str(project.config))


def test_the_cache_is_read_and_written_only_on_request(project: ProjectFolder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    project.write("", settings=f'cache = "{cache}"')
    (found,) = project_checks.cache(of(project))
    assert (found.state, cache.exists()) == (OK, False)
    read, written = project_checks.cache(of(project, writes=True))
    assert (read.state, written.state) == (OK, OK)
    assert [each.name for each in cache.rglob("*") if each.is_file()] == [".gitignore"]
    assert "nothing was pushed" in found.found
    (cache / "envs" / "linux-64").mkdir(parents=True)
    (cache / "envs" / "linux-64" / "lock").touch()
    assert "nothing was pushed" not in next(project_checks.cache(of(project))).found
    (tmp_path / "file").touch()
    project.write("", settings=f'cache = "{tmp_path}/file/cache"')
    found = list(project_checks.cache(of(project, writes=True)))[-1]
    assert found.state == ERROR


def test_an_index_that_answers_denies_or_is_silent(
    project: ProjectFolder, private_index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write_env("alpha==1.1")

    def look() -> dict[str, Finding]:
        return {each.looked_at: each for each in project_checks.indexes(of(project))}

    (found,) = look().values()
    assert found.state == OK
    text = project.config.read_text()
    project.config.write_text(text.replace(project.index_url, private_index.url))
    (found,) = look().values()
    assert (found.state, "401" in found.found) == (ERROR, True)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login reader password s3cr3t-t0ken\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    (found,) = look().values()
    assert found.state == OK
    project.config.write_text(text.replace(project.index_url, "http://127.0.0.1:9/simple"))
    (found,) = look().values()
    assert (found.state, found.looked_at) == (ERROR, "http://127.0.0.1:9/simple")
    monkeypatch.delenv("NETRC")
    mirror = private_index.url_with("reader", "s3cr3t-t0ken")
    monkeypatch.setenv("ENVLOCK_INDEX_MIRRORS", f"http://127.0.0.1:9/simple={mirror}")
    (found,) = look().values()
    assert (found.state, found.looked_at) == (OK, f"http://127.0.0.1:9/simple from its mirror {private_index.url}")


def test_an_index_that_never_answers_costs_its_own_finding(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_checks, "_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        project.write_env("alpha==1.1", settings=f'extra-indices = ["{url}"]')
        found = {each.looked_at: each.state for each in project_checks.indexes(of(project))}
    assert found.pop(url) == ERROR
    assert set(found.values()) == {OK}


def test_credentials_are_named_and_never_shown(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine netrc.example login me password s3cret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("TOKEN", "s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    urls = [
        "https://netrc.example/simple",
        "https://me:${TOKEN}@variable.example/simple",
        "https://none.example/simple",
    ]
    urls += ["https://me:s3cret@written.example/simple", "https://me:${UNSET_ONE}@unset.example/simple"]
    project.config.write_text(
        f'[envlock]\ncache = "s3://bucket/envlock"\nextra-indices = {json.dumps(urls)}\n[env.demo]\npypi = {{}}\n'
    )
    found = {each.looked_at.rpartition("//")[2]: each for each in project_checks.credentials(of(project))}
    assert "s3cret" not in str(found)
    assert found["netrc.example/simple"].found == str(netrc)
    assert found["variable.example/simple"].found == "TOKEN"
    assert (found["none.example/simple"].found, found["none.example/simple"].state) == ("none", OK)
    assert found["written.example/simple"].state == WARNING
    assert found["unset.example/simple"].state == ERROR
    assert "UNSET_ONE" in found["unset.example/simple"].found
    assert found["for the cache (s3)"].found == "AWS_SECRET_ACCESS_KEY"


def test_a_profile_of_metaflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METAFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("METAFLOW_PROFILE", "team")
    (found,) = project_checks.profile(NOWHERE)
    assert (found.state, "METAFLOW_PROFILE=team") == (WARNING, found.looked_at)
    settings = {"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DATASTORE_SYSROOT_S3": "s3://bucket/metaflow"}
    (tmp_path / "config_team.json").write_text(json.dumps(settings))
    (found,) = project_checks.profile(NOWHERE)
    assert (found.state, "s3://bucket/metaflow" in found.found) == (OK, True)


def test_locks_and_what_git_does_with_them(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    (found,) = project_checks.locks(of(project))
    assert found.state == OK
    assert [each.state for each in project_checks.git_attributes(of(project))] == [NOTE], "no work tree of git"
    git = partial_git(project.folder)
    git("init", "--quiet")
    whole, missing = project_checks.git_attributes(of(project))
    assert (whole.state, missing.state) == (OK, NOTE)
    git("add", ".")
    assert [each.state for each in project_checks.git_attributes(of(project))] == [OK]
    (project.lock_folder / ".gitattributes").unlink()
    assert next(project_checks.git_attributes(of(project))).state == WARNING
    project.write_env("alpha==1.0", python=SERIES, archs=[host_arch()])
    (found,) = project_checks.locks(of(project))
    assert (found.state, found.repair.split()[:2]) == (WARNING, ["envlock", "check"])


def partial_git(folder: Path) -> Callable[..., None]:
    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    return git


def test_the_command(project: ProjectFolder, envlock: Envlock, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    document = json.loads(envlock("doctor", "--json").stdout)
    names = {each["check"] for each in document["findings"]}
    assert {"project", "python", "interpreters", "uv", "home", "metaflow", "system", "locks", "cache", "index"} <= names
    assert {each["state"] for each in document["findings"]} <= {OK, NOTE, WARNING, ERROR}
    assert document["exit_status"] == 0
    (python,) = (each for each in document["findings"] if each["check"] == "python")
    assert python["looked_at"] == sys.executable
    home().chmod(0o777)
    ran = envlock("doctor", check=1)
    line = next(line for line in ran.stdout.splitlines() if line.startswith("error") and " home: " in line)
    assert "untrusted-home" in line
    assert "Traceback" not in ran.stderr
    assert os.environ["ENVLOCK_HOME"] in ran.stdout
