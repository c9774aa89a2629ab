"""`envlock lock`, whole: from envlock.toml and a real index to files that installers take."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import tomli
from packaging.pylock import Pylock, is_valid_pylock_path
from uv import find_uv_bin

from envlock.interpreters import machine_series
from envlock.lockfile.folder import read_lock
from envlock.model.arch import ARCHS
from envlock.model.lock import Lock
from envlock.resolve.target import target_of
from tests.conftest import Envlock
from tests.index import CATALOGUE, Index, Release
from tests.support import ENVLOCK, ProjectFolder, snapshot, wait_until

SECRET = "s3cr3t-t0ken"
SERIES = "{}.{}".format(*sys.version_info[:2])
MakeIndex = Callable[..., Index]


def read(path: Path) -> Lock:
    return read_lock(path)


def own_project(tmp_path: Path, served: Index) -> ProjectFolder:
    return ProjectFolder.make(tmp_path / "project", served.url)


def all_pins(project: ProjectFolder) -> Mapping[str, Mapping[str, str]]:
    return {arch: project.pins(arch) for arch in ARCHS}


# What a lock is.


def test_four_archs_are_locked_as_pep_751_files(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha>=1", "beta", "eta", "zeta[full]")
    ran = envlock("lock")
    assert "4 locks" in ran.stdout
    assert len(project.locks) == 4
    for arch in ARCHS:
        path = project.lock_of(arch)
        assert is_valid_pylock_path(path)
        document = tomli.loads(path.read_text())
        pylock = Pylock.from_dict(document)
        target = target_of(read(path).requirements, arch, "3.12.0")
        selected = list(pylock.select(environment=target.marker_texts(), tags=target.tags()))
        assert [package.name for package, _ in selected] == sorted(package.name for package in pylock.packages)
        assert all(len(package.wheels or ()) == 1 for package in pylock.packages)
        assert all(wheel.hashes["sha256"] and wheel.size and wheel.upload_time for _, wheel in selected)
        lock = read(path)
        assert (path.parent.parent.name, path.parent.name, path.name) == (
            arch,
            lock.req_id,
            f"pylock.{lock.full_id}.toml",
        )
    pins = all_pins(project)
    assert "lam" in pins["linux-aarch64"]
    assert pins["linux-64"]["alpha"] == "1.1"
    assert pins["osx-64"]["alpha"] == "2.0"
    assert len({path.parent.name for path in project.locks}) == 1
    assert len({path.name for path in project.locks}) == 4


def test_a_lock_says_for_whom_it_is_and_one_package_is_one_line(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write('[flow.DemoFlow]\nfile = "demoflow.py"\npypi = { python = "3.12", packages = { alpha = "" } }')
    envlock("lock")
    lines = project.lock_of("linux-64").read_text().splitlines()
    assert lines[0].startswith("# DemoFlow/start, DemoFlow/train, DemoFlow/end on linux-64: CPython 3.12, 2 packages")
    assert [line.split('"')[1] for line in lines if line.startswith("    {name")] == ["alpha", "beta"]
    assert "tester" in lines[-2]


def test_steps_that_ask_the_same_share_one_lock(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write("""
        [flow.DemoFlow]
        file = "demoflow.py"
        pypi = { python = "3.12", packages = { alpha = ">=1", lam = "" } }
        [flow.DemoFlow.step.train]
        pypi = { packages = { delta = "" } }
        [flow.DemoFlow.step.end]
        disabled = true
        [env.same]
        pypi = { python = "3.12.*", packages = { Lam = "*", Alpha = ">= 1" } }
    """)
    machine = envlock("lock", "--json").json
    assert len(project.locks) == 8
    assert [each["environments"] for each in machine["locks"] if each["arch"] == "linux-64"] == [
        ["DemoFlow/start", "same"],
        ["DemoFlow/train"],
    ]


def test_the_same_question_gives_the_same_bytes_whatever_the_order(
    index: Index, envlock: Envlock, tmp_path: Path
) -> None:
    tables = ["[env.a.pypi]\npython = '3.12'", "[env.a.pypi.packages]\nalpha = ''\nlam = '>=1, <2'", "[env.b.pypi]"]
    bodies = []
    for number, order in enumerate((tables, tables[::-1])):
        project = ProjectFolder.make(tmp_path / f"project-{number}", index.url)
        text = (
            "\n".join(order).replace("alpha = ''\nlam = '>=1, <2'", "lam = '<2,>=1'\nAlpha = '*'") if number else None
        )
        project.write(text or "\n".join(order), archs=ARCHS if number else list(reversed(ARCHS)))
        envlock("lock", cwd=project.folder)
        bodies.append({str(path.relative_to(project.folder)): _without_stamp(path) for path in project.locks})
    assert bodies[0] == bodies[1]


def _without_stamp(path: Path) -> str:
    return "".join(path.read_text().split("[tool.envlock.stamp]")[0].splitlines(keepends=True)[2:])


def test_what_metaflow_needs_is_added_seen_and_switched_off(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock
) -> None:
    served = make_index(*CATALOGUE, Release("requests", "2.32.0"), Release("boto3", "1.35.0"))
    project = own_project(tmp_path, served)
    project.write_env("lam", settings="metaflow-requirements = true", archs=["linux-64"])
    envlock("lock")
    assert project.pins() == {"lam": "1.0", "requests": "2.32.0"}
    assert [str(each) for each in read(project.lock_of("linux-64")).requirements.metaflow] == ["requests>=2.21.0"]
    project.write_env("lam", settings='datastore = "s3"\nmetaflow-requirements = true', archs=["linux-64"])
    envlock("lock")
    assert project.pins() == {"lam": "1.0", "requests": "2.32.0", "boto3": "1.35.0"}
    project.write_env("lam", settings='datastore = "s3"\nmetaflow-requirements = false', archs=["linux-64"])
    envlock("lock")
    assert project.pins() == {"lam": "1.0"}


def test_markers_in_the_configuration_are_those_of_each_arch(project: ProjectFolder, envlock: Envlock) -> None:
    project.write("""
        [env.demo.pypi]
        python = "3.12"
        [env.demo.pypi.packages]
        lam = "; sys_platform == 'linux'"
        iota = ">=1 ; platform_machine == 'arm64' and python_version >= '3.12'"
        alpha = "<2 ; sys_platform == 'win32' or python_version < '3.0'"
    """)
    envlock("lock")
    assert all_pins(project) == {
        "linux-64": {"lam": "1.0"},
        "linux-aarch64": {"lam": "1.0"},
        "osx-64": {},
        "osx-arm64": {"iota": "2.0"},
    }
    assert len({path.parent.name for path in project.locks}) == 1
    envlock("check")


def test_floors_of_the_configuration_decide(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("kappa", "mu")
    envlock("lock")
    before = {path.parent.name for path in project.locks}
    assert all_pins(project) == {
        "linux-64": {"kappa": "1.0", "mu": "2.0"},
        "linux-aarch64": {"kappa": "1.0", "mu": "2.0"},
        "osx-64": {"kappa": "2.0", "mu": "1.0"},
        "osx-arm64": {"kappa": "2.0", "mu": "1.0"},
    }
    floors = "[envlock.system-requirements]\nlinux-64 = { __glibc = '2.34' }\nosx-arm64 = { __osx = '14.0' }"
    project.write_env("kappa", "mu", settings=floors)
    envlock("lock", "--upgrade")
    assert {path.parent.name for path in project.locks}.isdisjoint(before)
    assert all_pins(project) == {
        "linux-64": {"kappa": "2.0", "mu": "2.0"},
        "linux-aarch64": {"kappa": "1.0", "mu": "2.0"},
        "osx-64": {"kappa": "2.0", "mu": "1.0"},
        "osx-arm64": {"kappa": "2.0", "mu": "2.0"},
    }


def test_a_requirements_file_is_an_environment(project: ProjectFolder, envlock: Envlock) -> None:
    (project.folder / "requirements.txt").write_text(
        "# ours\nalpha>=1,<2\nzeta[fast]  # speed\nlam ; os_name == 'nt'\n"
    )
    project.write('[env.demo]\nrequirements = "requirements.txt"\npypi = { python = "3.12" }')
    envlock("lock")
    assert project.pins() == {"alpha": "1.1", "beta": "2.0", "zeta": "1.0"}
    envlock("check")


# Installers take it.


@pytest.fixture
def installable(project: ProjectFolder, envlock: Envlock) -> Path:
    """A lock for this machine and the Python that runs the tests."""
    from envlock.model.arch import host_arch

    project.write_env("alpha", "zeta[fast,full]", "eta", python=SERIES)
    envlock("lock")
    return project.lock_of(host_arch())


IMPORTS = "import alpha, beta, eta, nu_name_space; print(alpha.__version__, eta.__version__)"


def test_uv_installs_it(installable: Path, tmp_path: Path) -> None:
    uv, venv = find_uv_bin(), tmp_path / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "-r", installable], check=True)
    said = subprocess.run([python, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout
    assert said == "1.1 1.0\n"
    installed = subprocess.run(
        [uv, "pip", "list", "--python", python, "--format", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    assert dict(line.split("==") for line in installed.split()) == {
        package.name: package.version for package in read(installable).packages
    }


@pytest.mark.index
def test_pip_installs_it(installable: Path, tmp_path: Path) -> None:
    uv, venv = find_uv_bin(), tmp_path / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    python = venv / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, "pip>=26.1"], check=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", installable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([python, "-c", IMPORTS], capture_output=True, text=True, check=True).stdout
    assert said == "1.1 1.0\n"


def test_installers_refuse_another_archs_lock(project: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    project.write_env("beta", python=SERIES, archs=["linux-64", "osx-arm64"])
    envlock("lock")
    foreign = project.lock_of("osx-arm64" if sys.platform == "linux" else "linux-64")
    uv, venv = find_uv_bin(), tmp_path / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    command = [uv, "pip", "install", "--python", venv / "bin" / "python", "-r", foreign]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_installers_refuse_other_bytes(make_index: MakeIndex, tmp_path: Path, envlock: Envlock) -> None:
    from envlock.model.arch import host_arch

    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("lam", python=SERIES)
    envlock("lock")
    served.tamper("lam-1.0-py3-none-any.whl", served.artifact("iota-1.0-py3-none-any.whl").data)
    uv, venv = find_uv_bin(), tmp_path / "venv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, venv], check=True)
    command = [uv, "pip", "install", "--python", venv / "bin" / "python", "-r", project.lock_of(host_arch())]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


# Locking again.


def test_locking_again_writes_nothing_starts_nothing_and_asks_nobody(
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
    project.write_env("alpha", "lam", "zeta")
    envlock("lock")
    before = all_pins(project)
    served.publish(Release("alpha", "2.1", requires=("beta>=1",)), Release("beta", "2.1"), Release("lam", "1.1"))
    project.write_env("alpha", "lam", "zeta", "iota")
    ran = envlock("lock")
    assert "+iota 2.0" in ran.stdout
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
    assert "-iota 2.0" in envlock("lock").stdout
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
    project.write_env("alpha", "lam")
    envlock("lock")
    served.publish(Release("alpha", "2.1", requires=("beta",)), Release("beta", "2.1"), Release("lam", "1.1"))
    ran = envlock("lock", "--upgrade")
    assert "alpha 2.0 -> 2.1" in ran.stdout
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
    project.write_env("lam", python=">=3.10,<3.13")
    envlock("lock", env={"ENVLOCK_PYTHONS": "only:/nowhere"})
    assert len({read(path).python.version for path in project.locks}) == 1
    assert len(project.locks) == 4


def test_a_requirement_that_the_pins_satisfy_is_stamped_without_a_solve(
    make_index: MakeIndex, tmp_path: Path, envlock: Envlock, watched: Envlock
) -> None:
    served = make_index()
    project = own_project(tmp_path, served)
    project.write_env("alpha", "lam")
    envlock("lock")
    old = {path.name: read(path) for path in project.locks}
    served.publish(Release("alpha", "2.1"))
    served.forget()
    project.write_env("alpha>=1.1,<3", "lam", "beta")
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


def test_locks_that_nothing_asks_for_are_pruned_and_named(project: ProjectFolder, envlock: Envlock) -> None:
    project.write("[env.one.pypi]\npackages = { alpha = '' }\n[env.two.pypi]\npackages = { lam = '' }")
    envlock("lock")
    gone = [path for path in project.locks if read(path).asked_by == ("two",)]
    assert len(gone) == 4
    project.write("[env.one.pypi]\npackages = { alpha = '' }")
    said = envlock("lock").stdout
    for path in gone:
        assert str(path.relative_to(project.folder)) in said
    assert len(project.locks) == 4
    assert not [folder for folder in project.lock_folder.glob("*/*") if not list(folder.iterdir())]
    project.write("[env.one.pypi]\npackages = { alpha = '' }", archs=["linux-64"])
    envlock("lock")
    assert [path.parent.parent.name for path in project.locks] == ["linux-64"]
    assert [folder.name for folder in project.lock_folder.iterdir()] == ["linux-64"]


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
    project.write("""
        [flow.DemoFlow]
        file = "demoflow.py"
        pypi = { python = "3.12", packages = { alpha = "<2" } }
        step.train.pypi = { packages = { lam = "" } }
        [env.base.pypi]
        packages = { iota = "1.0" }
    """)
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
    assert "settled" in envlock("lock").stdout
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
    ran = envlock("lock", env={**variables, "UV_CACHE_DIR": str(tmp_path / "uv-cache"), "TMPDIR": str(tmp_path)})
    assert project.pins() == {"alpha": "2.0", "beta": "2.0"}
    assert {request.user for request in private_index.requests if request.status == 200} == {"reader"}
    assert SECRET not in ran.text
    assert _holding(SECRET, tmp_path, isolated) <= {project.config, isolated / ".netrc"}
    assert "reader" not in project.lock_of("linux-64").read_text()
    wrong = {name: "wr0ng-passw0rd" if value == SECRET else value for name, value in variables.items()}
    project.config.write_text(project.config.read_text().replace(SECRET, "wr0ng-passw0rd").replace("alpha", "lam"))
    (isolated / ".netrc").write_text(netrc.replace(SECRET, "wr0ng-passw0rd"))
    ran = envlock("lock", check=4, env=wrong)
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
    assert _holding(SECRET, project.folder) == set()


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


# Notices and explanations.


def test_an_older_release_for_want_of_a_wheel_is_said(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("delta", "alpha")
    said = envlock("lock").stdout
    assert "note: delta 2.0" in said
    assert "1.0 was locked" in said


def test_no_wheel_names_package_arch_line_and_what_to_do(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", "gamma")
    said = envlock("lock", check=4).stderr
    assert said.count("error[no-wheel]") == 2
    for arch in ("osx-64", "osx-arm64"):
        assert re.search(rf"on .*{arch}.*: `gamma` has no wheel for it with Python 3", said)
    line = project.config.read_text().splitlines().index('"gamma" = ""') + 1
    assert f"at envlock.toml:{line} (env.demo.pypi.packages.gamma)" in said
    assert "hint: " in said
    assert "linux-64:" not in said


def test_a_conflict_cites_the_lines_that_cause_it(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write("""
        [flow.DemoFlow]
        file = "demoflow.py"
        [flow.DemoFlow.pypi]
        python = "3.12"
        [flow.DemoFlow.pypi.packages]
        alpha = ">=2"
        lam = ""
        [flow.DemoFlow.step.train.pypi.packages]
        theta = ">=1"
        [env.other.pypi.packages]
        beta = "==9.9"
    """, archs=["linux-64"])  # fmt: skip
    said = envlock("lock", check=4).stderr
    lines = project.config.read_text().splitlines()
    for key, text in (("alpha", 'alpha = ">=2"'), ("theta", 'theta = ">=1"'), ("beta", 'beta = "==9.9"')):
        number = next(at for at, line in enumerate(lines, start=1) if line.strip() == text)
        assert f"envlock.toml:{number}" in said, key
    assert "packages.lam" not in said
    assert said.count("error[no-solution]") == 2
    assert "DemoFlow/train" in said
    assert "other on linux-64" in said
    assert len(said.splitlines()) < 30
    errors = envlock("lock", "--json", check=4).json["error"]
    assert errors["code"] == "many"


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('conda = { libraries = { "conda-forge::ffmpeg" = "" } }', "conda"),
        ('named_env = { name = "team/base:v1" }', "named_env"),
        ('sys_packages = { packages = { __cuda = "12.4" } }', "sys_packages"),
    ],
)
def test_tables_of_later_versions_are_named(project: ProjectFolder, envlock: Envlock, table: str, named: str) -> None:
    project.write_flow()
    project.write(f'[flow.DemoFlow]\nfile = "demoflow.py"\n[flow.DemoFlow.step.train]\n{table}', archs=["linux-64"])
    said = envlock("lock", check=2).stderr
    assert "error[not-yet]" in said
    assert f"`{named}`" in said
    assert "envlock.toml:" in said
    assert not project.lock_folder.exists()
    assert named in envlock("check", check=2).stdout


def test_surroundings_change_nothing(
    index: Index, project: ProjectFolder, envlock: Envlock, isolated: Path, tmp_path: Path
) -> None:
    project.write_env("alpha", "mu", "omicron", archs=["linux-64", "osx-arm64"])
    envlock("lock")
    before = {path.name for path in project.locks}
    settings = 'constraint-dependencies = ["alpha==1.0"]\nprerelease = "allow"\nresolution = "lowest"\n'
    for folder in (project.folder, project.folder.parent):
        (folder / "uv.toml").write_text(settings)
        (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "0"\n[tool.uv]\n{settings}')
        (folder / ".python-version").write_text("3.10\n")
        (folder / ".env").write_text("UV_RESOLUTION=lowest\n")
    (isolated / ".config" / "uv").mkdir(parents=True)
    (isolated / ".config" / "uv" / "uv.toml").write_text(settings)
    (isolated / ".pip").mkdir()
    (isolated / ".pip" / "pip.conf").write_text("[global]\nno-index = true\n")
    variables = {
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_EXTRA_INDEX_URL": f"{index.base}nothing/",
        "UV_PRERELEASE": "allow",
        "UV_RESOLUTION": "lowest",
        "UV_EXCLUDE_NEWER": "2020-01-01",
        "UV_OFFLINE": "1",
        "UV_CONSTRAINT": str(tmp_path / "no-such-file"),
        "PIP_INDEX_URL": f"{index.base}nothing/",
        "PIP_NO_INDEX": "1",
        "MACOSX_DEPLOYMENT_TARGET": "15.0",
        "VIRTUAL_ENV": str(tmp_path / "nowhere"),
        "CONDA_PREFIX": str(tmp_path / "nowhere"),
        "TMPDIR": str(project.folder),
        "LANG": "C",
        "TZ": "Asia/Tokyo",
        "PYTHONHASHSEED": "7",
    }
    envlock("lock", "--upgrade", env=variables)
    assert {path.name for path in project.locks} == before


def _holding(secret: str, *folders: Path) -> set[Path]:
    """The files below these folders that contain a secret, as text or compressed in a way that uv uses not."""
    return {
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    }
