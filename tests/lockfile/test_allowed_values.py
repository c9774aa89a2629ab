"""Locks of somebody who means harm: digest and ids are right, since envlock itself wrote them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.canonical_text import body_of, digest_of
from envlock.lockfile.document import parse, render, summary_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.summary import quick_summary
from envlock.model.lock import Lock, LockedPython
from tests.lockfile.conda_locks import MIXED, MUTEX
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
    "a version beyond all length": with_package(version="1" * 100_000),
    "an exclude-newer that is a span": replace(LOCK, exclude_newer="7d"),
    "an exclude-newer of no calendar": replace(LOCK, exclude_newer="2026-13-01T00:00:00Z"),
    "a version for the terminal": with_package(version="1\x1b[2J"),
    "a hash that climbs": with_package(sha256="../../x"),
    "a hash in capitals": with_package(sha256="CD" * 32),
    "a size below nothing": with_package(size=-1),
    "a size beyond all disks": with_package(size=10**18),
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
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock) as caught:
        parse(data, "pylock.toml")
    assert "malformed" in caught.value.render()


def restamped(lock: Lock, old: str, new: str) -> bytes:
    """A lock whose text was changed, and which has the digest of what it is then."""
    text = render(lock)
    assert old in text
    changed = text.replace(old, new, 1)
    return changed.replace(digest_of(body_of(text)), digest_of(body_of(changed))).encode()


WHEEL_URL = 'url = "https://files.example/cd/torch-2.0%2Bcpu-py3-none-any.whl"'
ANYWHERE = "https://evil.example/demo-1.2.3.tar.gz"
OTHER_FORMS = {
    "a table of another tool": (LOCK, "[tool.envlock.python]", "[tool.evil]\nx = 1\n\n[tool.envlock.python]"),
    "a table at the end": (LOCK, 'pip-flags = ["pre"]', 'pip-flags = ["pre"]\n\n[tool.evil]\nx = 1'),
    "a key of envlock's": (LOCK, "format = 1\n", "format = 1\nevil = 1\n"),
    "a key of the Python": (LOCK, 'source = "machine"\n', 'source = "machine"\nevil = 1\n'),
    "another type": (LOCK, 'type = "pypi"', 'type = "mixed"'),
    "an sdist": (
        LOCK,
        ", wheels = [",
        f', sdist = {{url = "{ANYWHERE}", hashes = {{sha256 = "{"0" * 64}"}}}}, wheels = [',
    ),
    "an archive": (LOCK, ", wheels = [", f', archive = {{url = "{ANYWHERE}"}}, wheels = ['),
    "an index that is no web address": (LOCK, "https://index.example/simple", "file:///srv/wheels"),
    "an index with credentials": (LOCK, "https://index.example/simple", "https://me:pw@index.example/simple"),
    "a marker of Windows": (LOCK, "sys_platform == 'linux'", "sys_platform == 'win32'"),
    "a second marker": (LOCK, "'x86_64'\"]", "'x86_64'\", \"sys_platform == 'win32'\"]"),
    "another range of Python": (LOCK, "==3.12.*,>=3.12.4", ">=3.8"),
    "extras of the file": (LOCK, 'created-by = "envlock"', 'created-by = "envlock"\nextras = ["x"]'),
    "a size with a sign": (LOCK, "size = 12345", "size = +12345"),
    "a marker of a package": (LOCK, ', version = "1.2.3"', ', version = "1.2.3", marker = "os_name == \'nt\'"'),
    "a name that the URL says": (LOCK, WHEEL_URL, f'name = "torch-2.0+cpu-py3-none-any.whl", {WHEEL_URL}'),
    "the name of an edge": (LOCK, '{name = "torch"}', '{name = "../torch"}'),
    "a requirement in another spelling": (LOCK, '"requests>=2.21.0"', '"requests >= 2.21.0"'),
    "a build number of nothing": (MIXED, 'build = "2_gnu"', 'build = "2_gnu", number = 0'),
    "an empty licence": (MIXED, ', depends = ["__glibc', ', license = "", depends = ["__glibc'),
    "a channel that the URL says": (
        MIXED,
        f'{MUTEX.filename}"',
        f'{MUTEX.filename}", channel = "s3://team-channel/main", subdir = "linux-64"',
    ),
    "milliseconds of nothing": (MIXED, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
}


@pytest.mark.parametrize(("lock", "old", "new"), OTHER_FORMS.values(), ids=list(OTHER_FORMS))
def test_what_envlock_does_not_write_is_damage_though_it_hashes_to_its_digest(lock: Lock, old: str, new: str) -> None:
    data = restamped(lock, old, new)
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock):
        parse(data, "pylock.toml")


def test_a_table_after_the_stamp_is_damage() -> None:
    data = render(LOCK).encode() + b"\n[tool.evil]\nx = 1\n"
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock):
        parse(data, "pylock.toml")


def test_every_url_is_named() -> None:
    summary = quick_summary(render(LOCK).encode())
    assert summary is not None
    assert summary.others == {"https://index.example/simple", "https://other.example/simple"}
    conda = quick_summary(render(MIXED).encode())
    assert conda is not None
    assert conda.others == {"https://conda.example/team", "file:///srv/channel", "https://index.example/simple"}
    assert summary_of(LOCK) == summary
    assert summary_of(MIXED) == conda


def test_a_local_mirror_of_python_builds_may_be_locked() -> None:
    lock = with_python(url=f"file:///srv/pythons/{EXACT.python.filename}")
    assert parse(render(lock).encode(), "pylock.toml") == lock
    assert quick_summary(render(lock).encode()) is not None
