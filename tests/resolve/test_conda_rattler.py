"""Conda packages, solved for real: on the channel of the tests, by py-rattler."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from envlock.conda.channels import channel_base
from envlock.conda.solve_request import virtual_packages
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_ARM64, Arch
from envlock.model.requirement import parse_requirement
from envlock.resolve.conda_rattler import CondaResolver, conda_version
from envlock.resolve.errors import ChannelUnreachable, CondaConflict
from tests.channel import Channel, data_package
from tests.resolve.conda_asking import ask, builds, pins, request
from tests.support import files_holding

PYTHON = data_package("python", "3.12.1")


@pytest.fixture
def forge(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """The shared channels under their canonical names."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    return channel


# What is chosen.


@pytest.mark.parametrize("arch", ARCHS)
def test_every_arch_is_solved_from_here(forge: Channel, arch: Arch) -> None:
    found = ask("builds", "upper", arch=arch)

    assert pins(found).keys() >= {"builds", "upper", "lower"}
    by_name = {package.name: package for package in found.packages}
    facts = by_name["builds"].conda
    assert facts is not None
    assert facts.subdir == arch
    assert by_name["upper"].conda.subdir == "noarch"  # type: ignore[union-attr]
    assert by_name["upper"].dependencies == ("lower",)


def test_a_lock_names_what_upstream_has_and_no_mirror(forge: Channel) -> None:
    (package,) = [package for package in ask("twice").packages if package.name == "twice"]

    record = forge.records("twice")["noarch/" + package.filename]
    base = channel_base("conda-forge")
    assert package.url == f"{base}/noarch/{package.filename}"
    assert package.conda is not None
    assert package.conda.channel == base
    assert (package.sha256, package.size, package.conda.md5) == (record["sha256"], record["size"], record["md5"])
    assert package.conda.depends == tuple(record["depends"])
    stamp = datetime.fromisoformat(package.upload_time.replace("Z", "+00:00"))
    assert stamp.timestamp() * 1000 == record["timestamp"]


def test_the_metadata_is_that_of_the_channel_and_not_of_the_archive(forge: Channel) -> None:
    assert pins(ask("mended"))["lower"] == "1.2"


def test_python_is_a_package_of_the_lock(forge: Channel) -> None:
    found = ask("lower", python=f"=={forge.records('python').popitem()[1]['version']}")

    (python,) = [package for package in found.packages if package.name == "python"]
    assert found.python is not None
    assert (found.python.source, found.python.version, found.python.sha256) == ("conda", python.version, "")


def test_packages_are_sorted_by_name(forge: Channel) -> None:
    names = [package.name for package in ask("west", "beta", "accel").packages]
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        ("lower ==1.0", "1.0"),
        ("lower =1", "1.2"),
        ("lower 1.1.*", "1.1"),
        ("lower >=1,<1.2", "1.1"),
        ("candid", "2.0rc1"),
    ],
)
def test_versions_mean_what_conda_means(forge: Channel, asked: str, version: str) -> None:
    assert pins(ask(asked))[asked.partition(" ")[0]] == version


def test_a_build_can_be_required(forge: Channel) -> None:
    series = forge.records("python").popitem()[1]["version"].rpartition(".")[0]
    tag = series.replace(".", "")

    assert builds(ask(f"builds ==1.4 py{tag}*"))["builds"] == f"py{tag}_1"
    assert builds(ask("builds", python=f"=={series}.*"))["builds"] == f"py{tag}_1"
    assert builds(ask("accel ==1.0 cpu*", system={"__cuda": "12.4"}))["accel"] == "cpu_0"


def test_conda_only_packages_are_solved_with_the_rest(forge: Channel) -> None:
    assert pins(ask(conda_only=("upper ==1.0",))) == {"upper": "1.0", "lower": "2.0"}


