from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.cache.contents import CachedEnvironment
from envlock.cache.environments import Environments
from envlock.cache.errors import CachedLockDamaged
from envlock.cache.open import open_store
from envlock.cache.port import Store
from envlock.config.project import Project
from envlock.lockfile.errors import NewerLockFormat
from envlock.model.arch import ARCHS
from envlock.workflow.cache import VerifiedCache, list_cache, verify_cache
from envlock.workflow.push import push
from tests.cache.locks import locked_project
from tests.index import Index
from tests.support import snapshot
from tests.workflow.recording import Recorder

ALPHA = "alpha-1.0-py3-none-any.whl"
BETA = "beta-1.5-py3-none-{platform}.whl"
LAM = "lam-1.0-py3-none-any.whl"


@pytest.fixture
def own(make_index: Callable[..., Index]) -> Index:
    return make_index()


@pytest.fixture
def project(tmp_path: Path, own: Index) -> Project:
    """Pushed; what a package is damaged in is up to the test."""
    made = locked_project(tmp_path / "project", own, {"one": [ALPHA, BETA], "two": [ALPHA, LAM]}, archs=ARCHS)
    push(made)
    own.forget()
    return made


@pytest.fixture
def store(project: Project) -> Store:
    return open_store(project.cache_url)


def path_of(store: Store, filename: str) -> str:
    (path,) = (entry.path for entry in store.entries("packages") if entry.path.endswith("/" + filename))
    return path


def flip(store: Store, path: str) -> None:
    data = bytearray(store.read(path))
    data[len(data) // 2] ^= 1
    store.put(path, bytes(data))


def found(result: VerifiedCache) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.path) for finding in result.findings]


