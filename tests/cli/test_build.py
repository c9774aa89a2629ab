"""`envlock build`, whole: what it prints, and how it exits."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from tests.conftest import Envlock
from tests.index import Release
from tests.support import ProjectFolder

COMMON = Release("common", "1.0")


@pytest.fixture
def common(project: ProjectFolder, envlock: Envlock) -> Path:
    """The folder of a package that is locked."""
    folder = COMMON.write_source(project.folder / "libs/common")
    table = f'[env.demo.pypi]\npython = "3.{sys.version_info[1]}"\n[env.demo.pypi.packages]\n'
    project.write(f'{table}common = {{ path = "libs/common" }}\nlam = ""\n', archs=(host_arch(),))
    return folder


def test_what_is_built_again_is_as_locked(common: Path, envlock: Envlock, tmp_path: Path) -> None:
    locked = envlock("lock")
    assert "note: common 1.0 was built from libs/common" in locked.stdout
    shown = envlock("show", "demo", "--json")
    (package,) = [each for each in json.loads(shown.stdout)["environments"][0]["packages"] if each["name"] == "common"]
    assert (package["source"]["kind"], package["source"]["path"]) == ("folder", "libs/common")
    again = envlock("build", "--push", env={"ENVLOCK_HOME": str(tmp_path / "another")})
    assert again.stdout.splitlines()[0] == "common 1.0 from libs/common: as locked"
    found = json.loads(envlock("build", "--json").stdout)
    assert [(each["name"], each["outcome"], each["locked"]) for each in found["packages"]] == [
        ("common", "same", package["sha256"])
    ]


def test_a_build_that_is_not_reproducible_is_told_and_is_no_success(common: Path, envlock: Envlock) -> None:
    backend = common / "backend.py"
    backend.write_text(backend.read_text().replace("Tag: {tag}", "Tag: {tag}\\nBuild: {os.urandom(4).hex()}"))
    envlock("lock")
    ran = envlock("build", check=3)
    assert ran.stdout.startswith("common 1.0 from libs/common: differs from what is locked\n  locked  ")
    assert "envlock lock --upgrade-package common" in ran.stdout


def test_another_arch_is_for_another_machine(common: Path, envlock: Envlock) -> None:
    ran = envlock("build", "--arch", "osx-64", check=2)
    assert "error[not-this-arch]" in ran.stderr


def test_a_folder_that_changed_is_not_what_was_locked(common: Path, envlock: Envlock) -> None:
    envlock("lock")
    (common / "common" / "more.py").write_text("")
    ran = envlock("build")
    assert ran.stdout == "common 1.0 from libs/common: built\n"


def test_a_name_is_outdated_once_a_folder_changed_that_a_package_is_built_from(
    common: Path, envlock: Envlock, tmp_path: Path
) -> None:
    envlock("lock")
    envlock("create", "--name", "demo")
    time.sleep(2.1)  # of what is young, nothing is remembered
    assert envlock("path", "--name", "demo", cwd=tmp_path).stderr == ""
    (common / "common" / "more.py").write_text("")
    assert "warning: `demo` is outdated" in envlock("path", "--name", "demo", cwd=tmp_path).stderr