def test_what_metaflow_needs_is_conda_s_to_bring_for_conda_packages(forge: Channel) -> None:
    needed = (parse_requirement("lower>=1.0,<2"),)

    assert pins(ask("undated", metaflow=needed))["lower"] == "1.2"
    assert "lower" not in pins(ask(pypi=(parse_requirement("zeta"),), metaflow=needed))


@pytest.mark.parametrize(
    ("specifier", "found"),
    [("~=1.4", "~=1.4"), ("!=1.2,>=1", "!=1.2,>=1"), ("<2rc1", "<2rc1"), ("==1.2", "==1.2"), ("<=3", "<=3")],
)
def test_pypi_specifiers_in_conda_s_language(specifier: str, found: str) -> None:
    assert conda_version(specifier) == found


# Channels.


def test_a_package_comes_from_the_first_channel_that_has_it(forge: Channel) -> None:
    channels = ("conda-forge", "other")

    assert pins(ask("elsewhere", channels=channels)) == {"elsewhere": "1.0", "lower": "2.0"}
    assert pins(ask("elsewhere", channels=channels[::-1])) == {"elsewhere": "1.0", "lower": "3.0"}
    assert pins(ask("elsewhere", channels=channels, channel_priority="disabled"))["lower"] == "3.0"


def test_a_later_channel_does_not_step_in_for_a_version(forge: Channel) -> None:
    with pytest.raises(CondaConflict) as caught:
        ask("lower >=3", channels=("conda-forge", "other"))

    assert f"lower is taken only from {channel_base('conda-forge')}" in caught.value.render()
    assert caught.value.packages == ("conda:lower",)
    assert "channel::package" in str(caught.value.hint)


def test_a_package_can_be_required_from_one_channel(forge: Channel) -> None:
    found = ask("other::lower", "upper", channels=("conda-forge", "other"))

    assert pins(found) == {"lower": "3.0", "upper": "2.0"}
    lower = next(package for package in found.packages if package.name == "lower")
    assert lower.url.startswith(channel_base("other"))


@pytest.mark.parametrize("priority", ["", "disabled"])
def test_a_channel_that_only_a_package_names_has_no_say_in_others(forge: Channel, priority: str) -> None:
    found = ask("other::elsewhere", channels=("conda-forge",), channel_priority=priority)

    assert pins(found) == {"elsewhere": "1.0", "lower": "2.0"}
    kept = ask("other::elsewhere", channels=("conda-forge",), channel_priority=priority, keep=found.packages)
    assert kept.packages == found.packages
    assert kept.notes == ()


def test_a_package_may_come_from_a_channel_that_is_used_for_nothing_else(forge: Channel) -> None:
    assert pins(ask("other::lower", "upper", channels=("conda-forge",))) == {"lower": "3.0", "upper": "2.0"}


def test_a_pin_of_a_later_channel_gives_way_to_an_earlier_one(forge: Channel) -> None:
    old = ask("lower", channels=("conda-forge", "other"), channel_priority="disabled")
    assert pins(old)["lower"] == "3.0"

    assert pins(ask("lower", channels=("conda-forge", "other"), keep=old.packages))["lower"] == "2.0"


def test_a_folder_can_be_a_channel(channel: Channel) -> None:
    url = (channel.folder / "main").as_uri()
    found = ask("upper", f"{url}::lower", channels=(url,))

    assert pins(found) == {"upper": "2.0", "lower": "2.0"}
    assert all(package.url.startswith(f"{url}/noarch/") for package in found.packages if package.name != "python")


def test_a_folder_can_be_a_mirror(channel: Channel) -> None:
    mirror = (channel.folder / "main").as_uri()
    old = ask("lower ==1.1", mirrors=(("conda-forge", mirror),))
    found = ask("upper", "conda-forge::lower", mirrors=(("conda-forge", mirror),), keep=old.packages)

    base = channel_base("conda-forge")
    assert pins(found) == {"upper": "2.0", "lower": "1.1"}
    assert all(package.url.startswith(f"{base}/") for package in found.packages)
    assert {package.conda.channel for package in found.packages if package.conda} == {base}


