"""`env gc` takes what nothing needs, never what is in use, and leaves nothing half, whatever ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envlock.activation import RECEIPT
from envlock.errors import EnvlockError
from envlock.in_use import hold, note_of, stays
from envlock.places import home
from envlock.workflow.machine import environments, gc
from envlock.workflow.machine.gc import collect
from envlock.workflow.machine.gc_values import Sweep, limits_of
from envlock.workflow.machine.needs import Missing
from metaflow_extensions.envlock.plugins.node import stage
from tests.hydration.making import Making
from tests.workflow.machine.homes import MadeUpProject, make_prefix, name_of, releasing


def going(swept: Sweep) -> dict[str, str]:
    return {Path(each.path).name: each.reason for each in swept.going}


def kept(swept: Sweep) -> dict[str, str]:
    return {prefix.name: reason for prefix, reason in swept.kept}


def there() -> list[str]:
    return sorted(each.name for each in (home() / "environments").iterdir() if each.name != ".stages")


def test_what_needs_an_environment_keeps_it_and_the_rest_goes(tmp_path: Path) -> None:
    for number in range(7):
        make_prefix(number)
    project = MadeUpProject(tmp_path / "flows").is_known(1, "Train/start").is_known(6, "Old/start")
    project.lock_for(1, "Train/start", "Train/end")
    (home() / "named").mkdir()
    (home() / "named" / "jup").symlink_to(home() / "environments" / name_of(2))
    (project.folder / ".envlock" / "envs").mkdir(parents=True)
    (project.folder / ".envlock" / "envs" / "base").symlink_to(home() / "environments" / name_of(3))
    kernel = home() / "kernels" / "train"
    kernel.mkdir(parents=True)
    (kernel / "prefix").symlink_to(home() / "environments" / name_of(4))
    swept = collect(limits_of())
    assert kept(swept) == {
        name_of(1): "project",
        name_of(2): "name",
        name_of(3): "name",
        name_of(4): "kernel",
    }
    assert going(swept) == {
        name_of(0): "no known project needs it",
        name_of(5): "no known project needs it",
        name_of(6): "its project has other locks now",
    }
    assert len(there()) == 7, "a dry run"
    swept = collect(limits_of(), delete=True)
    assert there() == sorted(name_of(each) for each in (1, 2, 3, 4))
    assert set(going(swept)) == {name_of(each) for each in (0, 5, 6)}
    assert not Path(note_of(str(home() / "environments" / name_of(0)))).exists()
    assert list((home() / "environments" / ".stages").iterdir()) == []
    assert going(collect(limits_of(), delete=True)) == {}


def test_the_steps_are_those_of_the_locks_or_as_they_were_noted(tmp_path: Path) -> None:
    make_prefix(1), make_prefix(2), make_prefix(3)
    project = MadeUpProject(tmp_path / "flows").is_known(2, "Old/start")
    project.lock_for(1, "Train/start", "Train/end")
    found = {each.name: each for each in collect(limits_of()).found.prefixes}
    assert found[name_of(1)].asked_by == ("Train/start", "Train/end")
    assert (found[name_of(2)].asked_by, found[name_of(2)].needs) == (("Old/start",), ())
    assert found[name_of(1)].projects == found[name_of(2)].projects == (str(project.folder),)
    assert (found[name_of(3)].asked_by, found[name_of(3)].projects) == ((), ())


def test_the_environments_of_pins_are_needed(tmp_path: Path) -> None:
    prefix = make_prefix(1)
    project = MadeUpProject(tmp_path / "flows").is_known()
    req_id, full_id = prefix.name.split("_")[1:]
    pin = project.folder / "envlock.lock" / "aliases" / "team" / "base" / "@tags" / "v1.toml"
    pin.parent.mkdir(parents=True)
    pin.write_text(f'format = 1\nreq-id = "{req_id}"\n\n[full-ids]\nlinux-64 = "{full_id}"\n')
    assert kept(collect(limits_of())) == {prefix.name: "project"}


def test_what_was_used_within_keep_stays() -> None:
    make_prefix(1, days=10), make_prefix(2, days=40), make_prefix(3, days=0.5)
    assert kept(collect(limits_of())) == {name_of(1): "recent-run", name_of(3): "recent-run"}
    assert kept(collect(limits_of(keep="12 hours"))) == {}
    assert kept(collect(limits_of(keep="8 weeks"))).keys() == {name_of(1), name_of(2), name_of(3)}
    make_prefix(4, days=0)
    assert kept(collect(limits_of(keep="0"))) == {name_of(4): "recent-run"}, "a program is about to start there"


def test_a_deleted_project_needs_nothing_and_is_forgotten(tmp_path: Path) -> None:
    make_prefix(1)
    project = MadeUpProject(tmp_path / "flows").is_known(1, "Train/start")
    project.lock_for(1, "Train/start")
    assert kept(collect(limits_of())) == {name_of(1): "project"}
    shutil.rmtree(project.folder)
    assert going(collect(limits_of(), delete=True)) == {name_of(1): "its project is gone"}
    assert list((home() / "projects").iterdir()) == []


def test_gc_reads_what_projects_need_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of files that is gone costs its deadline each time."""
    make_prefix(1)
    MadeUpProject(tmp_path / "flows").is_known(1, "Train/start").lock_for(1, "Train/start")
    look, times = environments.read_needs, []
    monkeypatch.setattr(environments, "read_needs", lambda here: (times.append(here), look(here))[1])
    assert kept(collect(limits_of(), delete=True)) == {name_of(1): "project"}
    assert times == [{name_of(1)}]


