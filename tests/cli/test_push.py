"""`envlock push` and `envlock cache`, whole: what they print, and how they exit."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.cli.alias import given_notes
from envlock.config.project import Project
from envlock.model.lock import LockedPython
from envlock.named.give import GiveResult
from envlock.named.move import Move
from envlock.remote.kit import NoKit
from envlock.words import short_hashes
from envlock.workflow.push import PushResult
from envlock.workflow.push_plans import PlansPushed
from tests.cache.locks import locked_project
from tests.conftest import Envlock
from tests.hydration.making import SERIES
from tests.index import CATALOGUE, Index
from tests.remote.kits import KIT_RELEASES, python_mirror

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"
ARCHS = ("linux-64", "osx-arm64")


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def locked(tmp_path: Path, own: Index) -> Project:
    return locked_project(tmp_path / "project", own, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=ARCHS)


def cached(tmp_path: Path, filename: str) -> Path:
    (path,) = (tmp_path / "cache" / "packages").rglob(filename)
    return path


def test_push_twice(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    first = envlock("push")
    size = sum(path.stat().st_size for path in (tmp_path / "cache" / "packages").rglob("*.whl"))
    assert first.stdout == f"pushed 4 packages ({size / 1000:.1f} kB) and 4 environments to {tmp_path}/cache\n"
    second = envlock("push")
    assert second.stdout == f"nothing to push: 4 packages and 4 environments are already in {tmp_path}/cache\n"
    assert second.stderr.startswith("note: 4 packages were in the cache already (same name and size) and were not read")
    assert "push --verify" in second.stderr
    assert envlock("push", "--verify").stderr == ""


def test_what_was_damaged_is_told(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    envlock("push")
    package = next((tmp_path / "cache" / "packages").rglob("*.whl"))
    os.truncate(package, 3)
    ran = envlock("push")
    assert ran.stdout.startswith("pushed 1 package (")
    assert f"warning: damaged in the cache, and replaced: 1 file ({package.name})" in ran.stderr
    assert "3 packages were in the cache already" in ran.stderr


def test_push_json(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    answer = envlock("push", "--json", "--env", "two", "--arch", "linux-64").json
    assert answer.pop("moved_bytes") > 0
    assert answer == {
        "cache": f"{tmp_path}/cache",
        "packages": 2,
        "moved": 2,
        "environments": 1,
        "written": 1,
        "withheld": [],
        "collisions": [],
        "damaged": [],
        "unread": 0,
        "plans": 0,
        "plans_written": 0,
        "kits": 0,
        "kits_moved": 0,
        "kits_moved_bytes": 0,
        "without_plan": [],
        "plan_errors": [],
        "plan_warnings": [],
        "packs": 0,
        "packs_made": 0,
        "parts": 0,
        "parts_moved": 0,
        "parts_moved_bytes": 0,
        "without_pack": [],
        "pack_errors": [],
        "errors": [],
    }
    again = envlock("push", "--json", "--env", "two", "--arch", "linux-64").json
    assert (again["moved"], again["moved_bytes"], again["written"]) == (0, 0, 0)


def test_a_push_of_plans(tmp_path: Path, make_index: Callable[..., Index], envlock: Envlock) -> None:
    own = make_index(*CATALOGUE, *KIT_RELEASES)
    with python_mirror(tmp_path / "mirror", "3.12") as mirror:
        settings = f'cache = "../cache"\nremote = true\npython-mirror = "{mirror.url}"'
        locked_project(tmp_path / "project", own, {"one": [ALPHA]}, archs=ARCHS, settings=settings)
        first = envlock("push")
        assert re.fullmatch(
            r"pushed 1 package \(925 bytes\), 2 environments and 1 plan \(kits: 2 files, [\d.]+ kB\) to .*\n",
            first.stdout,
        )
        second = envlock("push")
        assert second.stdout.startswith("nothing to push: 1 package, 2 environments and 1 plan are already in ")
        answer = envlock("push", "--json").json
    assert (answer["plans"], answer["plans_written"], answer["kits"], answer["kits_moved"]) == (1, 0, 2, 0)
    assert (answer["without_plan"], answer["plan_errors"]) == ([], [])


def test_a_push_of_packs(tmp_path: Path, make_index: Callable[..., Index], envlock: Envlock) -> None:
    """Asked for by name, plans and packs are made for a folder too."""
    own = make_index(*CATALOGUE, *KIT_RELEASES)
    python = LockedPython(source="machine", version=f"{SERIES}.0")
    with python_mirror(tmp_path / "mirror", SERIES) as mirror:
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"'
        project = locked_project(
            tmp_path / "project", own, {"one": [ALPHA]}, archs=ARCHS, settings=settings, python=python
        )
        would = envlock("push", "--pack", "--dry-run")
        assert "1 plan (kits: 3 files, " in would.stdout
        assert would.stdout.endswith(f" and 1 pack to {tmp_path}/cache\n")
        first = envlock("push", "--pack")
        assert re.search(r"1 plan \(kits: 3 files, [\d.]+ kB\) and 1 pack \(1 part, \d+ bytes\) to ", first.stdout)
        second = envlock("push", "--pack")
        assert second.stdout.startswith("nothing to push: 1 package, 2 environments, 1 plan and 1 pack are already in ")
        answer = envlock("push", "--pack", "--json").json
        assert (answer["packs"], answer["packs_made"], answer["parts"], answer["parts_moved"]) == (1, 0, 1, 0)
        assert (answer["without_pack"], answer["pack_errors"], answer["parts_moved_bytes"]) == ([], [], 0)
        project.path.write_text(project.path.read_text().replace("[envlock]", "[envlock]\nremote = false"))
        assert "error[usage]" in envlock("push", "--pack", check=2).stderr
    assert "error[usage]" in envlock("push", "--pack", "--no-pack", check=2).stderr


def test_a_push_that_can_make_no_plan(tmp_path: Path, own: Index, envlock: Envlock) -> None:
    """Where plans were asked for by name, that is a failure; everything else is in the cache all the same."""
    settings = 'cache = "../cache"\nremote = true'
    locked_project(tmp_path / "project", own, {"one": [ALPHA]}, archs=ARCHS, settings=settings)
    ran = envlock("push", check=4)
    assert ran.stdout.startswith("pushed 1 package (")
    assert "2 environments and 0 plans" in ran.stdout
    assert "no plan for remote steps: one on linux-64\n" in ran.stderr
    assert "error[no-kit]: no kit for remote steps on linux-64: no wheel of uv" in ran.stderr
    assert ran.stderr.rstrip().endswith("set `remote = false` in envlock.toml")
    answer = envlock("push", "--json", check=4).json
    assert [error["code"] for error in answer["errors"]] == ["no-kit"]
    assert answer["without_plan"] == ["one on linux-64"]


def test_an_alias_says_what_its_push_could_not_get() -> None:
    why = NoKit("linux-64", "no wheel of uv 1.0 can be got", None, "add it")
    plans = PlansPushed(plans=1, without=("one on linux-64",), errors=(why,))
    pushed = PushResult("s3://team/x", packages=1, moved=1, moved_bytes=9, environments=1, written=1, plans=plans)
    move = Move("team/base", "v1", 1, "0" * 40, (), "mia", "2026-11-01T00:00:00Z", "base")
    notes = list(given_notes(GiveResult(move, None, "s3://team/x", pushed)))
    assert notes[0].startswith("pushed 1 package (9 bytes), 1 environment and 0 plans to s3://team/x")
    assert notes[1].startswith("warning: no kit for remote steps on linux-64: no wheel of uv 1.0 can be got; add it; ")
    assert notes[2] == "no plan for remote steps: one on linux-64"


def test_a_push_that_fails_in_part(locked: Project, envlock: Envlock, own: Index, tmp_path: Path) -> None:
    own.tamper(LAM)
    ran = envlock("push", check=3)
    assert ran.stdout.startswith("pushed 3 packages (")
    assert ran.stdout.endswith(f" and 2 environments to {tmp_path}/cache, of 4 packages and 4 environments\n")
    assert "not pushed, because a package is missing: two on linux-64\n" in ran.stderr
    assert f"error[upstream-hash-mismatch]: {LAM} from 127.0.0.1 is not the locked file" in ran.stderr
    assert ran.stderr.rstrip().endswith("`envlock lock --upgrade-package lam`")
    answer = envlock("push", "--json", check=3).json
    assert [error["code"] for error in answer["errors"]] == ["upstream-hash-mismatch"]
    assert answer["withheld"] == ["two on linux-64", "two on osx-arm64"]


def test_a_push_of_stale_locks(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    locked.path.write_text(locked.path.read_text().replace('two = "1', 'two = "2'))
    ran = envlock("push", check=1)
    assert "hint: envlock lock" in ran.stderr
    assert not (tmp_path / "cache").exists()


def test_an_unknown_environment(locked: Project, envlock: Envlock) -> None:
    assert "did you mean `one`?" in envlock("push", "--env", "on", check=2).stderr


def test_ls(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    empty = envlock("cache", "ls")
    assert empty.stdout == ""
    assert "cache is empty" in empty.stderr
    envlock("push")
    lines = envlock("cache", "ls").stdout.splitlines()
    assert lines[0].split() == ["environment", "arch", "identity", "python", "packages", "size"]
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines[1:5]]
    assert sorted((name, arch, python, count) for name, arch, _, python, count, _ in rows) == [
        (name, arch, "3.12", "2") for name in ("one", "two") for arch in ARCHS
    ]
    assert all(re.fullmatch(r"[0-9a-f]{12}:[0-9a-f]{12}", row[2]) for row in rows)
    assert re.fullmatch(rf"4 environments and 4 packages \([0-9.]+ kB\) in {tmp_path}/cache", lines[6])


def test_ls_json(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    envlock("push")
    cached(tmp_path, LAM).unlink()
    answer = envlock("cache", "ls", "--json").json
    assert (answer["packages"], len(answer["environments"])) == (3, 4)
    two = next(each for each in answer["environments"] if each["asked_by"] == ["two"])
    assert two["identity"] == f"{two['req_id']}:{two['full_id']}"
    assert (two["packages"], two["missing"], two["error"]) == (2, [LAM], None)
    assert "cache verify" in envlock("cache", "ls").stdout


def test_verify_and_repair(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    envlock("push")
    assert envlock("cache", "verify").stdout.startswith("verified 4 packages (")
    wheel = cached(tmp_path, ALPHA)
    data = wheel.read_bytes()
    wheel.write_bytes(data[:-1] + b"?")
    cached(tmp_path, LAM).unlink()
    ran = envlock("cache", "verify", check=3)
    path = short_hashes(str(wheel.relative_to(tmp_path / "cache")))
    assert f"damaged-package: {path}\n  its bytes hash to " in ran.stdout
    assert re.search(r"needed by \w+(, \w+)* \([0-9a-f]{12}:[0-9a-f]{12} on [a-z0-9-]+\)", ran.stdout)
    assert "missing-package: packages/" in ran.stdout
    assert ran.stdout.endswith("2 findings\nrepair: envlock cache verify --repair\n")
    answer = envlock("cache", "verify", "--json", check=3).json
    assert [finding["verdict"] for finding in answer["findings"]] == ["damaged-package", "missing-package"]
    assert (answer["exit_status"], answer["errors"]) == (3, [])
    assert envlock("cache", "verify", "--repair").stdout.endswith("2 findings, all repaired\n")
    assert wheel.read_bytes() == data
    assert envlock("cache", "verify", "--json").json["findings"] == []


def test_a_repair_that_fails(locked: Project, envlock: Envlock, own: Index, tmp_path: Path) -> None:
    envlock("push")
    cached(tmp_path, ALPHA).unlink()
    own.fail("files/*", status=404)
    ran = envlock("cache", "verify", "--repair", check=3)
    assert "1 finding, 1 not repaired" in ran.stdout
    assert "error[upstream-missing]" in ran.stderr


def test_an_empty_cache_is_not_called_undamaged(locked: Project, envlock: Envlock) -> None:
    said = envlock("cache", "verify").stdout
    assert "is empty" in said
    assert "envlock push" in said
    assert "damaged" not in said


def test_a_cache_of_a_newer_format(locked: Project, envlock: Envlock, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "CACHE.json").write_text('{"format": 2}')
    for command in (("push",), ("cache", "ls"), ("cache", "verify")):
        assert "error[newer-cache]" in envlock(*command, check=2).stderr


def test_looking_writes_nothing(locked: Project, watched: Envlock, envlock: Envlock, tmp_path: Path) -> None:
    envlock("push")
    for command in (("cache", "ls"), ("cache", "verify")):
        effects = watched(*command).effects
        assert [effect for effect in effects if effect.startswith(("write", "talk", "start"))] == []
