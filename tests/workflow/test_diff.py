"""How environments differ: between revisions, between two that are named; on locks that are made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import pytest

from envlock.config.errors import NoSuchSelection, RevisionWithoutLocks
from envlock.config.past import project_at
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.git_objects import NoSuchRevision, NotARepository, Objects, ShallowClone
from envlock.lockfile.canonical_text import body_of, digest_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.folder import lock_files, read_lock, write_lock
from envlock.model.arch import LINUX_64, OSX_64, OSX_ARM64, Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.named.pin import Pin, write_pin
from envlock.workflow.diff import Diff, EnvironmentDiff, diff, difference
from envlock.workflow.errors import NothingToCompareWith
from envlock.workflow.references import of_named
from tests.build.repositories import commit, git
from tests.index import Index
from tests.named.projects import LATEST, V1, environment_of, two_environments

BOTH = (LINUX_64, OSX_ARM64)


def wheel(text: str, arch: Arch = LINUX_64) -> LockedPackage:
    """`NAME VERSION`, or with `!`, a file of its own for each arch."""
    name, version = text.rstrip("!").split()
    platform = arch if text.endswith("!") else "any"
    filename = f"{name}-{version}-py3-none-{platform.replace('-', '_')}.whl"
    filename = filename if platform == "any" else f"{name}-{version}-py3-none-any.whl"
    digest = f"{sum(f'{filename}{platform}'.encode()):064x}"
    return LockedPackage(name, version, filename, f"https://index.example/{digest}/{filename}", digest)


def locked(
    folder: Path, tables: Mapping[str, Sequence[str]], *, archs: Sequence[Arch] = BOTH, unlocked: Sequence[str] = ()
) -> None:
    """Make a folder a project: an `[env.*]` table that requires each first package, locked to all of them."""
    lines = [f"[envlock]\narchs = {[*archs]}\nindex-url = 'https://index.example/simple'\n"]
    lines += [f"[env.{name}.pypi.packages]\n{_required(packages)}\n" for name, packages in tables.items()]
    folder.mkdir(exist_ok=True)
    (folder / "envlock.toml").write_text("".join(lines))
    rmtree(folder / "envlock.lock", ignore_errors=True)
    (folder / "envlock.lock").mkdir()
    (folder / "envlock.lock" / ".gitattributes").write_text("")
    project = load_project(folder / "envlock.toml")
    for environment in project.environments():
        for arch in archs if environment.name not in unlocked else ():
            packages = tuple(sorted((wheel(each, arch) for each in tables[environment.name]), key=lambda one: one.name))
            python = LockedPython("machine", "3.12.0")
            write_lock(project.lock_folder, Lock(arch, environment.requirements, python, packages))


def _required(packages: Sequence[str]) -> str:
    name, version = packages[0].rstrip("!").split()
    return f'{name} = ">={version}"\n'


def compared(folder: Path, *references: str, selection: Selection | None = None, archs: Sequence[Arch] = ()) -> Diff:
    return diff(load_project(folder / "envlock.toml"), references, selection, archs)


def told(found: Diff) -> dict[str, list[str]]:
    """What differs, by the name of the environment: its state, what is required, and the packages."""
    return {
        each.name: [
            each.state,
            *(f"{one.change} @{one.at}" for one in each.asked),
            *(f"{change}{'' if set(of) == set(BOTH) else f' on {of}'}" for change, of in each.folded),
        ]
        for each in found.environments
        if each.state != "same"
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with three environments on `main`, and others since."""
    made = tmp_path / "project"
    locked(made, {"base": ["alpha 1.0", "idna 3.0"], "old": ["rich 13.0"], "gone": ["six 1.16"], "same": ["zipp 3.0"]})
    commit(made)
    locked(
        made, {"base": ["alpha 1.1", "numpy 2.0!"], "new": ["rich 13.0"], "came": ["attrs 24.1"], "same": ["zipp 3.0"]}
    )
    return made


