"""What `lock` makes of the locks that git's merges leave: real branches, merged by real git, locked by real uv."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cli.lock_text import as_text
from envlock.config.read import load_project
from envlock.config.selection import choose_one
from envlock.lockfile.folder import read_lock, write_lock
from envlock.lockfile.merge_conflicts import ATTRIBUTES
from envlock.named.alias import Alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.workflow.check import CheckResult
from envlock.workflow.check import check as check_project
from envlock.workflow.lock import lock as lock_project
from envlock.workflow.locking.jobs import LockResult, Upgrade
from envlock.workflow.locking.previous_locks import PreviousLocks, merge_notes, newest_of_all
from tests.index import Index, Release
from tests.lockfile.conda_locks import MIXED, conda_package
from tests.lockfile.test_formats import LOCKS
from tests.support import ProjectFolder, isolation
from tests.workflow.made_up import made_up_project

BASE, OURS = ("acme-core", "nu", "tau", "zeta"), ("acme-core", "lam", "nu", "tau", "zeta")
THEIRS, BOTH = ("acme-core", "iota", "nu", "tau", "zeta"), ("acme-core", "iota", "lam", "nu", "tau", "zeta")
OLD = dict.fromkeys(BOTH, "1.0")
SIDES = {"ours": OURS, "theirs": THEIRS, "both": BOTH, "neither": BASE}


def old(packages: tuple[str, ...], **others: str) -> dict[str, str]:
    """What these packages are pinned to where no pin moved, and the others that did."""
    return {**{name: OLD[name] for name in packages}, **others}


class Checkout:
    """A git checkout of a project with one environment."""

    def __init__(self, folder: Path, index_url: str) -> None:
        self.project = ProjectFolder(folder, index_url)

    def git(self, *arguments: str, may_fail: bool = False) -> str:
        who = ("-c", "user.name=mia", "-c", "user.email=mia@index.example", "-c", "core.editor=true")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.project.folder, capture_output=True, text=True, check=False
        )
        assert may_fail or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, packages: tuple[str, ...]) -> None:
        self.project.write_env(*packages, archs=["linux-64"])

    def lock(self, upgrade: Upgrade | None = None) -> LockResult:
        return lock_project(load_project(self.project.config), upgrade=upgrade)

    def check(self) -> CheckResult:
        return check_project(load_project(self.project.config))

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def branch(self, name: str, packages: tuple[str, ...], upgrade: Upgrade | None = None) -> None:
        """A branch from `base` on which these packages are locked, by somebody of its name."""
        self.git("checkout", "-q", "-b", name, "base")
        self.ask(packages)
        self.lock(upgrade)
        lock = replace(read_lock(self.project.lock_of("linux-64")), resolved_by=name)
        write_lock(self.project.lock_folder, lock)
        self.commit(name)

    @property
    def text(self) -> str:
        """All that lies in the lock folder."""
        return "".join(path.read_text() for path in sorted(self.project.lock_folder.rglob("*.toml")))

    def settle(self, packages: tuple[str, ...], expected: dict[str, str]) -> LockResult:
        """Settle envlock.toml, lock, and hold the result to be whole, with these pins, and settled for git."""
        self.ask(packages)
        result = self.lock()
        assert self.project.pins() == expected
        assert self.check().findings == ()
        self.git("add", "-A")
        assert self.git("ls-files", "--unmerged") == ""
        assert "<<<<<<<" not in self.text
        return result


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[tuple[Path, str]]:
    """A repository with branches of which each locked other packages; copied, not changed.

    They have everything in 1.0, but `moved` and `same` have `nu` 1.1, and `apart` has `zeta` 1.1. Then 2.0 came.
    """
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        first = [Release(name, "1.0") for name in OLD]
        with Index(*first) as served:
            checkout = Checkout(tmp_path_factory.mktemp("merging") / "project", served.url)
            checkout.project.folder.mkdir()
            checkout.git("init", "-q", "-b", "base")
            checkout.ask(BASE)
            checkout.lock()
            checkout.commit("base")
            checkout.branch("ours", OURS)
            checkout.branch("theirs", THEIRS)
            served.publish(Release("nu", "1.1"))
            checkout.branch("moved", THEIRS, Upgrade.of(everything=False, packages=["nu"]))
            checkout.branch("same", BASE, Upgrade.of(everything=False, packages=["nu"]))
            served.publish(Release("zeta", "1.1"))
            checkout.branch("apart", THEIRS, Upgrade.of(everything=False, packages=["zeta"]))
            checkout.branch("fewer", ("acme-core", "nu", "tau"))
            checkout.git("checkout", "-q", "ours")
            served.publish(*(Release(name, "2.0") for name in OLD))
            yield checkout.project.folder, served.url


@pytest.fixture(params=["with attributes", "with markers"])
def checkout(template: tuple[Path, str], tmp_path: Path, request: pytest.FixtureRequest) -> Checkout:
    """A copy of the repository, on `ours`; git writes its markers into locks where it does not know the attributes."""
    folder, url = template
    shutil.copytree(folder, tmp_path / "project")
    if request.param == "with markers":
        (tmp_path / "project/.git/info").mkdir(exist_ok=True)
        (tmp_path / "project/.git/info/attributes").write_text("*.toml merge\n")
    return Checkout(tmp_path / "project", url)


def merge(checkout: Checkout, *more: str) -> None:
    checkout.git("merge", *more, "theirs", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") != ""


def rebase(checkout: Checkout) -> None:
    checkout.git("rebase", "theirs", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") != ""


def cherry_pick(checkout: Checkout) -> None:
    checkout.git("cherry-pick", "theirs", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") != ""


def stash_pop(checkout: Checkout) -> None:
    checkout.git("checkout", "-q", "theirs")
    checkout.git("reset", "-q", "--soft", "base")
    checkout.git("stash")
    checkout.git("checkout", "-q", "ours")
    checkout.git("stash", "pop", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") != ""


WAYS: dict[Callable[[Checkout], None], tuple[str, ...]] = {
    merge: ("commit", "--no-edit"),
    rebase: ("rebase", "--continue"),
    cherry_pick: ("cherry-pick", "--continue"),
    stash_pop: ("commit", "-m", "popped"),
}


@pytest.mark.parametrize("settled", SIDES)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_was_merged_and_however_it_is_settled_no_pin_moves(
    checkout: Checkout, way: Callable[[Checkout], None], settled: str
) -> None:
    way(checkout)
    checkout.settle(SIDES[settled], old(SIDES[settled]))
    assert len(checkout.project.locks) == 1
    if settled == "both":
        checkout.git(*WAYS[way])
        assert checkout.git("status", "--porcelain") == ""


@pytest.mark.parametrize("checkout", ["with attributes"], indirect=True)
@pytest.mark.parametrize(
    ("way", "deleted"), [(merge, "ours"), (merge, "theirs"), (rebase, "ours"), (stash_pop, "theirs")]
)
def test_a_lock_that_one_side_changed_and_the_other_deleted_is_left_to_git_add(
    checkout: Checkout, way: Callable[[Checkout], None], deleted: str
) -> None:
    """Whether there is anything to lock then, or not."""
    for branch in ("ours", "theirs"):
        checkout.git("checkout", "-q", "-B", branch, "base")
        if branch == deleted:
            checkout.git("rm", "-q", "-r", "envlock.lock/linux-64")
        else:
            path = checkout.project.lock_of("linux-64")
            write_lock(checkout.project.lock_folder, replace(read_lock(path), resolved_by="somebody else"))
        checkout.commit(branch)
    checkout.git("checkout", "-q", "ours")
    if way is rebase:  # in a work tree of its own, whose `.git` is a file
        checkout.git("checkout", "-q", "base")
        checkout.git("worktree", "add", "-q", "../tree", "ours")
        checkout = Checkout(checkout.project.folder.with_name("tree"), checkout.project.index_url)
    way(checkout)
    project = load_project(checkout.project.config)
    assert "`git add envlock.lock`" in as_text(project, checkout.lock())
    assert checkout.check().findings == ()
    checkout.git("add", "envlock.lock")
    assert "git add" not in as_text(project, checkout.lock())


def test_check_says_what_a_merge_left_and_that_lock_settles_it(checkout: Checkout) -> None:
    merge(checkout)
    checkout.ask(BOTH)
    (finding,) = checkout.check().findings
    assert finding.repair == "envlock lock"
    assert "2 branches" in finding.reasons[-1]
    has_markers = "<<<<<<<" in checkout.text
    checkout.ask(OURS)
    findings = checkout.check().findings
    assert {each.repair for each in findings} == {"envlock lock"}
    assert {each.verdict for each in findings} == ({"damaged"} if has_markers else {"orphan"})


def test_where_branches_differ_the_newer_version_stays_and_it_is_said_whose_it_is(checkout: Checkout) -> None:
    checkout.git("merge", "moved", may_fail=True)
    result = checkout.settle(BOTH, old(BOTH, nu="1.1"))
    (locked,) = result.locked
    assert locked.action == "merged"
    (note,) = (each for each in locked.notes if "nu 1.1 of" in each)
    assert "moved" in note.partition("not 1.0 of")[0]
    assert "ours" in note.partition("not 1.0 of")[2]


def test_lines_of_both_that_git_put_together(checkout: Checkout) -> None:
    """Between the markers is then neither side's lock; git itself has both whole."""
    checkout.git("merge", "apart", may_fail=True)
    result = checkout.settle(BOTH, old(BOTH, zeta="1.1"))
    assert "zeta 1.1 of" in result.locked[0].notes[0]


