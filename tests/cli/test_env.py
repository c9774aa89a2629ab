"""`envlock env`: what is on this machine, and what goes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from envlock.cli.env import environments_document, sweep_document, sweep_lines
from envlock.model.arch import host_arch
from envlock.places import home
from envlock.workflow.machine.environments import find_environments, with_sizes
from envlock.workflow.machine.gc import collect
from envlock.workflow.machine.gc_values import limits_of
from tests.conftest import Envlock, ProjectFolder
from tests.hydration.making import SERIES
from tests.workflow.machine.homes import MadeUpProject, make_prefix, name_of


def test_a_project_is_listed_with_what_needs_its_environments(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    old = envlock("create", "--name", "jup").stdout.strip()
    project.write_env("alpha==1.0", python=SERIES, archs=[host_arch()])
    envlock("lock")
    new = envlock("path").stdout.strip()
    document = json.loads(envlock("env", "ls", "--json").stdout)
    found = {each["prefix"]: each for each in document["environments"]}
    assert set(found) == {old, new}
    for each in found.values():
        assert (each["asked_by"], each["projects"]) == (["demo"], [str(project.folder)])
        assert (each["arch"], each["whole"], each["in_use"]) == (host_arch(), True, False)
        assert each["python"].startswith(SERIES)
        assert each["own_bytes"] > 0
        assert each["files"] > 3
    assert found[new]["needed_by"] == [{"kind": "project", "what": str(project.folder)}]
    assert found[old]["needed_by"] == [{"kind": "name", "what": "jup"}]
    table = envlock("env", "ls").stdout
    assert [line.split()[0] for line in table.splitlines()[:3]] == ["environment", "demo", "demo"]
    os.unlink(home() / "named" / "jup")  # noqa: PTH108
    ran = envlock("env", "gc", "--keep", "0", "--json")
    assert json.loads(ran.stdout)["going"] == [], "a minute has not passed"


def test_run_makes_again_what_gc_took(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    prefix = Path(envlock("path").stdout.strip())
    note = home() / "kept" / f"environments-{prefix.name}"
    os.utime(note, (1000, 1000))
    ran = envlock("env", "gc", "--size", "0", "--delete", "--json")
    assert [each["path"] for each in json.loads(ran.stdout)["going"]] == [str(prefix)]
    assert not prefix.exists()
    assert envlock("run", "--", "python", "-c", "import alpha; print(alpha.__file__)").stdout.startswith(str(prefix))
    assert note.stat().st_mtime > 1000


def test_a_name_whose_prefix_was_collected_says_what_to_do(project: ProjectFolder, envlock: Envlock) -> None:
    project.write_env("alpha==1.1", python=SERIES, archs=[host_arch()])
    envlock("lock")
    prefix = Path(envlock("create", "--name", "jup").stdout.strip())
    prefix.rename(prefix.with_name("elsewhere"))
    ran = envlock("env", "ls")
    assert "envlock sync" in ran.stderr
    assert "named/jup" in ran.stderr or "`jup`" in ran.stderr
    missing = json.loads(envlock("env", "ls", "--json").stdout)["missing"]
    assert missing == [{"kind": "name", "what": "jup", "prefix": str(prefix)}]


def test_the_report_tells_what_is_freed_by_kind_and_what_is_kept_why(tmp_path: Path) -> None:
    make_prefix(1, size=100_000), make_prefix(2), make_prefix(3, days=1), make_prefix(4, whole=False)
    MadeUpProject(tmp_path / "flows").is_known(1, "Train/start").lock_for(2, "Train/start")
    limits = limits_of()
    swept = collect(limits, delete=True)
    text = "\n".join(sweep_lines(swept, deleted=True))
    assert "environments: 2, " in text
    assert "Train/start, " in text
    assert "3 months ago" in text
    assert "kept: 2 environments, 1 by projects, 1 by recent runs" in text
    assert "freed " in text
    document = sweep_document(swept, limits, deleted=True)
    assert document["deleted"] is True
    assert document["kinds"] == {"environment": {"count": 2, "bytes": swept.frees}}
    json.dumps(document)


def test_sizes_are_remembered_until_something_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = make_prefix(1, size=100_000)

    def size() -> tuple[object, object]:
        (each,) = environments_document(with_sizes(find_environments()))["environments"]  # type: ignore[attr-defined]
        return each["own_bytes"], each["shared_bytes"]

    own, shared = size()
    assert (own > 100_000, shared) == (True, 0)  # type: ignore[operator]
    with monkeypatch.context() as patch:
        patch.setattr("envlock.workflow.machine.sizes.walk", None)
        assert size() == (own, 0)
    (tmp_path / "link").hardlink_to(prefix / "own.txt")
    changed = size()
    assert changed[1] >= 100_000, "its largest file is shared now"  # type: ignore[operator]
    (tmp_path / "link").unlink()
    assert size() == (own, 0)
    make_again = prefix / ".envlock.json"
    make_again.write_text(make_again.read_text() + " ")
    (prefix / "more.txt").write_bytes(b"x" * 50_000)
    assert size()[0] > own + 40_000  # type: ignore[operator]


def test_gc_has_a_dry_run_by_name_too(envlock: Envlock) -> None:
    make_prefix(1)
    assert name_of(1) in envlock("env", "gc", "--dry-run", "--json", cwd=Path("/")).stdout
    ran = envlock("env", "gc", "--dry-run", "--delete", cwd=Path("/"), check=2)
    assert "exclude each other" in ran.stderr
    assert (home() / "environments" / name_of(1)).exists()
