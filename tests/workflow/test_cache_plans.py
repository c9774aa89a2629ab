"""Plans, kits and parts in a cache: what gc keeps and deletes, what verify finds and repairs, what ls counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.cache.errors import UnreadableAnnouncement, UnreadableKeptPlan
from envlock.cache.gc import ENVIRONMENT, KIT, PACKAGE, PART, PLAN, POINTER, Garbage
from envlock.cache.gc_lock import Needs, announced
from envlock.cache.images import ImageRecord, Images
from envlock.cache.layout import KITS, PARTS, PLANS, PlanPlace, environment_place, image_path, push_path
from envlock.cache.plan import FORMAT, Plan, parse_plan
from envlock.cache.plans import Plans
from envlock.cache.port import Entry, Store
from envlock.cache.verify import (
    DAMAGED_IMAGE,
    DAMAGED_KIT,
    DAMAGED_PART,
    DAMAGED_PLAN,
    MISSING_KIT,
    MISSING_PART,
    verify,
)
from envlock.config.project import Project
from envlock.named.alias import parse_alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.reporter import Reporter
from envlock.workflow.cache import VerifiedCache, collect_garbage, limits_of, list_cache, verify_cache
from envlock.workflow.push import push
from tests.cache.locks import lock_of
from tests.workflow.made_up import (
    age,
    kits_in,
    made_up_part,
    made_up_project,
    packages_in,
    parts_in,
    paths,
    store_of,
    sweeps_that_are_killed,
    write_plan,
)

MINE, TWO = ("part1", "part2"), ("part2", "part3")
"""The parts of the packs of `mine` and `two`: they share one."""


@pytest.fixture
def other(tmp_path: Path) -> Project:
    """Another project of the same cache: nothing of it is in the lock tree of `project`."""
    made = made_up_project(tmp_path / "other", {"one": ["shared", "first"], "two": ["shared", "second"]})
    push(made)
    return made


@pytest.fixture
def project(tmp_path: Path, other: Project) -> Project:
    """A project whose environment has a plan, as those of `other` have; all of it was pushed long ago."""
    made = made_up_project(tmp_path / "project", {"mine": ["shared", "own"]})
    push(made)
    store = store_of(made)
    write_plan(store, lock_of(made, "mine"), "uv1", "python1", *MINE)
    write_plan(store, lock_of(other, "one"), "uv1", "python2")
    write_plan(store, lock_of(other, "two"), "uv2", "python2", *TWO)
    age(tmp_path / "cache", 30)
    return made


@pytest.fixture
def store(project: Project) -> Store:
    return store_of(project)


def plan_of(store: Store, project: Project, name: str) -> Plan:
    (place,) = Plans(store).of(environment_place(lock_of(project, name)))
    return Plans(store).read(place)


def name_it(project: Project, alias: str, environment: str) -> None:
    lookup = Lookup(project)
    (found,) = (lookup.environment(each) for each in project.named if each.name == environment)
    give(lookup, parse_alias(alias), found)


def swept(project: Project, **options: object) -> Garbage:
    """Delete, and show that there is nothing more to delete then."""
    before = collect_garbage(project, limits_of(**options))  # type: ignore[arg-type]
    done = collect_garbage(project, limits_of(**options), delete=True)  # type: ignore[arg-type]
    assert {each.path for each in done.doomed} == {each.path for each in before.doomed}, "what was shown is what went"
    assert collect_garbage(project, limits_of(**options)).doomed == ()  # type: ignore[arg-type]
    return done


def newer(plan: Plan) -> tuple[str, bytes]:
    """A plan of the same environment that a later envlock wrote: its path and its bytes."""
    import hashlib

    document = json.loads(plan.render()) | {"format": FORMAT + 1}
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return PlanPlace(plan.environment, hashlib.sha256(data).hexdigest()).path, data


class TestGc:
    def test_a_plan_stays_as_long_as_its_environment_and_its_kit_as_long_as_a_plan(
        self, project: Project, store: Store
    ) -> None:
        done = swept(project)
        assert kits_in(store) == {"uv1", "python1"}
        assert [place for _, place in Plans(store).places()] == [plan_of(store, project, "mine").place]
        assert [each.kind for each in done.doomed] == [
            *[POINTER] * 2,
            *[PLAN] * 2,
            *[ENVIRONMENT] * 2,
            *[PACKAGE] * 2,
            *[KIT] * 2,
            PART,
        ]
        assert (done.totals[PLAN].count, done.totals[KIT].count, done.totals[PART].count) == (3, 4, 3)
        assert parts_in(store, *MINE) == set(MINE)

    def test_all_plans_of_an_environment_stay(self, project: Project, store: Store, tmp_path: Path) -> None:
        """A flow that was deployed before envlock was upgraded still names the older plan."""
        write_plan(store, lock_of(project, "mine"), "uv9", "python9")
        age(tmp_path / "cache", 30)
        swept(project)
        assert kits_in(store) == {"uv1", "python1", "uv9", "python9"}

    def test_what_an_alias_keeps_can_still_be_started(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        name_it(other, "team/base:v1", "two")
        age(tmp_path / "cache", 30)
        swept(project)
        assert kits_in(store) == {"uv1", "python1", "uv2", "python2"}
        assert verify_cache(project).findings == ()

    def test_a_young_plan_keeps_all_that_it_needs(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        """Its environment was pushed long ago, and somebody is about to start steps with it."""
        age(tmp_path / "cache", 3, plan_of(store, other, "one").place.path)
        done = swept(project)
        assert done.kept == {"a lock": 1, "its age": 1}
        assert packages_in(store) == {"shared", "own", "first"}
        assert kits_in(store) == {"uv1", "python1", "python2"}
        assert verify_cache(project).findings == ()
        swept(project, grace="2d")
        assert kits_in(store) == {"uv1", "python1"}

    def test_a_young_file_of_a_kit_stays(self, project: Project, store: Store, tmp_path: Path) -> None:
        age(tmp_path / "cache", 3, "uv2-")
        swept(project)
        assert kits_in(store) == {"uv1", "python1", "uv2"}

    def test_all_parts_stay_while_a_push_packs(self, project: Project, store: Store) -> None:
        """It learns which of them it needs only as it makes them."""
        with announced(store, Needs(parts=frozenset({PARTS}))):
            collect_garbage(project, limits_of(grace="0"), delete=True)
            assert parts_in(store, *MINE, *TWO) == {*MINE, *TWO}
        swept(project, grace="0")
        assert parts_in(store, *MINE, *TWO) == set(MINE)

    def test_a_gc_that_knows_no_parts_reads_the_file_of_such_a_push(self) -> None:
        document = json.loads(Needs(packages=frozenset({"x"}), parts=frozenset({PARTS})).render())
        assert (document["format"], document["packages"], document["parts"]) == (1, ["x"], [PARTS])
        assert "parts" not in json.loads(Needs(packages=frozenset({"x"})).render())

    def test_what_a_push_needs_stays(self, project: Project, other: Project, store: Store) -> None:
        plan = plan_of(store, other, "two")
        with announced(store, Needs(frozenset({plan.environment.path}))):
            collect_garbage(project, limits_of(grace="0"), delete=True)
            assert kits_in(store) == {"uv1", "python1", "uv2", "python2"}
        with announced(store, Needs(kits=plan.kits)):
            collect_garbage(project, limits_of(grace="0"), delete=True)
            assert kits_in(store) == {"uv1", "python1", "uv2", "python2"}
            assert len(paths(store, PLANS)) == 1
        swept(project, grace="0")
        assert kits_in(store) == {"uv1", "python1"}

    def test_the_plan_of_an_environment_that_is_not_there_yet_stays(self, project: Project, store: Store) -> None:
        """Its lock was damaged, deleted, and is about to be pushed again."""
        store.delete(environment_place(lock_of(project, "mine")).path)
        swept(project)
        assert kits_in(store) == {"uv1", "python1"}

    def test_the_plan_of_an_environment_that_an_older_gc_deleted_goes(
        self, project: Project, other: Project, store: Store
    ) -> None:
        store.delete(environment_place(lock_of(other, "one")).path)
        assert plan_of(store, other, "one").place.path in {each.path for each in swept(project).of(PLAN)}
        assert kits_in(store) == {"uv1", "python1"}

    def test_an_older_gc_does_not_see_them(self) -> None:
        """Those folders are all that it ever lists."""
        seen = ("packages", "envs", "aliases", "pathspecs", "resolved", "pushes", "sweeps", "probe")
        assert not any(f"{folder}/".startswith(f"{each}/") for folder in (PLANS, KITS, PARTS) for each in seen)

    @pytest.mark.parametrize("kind", ["damaged", "cut", "newer"])
    def test_a_plan_that_cannot_be_read_keeps_every_file_of_a_kit(
        self, project: Project, store: Store, tmp_path: Path, kind: str
    ) -> None:
        plan = plan_of(store, project, "mine")
        path, data = (
            newer(plan) if kind == "newer" else (plan.place.path, plan.render()[: -9 if kind == "cut" else None])
        )
        store.put(path, data + b" " if kind == "damaged" else data)
        age(tmp_path / "cache", 30)
        done = swept(project)
        (error,) = done.unreadable
        assert isinstance(error, UnreadableKeptPlan)
        assert (error.exit_status, path in error.locations[0].path) == (3, True)
        assert ("--repair" in (error.hint or "")) is (kind != "newer")
        assert len(paths(store, KITS)) == 4
        assert parts_in(store, *MINE, *TWO) == {*MINE, *TWO}
        assert len(done.of(PLAN)) == 2, "all else goes"
        assert packages_in(store) == {"shared", "own"}

    def test_a_damaged_plan_that_nothing_needs_goes(self, project: Project, other: Project, store: Store) -> None:
        store.put(plan_of(store, other, "one").place.path, b"")
        done = swept(project, grace="0")
        assert done.unreadable == ()
        assert kits_in(store) == {"uv1", "python1"}

    def test_a_push_that_may_need_anything_keeps_everything(self, project: Project, store: Store) -> None:
        before = paths(store, PLANS, KITS)
        store.put(push_path("a1"), b"{}")
        done = collect_garbage(project, limits_of(grace="0"), delete=True)
        assert [type(each) for each in done.unreadable] == [UnreadableAnnouncement]
        assert paths(store, PLANS, KITS) == before

    def test_what_envlock_did_not_put_there_stays(self, project: Project, store: Store, tmp_path: Path) -> None:
        strangers = {"kits/README.md", "kits/objects/ab/uv.whl", "plans/notes.txt", "plans/linux-64/x.json"}
        strangers |= {"parts/README.md", f"parts/ab/{'cd' * 32}.tar.zst"}
        for path in strangers:
            store.put(path, b"the team's")
        age(tmp_path / "cache", 400)
        swept(project)
        assert strangers <= paths(store, "kits", "plans", "parts")
        assert set(list_cache(project).strangers) == strangers - {"kits/README.md"}

    def test_a_sweep_that_is_killed_leaves_no_plan_without_what_it_names(
        self, project: Project, other: Project, store: Store, tmp_path: Path
    ) -> None:
        for _ in sweeps_that_are_killed(project, tmp_path / "cache"):
            for _, place in Plans(store).places():
                assert store.entry(place.environment.path), "a plan goes before its environment"
                assert all(store.entry(file.path) for file in Plans(store).read(place).files)
        assert kits_in(store) == {"uv1", "python1"}


def found(result: VerifiedCache) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.path) for finding in result.findings]


class TestVerify:
    def test_whole_ones_are_no_finding(self, project: Project) -> None:
        result = verify_cache(project)
        assert result.findings == ()
        assert len(result.verification.plans) == 3

    def test_damaged_and_missing_ones_are_found(self, project: Project, other: Project, store: Store) -> None:
        plan, uv1, uv2 = plan_of(store, project, "mine"), kit(store, "uv1"), kit(store, "uv2")
        store.put(plan.place.path, plan.render()[:-5])
        store.put(uv1, b"changed")
        store.delete(uv2)
        result = verify_cache(project)
        assert found(result) == [(DAMAGED_KIT, uv1), (DAMAGED_PLAN, plan.place.path), (MISSING_KIT, uv2)]
        assert [finding.needed_by for finding in result.findings] == [
            (called(other, "one"),),
            (called(project, "mine"),),
            (called(other, "two"),),
        ]

    def test_damaged_and_missing_parts_are_found(self, project: Project, other: Project, store: Store) -> None:
        damaged, missing = (made_up_part(name).file.path for name in ("part2", "part3"))
        store.put(damaged, b"changed")
        store.delete(missing)
        result = verify_cache(project)
        assert found(result) == [(DAMAGED_PART, damaged), (MISSING_PART, missing)]
        assert [set(finding.needed_by) for finding in result.findings] == [
            {called(project, "mine"), called(other, "two")},
            {called(other, "two")},
        ]

    def test_a_plan_of_a_newer_envlock_is_no_damage(self, project: Project, store: Store) -> None:
        store.put(*newer(plan_of(store, project, "mine")))
        result = verify_cache(project)
        assert result.findings == ()
        assert result.verification.unread_plans == (called(project, "mine"),)

    def test_a_plan_without_an_environment_lacks_nothing(self, project: Project, other: Project, store: Store) -> None:
        """An older gc deleted the environment; the next gc deletes the plan."""
        store.delete(environment_place(lock_of(other, "two")).path)
        store.delete(kit(store, "uv2"))
        assert verify_cache(project).findings == ()

    def test_what_goes_and_comes_meanwhile_is_no_damage(self, project: Project, other: Project, store: Store) -> None:
        """A sweep deletes a plan and its kit after they were listed, and a push writes another one."""
        plan = plan_of(store, other, "two")

        class Busy:
            def __getattr__(self, name: str) -> object:
                return getattr(store, name)

            def entries(self, folder: str) -> list[Entry]:
                listed = list(store.entries(folder))
                if folder == PLANS:
                    store.delete(plan.place.path)
                    store.delete(kit(store, "uv2"))
                if folder == KITS:
                    write_plan(store, lock_of(project, "mine"), "uv9", "python1")
                return listed

        result = verify(Busy(), Reporter())  # type: ignore[arg-type]
        assert result.findings == ()
        assert kits_in(store) == {"uv1", "python1", "python2", "uv9"}


class TestRepair:
    def repaired(self, project: Project) -> list[str]:
        result = verify_cache(project, repair=True)
        assert result.findings == result.failures == ()
        assert verify_cache(project).verification.findings == ()
        return [finding.verdict for finding in result.repaired]

    def test_what_is_of_no_use_goes_so_that_the_next_push_writes_it(
        self, project: Project, other: Project, store: Store
    ) -> None:
        plan = plan_of(store, project, "mine")
        store.put(plan.place.path, b"")
        store.delete(kit(store, "uv2"))
        assert self.repaired(project) == [DAMAGED_PLAN, MISSING_KIT]
        assert [place for _, place in Plans(store).places()] == [plan_of(store, other, "one").place]
        assert write_plan(store, lock_of(project, "mine"), "uv1", "python1", *MINE) == plan
        assert verify_cache(project).findings == ()

    def test_a_damaged_record_of_an_image_goes(self, project: Project, store: Store) -> None:
        place = environment_place(lock_of(project, "mine"))
        Images(store).write(place, ImageRecord("registry.example/team/a", "1", f"sha256:{'1' * 64}", "base"))
        assert found(verify_cache(project)) == []
        store.put(image_path(place), b'{"name": "x; y"}' + b" " * (40 << 20))
        assert found(verify_cache(project)) == [(DAMAGED_IMAGE, image_path(place))]
        assert found(verify_cache(project, repair=True)) == []
        assert paths(store, "images") == set()

    def test_a_damaged_file_of_a_kit_goes_after_the_plans_that_name_it(self, project: Project, store: Store) -> None:
        store.put(kit(store, "uv1"), b"changed")
        assert self.repaired(project) == [DAMAGED_KIT]
        assert kits_in(store) == {"python1", "uv2", "python2"}
        assert len(paths(store, PLANS)) == 1

    def test_a_plan_that_lost_a_part_becomes_one_of_packages(
        self, project: Project, other: Project, store: Store
    ) -> None:
        plans = {name: plan_of(store, each, name) for name, each in (("mine", project), ("two", other))}
        store.put(made_up_part("part3").file.path, b"changed")
        assert self.repaired(project) == [DAMAGED_PART]
        assert plan_of(store, other, "two") == plans["two"].without_pack()
        assert plan_of(store, project, "mine") == plans["mine"]
        assert parts_in(store, *MINE) == set(MINE)

    def test_parts_stay_while_a_push_packs(self, project: Project, store: Store) -> None:
        store.put(made_up_part("part1").file.path, b"changed")
        with announced(store, Needs(parts=frozenset({PARTS}))):
            assert [verdict for verdict, _ in found(verify_cache(project, repair=True))] == [DAMAGED_PART]
        assert store.entry(made_up_part("part1").file.path) is not None

    def test_what_a_push_is_about_to_write_stays(self, project: Project, store: Store) -> None:
        plan, uv1 = plan_of(store, project, "mine"), kit(store, "uv1")
        store.put(plan.place.path, b"")
        store.put(uv1, b"changed")
        needs = Needs(frozenset({plan.environment.path}), kits=plan.kits)
        with announced(store, needs):
            assert found(verify_cache(project, repair=True)) == [(DAMAGED_KIT, uv1), (DAMAGED_PLAN, plan.place.path)]
        assert len(paths(store, PLANS)) == 3

    def test_what_a_push_has_replaced_meanwhile_stays(
        self, project: Project, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import envlock.workflow.cache as cache_module

        plan, uv1, uv2 = plan_of(store, project, "mine"), kit(store, "uv1"), kit(store, "uv2")
        stray = f"packages/ab/{'ab' * 32}/stray-1.0-py3-none-any.whl"
        right = {path: store.read(path) for path in (plan.place.path, uv1, uv2)}
        store.put(plan.place.path, b"")
        store.put(uv1, b"changed")
        store.delete(uv2)
        store.put(stray, b"not that")

        def verified(*arguments: object) -> object:
            done = verify(*arguments)  # type: ignore[arg-type]
            for path, data in right.items():
                store.put(path, data)
            return done

        monkeypatch.setattr(cache_module, "verify", verified)
        result = verify_cache(project, repair=True)
        assert (result.findings, len(result.repaired)) == ((), 4)
        assert len(paths(store, PLANS)) == 3
        assert len(paths(store, KITS)) == 4
        assert store.entry(stray) is None


def kit(store: Store, name: str) -> str:
    (path,) = (path for path in paths(store, KITS) if path.rpartition("/")[2].startswith(f"{name}-"))
    return path


def called(project: Project, name: str) -> str:
    lock = lock_of(project, name)
    return f"{lock.identity} on {lock.arch}"


class TestCommands:
    @pytest.fixture(autouse=True)
    def _in_the_project(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(project.folder)

    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
        assert main(["cache", *arguments]) == status
        return capsys.readouterr().out

    def test_ls_counts_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.run(capsys, "ls")
        assert "3 plans, 4 files of kits (" in said
        assert said.splitlines()[0].split()[-1] == "plans"
        counted = json.loads(self.run(capsys, "ls", "--json"))
        assert (counted["plans"], counted["kits"], counted["parts"]) == (3, 4, 3)
        assert counted["kit_bytes"] > 0 < counted["part_bytes"]
        assert " and 3 parts (" in said
        assert [each["plans"] for each in counted["environments"]] == [1, 1, 1]

    def test_verify_counts_them_and_says_what_helps(
        self, project: Project, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "3 plans, 4 files of kits (" in self.run(capsys, "verify")
        store.put(kit(store, "uv1"), b"changed")
        store.put(*newer(plan_of(store, project, "mine")))
        shown = json.loads(self.run(capsys, "verify", "--json", status=3))
        assert (shown["plans"], shown["kits"], shown["unread_plans"]) == (4, 4, [called(project, "mine")])
        assert [each["verdict"] for each in shown["findings"]] == [DAMAGED_KIT]
        assert "`envlock push` writes them again" in self.run(capsys, "verify", "--repair")

    def test_gc_lists_them(self, capsys: pytest.CaptureFixture[str]) -> None:
        said = self.run(capsys, "gc")
        assert "plans: 2 of 3" in said
        assert "files of kits: 2 of 4, " in said
        assert "parts of packs: 1 of 3, " in said
        counted = json.loads(self.run(capsys, "gc", "--json"))["kinds"]
        assert (counted["plan"]["files"], counted["plan"]["of_files"]) == (2, 3)
        assert (counted["kit"]["files"], counted["kit"]["of_files"]) == (2, 4)
        assert (counted["part"]["files"], counted["part"]["of_files"]) == (1, 3)


def test_a_made_up_plan_is_one(store: Store, project: Project) -> None:
    plan = plan_of(store, project, "mine")
    assert parse_plan(plan.render(), plan.place) == plan
