"""Which locked packages have newer releases. The locks are made by hand; indexes and channels are real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.__main__ import main
from envlock.config.read import load_project
from envlock.errors import EnvlockError
from envlock.lockfile.folder import write_lock
from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirements import Requirements
from envlock.resolve.index_check import FileFacts
from envlock.resolve.newer_releases import Limits, newer_releases
from envlock.resolve.platform_tags import target_of
from envlock.workflow.lock import lock as lock_really
from envlock.workflow.outdated import Compared, outdated
from envlock.workflow.references import all_referred
from tests.channel import Channel
from tests.index import DROP, Index, Release
from tests.locked import locked as locked_of_channel
from tests.support import ProjectFolder, own_project

MakeIndex = Callable[..., Index]
LINUX = target_of(Requirements(), LINUX_64, "3.12.0")


def wheel(name: str, version: str, index: str, *needs: str) -> LockedPackage:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    url = f"{index}/files/{filename}"
    return LockedPackage(name, version, filename, url, "ab" * 32, index=index, dependencies=needs)


def lock(
    project: ProjectFolder, *packages: LockedPackage, archs: tuple[Arch, ...] = (LINUX_64,), name: str = "demo"
) -> None:
    read = load_project(project.config)
    (environment,) = [each for each in read.environments() if each.name == name]
    conda = next((each for each in packages if (each.kind, each.name) == ("conda", "python")), None)
    python = LockedPython("conda", conda.version) if conda else LockedPython("machine", "3.12.0")
    for arch in archs:
        made = Lock(arch, environment.requirements, python, packages, resolved_at="2026-11-01T00:00:00Z")
        write_lock(read.lock_folder, made)


def compared(project: ProjectFolder, *, everything: bool = False) -> dict[str, Compared]:
    read = load_project(project.config)
    found = outdated(read, all_referred(read), everything=everything)
    assert len({(each.kind, each.name) for each in found}) == len(found)
    return {each.name: each for each in found}


# What counts on an index.


def newest(files: dict[str, FileFacts], locked: str = "1.0", **limits: object) -> tuple[str, str]:
    found = newer_releases("alpha", locked, files, Limits(LINUX)._replace(**limits))
    return found.allowed, found.newest


def wheels(*versions: str, tag: str = "py3-none-any", **facts: str) -> dict[str, FileFacts]:
    return {f"alpha-{version}-{tag}.whl": FileFacts(**facts) for version in versions}


@pytest.mark.parametrize(
    ("more", "limits", "expected"),
    [
        ({}, {}, ("1.0", "1.0")),
        (wheels("1.5", "2.0"), {"specifiers": ("<2",)}, ("1.5", "2.0")),
        (wheels("1.5", "2.0"), {"specifiers": ("<2", "!=1.5")}, ("1.0", "2.0")),
        (wheels("2.0", yanked="broken"), {}, ("1.0", "1.0")),
        (wheels("2.0", yanked=""), {}, ("1.0", "1.0")),
        (wheels("2.0", requires_python=">=3.13"), {}, ("1.0", "2.0")),
        (wheels("2.0", requires_python="nonsense"), {}, ("2.0", "2.0")),
        (wheels("2.0", tag="cp312-cp312-macosx_11_0_arm64"), {}, ("1.0", "2.0")),
        (wheels("2.0", tag="cp312-cp312-manylinux_2_28_x86_64"), {}, ("2.0", "2.0")),
        (wheels("2.0", tag="cp312-cp312-manylinux_2_38_x86_64"), {}, ("1.0", "2.0")),
        ({"alpha-2.0.tar.gz": FileFacts()}, {}, ("1.0", "2.0")),
        ({"alpha-2.0.tar.gz": FileFacts()}, {"takes_sdists": True}, ("2.0", "2.0")),
        (wheels("2.0rc1"), {}, ("1.0", "1.0")),
        (wheels("2.0rc1"), {"takes_pre_releases": True}, ("2.0rc1", "2.0rc1")),
        (wheels("2.0rc1"), {"specifiers": (">=2.0rc1",)}, ("2.0rc1", "2.0rc1")),
        ({"beta-9.0-py3-none-any.whl": FileFacts(), "alpha-9.egg": FileFacts(), "x": FileFacts()}, {}, ("1.0", "1.0")),
    ],
    ids=[
        *("nothing-new", "required", "excluded", "yanked", "yanked-for-no-reason", "python", "unreadable-python"),
        *("other-arch", "arch", "too-new-glibc", "sdist", "built-sdist", "pre", "pre-asked", "pre-required", "others"),
    ],
)
def test_the_newest_release_and_the_newest_that_is_allowed(
    more: dict[str, FileFacts], limits: dict[str, object], expected: tuple[str, str]
) -> None:
    assert newest({**wheels("1.0"), **more}, **limits) == expected


def test_a_locked_version_that_is_none_is_older_than_all_that_are() -> None:
    found = newer_releases("alpha", "1..0", wheels("1.0"), Limits(LINUX))
    assert (found.newest, found.is_newer) == ("1.0", True)


def test_pre_releases_count_where_there_is_nothing_else_and_where_one_is_locked() -> None:
    assert newest(wheels("2.0a1", "2.0b1"), locked="2.0a1") == ("2.0b1", "2.0b1")
    assert newest(wheels("1.0", "2.0a1", "2.0b1"), locked="2.0a1") == ("2.0b1", "2.0b1")


def test_what_was_published_too_late_or_without_a_date_does_not_count() -> None:
    dated = {
        **wheels("1.0", uploaded="2020-01-01T00:00:00Z"),
        **wheels("2.0", uploaded="2024-01-01T00:00:00.123456Z"),
        **wheels("3.0"),
    }
    assert newest(dated, exclude_newer="2023-01-01T00:00:00Z") == ("1.0", "1.0")
    assert newest(dated, exclude_newer="2025-01-01T00:00:00Z") == ("2.0", "2.0")
    assert newest(dated) == ("3.0", "3.0")


# Of a project.


@pytest.fixture
def served(make_index: MakeIndex) -> Index:
    return make_index(
        *(Release("alpha", version) for version in ("1.0", "1.5", "2.0")),
        Release("beta", "1.0"),
        Release("beta", "1.1"),
    )


@pytest.fixture
def project(served: Index, tmp_path: Path) -> ProjectFolder:
    project = own_project(tmp_path, served)
    project.write_env("alpha<2", archs=["linux-64", "osx-arm64"])
    lock(
        project,
        wheel("alpha", "1.0", served.url, "beta"),
        wheel("beta", "1.0", served.url),
        archs=(LINUX_64, OSX_ARM64),
    )
    return project


def test_what_is_required_by_name_is_compared(project: ProjectFolder, served: Index) -> None:
    (found,) = compared(project).values()
    assert (found.name, found.locked, found.newer.allowed, found.newer.newest) == ("alpha", "1.0", "1.5", "2.0")
    assert (found.requirement, found.is_outdated) == ("alpha<2", True)
    assert found.places == ((("demo",), (LINUX_64, OSX_ARM64)),)
    assert [each.path for each in served.requests] == ["simple/alpha/"], "one question for both archs"


def test_all_packages_are_compared_on_request(project: ProjectFolder) -> None:
    found = compared(project, everything=True)["beta"]
    assert (found.locked, found.newer.allowed, found.requirement) == ("1.0", "1.1", "")


def test_constraints_and_exclude_newer_limit_what_is_allowed(make_index: MakeIndex, tmp_path: Path) -> None:
    dates = {"1.0": "2020", "1.5": "2021", "1.6": "2022", "2.0": "2024"}
    served = make_index(*(Release("alpha", each, uploaded=f"{year}-01-01T00:00:00Z") for each, year in dates.items()))
    project = own_project(tmp_path, served)
    (project.folder / "limits.txt").write_text("alpha<1.6\n")
    (project.folder / "r.txt").write_text("-c limits.txt\nalpha\n")
    project.write(
        '[env.demo]\nrequirements = "r.txt"\npypi = { python = "3.12" }\n', settings='exclude-newer = "2023-01-01"'
    )
    lock(project, wheel("alpha", "1.0", served.url))
    found = compared(project)["alpha"]
    assert (found.newer.allowed, found.newer.newest) == ("1.5", "1.6")


def test_an_index_with_credentials_is_asked_with_them(
    private_index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cr3t-t0ken")
    project = own_project(tmp_path, private_index)
    url = private_index.url_with("reader", "${TOKEN}")
    project.write("[env.demo.pypi]\npackages = { lam = '' }\n", settings=f'index-url = "{url}"')
    lock(project, wheel("lam", "0.9", private_index.url))
    assert compared(project)["lam"].newer.newest == "1.0"
    monkeypatch.setenv("TOKEN", "an-old-t0ken")
    with pytest.raises(EnvlockError) as caught:
        compared(project)
    assert caught.value.code == "index-unauthorized"
    assert "t0ken" not in caught.value.render()


def test_an_index_that_does_not_answer_is_named(
    project: ProjectFolder, served: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served.fail("simple/alpha/", DROP)
    monkeypatch.chdir(project.folder)
    assert main(["outdated"]) == 4
    said = capsys.readouterr().err
    assert "error[index-unreachable]" in said
    assert served.url in said


def test_a_host_that_is_not_allowed_is_not_asked(project: ProjectFolder, served: Index) -> None:
    project.edit("[envlock]\n", '[envlock]\nhosts = ["index.example"]\n')
    with pytest.raises(EnvlockError) as caught:
        compared(project)
    assert caught.value.code == "host-not-allowed"
    assert served.requests == ()


# Of channels.


@pytest.fixture
def conda(conda_project: ProjectFolder, channel: Channel) -> ProjectFolder:
    conda_project.write_conda_env("upper <2", "dated", python="", archs=["linux-64"])
    series = channel.series[0]
    packages = locked_of_channel(
        channel, "noarch/upper-1.0-*", "noarch/lower-1.0-*", "noarch/dated-1.0-*", f"linux-64/python-{series}.*"
    )
    lock(conda_project, *sorted(packages, key=lambda each: each.name))
    return conda_project


def test_conda_packages_are_compared_by_their_channel(conda: ProjectFolder) -> None:
    found = compared(conda)
    upper, dated = found["upper"], found["dated"]
    assert (upper.kind, upper.locked, upper.newer.allowed, upper.newer.newest) == ("conda", "1.0", "1.0", "2.0")
    assert (dated.newer.allowed, dated.newer.newest, dated.is_outdated) == ("2.0", "2.0", True)
    assert "lower" not in found
    lower = compared(conda, everything=True)["lower"]
    assert (lower.newer.allowed, lower.newer.newest) == ("2.0", "2.0"), "as what needs it allows"


def test_exclude_newer_counts_for_channels(conda: ProjectFolder, channel: Channel) -> None:
    series = channel.series[0]
    conda.edit("[envlock]\n", '[envlock]\nexclude-newer = "2022-06-01"\n')
    packages = locked_of_channel(channel, "noarch/upper-1.0-*", "noarch/dated-1.0-*", f"linux-64/python-{series}.*")
    lock(conda, *sorted(packages, key=lambda each: each.name))
    assert compared(conda)["dated"].newer.newest == "1.1"


def test_a_channel_that_does_not_answer_is_named(conda: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", "conda-forge=http://127.0.0.1:9/main")
    with pytest.raises(EnvlockError) as caught:
        compared(conda)
    assert (caught.value.code, caught.value.exit_status) == ("channel-unreachable", 4)


# The command.


def test_the_command_tells_what_is_outdated(
    project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.folder)
    assert main(["outdated"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["package", "locked", "allowed", "newest", "required", "in"],
        ["alpha", "1.0", "1.5", "2.0", "alpha<2", "demo"],
    ]
    assert main(["outdated", "--exit-code", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["packages"]
    assert (found["allowed"], found["newest"], found["outdated"]) == ("1.5", "2.0", True)


def test_the_command_says_if_nothing_is_outdated(
    project: ProjectFolder, served: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served.withdraw("alpha", "1.5")
    served.withdraw("alpha", "2.0")
    monkeypatch.chdir(project.folder)
    assert main(["outdated", "--exit-code"]) == 0
    assert capsys.readouterr().out == "nothing is outdated: 1 package compared\n"


def test_what_is_allowed_is_what_lock_takes(index: Index, tmp_path: Path) -> None:
    """uv decides what is locked: it counts wheels, Pythons, systems, yanked and pre-releases as `outdated` does."""
    project = own_project(tmp_path, index)
    names = ("alpha", "beta", "delta", "iota", "kappa", "mu", "omicron", "pi", "xi")
    project.write_env(*names, python="3.11", archs=["linux-64", "osx-arm64"])
    lock_really(load_project(project.config))
    read = load_project(project.config)
    found = {
        (each.name, arch): each for each in outdated(read, all_referred(read)) for _, on in each.places for arch in on
    }
    assert {name for name, _ in found} == set(names)
    for each in found.values():
        assert each.newer.allowed == each.locked
    newer = {key: each.newer.newest for key, each in found.items() if each.is_outdated}
    assert newer == {
        ("delta", LINUX_64): "1.5",
        ("delta", OSX_ARM64): "1.5",
        ("iota", LINUX_64): "2.0",
        ("iota", OSX_ARM64): "2.0",
        ("kappa", LINUX_64): "2.0",
        ("mu", OSX_ARM64): "2.0",
    }


def test_what_is_allowed_of_conda_is_what_lock_takes(conda_project: ProjectFolder) -> None:
    conda_project.write_conda_env("upper", "dated <2", "candid", "undated", python="", archs=["linux-64"])
    lock_really(load_project(conda_project.config))
    found = compared(conda_project)
    assert {name: (each.newer.allowed == each.locked) for name, each in found.items() if name != "python"} == {
        "upper": True,
        "dated": True,
        "candid": True,
        "undated": True,
    }
    assert (found["candid"].locked, found["dated"].newer.newest) == ("2.0rc1", "2.0")
