"""What `check` makes of a mixed environment that drifts, and of its locks when they are tampered with.

Locked once from a real channel and a real index; each test gets a copy, and asks the real command.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.lockfile.folder import read_lock
from tests.channel import Channel, data_package
from tests.conftest import Envlock
from tests.index import Index
from tests.support import ProjectFolder, isolation, run_envlock

ARCHS = ("linux-64", "osx-arm64")


@pytest.fixture(scope="module")
def locked(
    index: Index, channel: Channel, tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path
) -> Iterator[ProjectFolder]:
    """Locked: upper 2.0 and what it needs, lower 2.0 (not asked for), vector of its plain build, and lam from PyPI."""
    with isolation(tmp_path_factory.mktemp("home"), shared_uv_cache):
        folder = tmp_path_factory.mktemp("drifts") / "project"
        project = ProjectFolder(ProjectFolder.make(folder, index.url).folder, index.url, *channel.series[:1])
        project.write_conda_env(
            "upper >=1", "vector", pypi=["lam"], archs=ARCHS, channels=["conda-forge", "other"], name="demo"
        )
        run_envlock("lock", cwd=folder, env={"ENVLOCK_CHANNEL_MIRRORS": channel.mirrors})
        yield project


@pytest.fixture
def copy(locked: ProjectFolder, tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """A copy of the locked project, to be drifted."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    return locked.copy(tmp_path / "project")


Happening = Callable[[ProjectFolder], None]


def in_config(old: str, new: str) -> Happening:
    return lambda project: project.edit(old, new)


def in_lock(old: str, new: str) -> Happening:
    def happen(project: ProjectFolder) -> None:
        path = project.lock_of("linux-64")
        text, times = re.subn(old, new, path.read_text(), count=1, flags=re.MULTILINE)
        assert times == 1
        path.write_text(text)

    return happen


def at_the_end(text: str) -> Happening:
    def happen(project: ProjectFolder) -> None:
        project.config.write_text(project.config.read_text() + text)

    return happen


def asking(*lines: str) -> Happening:
    """More libraries."""
    return in_config('"vector" = ""', "\n".join(['"vector" = ""', *lines]))


