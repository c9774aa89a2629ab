"""Locks of somebody who means harm: digest and ids are right, since envlock itself wrote them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.document import parse, render
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.proof import prove
from envlock.model.lock import Lock, LockedPython
from tests.lockfile.test_formats import LOCKS, TORCH

LOCK = LOCKS["pylock.machine.toml"]
EXACT = LOCKS["pylock.exact.toml"]
ALLOWED = "https://index.example"


def with_package(**changes: Any) -> Lock:
    return replace(LOCK, packages=(*LOCK.packages[:1], replace(TORCH, **changes)))


def with_python(**changes: Any) -> Lock:
    return replace(EXACT, python=replace(EXACT.python, **changes))


HOSTILE = {
    "a file name that climbs": with_package(filename="../../evil.whl"),
    "an escaped file name that climbs": with_package(
        filename="../evil.whl", url="https://files.example/a%2F..%2F..%2Fevil.whl"
    ),
    "an absolute file name": with_package(filename="/evil.whl"),
    "a file name with NUL": with_package(filename="a\0b.whl"),
    "a file name that is too long": with_package(filename="a" * 300 + ".whl"),
    "no file name": with_package(filename="", url="https://files.example/"),
    "another kind of file": with_package(filename="torch.tar.gz"),
    "a local file": with_package(url="file:///dev/zero"),
    "a plain path": with_package(url="/dev/zero"),
    "data": with_package(url="data:text/plain,hello"),
    "credentials": with_package(url="https://me:pw@files.example/torch-2.0+cpu-py3-none-any.whl"),
    "a query": with_package(url="https://files.example/torch-2.0+cpu-py3-none-any.whl?token=x"),
    "a host that two readers read differently": with_package(
        url=f"https://evil.example:+443/@{ALLOWED.removeprefix('https://')}/torch-2.0+cpu-py3-none-any.whl"
    ),
    "a line break in a URL": with_package(url="https://files.example/a\nb/torch-2.0+cpu-py3-none-any.whl"),
    "a name that climbs": with_package(name="../torch"),
    "a name that is an option": with_package(name="--index-url"),
    "a name that is TOML": with_package(name='torch"\nx = 1'),
    "a version that climbs": with_package(version="../1"),
    "a version for the terminal": with_package(version="1\x1b[2J"),
    "a hash that climbs": with_package(sha256="../../x"),
    "a hash in capitals": with_package(sha256="CD" * 32),
    "a size below nothing": with_package(size=-1),
    "a size beyond all disks": with_package(size=10**30),
    "a package twice": replace(LOCK, packages=(TORCH, TORCH)),
    "a Python's hash that climbs": with_python(sha256="../../../srv/evil"),
    "a Python's file name that climbs": with_python(filename="../evil.tar.gz"),
    "a Python of data": with_python(url="data:text/plain,hello"),
    "a Python from elsewhere": with_python(source="elsewhere"),
    "a Python's version that is none": with_python(version="3.12.0; echo"),
    "a Python of two numbers": replace(LOCK, python=LockedPython("machine", "3.12")),
    "a file of any Python": replace(LOCK, python=replace(LOCK.python, url="https://files.example/evil.tar.gz")),
}


@pytest.mark.parametrize("lock", HOSTILE.values(), ids=list(HOSTILE))
def test_what_is_unsafe_to_use_is_damage_though_it_hashes_to_its_digest(lock: Lock) -> None:
    data = render(lock).encode()
    assert prove(data) is None
    with pytest.raises(DamagedLock) as caught:
        parse(data, "pylock.toml")
    assert "malformed" in caught.value.render()


def test_a_local_mirror_of_python_builds_may_be_locked() -> None:
    lock = with_python(url=f"file:///srv/pythons/{EXACT.python.filename}")
    assert parse(render(lock).encode(), "pylock.toml") == lock
    assert prove(render(lock).encode()) is not None
