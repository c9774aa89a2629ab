"""`push` makes a plan for each lock of a Linux arch, after everything that the plan names is in the cache."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.cache.environments import Environments
from envlock.cache.errors import CacheUnusable
from envlock.cache.folder_store import FolderStore
from envlock.cache.gc_lock import Needs
from envlock.cache.layout import environment_place, kit_at, package_path
from envlock.cache.open import open_store
from envlock.cache.plan import Plan
from envlock.cache.plans import Plans, find_plan
from envlock.cache.port import Store, tell_nobody
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.lockfile.document import parse, render
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64
from envlock.model.lock import Lock, LockedPackage
from envlock.places import home
from envlock.remote.kernel import KERNEL_NAME, kernel
from envlock.remote.kit import FOLDER, NoKitPython
from envlock.resolve.python_builds import PythonHostUnreachable, exact_builds
from envlock.workflow import push_plans
from envlock.workflow.cache import verify_cache
from envlock.workflow.push import PushResult, push, push_locks
from tests.cache.locks import locked_project
from tests.hydration.builds import Host
from tests.index import CATALOGUE, Index
from tests.lockfile.conda_locks import WHOLE
from tests.remote.kits import KIT_RELEASES, RATTLER, UV, builds_of, python_mirror
from tests.servers.clouds import Cloud
from tests.servers.proxy import Proxy, proxied
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with python_mirror(tmp_path_factory.mktemp("mirror"), "3.12", "{}.{}".format(*sys.version_info[:2])) as host:
        yield host


@pytest.fixture(scope="module")
def shared() -> Iterator[Index]:
    """The index of all tests that do not spoil it."""
    with Index(*CATALOGUE, *KIT_RELEASES) as served:
        yield served


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tests of this module note of the kits that they choose from the shared index."""
    return tmp_path_factory.mktemp("chosen")


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    return make_index(*CATALOGUE, *KIT_RELEASES)


def project_with(folder: Path, index: Index, mirror: Host, *, remote: str = "remote = true", more: str = "") -> Project:
    settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\n{remote}\n{more}'
    return locked_project(
        folder, index, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=ARCHS, settings=settings, with_size=False
    )


@pytest.fixture
def project(tmp_path: Path, shared: Index, mirror: Host, chosen: Path) -> Iterator[Project]:
    """Two environments, for four archs, two of which nodes have; the kits have been chosen before."""
    shutil.copytree(chosen, home() / FOLDER, dirs_exist_ok=True)
    yield project_with(tmp_path / "project", shared, mirror)
    shutil.copytree(home() / FOLDER, chosen, dirs_exist_ok=True)


def locks_of(project: Project) -> list[Lock]:
    return [lock for path in lock_files(project.lock_folder) if (lock := read_lock(path)).arch.startswith("linux")]


def store_of(project: Project) -> Store:
    return open_store(project.cache_url)


def plans_of(project: Project) -> list[Plan]:
    found = [find_plan(store_of(project), lock) for lock in locks_of(project)]
    return [plan for plan in found if plan is not None]


def paths(store: Store, folder: str) -> set[str]:
    return {entry.path for entry in store.entries(folder)}


def assert_whole(store: Store) -> None:
    """Every plan can be read, and every file that it names is there, with the size and the bytes that it says."""
    for entry, place in Plans(store).places():
        plan = Plans(store).read(place)
        for file in plan.files:
            found = store.entry(file.path)
            assert found is not None, (entry.path, file.path)
            assert (found.size, store.sha256(file.path)) == (file.size, file.sha256)
    for entry in store.entries("kits/objects"):
        assert (kit_at(entry.path) or [""])[0] == store.sha256(entry.path)


def codes(result: PushResult) -> list[str]:
    return [error.code for error in result.plans.errors]


