"""`envlock show`: what is told of every environment in brief, and of one in full."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.model.arch import ARCHS, host_arch
from envlock.model.identity import netflix_req_id
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.workflow.netflix_id import netflix_id_of
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, conda_requirements, isolation, run_envlock

HERE = host_arch()
OTHER = next(arch for arch in ARCHS if arch != HERE)
RUNNING = "{}.{}".format(*sys.version_info[:2])
CONFIG = """\
[flow.DemoFlow]
file = "demoflow.py"
pypi = { python = "3.12", packages = { alpha = ">=1" } }

[flow.DemoFlow.step.train]
pypi = { packages = { lam = "" } }

[flow.DemoFlow.step.end]
disabled = true

[env.base]
pypi = { python = "RUNNING", packages = { xi = "<2" } }
""".replace("RUNNING", RUNNING)


@pytest.fixture(scope="module")
def locked(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[ProjectFolder]:
    """A locked project that the tests copy; never changed."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        project = ProjectFolder.make(tmp_path_factory.mktemp("show") / "project", index.url)
        project.write_flow()
        project.write(CONFIG, archs=[HERE, OTHER])
        run_envlock("lock", cwd=project.folder)
        yield project


@pytest.fixture
def project(locked: ProjectFolder, tmp_path: Path) -> ProjectFolder:
    """A copy of the locked project; `envlock` runs in it."""
    return locked.copy(tmp_path / "project")


def test_all_in_brief(project: ProjectFolder, envlock: Envlock) -> None:
    said = envlock("show").stdout
    lines = [line.rstrip() for line in said.splitlines()]
    assert lines[0].split("  ")[0] == f"on {HERE}"
    assert lines[1] == "DemoFlow (demoflow.py)"
    assert [line.split()[:3] for line in lines[2:4]] == [["start", "locked", "3.12"], ["train", "locked", "3.12"]]
    assert lines[4].split() == ["end", "disabled"]
    assert lines[5] == "named environments"
    assert lines[6].split()[:4] == ["base", "locked", RUNNING, "1"]
    assert envlock("show").stderr == ""


def test_all_in_brief_for_machines(project: ProjectFolder, envlock: Envlock) -> None:
    (here, other) = envlock("show", "--arch", HERE, "--arch", OTHER, "--json").json["archs"]
    assert (here["arch"], other["arch"]) == (HERE, OTHER)
    (flow,) = here["flows"]
    assert (flow["name"], flow["file"]) == ("DemoFlow", "demoflow.py")
    start, train, end = flow["steps"]
    assert (start["state"], train["packages"], end["state"]) == ("locked", 3, "disabled")
    assert start["identity"] != train["identity"]
    assert start["identity"].split(":")[0] == other["flows"][0]["steps"][0]["identity"].split(":")[0]
    assert here["environments"][0]["name"] == "base"


@pytest.mark.parametrize(
    ("old", "new", "step", "state"),
    [
        ('lam = ""', 'lam = "<1"', "train", "changed since it was locked"),
        ('lam = ""', 'lam = "", mu = ""', "train", "changed since it was locked"),
        ("disabled = true", 'pypi = { packages = { mu = "" } }', "end", "not locked"),
        ("disabled = true", 'conda = { libraries = { ffmpeg = "" } }', "end", "not locked"),
        ("disabled = true", 'named_env = { name = "team/base" }', "end", "not locked"),
    ],
    ids=["tightened", "added", "new", "conda", "named"],
)
def test_what_is_not_fresh_is_shown_as_that(
    project: ProjectFolder, envlock: Envlock, old: str, new: str, step: str, state: str
) -> None:
    project.edit(old, new)
    ran = envlock("show")
    (line,) = [line for line in ran.stdout.splitlines() if line.split()[0] == step]
    assert " ".join(line.split()) == f"{step} {state}"
    assert "`envlock check`" in ran.stderr


def test_a_damaged_lock_does_not_hide_the_others(project: ProjectFolder, envlock: Envlock) -> None:
    (path,) = [path for path in project.locks if 'name = "xi"' in path.read_text() and HERE in str(path)]
    path.write_text(path.read_text()[:-100])
    states = {line.split()[0]: line.split()[1] for line in envlock("show").stdout.splitlines() if line.startswith("  ")}
    assert states == {"start": "locked", "train": "locked", "end": "disabled", "base": "DAMAGED"}


