"""`envlock lock`, again: what stays, what moves, what goes, and what an end before its time leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.interpreters import machine_series
from envlock.lockfile.folder import read_lock as read
from envlock.model.arch import ARCHS
from tests.conftest import Envlock
from tests.index import Index, Release
from tests.support import ENVLOCK, ProjectFolder, all_pins, own_project, snapshot, wait_until

MakeIndex = Callable[..., Index]


# Locking again.


def test_locking_again_writes_nothing_starts_nothing_and_sends_no_request(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, watched: Envlock
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "delta", "zeta[full]")
    envlock("lock")
    before = project.snapshot()
    served.publish(Release("alpha", "2.1"))
    served.close()
    ran = watched("lock")
    assert "nothing changed" in ran.stdout
    assert ran.effects == ()
    assert project.snapshot() == before
    assert watched("lock", "--json").json["changed"] is False


def test_no_package_is_downloaded(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "beta", "delta", "eta", "zeta[full]", "rho")
    envlock("lock", env={"UV_CACHE_DIR": str(tmp_path / "cold")})
    assert served.requests
    assert not served.downloads()


def test_an_added_requirement_moves_no_other_pin(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", "zeta", archs=ARCHS)
    envlock("lock")
    before = all_pins(project)
    served.publish(Release("alpha", "2.1", requires=("beta>=1",)), Release("beta", "2.1"), Release("lam", "1.1"))
    project.write_env("alpha", "lam", "zeta", "iota", archs=ARCHS)
    ran = envlock("lock")
    assert ran.moved == {"iota 2.0 added"}
    assert "alpha" not in ran.stdout
    assert all_pins(project) == {arch: {**pins, "iota": "2.0"} for arch, pins in before.items()}
    assert len(project.locks) == 4


def test_a_dropped_requirement_moves_no_other_pin(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", "iota")
    envlock("lock")
    served.publish(Release("alpha", "2.1", requires=("beta>=1",)), Release("beta", "2.1"))
    project.write_env("alpha", "lam")
    assert envlock("lock").moved == {"iota 2.0 removed"}
    assert project.pins() == {"alpha": "2.0", "beta": "2.0", "lam": "1.0"}


def test_a_changed_step_starts_from_its_own_old_lock(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    tables = "[env.{}.pypi]\npython = '3.12'\npackages = {{ alpha = '{}', lam = '' }}\n"
    project.write(tables.format("old", "<2") + tables.format("new", ">=2"), archs=["linux-64"])
    envlock("lock")
    served.publish(Release("lam", "1.1"), Release("alpha", "1.2"), Release("alpha", "2.1"))
    project.write(
        tables.format("old", "<2").replace("lam = ''", "lam = '', iota = ''") + tables.format("new", ">=2"),
        archs=["linux-64"],
    )
    envlock("lock")
    pins = {read(path).asked_by[0]: {p.name: p.version for p in read(path).packages} for path in project.locks}
    assert pins["old"] == {"alpha": "1.1", "lam": "1.0", "iota": "2.0"}
    assert pins["new"] == {"alpha": "2.0", "beta": "2.0", "lam": "1.0"}


def test_a_new_environment_keeps_the_versions_of_another_and_is_not_compared_with_it(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    tables = "[env.{}.pypi]\npython = '3.12'\npackages = {{ {} }}\n"
    old = tables.format("old", "lam = '', iota = ''")
    project.write(old, archs=["linux-64"])
    envlock("lock")
    served.publish(Release("lam", "1.1"))
    project.write(old + tables.format("new", "lam = ''"), archs=["linux-64"])
    assert envlock("lock").stdout.splitlines()[0] == "locked new on linux-64: 1 package, CPython 3.12"
    pins = {read(path).asked_by[0]: {p.name: p.version for p in read(path).packages} for path in project.locks}
    assert pins["new"] == {"lam": "1.0"}
    project.write(tables.format("renamed", "lam = '', alpha = '<2'"), archs=["linux-64"])
    assert envlock("lock").moved == {"alpha 1.1 added"}


def test_a_new_arch_gets_the_versions_of_the_others(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", archs=["linux-64"])
    envlock("lock")
    kept = project.lock_of("linux-64").read_bytes()
    served.publish(Release("alpha", "2.1"), Release("lam", "1.1"))
    project.write_env("alpha", "lam", archs=["linux-64", "osx-arm64"])
    envlock("lock")
    assert project.pins("osx-arm64") == project.pins("linux-64") == {"alpha": "2.0", "beta": "2.0", "lam": "1.0"}
    assert project.lock_of("linux-64").read_bytes() == kept


def test_upgrade_moves_every_pin(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", archs=ARCHS)
    envlock("lock")
    served.publish(Release("alpha", "2.1", requires=("beta",)), Release("beta", "2.1"), Release("lam", "1.1"))
    ran = envlock("lock", "--upgrade")
    assert ran.moved == {f"{name} upgraded" for name in ("alpha 2.0 2.1", "beta 2.0 2.1", "lam 1.0 1.1")}
    assert all_pins(project) == {arch: {"alpha": "2.1", "beta": "2.1", "lam": "1.1"} for arch in ARCHS}
    assert len(project.locks) == 4
    before = project.snapshot()
    assert "nothing changed" in envlock("lock", "--upgrade").stdout
    assert project.snapshot() == before


def test_upgrade_of_one_package_moves_that_pin(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", "nu_name.space", archs=["linux-64"])
    envlock("lock")
    served.publish(
        *(Release(name, "9.0") for name in ("beta", "lam", "Nu_Name.Space")), Release("alpha", "9.0", ("beta",))
    )
    envlock("lock", "--upgrade-package", "lam")
    assert project.pins() == {"alpha": "2.0", "beta": "2.0", "lam": "9.0", "nu-name-space": "1.0"}
    envlock("lock", "-P", "Beta", "-P", "nu.name_space")
    assert project.pins() == {"alpha": "2.0", "beta": "9.0", "lam": "9.0", "nu-name-space": "9.0"}
    assert len(project.locks) == 1


def test_upgrade_of_a_package_that_is_nowhere_is_said(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", archs=["linux-64"])
    envlock("lock")
    before = project.snapshot()
    said = envlock("lock", "-P", "lamm", check=2).stderr
    assert "no package `lamm`" in said
    assert "did you mean `lam`?" in said
    assert project.snapshot() == before


def test_an_old_python_is_kept_until_it_may_move(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", python=">=3.10,<3.12", archs=["linux-64"])
    envlock("lock")
    first = read(project.lock_of("linux-64")).python.series
    project.write_env("lam", python=">=3.10,<3.13", archs=["linux-64"])
    envlock("lock")
    assert read(project.lock_of("linux-64")).python.series == first
    project.write_env("lam", "iota", python=">=3.10,<3.13", archs=["linux-64"])
    envlock("lock")
    assert read(project.lock_of("linux-64")).python.series == first
    envlock("lock", "-P", "python")
    here = [series for series in ("3.12", "3.11", "3.10") if series in machine_series()]
    assert read(project.lock_of("linux-64")).python.series == (here or ["3.12"])[0]


def test_all_archs_have_one_python(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", python=">=3.10,<3.13", archs=["linux-64"])
    envlock("lock")
    project.write_env("lam", python=">=3.10,<3.13", archs=ARCHS)
    envlock("lock", env={"ENVLOCK_PYTHONS": "only:/nowhere"})
    assert len({read(path).python.version for path in project.locks}) == 1
    assert len(project.locks) == 4


def test_a_requirement_that_the_pins_satisfy_is_stamped_without_a_solve(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, watched: Envlock
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam", archs=ARCHS)
    envlock("lock")
    old = {path.name: read(path) for path in project.locks}
    served.publish(Release("alpha", "2.1"))
    served.forget()
    project.write_env("alpha>=1.1,<3", "lam", "beta", archs=ARCHS)
    assert "re-stamp" in envlock("check", check=1).stdout
    ran = watched("lock")
    assert "re-stamped" in ran.stdout
    assert served.requests == ()
    assert not [effect for effect in ran.effects if effect.startswith(("start", "talk"))]
    assert len(project.locks) == 4
    for path in project.locks:
        new = read(path)
        assert new.full_id == old[path.name].full_id
        assert new.req_id != old[path.name].req_id
        assert new.packages == old[path.name].packages
        assert (new.resolved_at, new.resolved_by) == (old[path.name].resolved_at, old[path.name].resolved_by)
    envlock("check")


# Pruning and narrowing.


def test_locks_that_nothing_needs_are_pruned_and_named(project: ProjectFolder, envlock: Envlock) -> None:
    project.write("[env.one.pypi]\npackages = { alpha = '' }\n[env.two.pypi]\npackages = { lam = '' }", archs=ARCHS)
    envlock("lock")
    gone = [path for path in project.locks if read(path).asked_by == ("two",)]
    assert len(gone) == 4
    project.write("[env.one.pypi]\npackages = { alpha = '' }", archs=ARCHS)
    said = envlock("lock").stdout
    for path in gone:
        assert str(path.relative_to(project.folder)) in said
    assert len(project.locks) == 4
    assert not [folder for folder in project.lock_folder.glob("*/*") if not list(folder.iterdir())]
    project.write("[env.one.pypi]\npackages = { alpha = '' }", archs=["linux-64"])
    envlock("lock")
    assert [path.parent.parent.name for path in project.locks] == ["linux-64"]
    assert {each.name for each in project.lock_folder.iterdir()} == {".gitattributes", "linux-64"}


def test_what_is_no_lock_is_never_pruned(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam", archs=["linux-64"])
    envlock("lock")
    ours = [project.lock_folder / "README.md", project.lock_of("linux-64").parent / "notes.txt"]
    for path in ours:
        path.write_text("ours\n")
    project.write_env("lam", "iota", archs=["linux-64"])
    envlock("lock")
    assert all(path.is_file() for path in ours)


def test_narrowing_locks_only_what_was_named(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write(
        """
        [flow.DemoFlow]
        file = "demoflow.py"
        pypi = { python = "3.12", packages = { alpha = "<2" } }
        step.train.pypi = { packages = { lam = "" } }
        [env.base.pypi]
        packages = { iota = "1.0" }
    """,
        archs=ARCHS,
    )
    envlock("lock", "--step", "train", "--arch", "linux-64")
    assert [(p.parent.parent.name, read(p).asked_by) for p in project.locks] == [("linux-64", ("DemoFlow/train",))]
    envlock("lock", "--env", "base", "--arch", "osx-64", "--arch", "linux-64")
    assert len(project.locks) == 3
    envlock("lock", "--flow", "DemoFlow")
    assert len(project.locks) == 10
    envlock("check", check=1)
    envlock("lock")
    assert len(project.locks) == 12
    envlock("check")


def test_narrowing_leaves_the_other_locks_alone(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    tables = "[env.one.pypi]\npackages = {{ alpha = '{}' }}\n[env.two.pypi]\npackages = {{ lam = '{}' }}"
    project.write(tables.format("", ""), archs=["linux-64", "osx-64"])
    envlock("lock")
    served.publish(Release("lam", "1.1"), Release("alpha", "2.1"))
    project.write(tables.format("<2", "<1.1"), archs=["linux-64", "osx-64"])
    old = {path: path.read_bytes() for path in project.locks}
    envlock("lock", "--env", "one", "--arch", "linux-64")
    left = set(project.locks)
    gone = set(old) - left
    assert [(path.parent.parent.name) for path in gone] == ["linux-64"]
    assert all(path.read_bytes() == old[path] for path in left & set(old))
    assert len(left) == 4
    envlock("lock")
    assert all(read(path).packages[0].version in {"1.1", "1.0"} for path in project.locks)
    assert len(project.locks) == 4
    envlock("check")


def test_two_locks_of_the_same_requirements_are_settled(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", archs=["linux-64"])
    envlock("lock")
    theirs = project.lock_of("linux-64")
    kept = theirs.read_bytes()
    served.publish(Release("alpha", "2.1"))
    time.sleep(1.1)  # a lock's own time is to the second
    envlock("lock", "--upgrade")
    assert not theirs.exists()
    ours = project.lock_of("linux-64")
    theirs.write_bytes(kept)  # as a merge of two branches leaves it
    served.forget()
    said = envlock("lock").stdout
    assert "settled" in said
    assert "alpha 2.1 stays, not 2.0 of" in said
    assert "`git add envlock.lock`" in said
    assert project.locks == (ours,)
    assert served.requests == ()
    envlock("check")


# Failures and kills.


def test_a_failure_leaves_the_old_locks(project: ProjectFolder, envlock: Envlock) -> None:
    tables = "[env.good.pypi]\npackages = { alpha = '<2' }\n[env.bad.pypi]\npackages = { lam = '' }"
    project.write(tables)
    envlock("lock")
    before = snapshot(project.lock_folder)
    project.write(tables.replace("<2", ">=2").replace("lam = ''", "lam = '>=7'"))
    envlock("lock", check=4)
    assert snapshot(project.lock_folder) == before


def test_a_first_failure_leaves_no_folder(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("lam>=7")
    envlock("lock", check=4)
    assert not project.lock_folder.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_an_end_while_resolving_leaves_the_old_locks(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, how: signal.Signals
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha")
    envlock("lock")
    before = snapshot(project.lock_folder)
    served.slow("simple/lam/", seconds=60)
    project.write_env("alpha", "lam")
    running = subprocess.Popen(
        [ENVLOCK, "lock"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with running:
        wait_until(lambda: served.has_been_asked("simple/lam/"))
        os.killpg(running.pid, how)  # as a terminal does: the command and what it started
        out, err = running.communicate(timeout=20)
    served.close()
    assert snapshot(project.lock_folder) == before
    assert "Traceback" not in out + err
    if how is signal.SIGINT:
        assert running.returncode == 130
        assert "interrupted" in err
    else:
        assert running.returncode != 0


def test_a_lock_that_is_terminated_leaves_nothing_behind(
    make_index: MakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    served.slow("simple/lam/", seconds=60)
    project.write_env("lam")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with subprocess.Popen([ENVLOCK, "lock"], cwd=project.folder, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: served.has_been_asked("simple/lam/"))
        running.terminate()  # as CI cancels a job: the command alone is told
        _, err = running.communicate(timeout=20)
    served.close()
    assert running.returncode == 143
    assert "terminated" in err
    assert list((tmp_path / "tmp").iterdir()) == []
