"""`envlock env`: what is on this machine, and what goes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from envlock.cli.env import environments_document, sweep_document, sweep_lines
from envlock.in_use import hold, note_of
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine import environments, gc
from envlock.workflow.machine.environments import find_environments, with_sizes
from envlock.workflow.machine.gc import collect
from envlock.workflow.machine.gc_values import limits_of
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.support import ENVLOCK, read_only
from tests.workflow.machine.homes import MadeUpProject, make_prefix, name_of


def test_a_project_is_listed_with_what_needs_its_environments(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    old = envlock("create", "--name", "jup").stdout.strip()
    project.write_env("alpha==1.0", python=SERIES, archs=[host_arch()])
    envlock("lock")
    new = envlock("path").stdout.strip()
    document = json.loads(envlock("env", "ls", "--json").stdout)
    found = {each["prefix"]: each for each in document["environments"]}
    assert set(found) == {old, new}
    for each in found.values():
        assert (each["asked_by"], each["projects"]) == (["demo"], [str(project.folder)])
        assert (each["arch"], each["whole"], each["in_use"]) == (host_arch(), True, False)
        assert each["python"].startswith(SERIES)
        assert each["own_bytes"] > 0
        assert each["files"] > 3
    assert found[new]["needed_by"] == [{"kind": "project", "what": str(project.folder)}]
    assert found[old]["needed_by"] == [{"kind": "name", "what": "jup"}]
    table = envlock("env", "ls").stdout
    assert [line.split()[0] for line in table.splitlines()[:3]] == ["environment", "demo", "demo"]
    os.unlink(home() / "named" / "jup")  # noqa: PTH108
    ran = envlock("env", "gc", "--keep", "0", "--json")
    assert json.loads(ran.stdout)["going"] == [], "a minute has not passed"


def test_run_makes_again_what_gc_took(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    prefix = Path(envlock("path").stdout.strip())
    note = home() / "kept" / f"environments-{prefix.name}"
    os.utime(note, (1000, 1000))
    ran = envlock("env", "gc", "--size", "0", "--delete", "--json")
    assert [each["path"] for each in json.loads(ran.stdout)["going"]] == [str(prefix)]
    assert not prefix.exists()
    assert envlock("run", "--", "python", "-c", "import alpha; print(alpha.__file__)").stdout.startswith(str(prefix))
    assert note.stat().st_mtime > 1000


def test_a_name_whose_prefix_was_collected_says_what_to_do(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    prefix = Path(envlock("create", "--name", "jup").stdout.strip())
    prefix.rename(prefix.with_name("elsewhere"))
    ran = envlock("env", "ls")
    assert "envlock sync" in ran.stderr
    assert "named/jup" in ran.stderr or "`jup`" in ran.stderr
    missing = json.loads(envlock("env", "ls", "--json").stdout)["missing"]
    assert missing == [{"kind": "name", "what": "jup", "prefix": str(prefix)}]


def test_the_report_tells_what_is_freed_by_kind_and_what_is_kept_why(tmp_path: Path) -> None:
    make_prefix(1, size=100_000), make_prefix(2), make_prefix(3, days=1), make_prefix(4, whole=False)
    MadeUpProject(tmp_path / "flows").is_known(1, "Train/start").lock_for(2, "Train/start")
    limits = limits_of()
    swept = collect(limits, delete=True)
    text = "\n".join(sweep_lines(swept, deleted=True))
    assert "environments: 2, " in text
    assert "Train/start, " in text
    assert "3 months ago" in text
    assert "kept: 2 environments, 1 by projects, 1 by recent runs" in text
    assert "freed " in text
    document = sweep_document(swept, limits, deleted=True)
    assert document["deleted"] is True
    assert document["kinds"] == {"environment": {"count": 2, "bytes": swept.frees}}
    json.dumps(document)


def test_sizes_are_remembered_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = make_prefix(1, size=100_000)

    def size() -> tuple[object, object]:
        (each,) = environments_document(with_sizes(find_environments()))["environments"]  # type: ignore[attr-defined]
        return each["own_bytes"], each["shared_bytes"]

    own, shared = size()
    assert (own > 100_000, shared) == (True, 0)  # type: ignore[operator]
    with monkeypatch.context() as patch:
        patch.setattr("envlock.workflow.machine.sizes.walk", None)
        assert size() == (own, 0)
    (tmp_path / "link").hardlink_to(prefix / "own.txt")
    changed = size()
    assert changed[1] >= 100_000, "its largest file is shared now"  # type: ignore[operator]
    (tmp_path / "link").unlink()
    assert size() == (own, 0)
    make_again = prefix / ".envlock.json"
    make_again.write_text(make_again.read_text() + " ")
    (prefix / "more.txt").write_bytes(b"x" * 50_000)
    assert size()[0] > own + 40_000  # type: ignore[operator]


def test_gc_has_a_dry_run_by_name_too(envlock: Envlock) -> None:
    make_prefix(1)
    assert name_of(1) in envlock("env", "gc", "--dry-run", "--json", cwd=Path("/")).stdout
    ran = envlock("env", "gc", "--dry-run", "--delete", cwd=Path("/"), check=2)
    assert "exclude each other" in ran.stderr
    assert (home() / "environments" / name_of(1)).exists()


def test_a_home_that_is_read_only_is_listed_and_refused_to_gc(envlock: Envlock, tmp_path: Path) -> None:
    prefix = make_prefix(1)
    MadeUpProject(tmp_path / "flows").is_known(1, "Train/start")
    with read_only(home()):
        document = json.loads(envlock("env", "ls", "--json", cwd=Path("/")).stdout)
        assert [each["asked_by"] for each in document["environments"]] == [["Train/start"]]
        assert str(prefix) in envlock("env", "gc", "--json", cwd=Path("/")).stdout
        ran = envlock("env", "gc", "--delete", cwd=Path("/"), check=5)
        assert "error[home-unusable]" in ran.stderr
        findings = json.loads(envlock("doctor", "--json", cwd=Path("/"), check=1).stdout)["findings"]
        (of_home,) = (each for each in findings if each["check"] == "home")
        assert (of_home["state"], "cannot be written" in of_home["found"]) == ("error", True)
    assert prefix.exists()


def become(user: int, group: int) -> None:
    os.setgroups([group])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to others, and become another user")
def test_in_a_home_of_a_group_what_one_may_not_delete_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other, me, group = 54321, 54322, 54323
    mine, shared, closed, used = (make_prefix(number) for number in (1, 2, 3, 4))
    for above in list(home().parents)[:-1]:
        above.chmod(above.stat().st_mode | 0o711)
    for path in (home(), *home().rglob("*")):
        owner = me if mine in (path, *path.parents) else other
        os.chown(path, owner, group)
        path.chmod((0o2775 if path.is_dir() else 0o664) if closed not in (path, *path.parents) else 0o755)
    monkeypatch.setenv("ENVLOCK_HOME_GROUP", str(group))
    reading, writing = os.pipe()
    (ready, told), (waiting, ended) = os.pipe(), os.pipe()
    task = os.fork()
    if task == 0:
        try:
            become(other, group)
            os.write(told, b"held" if hold(str(used)) else b"gone")
            os.close(ended)
            os.close(writing)
            os.read(waiting, 1)
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(ready, 4) == b"held"
    pid = os.fork()
    if pid == 0:
        try:
            become(me, group)
            swept = collect(limits_of(), delete=True)
            said = [[Path(each.path).name for each in swept.going], [[each.name, why] for each, why in swept.kept]]
            os.write(writing, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as file:  # noqa: PTH123
        text = file.read()
    os.waitpid(pid, 0)
    os.close(ended)
    os.waitpid(task, 0)
    going, kept = json.loads(text)
    assert sorted(going) == [mine.name, shared.name]
    assert sorted(kept) == [[closed.name, "cannot-delete"], [used.name, "in-use"]]
    assert closed.exists()
    assert used.exists()


@pytest.mark.parametrize("command", ["run", "shell"])
def test_what_run_and_shell_started_is_in_use(
    project: ProjectFolder, envlock: Envlock, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    prefix = envlock("path").stdout.strip()
    # Only what they hold is to count here, not what is seen of their processes.
    monkeypatch.setattr(environments, "used_by_processes", lambda *, thorough: frozenset())
    monkeypatch.setattr(gc, "used_by_processes", lambda *, thorough: frozenset())
    arguments = ("run", "--", "/bin/sh") if command == "run" else ("shell",)
    running = subprocess.Popen(
        [ENVLOCK, *arguments],
        cwd=project.folder,
        env={**os.environ, "SHELL": "/bin/sh"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write("cd /; echo here\n")
    running.stdin.flush()
    assert running.stdout.readline() == "here\n"
    os.utime(note_of(prefix), (1000, 1000))
    limits = limits_of(keep="0", size="0")
    assert [reason for _, reason in collect(limits, delete=True).kept] == ["in-use"]
    running.communicate()
    assert [each.path for each in collect(limits, delete=True).going] == [prefix]


def test_without_a_home_the_commands_say_so(envlock: Envlock, tmp_path: Path) -> None:
    nowhere = {"ENVLOCK_HOME": "~nobody-of-this-name/envlock"}
    for command in (("env", "ls"), ("env", "gc")):
        assert "error[no-home]" in envlock(*command, cwd=tmp_path, env=nowhere, check=2).stderr
    findings = json.loads(envlock("doctor", "--json", cwd=tmp_path, env=nowhere, check=1).stdout)["findings"]
    (of_home,) = (each for each in findings if each["check"] == "home")
    assert (of_home["state"], "no-home" in of_home["found"]) == ("error", True)
