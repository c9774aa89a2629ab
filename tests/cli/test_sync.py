"""A stable place that follows the lock: `create --name`, `create --in-project`, and `envlock sync`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from envlock.places import home
from tests.cli.locked_twice import LockedTwice
from tests.conftest import Envlock, ProjectFolder
from tests.index import Index
from tests.support import read_only


@pytest.fixture(scope="module")
def locked_twice(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> LockedTwice:
    return LockedTwice.make(tmp_path_factory, index, shared_uv_cache)


@pytest.fixture
def demo(project: ProjectFolder, locked_twice: LockedTwice) -> ProjectFolder:
    """The project, locked."""
    return locked_twice.copy(project.folder)


def alpha_at(link: Path) -> str:
    (info,) = link.glob("lib/python*/site-packages/alpha-*.dist-info")
    return info.name.removesuffix(".dist-info").partition("-")[2]


def test_all_names_of_a_project_follow_its_lock_at_once(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock, tmp_path: Path
) -> None:
    envlock("create", "--step", "train", "--name", "jup")
    envlock("create", "--env", "base", "--in-project")
    envlock("create", "--step", "start", "--in-project")
    links = [
        home() / "named" / "jup",
        *(demo.folder / ".envlock" / "envs" / each for each in ("TrainFlow.start", "base")),
    ]
    assert [alpha_at(link) for link in links] == ["1.1"] * 3
    assert envlock("sync", "--json").json == {
        "exit_status": 0,
        "names": [
            {
                "name": link.name,
                "kind": "name",
                "place": str(link),
                "environment": environment,
                "state": "current",
                "before": str(link.readlink()),
                "after": str(link.readlink()),
                "error": None,
            }
            for link, environment in zip(
                (*links[1:], links[0]), ("TrainFlow/start", "base", "TrainFlow/train"), strict=True
            )
        ],
    }
    locked_twice.upgrade(demo)
    before = [link.readlink() for link in links]
    planned = envlock("sync", "--dry-run", "--json").json["names"]
    assert {each["state"] for each in planned} == {"outdated"}
    assert [link.readlink() for link in links] == before
    assert not any(Path(each["after"]).exists() for each in planned)
    envlock("sync", "base")
    assert [alpha_at(link) for link in links] == ["1.1", "1.1", "1.0"]
    synced = envlock("sync", cwd=demo.folder / ".envlock").stdout
    assert synced.splitlines() == [
        "TrainFlow.start  TrainFlow/start  updated",
        "base             base             up to date",
        "jup              TrainFlow/train  updated",
    ]
    assert [alpha_at(link) for link in links] == ["1.0"] * 3
    assert [str(link.readlink()) for link in links] == [planned[number]["after"] for number in (2, 0, 1)], "as planned"
    assert envlock("path", "--name", "jup", cwd=tmp_path).stderr == ""


def test_git_sees_no_link_of_a_project_and_the_project_may_move(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock, tmp_path: Path
) -> None:
    envlock("create", "--env", "base", "--in-project", "--name", "editor")
    assert (demo.folder / ".envlock" / ".gitignore").read_text().splitlines()[-1] == "*"
    locked_twice.upgrade(demo)
    moved = tmp_path / "moved"
    demo.folder.rename(moved)
    (synced,) = envlock("sync", "--json", cwd=moved).json["names"]
    assert (synced["name"], synced["state"]) == ("editor", "updated")
    assert alpha_at(moved / ".envlock" / "envs" / "editor") == "1.0"


def test_a_name_that_cannot_follow_stays_and_the_others_follow(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock
) -> None:
    envlock("create", "--env", "base", "--name", "gone")
    envlock("create", "--step", "train", "--name", "jup")
    locked_twice.upgrade(demo)
    demo.edit("[env.base]", "[env.other]")
    ran = envlock("sync", check=1)
    assert ran.stdout.splitlines() == ["gone  ?                not updated", "jup   TrainFlow/train  updated"]
    assert "error[no-such-selection]" in ran.stderr
    assert (alpha_at(home() / "named" / "gone"), alpha_at(home() / "named" / "jup")) == ("1.1", "1.0")
    demo.edit('alpha = "1.0"', 'alpha = "1.1"')
    states = {each["name"]: each["error"]["code"] for each in envlock("sync", "--json", check=1).json["names"]}
    assert states == {"gone": "no-such-selection", "jup": "stale-lock"}
    assert "error[no-such-name]" in envlock("sync", "jop", check=2).stderr


def test_a_name_whose_prefix_is_gone_is_made_again(demo: ProjectFolder, envlock: Envlock, tmp_path: Path) -> None:
    prefix = Path(envlock("create", "--env", "base", "--name", "jup").stdout.strip())
    shutil.rmtree(prefix)
    said = envlock("path", "--name", "jup", check=5).stderr
    assert "error[named-environment-gone]" in said
    command = said.splitlines()[-1].removeprefix("hint: ")
    assert command == f"envlock sync jup --config {demo.config}"
    envlock(*command.split()[1:], cwd=tmp_path)
    assert alpha_at(prefix) == "1.1"
    envlock("path", "--name", "jup")


def test_only_names_of_the_project_are_touched(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock, tmp_path: Path
) -> None:
    prefix = envlock("create", "--env", "base", "--name", "mine").stdout.strip()
    other = demo.copy(tmp_path / "other")
    envlock("create", "--env", "base", "--name", "theirs", cwd=other.folder)
    (home() / "named" / "foreign").symlink_to(prefix)
    (home() / "named" / ".damaged.from").write_text("[" * 100)
    (home() / "named" / "damaged").symlink_to(prefix)
    locked_twice.upgrade(demo)
    assert [each["name"] for each in envlock("sync", "--json").json["names"]] == ["mine"]
    assert "this project has no local names or kernels here" in envlock("sync", cwd=locked_twice.before).stderr


def test_a_home_that_cannot_be_written_is_said_for_each_name(
    demo: ProjectFolder, locked_twice: LockedTwice, envlock: Envlock
) -> None:
    envlock("create", "--env", "base", "--name", "mine")
    locked_twice.upgrade(demo)
    with read_only(home() / "named"):
        (failed,) = envlock("sync", "--json", check=1).json["names"]
        assert failed["error"]["code"] == "home-unusable"
        assert failed["after"] == failed["before"] == str((home() / "named" / "mine").readlink())
    (updated,) = envlock("sync", "--json").json["names"]
    assert updated["state"] == "updated"


def test_a_link_in_the_project_is_only_for_its_own_environments(demo: ProjectFolder, envlock: Envlock) -> None:
    for arguments in (("--into", "x", "--env", "base"), ("team/base:v1",), ("--pathspec", "TrainFlow/1/start")):
        assert "error[usage]" in envlock("create", "--in-project", *arguments, check=2).stderr
    envlock("create", "--env", "base", "--in-project")
    ran = envlock("create", "--step", "train", "--in-project", "--name", "base", check=2)
    assert "error[name-taken]" in ran.stderr
    assert (
        "hint: to move the name to the new environment: envlock create --in-project --name base --force" in ran.stderr
    )
    outside = demo.folder.with_name("outside")
    outside.mkdir()
    shutil.rmtree(demo.folder / ".envlock")
    (demo.folder / ".envlock").symlink_to(outside)
    assert "error[cannot-write]" in envlock("create", "--env", "base", "--in-project", check=2).stderr
    assert not any(outside.iterdir())
    (outside / "envs").mkdir()
    (outside / "envs" / "base").symlink_to("/elsewhere")
    (outside / "envs" / ".base.from").write_text(
        f'{{"config": "{demo.config}", "flow": "", "step": "", "environment": "base"}}'
    )
    assert envlock("sync", "--json").json["names"] == []


def test_lock_says_which_names_it_leaves_behind(demo: ProjectFolder, envlock: Envlock) -> None:
    envlock("create", "--env", "base", "--name", "jup")
    envlock("create", "--env", "base", "--in-project")
    envlock("create", "--step", "train", "--name", "other")
    assert "envlock sync" not in envlock("lock").stderr
    demo.edit('lam = ""', 'lam = "", iota = "1.0"')
    said = envlock("lock").stderr
    assert "note: base and jup are outdated: run `envlock sync`" in said
    envlock("sync")
    demo.edit('iota = "1.0"', 'xi = "1.0"')
    envlock("create", "--step", "start", "--name", "jup", "--force")
    assert "note: base is outdated: run `envlock sync`" in envlock("lock").stderr