class TestWhatOthersPutThere:
    """Each thing that cannot be read is named, and what is whole is told as ever."""

    PLANTED = (b"x = " + b"[" * 100_000, b"x = {" * 100_000, b"a." * 100_000 + b"b = 1", b"x = " + b"9" * 5000, b"\0")

    @pytest.fixture
    def planted(self, project: Project, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Files in the place of locks: texts that break parsers, and a gigabyte."""
        places = [f"envs/linux-64/{number:040x}/{number:040x}.toml" for number in range(len(self.PLANTED) + 1)]
        for place, data in zip(places, (b"", *self.PLANTED), strict=True):
            store.put(place, data)
        os.truncate(tmp_path / "cache" / places[0], 1 << 30)
        store.put("aliases/team/base/@tags/v1/0000000001.json", b"[" * 100_000)
        monkeypatch.chdir(project.folder)
        return places

    def test_ls_lists_it(self, planted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "ls", "--json"]) == 0
        environments = json.loads(capsys.readouterr().out)["environments"]
        assert {each["error"]["code"] for each in environments if each["error"]} == {"cached-lock-damaged"}
        assert sum(each["error"] is not None for each in environments) == len(planted)
        assert len(environments) == len(planted) + 2 * len(ARCHS)

    def test_verify_finds_it(self, planted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "verify", "--json"]) == 3
        findings = json.loads(capsys.readouterr().out)["findings"]
        assert sorted(each["path"] for each in findings) == planted

    def test_gc_names_what_stays(self, planted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cache", "gc"]) == 3
        said = capsys.readouterr().err
        assert "aliases/team/base/@tags/v1/0000000001.json" in said
        assert all(place in said for place in planted)

    @pytest.mark.parametrize("data", [b"[" * 100_000, b"", b'{"format": []}'])
    def test_a_format_that_cannot_be_read_stops_nobody_who_reads(
        self,
        project: Project,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        data: bytes,
    ) -> None:
        before = {entry.path for folder in ("envs", "packages") for entry in store.entries(folder)}
        store.put("CACHE.json", data)
        monkeypatch.chdir(project.folder)
        assert main(["cache", "ls"]) == 0
        told = capsys.readouterr()
        assert "8 environments" in told.out
        assert "error[cache-format-damaged]" in told.err
        assert main(["cache", "verify", "--repair"]) == 3
        assert "damaged-format: CACHE.json" in capsys.readouterr().out
        assert main(["cache", "gc", "--grace", "0", "--delete"]) == 3
        assert "CACHE.json" in capsys.readouterr().err
        assert before == {entry.path for folder in ("envs", "packages") for entry in store.entries(folder)}

    @pytest.fixture
    def _removed(self, tmp_path: Path) -> Iterator[None]:
        """Python's own way to remove folders breaks on so many, and with it what tidies up after tests."""
        yield
        subprocess.run(["rm", "-rf", tmp_path / "cache"], check=True)

    @pytest.mark.usefixtures("_removed")
    def test_folders_without_an_end_stop_nobody(
        self, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for where in ("envs", "packages", "aliases", "pushes", "pathspecs", "probe"):
            place = tmp_path / "cache" / where
            place.mkdir(exist_ok=True)
            monkeypatch.chdir(place)
            for _ in range(1500):
                os.mkdir("d")  # noqa: PTH102
                os.chdir("d")
            Path("file").touch()
            odd = place / "an\nodd \x1b name"
            odd.write_text("")
        os.utime(odd, (0, 0))  # that of the trials of the store, which go when they are old
        monkeypatch.chdir(project.folder)
        assert main(["cache", "ls"]) == 0
        assert main(["cache", "verify"]) == 0
        assert main(["cache", "gc", "--grace", "0", "--delete"]) == 3
        said = capsys.readouterr()
        assert "pathspecs/an odd ? name" in said.err
        assert odd.exists(), "envlock did not put it there"

    def test_names_are_listed(self, planted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["alias", "ls"]) == 3
        assert "team/base:v1" in "".join(capsys.readouterr())


class TestContents:
    def test_nothing(self, tmp_path: Path, own: Index) -> None:
        project = locked_project(tmp_path / "project", own, {"one": [ALPHA]})
        contents = list_cache(project)
        assert (contents.environments, contents.packages, contents.size) == ((), {}, 0)
        assert not (tmp_path / "cache").exists()

    def test_what_was_pushed(self, project: Project, store: Store) -> None:
        contents = list_cache(project)
        assert len(contents.environments) == 8
        assert [each.place.arch for each in contents.environments] == sorted(list(ARCHS) * 2)
        assert len(contents.packages) == 6
        assert contents.size == sum(entry.size for entry in store.entries("packages"))
        assert contents.unnamed == contents.strangers == ()
        two = [each for each in contents.environments if each.lock.asked_by == ("two",)]  # type: ignore[union-attr]
        assert {each.size for each in two} == {len_of(store, ALPHA) + len_of(store, LAM)}

    def test_what_stands_out(self, project: Project, store: Store) -> None:
        store.delete(path_of(store, LAM))
        store.put("packages/README.md", b"notes of the team")
        one, two = (read_of(project, name) for name in ("one", "two"))
        store.put(one.place.path, b"")
        store.put(two.place.path, store.read(two.place.path).replace(b"format = 1\n", b"format = 9\n"))
        contents = list_cache(project)
        assert sum(len(each.missing) for each in contents.environments) == 3
        kinds = {type(each.lock) for each in contents.environments}
        assert {CachedLockDamaged, NewerLockFormat} < kinds
        assert contents.strangers == ("packages/README.md",)
        assert [path.rpartition("/")[2] for path in contents.unnamed] == [BETA.format(platform=X86_64)]


X86_64 = "manylinux_2_17_x86_64.manylinux2014_x86_64"


def len_of(store: Store, filename: str) -> int:
    entry = store.entry(path_of(store, filename))
    assert entry is not None
    return entry.size


def read_of(project: Project, name: str) -> CachedEnvironment:
    """An environment of linux-64 in the cache."""
    return next(
        each
        for each in list_cache(project).environments
        if each.place.arch == "linux-64" and each.lock.asked_by == (name,)  # type: ignore[union-attr]
    )


class TestVerify:
    def test_whole(self, project: Project, own: Index, tmp_path: Path) -> None:
        before = snapshot(tmp_path / "cache")
        recorder = Recorder()
        result = verify_cache(project, reporter=recorder)
        assert result.findings == ()
        assert recorder.done["verifying"] == recorder.totals["verifying"] == result.verification.contents.size > 0
        assert snapshot(tmp_path / "cache") == before
        assert own.requests == ()

    def test_nothing(self, tmp_path: Path, own: Index) -> None:
        assert verify_cache(locked_project(tmp_path / "project", own, {"one": [ALPHA]})).findings == ()

    def test_a_corrupted_wheel(self, project: Project, store: Store, own: Index, tmp_path: Path) -> None:
        path = path_of(store, ALPHA)
        flip(store, path)
        before = snapshot(tmp_path / "cache")
        result = verify_cache(project)
        assert found(result) == [("damaged-package", path)]
        assert len(result.findings[0].needed_by) == 8
        assert snapshot(tmp_path / "cache") == before, "looking repairs nothing"
        assert own.requests == ()

    def test_everything_wrong_at_once(self, project: Project, store: Store) -> None:
        alpha, lam = path_of(store, ALPHA), path_of(store, LAM)
        store.put(alpha, b"cut")
        store.delete(lam)
        environment = read_of(project, "one").place.path
        flip(store, environment)
        assert found(verify_cache(project)) == [
            ("damaged-lock", environment),
            ("damaged-package", alpha),
            ("missing-package", lam),
        ]

    def test_a_lock_of_a_newer_envlock_is_no_damage(self, project: Project, store: Store) -> None:
        place = read_of(project, "one").place
        store.put(place.path, store.read(place.path).replace(b"format = 1\n", b"format = 9\n"))
        result = verify_cache(project)
        assert result.findings == ()
        assert result.verification.unread == (f"{place.identity} on linux-64",)


class TestRepair:
    def repaired(self, project: Project) -> VerifiedCache:
        result = verify_cache(project, repair=True)
        assert result.findings == result.failures == ()
        assert verify_cache(project).verification.findings == ()
        return result

    def test_nothing_to_do(self, project: Project, own: Index, tmp_path: Path) -> None:
        before = snapshot(tmp_path / "cache")
        assert self.repaired(project).repaired == ()
        assert snapshot(tmp_path / "cache") == before
        assert own.requests == ()

    def test_everything(self, project: Project, store: Store, own: Index) -> None:
        flip(store, path_of(store, ALPHA))
        store.delete(path_of(store, LAM))
        environment = read_of(project, "one").place.path
        store.put(environment, b"")
        assert len(self.repaired(project).repaired) == 3
        names = {request.path.rpartition("/")[2] for request in own.downloads()}
        assert names == {ALPHA, LAM}

    def test_a_damaged_package_that_nothing_names_goes(self, project: Project, store: Store, own: Index) -> None:
        stray = f"packages/ab/{'ab' * 32}/stray-1.0-py3-none-any.whl"
        store.put(stray, b"not that")
        self.repaired(project)
        assert store.entry(stray) is None
        assert own.requests == ()

    def test_what_upstream_does_not_give_stays_a_finding(self, project: Project, store: Store, own: Index) -> None:
        alpha, lam = path_of(store, ALPHA), path_of(store, LAM)
        store.delete(alpha)
        flip(store, lam)
        own.tamper(ALPHA)
        result = verify_cache(project, repair=True)
        assert found(result) == [("missing-package", alpha)]
        assert [error.code for error in result.failures] == ["upstream-hash-mismatch"]
        assert [finding.path for finding in result.repaired] == [lam]

    def test_a_damaged_lock_that_only_another_project_has(
        self, project: Project, store: Store, own: Index, tmp_path: Path
    ) -> None:
        other = locked_project(tmp_path / "other", own, {"three": [LAM]}, archs=["osx-64"])
        push(other)
        (place,) = (each.place for each in list_cache(project).environments if each.lock.asked_by == ("three",))  # type: ignore[union-attr]
        flip(store, place.path)
        assert found(verify_cache(project, repair=True)) == [("damaged-lock", place.path)]
        assert push(other).written == 1
        assert verify_cache(project).findings == ()

    def test_the_packages_of_a_damaged_lock_come_first(self, project: Project, store: Store, own: Index) -> None:
        """A lock that was lost with the only trace of its packages is not written back without them."""
        everything = [entry.path for folder in ("packages", "envs") for entry in store.entries(folder)]
        environment = read_of(project, "one").place.path
        for path in everything:
            if path != environment:
                store.delete(path)
        store.put(environment, b"")
        own.tamper(BETA.format(platform=X86_64))
        result = verify_cache(project, repair=True)
        assert found(result) == [("damaged-lock", environment)]
        assert store.read(environment) == b""
        own.mend()
        self.repaired(project)

    def test_a_lock_with_names_that_lead_out(self, project: Project, store: Store) -> None:
        lock = read_of(project, "one").lock
        evil = replace(lock, packages=(replace(lock.packages[0], filename="../../../x.whl"),))  # type: ignore[union-attr, type-var]
        Environments(store).write(evil)
        assert [verdict for verdict, _ in found(verify_cache(project))] == ["damaged-lock"]
