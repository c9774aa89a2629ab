"""Locked packages and py-rattler's records: nothing that matters is lost on the way, in either direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envlock.conda.match_specs import edges
from envlock.conda.records import package_of, record_of
from envlock.model.arch import ARCHS, Arch
from envlock.model.lock import CondaFacts, LockedPackage
from tests.channel import Channel
from tests.resolve.conda_asking import ask


@pytest.mark.parametrize("arch", ARCHS)
def test_what_is_locked_comes_back(channel: Channel, monkeypatch: pytest.MonkeyPatch, arch: Arch) -> None:
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    packages = ask(
        "builds", "upper", "epochal", "vintage", "guards", "lower <2", "undated", "accel", arch=arch
    ).packages

    names = {package.name for package in packages}
    assert len(names) > 8
    for package in packages:
        assert package.conda is not None
        record = record_of(package)
        found = package_of(record, package.conda.channel, edges(record.depends, names))
        assert found == package


def test_a_record_can_name_another_place() -> None:
    package = LockedPackage(
        kind="conda",
        name="tool",
        version="1!2.0",
        build="odd build",
        filename="tool-1!2.0-odd.conda",
        url="https://channel.example/team/noarch/tool-1%212.0-odd.conda",
        sha256="ab" * 32,
        size=3,
        upload_time="2026-01-02T03:04:05.678Z",
        conda=CondaFacts(
            channel="https://channel.example/team",
            subdir="noarch",
            build_number=7,
            depends=("python",),
            constrains=("other <2",),
            noarch="python",
            md5="cd" * 16,
            license="MIT",
            site_packages="lib/python3.12/site-packages",
        ),
    )
    record = record_of(package, "file:///srv/tool.conda")

    assert record.url == "file:///srv/tool.conda"
    assert record.file_name == package.filename
    assert package_of(record, "https://channel.example/team", (), url=package.url) == package


def test_secrets_do_not_get_into_a_lock() -> None:
    package = LockedPackage(
        kind="conda", name="a", version="1", build="0", filename="a-1-0.conda", url="", sha256="ab" * 32,
        conda=CondaFacts(channel="https://channel.example/team", subdir="noarch", noarch="generic"),
    )  # fmt: skip
    record = record_of(package, "https://me:pw@channel.example/t/tk-1/team/noarch/a-1-0.conda?x=1")
    found = package_of(record, "https://channel.example/team", ())

    assert found == replace(package, url="https://channel.example/team/noarch/a-1-0.conda")
