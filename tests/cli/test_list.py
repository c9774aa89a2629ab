"""`envlock list`: the state of every environment, on locks that are made by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock.__main__ import main
from envlock.activation import RECEIPT
from envlock.cache.environments import Environments
from envlock.cache.layout import environment_place
from envlock.cache.open import open_cache
from envlock.config.flows.repository import config_files
from envlock.config.read import load_project
from envlock.hydration.prefix import Receipt, prefix_of, signature, write_receipt
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.places import home
from tests.cli.looking import CONFIG, make_project
from tests.cli.test_buckets import settings
from tests.servers.clouds import Cloud


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project of `looking`, which is the working folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(make_project(folder))
    monkeypatch.setattr("envlock.workflow.listing.host_arch", lambda: LINUX_64)
    return folder


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """The environments of a project that `list --json` tells, by name."""
    assert main(["list", "--json", *arguments]) == 0
    (project,) = json.loads(capsys.readouterr().out)["projects"]
    return {each["name"]: each for each in project["environments"]}


def edit(folder: Path, old: str, new: str) -> None:
    assert old in CONFIG
    (folder / "envlock.toml").write_text(CONFIG.replace(old, new))


def test_every_environment_has_a_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["environment", "state", "python", "packages", "download", "on", "this", "machine", "pushed"]
    assert rows[1] == ["Train/start", "fresh", "3.12", "6", "6.0", "kB", "no", "no"]
    assert [row[:2] for row in rows[2:]] == [["Train/end", "fresh"], ["vision", "fresh"]]
    assert err == ""


@pytest.mark.parametrize(
    ("old", "new", "name", "state"),
    [
        ('photos = ""', 'photos = "<2"', "vision", "stale"),
        ("[env.vision]", "[env.new]\npypi = { packages = { x = '' } }\n[env.vision]", "new", "missing"),
        ("[flow.Train.step.end]\npypi =", "[flow.Train.step.end]\ndisabled = true\n#", "Train/end", "disabled"),
        (
            "[env.vision]",
            '[env.later]\nnamed_env = { name = "team/x", fetch_at_exec = true }\n[env.vision]',
            "later",
            "fetched",
        ),
    ],
    ids=["stale", "missing", "disabled", "fetched"],
)
def test_what_is_not_fresh_has_its_state(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, name: str, state: str
) -> None:
    edit(folder, old, new)
    assert listed(capsys)[name]["state"] == state


def test_an_arch_that_is_not_locked_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, '["linux-64", "osx-arm64"]', '["linux-64", "osx-arm64", "osx-64"]')
    found = listed(capsys)["vision"]
    assert (found["state"], found["archs_of_state"]) == ("arch-missing", ["osx-64"])
    assert found["archs"] == [LINUX_64, OSX_ARM64]
    main(["list"])
    assert "arch-missing (osx-64)" in capsys.readouterr().out


def test_a_damaged_lock_hides_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = [each for each in (folder / "envlock.lock/linux-64").glob("*/*") if "photos" in each.read_text()]
    path.write_text(path.read_text()[:-50])
    found = listed(capsys)
    assert {name: each["state"] for name, each in found.items()} == {
        "Train/start": "fresh",
        "Train/end": "fresh",
        "vision": "damaged",
    }


def test_aliases_and_bases_are_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "[env.vision]\n", '[env.vision]\naliases = ["team/vision:v1"]\n')
    with (folder / "envlock.toml").open("a") as file:
        file.write('[env.same]\nnamed_env = { name = "a/b:v1" }\n')
    found = listed(capsys)
    assert found["vision"]["aliases"] == ["team/vision:v1"]
    assert (found["same"]["base"], found["same"]["extends"]) == ("a/b:v1", False)
    main(["list"])
    assert "is a/b:v1" in capsys.readouterr().out


def test_what_a_folder_holds_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = load_project(folder / "envlock.toml")
    environments = Environments(open_cache(project))
    paths = lock_files(project.lock_folder)
    start = {name: each["identity"].split(":")[0] for name, each in listed(capsys).items()}["Train/start"]
    for path in paths:
        if path.parent.name == start:
            environments.write(read_lock(path))
    found = listed(capsys)
    assert found["Train/start"]["pushed"] == {"linux-64": True, "osx-arm64": True}
    assert found["vision"]["pushed"] == {"linux-64": False, "osx-arm64": False}
    places = [environment_place(read_lock(path)) for path in paths if path.parent.name == start]
    (mac,) = [each for each in places if each.arch == OSX_ARM64]
    (Path(project.cache_url) / mac.path).unlink()
    main(["list"])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Train/start")]
    assert row.endswith("linux-64")


def test_of_a_bucket_is_known_what_was_pushed_and_online_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str], clouds: Callable[[str], Cloud], log_in: Callable[[Cloud], Cloud]
) -> None:
    from envlock.reporter import Reporter
    from envlock.workflow.push import _Push  # what pushing remembers, without packages to push

    cloud = log_in(clouds("moto"))
    edit(folder, "channels = []\n", f"channels = []\nremote = false\n{settings(cloud, 'listed')}\n")
    project = load_project(folder / "envlock.toml")
    locks = [read_lock(path) for path in lock_files(project.lock_folder)]
    store = open_cache(project)
    for each in locks[:1]:
        Environments(store).write(each)
    assert all(set(each["pushed"].values()) == {None} for each in listed(capsys).values())
    online = listed(capsys, "--online")
    assert sum(value is True for each in online.values() for value in each["pushed"].values()) == 1
    _Push(project, store, Reporter(), 1).remember(locks)
    assert all(set(each["pushed"].values()) == {True} for each in listed(capsys).values())


def test_a_cache_that_cannot_be_known_hides_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(folder, "channels = []\n", 'channels = []\ncache = "s3://${NOT_SET}/x"\n')
    assert listed(capsys)["vision"]["pushed"] == {"linux-64": None, "osx-arm64": None}
    assert main(["list", "--online"]) == 2
    assert "error[unset-variable]" in capsys.readouterr().err


def test_what_is_on_this_machine_is_listed_with_its_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = [each for each in (folder / "envlock.lock/linux-64").glob("*/*") if "photos" in each.read_text()]
    lock, python = read_lock(path), Path(sys.executable)
    prefix = prefix_of(lock, home())
    prefix.mkdir(parents=True, mode=0o700)
    (prefix / "module.py").write_bytes(b"x" * 100_000)
    write_receipt(prefix, Receipt(lock.req_id, lock.full_id, lock.arch, str(python), "3.12.0", signature(python)))
    found = listed(capsys)["vision"]
    assert found["locally_present_as"] == str(prefix)
    assert found["prefix_bytes"] >= 100_000
    assert listed(capsys)["Train/start"]["locally_present_as"] is None
    (prefix / RECEIPT).unlink()
    assert listed(capsys)["vision"]["locally_present_as"] is None, "one that is not whole"


# Of several projects.


def test_every_project_below_a_folder_and_an_error_hides_no_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "second")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/envlock.toml").write_text("[env.x]\npypi = 3\n")
    for hidden in (".hidden", "node_modules"):
        shutil.copytree(folder, tmp_path / hidden)
    shutil.copytree(folder, tmp_path / "my-env")
    (tmp_path / "my-env/pyvenv.cfg").write_text("")
    assert main(["list", "--all", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    heads = [line for line in out.splitlines() if line.endswith("envlock.toml")]
    assert heads == [str(tmp_path / name / "envlock.toml") for name in ("broken", "project", "second")]
    assert out.count("Train/start") == 2
    assert "error[" in err
    assert main(["list", "--all", str(tmp_path), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)["projects"]
    assert [each["error"] is None for each in found] == [False, True, True]


def test_what_git_ignores_is_no_project(folder: Path, tmp_path: Path) -> None:
    for name in ("kept", "ignored"):
        (tmp_path / "tree" / name).mkdir(parents=True)
        (tmp_path / "tree" / name / "envlock.toml").write_text("")
    (tmp_path / "tree/.gitignore").write_text("ignored\n")
    subprocess.run(["git", "init", "-q", str(tmp_path / "tree")], check=True)
    kept = tmp_path / "tree/kept/envlock.toml"
    assert config_files(tmp_path) == [folder / "envlock.toml", kept], "a work tree below the folder"
    assert config_files(tmp_path / "tree") == [kept]


@pytest.mark.parametrize("arguments", [("x",), ("--all", "--config", "x"), ("--all", "no-such-folder")])
def test_wrong_use_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    assert main(["list", *arguments]) == 2
    assert "error[usage]" in capsys.readouterr().err