CHANGED = [
    "changed",
    "alpha >=1.0 -> >=1.1 @envlock.toml:5",
    "alpha 1.0 -> 1.1",
    "-idna 3.0",
    "+numpy 2.0",
]
SINCE_MAIN = {
    "base": CHANGED,
    "old -> new": ["renamed"],
    "came": ["added", "+attrs >=24.1 @envlock.toml:11"],
    "gone": ["removed"],
}


class TestRevisions:
    def test_the_working_folder_with_what_was_committed(self, folder: Path) -> None:
        found = compared(folder)
        assert told(found) == SINCE_MAIN
        assert (found.before, found.after, found.is_same) == ("HEAD", "", False)
        assert told(compared(folder, "main")) == told(compared(folder, "main", ".")) == SINCE_MAIN
        (base,) = [each for each in found.environments if each.name == "base"]
        assert [each.same for each in base.changes] == [0, 0]

    def test_two_revisions(self, folder: Path) -> None:
        commit(folder)
        for texts in (["HEAD~1", "HEAD"], ["HEAD~1..HEAD"], ["HEAD~1.."], ["main~1", "main:"]):
            found = compared(folder, *texts)
            assert told(found)["base"] == [
                each.replace("@", "@HEAD:") if "@" in each else each for each in CHANGED
            ] or (texts == ["main~1", "main:"])
            assert found.environments[0].after is not None
            assert [each.name for each in found.environments] == ["base", "old -> new", "came", "same", "gone"]
        assert compared(folder, "HEAD", ".").is_same
        assert compared(folder, "HEAD..HEAD").is_same

    def test_what_a_branch_changed_since_it_began(self, folder: Path) -> None:
        git(folder, "stash", "-q", "-u")
        git(folder, "checkout", "-q", "-b", "topic")
        git(folder, "stash", "pop", "-q")
        commit(folder)
        git(folder, "checkout", "-q", "main")
        locked(folder, {"base": ["alpha 2.0"]})
        commit(folder)
        since = {key: [each.replace("@", "@topic:") for each in value] for key, value in SINCE_MAIN.items()}
        assert told(compared(folder, "main...topic")) == since
        git(folder, "checkout", "-q", "--orphan", "other")
        commit(folder)
        with pytest.raises(NoSuchRevision) as caught:
            compared(folder, "main...other")
        assert "no commit in common" in caught.value.details[-1]

    def test_a_shallow_clone_has_no_beginning_of_a_branch(self, folder: Path, tmp_path: Path) -> None:
        commit(folder)
        git(folder, "checkout", "-q", "-b", "topic", "HEAD~1")
        commit(folder)
        clone = tmp_path / "clone"
        git(tmp_path, "clone", "-q", "--depth=1", "--no-single-branch", f"file://{folder}", str(clone))
        with pytest.raises(ShallowClone):
            compared(clone, "origin/main...origin/topic")

    def test_a_part_of_the_project(self, folder: Path) -> None:
        assert list(told(compared(folder, selection=Selection(environments=("base",))))) == ["base"]
        assert list(told(compared(folder, selection=Selection(environments=("gone", "came"))))) == ["came", "gone"]
        with pytest.raises(NoSuchSelection):
            compared(folder, selection=Selection(environments=("nothing",)))
        only = compared(folder, archs=[OSX_ARM64])
        assert [each.arch for each in only.environments[0].changes] == [OSX_ARM64]

    def test_another_arch(self, folder: Path) -> None:
        commit(folder)
        locked(folder, {"same": ["zipp 3.0"]}, archs=[LINUX_64, OSX_64])
        (same,) = [each for each in compared(folder).environments if each.name == "same"]
        assert (same.state, same.archs_added, same.archs_removed) == ("changed", (OSX_64,), (OSX_ARM64,))

    def test_what_is_not_locked_yet(self, folder: Path) -> None:
        commit(folder)
        locked(folder, {"same": ["zipp 3.1"], "new": ["rich 13.0"]}, unlocked=["same"])
        found = told(compared(folder))
        assert found["same"] == ["unlocked", "zipp >=3.0 -> >=3.1 @envlock.toml:5"]
        assert "new" not in found

    def test_two_locks_of_a_merge(self, folder: Path) -> None:
        commit(folder)
        project = load_project(folder / "envlock.toml")
        for path in lock_files(project.lock_folder):
            lock = read_lock(path)
            if lock.arch == LINUX_64 and "zipp" in str(lock.packages):
                write_lock(project.lock_folder, replace(lock, packages=(wheel("zipp 3.2"),)))
        (same,) = [each for each in compared(folder).environments if each.state != "same"]
        assert (same.name, same.state, same.archs_removed) == ("same", "changed", ())
        assert same.after is not None
        assert same.after.several == (LINUX_64,)

    def test_an_arch_that_neither_has(self, folder: Path) -> None:
        with pytest.raises(NoSuchSelection):
            compared(folder, archs=[OSX_64])

    def test_a_project_below_the_top_of_the_repository_whose_lock_folder_is_a_link(self, tmp_path: Path) -> None:
        folder = tmp_path / "top" / "sub"
        (tmp_path / "top").mkdir()
        locked(folder, {"base": ["alpha 1.0"]})
        (folder / "envlock.lock").rename(tmp_path / "top" / "locks")
        (folder / "envlock.lock").symlink_to("../locks")
        commit(tmp_path / "top")
        (folder / "envlock.lock").unlink()
        locked(folder, {"base": ["alpha 1.1"]})
        assert told(compared(folder))["base"][-1] == "alpha 1.0 -> 1.1"

    def test_another_work_tree_and_a_submodule_have_their_own_head(self, folder: Path, tmp_path: Path) -> None:
        git(folder, "stash", "-q", "-u")
        git(folder, "worktree", "add", "-q", str(tmp_path / "tree"), "-b", "topic")
        locked(tmp_path / "tree", {"base": ["alpha 1.2"]})
        commit(tmp_path / "tree")
        assert compared(tmp_path / "tree").is_same
        assert told(compared(tmp_path / "tree", "main..topic"))["base"][1] == (
            "alpha >=1.0 -> >=1.2 @topic:envlock.toml:5"
        )
        around = tmp_path / "around"
        commit(around)
        git(around, "submodule", "add", "-q", str(folder), "inner")
        locked(around / "inner", {"base": ["alpha 1.3"]})
        assert told(compared(around / "inner"))["base"][-2:] == ["alpha 1.0 -> 1.3", "-idna 3.0"]

    def test_no_repository(self, tmp_path: Path) -> None:
        locked(tmp_path / "project", {"base": ["alpha 1.0"]})
        with pytest.raises(NotARepository):
            compared(tmp_path / "project")


