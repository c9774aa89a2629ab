"""`lock` as the workflow has it: what is resolved, how often, from which pins, and what is left when it ends early."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

import pytest

import envlock.workflow.lock as workflow_lock
from envlock.cli.lock_text import changes_of
from envlock.config.read import load_project
from envlock.errors import EnvlockError, ManyErrors
from envlock.lockfile.errors import UnwritableLockFolder
from envlock.lockfile.folder import read_lock
from envlock.model.arch import ARCHS
from envlock.reporter import Reporter
from envlock.resolve.errors import IndexUnreachable, NoSolution
from envlock.resolve.port import Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from envlock.uv_command import NoUv
from envlock.workflow.check import check
from envlock.workflow.lock import LockResult, Upgrade, lock
from tests.forked import run_python
from tests.index import Index, Release
from tests.support import ProjectFolder, run_envlock, snapshot

SERIES = "{}.{}".format(*sys.version_info[:2])
NEXT = f"{sys.version_info[0]}.{sys.version_info[1] + 1}"
TWO = "[env.one.pypi]\npackages = { alpha = '<2' }\n[env.two.pypi]\npackages = { lam = '' }\n"
NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


class Watched:
    """The real resolver, with a note of every request."""

    def __init__(self, before: Callable[[Request], None] = lambda _: None) -> None:
        self.requests: list[Request] = []
        self.stopped = False
        self._before = before
        self._resolver = UvResolver()

    def resolve(self, request: Request) -> Resolution:
        self.requests.append(request)
        self._before(request)
        return self._resolver.resolve(request)

    def stop(self) -> None:
        self.stopped = True
        self._resolver.stop()


class Telling(Reporter):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def began(self, phase: str, total: int, unit: str) -> None:
        self.told.append(("began", phase, total, unit))

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:
        self.told.append(("advanced", phase, item, amount))

    def doing(self, phase: str, item: str) -> None:
        self.told.append(("doing", phase, item))

    def ended(self, phase: str) -> None:
        self.told.append(("ended", phase))


def locked(project: ProjectFolder, resolver: Watched | None = None, upgrade: Upgrade | None = None) -> LockResult:
    return lock(load_project(project.config), resolver=resolver, upgrade=upgrade, now=lambda: NOON)


def is_fresh(project: ProjectFolder) -> bool:
    return check(load_project(project.config)).exit_status == 0


def test_each_set_of_requirements_is_resolved_once_for_each_arch(project: ProjectFolder) -> None:
    project.write_flow()
    flow = '[flow.DemoFlow]\nfile = "demoflow.py"\npypi = { packages = { lam = "" } }\n'
    project.write(f"{TWO}{flow}[env.three.pypi]\npackages = {{ LAM = '*' }}\n", archs=ARCHS)
    resolver = Watched()
    result = locked(project, resolver)
    asked = [(request.requirements.req_id, request.arch) for request in resolver.requests]
    assert len(asked) == len(set(asked)) == 8
    assert {each.environments for each in result.locked} == {
        ("one",),
        ("DemoFlow/start", "DemoFlow/train", "DemoFlow/end", "two", "three"),
    }
    resolver.requests.clear()
    assert not locked(project, resolver).changed
    assert resolver.requests == []


def test_several_are_resolved_at_the_same_time(project: ProjectFolder) -> None:
    """Two at least, more where there are more processors: each waits here until another is at work too."""
    project.write(TWO, archs=ARCHS)
    meeting = threading.Barrier(2, timeout=30)
    assert len(locked(project, Watched(lambda _: meeting.wait() and None)).locked) == 8


def test_who_and_when_are_written_and_change_no_id(
    project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write_env("lam", archs=["linux-64"])
    locked(project)
    first = read_lock(project.lock_of("linux-64"))
    assert (first.resolved_by, first.resolved_at) == ("tester", "2024-01-01T12:00:00Z")
    monkeypatch.setenv("METAFLOW_USER", "somebody")
    other = ProjectFolder.make(tmp_path / "other", project.index_url)
    other.write_env("lam", archs=["linux-64"])
    lock(load_project(other.config))
    second = read_lock(other.lock_of("linux-64"))
    assert second.resolved_by == "somebody"
    assert second.resolved_at != first.resolved_at
    assert second.identity == first.identity


@pytest.mark.parametrize(
    ("written", "instant"),
    [("7d", "2023-12-25T12:00:00Z"), ("12 hours", "2024-01-01T00:00:00Z"), ("2023-05-05", "2023-05-06T00:00:00Z")],
)
def test_exclude_newer_is_fixed_at_the_moment_of_locking(project: ProjectFolder, written: str, instant: str) -> None:
    project.write_env("alpha", settings=f'exclude-newer = "{written}"', archs=["linux-64"])
    resolver = Watched()
    locked(project, resolver)
    assert [request.exclude_newer for request in resolver.requests] == [instant]
    assert read_lock(project.lock_of("linux-64")).exclude_newer == instant
    assert is_fresh(project)


def test_old_pins_are_what_a_solve_starts_from(project: ProjectFolder) -> None:
    def pins(*changes: str, upgrade: Upgrade | None = None) -> list[Mapping[str, str]]:
        project.write_env(*changes, archs=["linux-64"])
        resolver = Watched()
        locked(project, resolver, upgrade)
        return [request.pins for request in resolver.requests]

    old = {"alpha": "2.0", "beta": "2.0", "lam": "1.0"}
    assert pins("alpha", "lam") == [{}]
    assert pins("alpha", "lam", "iota") == [old]
    assert pins("alpha", "lam", "iota") == []
    assert pins("alpha", "lam", "iota", upgrade=Upgrade.of(everything=True, packages=())) == [{}]
    some = Upgrade.of(everything=False, packages=["Alpha", "iota"])
    assert pins("alpha", "lam", "iota", upgrade=some) == [{"beta": "2.0", "lam": "1.0"}]


def test_progress_is_reported(project: ProjectFolder) -> None:
    project.write(TWO, archs=ARCHS)
    telling = Telling()
    lock(load_project(project.config), reporter=telling)
    assert telling.told[0] == ("began", "locking", 8, "locks")
    assert telling.told[-1] == ("ended", "locking")
    items = {f"{name} {arch}" for name in ("one", "two") for arch in ARCHS}
    assert {told[2] for told in telling.told if told[0] == "doing"} == items
    assert sum(int(str(told[3])) for told in telling.told if told[0] == "advanced") == 8


def test_all_failures_are_reported_and_nothing_is_written(project: ProjectFolder) -> None:
    project.write(
        TWO.replace("'<2'", "'==7'") + "[env.three.pypi]\npackages = { alpha = '>=2', theta = '' }", archs=["linux-64"]
    )
    with pytest.raises(ManyErrors) as caught:
        locked(project)
    assert [error.code for error in caught.value.errors] == ["no-solution", "no-solution"]
    assert caught.value.exit_status == 4
    assert all(error.locations and error.hint for error in caught.value.errors)
    assert not project.lock_folder.exists()


def test_a_failure_for_several_archs_is_one_error(project: ProjectFolder) -> None:
    project.write_env("alpha>=2", "theta", archs=ARCHS)
    with pytest.raises(NoSolution) as caught:
        locked(project)
    assert all(arch in caught.value.message for arch in ARCHS)


def test_an_interrupt_while_resolving_stops_the_others_and_writes_nothing(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    served = make_index()
    served.slow("simple/lam/", seconds=60)
    project = ProjectFolder.make(tmp_path / "project", served.url)
    project.write(TWO, archs=["linux-64"])

    def interrupt(request: Request) -> None:
        if request.name == "one":
            raise KeyboardInterrupt

    resolver = Watched(interrupt)
    with pytest.raises(KeyboardInterrupt):
        locked(project, resolver)
    assert resolver.stopped
    assert not project.lock_folder.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_was_written_is_taken_back_when_the_rest_cannot_be(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, error: BaseException | type[BaseException]
) -> None:
    project.write_env("alpha<2", archs=ARCHS)
    locked(project)
    before = snapshot(project.lock_folder)
    project.write_env("alpha>=2", archs=ARCHS)
    really, left = workflow_lock.write_lock, [None] * 2

    def write(*arguments: object, **options: object) -> object:
        if not left:
            raise error
        left.pop()
        return really(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow_lock, "write_lock", write)
    with pytest.raises(UnwritableLockFolder if isinstance(error, OSError) else KeyboardInterrupt):
        locked(project)
    after = snapshot(project.lock_folder)
    assert {path: content for path, (_, _, content) in after.items()} == {
        path: content for path, (_, _, content) in before.items()
    }
    monkeypatch.undo()
    locked(project)
    assert is_fresh(project)


DIE = """
import os, sys
left, asked = int(sys.argv.pop(1)), {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
def watch(event, details):
    global left
    effect = event in asked or (event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR))
    if effect and "envlock.lock" in str(details[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
sys.addaudithook(watch)
from envlock.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["lock", "lock --upgrade"])
def test_a_kill_at_any_moment_of_writing_damages_nothing(
    make_index: Callable[..., Index], tmp_path: Path, command: str
) -> None:
    served = make_index()
    start = ProjectFolder.make(tmp_path / "start", served.url)
    start.write_env("alpha", archs=["linux-64", "osx-64"])
    run_envlock("lock", cwd=start.folder)
    served.publish(Release("alpha", "2.1"), Release("iota", "3.0"))
    start.write_env("alpha", *(["iota"] if command == "lock" else []), archs=["linux-64", "osx-64"])
    ends = {frozenset({("alpha", "2.0"), ("beta", "2.0"), ("iota", "3.0")})}
    if command != "lock":  # then the pins are the old ones, or the new ones
        ends = {frozenset({("alpha", "2.0"), ("beta", "2.0")}), frozenset({("alpha", "2.1")})}
    for moment in range(50):
        shutil.copytree(start.folder, tmp_path / str(moment))
        project = ProjectFolder(tmp_path / str(moment), served.url)
        old = {path: path.read_bytes() for path in project.locks}
        status, _, _ = run_python(DIE, str(moment), *command.split(), cwd=project.folder)
        if status == 0:
            break
        assert status == -9
        assert all(path.read_bytes() == old.get(path, path.read_bytes()) for path in project.locks)
        for arch in ("linux-64", "osx-64"):
            assert list((project.lock_folder / arch).glob("*/pylock.*.toml")), "an old lock goes after the new one came"
        assert check(load_project(project.config)).exit_status in {0, 1}
        lock(load_project(project.config))
        assert is_fresh(project)
        assert len(project.locks) == 2
        assert frozenset(project.pins("linux-64").items()) in ends
    assert 4 < moment < 49


def test_several_at_once_leave_one_whole_tree(project: ProjectFolder) -> None:
    project.write(TWO, archs=ARCHS)
    with ThreadPoolExecutor(3) as pool:
        for ran in pool.map(lambda _: run_envlock("lock", cwd=project.folder, check=False), range(3)):
            assert ran.status == 0, ran.text
    run_envlock("check", cwd=project.folder)
    assert len(project.locks) == 8


def test_errors_of_the_resolver_carry_the_lines_that_cause_them(project: ProjectFolder) -> None:
    project.write_env("alpha>=2", "theta", "lam", archs=["linux-64"])
    with pytest.raises(EnvlockError) as caught:
        locked(project)
    keys = [location.key for location in caught.value.locations]
    assert keys == ["env.demo.pypi.packages.alpha", "env.demo.pypi.packages.theta"]


# What a requirements file asks.


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("alpha==99", "no-solution"),
        ("no-such-package", "no-such-package"),
        ("--extra-index-url {index}gone/simple", "index-not-found"),
    ],
)
def test_what_fails_of_a_requirements_file_names_its_line(project: ProjectFolder, line: str, code: str) -> None:
    project.write('[env.base]\nrequirements = "r.txt"\n', archs=["linux-64"])
    asked = line.format(index=project.index_url.removesuffix("simple/"))
    (project.folder / "r.txt").write_text(f"# ours\nlam\n{asked}\n")
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(project.config))
    assert caught.value.code == code
    assert [(at.path, at.line, at.key) for at in caught.value.locations] == [("r.txt", 3, "env.base.requirements")]