CHANGES: dict[str, tuple[Happening, set[str], tuple[str, ...]]] = {
    "nothing": (lambda _: None, set(), ()),
    "two libraries change places": (
        in_config('"upper" = ">=1"\n"vector" = ""', '"vector" = ""\n"upper" = ">=1"'),
        set(),
        (),
    ),
    "a range is tightened and the lock fits": (
        in_config('">=1"', '">=1.5,<3"'),
        {"restamp"},
        ("conda package upper >=1.5,<3, locked: 2.0 0",),
    ),
    "a range is tightened and the lock violates it": (
        in_config('">=1"', '"<2"'),
        {"stale"},
        ("conda package upper <2, locked: 2.0 0",),
    ),
    "a build that is not the locked one": (
        in_config('"vector" = ""', '"vector" = "1.0=v3*"'),
        {"stale"},
        ("conda package vector ==1.0 v3*, locked: 1.0 plain_0",),
    ),
    "the build that is locked": (in_config('"vector" = ""', '"vector" = "1.0=plain*"'), {"restamp"}, ()),
    "the channel that it is from": (in_config('"vector"', '"conda-forge::vector"'), {"restamp"}, ()),
    "another channel than it is from": (
        in_config('"vector" = ""', '"vector" = ""\n"other::lower" = ""'),
        {"stale"},
        ("conda package other::lower, locked: 2.0 0 of ",),
    ),
    "what another one needs is asked for": (asking('lower = ">=1"'), {"restamp"}, ()),
    "a library is added": (asking('speak = ""'), {"stale"}, ("conda package speak, not locked",)),
    "a library is dropped": (
        in_config('"upper" = ">=1"\n', ""),
        {"stale"},
        ("conda package upper is no longer required",),
    ),
    "a wheel is added that conda has": (in_config('"lam" = ""', '"lam" = ""\nupper = ""'), {"stale"}, ()),
    "the channels change places": (
        in_config('["conda-forge", "other"]', '["other", "conda-forge"]'),
        {"stale"},
        ("channels other, conda-forge, locked with conda-forge, other",),
    ),
    "a channel is dropped": (in_config(', "other"]', "]"), {"stale"}, ("locked with conda-forge, other",)),
    "the order of channels counts no more": (
        in_config("[envlock]", '[envlock]\nchannel-priority = "disabled"'),
        {"stale"},
        ("channel-priority disabled, locked with strict",),
    ),
    "a machine brings more": (
        at_the_end('[env.demo.sys_packages.packages]\n__cuda = "12.4"\n'),
        {"stale", "restamp"},
        ("__cuda 12.4 on linux-64, locked for none",),
    ),
    "a build is edited": (in_lock('build = "plain_0"', 'build = "v3_1"'), {"damaged"}, ("vector",)),
    "a conda package is deleted": (in_lock(r'^    \{name = "lower".*\n', ""), {"damaged"}, ()),
    "an edge is edited": (in_lock('"lower >=1.1"', '"lower >=1"'), {"damaged"}, ()),
    "a channel is edited": (in_lock("/noarch/upper", "/evil/noarch/upper"), {"damaged"}, ()),
    "a layout is edited": (in_lock(r'^    \{name = "lower", ', '\n# why\n  {name  =  "lower", '), set(), ()),
    "a host that is not allowed": (
        in_config("[envlock]", '[envlock]\nhosts = ["127.0.0.1"]'),
        {"host-not-allowed"},
        ("is not among the hosts of envlock.toml",),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_has_its_verdict(copy: ProjectFolder, envlock: Envlock, name: str) -> None:
    happen, verdicts, says = CHANGES[name]
    happen(copy)
    before = copy.snapshot()
    machine = envlock("check", "--json", check=False).json
    assert {finding["verdict"] for finding in machine["findings"]} == verdicts
    reasons = [reason for finding in machine["findings"] for reason in finding["reasons"]]
    for words in says:
        assert any(words in reason for reason in reasons), reasons
    assert copy.snapshot() == before


@pytest.mark.parametrize("name", [name for name, (_, verdicts, _) in CHANGES.items() if verdicts == {"restamp"}])
def test_what_is_served_is_stamped_and_nothing_else_changes(copy: ProjectFolder, envlock: Envlock, name: str) -> None:
    before = read_lock(copy.lock_of("linux-64"))
    CHANGES[name][0](copy)
    envlock(
        "lock", env={"ENVLOCK_CHANNEL_MIRRORS": "conda-forge=http://127.0.0.1:9/gone other=http://127.0.0.1:9/gone"}
    )
    after = read_lock(copy.lock_of("linux-64"))
    assert after.full_id == before.full_id
    assert after.packages == before.packages
    assert "fresh" in envlock("check").text


def test_what_a_channel_says_of_a_licence_does_not_spoil_a_lock(
    make_channel: Callable[..., Channel], conda_project: ProjectFolder, envlock: Envlock
) -> None:
    wordy = data_package("wordy", "1.0", patch={"license": "Permission is\n\there by granted"})
    hostile = data_package("hostile", "1.0", patch={"license": "\x1b[2J"})
    mirrors = {"ENVLOCK_CHANNEL_MIRRORS": make_channel(wordy, hostile, whole=True).mirrors}
    conda_project.write_conda_env("wordy", archs=ARCHS[:1])
    envlock("lock", env=mirrors)
    (package,) = [each for each in read_lock(conda_project.lock_of("linux-64")).packages if each.name == "wordy"]
    assert package.conda is not None
    assert package.conda.license == "Permission is here by granted"
    conda_project.write_conda_env("hostile", archs=ARCHS[:1])
    said = envlock("lock", env=mirrors, check=4).stderr
    assert "error[unlockable-conda-package]" in said
    assert "\x1b[2J" not in said
