"""What `check` says that `envlock lock` repairs is repaired: every kind of environment, after every kind of change."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.lockfile.errors import UnwritableLockFolder
from envlock.lockfile.folder import lock_files
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.named.alias import Alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.named.run_record import RunRecord, RunRecords
from envlock.workflow.check import check
from envlock.workflow.lock import lock
from envlock.workflow.push import push
from tests.cache.locks import asking, locked_project
from tests.index import Index
from tests.support import ProjectFolder, isolation

TWO = (LINUX_64, OSX_ARM64)
NAMED = '[env.mine]\nnamed_env = { name = "team/base:v1" }\n'
PLAIN = f"[env.plain.pypi]\n{asking('one', ['alpha'])}\n"
KINDS = {
    "plain": PLAIN,
    "named": NAMED,
    "named by what ran": '[env.mine]\nnamed_env = { pathspec = "TrainFlow/142/start" }\n',
    "named and extended": f'{NAMED}pypi = {{ packages = {{ lam = "1.0" }} }}\n',
    "named, beside one that asks for the same": NAMED + PLAIN,
    "named, beside one that extends it": f'{NAMED}[env.more]\n{NAMED.partition(chr(10))[2]}pypi.packages.lam = "1.0"\n',
    "looked up by its step": '[env.mine]\nnamed_env = { name = "team/base:v1", fetch_at_exec = true }\n',
}
"""Tables of envlock.toml."""


@pytest.fixture(scope="module")
def shared(index: Index, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A folder with a cache in which an environment is named, and a project of each kind, locked for two archs."""
    folder = tmp_path_factory.mktemp("shared")
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache), pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "metaflow", None)  # the cache alone says what ran
        owner = locked_project(folder / "owner", index, {"one": ["alpha-1.0-py3-none-any.whl"]}, archs=TWO)
        push(owner)
        lookup = Lookup(owner)
        found = lookup.environment(choose_one(owner, environment="one"))
        give(lookup, Alias("team/base", "v1"), found)
        for arch, full_id in found.full_ids:
            assert RunRecords(lookup.store).write(RunRecord("TrainFlow", "142", "start", arch, found.req_id, full_id))
        for kind, tables in KINDS.items():
            made = ProjectFolder.make(folder / kind, index.url)
            made.write(tables, settings='cache = "../cache"', archs=TWO)
            if kind == "plain":
                shutil.copytree(owner.lock_folder, made.lock_folder)
            lock(load_project(made.config))
        yield folder


@pytest.fixture
def project(shared: Path, tmp_path: Path, kind: str) -> ProjectFolder:
    shutil.copytree(shared / "cache", tmp_path / "cache")
    shutil.copytree(shared / kind, tmp_path / "project")
    return ProjectFolder(tmp_path / "project", "")


def archs(*chosen: str) -> Callable[[ProjectFolder], None]:
    """A change of `archs`."""

    def change(project: ProjectFolder) -> None:
        before, after = (str(list(each)).replace("'", '"') for each in (TWO, chosen))
        project.edit(before, after)

    return change


def nothing_asked(project: ProjectFolder) -> None:
    project.config.write_text(project.config.read_text().partition("[env.")[0])


def another_asked(project: ProjectFolder) -> None:
    nothing_asked(project)
    with project.config.open("a") as file:
        file.write('[env.other.pypi]\npackages.lam = "1.0"\n')


def a_lock_gone(project: ProjectFolder) -> None:
    for path in lock_files(project.lock_folder)[:1]:
        path.unlink()


def locks_gone(project: ProjectFolder) -> None:
    for path in lock_files(project.lock_folder):
        path.unlink()


def in_another_arch(project: ProjectFolder) -> None:
    for path in lock_files(project.lock_folder):
        if path.parent.parent.name == LINUX_64:
            there = project.lock_folder / OSX_ARM64 / path.parent.name / path.name
            shutil.copy(path, there)


def moved_to_another_arch(project: ProjectFolder) -> None:
    in_another_arch(project)
    shutil.rmtree(project.lock_folder / LINUX_64, ignore_errors=True)