# What is missing on the machine or around it.


@pytest.fixture
def hole() -> Iterator[str]:
    """The URL of an index that takes no connection and refuses none: its queue is full."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/simple/"


@pytest.mark.parametrize("kind", ["refuses", "is silent", "has no address"])
def test_an_index_where_nobody_is_is_one_error_and_soon(
    tmp_path: Path, hole: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envlock.workflow.locking.solve._PATIENCE", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{free.getsockname()[1]}/simple/"
        url = {"refuses": refusing, "is silent": hole, "has no address": "https://no-such-host.invalid/simple/"}[kind]
        project = ProjectFolder.make(tmp_path / "project", url)
        project.write(TWO, archs=ARCHS)
        began = time.monotonic()
        with pytest.raises(EnvlockError) as caught:
            lock(load_project(project.config))
    assert time.monotonic() - began < 10
    error = caught.value
    assert isinstance(error, IndexUnreachable)
    assert url in error.message
    assert all(name in error.message for name in ("one", "two", *ARCHS))
    assert [location.key for location in error.locations] == ["envlock.index-url"]
    assert not project.locks


def test_an_index_that_is_slow_is_waited_for(
    project: ProjectFolder, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("envlock.workflow.locking.solve._PATIENCE", 0.2)
    served = make_index()
    served.slow("simple/*", 0.6)
    slow = ProjectFolder(project.folder, served.url)
    slow.write(TWO, archs=["linux-64"])
    assert len(lock(load_project(slow.config)).locked) == 2


def test_a_missing_uv_is_one_error(project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(TWO)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr("uv.find_uv_bin", _no_uv)
    with pytest.raises(EnvlockError) as caught:
        lock(load_project(project.config))
    assert isinstance(caught.value, NoUv)


def _no_uv() -> str:
    raise FileNotFoundError


@pytest.mark.parametrize(
    ("asked", "is_told"), [("3.97", True), (f">={SERIES}.58,<{NEXT}", True), (SERIES, False), (f">={SERIES}", False)]
)
def test_a_python_that_this_machine_lacks_is_reported_when_locking(
    project: ProjectFolder, asked: str, is_told: bool
) -> None:
    project.write(f"[env.demo.pypi]\npython = '{asked}'\npackages = {{ lam = '' }}\n")
    notes = {note for each in lock(load_project(project.config)).locked for note in each.notes}
    assert [("is on this machine" in note) for note in notes] == ([True] if is_told else [])


def test_a_series_of_python_does_not_change_with_its_oldest_release(project: ProjectFolder) -> None:
    for asked in (f">={SERIES}.4,<{NEXT}", SERIES):
        project.write(f"[env.demo.pypi]\npython = '{asked}'\npackages = {{ lam = '' }}\n", archs=["linux-64"])
        (locked,) = lock(load_project(project.config), upgrade=Upgrade(everything=True)).locked
    assert locked.before is not None
    assert locked.lock is not None
    assert locked.before.python != locked.lock.python
    assert not any("python" in str(change) for change in changes_of(locked))
