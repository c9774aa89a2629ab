"""What is built for a lock: from where, once, for which archs, and where its wheel is found later."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from envlock.build import wheels as building
from envlock.cache.errors import BuiltWheelMissing
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.files import sha256_of
from envlock.lockfile.folder import read_lock
from envlock.model.arch import ARCHS, host_arch
from envlock.model.lock import Lock, LockedPackage
from envlock.named.alias import parse_alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.workflow.build import build_wheels
from envlock.workflow.check import check
from envlock.workflow.check_online import check_online
from envlock.workflow.hydrate import hydrate
from envlock.workflow.lock import LockResult, Upgrade, lock
from envlock.workflow.push import push
from tests.build.repositories import commit, git, served
from tests.index import Index, Release
from tests.support import ProjectFolder

HERE = host_arch()
PYTHON = "{}.{}".format(*sys.version_info[:2])
COMPILED = f"cp{sys.version_info[0]}{sys.version_info[1]}-cp{sys.version_info[0]}{sys.version_info[1]}"
COMPILED_HERE = f"{COMPILED}-{re.sub('[-.]', '_', sysconfig.get_platform())}"
TWO = (HERE, "osx-arm64")
COMMON = Release("common", "1.0", requires=("lam",))
NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)


def locked(project: ProjectFolder, *, upgrade: tuple[str, ...] = (), offline: bool = False) -> LockResult:
    wanted = Upgrade.of(everything=False, packages=upgrade)
    return lock(load_project(project.config), upgrade=wanted, offline=offline, now=lambda: NOON)


def locks(project: ProjectFolder) -> dict[str, Lock]:
    return {lock.arch: lock for lock in map(read_lock, project.locks)}


def package(project: ProjectFolder, name: str, arch: str = HERE) -> LockedPackage:
    return next(each for each in locks(project)[arch].packages if each.name == name)


def write(project: ProjectFolder, *lines: str, archs: tuple[str, ...] = ARCHS, settings: str = "") -> None:
    table = f'[env.demo.pypi]\npython = "{PYTHON}"\n[env.demo.pypi.packages]\n' + "\n".join(lines) + "\n"
    project.write(table, archs=archs, settings=settings)


def name_it(project: Project, alias: str, environment: str) -> None:
    lookup = Lookup(project)
    (found,) = (lookup.environment(each) for each in project.named if each.name == environment)
    give(lookup, parse_alias(alias), found)


def hydrated(project: ProjectFolder) -> Path:
    return hydrate(load_project(project.config), locks(project)[HERE])


def imported(project: ProjectFolder, module: str) -> str:
    """The tag of the module in the hydrated environment, as it says itself."""
    text = next((hydrated(project) / "lib").glob(f"python3*/site-packages/{module}/__init__.py")).read_text()
    return text.partition('PLATFORM = "')[2].partition('"')[0]


@pytest.fixture
def monorepo(project: ProjectFolder) -> ProjectFolder:
    COMMON.write_source(project.folder / "libs/common")
    return project


# A folder.


def test_a_folder_serves_every_arch_from_one_build(monorepo: ProjectFolder) -> None:
    write(monorepo, 'common = { path = "libs/common" }')
    result = locked(monorepo)
    found = locks(monorepo)
    assert set(found) == set(ARCHS)
    assert {each.sha256 for lock in found.values() for each in lock.packages if each.name == "common"} == {
        package(monorepo, "common").sha256
    }
    common = package(monorepo, "common")
    assert common.source is not None
    assert (common.source.kind, common.source.path, common.url) == ("folder", "libs/common", "")
    assert common.dependencies == ("lam",)
    assert any("common 1.0 was built from libs/common" in note for each in result.locked for note in each.notes)
    assert check(load_project(monorepo.config)).findings == ()
    assert imported(monorepo, "common") == "sdist"


def test_a_change_in_a_folder_is_drift_that_names_the_folder(monorepo: ProjectFolder) -> None:
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    locked(monorepo)
    (monorepo.folder / "libs/common/common/more.py").write_text("")
    (finding,) = check(load_project(monorepo.config)).findings
    assert finding.verdict == "stale"
    assert finding.reasons == ("libs/common changed since common 1.0 was built from it",)
    assert finding.location is not None
    assert finding.location.line == 9
    before = package(monorepo, "common")
    locked(monorepo)
    assert package(monorepo, "common").sha256 != before.sha256
    assert check(load_project(monorepo.config)).findings == ()


def test_another_package_that_changes_leaves_the_wheel_as_it_is(
    monorepo: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    locked(monorepo)
    before = package(monorepo, "common")
    monkeypatch.setattr(building, "_build", None)  # so that no build can begin
    write(monorepo, 'common = { path = "libs/common" }', 'alpha = "<2"', archs=(HERE,))
    locked(monorepo)
    assert package(monorepo, "common") == before


def test_who_needs_a_package_gets_what_was_built(make_index: Callable[..., Index], tmp_path: Path) -> None:
    index = make_index(Release("app", "1.0", requires=("common>=1",)), Release("common", "3.0"), Release("lam", "1.0"))
    project = ProjectFolder.make(tmp_path / "project", index.url)
    COMMON.write_source(project.folder / "libs/common")
    write(project, 'common = { path = "libs/common" }', 'app = ""', archs=(HERE,))
    locked(project)
    assert package(project, "common").version == "1.0"
    assert package(project, "app").dependencies == ("common",)


def test_a_folder_of_another_name_than_it_says_is_refused(monorepo: ProjectFolder) -> None:
    write(monorepo, 'other = { path = "libs/common" }', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(monorepo)
    assert caught.value.code == "build-of-another"
    assert [(each.path, each.line) for each in caught.value.locations][-1] == ("envlock.toml", 9)


def test_only_the_archs_of_its_marker_have_it(monorepo: ProjectFolder) -> None:
    marker = "sys_platform == 'darwin'"
    write(monorepo, f'common = {{ path = "libs/common", marker = "{marker}" }}', 'lam = ""', archs=TWO)
    locked(monorepo)
    names = {arch: [each.name for each in lock.packages] for arch, lock in locks(monorepo).items()}
    assert names == {HERE: ["lam"], "osx-arm64": ["common", "lam"]}
    assert check(load_project(monorepo.config)).findings == ()


def test_a_build_that_fails_fails_once_for_all_archs(monorepo: ProjectFolder) -> None:
    (monorepo.folder / "libs/common/backend.py").write_text("def build_wheel(*_): raise RuntimeError('no such luck')\n")
    write(monorepo, 'common = { path = "libs/common" }')
    with pytest.raises(EnvlockError) as caught:
        locked(monorepo)
    assert caught.value.code == "build-failed"
    assert any("no such luck" in detail for detail in caught.value.details)
    assert not monorepo.lock_folder.exists()


def test_in_a_mixed_environment_it_stands_on_conda_packages(conda_project: ProjectFolder) -> None:
    """Its Python is conda's, whatever its series: what is pure is built with any that is here."""
    replace(COMMON, requires=("beta>=1",)).write_source(conda_project.folder / "libs/common")
    table = "[env.demo.conda.libraries]\nbeta = ''\n[env.demo.pypi.packages]\ncommon = { path = 'libs/common' }\n"
    conda_project.write(f"{table}[env.demo.conda]\npython = '{conda_project.conda_python}'\n", archs=TWO)
    locked(conda_project)
    for found in locks(conda_project).values():
        assert (found.requirements.type, [each.name for each in found.pypi_packages]) == ("mixed", ["common"])
        assert "beta" in [each.name for each in found.conda_packages]
    assert check(load_project(conda_project.config)).findings == ()


