"""`--dry-run`: nothing at all is written, and the exit status is the one of the real command."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.cli.options import DRY_RUN, JSON
from tests.cli.test_command import commands
from tests.index import Index
from tests.support import ProjectFolder, isolation

ARCHS = ["linux-64", "osx-arm64"]
FLOW = """\
from metaflow import FlowSpec, pypi_base, step

@pypi_base(python="3.12", packages={"alpha": "1.1"})
class OldFlow(FlowSpec):
    @step
    def start(self): self.next(self.end)
    @step
    def end(self): pass
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, index: Index, shared_uv_cache: Path) -> Iterator[Path]:
    """A folder with a project, its cache with aliases, and the home of this machine."""
    root = tmp_path_factory.mktemp("dry")
    with isolation(root / "user", shared_uv_cache):
        os.environ["ENVLOCK_HOME"] = str(root / "home")
        project = ProjectFolder.make(root / "project", index.url)
        tables = "".join(
            f'[env.{name}.pypi]\npython = "3.12"\n[env.{name}.pypi.packages]\n"{package}" = ""\n'
            for name, package in (("base", "alpha"), ("other", "beta"))
        )
        project.write(tables, settings='cache = "../cache"', archs=ARCHS)
        before = Path.cwd()
        os.chdir(project.folder)
        for words in (
            ["lock"],
            ["push"],
            ["alias", "team/base:v1", "--env", "base"],
            ["alias", "team/base:stable", "--env", "base"],
            ["alias", "team/base:stable", "--env", "other"],
            ["alias", "team/base:candidate", "--env", "base"],
        ):
            assert main(["-q", *words]) == 0, words
        (name,) = [each for each in index.filenames("alpha") if each.startswith("alpha-1.1-")]
        pinned = f"-i {index.url}\nalpha==1.1 --hash=sha256:{index.artifact(name).sha256}\n"
        (project.folder / "pinned.txt").write_text(pinned)
        (project.folder / "loose.txt").write_text(f"-i {index.url}\nalpha\n")
        (project.folder / "flows").mkdir()
        (project.folder / "flows" / "old_flow.py").write_text(FLOW)
        yield root
        os.chdir(before)


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in whose project the test is."""
    folder = tmp_path / "root"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.setenv("ENVLOCK_HOME", str(folder / "home"))
    monkeypatch.chdir(folder / "project")
    return folder


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder, with its inode, its time of change, and its bytes."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(root.rglob("*"))
    }


def edit(root: Path, old: str, new: str) -> None:
    config = root / "project" / "envlock.toml"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new, 1))


def nothing(root: Path) -> None:
    pass


def change(root: Path) -> None:
    edit(root, '"alpha" = ""', '"alpha" = "<1.1"')


def impossible(root: Path) -> None:
    edit(root, '"alpha" = ""', '"alpha" = ">99"')


def without_cache(root: Path) -> None:
    shutil.rmtree(root / "cache")


def without_locks(root: Path) -> None:
    shutil.rmtree(root / "project" / "envlock.lock")


def without_other(root: Path) -> None:
    text = (root / "project" / "envlock.toml").read_text()
    (root / "project" / "envlock.toml").write_text(text[: text.index("[env.other")])


WRITE = [
    (change, ["lock"]),
    (without_other, ["lock"]),
    (without_locks, ["lock", "--env", "base", "--alias", "team/base:v3"]),
    (nothing, ["lock", "--env", "wide", "--using", "team/base:v1"]),
    (nothing, ["lock", "--env", "wide", "--from", "team/base:v1"]),
    (nothing, ["lock", "-r", "loose.txt", "--python", "3.12", "--output", "locks"]),
    (nothing, ["lock", "-r", "loose.txt", "--python", "3.12", "--alias", "team/new:v1", "--cache", "../cache"]),
    (without_cache, ["push"]),
    (nothing, ["alias", "team/base:v9", "--env", "base"]),
    (without_cache, ["alias", "team/base:v1", "--env", "other"]),
    (nothing, ["alias", "rollback", "team/base:stable"]),
    (nothing, ["alias", "promote", "team/base:candidate", "stable"]),
    (nothing, ["import", "pinned.txt", "--env", "mine", "--python", "3.12"]),
    (nothing, ["init", "flows/old_flow.py"]),
    (nothing, ["init", "--metaflow-default"]),
    (nothing, ["init", "--force", "--metaflow-default", "--schema"]),
    (nothing, ["init", "--vscode", "--env", "base"]),
    (nothing, ["add", "beta", "--env", "base"]),
    (nothing, ["remove", "alpha", "--env", "base"]),
    (without_locks, ["get", "team/base:v1"]),
    (change, ["get", "team/base:v1", "--into", "elsewhere"]),
    (nothing, ["migrate", "flows"]),
]
FAIL = [
    (impossible, ["lock"], 4),
    (nothing, ["lock", "--env", "base", "--alias", "team/base:v1", "--upgrade", "--config", "none"], 2),
    (change, ["push"], 1),
    (nothing, ["push", "--pack"], 4),  # this index has no kits
    (nothing, ["push", "--pack", "--no-pack"], 2),
    (nothing, ["alias", "team/base:v1", "--env", "other"], 2),
    (nothing, ["alias", "rollback", "team/base:v1"], 2),
    (nothing, ["alias", "promote", "team/none:v1", "stable"], 2),
    (nothing, ["add", "alpha=>1", "--env", "base"], 2),
    (nothing, ["remove", "zeta", "--env", "base"], 2),
    (change, ["get", "team/base:v1"], 2),
    (nothing, ["import", "pinned.txt", "--env", "base", "--python", "3.12"], 2),
]
Prepare = Callable[[Path], None]


def called(words: object) -> str:
    return " ".join(map(str, words)) if isinstance(words, list) else getattr(words, "__name__", str(words))


@pytest.mark.parametrize(("prepare", "words"), WRITE, ids=called)
def test_a_dry_run_writes_nothing_and_ends_as_the_real_one(
    root: Path, prepare: Prepare, words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root)
    before = tree(root)
    assert main([*words, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert tree(root) == before
    assert told.out
    assert main([*words, "--dry-run", "--json"]) == 0
    assert tree(root) == before
    document = json.loads(capsys.readouterr().out)
    assert document["dry_run"] is True
    assert main(list(words)) == 0
    assert tree(root) != before


@pytest.mark.parametrize(("prepare", "words", "status"), FAIL, ids=called)
def test_a_dry_run_fails_as_the_real_one(
    root: Path, prepare: Prepare, words: Sequence[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root)
    before = tree(root)
    assert main([*words, "--dry-run"]) == status
    assert tree(root) == before
    said = first_error(capsys.readouterr().err)
    assert main(list(words)) == status
    assert first_error(capsys.readouterr().err) == said


def first_error(told: str) -> str:
    """Its first line: before it, there may be how long things took."""
    return next(line for line in told.splitlines() if line.startswith("error["))


def test_what_a_dry_run_says_is_what_the_real_one_does(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(root)
    main(["lock", "--dry-run", "--json"])
    would = json.loads(capsys.readouterr().out)
    main(["lock", "--json"])
    did = json.loads(capsys.readouterr().out)
    assert would.pop("dry_run") is True
    assert would == did


_OTHERWISE = {
    "kernel remove": "removes the one kernel that it names",
    "cache gc": "lists what it would delete, without --delete",
    "cache verify": "finds without --repair what that repairs",
    "build": "puts wheels into the home, which are memos, and into the cache with --push",
    "export": "writes the one file that --output names",
    "schema": "writes the one file that --output names",
    "run": "runs another program",
    "shell": "runs another program",
    "path": "creates what is not here; --no-hydrate says whether it would",
}
"""Commands that write, and have no dry run: why."""
_READ = {
    *("alias log", "alias diff", "alias ls", "cache ls", "check", "config show", "diff", "doctor", "env ls", "help"),
    *("kernel ls", "list", "outdated", "show", "tree", "verify", "why"),
}


def test_every_command_that_writes_has_a_dry_run() -> None:
    for name, command in commands():
        has = DRY_RUN.name in {each.name for each in command.options}
        assert has != (" ".join(name) in _READ | _OTHERWISE.keys()), f"{name}: which is it?"


@pytest.mark.parametrize(
    ("prepare", "words", "places"),
    [
        (change, ["lock"], "envlock.lock"),
        (nothing, ["lock", "--env", "wide", "--using", "team/base:v1"], "envlock.toml envlock.lock"),
        (without_locks, ["get", "team/base:v1"], "envlock.lock"),
        (nothing, ["lock", "-r", "loose.txt", "--python", "3.12", "--alias", "team/new:v1"], ""),
        (nothing, ["import", "pinned.txt", "--env", "mine", "--python", "3.12"], "envlock.toml envlock.lock"),
    ],
    ids=called,
)
def test_what_writes_locks_names_the_one_git_add(
    root: Path, prepare: Prepare, words: Sequence[str], places: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root)
    (root / ".git").mkdir()
    assert main([*words, "--dry-run"]) == 0
    assert "git add" not in capsys.readouterr().err
    assert main(list(words)) == 0
    assert ("hint: git add" in (told := capsys.readouterr().err)) == bool(places)
    assert f"hint: git add {places}\n" in told or not places
    assert main(["lock"]) == 0
    capsys.readouterr()
    assert main(["lock"]) == 0
    assert "git add" not in capsys.readouterr().err


def documented_keys() -> dict[str, set[str]]:
    """The keys of each command's document, as the reference page has them."""
    page = (Path(__file__).parents[2] / "docs/reference/output.md").read_text(encoding="utf-8")
    table = page.partition("| Command | Keys |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    return {name: set(re.findall(r"`(\w+)`", keys)) for names, keys in rows for name in re.findall(r"`([^`]+)`", names)}


_WITH_DOCUMENTS = (
    *(["check"], ["list"], ["tree"], ["why", "alpha"], ["diff", "base", "other"], ["verify"], ["build"], ["lock"]),
    *(["export", "--format", "requirements", "--env", "base"], ["config", "show"], ["push"], ["get", "team/base:v1"]),
    *(["alias", "ls"], ["alias", "log", "team/base:stable"], ["alias", "diff", "team/base:v1", "team/base:stable"]),
    *(
        ["cache", "ls"],
        ["cache", "verify"],
        ["cache", "gc"],
        ["sync"],
        ["kernel", "ls"],
        ["env", "ls"],
        ["env", "gc"],
    ),
    *(["alias", "give", "team/base:v9", "--env", "base"], ["alias", "rollback", "team/base:stable"]),
    *(["alias", "promote", "team/base:candidate", "stable"], ["add", "beta", "--env", "base"]),
    *(["remove", "beta", "--env", "base"], ["init"], ["migrate", "flows"]),
)


def test_the_reference_page_has_the_keys_of_each_document(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = documented_keys()
    for words in _WITH_DOCUMENTS:
        assert main([*words, "--json"]) == 0, words
        assert set(json.loads(capsys.readouterr().out)) == keys.get(" ".join(words[:2]), keys.get(words[0])), words


def test_every_command_with_json_is_on_the_reference_page() -> None:
    with_json = {" ".join(name) for name, command in commands() if JSON in command.params}
    assert with_json == documented_keys().keys()
