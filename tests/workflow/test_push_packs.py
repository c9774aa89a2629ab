"""`push --pack` puts finished environments into the cache as parts, before the plans that name them."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.errors import CacheUnusable
from envlock.cache.folder_store import FolderStore
from envlock.cache.gc_lock import Needs
from envlock.cache.plan import Pack, Plan
from envlock.cache.plans import Plans, find_plan
from envlock.cache.port import Store, tell_nobody
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.lock import Lock, LockedPython
from envlock.pack.bytecode import PHASE as COMPILING
from envlock.pack.errors import CannotPack
from envlock.pack.parts import zstd
from envlock.places import home
from envlock.remote.kit import FOLDER
from envlock.trust import distrust
from envlock.workflow import packs
from envlock.workflow.cache import collect_garbage, limits_of, verify_cache
from envlock.workflow.packs import PACKING, tree_in
from envlock.workflow.push import PushResult, push, push_locks
from tests.cache.locks import locked_project
from tests.forked import run_python
from tests.hydration.builds import Host
from tests.hydration.making import SERIES
from tests.index import CATALOGUE, Index
from tests.remote.kits import KIT_RELEASES, ZSTD, python_mirror
from tests.support import isolation
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"
PYTHON = LockedPython(source="machine", version=f"{SERIES}.0")
"""Of the series of the one Python that every machine has: it compiles."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with python_mirror(tmp_path_factory.mktemp("mirror"), SERIES) as host:
        yield host


@pytest.fixture(scope="module")
def shared() -> Iterator[Index]:
    with Index(*CATALOGUE, *KIT_RELEASES) as served:
        yield served


def project_with(folder: Path, index: Index, mirror: Host, more: str = "", **environments: list[str]) -> Project:
    settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\nremote = true\n{more}'
    return locked_project(folder, index, environments or {"one": [ALPHA, BETA]}, settings=settings, python=PYTHON)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, shared: Index, mirror: Host, shared_uv_cache: Path) -> Path:
    """A project with one environment for linux-64, which says nothing of packs, and its cache with a pack."""
    root = tmp_path_factory.mktemp("pushed")
    with isolation(root / "user", shared_uv_cache):
        push(project_with(root / "project", shared, mirror), pack=True)
        shutil.copytree(home() / FOLDER, root / FOLDER)
    return root


@pytest.fixture
def project(tmp_path: Path, pushed: Path) -> Project:
    """A copy of that project, whose cache is empty; the kits have been chosen before."""
    shutil.copytree(pushed / FOLDER, home() / FOLDER)
    shutil.copytree(pushed / "project", tmp_path / "project", symlinks=True)
    return load_project(tmp_path / "project" / "envlock.toml")


@pytest.fixture
def packed(tmp_path: Path, pushed: Path, project: Project) -> Project:
    """The same, with the cache as it was pushed."""
    shutil.copytree(pushed / "cache", tmp_path / "cache", symlinks=True)
    return project


@pytest.fixture
def store(project: Project, tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "cache")


def locks_of(project: Project) -> list[Lock]:
    return [read_lock(path) for path in lock_files(project.lock_folder)]


def plan_of(project: Project, store: Store) -> Plan:
    """The plan that nodes would get of the one environment."""
    (lock,) = locks_of(project)
    plan = find_plan(store, lock)
    assert plan is not None
    return plan


def pack_of(project: Project, store: Store) -> Pack:
    pack = plan_of(project, store).pack
    assert pack is not None
    return pack


def paths(store: Store, folder: str) -> set[str]:
    return {entry.path for entry in store.entries(folder)}


def assert_whole(store: Store) -> None:
    """Every plan can be read, and every file that it names is there, with the size and the bytes that it says."""
    for _, place in Plans(store).places():
        plan = Plans(store).read(place)
        for file in plan.files:
            found = store.entry(file.path)
            assert found is not None, file.path
            assert (found.size, store.sha256(file.path)) == (file.size, file.sha256)


def written(result: PushResult) -> tuple[int, int, int]:
    """Plans, packs and parts."""
    return result.plans.written, result.plans.packs.made, result.plans.packs.moved