# Compiled packages.


def test_a_compiled_package_is_an_error_for_other_archs(monorepo: ProjectFolder) -> None:
    replace(COMMON, built_as=COMPILED_HERE).write_source(monorepo.folder / "libs/common")
    write(monorepo, 'common = { path = "libs/common" }', archs=TWO)
    with pytest.raises(EnvlockError) as caught:
        locked(monorepo)
    assert caught.value.code == "built-for-other-arch"
    assert "osx-arm64" in caught.value.message
    assert HERE not in caught.value.message
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    locked(monorepo)
    assert package(monorepo, "common").filename == f"common-1.0-{COMPILED_HERE}.whl"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is of Linux")
def test_what_needs_a_newer_glibc_than_the_lock_promises_is_refused(monorepo: ProjectFolder) -> None:
    folder = replace(COMMON, built_as=COMPILED_HERE).write_source(monorepo.folder / "libs/common")
    backend = (folder / "backend.py").read_text()
    binary = "    files[f'{module}/x.so'] = b'\\x7fELF\\0GLIBC_2.99\\0'\n    with zipfile"
    (folder / "backend.py").write_text(backend.replace("    with zipfile", binary))
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(monorepo)
    assert caught.value.code == "built-for-newer-system"
    assert "needs glibc 2.99, and the lock promises glibc 2.28" in caught.value.message