@pytest.mark.parametrize("fault", ["not mounted", "a link to itself"])
def test_a_project_that_cannot_be_read_keeps_its_environments(tmp_path: Path, fault: str) -> None:
    make_prefix(1), make_prefix(2)
    project = MadeUpProject(tmp_path / "disk" / "flows").is_known(1, "Train/start")
    project.lock_for(1, "Train/start")
    if fault == "not mounted":
        (note,) = (home() / "projects").iterdir()
        note.write_text(json.dumps({**json.loads(note.read_text()), "mount": str(tmp_path / "disk")}))
        shutil.rmtree(tmp_path / "disk")
    else:
        shutil.rmtree(project.folder / "envlock.lock")
        (project.folder / "envlock.lock").symlink_to("envlock.lock")
    swept = collect(limits_of(packages=True), delete=True)
    assert kept(swept) == {name_of(1): "unread-project"}
    assert there() == [name_of(1)]
    (unread,) = swept.found.needs.unread
    assert unread.project.config == str(project.config)
    assert ("not mounted" in unread.reason) == (fault == "not mounted")
    assert any("packages" in note for note in swept.notes), "it may need them"
    assert len(list((home() / "projects").iterdir())) == 1


def test_at_most_so_much_stays_of_what_projects_need(tmp_path: Path) -> None:
    project = MadeUpProject(tmp_path / "flows").is_known()
    for number, days in ((1, 5), (2, 3), (3, 1), (4, 2), (5, 90)):
        make_prefix(number, days=days, size=1_000_000)
        if number != 4:
            project.lock_for(number, f"Train/s{number}")
    (home() / "named").mkdir()
    (home() / "named" / "five").symlink_to(home() / "environments" / name_of(5))
    swept = collect(limits_of(size="3.5MB"))
    assert set(going(swept)) == {name_of(4), name_of(1)}, "what nothing needs goes first, then the least recently used"
    assert swept.notes == ()
    swept = collect(limits_of(size="1MB"))
    assert set(kept(swept)) == {name_of(5)}, "a name does not create it again"
    assert len(swept.notes) == 1
    swept = collect(limits_of(size="1MB", keep="4d"))
    assert set(going(swept)) == {name_of(1)}, "what was used within --keep stays"
    collect(limits_of(size="3.5MB"), delete=True)
    assert there() == sorted(name_of(each) for each in (2, 3, 5))


def test_what_is_freed_counts_each_file_once_and_only_where_no_name_is_left(tmp_path: Path) -> None:
    first, second = make_prefix(1, size=100_000), make_prefix(2, size=100_000)
    package, both = tmp_path / "package", first / "both"
    package.write_bytes(b"x" * 500_000), both.write_bytes(b"x" * 300_000)
    (first / "package").hardlink_to(package)
    (second / "both").hardlink_to(both)
    swept = collect(limits_of())
    assert 500_000 < swept.frees < 600_000, "2 x 100 kB, 300 kB, folders"
    assert 500_000 <= swept.stays < 520_000
    MadeUpProject(tmp_path / "flows").is_known().lock_for(2, "Train/start")
    swept = collect(limits_of())
    assert 100_000 < swept.frees < 200_000
    assert 800_000 <= swept.stays < 820_000


@contextmanager
def running(*command: str | Path, **variables: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **variables}, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "here\n"
        yield
    finally:
        process.communicate("\n")


WAIT = "echo here; read line"


@pytest.mark.parametrize("how", ["variable", "program", "program by a name", "folder"])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processes do")
def test_what_others_started_in_an_environment_is_seen(tmp_path: Path, how: str) -> None:
    prefix = make_prefix(1)
    program = prefix / "bin" / "python"
    shutil.copy("/bin/sh", program) if how == "program" else program.symlink_to("/bin/sh")
    (tmp_path / "link").symlink_to(prefix)
    with {
        "variable": lambda: running("/bin/sh", "-c", WAIT, VIRTUAL_ENV=str(prefix)),
        "program": lambda: running(program, "-c", WAIT),
        "program by a name": lambda: running(tmp_path / "link" / "bin" / "python", "-c", WAIT),
        "folder": lambda: running("/bin/sh", "-c", f"cd {prefix}/bin; {WAIT}"),
    }[how]():
        assert kept(collect(limits_of(keep="0"), delete=True)) == {prefix.name: "in-use"}
        assert prefix.exists()
    assert going(collect(limits_of(), delete=True)).keys() == {prefix.name}