def test_lines_of_both_where_git_cannot_be_run(checkout: Checkout) -> None:
    """What was locked is kept still; hashes are looked up again."""
    checkout.git("merge", "apart", may_fail=True)
    checkout.ask(BOTH)
    git = checkout.project.folder / ".git"
    git.rename(git.with_name("not-git"))
    checkout.lock()
    assert checkout.project.pins() == old(BOTH, zeta="1.1")
    assert checkout.check().findings == ()


def test_a_package_that_a_side_took_away_and_that_is_still_required(checkout: Checkout) -> None:
    checkout.git("merge", "fewer", may_fail=True)
    result = checkout.settle(OURS, old(OURS))
    assert result.locked[0].action in {"kept", "settled"}


def test_a_newer_version_that_fits_no_more_is_reported_too(checkout: Checkout) -> None:
    checkout.git("merge", "moved", may_fail=True)
    result = checkout.settle(("acme-core", "iota", "lam", "nu<1.1", "tau", "zeta"), OLD)
    assert "nu 1.0 of" in result.locked[0].notes[0]


def test_what_a_side_had_is_reported_where_the_other_is_kept_as_it_is(checkout: Checkout) -> None:
    checkout.git("merge", "moved", may_fail=True)
    result = checkout.settle(OURS, old(OURS))
    (note,) = result.locked[0].notes
    assert "nu 1.0" in note
    assert "1.1 of" in note