def test_the_wheel_that_a_machine_of_the_arch_pushed_completes_the_lock(
    monorepo: ProjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another machine does is done here under its arch: it is what is put into the cache that counts."""
    folder = monorepo.folder / "libs/common"
    replace(COMMON, built_as=f"{COMPILED}-macosx_11_0_arm64").write_source(folder)
    write(monorepo, 'common = { path = "libs/common" }', archs=TWO)
    for module in ("envlock.workflow.build", "envlock.workflow.builds"):
        monkeypatch.setattr(f"{module}.host_arch", lambda: "osx-arm64")
    result = build_wheels(load_project(monorepo.config), push=True)
    assert [(each.name, each.outcome) for each in result.packages] == [("common", "built")]
    there = result.packages[0].sha256
    monkeypatch.undo()
    shutil.rmtree(monorepo.folder.parent / "home" / "packages", ignore_errors=True)
    write(monorepo, 'common = { path = "libs/common" }', archs=("osx-arm64",))
    locked(monorepo)
    assert package(monorepo, "common", "osx-arm64").sha256 == there


# An sdist of an index.

SDISTS = (
    Release("pure", "1.0", tags=(), sdist=True, requires=("lam",)),  # as docopt, pyspark, antlr4
    Release("hydra", "2.0", requires=("antlr==4.9",)),  # as hydra-core: what it needs has no wheel
    Release("hydra", "1.0"),
    Release("antlr", "4.9", tags=(), sdist=True),
    Release("antlr", "5.0"),
    Release("flow", "2.10", requires=("unicodecsv", "pure")),  # as Airflow: some of many
    Release("unicodecsv", "0.1", tags=(), sdist=True),
    Release("newer", "1.0"),
    Release("newer", "1.5", tags=(), sdist=True),
    Release("lam", "1.0"),
)


@pytest.fixture
def sdists(make_index: Callable[..., Index], tmp_path: Path) -> ProjectFolder:
    return ProjectFolder.make(tmp_path / "project", make_index(*SDISTS).url)


@pytest.mark.parametrize(
    ("asked", "allowed", "versions"),
    [
        ("pure", '["pure"]', {"pure": "1.0", "lam": "1.0"}),
        ("hydra", '["antlr"]', {"hydra": "2.0", "antlr": "4.9"}),
        ("flow", '["pure", "unicodecsv"]', {"flow": "2.10", "pure": "1.0", "unicodecsv": "0.1", "lam": "1.0"}),
        ("flow", "true", {"flow": "2.10", "pure": "1.0", "unicodecsv": "0.1", "lam": "1.0"}),
        ("newer", '["newer"]', {"newer": "1.5"}),
        ("newer", '["pure"]', {"newer": "1.0"}),
    ],
)
def test_what_build_allows_is_built_where_no_wheel_fits(
    sdists: ProjectFolder, asked: str, allowed: str, versions: dict[str, str]
) -> None:
    write(sdists, f'{asked} = ""', settings=f"build = {allowed}", archs=TWO)
    locked(sdists)
    for found in locks(sdists).values():
        assert {each.name: each.version for each in found.packages} == versions
    assert set(locks(sdists)) == set(TWO)
    assert check(load_project(sdists.config)).findings == ()


def test_the_lock_names_the_sdist_its_index_and_its_wheel(sdists: ProjectFolder) -> None:
    write(sdists, 'pure = ""', archs=(HERE,), settings='build = ["pure"]')
    locked(sdists)
    pure = package(sdists, "pure")
    assert pure.source is not None
    assert (pure.source.kind, pure.source.filename) == ("sdist", "pure-1.0.tar.gz")
    assert pure.index.rstrip("/") == sdists.index_url.rstrip("/")
    assert pure.filename == "pure-1.0-py3-none-any.whl"
    assert imported(sdists, "pure") == "sdist"
    assert check_online(load_project(sdists.config)).findings == ()


@pytest.mark.parametrize(
    ("asked", "code", "line"),
    [("pure", "no-wheel", 'build = ["pure"]'), ("hydra", "older-major-version", 'build = ["antlr"]')],
)
def test_an_error_says_the_line_that_allows_a_build(sdists: ProjectFolder, asked: str, code: str, line: str) -> None:
    write(sdists, f'{asked} = ""', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(sdists)
    assert caught.value.code == code
    assert line in (caught.value.hint or "")


def test_a_contradiction_about_what_may_be_built_is_told_as_one(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    index = make_index(*SDISTS, Release("antlr", "4.8", tags=(), sdist=True))
    project = ProjectFolder.make(tmp_path / "project", index.url)
    write(project, 'hydra = "==2.0"', 'antlr = "==4.8"', archs=(HERE,), settings='build = ["antlr"]')
    with pytest.raises(EnvlockError) as caught:
        locked(project)
    assert caught.value.code == "no-solution"
    assert "antlr==4.9" in caught.value.render()
    assert "wheel" not in caught.value.render()


def test_what_build_no_longer_allows_fails_check_and_is_locked_anew(sdists: ProjectFolder) -> None:
    write(sdists, 'newer = ""', archs=(HERE,), settings='build = ["newer"]')
    locked(sdists)
    write(sdists, 'newer = ""', archs=(HERE,))
    (finding,) = check(load_project(sdists.config)).findings
    assert (finding.verdict, finding.exit_status) == ("build-not-allowed", 3)
    assert '"newer"' in finding.repair
    locked(sdists)
    assert package(sdists, "newer").version == "1.0"
    assert check(load_project(sdists.config)).findings == ()


def test_a_package_whose_wheels_are_not_taken_is_built_and_build_need_not_name_it(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    both = Release("both", "1.0", sdist=True, requires=("needed",))
    index = make_index(both, Release("needed", "1.0", sdist=True), Release("bare", "1.0"))
    project = ProjectFolder.make(tmp_path / "project", index.url)
    table = f'[env.demo.pypi]\npython = "{PYTHON}"\npackages = {{ both = "" }}\nextras = ["no-binary=%s"]\n'
    project.write(table % "Both", archs=(HERE,))
    locked(project)
    sources = {each.name: each.source and each.source.kind for each in locks(project)[HERE].packages}
    assert sources == {"both": "sdist", "needed": None}
    assert check(load_project(project.config)).findings == ()
    project.write(table % ":all:", archs=(HERE,))
    assert [each.verdict.name for each in check(load_project(project.config)).findings] == ["STALE"]
    locked(project)
    assert all(each.source for each in locks(project)[HERE].packages)
    project.write((table % "bare").replace("both =", "bare ="), archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(project)
    assert caught.value.code == "no-solution"


def test_build_runs_nothing_that_build_does_not_allow(sdists: ProjectFolder) -> None:
    write(sdists, 'newer = ""', archs=(HERE,), settings='build = ["newer"]')
    locked(sdists)
    write(sdists, 'newer = ""', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        build_wheels(load_project(sdists.config))
    assert caught.value.code == "build-not-allowed"


def test_what_a_named_environment_has_built_is_not_for_build_to_allow(sdists: ProjectFolder) -> None:
    write(sdists, 'pure = ""', archs=(HERE,), settings='build = ["pure"]')
    text = sdists.config.read_text().replace(
        "[env.demo.pypi]", '[env.demo]\naliases = ["team/base:v1"]\n[env.demo.pypi]'
    )
    sdists.config.write_text(text)
    locked(sdists)
    push(load_project(sdists.config))
    name_it(load_project(sdists.config), "team/base:v1", "demo")
    table = "[env.demo.named_env]\nname = 'team/base:v1'\n[env.more.named_env]\nname = 'team/base:v1'\n"
    sdists.write(f"{table}[env.more.pypi.packages]\nnewer = ''\n", archs=(HERE,))
    locked(sdists)
    assert check(load_project(sdists.config)).findings == ()
    assert not locked(sdists).changed


def test_where_all_may_be_built_one_that_cannot_be_stays_as_it_is(
    make_index: Callable[..., Index], tmp_path: Path
) -> None:
    broken = replace(Release("newer", "1.5", tags=(), sdist=True), built_as="not-a-tag")
    project = ProjectFolder.make(tmp_path / "project", make_index(Release("newer", "1.0"), broken).url)
    write(project, 'newer = ""', archs=(HERE,), settings="build = true")
    (result,) = locked(project).locked
    assert package(project, "newer").version == "1.0"
    assert any("newer 1.5" in note for note in result.notes)
    write(project, 'newer = ">1.0"', archs=(HERE,), settings='build = ["newer"]')
    with pytest.raises(EnvlockError) as caught:
        locked(project)
    assert caught.value.code == "no-wheel"
    assert "newer-1.5-not-a-tag.whl" in caught.value.message


# A repository.


@pytest.fixture
def repository(project: ProjectFolder, tmp_path: Path) -> Iterator[Callable[[Release], str]]:
    """Commits the source of a release, and returns the commit."""
    folder = tmp_path / "served" / "common"
    with served(tmp_path / "served", is_dumb=True) as host:

        def committed(release: Release) -> str:
            found = commit(folder, {path: data.decode() for path, data in release.source_files().items()})
            git(folder, "update-server-info")
            write(project, f'common = {{ git = "{host.url}/common/.git", branch = "main" }}', archs=(HERE,))
            return found

        yield committed


def test_a_branch_keeps_its_locked_commit_until_it_is_upgraded(
    project: ProjectFolder, repository: Callable[[Release], str]
) -> None:
    first = repository(COMMON)
    locked(project)
    found = package(project, "common")
    assert found.source is not None
    assert (found.source.kind, found.source.commit) == ("git", first)
    second = repository(replace(COMMON, version="1.1"))
    project.config.write_text(project.config.read_text() + 'alpha = "<2"\n')
    locked(project)
    assert package(project, "common") == found
    locked(project, upgrade=("common",))
    upgraded = package(project, "common")
    assert upgraded.source is not None
    assert (upgraded.version, upgraded.source.commit) == ("1.1", second)


def test_what_is_locked_needs_no_repository(project: ProjectFolder, repository: Callable[[Release], str]) -> None:
    repository(COMMON)
    locked(project)
    shutil.rmtree(project.folder.parent / "served")
    project.config.write_text(project.config.read_text() + 'alpha = "<2"\n')
    locked(project)
    assert package(project, "common").version == "1.0"


def test_build_fills_in_the_variables_of_a_repository(
    project: ProjectFolder, repository: Callable[[Release], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(COMMON)
    monkeypatch.setenv("TEAM", "common")
    project.config.write_text(project.config.read_text().replace("/common/.git", "/${TEAM}/.git"))
    locked(project)
    result = build_wheels(load_project(project.config))
    assert [(each.name, each.outcome) for each in result.packages] == [("common", "same")]
    assert "${TEAM}" in result.packages[0].source


def test_a_repository_that_does_not_answer_is_an_error_with_its_line(project: ProjectFolder) -> None:
    write(project, 'common = { git = "http://127.0.0.1:9/common", branch = "main" }', archs=TWO)
    with pytest.raises(EnvlockError) as caught:
        locked(project)
    assert caught.value.code == "git-unreachable"
    assert [(each.path, each.line) for each in caught.value.locations] == [("envlock.toml", 9)]
    assert not project.lock_folder.exists()


def test_a_repository_is_held_to_the_hosts(project: ProjectFolder, repository: Callable[[Release], str]) -> None:
    repository(COMMON)
    locked(project)
    text = project.config.read_text().replace("[envlock]\n", '[envlock]\nhosts = ["index.example"]\n')
    project.config.write_text(text)
    (finding,) = check(load_project(project.config)).findings
    assert finding.verdict == "host-not-allowed"


# Files of the project.


def test_a_local_wheel_and_a_local_sdist(project: ProjectFolder) -> None:
    dist = project.folder / "dist"
    dist.mkdir()
    files = {each.filename: each.data for each in Release("local", "1.0", requires=("lam",), sdist=True).artifacts()}
    for name, data in files.items():
        (dist / name).write_bytes(data)
    for name, kind in (("local-1.0-py3-none-any.whl", "wheel"), ("local-1.0.tar.gz", "sdist")):
        write(project, f'local = {{ path = "dist/{name}" }}')
        locked(project)
        local = package(project, "local")
        assert local.source is not None
        assert (local.source.kind, local.source.path, local.dependencies) == (kind, f"dist/{name}", ("lam",))
        is_same = local.sha256 == sha256_of(dist / name)
        assert is_same == (kind == "wheel")
        assert imported(project, "local") == ("py3-none-any" if kind == "wheel" else "sdist")


def test_an_sdist_of_the_web_is_held_to_the_hash_in_its_url(
    sdists: ProjectFolder, make_index: Callable[..., Index]
) -> None:
    index = make_index(Release("pure", "1.0", tags=(), sdist=True))
    url, sha256 = index.file_url("pure-1.0.tar.gz"), index.artifact("pure-1.0.tar.gz").sha256
    write(sdists, f'"pure@{url}#sha256={sha256}" = ""', archs=(HERE,))
    locked(sdists)
    pure = package(sdists, "pure")
    assert pure.source is not None
    assert (pure.source.url, pure.source.sha256, pure.index) == (url, sha256, "")
    write(sdists, f'"pure@{url}#sha256={"0" * 64}" = ""', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(sdists)
    assert caught.value.code == "source-hash-mismatch"
    assert caught.value.locations[-1].line == 9


def test_an_sdist_behind_credentials_is_fetched_with_them_and_keeps_none(
    project: ProjectFolder, private_index: Index
) -> None:
    url = private_index.url.replace("://", "://reader:s3cr3t-t0ken@")
    write(project, 'epsilon = ""', archs=(HERE,), settings=f'index-url = "{url}"\nbuild = ["epsilon"]')
    locked(project)
    assert package(project, "epsilon").is_of_index_sdist
    assert "s3cr3t" not in project.lock_of(HERE).read_text()


def test_pip_tools_locks_the_same_around_what_was_built(sdists: ProjectFolder) -> None:
    COMMON.write_source(sdists.folder / "libs/common")
    found = []
    for resolver in ("uv", "pip-tools"):
        lines = ('common = { path = "libs/common" }', 'flow = ""')
        write(sdists, *lines, archs=(HERE,), settings=f'build = true\nresolver.pypi = "{resolver}"')
        shutil.rmtree(sdists.lock_folder, ignore_errors=True)
        locked(sdists)
        found.append(locks(sdists)[HERE].full_id)
    assert found[0] == found[1]


# Where the wheel is later.


def test_a_wheel_comes_from_this_machine_then_from_the_cache_and_from_nowhere_else(
    monorepo: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    locked(monorepo)
    shutil.rmtree(monorepo.folder / "libs")
    COMMON.write_source(monorepo.folder / "libs/common")
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another home"))
    with pytest.raises(BuiltWheelMissing) as caught:
        hydrated(monorepo)
    assert "envlock push" in (caught.value.hint or "")
    monkeypatch.undo()
    push(load_project(monorepo.config))
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another home"))
    assert imported(monorepo, "common") == "sdist"


def test_build_makes_the_locked_wheel_again(
    monorepo: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    locked(monorepo)
    monkeypatch.setenv("ENVLOCK_HOME", str(tmp_path / "another home"))
    result = build_wheels(load_project(monorepo.config))
    assert [(each.name, each.outcome) for each in result.packages] == [("common", "same")]
    assert imported(monorepo, "common") == "sdist"


# A workspace of uv.


def write_member(folder: Path, release: Release, *needs: str, sources: str = "") -> None:
    """A project of a workspace, which says what it needs, and from where, in the words of uv."""
    release.write_source(folder)
    with (folder / "pyproject.toml").open("a") as file:
        file.write(f'[project]\nname = "{release.name}"\nversion = "{release.version}"\ndependencies = {list(needs)}\n')
        file.write(sources)


def test_members_of_a_workspace_come_from_their_folders_even_if_an_index_has_their_names(
    project: ProjectFolder, tmp_path: Path
) -> None:
    """`lam` is on the index too; the app needs it only through `common`, whose wheel has just its name."""
    root = project.folder
    commit(
        tmp_path / "served/tool", {path: data.decode() for path, data in Release("tool", "3").source_files().items()}
    )
    git(tmp_path / "served/tool", "update-server-info")
    (root / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers = ['libs/*', 'app']\n")
    write_member(root / "libs/lam", Release("lam", "9.9"))
    ours = "[tool.uv.sources]\nlam = { workspace = true }\n"
    write_member(root / "libs/common", COMMON, "lam", sources=ours)
    with served(tmp_path / "served", is_dumb=True) as host:
        sources = f"[tool.uv.sources]\ncommon = {{ workspace = true }}\ntool = {{ git = '{host.url}/tool/.git' }}\n"
        write_member(root / "app", Release("app", "1"), "common", "tool", "alpha<2", sources=sources)
        tables = f'[env.demo]\npyproject = "app/pyproject.toml"\npypi.python = "{PYTHON}"\n'
        project.write(tables, archs=(HERE, "osx-arm64"))
        locked(project)
    found = {each.name: each for each in locks(project)[HERE].packages}
    versions = {name: each.version for name, each in found.items()}
    assert {"alpha": "1.1", "common": "1.0", "lam": "9.9", "tool": "3"}.items() <= versions.items()
    kinds = {name: each.source and (each.source.kind, each.source.path) for name, each in found.items()}
    assert kinds["common"] == ("folder", "libs/common")
    assert kinds["lam"] == ("folder", "libs/lam")
    assert kinds["tool"] == ("git", "")
    assert kinds["alpha"] is None
    assert check(load_project(project.config)).findings == ()
    assert imported(project, "lam") == "sdist"
    (root / "libs/lam/lam/more.py").write_text("")
    (finding,) = {each.reasons for each in check(load_project(project.config)).findings}
    assert finding == ("libs/lam changed since lam 9.9 was built from it",)


def test_a_folder_that_a_wheel_needs_and_nothing_names_is_refused(monorepo: ProjectFolder) -> None:
    """An index has a package of that name, too."""
    Release("common", "1.0", requires=("lam @ file:///srv/libs/lam",)).write_source(monorepo.folder / "libs/common")
    write(monorepo, 'common = { path = "libs/common" }', archs=(HERE,))
    with pytest.raises(EnvlockError) as caught:
        locked(monorepo)
    assert caught.value.code == "source-not-here"
    assert "lam" in caught.value.message
    assert caught.value.locations[0].key == "env.demo.pypi.packages.common"
    Release("lam", "9.9").write_source(monorepo.folder / "libs/lam")
    write(monorepo, 'common = { path = "libs/common" }', 'lam = { path = "libs/lam" }', archs=(HERE,))
    locked(monorepo)
    assert package(monorepo, "lam").version == "9.9"
    assert package(monorepo, "common").dependencies == ("lam",)


def test_a_repository_whose_project_needs_another_folder_of_it_is_refused_until_that_is_named(
    project: ProjectFolder, tmp_path: Path
) -> None:
    write_member(tmp_path / "served/tool/app", COMMON, "lam", sources="[tool.uv.sources]\nlam = { workspace = true }\n")
    write_member(tmp_path / "served/tool/lam", Release("lam", "9.9"))
    commit(tmp_path / "served/tool", {"pyproject.toml": "[tool.uv.workspace]\nmembers = ['*']\n"})
    git(tmp_path / "served/tool", "update-server-info")
    with served(tmp_path / "served", is_dumb=True) as host:
        line = "{} = {{ git = '{}/tool/.git', subdirectory = '{}' }}"
        first, second = (line.format(name, host.url, place) for name, place in (("common", "app"), ("lam", "lam")))
        write(project, first, archs=(HERE,))
        with pytest.raises(EnvlockError) as caught:
            locked(project)
        assert caught.value.code == "source-not-here"
        write(project, first, second, archs=(HERE,))
        locked(project)
    assert package(project, "lam").version == "9.9"