def beside(name: str, *, as_folder: bool = False) -> Callable[[ProjectFolder], None]:
    """A file or a folder of this name beside each lock."""

    def change(project: ProjectFolder) -> None:
        for path in lock_files(project.lock_folder):
            place = path.with_name(name)
            if as_folder:
                place.mkdir(exist_ok=True)  # two locks may lie in one folder
            else:
                place.write_text("something else\n")

    return change


def in_folder(place: str) -> Callable[[ProjectFolder], None]:
    """A file at this place of the lock folder."""

    def change(project: ProjectFolder) -> None:
        path = project.lock_folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("something else\n")

    return change


CHANGES: dict[str, Callable[[ProjectFolder], None]] = {
    "fewer archs": archs(LINUX_64),
    "more archs": archs(*TWO, "osx-64"),
    "another arch": archs("linux-aarch64"),
    "nothing asked": nothing_asked,
    "another asked": another_asked,
    "a lock gone": a_lock_gone,
    "locks gone": locks_gone,
    "in another arch": in_another_arch,
    "moved to another arch": moved_to_another_arch,
    "another lock": beside(f"pylock.{'0' * 40}.toml"),
    "a short name": beside("pylock.toml"),
    "an empty name": beside("pylock..toml"),
    "a folder": beside(f"pylock.{'0' * 40}.toml", as_folder=True),
    "a note": beside("note.txt"),
    "an unknown arch": in_folder(f"linux-99/{'0' * 40}/pylock.{'0' * 40}.toml"),
    "a lock of nobody": in_folder(f"{LINUX_64}/{'0' * 40}/pylock.{'0' * 40}.toml"),
    "a file for a folder": in_folder(f"{LINUX_64}/{'1' * 40}"),
    "a pin of nobody": in_folder("aliases/team/other/@tags/v1.toml"),
    "a note among pins": in_folder("aliases/team/note.txt"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_check_says_that_lock_repairs_is_repaired(project: ProjectFolder, change: str) -> None:
    CHANGES[change](project)
    found = check(load_project(project.config)).findings
    if all(each.repair.startswith("envlock lock") for each in found):  # else, something else is to be done first
        lock(load_project(project.config))
        assert check(load_project(project.config)).findings == (), found
        assert not lock(load_project(project.config)).changed


@pytest.mark.parametrize("kind", ["named"])
def test_the_lock_of_a_named_environment_goes_with_its_arch(project: ProjectFolder) -> None:
    before = lock_files(project.lock_folder)
    archs(LINUX_64)(project)
    (orphan,) = check(load_project(project.config)).findings
    assert (orphan.verdict, orphan.arch, orphan.repair) == ("orphan", OSX_ARM64, "envlock lock")
    assert lock(load_project(project.config)).pruned == before[1:]
    assert lock_files(project.lock_folder) == before[:1]


@pytest.mark.parametrize("place", ["", f"/{OSX_ARM64}", "/aliases"])
@pytest.mark.parametrize("kind", ["named"])
def test_a_file_where_a_folder_belongs_is_named(project: ProjectFolder, place: str) -> None:
    path = project.folder / f"envlock.lock{place}"
    shutil.rmtree(path)
    path.write_text("mine\n")
    with pytest.raises(UnwritableLockFolder) as caught:
        lock(load_project(project.config))
    assert [str(each) for each in caught.value.locations] == [f"envlock.lock{place}"]
    assert "move it away" in (caught.value.hint or "")
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize("kind", ["plain"])
def test_a_folder_with_something_in_it_is_no_lock_to_delete(project: ProjectFolder) -> None:
    folder = project.lock_of(LINUX_64).with_name(f"pylock.{'0' * 40}.toml")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine\n")
    with pytest.raises(UnwritableLockFolder) as caught:
        lock(load_project(project.config))
    assert str(folder.relative_to(project.folder)) in caught.value.render()
    assert (folder / "mine.txt").is_file()