class TestEnvironments:
    def test_a_lock_file_is_of_one_arch_and_compared_for_that(self, folder: Path) -> None:
        environment = next(each for each in load_project(folder / "envlock.toml").environments() if each.name == "base")
        (lock,) = (folder / "envlock.lock" / LINUX_64 / environment.requirements.req_id).glob("*.toml")
        for texts in ([str(lock), "base"], ["base", str(lock)]):
            assert compared(folder, *texts).is_same
        (found,) = compared(folder, "main:base", str(lock)).environments
        assert (found.archs_added, found.archs_removed) == ((), ())

    def test_one_with_what_it_was(self, folder: Path) -> None:
        assert told(compared(folder, "base")) == {"base": CHANGED}
        for texts in (["main:base"], ["main:base", "base"], ["main", "base"]):
            assert told(compared(folder, *texts)) == {"base": CHANGED}
        back = told(compared(folder, "base", "main:base"))["base"]
        assert back[1:3] == ["alpha >=1.1 -> >=1.0 @main:envlock.toml:5", "alpha 1.1 -> 1.0"]

    def test_one_with_another(self, folder: Path) -> None:
        (found,) = compared(folder, "new", "same").environments
        assert (found.name, [str(change) for change, _ in found.folded]) == ("new -> same", ["-rich 13.0", "+zipp 3.0"])
        (unlike,) = compared(folder, "main:gone", "same").environments
        assert unlike.name == "main:gone -> same"

    def test_lock_files_know_what_they_were_locked_for(self, folder: Path) -> None:
        project = load_project(folder / "envlock.toml")
        paths = {path.parent.name: path for path in lock_files(project.lock_folder)}
        ids = [each.requirements.req_id for each in project.environments()]
        before, after = (str(paths[each]) for each in ids[:2])
        (found,) = compared(folder, before, after).environments
        assert found.archs_added == ()
        assert [str(each.change) for each in found.asked] == ["-alpha >=1.1", "+rich >=13.0"]
        assert [each.at for each in found.asked] == ["", ""]

    def test_one_alone_that_has_no_past(self, folder: Path) -> None:
        path = str(lock_files(load_project(folder / "envlock.toml").lock_folder)[0])
        with pytest.raises(NothingToCompareWith):
            compared(folder, path)

    @pytest.mark.parametrize("stamped", [False, True])
    def test_a_lock_that_is_damaged_is_an_error_only_where_it_is_needed(self, folder: Path, *, stamped: bool) -> None:
        commit(folder)
        locked(folder, {"base": ["alpha 1.2"], "same": ["zipp 3.0"]})
        project = load_project(folder / "envlock.toml")
        for path in lock_files(project.lock_folder):
            if path.parent.name == project.named[0].requirements.req_id:
                text = path.read_text()
                body = body_of(text)
                damaged = body.replace("\narch = ", "\nar = ")
                text = text.replace(digest_of(body), digest_of(damaged)) if stamped else text
                path.write_text(text.replace(body, damaged))
        assert compared(folder, selection=Selection(environments=("same",))).is_same
        with pytest.raises(DamagedLock):
            compared(folder)

    def test_another_project(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        locked(tmp_path / "other", {"base": ["alpha 1.2"], "same": ["zipp 3.0"]})
        monkeypatch.chdir(folder)
        for text in ("../other", str(tmp_path / "other" / "envlock.toml"), "../other/envlock.toml"):
            found = told(compared(folder, text, "."))
            assert found["base"][1:] == ["alpha >=1.2 -> >=1.1 @envlock.toml:5", "alpha 1.2 -> 1.1", "+numpy 2.0"]
            assert [each[0] for each in found.values()] == ["changed", "added", "added"]

    def test_named_environments_of_a_cache(self, tmp_path: Path, index: Index) -> None:
        project = two_environments(tmp_path, index)
        lookup = Lookup(project)
        give(lookup, V1, environment_of(project, "one"))
        for name in ("one", "two"):
            give(lookup, LATEST, environment_of(project, name))

        def between(one: str, other: str) -> EnvironmentDiff:
            return difference(*(of_named(lookup, lookup.reference(each)) for each in (one, other)))

        found = between("team/base:v1", "team/base")
        assert [str(change) for change, _ in found.folded] == ["alpha 1.0 -> 1.1", "-beta 1.5", "+lam 1.0"]
        assert between("team/base:v1", "team/base:latest@1").state == "same"
        part = of_named(lookup, lookup.reference("team/base"), archs=[LINUX_64])
        assert difference(found.before, part).archs_removed == (OSX_ARM64,)


FORMATS = Path(__file__).parents[1] / "formats"


class TestFormats:
    """Lock files of every format, as envlock wrote them once."""

    @pytest.mark.parametrize("name", ["v1/pylock.machine.toml", "v2/pylock.mixed.toml", "v3/pylock.built.toml"])
    def test_a_lock_differs_in_nothing_from_itself(self, folder: Path, name: str) -> None:
        assert compared(folder, str(FORMATS / name), str(FORMATS / name)).is_same

    def test_locks_of_two_formats(self, folder: Path) -> None:
        (found,) = compared(
            folder, str(FORMATS / "v2/pylock.mixed.toml"), str(FORMATS / "v3/pylock.mixed.toml")
        ).environments
        assert [(str(change), change.direct) for change, _ in found.folded] == [("+common 1.0", True)]
        assert str(found.asked[0].change).startswith("+common @ folder+sha256:c1c1")

    def test_what_was_built_from_git_shows_the_commit(self, folder: Path, tmp_path: Path) -> None:
        lock = read_lock(FORMATS / "v3/pylock.built.toml")
        (beta,) = [each for each in lock.packages if each.name == "beta"]
        assert beta.source is not None
        newer = replace(beta, source=replace(beta.source, commit="9" * 40), sha256="9" * 64)
        packages = tuple(newer if each is beta else each for each in lock.packages)
        path = write_lock(tmp_path / "locks", replace(lock, packages=packages))
        (found,) = compared(folder, str(FORMATS / "v3/pylock.built.toml"), str(path)).environments
        assert [(change.verb, change.old_file, change.new_file) for change, _ in found.folded] == [
            ("rebuilt", beta.source.commit[:12], "9" * 12)
        ]


def test_an_alias_that_moved_is_told_with_its_moves(tmp_path: Path) -> None:
    table = "[envlock]\narchs = ['linux-64']\n[env.mine]\nnamed_env = { name = 'team/base:stable' }\n"
    (tmp_path / "envlock.toml").write_text(table)
    requirements = Requirements(pypi=(parse_requirement("alpha>=1"),))
    for sequence, version in ((3, "1.0"), (4, "1.1")):
        rmtree(tmp_path / "envlock.lock", ignore_errors=True)
        python = LockedPython("machine", "3.12.0")
        lock = Lock(LINUX_64, requirements, python, (wheel(f"alpha {version}"),))
        write_lock(tmp_path / "envlock.lock", lock)
        full_ids = ((LINUX_64, lock.full_id),)
        pin = Pin("name", "team/base:stable", requirements, full_ids, sequence, "ab" * 32)
        write_pin(tmp_path / "envlock.lock", pin)
        if sequence == 3:
            commit(tmp_path)
    assert told(compared(tmp_path))["mine"] == [
        "changed",
        "named_env team/base:stable@3 -> team/base:stable@4 @envlock.toml:4",
        "alpha 1.0 -> 1.1 on ('linux-64',)",
    ]


class TestGit:
    def test_only_what_is_needed_is_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(300):
            (folder / "others" / str(number % 10)).mkdir(parents=True, exist_ok=True)
            (folder / "others" / str(number % 10) / f"{number}.py").write_text(f"x = {number}\n")
        commit(folder)
        asked: list[str] = []
        ask = Objects._ask

        def counted(objects: Objects, names: Sequence[str]) -> None:
            asked.extend(names)
            ask(objects, names)

        monkeypatch.setattr(Objects, "_ask", counted)
        assert compared(folder, "HEAD").is_same
        locks = 4 * len(BOTH)
        assert len(asked) <= 1 + 4 + len(BOTH) + locks, "the commit, four folders, envlock.toml, archs and req_ids"

    def test_a_repository_with_other_hashes(self, tmp_path: Path) -> None:
        locked(tmp_path, {"base": ["alpha 1.0"]})
        git(tmp_path, "init", "--quiet", "--initial-branch=main", "--object-format=sha256")
        commit(tmp_path)
        locked(tmp_path, {"base": ["alpha 1.1"]})
        assert told(compared(tmp_path))["base"][-1] == "alpha 1.0 -> 1.1"

    def test_a_clone_without_files_gets_those_that_are_needed(self, folder: Path, tmp_path: Path) -> None:
        commit(folder)
        git(folder, "config", "uploadpack.allowFilter", "true")
        git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{folder}", "clone")
        git(tmp_path / "clone", "checkout", "-q", "HEAD", "--", "envlock.toml", "envlock.lock")
        assert list(told(compared(tmp_path / "clone", "HEAD~1"))) == list(SINCE_MAIN)

    def test_what_git_says_is_told_where_it_cannot_read(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        git(folder, "config", "uploadpack.allowFilter", "true")
        git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{folder}", "clone")
        git(folder, "stash", "-q", "-u")
        (tmp_path / "clone/envlock.toml").write_bytes((folder / "envlock.toml").read_bytes())
        git(tmp_path / "clone", "remote", "set-url", "origin", f"file://{tmp_path}/nowhere")
        with pytest.raises(NotARepository) as caught:
            compared(tmp_path / "clone")
        assert "nowhere" in caught.value.message
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        with pytest.raises(NotARepository) as caught:
            compared(folder)
        assert "dubious ownership" in caught.value.message
        assert caught.value.hint == f"git config --global --add safe.directory {folder.resolve()}"

    def test_no_hook_and_no_filter_runs(self, folder: Path) -> None:
        ran = folder / "ran"
        (folder / ".gitattributes").write_text("*.toml filter=evil diff=evil\n")
        for key in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "core.fsmonitor"):
            git(folder, "config", key, "true")
        commit(folder)
        for key in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "core.fsmonitor", "diff.external"):
            git(folder, "config", key, f"touch {ran}")
        assert compared(folder, "HEAD~1..HEAD").environments
        assert compared(folder, "HEAD~1...HEAD").environments
        assert not ran.exists()

    def test_a_folder_of_a_submodule_and_a_file_of_lfs_are_those_of_the_revision(self, tmp_path: Path) -> None:
        library, top = tmp_path / "library", tmp_path / "top"
        commit(library, {"pyproject.toml": "[project]\nname = 'tool'\nversion = '1'\n", "pkg/tool.py": "x = 1\n"})
        commit(library, {"pkg/tool.py": "x = 2\n"})
        wheel = b"the bytes of a wheel"
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(wheel).hexdigest()}\nsize 20\n"
        named = "tool = { path = 'libs/tool' }\nbig = { path = 'big-1.0-py3-none-any.whl' }\n"
        commit(
            top,
            {
                "envlock.toml": f"[envlock]\narchs = ['linux-64']\n[env.base.pypi.packages]\n{named}",
                "envlock.lock/.gitattributes": "",
                "big-1.0-py3-none-any.whl": pointer,
            },
        )
        git(top, "submodule", "add", "-q", str(library), "libs/tool")
        commit(top)
        (top / "big-1.0-py3-none-any.whl").write_bytes(wheel)  # as git LFS has it in a work tree
        now = load_project(top / "envlock.toml")
        assert project_at(now, "HEAD").named == now.named
        git(top / "libs/tool", "checkout", "-q", "HEAD~1")
        older = load_project(top / "envlock.toml")
        assert older.named != now.named
        assert project_at(older, "HEAD").named == now.named
        (top / "big-1.0-py3-none-any.whl").write_text(pointer)
        commit(top)
        assert project_at(older, "HEAD").named == older.named

    def test_a_repository_without_a_commit(self, folder: Path) -> None:
        rmtree(folder / ".git")
        git(folder, "init", "-q")
        with pytest.raises(NoSuchRevision) as caught:
            compared(folder)
        assert "no commit yet" in caught.value.details[-1]

    def test_a_file_that_moved_to_another_folder_is_not_found_there(self, folder: Path) -> None:
        (folder / "sub").mkdir()
        for name in ("envlock.toml", "envlock.lock"):
            (folder / name).rename(folder / "sub" / name)
        commit(folder)
        with pytest.raises(RevisionWithoutLocks) as caught:
            compared(folder / "sub", "HEAD~1")
        assert "`sub/envlock.toml`" in caught.value.message


def test_environments_with_the_same_change_are_grouped(tmp_path: Path) -> None:
    locked(tmp_path, {"one": ["alpha 1.0"], "two": ["alpha 1.0"], "three": ["alpha 1.0"]})
    commit(tmp_path)
    locked(tmp_path, {"one": ["alpha 1.1"], "two": ["alpha 1.1"], "three": ["alpha 1.2"]})
    groups = compared(tmp_path).groups
    assert [names for names, _ in groups] == [("one", "two"), ("three",)]
    assert [each.at for each in groups[0][1].asked] == ["envlock.toml:5, envlock.toml:8"]
    assert [[each.name for each in group.others] for _, group in groups] == [["two"], []]
