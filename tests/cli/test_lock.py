"""`envlock lock`: from envlock.toml and a real index to files that installers take, or to a reason why not."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli
from packaging.pylock import Pylock, is_valid_pylock_path
from uv import find_uv_bin

from envlock.lockfile.folder import read_lock as read
from envlock.model.arch import ARCHS
from envlock.resolve.platform_tags import target_of
from tests.conftest import Envlock
from tests.index import CATALOGUE, Index, Release
from tests.support import ProjectFolder, all_pins, own_project

SERIES = "{}.{}".format(*sys.version_info[:2])

MakeIndex = Callable[..., Index]


# What a lock is.


def test_four_archs_are_locked_as_pep_751_files(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha>=1", "beta", "eta", "zeta[full]", archs=ARCHS)
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


def test_steps_with_the_same_requirements_share_one_lock(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_flow()
    project.write(
        """
        [flow.DemoFlow]
        file = "demoflow.py"
        pypi = { python = "3.12", packages = { alpha = ">=1", lam = "" } }
        [flow.DemoFlow.step.train]
        pypi = { packages = { delta = "" } }
        [flow.DemoFlow.step.end]
        disabled = true
        [env.same]
        pypi = { python = "3.12.*", packages = { Lam = "*", Alpha = ">= 1" } }
    """,
        archs=ARCHS,
    )
    machine = envlock("lock", "--json").json
    assert len(project.locks) == 8
    assert [each["environments"] for each in machine["locks"] if each["arch"] == "linux-64"] == [
        ["DemoFlow/start", "same"],
        ["DemoFlow/train"],
    ]
    first = machine["locks"][0]
    assert [f"+{each['name']} {each['after']}" for each in first["packages"]] == first["changes"]
    assert {(each["verb"], each["before"]) for each in first["packages"]} == {("added", None)}


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
    project.write(
        """
        [env.demo.pypi]
        python = "3.12"
        [env.demo.pypi.packages]
        lam = "; sys_platform == 'linux'"
        iota = ">=1 ; platform_machine == 'arm64' and python_version >= '3.12'"
        alpha = "<2 ; sys_platform == 'win32' or python_version < '3.0'"
    """,
        archs=ARCHS,
    )
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
    project.write_env("kappa", "mu", archs=ARCHS)
    envlock("lock")
    before = {path.parent.name for path in project.locks}
    assert all_pins(project) == {
        "linux-64": {"kappa": "1.0", "mu": "2.0"},
        "linux-aarch64": {"kappa": "1.0", "mu": "2.0"},
        "osx-64": {"kappa": "2.0", "mu": "1.0"},
        "osx-arm64": {"kappa": "2.0", "mu": "1.0"},
    }
    floors = "[envlock.system-requirements]\nlinux-64 = { __glibc = '2.34' }\nosx-arm64 = { __osx = '14.0' }"
    project.write_env("kappa", "mu", settings=floors, archs=ARCHS)
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


def test_what_limits_a_lock_is_shown_and_what_has_no_effect_is_said_once(
    project: ProjectFolder, envlock: Envlock, index: Index
) -> None:
    sha256 = index.artifact("lam-1.0-py3-none-any.whl").sha256
    (project.folder / "environment.yml").write_text("dependencies:\n- pip:\n  - xi = 1.0\n")
    (project.folder / "r.txt").write_text(f"lam --hash=sha256:{sha256}\n-c limits.txt\n--find-links {index.url}lam/\n")
    (project.folder / "limits.txt").write_text("alpha<2\n")
    project.write('[env.demo]\nrequirements = "r.txt"\nenvironment-yml = "environment.yml"', archs=["linux-64"])
    note = "note: environment.yml:3: `xi = 1.0`"
    ran = envlock("lock", "--env", "demo")
    assert note in ran.stderr
    assert note not in envlock("lock", "--env", "demo").stderr
    (told,) = envlock("lock", "--json").json["notes"]
    assert (told["path"], told["line"]) == ("environment.yml", 3)
    (found,) = envlock("show", "demo", "--arch", "linux-64", "--json").json["environments"]
    assert (found["constraints"], found["hashes"]) == (["alpha<2"], {"lam": [sha256]})
    assert found["sources"]["find_links"] == [f"{index.url}lam/"]
    shown = envlock("show", "demo", "--arch", "linux-64").stdout
    for label, value in (("Constraints", "alpha<2"), ("Hashes of", "lam"), ("Links", f"{index.url}lam/")):
        assert re.search(rf"{label} +{re.escape(value)}", shown), label


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


# Notices and explanations.


def test_an_older_release_for_want_of_a_wheel_is_said(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("delta", "alpha")
    said = envlock("lock").stdout
    assert "note: delta 1.5" in said
    assert "locked 1.0 instead" in said


def test_no_wheel_names_package_arch_line_and_what_to_do(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha", "gamma", archs=ARCHS)
    said = envlock("lock", check=4).stderr
    assert said.count("error[no-wheel]") == 1
    for arch in ("osx-64", "osx-arm64"):
        assert re.search(rf"on .*{arch}.*: `gamma` has no compatible wheel for Python 3", said)
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
