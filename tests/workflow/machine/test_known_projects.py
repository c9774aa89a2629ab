"""This machine knows the projects that it locked or made environments for, wherever they are now."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine.known_projects import known_projects
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.workflow.machine.homes import MadeUpProject


def test_lock_and_run_make_a_project_known(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("check", check=1)
    assert known_projects() == (), "check writes nothing"
    envlock("lock")
    (known,) = known_projects()
    assert (known.config, known.locks) == (str(project.config), str(project.folder / "envlock.lock"))
    assert known.environments == {}
    assert known.is_on_mounted_disk
    assert os.path.ismount(known.mount)
    assert str(project.folder.resolve()).startswith(known.mount)
    envlock("run", "--", "true")
    (known,) = known_projects()
    (prefix,) = (each for each in (home() / "environments").iterdir() if each.name.startswith("metaflow_"))
    assert {f"metaflow_{each.replace(':', '_')}": names for each, names in known.environments.items()} == {
        prefix.name: ("demo",)
    }
    assert len(Path(known.note).name) == 16
    before = Path(known.note).stat()
    envlock("lock"), envlock("path")
    assert Path(known.note).stat() == before, "written once"


def test_a_disk_that_is_not_mounted_is_told_from_a_deleted_project(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    (known,) = known_projects()
    assert known.is_on_mounted_disk
    assert not known._replace(mount=str(project.folder / "not-mounted")).is_on_mounted_disk


@pytest.mark.parametrize("text", ["", "[]", '{"config": 1}', '{"config": "\\u0000", "locks": "", "mount": ""}'])
def test_a_note_that_is_damaged_is_no_project(tmp_path: Path, text: str) -> None:
    folder = home() / "projects"
    folder.mkdir(parents=True)
    (folder / ("0" * 16)).write_text(text)
    (folder / ".part").write_text(json.dumps({}))
    assert known_projects() == ()


def test_what_many_make_at_once_is_all_noted(tmp_path: Path) -> None:
    project = MadeUpProject(tmp_path / "flows")
    project.is_known()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: project.is_known(number, f"Train/s{number}"), range(24)))
    (known,) = known_projects()
    assert set(known.environments.values()) == {(f"Train/s{number}",) for number in range(24)}