class TestMaking:
    def test_each_linux_lock_has_a_plan_and_kits_are_shared(self, project: Project) -> None:
        result = push(project)
        assert (result.plans.plans, result.plans.written, result.plans.without) == (4, 4, ())
        assert (result.plans.kits, result.plans.moved) == (4, 4), "uv and a Python, for two archs"
        assert result.environments == result.written == 8
        store = store_of(project)
        assert result.plans.moved_bytes == sum(entry.size for entry in store.entries("kits/objects"))
        assert len(paths(store, "plans")) == 4
        assert_whole(store)

    def test_a_plan_says_what_its_lock_says(self, project: Project) -> None:
        push(project)
        for lock in locks_of(project):
            plan = find_plan(store_of(project), lock)
            assert plan is not None
            assert plan.environment == environment_place(lock)
            assert [(each.name, each.version, each.file.sha256) for each in plan.packages] == [
                (each.name, each.version, each.sha256) for each in lock.packages
            ]
            build = next(each for each in builds_of("3.12") if each.arch == lock.arch)
            assert (plan.install, plan.python.series, plan.python.image) == ("wheels", "3.12", ((0, None),))
            assert plan.python.build is not None
            assert plan.python.build.file.path.endswith(f"/{build.filename}")
            assert (plan.python.build.version, plan.python.build.executable) == (
                str(build.version),
                "python/bin/python3.12",
            )
            assert plan.tools.uv.path.rpartition("/")[2].startswith(f"uv-{UV.version}-")
            assert ("aarch64" in plan.tools.uv.path) == (lock.arch == LINUX_AARCH64)
            assert plan.system == (("__glibc", "2.28"),)

    def test_nothing_is_planned_for_other_archs(self, project: Project) -> None:
        push(project)
        assert {place.environment.arch for _, place in Plans(store_of(project)).places()} == {LINUX_64, LINUX_AARCH64}

    def test_a_second_push_writes_nothing_and_requests_nothing(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror)
        push(project)
        own.forget()
        mirror.paths.clear()
        recorder = Recorder()
        result = push(project, reporter=recorder)
        assert result.moved_nothing
        assert (result.plans.plans, result.plans.written, result.plans.moved) == (4, 0, 0)
        assert (own.requests, mirror.paths) == ((), [])
        assert "pushing" not in recorder.totals

    def test_another_push_from_this_machine_chooses_nothing_again(
        self, tmp_path: Path, own: Index, mirror: Host
    ) -> None:
        push(project_with(tmp_path / "project", own, mirror))
        own.forget()
        mirror.paths.clear()
        other = project_with(tmp_path / "other", own, mirror)
        other.path.write_text(other.path.read_text().replace("../cache", "../another-cache"))
        result = push(load_project(other.path))
        assert result.plans.written == 4
        assert not own.has_been_asked("simple/*")
        assert not [path for path in mirror.paths if path.endswith("SHA256SUMS")]

    def test_an_exact_build_is_its_own_package(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        python = exact_builds("==3.12.*", [LINUX_64], mirror=mirror.url)[LINUX_64]
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\nremote = true'
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA]}, settings=settings, python=python)
        result = push(project)
        assert (result.plans.written, result.plans.kits) == (1, 1)
        (plan,) = plans_of(project)
        assert plan.python.image is None
        assert plan.python.build is not None
        assert plan.python.build.file.path.startswith("packages/")
        assert_whole(store_of(project))