def test_the_same_requirements_locked_twice_are_settled_without_an_index(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.git("checkout", "-q", "-b", "again", "base")
    lock = read_lock(checkout.project.lock_of("linux-64"))
    path = checkout.project.lock_of("linux-64")
    write_lock(checkout.project.lock_folder, replace(lock, packages=lock.packages[1:], resolved_by="again"))
    path.unlink()
    checkout.commit("again")
    checkout.git("merge", "same", may_fail=True)
    monkeypatch.setenv("UV_OFFLINE", "1")
    result = checkout.settle(BASE, old(BASE, nu="1.1"))
    assert result.locked[0].action == "settled"


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_side_that_git_was_told_to_take(checkout: Checkout, side: str) -> None:
    """Git then writes the content of one lock to the places of both."""
    merge(checkout, "-X", side)
    checkout.settle(SIDES[side], old(SIDES[side]))


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_side_that_git_was_told_to_take_where_both_are_required(checkout: Checkout, side: str) -> None:
    merge(checkout, "-X", side)
    checkout.settle(BOTH, OLD)


@pytest.mark.parametrize("side", ["--ours", "--theirs"])
def test_a_side_that_is_checked_out(checkout: Checkout, side: str) -> None:
    merge(checkout)
    for path in checkout.project.locks:
        checkout.git("checkout", side, "--", str(path), may_fail=True)
    checkout.settle(BOTH, OLD)


@pytest.mark.parametrize("style", ["diff3", "zdiff3"])
def test_markers_that_show_the_ancestor_too(checkout: Checkout, style: str) -> None:
    checkout.git("config", "merge.conflictStyle", style)
    merge(checkout)
    checkout.settle(BOTH, OLD)


def test_markers_that_were_committed(checkout: Checkout) -> None:
    merge(checkout)
    checkout.ask(BOTH)
    checkout.commit("whatever")
    checkout.settle(BOTH, OLD)


def test_branches_that_git_merges_without_a_conflict(checkout: Checkout) -> None:
    """As where it sees no renames: a host's merge button, an octopus, the strategy `resolve`."""
    checkout.git("merge", "-s", "resolve", "theirs", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") == ""
    checkout.settle(BOTH, OLD)


def test_an_environment_that_one_side_took_away(checkout: Checkout) -> None:
    checkout.git("checkout", "-q", "-b", "gone", "base")
    checkout.project.write("", archs=["linux-64"])
    checkout.lock()
    assert not checkout.project.lock_folder.exists()
    checkout.commit("gone")
    checkout.git("merge", "theirs", may_fail=True)
    assert checkout.git("ls-files", "--unmerged", "envlock.lock") != ""
    checkout.settle(THEIRS, old(THEIRS))


def test_a_side_that_nobody_can_read_stops_it(checkout: Checkout) -> None:
    """Else its pins would move, and nobody would be told."""
    path = checkout.project.lock_of("linux-64")
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}")
    git = checkout.project.folder / ".git"
    git.rename(git.with_name("not-git"))
    checkout.ask(BOTH)
    with pytest.raises(Exception, match="merge conflict markers") as caught:
        checkout.lock()
    assert getattr(caught.value, "code", "") == "conflict-markers"
    git.with_name("not-git").rename(git)
    checkout.settle(OURS, old(OURS))


def test_the_lock_folder_tells_git_to_leave_locks_whole(checkout: Checkout) -> None:
    path = checkout.project.lock_folder / ".gitattributes"
    assert path.read_text() == ATTRIBUTES
    assert checkout.git("ls-files", "envlock.lock/.gitattributes") != ""
    path.write_text("# mine\n")
    checkout.ask(BASE)
    checkout.lock()
    assert path.read_text() == "# mine\n"


NAME = Alias("team/base")


@pytest.mark.parametrize("last", ["a new environment", "the first one again"])
def test_a_name_that_moved_on_both_branches_is_pinned_to_the_later_move(tmp_path: Path, last: str) -> None:
    """Of the first environment again, git merges lines of both sides into one: then the move is looked up."""
    contents = {"first": ["base"], "second": ["base", "more"], "third": ["base", "other"]}
    made = {
        name: Lookup(made_up_project(tmp_path / name, {"base": packages}, cache="../shared"))
        for name, packages in contents.items()
    }

    def move(name: str) -> None:
        give(made[name], NAME, made[name].environment(choose_one(made[name].project, environment="base")))

    folder = tmp_path / "project"
    folder.mkdir()
    checkout = Checkout(folder, "https://index.example/simple/")
    table = '[env.demo]\nnamed_env = { name = "team/base" }\n'
    checkout.project.write(table, settings='cache = "../shared"', archs=["linux-64"])
    checkout.git("init", "-q", "-b", "base")
    move("first")
    checkout.lock()
    checkout.commit("base")
    for name, branch in (("second", "ours"), ("third" if last == "a new environment" else "first", "theirs")):
        move(name)
        checkout.git("checkout", "-q", "-b", branch, "base")
        checkout.lock(Upgrade(all_aliases=True))
        checkout.commit(branch)
    checkout.git("checkout", "-q", "ours")
    checkout.git("merge", "theirs", may_fail=True)
    (finding,) = (each for each in checkout.check().findings if each.environment)
    assert (finding.verdict, finding.repair) == ("damaged", "envlock lock")
    (pinned,) = checkout.lock().pinned
    assert pinned.pin.sequence == 3
    assert checkout.check().findings == ()
    assert checkout.project.pins() == dict.fromkeys(contents["third" if "new" in last else "first"], "1.0")
    checkout.git("add", "-A")
    checkout.git("commit", "--no-edit")
    assert "<<<<<<<" not in checkout.text


def test_conda_packages_are_newer_by_condas_order() -> None:
    """Of one version, the later build."""
    packages = [conda_package("tool", "1.9", "h1_0"), conda_package("tool", "1.10", "h1_0", build_number=0)]
    builds = [conda_package("other", "1.0", f"h{number}_{number}", build_number=number) for number in (9, 10)]
    old, new = (
        replace(MIXED, packages=each, resolved_at=f"2026-01-0{day}T00:00:00Z")
        for day, each in ((2, (builds[1], packages[0])), (1, (builds[0], packages[1])))
    )
    both = newest_of_all([old, new])
    assert [package.filename for package in both.packages] == ["other-1.0-h10_10.conda", "tool-1.10-h1_0.conda"]
    assert len(merge_notes(both, [old, new])) == 2


def test_of_a_lock_that_is_not_verified_no_build_of_python_is_kept(tmp_path: Path) -> None:
    """Its versions are, but a file and its hash are looked up again."""
    project = ProjectFolder.make(tmp_path / "project", "https://index.example/simple/")
    project.write_env("demo")
    exact = replace(LOCKS["pylock.exact.toml"], packages=LOCKS["pylock.machine.toml"].packages)
    path = write_lock(project.lock_folder, exact)
    old = PreviousLocks(load_project(project.config))
    assert (old.known(), old.with_pythons()) == ((exact,), (exact,))
    path.write_text(path.read_text().replace("ef" * 32, "ee" * 32))
    old = PreviousLocks(load_project(project.config))
    assert [lock.packages for lock in old.known()] == [exact.packages]
    assert old.with_pythons() == ()