def test_what_envlock_started_is_in_use_without_an_open_file(tmp_path: Path) -> None:
    prefix = make_prefix(1)
    program = "import os, sys; from envlock.in_use import hold; hold(sys.argv[1]); os.chdir('/')\n"
    program += f"os.execve('/bin/sh', ['sh', '-c', {WAIT!r}], {{}})"
    with running(sys.executable, "-c", program, prefix):
        assert kept(collect(limits_of(keep="0", size="0"), delete=True)) == {prefix.name: "in-use"}
    assert going(collect(limits_of(), delete=True)).keys() == {prefix.name}


@pytest.mark.parametrize("begin", [hold, stays])
def test_what_is_begun_after_gc_has_looked_is_not_removed(
    begin: Callable[[str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by a command that ends at once, such as `path` and `create --name`."""
    prefix = make_prefix(1)
    looked = gc.find_environments

    def look_and_be_overtaken(*, thorough: bool = False) -> object:
        found = looked(thorough=thorough)
        assert begin(str(prefix))
        return found

    monkeypatch.setattr(gc, "find_environments", look_and_be_overtaken)
    with releasing():
        swept = collect(limits_of(), delete=True)
        assert (going(swept), kept(swept)) == ({}, {prefix.name: "in-use"})
        assert (prefix / RECEIPT).exists()


def test_what_is_being_made_stays_and_what_a_kill_left_goes() -> None:
    dead, alive = make_prefix(1, whole=False, days=0), make_prefix(2, whole=False, days=0)
    stages = dead.parent / ".stages"
    (stages / f"{name_of(3)}.abcd" / "new").mkdir(parents=True)
    with stage.holding(stage.lock_of(str(alive)), stage.raise_busy):
        swept = collect(limits_of(), delete=True)
    assert kept(swept) == {alive.name: "being-made"}
    assert set(going(swept)) == {dead.name, f"{name_of(3)}.abcd"}
    assert there() == [alive.name]
    assert list(stages.iterdir()) == []


def test_a_kill_at_any_moment_leaves_an_environment_whole_or_none(tmp_path: Path) -> None:
    """Each child is ended a little later than the one before: before, while and after it removes."""
    remains, ended = 0, 0
    for number in range(8):
        prefix = make_prefix(number)
        for file in range(200):
            (prefix / "bin" / f"file-{file}").write_text("x")
        pid = os.fork()
        if pid == 0:
            collect(limits_of(), delete=True)
            os._exit(0)
        time.sleep(0.002 + 0.005 * number)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        ended += os.WIFSIGNALED(status)
        if prefix.exists():
            assert (prefix / RECEIPT).exists()
            assert len(list((prefix / "bin").iterdir())) == 200
            remains += 1
        collect(limits_of(), delete=True)
        assert there() == []
        assert list((home() / "environments" / ".stages").iterdir()) == []
    assert ended, "no kill came in time: give them more files"


def test_a_start_that_comes_in_between_makes_it_again(tmp_path: Path) -> None:
    home().mkdir()
    making = Making(home(), 2, 2)
    making.write_artifacts()
    prefix = making.hydrate()
    os.utime(prefix / RECEIPT, (1000, 1000))
    pid = os.fork()
    if pid == 0:
        for _ in range(20):
            collect(limits_of(), delete=True)
        os._exit(0)
    held = 0
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        found = making.hydrate()
        with releasing():
            if hold(str(found)):
                held += 1
                assert subprocess.run([found / "bin" / "command-0"], check=False).returncode == 0
                os.utime(found / RECEIPT, (1000, 1000))
    assert held


def test_a_home_that_cannot_be_written_is_an_error_only_of_deleting() -> None:
    prefix = make_prefix(1)
    (prefix.parent / ".stages").rmdir()
    (prefix.parent / ".stages").write_text("in the way")
    assert set(going(collect(limits_of()))) == {prefix.name}
    with pytest.raises(EnvlockError) as raised:
        collect(limits_of(), delete=True)
    assert raised.value.code == "home-unusable"
    assert prefix.exists()


def test_no_home_at_all_is_nothing_to_do() -> None:
    swept = collect(limits_of(packages=True), delete=True)
    assert (swept.going, swept.kept, swept.frees) == ((), (), 0)


def test_a_name_and_a_kernel_whose_prefix_is_gone_are_told(tmp_path: Path) -> None:
    (home() / "named").mkdir(parents=True)
    gone = str(home() / "environments" / name_of(1))
    (home() / "named" / "jup").symlink_to(gone)
    (home() / "kernels" / "train").mkdir(parents=True)
    (home() / "kernels" / "train" / "prefix").symlink_to(gone)
    assert collect(limits_of()).found.needs.missing == (
        Missing("name", "jup", gone),
        Missing("kernel", "train", gone),
    )


@pytest.mark.parametrize(("option", "text", "code"), [("keep", "soon", "bad-span"), ("size", "lots", "bad-size")])
def test_limits_that_are_none(option: str, text: str, code: str) -> None:
    with pytest.raises(EnvlockError) as raised:
        limits_of(**{option: text})
    assert raised.value.code == code