class TestMaking:
    def test_modules_that_were_packed_here_before_are_not_compiled_again(
        self, project: Project, store: FolderStore, tmp_path: Path
    ) -> None:
        push(project, pack=True)
        raw = pack_of(project, store).raw
        shutil.rmtree(tmp_path / "cache")
        recorder = Recorder()
        push(project, pack=True, reporter=recorder)
        assert recorder.totals[COMPILING] == 0
        assert pack_of(project, store).raw == raw
        assert distrust(str(home() / packs.COMPILED)) is None

    def test_a_pack_is_the_tree_of_its_lock(self, project: Project, store: FolderStore, tmp_path: Path) -> None:
        result = push(project, pack=True)
        assert written(result) == (1, 1, 1)
        pack = pack_of(project, store)
        assert_whole(store)
        assert pack.compiler.startswith(f"{SERIES}.")
        assert result.plans.packs.moved_bytes == pack.size
        (part,) = pack.parts
        raw = zstd.decompress((tmp_path / "cache" / part.file.path).read_bytes())
        assert (len(raw), hashlib.sha256(raw).hexdigest()) == (part.raw_size, part.raw_sha256)
        (lock,) = locks_of(project)
        (tmp_path / "scratch").mkdir()
        with (
            tree_in(project, lock, tmp_path / "scratch", Recorder()) as tree,
            tarfile.open(fileobj=io.BytesIO(raw)) as archive,
        ):
            assert archive.getnames() == [file.path for file in tree.files]
            for file in tree.files:
                member = archive.extractfile(file.path) if file.source else None
                assert (member.read() if member else b"") == file.read()

    def test_a_plan_brings_the_packages_and_what_decompresses(self, packed: Project, store: FolderStore) -> None:
        plan = plan_of(packed, store)
        assert {package.name for package in plan.packages} == {"alpha", "beta"}
        assert plan.tools.zstd is not None
        assert plan.tools.zstd.path.rpartition("/")[2].startswith(f"backports_zstd-{ZSTD.version}-")

    def test_a_second_push_makes_nothing_and_writes_nothing(self, packed: Project, tmp_path: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
        recorder = Recorder()
        result = push(packed, pack=True, reporter=recorder)
        assert result.moved_nothing
        assert (result.plans.packs.packs, result.plans.packs.parts) == (1, 1)
        assert set(recorder.totals) == {"looking into the cache", "choosing kits"}
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before

    def test_its_progress_is_that_of_the_raw_bytes(self, project: Project, store: FolderStore) -> None:
        recorder = Recorder()
        push(project, pack=True, reporter=recorder)
        size = sum(part.raw_size for part in pack_of(project, store).parts)
        assert (recorder.totals[PACKING], recorder.done[PACKING]) == (size, size)
        assert PACKING in recorder.over

    def test_another_machine_makes_the_same_raw_bytes(self, project: Project, tmp_path: Path) -> None:
        first = FolderStore(tmp_path / "cache")
        push(project, pack=True)
        shutil.rmtree(home() / packs.FOLDER)
        other = FolderStore(tmp_path / "other")
        push_locks(project, other, locks_of(project), pack=True)
        assert pack_of(project, other).raw == pack_of(project, first).raw

    def test_parts_that_are_there_are_not_compressed_again(
        self, project: Project, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Two locks that install the same differ in their ids, and share all parts."""
        push(project, pack=True)
        (lock,) = locks_of(project)
        twin = replace(lock, requirements=lock.requirements._replace(variables=(("MODE", "x"),)))
        monkeypatch.setattr(packs, "compress", lambda *_, **__: pytest.fail("it compresses"))
        result = push_locks(project, store, [twin], pack=True)
        assert written(result) == (1, 1, 0)
        plan = find_plan(store, twin)
        assert plan is not None
        assert plan.pack == pack_of(project, store)

    def test_an_arch_that_is_not_this_machines(
        self, tmp_path: Path, shared: Index, mirror: Host, project: Project
    ) -> None:
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\nremote = true\npack = true'
        archs = ["linux-64", "linux-aarch64", "osx-arm64"]
        both = locked_project(
            tmp_path / "both", shared, {"one": [ALPHA, BETA]}, settings=settings, archs=archs, python=PYTHON
        )
        result = push(both)
        assert (written(result)[:2], result.plans.packs.without) == ((2, 2), ())
        assert_whole(FolderStore(tmp_path / "cache"))


class TestAsking:
    @pytest.mark.parametrize(
        ("more", "asked", "made"),
        [
            ("", None, 0),
            ("", True, 1),
            ("pack = true", None, 1),
            ("pack = true", False, 0),
            ('pack = "auto"', None, 0),
            ('pack = "auto"', True, 1),
        ],
    )
    def test_packs_are_made_where_somebody_asks_for_them(
        self, project: Project, tmp_path: Path, more: str, asked: bool | None, made: int
    ) -> None:
        project.path.write_text(project.path.read_text().replace("remote = true", f"remote = true\n{more}"))
        result = push(load_project(project.path), pack=asked, dry_run=True)
        assert (result.plans.packs.made, result.plans.packs.packs) == (made, made)
        assert not (tmp_path / "cache").exists()

    def test_auto_packs_what_is_large(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
        project.path.write_text(project.path.read_text().replace("remote = true", 'remote = true\npack = "auto"'))
        monkeypatch.setattr(packs, "PAYS_FROM", 100)
        assert push(load_project(project.path), dry_run=True).plans.packs.made == 1

    def test_a_push_that_says_nothing_of_packs_keeps_the_pack(self, packed: Project, store: FolderStore) -> None:
        assert push(packed).moved_nothing
        assert plan_of(packed, store).pack

    def test_the_plan_that_nodes_get_is_the_one_that_was_asked_for_last(
        self, packed: Project, store: FolderStore
    ) -> None:
        with_pack = plan_of(packed, store)
        assert written(push(packed, pack=False)) == (1, 0, 0)
        assert plan_of(packed, store) == with_pack.without_pack()
        assert push(packed, pack=False).moved_nothing
        assert written(push(packed, pack=True)) == (1, 0, 0), "its parts are still there"
        assert plan_of(packed, store) == with_pack
        assert push(packed, pack=True).moved_nothing

    def test_an_environment_whose_link_scripts_may_run_is_not_packed(self, project: Project) -> None:
        (lock,) = locks_of(project)
        assert not packs.has_link_scripts(project, lock)
        text = project.path.read_text()
        project.path.write_text(text.replace("remote = true", 'remote = true\nlink-scripts = ["font-x"]'))
        allowed = load_project(project.path)
        conda = replace(lock, packages=(replace(lock.packages[0], kind="conda", name="font-x"),))
        assert packs.has_link_scripts(allowed, conda)
        assert not packs.has_link_scripts(allowed, lock)


class TestFailing:
    """A pack that cannot be made never takes the plan with it: nodes install the packages."""

    def test_a_part_that_is_too_large_for_nodes_is_in_no_plan(
        self, project: Project, store: FolderStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(packs, "LARGEST_PART", 1000)
        (reason,) = push(project, pack=True).plans.packs.without
        assert "names its prefix" in reason
        assert plan_of(project, store).pack is None

    def test_what_cannot_be_packed_is_tried_once(
        self, project: Project, store: FolderStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tries = []

        def refuse(*_: object, **__: object) -> None:
            tries.append(1)
            raise CannotPack("one", "linux-64", "a conda package has no room")

        monkeypatch.setattr(packs, "tree_of", refuse)
        result = push(project, pack=True)
        assert (written(result), result.all_failures) == ((1, 0, 0), ())
        assert result.plans.packs.without == ("one on linux-64: a conda package has no room",)
        again = push(project, pack=True)
        assert (again.moved_nothing, again.plans.packs.without, len(tries)) == (True, result.plans.packs.without, 1)
        assert plan_of(project, store).pack is None
        push(project, pack=True, verify=True)
        assert len(tries) == 2

    def test_no_interpreter_to_compile_with(self, tmp_path: Path, shared: Index, mirror: Host) -> None:
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}/none"\nremote = true\npack = true'
        project = locked_project(
            tmp_path / "project",
            shared,
            {"one": [ALPHA]},
            settings=settings,
            python=LockedPython(source="machine", version="3.99.0"),
        )
        result = push(project)
        assert (result.written, result.plans.written, result.plans.packs.made) == (1, 1, 0)
        (error,) = result.all_failures
        assert error.exit_status == 5
        assert "so one on linux-64 was not packed" in error.details

    def test_no_wheel_that_decompresses(self, tmp_path: Path, make_index: Callable[..., Index], mirror: Host) -> None:
        releases = [each for each in KIT_RELEASES if each is not ZSTD]
        project = project_with(tmp_path / "project", make_index(*CATALOGUE, *releases), mirror, 'pack = "auto"')
        result = push(project, pack=True)
        assert written(result) == (1, 1, 1)
        assert [error.code for error in result.plans.packs.errors] == ["no-kit"]
        assert plan_of(project, FolderStore(tmp_path / "cache")).tools.zstd is None

    def test_no_room_where_parts_are_made(self, project: Project, store: FolderStore) -> None:
        status, out, error = run_python(_WITHOUT_ROOM, str(project.path))
        assert (status, out) == (0, "['home-unusable'] 1\n"), error
        assert plan_of(project, store).pack is None
        assert not paths(store, "parts")
        assert written(push(project, pack=True)) == (1, 1, 1)

    def test_a_package_that_no_host_has_any_more_does_not_get_so_far(
        self, tmp_path: Path, make_index: Callable[..., Index], mirror: Host
    ) -> None:
        own = make_index(*CATALOGUE, *KIT_RELEASES)
        project = project_with(tmp_path / "project", own, mirror)
        own.tamper(ALPHA)
        result = push(project, pack=True)
        assert (result.withheld, result.plans.packs.made) == (("one on linux-64",), 0)


_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from envlock.config.read import load_project
from envlock.workflow import packs
from envlock.workflow.push import push

compress = packs.compress
def limited(*words, **more):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    try:
        return compress(*words, **more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
packs.compress = limited
result = push(load_project(Path(sys.argv[1])), pack=True)
print([error.code for error in result.all_failures], result.plans.written)
"""
"""No file that is written while parts are compressed may have more than 100 bytes."""


class Watched(FolderStore):
    """A folder that notes what is written, calls back before each part, and ends or gives up after so many writes."""

    def __init__(self, root: Path, last: int = 99, before_part: Callable[[], object] = lambda: None) -> None:
        super().__init__(root)
        self.written: list[str] = []
        self.needs: list[Needs] = []
        self._last = last
        self._before_part = before_part

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        if len(self.written) >= self._last:
            raise CacheUnusable(self.url, "written", "the test says so", place=path)
        if path.startswith("parts/"):
            self._before_part()
            self.needs += [Needs.parse(self.read(entry.path)) for entry in self.entries("pushes")]
        super().put(path, data, on_bytes=on_bytes)
        self.written.append(path)


class TestOrder:
    def test_parts_are_written_after_all_else_and_before_the_plan(self, project: Project, tmp_path: Path) -> None:
        store = Watched(tmp_path / "cache")
        push_locks(project, store, locks_of(project), pack=True)
        order = list(dict.fromkeys(path.partition("/")[0] for path in store.written))
        assert order == ["pushes", "packages", "envs", "resolved", "kits", "parts", "plans"]

    def test_wherever_a_push_ends_nothing_looks_whole_that_is_not(self, project: Project, tmp_path: Path) -> None:
        whole = Watched(tmp_path / "whole")
        push_locks(project, whole, locks_of(project), pack=True)
        first = next(number for number, path in enumerate(whole.written) if path.startswith("parts/"))
        for last in range(first, len(whole.written)):
            store = Watched(tmp_path / f"cache-{last}", last)
            with pytest.raises(CacheUnusable):
                push_locks(project, store, locks_of(project), pack=True)
            assert_whole(store)
            assert not paths(store, "plans")
        again = FolderStore(tmp_path / f"cache-{last}")
        push_locks(project, again, locks_of(project), pack=True)
        assert_whole(again)
        assert plan_of(project, again) == plan_of(project, whole)

    def test_a_push_that_is_killed_leaves_nothing_that_a_second_one_does_not_mend(
        self, project: Project, store: FolderStore
    ) -> None:
        status, _, _ = run_python(_DIES_BEFORE_ITS_PLAN, str(project.path))
        assert status == -9
        assert len(paths(store, "parts")) == 1
        assert not paths(store, "plans")
        assert written(push(project, pack=True)) == (1, 1, 0), "the part is there"
        assert_whole(store)

    def test_what_a_gc_took_before_the_push_could_say_what_it_needs_is_made_again(
        self, packed: Project, tmp_path: Path
    ) -> None:
        """The push has something to write, and found its pack before it announced itself."""
        store = FolderStore(tmp_path / "cache")
        plan = plan_of(packed, store)
        store.delete(plan.environment.path)
        (part,) = paths(store, "parts")

        class Swept(FolderStore):
            def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
                if path.startswith("pushes/"):
                    self.delete(part)
                super().put(path, data, on_bytes=on_bytes)

        result = push_locks(packed, Swept(tmp_path / "cache"), locks_of(packed), pack=True)
        assert written(result) == (0, 1, 1)
        assert plan_of(packed, store) == plan
        assert_whole(store)

    def test_no_gc_takes_a_part_that_a_push_is_about_to_name(self, packed: Project, tmp_path: Path) -> None:
        """Parts that no plan names are there already, and a gc runs while the push packs."""
        store = FolderStore(tmp_path / "cache")
        plan = plan_of(packed, store)
        store.delete(plan.place.path)

        def sweep() -> None:
            collect_garbage(packed, limits_of(grace="0"), delete=True)

        (lock,) = locks_of(packed)
        twin = replace(lock, requirements=lock.requirements._replace(variables=(("MODE", "x"),)))
        monitored = Watched(tmp_path / "cache", before_part=sweep)
        (part,) = paths(store, "parts")
        store.put("parts/ab/" + "ab" * 32 + ".tar.zst", b"of nobody")
        store.delete(part)
        push_locks(packed, monitored, [lock, twin], pack=True)
        assert all(needs.parts == {"parts"} for needs in monitored.needs)
        assert len(monitored.needs) == 1
        assert_whole(store)
        assert len(paths(store, "parts")) == 2
        sweep()
        assert len(paths(store, "parts")) == 1


_DIES_BEFORE_ITS_PLAN = """
import os, sys
from pathlib import Path
from envlock.cache.folder_store import FolderStore
from envlock.config.read import load_project
from envlock.workflow.push import push

put = FolderStore.put
def dies(self, path, data, **more):
    if path.startswith("plans/"):
        os.kill(os.getpid(), 9)
    put(self, path, data, **more)
FolderStore.put = dies
push(load_project(Path(sys.argv[1])), pack=True)
"""


class TestRepairing:
    @pytest.fixture
    def part(self, packed: Project, store: FolderStore, tmp_path: Path) -> Path:
        (part,) = pack_of(packed, store).parts
        return tmp_path / "cache" / part.file.path

    def test_a_part_that_is_gone_is_made_again(self, project: Project, store: FolderStore, part: Path) -> None:
        data = part.read_bytes()
        part.unlink()
        assert [finding.verdict for finding in verify_cache(project).findings] == ["missing-part"]
        assert written(push(project)) == (1, 0, 0), "without it, nodes install the packages"
        assert plan_of(project, store).pack is None
        assert written(push(project, pack=True)) == (1, 1, 1)
        assert part.read_bytes() == data

    @pytest.mark.parametrize("verify", [False, True])
    def test_a_damaged_part_is_replaced(self, project: Project, store: FolderStore, part: Path, verify: bool) -> None:
        data = part.read_bytes()
        part.write_bytes(data[:-1] + (b"?" if verify else b""))
        assert [finding.verdict for finding in verify_cache(project).findings] == ["damaged-part"]
        result = push(project, pack=True, verify=verify)
        assert (written(result), result.plans.damaged) == ((0, 1, 1), (part.name,))
        assert part.read_bytes() == data
        assert_whole(store)

    def test_damaged_bytes_of_the_right_size_are_found_by_those_who_look(
        self, project: Project, store: FolderStore, part: Path
    ) -> None:
        part.write_bytes(bytes(part.stat().st_size))
        assert push(project, pack=True).moved_nothing
        assert not push(project, pack=True, verify=True).moved_nothing

    def test_a_repaired_cache_gets_its_pack_back(self, project: Project, store: FolderStore, part: Path) -> None:
        part.write_bytes(b"changed")
        assert verify_cache(project, repair=True).findings == ()
        assert plan_of(project, store).pack is None
        push(project, pack=True)
        assert plan_of(project, store).pack
        assert verify_cache(project).findings == ()
