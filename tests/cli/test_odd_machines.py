"""Streams that are closed, users that are unknown, outputs that take no more: said, never a defect."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Envlock
from tests.index import Index
from tests.support import ENVLOCK, ProjectFolder, isolation, run_envlock

UNKNOWN = ("unshare", "--user", "--map-user=54321", "--map-group=54321")


def can_be_unknown() -> bool:
    """Whether this machine lets us run as a user that nobody knows."""
    return shutil.which("unshare") is not None and subprocess.run([*UNKNOWN, "true"], check=False).returncode == 0


def through_shell(project: ProjectFolder, arguments: str, redirection: str, **variables: str) -> tuple[int, str, str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{shlex.quote(str(ENVLOCK))} {arguments} {redirection}"],
        cwd=project.folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "defect" not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


OF_PATH = "path --env demo --no-hydrate"


@pytest.fixture(scope="module")
def locked_once(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> ProjectFolder:
    home = tmp_path_factory.mktemp("locked")
    project = ProjectFolder.make(home / "project", index.url)
    project.write_env("lam", archs=["linux-64"])
    with isolation(home, shared_uv_cache):
        run_envlock("lock", cwd=project.folder)
    return project


@pytest.fixture
def locked(locked_once: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    return locked_once.copy(tmp_path / "project")


@pytest.fixture(scope="module")
def statuses() -> dict[str, int]:
    """What commands end with whose streams are open, once it is known."""
    return {}


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        *((each, "0<&- >&- 2>&-") for each in ("check", "lock", "push", "show", "--help", OF_PATH)),
        *((each, closed) for each in ("check", OF_PATH) for closed in ("0<&-", ">&-", "2>&-")),  # two ways to start
    ],
)
def test_a_closed_stream_changes_no_status(
    locked: ProjectFolder, arguments: str, closed: str, statuses: dict[str, int]
) -> None:
    before = locked.lock_of("linux-64").read_bytes()
    if arguments not in statuses:
        statuses[arguments] = through_shell(locked, arguments, "")[0]
    assert through_shell(locked, arguments, closed)[0] == statuses[arguments]
    assert locked.lock_of("linux-64").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", ["check", "show", "lock", "check --json"])
def test_an_output_that_is_full_is_said(locked: ProjectFolder, arguments: str) -> None:
    status, _, said = through_shell(locked, arguments, "> /dev/full")
    assert status == 2
    assert "json" in arguments or "error[machine-refused]: no space left on device" in said


def test_an_encoding_that_lacks_a_letter_is_no_failure(locked: ProjectFolder) -> None:
    odd = ProjectFolder(locked.folder.rename(locked.folder.with_name("größe")), locked.index_url)
    status, said, _ = through_shell(odd, "push", "", PYTHONIOENCODING="ascii")
    assert status == 0
    assert "gr\\xf6\\xdfe" in said


@pytest.mark.skipif(not can_be_unknown(), reason="needs user namespaces")
def test_a_user_without_name_and_home(locked: ProjectFolder, isolated: Path) -> None:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"HOME", "ENVLOCK_HOME"}}
        kept.pop("METAFLOW_USER", None)
        command = [*UNKNOWN, str(ENVLOCK), *arguments]
        return subprocess.run(
            command, cwd=locked.folder, env={**kept, **variables}, capture_output=True, text=True, check=False
        )

    refused = run("path", "--env", "demo")
    assert refused.returncode == 2
    assert "error[no-home]: `~/.envlock` does not exist" in refused.stderr
    locked.lock_of("linux-64").unlink()
    assert run("lock", ENVLOCK_HOME=str(isolated / "envlock")).returncode == 0
    assert 'resolved-by = "user 54321"' in locked.lock_of("linux-64").read_text()


def test_a_cache_in_the_home_of_nobody(locked: ProjectFolder, envlock: Envlock) -> None:
    locked.write_env("lam", archs=["linux-64"], settings='cache = "~nobody-is-called-this/cache"')
    assert "error[no-home]: `~nobody-is-called-this/cache`" in envlock("push", check=2).stderr


def test_numbers_for_uv_that_are_none_are_not_passed_on(locked: ProjectFolder, envlock: Envlock) -> None:
    envlock("lock", "--upgrade", env={"UV_HTTP_TIMEOUT": "soon", "UV_HTTP_RETRIES": "-1"})
    assert locked.pins() == {"lam": "1.0"}


def test_what_a_killed_lock_left_is_swept(locked: ProjectFolder, envlock: Envlock) -> None:
    folder = locked.lock_of("linux-64").parent
    old, young = folder / ".pylock.0.toml.1.00000000.part", folder / ".pylock.0.toml.2.00000000.part"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    envlock("lock")
    assert not old.exists()
    assert young.exists()


def test_names_do_not_steer_a_terminal(project: ProjectFolder, envlock: Envlock) -> None:
    """They come from files that others wrote: a repository, a lock."""
    name = r"de\u001b]0;owned\u0007mo"
    table = f'[env."{name}".pypi]\npython = ">=3.10"\npackages = {{ lam = "" }}'
    project.write(table, archs=["linux-64"])
    said = [envlock("check", check=1), envlock("lock"), envlock("show"), envlock("path"), envlock("push")]
    said += [
        envlock("cache", "ls"),
        envlock("show", "--env", "nope", check=False),
        envlock("check", "--env", "x", check=2),
    ]
    project.write("", archs=["linux-64"])
    said.append(envlock("show", project.locks[0].parent.name[:12], check=False))
    said.append(envlock("check", "--format", "github", check=1))
    assert not [ran.text for ran in said if "\x1b" in ran.text or "\x07" in ran.text]
    assert "de?]0;owned?mo" in said[0].text