def test_the_variable_wins_over_the_configured_mirror(forge: Channel) -> None:
    assert pins(ask("lower", mirrors=(("conda-forge", "http://127.0.0.1:9/nowhere"),)))["lower"] == "2.0"


# Times.


def test_what_is_newer_is_left_out_in_utc(forge: Channel) -> None:
    # 2024-01-01T00:00 UTC is when 2.0 was made.
    assert pins(ask("dated", exclude_newer="2024-01-01T00:00:00Z"))["dated"] == "2.0"
    assert pins(ask("dated", exclude_newer="2024-01-01T01:00:00+02:00"))["dated"] == "1.1"
    assert pins(ask("dated", exclude_newer="2023-12-31T23:00:00-02:00"))["dated"] == "2.0"
    assert pins(ask("dated", exclude_newer="2021-06-01T00:00:00Z"))["dated"] == "1.0"


def test_what_has_no_date_stays(forge: Channel) -> None:
    assert pins(ask("undated", exclude_newer="2024-01-01T00:00:00Z"))["undated"] == "1.0"


# The machine that it is for.


def test_the_machine_is_the_one_that_is_required(forge: Channel) -> None:
    assert builds(ask("accel"))["accel"] == "cpu_0"
    assert builds(ask("accel", system={"__cuda": "11.8"}))["accel"] == "cuda118_100"
    assert builds(ask("accel", system={"__cuda": "12.6"}))["accel"] == "cuda124_200"
    assert pins(ask("modern"))["modern"] == "1.0"
    assert pins(ask("modern", system={"__glibc": "2.36"}))["modern"] == "2.0"
    assert pins(ask("modern", arch=OSX_ARM64, system={"__osx": "14.0"}))["modern"] == "2.0"
    assert builds(ask("vector"))["vector"] == "plain_0"
    assert builds(ask("vector", system={"__archspec": "x86_64_v3"}))["vector"] == "v3_1"
    assert pins(ask("penguin", "unixish"))["penguin"] == "1.0"
    assert pins(ask("unixish", arch=OSX_ARM64))["unixish"] == "1.0"


