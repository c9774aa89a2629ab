"""`envlock verify`, and `create --rebuild`, which repairs what it finds."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from envlock.model.arch import host_arch
from envlock.places import home
from tests.channel import Channel
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock, snapshot

SERIES = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, index: Index, channel: Channel, shared_uv_cache: Path) -> Path:
    """A flow with two environments of wheels, and a mixed one beside; locked, the cache filled."""
    project = ProjectFolder.make(tmp_path_factory.mktemp("locked") / "project", index.url)
    project.write_flow("DemoFlow", steps=("start", "train", "end"))
    series = channel.series[0]
    project.write(
        f"""
[flow.DemoFlow]
file = "demoflow.py"
pypi = {{ python = "{SERIES}", packages = {{ alpha = "1.0", lam = "" }} }}
[flow.DemoFlow.step.train]
pypi = {{ packages = {{ lam = "", alpha = "1.1" }} }}
[env.both]
conda = {{ python = "{series}", channels = ["conda-forge"], libraries = {{ speak = "", activates = "" }} }}
pypi = {{ packages = {{ alpha = "1.0" }} }}
""",
        archs=[host_arch()],
    )
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        os.environ["ENVLOCK_CHANNEL_MIRRORS"] = channel.mirrors
        run_envlock("lock", cwd=project.folder)
        run_envlock("push", cwd=project.folder)
    return project.folder


@pytest.fixture
def project(tmp_path: Path, locked: Path, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    # A test that damages files must not share them with other tests: prefixes are hard links into uv's cache.
    monkeypatch.setenv("UV_CACHE_DIR", str(isolated / "uv-cache"))
    shutil.copytree(locked, tmp_path / "project")
    return ProjectFolder(tmp_path / "project", "")


def site_of(prefix: Path) -> Path:
    (site,) = prefix.glob("lib/python*/site-packages")
    return site


def damage(path: Path) -> None:
    """Change a file in place, as an editor may: whoever shares the bytes has them too."""
    with path.open("ab") as file:
        file.write(b"# changed\n")


def test_nothing_is_on_this_machine(project: ProjectFolder, envlock: Envlock) -> None:
    ran = envlock("verify")
    assert ran.stdout == "nothing to verify: no environment is on this machine\n"
    assert ran.stderr == "note: not on this machine: DemoFlow/start, DemoFlow/end, DemoFlow/train, both\n"
    assert envlock("verify", "--json").json == {
        "exit_status": 0,
        "environments": [],
        "absent": ["DemoFlow/start", "DemoFlow/end", "DemoFlow/train", "both"],
        "unlocked": [],
    }
    assert not home().exists()


def test_all_is_as_it_was_installed(project: ProjectFolder, envlock: Envlock) -> None:
    for chosen in (("--step", "start"), ("--step", "train"), ("--env", "both")):
        envlock("path", *chosen)
    prefixes = snapshot(home() / "environments")
    ran = envlock("verify")
    assert ran.stdout.startswith("as installed: ")
    assert ran.stdout.endswith(" files in 3 environments\n")
    assert all(line.startswith("verify") for line in ran.stderr.splitlines()), "nothing but how far it is"
    assert snapshot(home() / "environments") == prefixes
    (chosen,) = envlock("verify", "--flow", "DemoFlow", "--step", "end", "--json").json["environments"]
    assert chosen["names"] == ["DemoFlow/end"]
    assert (chosen["findings"], chosen["repair"]) == ([], None)


def test_damage_is_reported_and_repaired(project: ProjectFolder, envlock: Envlock) -> None:
    prefix = Path(envlock("path", "--env", "both").stdout.strip())
    damage(prefix / "share" / "activates" / "note.txt")
    damage(site_of(prefix) / "alpha" / "__init__.py")
    (prefix / "bin" / "speak").unlink()
    ran = envlock("verify", check=3)
    site = site_of(prefix).relative_to(prefix)
    assert ran.stdout.splitlines() == [
        "damaged: both",
        f"  at {prefix}",
        "  activates 1.0 0 (conda)",
        "    changed share/activates/note.txt",
        "  alpha 1.0 (wheel)",
        f"    changed {site}/alpha/__init__.py",
        "  speak 1.1 py_0 (conda)",
        "    missing bin/speak",
        "  repair: envlock create --env both --rebuild",
        "",
        *ran.stdout.splitlines()[10:],
    ]
    assert ran.stdout.splitlines()[-1].endswith(" files in 1 environment: 3 findings in 1")
    found = envlock("verify", "--env", "both", "--json", check=3).json
    (environment,) = found["environments"]
    assert found["exit_status"] == 3
    assert environment["prefix"] == str(prefix)
    assert environment["repair"] == "envlock create --env both --rebuild"
    assert [each["verdict"] for each in environment["findings"]] == ["changed", "changed", "missing"]
    assert environment["findings"][0]["package"] == {
        "name": "activates",
        "version": "1.0",
        "build": "0",
        "kind": "conda",
    }
    assert "installed was" in environment["findings"][0]["reason"]
    assert envlock("create", "--env", "both", "--rebuild").stdout == f"{prefix}\n"
    assert envlock("verify", "--env", "both").stdout.startswith("as installed: ")
    assert envlock("run", "--env", "both", "--", "speak").status == 0


def test_wheels_that_uv_shares_are_repaired_too(project: ProjectFolder, envlock: Envlock) -> None:
    prefix = Path(envlock("path", "--step", "start").stdout.strip())
    damage(site_of(prefix) / "alpha" / "__init__.py")
    ran = envlock("verify", check=3)
    assert "damaged: DemoFlow/start, DemoFlow/end\n" in ran.stdout
    assert "repair: envlock create --flow DemoFlow --step start --rebuild\n" in ran.stdout
    envlock("create", "--flow", "DemoFlow", "--step", "start", "--rebuild", "--offline")
    assert envlock("verify", "--step", "start").status == 0
    assert envlock("path", "--step", "start").stdout == f"{prefix}\n"


@pytest.mark.parametrize("made", ["of wheels", "of both kinds"])
def test_what_is_made_later_has_no_part_in_what_was_repaired(
    project: ProjectFolder, envlock: Envlock, made: str
) -> None:
    """uv links what it unpacked once into every environment, so that an edit is in all that are made since."""
    wheels, both = ("--flow", "DemoFlow", "--step", "start"), ("--env", "both")
    edited, later = (wheels, both) if made == "of wheels" else (both, wheels)
    prefix = Path(envlock("path", *edited).stdout.strip())
    module = site_of(prefix) / "alpha" / "__init__.py"
    whole = module.read_bytes()
    damage(module)
    envlock("create", *edited, "--rebuild", "--offline")
    assert module.read_bytes() == whole
    after = Path(envlock("path", *later).stdout.strip())
    assert (site_of(after) / "alpha" / "__init__.py").read_bytes() == whole
    assert envlock("verify").status == 0


def test_packages_that_were_put_there_by_hand(project: ProjectFolder, envlock: Envlock) -> None:
    prefix = Path(envlock("path", "--step", "train").stdout.strip())
    (site_of(prefix) / "odd.py").write_text("")
    assert envlock("verify", "--step", "train").status == 0
    ran = envlock("verify", "--step", "train", "--unexpected", check=3)
    assert "  in no package\n    unexpected lib/" in ran.stdout
    for number in range(20):
        (site_of(prefix) / f"odd_{number}.py").write_text("")
    ran = envlock("verify", "--step", "train", "--unexpected", check=3)
    assert "    unexpected and 16 more\n" in ran.stdout


def test_what_is_not_locked_is_not_looked_at(project: ProjectFolder, envlock: Envlock) -> None:
    envlock("path", "--env", "both")
    project.edit('alpha = "1.1"', 'alpha = "1.2"')
    ran = envlock("verify")
    assert "as installed" in ran.stdout
    assert "note: not locked, so not verified (see `envlock check`): DemoFlow/train\n" in ran.stderr


def test_a_lock_that_is_damaged_is_reported(project: ProjectFolder, envlock: Envlock) -> None:
    damaged = project.locks[0]
    damaged.write_text(damaged.read_text().replace('version = "1.', 'version = "9.', 1))
    said = envlock("verify", check=3).stderr
    assert "error[damaged-lock]" in said
    assert f"  at {damaged.relative_to(project.folder)}\n" in said


def test_a_wrong_choice_is_reported(project: ProjectFolder, envlock: Envlock) -> None:
    assert "error[no-such-selection]" in envlock("verify", "--env", "bth", check=2).stderr
    assert "error[usage]" in envlock("verify", "--nope", check=2).stderr


def test_rebuilding_what_is_not_there_makes_it(project: ProjectFolder, envlock: Envlock) -> None:
    prefix = envlock("create", "--step", "train", "--rebuild", "--name", "n").stdout
    assert envlock("path", "--step", "train", "--no-hydrate").stdout == prefix
    inode = Path(prefix.strip()).stat().st_ino
    envlock("create", "--step", "train")
    assert Path(prefix.strip()).stat().st_ino == inode
    envlock("create", "--step", "train", "--rebuild")
    assert Path(prefix.strip()).stat().st_ino != inode
    assert envlock("run", "--name", "n", "--", "lam").stdout == "lam 1.0\n"
