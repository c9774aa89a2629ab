"""`envlock lock -r FILE`: requirement files are locked without an envlock.toml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import host_arch
from tests.conftest import Envlock
from tests.hydration.making import SERIES
from tests.index import CATALOGUE, Index, Release
from tests.support import ProjectFolder, Ran

HERE = host_arch()


@pytest.fixture
def folder(tmp_path: Path, make_index: Callable[..., Index]) -> Path:
    """A folder without an envlock.toml, with some requirement files."""
    index = make_index(*CATALOGUE, Release("requests", "2.32.0"))
    place = tmp_path / "project"
    place.mkdir()
    (place / "requirements.txt").write_text(f"-i {index.url}\n-r more.txt\nlam\n")
    (place / "more.txt").write_text("alpha<2\n")
    return place


def lock(envlock: Envlock, *arguments: str, check: int = 0) -> Ran:
    return envlock("lock", *arguments, "--arch", HERE, check=check)


def locked(folder: Path) -> dict[str, str]:
    """The versions in the one lock of a folder, with that of Python."""
    (path,) = lock_files(folder)
    found = read_lock(path)
    packages = {package.name: package.version for package in found.pypi_packages}
    return packages | {"python": found.python.series}


def test_files_are_locked_into_a_folder_and_locked_again_from_there(folder: Path, envlock: Envlock) -> None:
    arguments = ("-r", "requirements.txt", "--python", SERIES, "--output", "locks")
    ran = lock(envlock, *arguments, "--json")
    assert locked(folder / "locks") == {"alpha": "1.1", "lam": "1.0", "requests": "2.32.0", "python": SERIES}
    assert [each["environments"] for each in ran.json["locks"]] == [["requirements"]]
    assert sorted(path.name for path in folder.iterdir()) == ["locks", "more.txt", "requirements.txt"]
    assert "nothing changed" in lock(envlock, *arguments).stdout
    (folder / "more.txt").write_text("alpha<1.1\n")
    lock(envlock, *arguments)
    assert locked(folder / "locks")["alpha"] == "1.0"


def test_several_files_add_up(folder: Path, envlock: Envlock) -> None:
    (folder / "also.txt").write_text("alpha>=1.1\nkappa\n")
    (folder / "environment.yml").write_text("dependencies:\n- pip:\n  - xi\n")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "own"\ndependencies = []\noptional-dependencies = { more = ["mu"], less = ["tau"] }\n'
        '[dependency-groups]\ntest = ["omicron"]\n'
    )
    files = ("-r", "requirements.txt", "-r", "also.txt", "-f", "environment.yml", "-p", "pyproject.toml")
    lock(envlock, *files, "--extra", "more", "--group=test", "--output=x", "--python", SERIES)
    found = locked(folder / "x").keys()
    assert {"alpha", "kappa", "lam", "xi", "mu", "omicron"} <= found
    assert "tau" not in found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-r", "requirements.txt"), "--output FOLDER"),
        (("--output", "x"), "`-r`, `-f` or `-p`"),
        (("-r", "requirements.txt", "--env", "x", "--output", "x"), "`--env`"),
        (("-r", "requirements.txt", "--using", "x", "--output", "x"), "`--using`"),
        (("-r", "requirements.txt", "--extra", "x", "--output", "x"), "`--pyproject`"),
        (("-r", "requirements.txt", "--alias", "team/base:v1"), "--cache URL"),
        (("-r", "requirements.txt", "--alias", "Team Base", "--output", "x", "--cache", "x"), "Team Base"),
        (("-r", "requirements.txt", "--python", "three", "--output", "x"), "three"),
        (("-r", "gone.txt", "--output", "x"), "gone.txt"),
        (("-r", "requirements.txt", "--config", "gone.toml", "--output", "x"), "gone.toml"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...], said: str, folder: Path, envlock: Envlock
) -> None:
    error = lock(envlock, *arguments, check=2).stderr
    assert said in error
    assert "envlock.toml:" not in error
    assert not (folder / "x").exists()


def test_the_locks_of_another_environment_are_left_alone(folder: Path, envlock: Envlock) -> None:
    lock(envlock, "-r", "requirements.txt", "--python", SERIES, "--output", "locks")
    before = locked(folder / "locks")
    refused = lock(envlock, "-r", "more.txt", "--python", SERIES, "--output", "locks", "--json", check=2)
    assert refused.json["error"]["code"] == "usage"
    assert "requirements" in refused.json["error"]["message"]
    assert locked(folder / "locks") == before
    # The same requirements are the same environment, whatever it is called.
    (folder / "same.txt").write_text("-r requirements.txt\n")
    assert "nothing changed" in lock(envlock, "-r", "same.txt", "--python", SERIES, "--output", "locks").stdout


def test_the_lock_folder_of_a_project_is_left_alone(folder: Path, envlock: Envlock) -> None:
    (folder / "envlock.toml").write_text("[env.base.pypi]\n")
    assert "--output" in lock(envlock, "-r", "requirements.txt", "--output", "envlock.lock", check=2).stderr


def test_an_error_names_the_line_of_the_file_and_nothing_that_nobody_wrote(folder: Path, envlock: Envlock) -> None:
    (folder / "more.txt").write_text("# ours\nalpha==99\n")
    error = lock(envlock, "-r", "requirements.txt", "--output", "x", "--json", check=4).json["error"]
    assert error["locations"] == [{"path": "more.txt", "line": 2, "key": None}]
    (folder / "more.txt").write_text("python<3.10\n")
    said = lock(envlock, "-r", "requirements.txt", "--output", "x", "--python", SERIES, check=2).stderr
    assert "error[disagreeing-values]" in said
    assert "at more.txt:1" in said


def test_conda_packages_of_both_kinds_of_files(conda_project: ProjectFolder, envlock: Envlock) -> None:
    conda_project.write("")
    folder = conda_project.folder
    (folder / "environment.yml").write_text("channels: [conda-forge]\ndependencies: [lower, pip: [lam]]\n")
    (folder / "r.txt").write_text("--conda-pkg upper\n--sys-pkg __glibc==2.34\nxi\n-c c.txt\n")
    (folder / "c.txt").write_text("xi<1.1\n")
    lock(envlock, "-f", "environment.yml", "-r", "r.txt", "--output", "locks")
    (path,) = lock_files(folder / "locks")
    found = read_lock(path)
    assert found.requirements.type == "mixed"
    assert ("linux-64", "__glibc", "2.34") in found.requirements.system
    assert {"lower", "upper", "python"} <= {package.name for package in found.conda_packages}
    assert {package.name: package.version for package in found.pypi_packages} == {"lam": "1.0", "xi": "1.0"}