def test_nothing_is_taken_from_this_machine(forge: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDA_OVERRIDE_CUDA", "12.6")
    monkeypatch.setenv("CONDA_OVERRIDE_GLIBC", "2.99")

    assert builds(ask("accel"))["accel"] == "cpu_0"
    assert pins(ask("modern"))["modern"] == "1.0"


def test_the_microarchitecture_is_the_build_of_archspec() -> None:
    (archspec, *_) = virtual_packages(LINUX_64, [("__archspec", "x86_64_v3")])

    assert (str(archspec.version), str(archspec.build_string)) == ("1", "x86_64_v3")


# Locking again.


def test_old_pins_stay(forge: Channel) -> None:
    old = ask("upper ==1.0", "lower ==1.0")
    new = ask("upper", "undated", keep=old.packages)

    assert pins(new) == {"upper": "1.0", "lower": "1.0", "undated": "1.0"}
    kept = {package.name: package for package in old.packages}
    assert [package for package in new.packages if package.name in kept] == list(old.packages)


def test_an_upgrade_takes_the_newest(forge: Channel) -> None:
    old = ask("upper ==1.0", "lower ==1.0")

    assert pins(ask("upper")) == {"upper": "2.0", "lower": "2.0"}
    without_lower = [package for package in old.packages if package.name != "lower"]
    assert pins(ask("upper", keep=without_lower)) == {"upper": "1.0", "lower": "2.0"}


def test_a_pin_that_no_longer_fits_gives_way(forge: Channel) -> None:
    old = ask("lower ==1.0")
    assert pins(ask("lower >=1.2", keep=old.packages))["lower"] == "2.0"


def test_a_pin_of_a_channel_that_is_gone_gives_way(forge: Channel) -> None:
    old = ask("lower", channels=("other", "conda-forge"))
    assert pins(old)["lower"] == "3.0"
    assert pins(ask("lower", keep=old.packages))["lower"] == "2.0"


def test_a_pin_that_was_withdrawn_gives_way_and_is_reported(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"), data_package("tool", "2.0"))
    url = served.url_of("main")
    old = ask("tool ==1.0", channels=(url,))
    served.withdraw("noarch/tool-1.0-*")
    new = ask("tool", channels=(url,), keep=old.packages)

    assert pins(new)["tool"] == "2.0"
    assert new.notes == ("tool 1.0 0 is no longer in its channel: another one was chosen",)


def test_a_pin_whose_metadata_was_mended_stays_with_the_new_metadata(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"), data_package("part", "1.0"))
    url = served.url_of("main")
    old = ask("tool", channels=(url,))
    served.publish(
        data_package("tool", "1.0", patch={"depends": ["part"]}), data_package("tool", "2.0"), channel="main"
    )
    new = ask("tool", channels=(url,), keep=old.packages)

    assert pins(new) == {"tool": "1.0", "part": "1.0"}


def test_pins_of_another_arch_lend_their_versions(forge: Channel) -> None:
    old = ask("builds ==1.3", "lower ==1.1")
    new = ask("builds", "lower", arch=LINUX_AARCH64, keep=old.packages)

    assert (pins(new)["builds"], pins(new)["lower"]) == ("1.3", "1.1")
    assert {package.conda.subdir for package in new.packages if package.conda} <= {LINUX_AARCH64, "noarch"}


def test_the_same_request_has_the_same_answer(forge: Channel) -> None:
    assert ask("upper", "builds", "accel") == ask("accel", "upper", "builds")


# Together, offline, and ended.


def test_repodata_is_read_once_for_all(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"))
    url = served.url_of("main")
    resolver = CondaResolver()
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(resolver.resolve, request("tool", arch=arch, channels=(url,))) for arch in ARCHS * 4]
    assert all(pins(task.result()) == {"tool": "1.0"} for task in tasks)

    read = [each.path for each in served.requests if each.kind == "repodata" and each.status == 200]
    read = [path for path in read if not path.endswith("repodata_shards.msgpack.zst")]
    assert len([path for path in read if "/noarch/" in path]) <= 2  # one of them asks whether there is a .zst


@pytest.mark.usefixtures("asked_once")
def test_offline_from_what_is_kept(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"))
    url = served.url_of("main")
    online = ask("tool", channels=(url,))
    served.close()

    assert ask("tool", channels=(url,), resolver=CondaResolver(offline=True)) == online
    with pytest.raises(ChannelUnreachable) as caught:
        ask("tool", channels=(url,))
    assert "did not answer" in caught.value.message
    assert "/conda/repodata" in str(next(iter(files_holding("tool", Path(os.environ["ENVLOCK_HOME"])))))


def test_offline_with_nothing_kept(forge: Channel) -> None:
    forge.forget()
    with pytest.raises(ChannelUnreachable) as caught:
        ask("lower", resolver=CondaResolver(offline=True))

    assert "offline" in caught.value.message
    assert not forge.requests


def test_a_stopped_resolver_ends_soon_and_starts_nothing(make_channel: Callable[..., Channel]) -> None:
    served = make_channel(PYTHON, data_package("tool", "1.0"))
    served.slow("*", seconds=20)
    resolver = CondaResolver()
    asked = request("tool", channels=(served.url_of("main"),))
    begun = datetime.now(timezone.utc)
    timer = threading.Timer(0.3, resolver.stop)
    timer.start()
    with pytest.raises(Exception, match="was interrupted"):
        resolver.resolve(asked)
    with pytest.raises(Exception, match="was interrupted"):
        resolver.resolve(asked)
    timer.join()

    assert datetime.now(timezone.utc) - begun < timedelta(seconds=5)