def test_one_step_in_full(project: ProjectFolder, envlock: Envlock) -> None:
    said = envlock("show", "train").stdout
    (path,) = [path for path in project.locks if 'name = "lam"' in path.read_text() and HERE in str(path)]
    req_id, full_id = path.parent.name, path.name.split(".")[1]
    lines = said.splitlines()
    assert lines[0] == f"Environment of type pypi, {req_id}:{full_id}"
    (packages,) = [number for number, line in enumerate(lines) if re.fullmatch(r"Packages \(3, \d\.\d kB\)", line)]
    facts = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[1:packages])
    assert facts["Used by"] == "DemoFlow/train"
    assert facts["Arch"] == HERE
    assert set(facts["Available on"].split(", ")) == {HERE, OTHER}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+Z by tester", facts["Resolved"])
    assert facts["Locally present as"] == "not on this machine"
    assert facts["Lock"] == str(path.relative_to(project.folder))
    assert facts["Python"] == "3.12 of this machine, 3.12.0 or later (requested: ==3.12.*)"
    assert facts["Requested"] == "alpha>=1, lam"
    assert facts["For Metaflow"] == "nothing"
    assert facts["Sources"] == project.index_url
    assert re.fullmatch(r"[0-9a-f]{40}", facts["Netflix req_id"])
    assert lines[packages + 1 :] == ["  alpha==2.0", "  beta==2.0", "  lam==1.0"]


def test_one_step_in_full_for_machines(project: ProjectFolder, envlock: Envlock) -> None:
    (found,) = envlock("show", "DemoFlow/train", "--json").json["environments"]
    assert found["identity"] == f"{found['req_id']}:{found['full_id']}"
    assert (found["type"], found["arch"], found["disabled"]) == ("pypi", HERE, False)
    assert found["requested_packages"]["pypi"] == ["alpha>=1", "lam"]
    places = {"default_index": project.index_url, "package_indexes": {}}
    assert found["sources"] == {"indexes": [], "find_links": [], "channels": [], **places}
    assert found["python"]["requested"] == "==3.12.*"
    assert found["used_by"] == found["asked_by"] == ["DemoFlow/train"]
    assert found["resolved_by"] == "tester"
    packages = {package["name"]: package for package in found["packages"]}
    assert packages["alpha"]["dependencies"] == ["beta"]
    assert re.fullmatch(r"[0-9a-f]{64}", packages["beta"]["sha256"])


def test_where_it_is_on_this_machine(project: ProjectFolder, envlock: Envlock) -> None:
    made = envlock("create", "--env", "base").stdout.strip()
    (found,) = envlock("show", "base", "--json").json["environments"]
    assert found["locally_present_as"] == made
    assert re.search(r"base .* yes$", envlock("show").stdout.rstrip())


def test_a_flow_means_all_its_steps_and_the_same_environment_is_shown_once(
    project: ProjectFolder, envlock: Envlock
) -> None:
    project.edit('{ lam = "" }', "{}")
    envlock("lock")
    first, last = envlock("show", "DemoFlow", "DemoFlow/train", "--json").json["environments"]
    assert first["used_by"] == ["DemoFlow/start", "DemoFlow/train"]
    assert last == {"disabled": True, "used_by": ["DemoFlow/end"]}


def test_a_disabled_step(project: ProjectFolder, envlock: Envlock) -> None:
    said = envlock("show", "end").stdout
    assert said.startswith("DemoFlow/end is disabled: it runs in the interpreter that starts the flow\n")
    assert "at envlock.toml:" in said


def test_by_id(project: ProjectFolder, envlock: Envlock) -> None:
    (train,) = envlock("show", "train", "--json").json["environments"]
    for wanted in (train["identity"], train["full_id"], train["full_id"][:12]):
        assert envlock("show", wanted, "--json").json["environments"] == [train]
    (other,) = envlock("show", "train", "--arch", OTHER, "--json").json["environments"]
    assert other["req_id"] == train["req_id"]
    assert other["full_id"] != train["full_id"]
    assert envlock("show", other["full_id"][:12], "--json").json["environments"] == [other], "ids are of one arch each"
    wrong = envlock("show", other["full_id"], "--arch", HERE, check=2)
    assert "error[lock-not-found]" in wrong.stderr


def test_an_id_that_only_the_cache_has(project: ProjectFolder, envlock: Envlock) -> None:
    (train,) = envlock("show", "train", "--json").json["environments"]
    envlock("push")
    project.edit('lam = ""', 'lam = "", mu = "<2"')
    envlock("lock")
    (found,) = envlock("show", train["identity"], "--json").json["environments"]
    assert found["packages"] == train["packages"]
    assert found["lock"] == str(project.folder / "envlock-cache")
    assert found["used_by"] == []
    said = envlock("show", train["identity"]).stdout
    assert "nothing here (locked for DemoFlow/train)" in said


