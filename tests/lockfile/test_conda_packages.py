"""Locks with conda packages of somebody who means harm: digest and ids are right, since envlock itself wrote them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.document import parse, render
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.summary import quick_summary
from envlock.model.lock import Lock, LockedPackage
from tests.lockfile.conda_locks import MIXED, NUMPY, PYTHON, TZDATA, WHEEL, ZLIB, conda_package

PLACE = "conda.example/main/linux-64/zlib-1-0.conda"


def with_package(**changes: Any) -> Lock:
    return having(replace(ZLIB, **changes))


def with_facts(**changes: Any) -> Lock:
    assert ZLIB.conda is not None
    return with_package(conda=replace(ZLIB.conda, **changes))


def having(*packages: LockedPackage) -> Lock:
    """A lock of a Python that needs nothing, and these."""
    alone = replace(PYTHON, dependencies=())
    return replace(MIXED, packages=(*packages, alone, WHEEL))


def replace_facts(lock: Lock, **changes: Any) -> Lock:
    package = lock.packages[0]
    assert package.conda is not None
    return replace(lock, packages=(replace(package, conda=replace(package.conda, **changes)), *lock.packages[1:]))


def at(url: str) -> Lock:
    return with_package(name="zlib", version="1", build="0", filename="zlib-1-0.conda", url=url)


HOSTILE = {
    "a name that climbs": with_package(name="../zlib"),
    "a name in capitals": having(conda_package("Zlib", "1", "0")),
    "a virtual package": having(conda_package("__glibc", "2.28", "0")),
    "a version that climbs": having(conda_package("zlib", "../1", "0")),
    "a version with a dash": having(conda_package("zlib", "1-2", "0")),
    "a build that climbs": having(conda_package("zlib", "1", "../0")),
    "a build for the terminal": having(conda_package("zlib", "1", "0\x1b[2J")),
    "no build": having(conda_package("zlib", "1", "")),
    "a file of another package": with_package(filename="other-1.3.1-h68df207_2.conda"),
    "a file name that climbs": with_package(filename="../libzlib-1.3.1-h68df207_2.conda"),
    "another kind of file": having(conda_package("zlib", "1", "0", ending=".whl")),
    "a file name that is too long": having(conda_package("z" * 200, "1", "0")),
    "another arch": having(conda_package("zlib", "1", "0", subdir="osx-arm64")),
    "a subdir that climbs": having(conda_package("zlib", "1", "0", subdir="..")),
    "a plain path": at("/main/linux-64/zlib-1-0.conda"),
    "no channel": replace_facts(at("https://noarch/zlib-1-0.conda"), channel="https:/", subdir="noarch"),
    "data": at("data:text/plain,linux-64/zlib-1-0.conda"),
    "git": at(f"git+https://{PLACE}"),
    "credentials": at(f"https://me:pw@{PLACE}"),
    "credentials of a bucket": at("s3://key:secret@bucket/main/linux-64/zlib-1-0.conda"),
    "a token": at("https://conda.example/t/ab-123/main/linux-64/zlib-1-0.conda"),
    "a token further down": at("https://conda.example/api/repo/t/ab-123/main/linux-64/zlib-1-0.conda"),
    "a query": at(f"https://{PLACE}?token=x"),
    "a fragment": at(f"https://{PLACE}#sha256=x"),
    "a local file of another host": at("file://other/srv/linux-64/zlib-1-0.conda"),
    "a line break in a URL": at("https://conda.example/a\nb/linux-64/zlib-1-0.conda"),
    "a host that two readers read differently": at("https://evil.example:+443/@conda.example/linux-64/zlib-1-0.conda"),
    "a channel with credentials": with_facts(channel="https://me:pw@conda.example/main"),
    "a channel with a token": with_facts(channel="https://conda.example/t/ab-123/main"),
    "a channel that ends in a token": with_facts(channel="https://conda.example/t/ab-123"),
    "a channel that is a name": with_facts(channel="conda-forge"),
    "a channel with a slash at its end": with_facts(channel="https://conda.example/main/"),
    "a hash that climbs": with_package(sha256="../../x"),
    "a hash in capitals": with_package(sha256="CD" * 32),
    "an md5 that is none": with_facts(md5="x"),
    "a size below nothing": with_package(size=-1),
    "a size beyond all disks": with_package(size=10**18),
    "a build number below nothing": with_facts(build_number=-1),
    "an unknown kind of noarch": with_facts(noarch="ruby"),
    "site-packages that climb": with_facts(site_packages="lib/../../x"),
    "site-packages from the root": with_facts(site_packages="/lib"),
    "a licence for the terminal": with_facts(license="\x1b[2J"),
    "a dependency for the terminal": with_facts(depends=("zlib\x9b2J",)),
    "a dependency that turns the line": with_facts(depends=("zlib \u202e1",)),
    "a constraint with a line break": with_facts(constrains=("zlib\n",)),
    "a distribution that climbs": with_facts(provides=(("../x", "1"),)),
    "a distribution's version that is none": with_facts(provides=(("x", "1 2"),)),
    "a package twice": having(ZLIB, ZLIB),
    "a wheel twice": replace(having(), packages=(*having().packages, WHEEL)),
    "a wheel that a conda package provides": with_facts(provides=(("other", "1"), (WHEEL.name, "1.0"))),
    "no Python among the packages": replace(MIXED, packages=(TZDATA, WHEEL)),
    "no conda package": replace(MIXED, packages=(WHEEL,)),
    "another Python than its own": replace(MIXED, python=replace(MIXED.python, version="3.13.8")),
    "a Python that is no conda package": replace(MIXED, python=replace(MIXED.python, source="machine")),
    "a Python with a file of its own": replace(
        MIXED, python=replace(MIXED.python, url="https://files.example/evil.tar.gz")
    ),
}


@pytest.mark.parametrize("lock", HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_unsafe_to_use_is_damage_though_it_hashes_to_its_digest(lock: Lock) -> None:
    data = render(lock).encode()
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock) as caught:
        parse(data, "pylock.toml")
    assert "malformed" in caught.value.render()


@pytest.mark.parametrize(
    "lock",
    [
        at("https://conda.example/t/ab-123/main/linux-64/zlib-1-0.conda"),
        at("file://other/srv/t/ab-123/linux-64/zlib-1-0.conda?pw"),
        at(f"https://me:pw@{PLACE}"),
        at(f"https://{PLACE}?pw"),
        with_facts(channel="https://me:pw@conda.example/t/ab-123/main"),
        replace(MIXED, packages=(*MIXED.conda_packages, replace(WHEEL, url=f"https://me:pw@{PLACE}"))),
    ],
)
def test_what_is_secret_is_not_repeated(lock: Lock) -> None:
    with pytest.raises(DamagedLock) as caught:
        parse(render(lock).encode(), "pylock.toml")
    assert "ab-123" not in caught.value.render()
    assert "pw" not in caught.value.render()


@pytest.mark.parametrize(
    "lock",
    [
        at("http://127.0.0.1:8000/linux-64/zlib-1-0.conda"),
        at("https://[::1]:8000/main/noarch/zlib-1-0.conda"),
        at("file:///srv/t/x/channel/linux-64/zlib-1-0.conda"),
        at("s3://bucket/linux-64/zlib-1-0.conda"),
        having(NUMPY, ZLIB),
    ],
    ids=["loopback", "IPv6", "file", "bucket", "two"],
)
def test_what_is_odd_but_right_is_read(lock: Lock) -> None:
    read = parse(render(lock).encode(), "pylock.toml")
    assert [package.name for package in read.packages] == [package.name for package in lock.packages]
    assert quick_summary(render(lock).encode()) is not None
