"""What `lock` prints: a line for each group of environments that are alike, a table of what moved, and `git add`."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.cli.lock_text import as_text, git_add
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.model.arch import Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.workflow.locking.jobs import Locked, LockResult

LINUX: Arch = "linux-64"
MAC: Arch = "osx-arm64"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "envlock.toml").write_text('[env.base.pypi]\npackages = { alpha = "" }\n')
    return load_project(tmp_path / "envlock.toml")


def lock(arch: Arch, *packages: str, python: str = "3.12.0") -> Lock:
    """A lock of packages such as `alpha 1.0`; `alpha` is required."""
    made = []
    for text in packages:
        name, version = text.split()
        filename = f"{name}-{version}-py3-none-any.whl"
        digest = f"{hash((name, version, arch)) & (1 << 64) - 1:064x}"
        made.append(LockedPackage(name, version, filename, f"https://files.example/{filename}", digest))
    return Lock(arch, Requirements(pypi=(parse_requirement("alpha"),)), LockedPython("machine", python), tuple(made))


def locked(names: str, before: Lock | None, after: Lock, *notes: str) -> Locked:
    return Locked(tuple(names.split()), after, Path(f"{names}.{after.arch}"), after.arch, "locked", before, notes)


def text_of(project: Project, *each: Locked, dry_run: bool = False) -> list[str]:
    return as_text(project, LockResult(each, (), ()), dry_run=dry_run).splitlines()


def test_environments_and_archs_with_the_same_change_share_a_line_and_a_row(project: Project) -> None:
    old, new = ("alpha 1.0", "beta 1.0"), ("alpha 2.0", "beta 1.0")
    changed = [
        locked(names, lock(arch, *old), lock(arch, *new)) for names in ("one", "two three") for arch in (LINUX, MAC)
    ]
    assert text_of(project, *changed) == [
        "locked one, two, three on linux-64, osx-arm64: 1 upgraded, 1 the same",
        "",
        "package  from  to   change",
        "alpha    1.0   2.0  upgraded",
        "",
        "4 locks: 4 written, 0 up to date",
    ]


def test_a_change_names_environments_and_archs_where_not_all_have_it(project: Project) -> None:
    lines = text_of(
        project,
        locked("one", lock(LINUX, "alpha 1.0"), lock(LINUX, "alpha 2.0", "gamma 1.0")),
        locked("one", lock(MAC, "alpha 1.0"), lock(MAC, "alpha 2.0")),
        locked("two", lock(LINUX, "alpha 1.0", "beta 2.0"), lock(LINUX, "alpha 2.0", "beta 1.0", python="3.13.0")),
    )
    assert lines[:2] == [
        "locked one on linux-64, osx-arm64: 1 added, 1 upgraded",
        "locked two on linux-64: 2 upgraded, 1 downgraded",
    ]
    assert lines[3:8] == [
        "package  from  to    change      environments  archs",
        "Python   3.12  3.13  upgraded    two",
        "alpha    1.0   2.0   upgraded    one, two",
        "beta     2.0   1.0   downgraded  two",
        "gamma          1.0   added       one           linux-64",
    ]


def test_what_is_new_is_counted_and_not_listed(project: Project) -> None:
    lines = text_of(
        project,
        locked("one", None, lock(LINUX, "alpha 1.0"), "alpha 2.0 has no wheel for linux-64"),
        locked("one", None, lock(MAC, "alpha 2.0", "beta 1.0")),
        locked("two", None, lock(LINUX, "beta 1.0")),
    )
    assert lines == [
        "locked one on linux-64: 1 package, CPython 3.12",
        "  note: alpha 2.0 has no wheel for linux-64",
        "locked one on osx-arm64: 2 packages, CPython 3.12",
        "locked two on linux-64: 1 package, CPython 3.12",
        "3 locks: 3 written, 0 up to date",
    ]


def test_a_long_table_is_cut(project: Project) -> None:
    old, new = (lock(LINUX, *(f"p{number:03} {version}" for number in range(80))) for version in ("1.0", "2.0"))
    lines = text_of(project, locked("one", old, new))
    assert len(lines) == 66
    assert lines[63] == "and 20 more: `envlock diff` lists all"


def test_many_environments_are_counted(project: Project) -> None:
    many = " ".join(f"Flow/step{number}" for number in range(20))
    old, new = lock(LINUX, "alpha 1.0"), lock(LINUX, "alpha 2.0")
    lines = text_of(project, locked(many, old, new), locked("other", old, lock(LINUX, "alpha 2.0", "beta 1.0")))
    assert lines[0] == f"locked {', '.join(many.split()[:8])} and 12 more on linux-64: 1 upgraded"
    assert lines[4].split("upgraded  ")[1] == "Flow/step0, Flow/step1, Flow/step2 and 18 more"


def test_a_dry_run_says_what_would_be(project: Project) -> None:
    lines = text_of(project, locked("one", lock(LINUX, "alpha 1.0"), lock(LINUX, "alpha 2.0")), dry_run=True)
    assert lines[0] == "would lock one on linux-64: 1 upgraded"
    assert lines[-1] == "1 lock: 1 to write, 0 up to date (dry run: nothing was written)"


def test_git_is_told_of_the_locks_from_the_working_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_add(project) == ""
    (tmp_path / ".git").mkdir()
    assert git_add(project) == "git add envlock.lock"
    assert git_add(project, also=["envlock.toml"]) == "git add envlock.toml envlock.lock"
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path / "a b")
    assert git_add(project) == "git add ../envlock.lock"
    (tmp_path / "envlock.toml").rename(tmp_path / "a b" / "envlock.toml")
    assert git_add(load_project(Path("envlock.toml"))) == "git add envlock.lock"
