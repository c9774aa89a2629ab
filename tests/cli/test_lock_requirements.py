"""One package required more than once, and packages with an index of their own, from envlock.toml to a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock.config.errors import SeveralEnvironments
from envlock.config.read import load_project
from envlock.config.selection import Selection, choose_one
from envlock.errors import EnvlockError
from envlock.lockfile.folder import read_lock
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock
from envlock.workflow.check import check
from envlock.workflow.fresh_locks import fresh_locks
from envlock.workflow.lock import lock
from envlock.workflow.show import Description, describe
from tests.conftest import Envlock
from tests.index import Index, Release
from tests.support import ProjectFolder, files_holding

SECRET = "s3cret-t0ken"

CPU = (
    Release("torch", "2.2.2", requires=("alpha",)),
    Release("torch", "2.3.1", requires=("alpha",)),
    Release("torch", "2.4.0", requires=("alpha",)),
    Release("vision", "1.0", requires=("torch",)),
    Release("alpha", "1.0"),
    Release("x", "1.0"),
    Release("x", "1.5", extras={"more": ("alpha",)}),
    Release("x", "2.0"),
)
GPU = (
    Release("torch", "2.3.1+cu121", requires=("alpha",)),
    Release("torch", "2.4.0+cu121", requires=("alpha",)),
    Release("alpha", "9.0"),
    Release("vision", "9.0"),
)


@pytest.fixture(scope="module")
def cpu() -> Any:
    """The default index of these tests."""
    with Index(*CPU) as index:
        yield index


@pytest.fixture
def gpu(make_index: Callable[..., Index]) -> Index:
    """An index with builds of torch, and with newer releases of what else there is."""
    return make_index(*GPU)


@pytest.fixture
def project(tmp_path: Path, cpu: Index) -> ProjectFolder:
    return ProjectFolder.make(tmp_path / "project", cpu.url)


def lock_of(project: ProjectFolder, arch: str = "linux-64") -> Lock:
    return read_lock(project.lock_of(arch))


def write(project: ProjectFolder, packages: str, *, settings: str = "", archs: tuple[str, ...] = ("linux-64",)) -> None:
    text = f'[env.demo.pypi]\npython = "3.12"\n[env.demo.pypi.packages]\n{packages}\n'
    project.write(text, settings=settings, archs=archs)


def is_fresh(project: ProjectFolder) -> bool:
    return check(load_project(project.config)).exit_status == 0


def test_one_package_may_have_another_version_on_each_arch(project: ProjectFolder, envlock: Envlock) -> None:
    write(
        project,
        "torch = [\"2.3.1 ; sys_platform == 'linux'\", \"2.2.2 ; sys_platform == 'darwin'\"]",
        archs=("linux-64", "osx-64"),
    )
    envlock("lock")
    assert project.pins("linux-64")["torch"] == "2.3.1"
    assert project.pins("osx-64")["torch"] == "2.2.2"
    assert is_fresh(project)
    write(project, "torch = [\"2.3.1 ; sys_platform == 'linux'\", \"2.4 ; sys_platform == 'darwin'\"]")
    ran = envlock("check", check=1)
    assert "envlock.toml:9" in ran.stdout


@pytest.mark.parametrize(
    ("packages", "file", "locked"),
    [
        ('x = "<2"\n"x[more]" = ""', "", {"x": "1.5", "alpha": "1.0"}),
        ('x = [">=1", "<2"]', "", {"x": "1.5"}),
        ('x = { extras = ["more"], version = "<2" }', "", {"x": "1.5", "alpha": "1.0"}),
        ('x = ">=1"', "x<2\nx!=1.5\n", {"x": "1.0"}),
        ('x = "1.0"', "x==1.0.0\n", {"x": "1.0"}),
    ],
)
def test_constraints_of_one_package_add_up(
    project: ProjectFolder, envlock: Envlock, packages: str, file: str, locked: dict[str, str]
) -> None:
    (project.folder / "r.txt").write_text(file)
    text = '[env.demo]\nrequirements = "r.txt"\n[env.demo.pypi]\npython = "3.12"\npackages = {}\n'
    text = text.replace("packages = {}", f"[env.demo.pypi.packages]\n{packages}")
    project.write(text, archs=["linux-64"])
    envlock("lock")
    assert project.pins() == locked
    assert is_fresh(project)


def test_a_contradiction_that_only_an_index_shows_names_both_lines(project: ProjectFolder, envlock: Envlock) -> None:
    write(project, 'x = [\n  "1.0",\n  "2.0 ; sys_platform == \'linux\'",\n]')
    ran = envlock("lock", check=4)
    assert "error[no-solution]" in ran.stderr
    assert "envlock.toml:10" in ran.stderr
    assert "envlock.toml:11" in ran.stderr


def test_a_package_comes_from_its_index_and_nothing_else_does(
    project: ProjectFolder, cpu: Index, gpu: Index, envlock: Envlock
) -> None:
    write(
        project,
        'torch = { version = ">=2.3", index = "pytorch" }\nvision = ""',
        settings=f'indexes = {{ pytorch = "{gpu.url}" }}',
    )
    envlock("lock")
    assert project.pins() == {"torch": "2.4.0+cu121", "vision": "1.0", "alpha": "1.0"}
    index_of = {package.name: package.index for package in lock_of(project).packages}
    assert index_of["torch"] == gpu.url
    assert index_of["vision"] == index_of["alpha"] == cpu.url
    assert {request.path for request in gpu.requests if request.kind == "page"} == {"simple/torch/"}
    assert is_fresh(project)
    assert envlock("lock").stdout.count("nothing changed") == 1


def test_an_index_by_url_locks_to_the_same_requirements_as_one_by_name(project: ProjectFolder, gpu: Index) -> None:
    write(project, 'torch = { index = "pytorch" }', settings=f'indexes = {{ pytorch = "{gpu.url}" }}')
    named = load_project(project.config).named[0].requirements
    write(project, f'torch = {{ index = "{gpu.url.replace("http://", "http://me:pw@")}" }}')
    assert load_project(project.config).named[0].requirements.req_id == named.req_id
    assert named.document()["package-indexes"] == [["torch", gpu.url]]


def test_an_index_may_be_for_some_archs_alone(project: ProjectFolder, gpu: Index, envlock: Envlock) -> None:
    linux = f"{{ version = '2.3.1', marker = \"sys_platform == 'linux'\", index = '{gpu.url}' }}"
    write(
        project,
        f"torch = [{linux}, \"2.2.2 ; sys_platform == 'darwin'\"]\nvision = ''",
        archs=("linux-64", "osx-64"),
    )
    envlock("lock")
    assert project.pins("linux-64")["torch"] == "2.3.1+cu121"
    assert project.pins("osx-64")["torch"] == "2.2.2"


def test_an_index_counts_for_a_release_of_python_that_is_not_the_oldest(
    project: ProjectFolder, gpu: Index, envlock: Envlock
) -> None:
    write(project, f"torch = {{ marker = \"python_full_version >= '3.12.3'\", index = '{gpu.url}' }}")
    envlock("lock")
    assert project.pins() == {"torch": "2.4.0+cu121", "alpha": "1.0"}


def test_a_version_from_its_own_index_is_kept_until_it_is_upgraded(
    project: ProjectFolder, gpu: Index, envlock: Envlock
) -> None:
    table = f'torch = {{ version = "VERSION", index = "{gpu.url}" }}\nMORE'
    write(project, table.replace("VERSION", "<2.4").replace("MORE", ""))
    envlock("lock")
    write(project, table.replace("VERSION", "").replace("MORE", 'x = "1.0"'))
    envlock("lock")
    assert project.pins()["torch"] == "2.3.1+cu121"
    envlock("lock", "--upgrade-package", "torch")
    assert project.pins()["torch"] == "2.4.0+cu121"


def test_another_index_is_drift_and_the_one_it_came_from_is_none(
    project: ProjectFolder, cpu: Index, gpu: Index, envlock: Envlock
) -> None:
    write(project, f'torch = {{ version = "2.4.0", index = "{gpu.url}" }}')
    envlock("lock")
    write(project, 'torch = "2.4.0"')
    assert envlock("check", check=1).stdout.count("stale") == 1
    envlock("lock")
    assert project.pins()["torch"] == "2.4.0"
    write(project, f'torch = {{ version = "2.4.0", index = "{cpu.url}" }}')
    assert "restamp" in json.loads(envlock("check", "--json", check=1).stdout)["findings"][0]["verdict"]


def test_what_its_index_lacks_is_an_error_that_names_it(project: ProjectFolder, gpu: Index, envlock: Envlock) -> None:
    write(project, f'x = {{ index = "{gpu.url}" }}')
    ran = envlock("lock", check=4)
    assert "error[no-such-package]" in ran.stderr
    assert gpu.url in ran.stderr
    assert "envlock.toml:9" in ran.stderr


def test_two_indexes_for_one_arch_are_an_error(
    project: ProjectFolder, cpu: Index, gpu: Index, envlock: Envlock
) -> None:
    one = f"{{ index = '{gpu.url}' }}"
    other = f"{{ index = '{cpu.url}', marker = \"sys_platform == 'linux'\" }}"
    write(project, f"torch = [\n{one},\n{other},\n]")
    ran = envlock("lock", check=4)
    assert "error[no-solution]" in ran.stderr
    assert "envlock.toml:10" in ran.stderr
    assert "envlock.toml:11" in ran.stderr


def test_credentials_of_a_package_index_are_used_and_never_written(
    make_index: Callable[..., Index], project: ProjectFolder, tmp_path: Path, envlock: Envlock
) -> None:
    private = make_index(*GPU, credentials=("reader", SECRET))
    url = private.url.replace("http://", "http://${WHO}:${TOKEN}@")
    write(project, 'torch = { index = "team" }', settings=f'indexes = {{ team = "{url}" }}')
    ran = envlock("lock", env={"WHO": "reader", "TOKEN": SECRET, "UV_CACHE_DIR": str(tmp_path / "uv")})
    assert project.pins()["torch"] == "2.4.0+cu121"
    envlock("push", env={"WHO": "reader", "TOKEN": SECRET})
    assert SECRET not in ran.text
    assert files_holding(SECRET, tmp_path) == set()
    assert "reader" not in project.lock_of("linux-64").read_text()


def test_an_index_whose_variable_is_not_set_is_an_error_at_the_package(
    project: ProjectFolder, gpu: Index, envlock: Envlock
) -> None:
    write(project, 'torch = { index = "team" }', settings='indexes = { team = "${NO_SUCH_INDEX}/simple/" }')
    ran = envlock("lock", check=2)
    assert "error[unset-variable]" in ran.stderr
    assert "envlock.toml:9" in ran.stderr
    assert not gpu.requests
    base = gpu.url.removesuffix("simple/").rstrip("/")
    envlock("lock", env={"NO_SUCH_INDEX": base})
    envlock("lock", "--upgrade", env={"NO_SUCH_INDEX": base})
    assert project.pins()["torch"] == "2.4.0+cu121"


def test_a_package_of_its_own_index_is_pushed_and_made(
    make_index: Callable[..., Index], project: ProjectFolder, envlock: Envlock
) -> None:
    """From an index as those for CUDA builds are: HTML, no metadata beside the files, a quoted `+` in their URLs."""
    gpu = make_index(*GPU, html_only=True, metadata=False, link=lambda url: url.replace("+", "%2B"))
    text = f'[env.demo.pypi]\npackages = {{ torch = {{ index = "{gpu.url}" }} }}\n'
    project.write(text, archs=["linux-64", "linux-aarch64"])
    envlock("lock")
    envlock("push")
    gpu.close()
    prefix = Path(envlock("create", "--env", "demo", "--offline").stdout.strip())
    assert list(prefix.glob("lib/python3*/site-packages/torch-2.4.0+cu121.dist-info"))
    shown = json.loads(envlock("show", "demo", "--json").stdout)["environments"][0]
    assert shown["sources"]["package_indexes"] == {"torch": gpu.url}


def test_what_an_environment_is_does_not_hang_on_its_name(project: ProjectFolder) -> None:
    project.write_flow(steps=("start", "end"))
    tables = '[flow.DemoFlow]\nfile = "demoflow.py"\npypi.python = "3.11"\n[env."DemoFlow/gpu".pypi]\npython = "3.12"\n'
    project.write(f'{tables}packages = {{ x = "1.0" }}', archs=["linux-64"])
    lock(load_project(project.config))
    loaded = load_project(project.config)
    found = choose_one(loaded, environment="DemoFlow/gpu")
    assert (found.is_step, found.key) == (False, ("env", "DemoFlow/gpu"))
    assert [package.name for package in fresh_locks(loaded, [found], LINUX_64)["DemoFlow/gpu"].packages] == ["x"]
    (shown,) = describe(loaded, "DemoFlow/gpu", [LINUX_64])
    assert isinstance(shown, Description)
    assert shown.used_by == ("DemoFlow/gpu",)
    with pytest.raises(SeveralEnvironments) as caught:
        choose_one(loaded)
    assert caught.value.hint == "for example: `--flow DemoFlow --step start`"
    project.write(tables, archs=["linux-64"])
    (finding,) = check(load_project(project.config), Selection(environments=("DemoFlow/gpu",))).findings
    assert finding.location is not None
    assert (finding.location.line, finding.location.key) == (9, "env.DemoFlow/gpu")


def test_an_environment_may_not_be_called_as_a_step_is(project: ProjectFolder) -> None:
    project.write_flow(steps=("start", "end"))
    project.write('[flow.DemoFlow]\nfile = "demoflow.py"\n[env."DemoFlow/end"]\npypi = {}')
    with pytest.raises(EnvlockError) as refused:
        load_project(project.config)
    assert refused.value.code == "named-like-a-step"
    assert [at.line for at in refused.value.locations] == [8, 6]


def test_pip_tools_refuses_an_index_for_one_package(project: ProjectFolder, gpu: Index, envlock: Envlock) -> None:
    project.write(
        f'[env.demo.pypi]\npackages = {{ torch = {{ index = "{gpu.url}" }} }}\n',
        settings='resolver = { pypi = "pip-tools" }',
        archs=["linux-64"],
    )
    ran = envlock("lock", check=4)
    assert "error[resolver-cannot]" in ran.stderr