def test_an_id_that_nothing_has(project: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("show", "0" * 40, check=2)
    assert "error[lock-not-found]: no lock has the id `0000" in ran.stderr
    assert "envlock push" in ran.stderr
    assert "git log --all -- envlock.lock" in ran.stderr


def test_an_id_that_two_have(project: ProjectFolder, envlock: Envlock) -> None:
    train, base = (envlock("show", name, "--json").json["environments"][0] for name in ("train", "base"))
    place = project.lock_folder / HERE / base["req_id"]
    shutil.copy(place / f"pylock.{base['full_id']}.toml", place / f"pylock.{train['full_id'][:8]}{'0' * 32}.toml")
    ran = envlock("show", train["full_id"][:8], check=2)
    assert "error[ambiguous-id]: 2 environments have an id that begins with" in ran.stderr
    assert train["identity"] in ran.stderr


def test_a_name_that_is_none(project: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("show", "trian", check=2)
    assert "error[no-such-selection]: this project has no environment `trian`" in ran.stderr
    assert "did you mean `train`?" in ran.stderr


def test_a_step_that_is_stale_is_refused_with_the_reason(project: ProjectFolder, envlock: Envlock) -> None:
    project.edit('lam = ""', 'lam = "<1"')
    ran = envlock("show", "train", check=1)
    assert "error[stale-lock]" in ran.stderr
    assert "lam<1, locked: lam 1.0" in ran.stderr
    assert envlock("show", "start").status == 0, "the others can be shown"
    assert json.loads(envlock("show", "train", "--json", check=1).stdout)["error"]["code"] == "stale-lock"


@pytest.mark.parametrize("pathspec", ["DemoFlow", "DemoFlow/1", "DemoFlow/1/train/2/3", "a/b/../c", "DemoFlow//train"])
def test_no_pathspec_of_a_task(project: ProjectFolder, envlock: Envlock, pathspec: str) -> None:
    assert "error[bad-pathspec]" in envlock("show", "--pathspec", pathspec, check=2).stderr


def test_a_pathspec_that_metaflow_does_not_know(project: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("show", "--pathspec", "DemoFlow/142/train", check=2)
    assert "error[pathspec-not-found]: Metaflow does not find `DemoFlow/142/train`" in ran.stderr


def test_a_pathspec_stands_alone(project: ProjectFolder, envlock: Envlock) -> None:
    assert "error[usage]" in envlock("show", "train", "--pathspec", "DemoFlow/1/train", check=2).stderr


def test_without_metaflow_a_pathspec_cannot_be_looked_up(
    project: ProjectFolder, envlock: Envlock, tmp_path: Path
) -> None:
    (tmp_path / "hidden" / "metaflow").mkdir(parents=True)
    (tmp_path / "hidden" / "metaflow" / "__init__.py").write_text("raise ImportError('No module named metaflow')")
    hidden = {"PYTHONPATH": str(tmp_path / "hidden")}
    ran = envlock("show", "--pathspec", "DemoFlow/142/train", check=2, env=hidden)
    assert "error[metaflow-missing]" in ran.stderr
    assert envlock("show", "train", env=hidden).status == 0


def test_nothing_is_written(project: ProjectFolder, watched: Envlock) -> None:
    before = project.snapshot()
    effects = [*watched("show").effects, *watched("show", "train").effects, *watched("show", "base", "--json").effects]
    assert [line for line in effects if line.startswith(("write", "talk")) and "__pycache__" not in line] == []
    assert project.snapshot() == before


def test_the_id_of_the_reference() -> None:
    """Its own vector, from its own code: Python, a pin, what Metaflow needs, and the declared glibc."""
    requirements = Requirements(
        python="==3.10.*",
        pypi=(parse_requirement("numpy==1.26.4"),),
        metaflow=(parse_requirement("requests>=2.21.0"),),
        default_index="https://index.example/simple",
        system=((HERE, "__glibc", "2.27"), (OTHER, "__glibc", "2.28")),
    )
    lock = Lock(arch=HERE, requirements=requirements, python=LockedPython("machine", "3.10.0"), packages=())
    dependencies = {
        "conda": ["python==3.10.*"],
        "pypi": ["numpy==1.26.4", "requests==>=2.21.0"],
        "sys": ["__glibc==2.27=0"],
    }
    sources = {"conda": ["conda-forge"], "pypi": ["https://index.example/simple"]}
    assert netflix_id_of(lock) == netflix_req_id(dependencies, sources)


FLOW_OF_ONE = """
from metaflow import FlowSpec, step

class Train(FlowSpec):
    @step
    def start(self): self.next(self.end)
    @step
    def end(self): pass
"""
GLIBC = {"sys": ["__glibc==2.28=0"]}
TRAIN = "[flow.Train]\nfile = 'flow.py'\n"


@pytest.mark.parametrize(
    ("tables", "dependencies", "flags"),
    [
        # Of a step, the reference leaves pip's flags out of the id; of a file that its own command reads, not.
        (
            TRAIN + "pypi = { packages = { rich = '13.0' }, extras = ['pre'], python = '3.12' }",
            {"conda": ["python==3.12"], "pypi": ["requests==>=2.21.0", "rich==13"], **GLIBC},
            (),
        ),
        (
            "[env.base]\npypi = { packages = { rich = '13.0' }, extras = ['pre'], python = '3.12' }",
            {"conda": ["python==3.12"], "pypi": ["requests==>=2.21.0", "rich==13"], **GLIBC},
            ("--pre",),
        ),
        # What the user says of the machine stands there as it is said, what comes by itself with its build.
        (
            "[env.base]\nconda = { libraries = { numpy='1' }, python='3.12' }\nsys_packages.packages.__cuda = '12.4'",
            {
                "conda": ["numpy==1", "python==3.12", "requests==>=2.21.0"],
                "sys": ["__cuda==12.4", "__glibc==2.28=0"],
            },
            (),
        ),
        (
            "[env.base]\npypi = { packages = { rich = '' }, python = '3.12' }\nsys_packages.packages.__glibc = '2.31'",
            {"conda": ["python==3.12"], "pypi": ["requests==>=2.21.0", "rich"], "sys": ["__glibc==2.31"]},
            (),
        ),
        # Python is hashed as it is written: two numbers are no series there.
        (
            "[env.base]\nconda = { libraries = { numpy = '' }, python = '3.9' }",
            {"conda": ["numpy", "python==3.9", "requests==>=2.21.0"], **GLIBC},
            (),
        ),
        (
            "[env.base]\nconda = { libraries = { numpy = '' }, python = '3.9.*' }",
            {"conda": ["numpy", "python==3.9.*", "requests==>=2.21.0"], **GLIBC},
            (),
        ),
        (
            "[env.base]\nconda = { libraries = { numpy = '' }, python = '3.10.0' }",
            {"conda": ["numpy", "python==3.10", "requests==>=2.21.0"], **GLIBC},
            (),
        ),
        # Where none is asked, it is the launcher's series; and an environment without packages is conda's.
        (
            TRAIN + "pypi = { packages = { rich = '' } }",
            {"conda": ["python==3.12.*"], "pypi": ["requests==>=2.21.0", "rich"], **GLIBC},
            (),
        ),
        (
            TRAIN + "pypi = { python = '3.12' }",
            {"conda": ["python==3.12", "requests==>=2.21.0"], **GLIBC},
            (),
        ),
    ],
)
def test_the_id_of_the_reference_is_made_of_what_envlock_toml_says(
    tables: str, dependencies: dict[str, list[str]], flags: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "flow.py").write_text(FLOW_OF_ONE)
    (tmp_path / "envlock.toml").write_text(f"[envlock]\nindex-url = 'https://index.example/simple'\n{tables}\n")
    project = load_project(tmp_path / "envlock.toml")
    asked = project.environments()[0].requirements
    lock = Lock(arch=HERE, requirements=asked, python=LockedPython("machine", "3.12.1"), packages=())
    pypi = {"pypi": ["https://index.example/simple"]} if "pypi" in dependencies else {}
    expected = netflix_req_id(dependencies, {"conda": ["conda-forge"], **pypi}, {"pypi": flags} if flags else {})
    assert netflix_id_of(lock, project) == expected


@pytest.mark.parametrize(
    ("conda", "python", "metaflow", "expected"),
    [
        (
            ("cffi >=1.13.0,!=1.15.0", "fastavro >=1.6.0", "pandas ==1.4.0", "pyarrow >=0.17.1"),
            "<3.9,>=3.8",
            ("boto3>=1.14.0", "pandas>=0.24.0", "requests>=2.21.0"),
            "42a4ed94b63f12e1fe9dd29de21bf9ec6e271b1c",
        ),
        (
            ("cffi >=1.13.0,!=1.15.0", "pandas ==1.4.0", "pyarrow >=0.17.1"),
            "<3.9,>=3.8",
            ("boto3>=1.14.0", "pandas>=0.24.0", "requests>=2.21.0"),
            "b7b01560a5e30245d7aa963834acc9c4fd199674",
        ),
    ],
)
def test_the_id_of_the_reference_for_conda(
    conda: tuple[str, ...], python: str, metaflow: tuple[str, ...], expected: str
) -> None:
    """Vectors of its own documents, which tell no facts of a machine."""
    requirements = Requirements(
        python=python,
        python_from="conda",
        conda=conda_requirements(*conda),
        metaflow=tuple(parse_requirement(text) for text in metaflow),
        channels=("conda-forge",),
        system=((HERE, "__linux", "4.18"), (HERE, "__archspec", "x86_64")),
    )
    lock = Lock(arch=HERE, requirements=requirements, python=LockedPython("conda", "3.8.20"), packages=())
    assert netflix_id_of(lock) == expected