class TestConda:
    """A plan of conda packages brings what links them: py-rattler, envlock's kernel, and a Python for both."""

    @pytest.fixture
    def locked(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> Lock:
        """A lock whose packages are in the cache: of a channel that is no part of this."""
        store = store_of(project)
        packages = []
        for package in WHOLE.packages:
            data = package.filename.encode()
            sha256 = hashlib.sha256(data).hexdigest()
            packages.append(replace(package, sha256=sha256, size=None))
            store.put(package_path(sha256, package.filename), data)
        return replace(WHOLE, packages=tuple(packages))

    def test_it_has_all_that_the_kernel_needs(self, project: Project, locked: Lock) -> None:
        result = push_locks(project, store_of(project), [locked])
        assert (result.plans.written, result.plans.kits, codes(result)) == (1, 4, [])
        plan = find_plan(store_of(project), locked)
        assert plan is not None
        assert plan.install == "conda"
        assert plan.tools.conda is not None
        (wheel,) = plan.tools.conda.rattler
        assert wheel.path.rpartition("/")[2].startswith(f"py_rattler-{RATTLER.version}-")
        assert plan.tools.conda.python.version.startswith("{}.{}.".format(*sys.version_info[:2]))
        assert plan.tools.conda.kernel.sha256 == hashlib.sha256(kernel()).hexdigest()
        assert (plan.python.image, plan.python.build) == (None, None)
        assert_whole(store_of(project))
        read = parse(plan.lock.encode(), "the plan")
        assert read == replace(locked, asked_by=(), resolved_by="", resolved_at="", exclude_newer="")
        assert read.identity == locked.identity

    def test_the_plan_of_another_arch_differs_in_the_files_of_that_arch_alone(
        self, project: Project, locked: Lock
    ) -> None:
        """It is made here, and runs there: nothing in it is of this machine."""
        twin = replace(locked, arch=LINUX_AARCH64, packages=tuple(map(_on_aarch64, locked.packages)))
        assert push_locks(project, store_of(project), [locked, twin]).plans.written == 2
        here, there = (find_plan(store_of(project), lock) for lock in (locked, twin))
        assert here is not None
        assert here.tools.conda is not None
        assert there is not None
        assert there.tools.conda is not None
        names = [file.path.rpartition("/")[2] for file in there.files if kit_at(file.path)]
        assert sorted(names) == sorted(
            [
                f"uv-{UV.version}-py3-none-manylinux_2_28_aarch64.whl",
                f"py_rattler-{RATTLER.version}-cp310-abi3-manylinux_2_28_aarch64.whl",
                there.tools.conda.python.file.path.rpartition("/")[2],
                KERNEL_NAME,
            ]
        )
        assert "aarch64" in there.tools.conda.python.file.path
        assert "x86_64" in here.tools.conda.python.file.path
        assert there.tools.conda.kernel == here.tools.conda.kernel
        assert there.tools.conda.python.version == here.tools.conda.python.version
        assert there.packages == here.packages
        assert there.environment.req_id == here.environment.req_id
        assert parse(there.lock.encode(), "the plan").arch == LINUX_AARCH64
        assert_whole(store_of(project))

    def test_what_a_repair_deletes_is_written_again_with_the_same_bytes(self, project: Project, locked: Lock) -> None:
        """Flows that are deployed name the plan by its hash."""
        store = store_of(project)
        push_locks(project, store, [locked])
        before = {path: store.sha256(path) for path in paths(store, "plans") | paths(store, "kits")}
        plan = find_plan(store, locked)
        assert plan is not None
        store.put(plan.tools.uv.path, b"changed")
        assert verify_cache(project, repair=True).findings == ()
        assert (paths(store, "plans"), plan.tools.uv.path in paths(store, "kits")) == (set(), False)
        push_locks(project, store, [locked])
        assert {path: store.sha256(path) for path in paths(store, "plans") | paths(store, "kits")} == before
        assert verify_cache(project).findings == ()

    def test_a_second_push_has_nothing_to_do(self, project: Project, locked: Lock) -> None:
        push_locks(project, store_of(project), [locked])
        assert push_locks(project, store_of(project), [locked]).moved_nothing

    def test_without_a_python_to_run_the_kernel_there_is_no_plan(self, project: Project, locked: Lock) -> None:
        away = load_project(_changed(project.path, "python-mirror = ", 'python-mirror = "http://127.0.0.1:9/x" # '))
        result = push_locks(away, store_of(project), [locked])
        assert (result.written, result.plans.written, len(result.plans.without)) == (1, 0, 1)
        assert codes(result) == ["no-kit"]


class TestBuckets:
    @pytest.fixture
    def project(
        self,
        tmp_path: Path,
        own: Index,
        mirror: Host,
        clouds: Callable[[str], Cloud],
        log_in: Callable[[Cloud], Cloud],
    ) -> Iterator[tuple[Project, Cloud, Proxy]]:
        """A project with a bucket, which says nothing of `remote`."""
        with proxied(clouds("moto").port) as counting:
            cloud = log_in(clouds("moto").at(counting.port))
            settings = (
                f'cache = "{cloud.url(tmp_path.name)}"\ncache-options.endpoint = "{cloud.options.endpoint}"\n'
                f'python-mirror = "{mirror.url}"\n# remote = true'
            )
            made = locked_project(tmp_path / "project", own, {"one": [ALPHA], "two": [LAM]}, settings=settings)
            yield made, cloud, counting

    def test_plans_are_made_for_a_bucket_and_a_second_push_costs_a_request_for_each(
        self, project: tuple[Project, Cloud, Proxy]
    ) -> None:
        made, cloud, counting = project
        result = push(made)
        assert (result.plans.plans, result.plans.written, result.plans.kits) == (2, 2, 2)
        assert_whole(open_store(made.cache_url, cloud.options))
        counting.passed.clear()
        assert push(made).moved_nothing
        # The format, two locks and two plans are read; the bucket, two packages and two files of kits are looked at.
        assert sorted(method for method, _ in counting.passed) == ["GET"] * 5 + ["HEAD"] * 5

    def test_what_cannot_be_got_is_a_warning_there(self, project: tuple[Project, Cloud, Proxy], own: Index) -> None:
        made, _, _ = project
        own.withdraw("uv")
        result = push(made)
        assert (result.written, codes(result), result.all_failures) == (2, ["no-kit"], ())
        result.raise_failures()


class TestAsking:
    @pytest.mark.parametrize(("remote", "count"), [("remote = false", 0), ("", 0), ("remote = true", 4)])
    def test_a_folder_gets_plans_only_if_they_are_required(
        self, tmp_path: Path, own: Index, mirror: Host, remote: str, count: int
    ) -> None:
        project = project_with(tmp_path / "project", own, mirror, remote=remote)
        result = push(project)
        assert (result.plans.plans, len(paths(store_of(project), "plans"))) == (count, count)
        assert own.has_been_asked("simple/uv/*") == bool(count)

    def test_what_is_not_chosen_gets_no_plan(self, project: Project) -> None:
        result = push(project, selection=Selection(environments=("one",), archs=("linux-64", "osx-64")))
        assert (result.plans.plans, result.plans.kits) == (1, 2)


class TestFailing:
    """A kit that cannot be got never takes packages and locks with it."""

    def test_no_wheel_of_uv(self, tmp_path: Path, index: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", index, mirror)
        result = push(project)
        assert result.written == 8
        assert codes(result) == ["no-kit", "no-kit"]
        assert result.plans.is_failure
        assert [error.exit_status for error in result.all_failures] == [4, 4]
        assert f"no wheel of uv {UV.version}" in result.plans.errors[0].message
        assert "remote = false" in (result.plans.errors[0].hint or "")
        assert len(result.plans.without) == 4
        assert not paths(store_of(project), "plans")
        assert len(list(Environments(store_of(project)).places())) == 8

    def test_no_python_build_leaves_the_images_python(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror)
        away = load_project(_changed(project.path, mirror.url, "http://127.0.0.1:9/nowhere"))
        result = push(away)
        assert (result.plans.written, result.plans.without, result.all_failures) == (4, (), ())
        (warning,) = result.plans.warnings
        assert (warning.code, "python-mirror" in (warning.hint or "")) == ("no-kit-python", True)
        assert "on linux-64 and linux-aarch64" in warning.message
        assert push(away).moved_nothing
        assert all(plan.python.build is None and plan.python.image for plan in plans_of(project))
        better = push(load_project(_changed(project.path, "http://127.0.0.1:9/nowhere", mirror.url)))
        assert (better.plans.written, better.plans.warnings) == (4, ())
        assert all(plan.python.build for plan in plans_of(project))
        for memo in (home() / FOLDER).iterdir():
            memo.unlink()
        worse = push(load_project(_changed(project.path, mirror.url, "http://127.0.0.1:9/nowhere")))
        assert (worse.plans.written, worse.plans.warnings) == (0, ()), "the better plans stay the newest"
        assert all(plan.python.build for plan in plans_of(project))

    def test_one_host_that_does_not_answer_is_one_warning(self) -> None:
        why = PythonHostUnreachable("http://127.0.0.1:9/SHA256SUMS", "Connection refused")
        facts = [("linux-64", "3.12"), ("linux-64", "3.9"), ("linux-aarch64", "3.9")]
        (warning,) = push_plans._of_one_cause(
            [NoKitPython(arch, f"no build of {series}", why, "wait", series=series) for arch, series in facts]
        )
        assert "on linux-64 and linux-aarch64 need an image with CPython 3.9 or 3.12" in warning.message
        others = [NoKitPython(arch, f"{arch} is wrong", None, "wait", series="3.9") for arch in ("a", "b")]
        assert [each.message for each in push_plans._of_one_cause(others)] == [each.message for each in others]

    def test_no_python_build_for_those_who_want_the_kits(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror, more='remote-python = "kit"')
        result = push(load_project(_changed(project.path, mirror.url, "http://127.0.0.1:9/nowhere")))
        assert (result.plans.written, len(result.plans.without)) == (0, 4)
        assert result.written == 8

    def test_a_wheel_that_is_not_what_the_index_says(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror)
        for filename in own.filenames("uv"):
            own.tamper(filename)
        result = push(project)
        assert (result.written, result.plans.written) == (8, 0)
        assert codes(result) == ["no-kit", "no-kit"]
        assert "is not the locked file" in result.plans.errors[0].details[0]
        assert not [path for path in paths(store_of(project), "kits/objects") if "/uv-" in path]
        own.mend()
        for filename in own.filenames("uv"):
            own.tamper(filename, own.artifact(filename).data)
        assert push(project).plans.written == 4

    def test_an_environment_that_is_withheld_has_no_plan(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror)
        own.tamper(LAM)
        result = push(project)
        assert result.withheld
        assert (result.plans.written, len(result.plans.without)) == (2, 2)
        assert_whole(store_of(project))

    def test_a_host_that_is_not_allowed(self, tmp_path: Path, own: Index, mirror: Host) -> None:
        project = project_with(tmp_path / "project", own, mirror, more='hosts = ["127.0.0.1"]')
        result = push(project)
        assert [error.code for error in result.plans.warnings] == ["no-kit-python"] * 2
        assert "not among `hosts`" in result.plans.warnings[0].message
        assert result.plans.written == 4, "uv is on an allowed host, and the image's Python may serve"


class TestIndexes:
    """Wheels of kits come from the project's own indexes, in whatever way it reaches them."""

    def test_no_secret_is_in_a_plan_or_in_what_is_noted(
        self, tmp_path: Path, make_index: Callable[..., Index], mirror: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = make_index(*CATALOGUE, *KIT_RELEASES, credentials=("mia", "s3cr3t-password"))
        token = own.base.rstrip("/").rpartition("/")[2]
        monkeypatch.setenv("TOKEN", token)
        url = own.url_with("mia", "s3cr3t-password").replace(token, "${TOKEN}")
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\nremote = true'
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA]}, settings=settings, index_url=url)
        result = push(project)
        assert (result.plans.written, codes(result)) == (1, [])
        shutil.rmtree(tmp_path / "cache")
        own.forget()
        assert push(project).plans.written == 1
        assert not own.has_been_asked("simple/*")
        written = [path for top in (tmp_path / "cache" / "plans", home() / FOLDER) for path in top.rglob("*.json")]
        assert len(written) == 3
        for path in written:
            assert "s3cr3t" not in path.read_text()
            assert token not in path.read_text()

    def test_an_index_without_sha256(self, tmp_path: Path, make_index: Callable[..., Index], mirror: Host) -> None:
        project = project_with(tmp_path / "project", make_index(*CATALOGUE, *KIT_RELEASES, hashes=("md5",)), mirror)
        assert push(project).plans.written == 4
        assert_whole(store_of(project))

    def test_one_that_does_not_answer_is_waited_for_once(
        self, tmp_path: Path, own: Index, mirror: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UV_HTTP_RETRIES", "0")
        project = project_with(tmp_path / "project", own, mirror)
        own.fail("simple/*", status=503)
        result = push(project)
        assert (result.written, result.plans.written) == (8, 0)
        one, two = result.plans.errors
        assert one.details == two.details, "the error of the first arch serves for the other"
        refused = [request for request in own.requests if request.status == 503]
        assert len(refused) == 2, "of uv lock for all archs, then of uv pip compile for the first"
        assert "503" in one.details[0]


class Watched(FolderStore):
    """A folder that notes what is written, and gives up after so many writes."""

    def __init__(self, root: Path, last: int = 99) -> None:
        super().__init__(root)
        self.written: list[str] = []
        self.needs: list[Needs] = []
        self._last = last

    def put(self, path: str, data: bytes | Path, *, on_bytes: Callable[[int], None] = tell_nobody) -> None:
        if len(self.written) >= self._last:
            raise CacheUnusable(self.url, "written", "the test says so", place=path)
        super().put(path, data, on_bytes=on_bytes)
        self.written.append(path)
        if path.startswith("kits/"):
            self.needs += [Needs.parse(self.read(entry.path)) for entry in self.entries("pushes")]


class TestOrder:
    def test_everything_is_there_before_what_names_it(self, project: Project, tmp_path: Path) -> None:
        store = Watched(tmp_path / "cache")
        push_locks(project, store, locks_of(project), workers=1)
        folders = [path.partition("/")[0] for path in store.written]
        order = list(dict.fromkeys(folders))
        assert order == ["pushes", "packages", "envs", "resolved", "kits", "plans"]
        last = {folder: len(folders) - 1 - folders[::-1].index(folder) for folder in order}
        assert last["packages"] < folders.index("envs")
        assert last["envs"] < folders.index("kits")
        assert last["kits"] < folders.index("plans")

    def test_no_gc_takes_what_a_push_is_about_to_name(self, project: Project, tmp_path: Path) -> None:
        store = Watched(tmp_path / "cache")
        push_locks(project, store, locks_of(project))
        kits = {path for path in store.written if path.startswith("kits/")}
        assert len(store.needs) == len(kits) == 4
        for needs in store.needs:
            assert needs.kits == kits
            assert needs.environments == {environment_place(lock).path for lock in locks_of(project)}
        assert paths(store, "pushes") == set()

    def test_wherever_a_push_ends_nothing_looks_whole_that_is_not(self, project: Project, tmp_path: Path) -> None:
        locks = locks_of(project)
        whole = Watched(tmp_path / "whole")
        push_locks(project, whole, locks)
        for last in range(5, len(whole.written)):  # before that, packages are written
            store = Watched(tmp_path / f"cache-{last}", last)
            with pytest.raises(CacheUnusable):
                push_locks(project, store, locks)
            assert_whole(store)
        assert push_locks(project, FolderStore(tmp_path / f"cache-{last}"), locks).plans.written == 1
        assert paths(store, "plans") == paths(whole, "plans")


class TestRepairing:
    def test_a_damaged_part_is_replaced(self, project: Project, tmp_path: Path) -> None:
        push(project)
        cut, changed = sorted((tmp_path / "cache" / "kits").rglob("uv-*.whl"))
        data = cut.read_bytes(), changed.read_bytes()
        cut.write_bytes(data[0][:-1])
        changed.write_bytes(data[1][:-1] + b"?")
        result = push(project)
        assert (result.plans.moved, result.plans.damaged) == (1, (cut.name,))
        result = push(project, verify=True)
        assert (result.plans.moved, result.plans.damaged) == (1, (changed.name,))
        assert (cut.read_bytes(), changed.read_bytes()) == data
        assert push(project, verify=True).moved_nothing

    def test_a_damaged_plan_is_written_again(self, project: Project, tmp_path: Path) -> None:
        push(project)
        plan = min((tmp_path / "cache" / "plans").rglob("*.json"))
        plan.write_bytes(plan.read_bytes()[:-9])
        assert push(project).plans.written == 1
        assert_whole(store_of(project))


def test_plans_are_made_of_lock_and_kit_alone(project: Project, shared: Index, mirror: Host, tmp_path: Path) -> None:
    """Who locked, when, for which environment: nothing of it is in a plan, so two people write the same one."""
    push(project)
    other = project_with(tmp_path / "other", shared, mirror)
    for path in lock_files(other.lock_folder):
        lock = replace(read_lock(path), resolved_by="somebody else", asked_by=("more",))
        path.write_text(render(lock))
        assert parse(path.read_bytes(), str(path)) == lock
    before = paths(store_of(project), "plans")
    assert push(load_project(other.path)).moved_nothing
    assert paths(store_of(project), "plans") == before


def _on_aarch64(package: LockedPackage) -> LockedPackage:
    if package.conda is None or package.conda.subdir == "noarch":
        return package
    url = package.url.replace("/linux-64/", f"/{LINUX_AARCH64}/")
    return replace(package, url=url, conda=replace(package.conda, subdir=LINUX_AARCH64))


def _changed(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path
