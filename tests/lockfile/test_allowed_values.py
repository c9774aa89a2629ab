"""Locks of somebody who means harm: digest and ids are right, since envlock itself wrote them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.canonical_text import body_of, digest_of
from envlock.lockfile.document import parse, render, summary_of
from envlock.lockfile.errors import DamagedLock
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import OSX_ARM64
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from tests.lockfile.conda_locks import CONDA, MIXED, MOVED, MUTEX
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
    proof = quick_summary(render(LOCK).encode())
    assert proof is not None
    assert proof.others == {"https://index.example/simple", "https://other.example/simple"}
    conda = quick_summary(render(MIXED).encode())
    assert conda is not None
    assert conda.others == {"https://conda.example/team", "file:///srv/channel", "https://index.example/simple"}
    assert summary_of(LOCK) == proof
    assert summary_of(MIXED) == conda


DEMO, ASKED = LOCK.packages[0], LOCK.requirements._replace(metaflow=(), pypi=(parse_requirement("demo"),))
LACKING = {
    "a root": (replace(LOCK, packages=(TORCH,), requirements=ASKED), "demo"),
    "what Metaflow needs": (LOCK, "requests"),
    "a root of this arch": (
        replace(
            LOCK, packages=(), requirements=ASKED._replace(pypi=(parse_requirement("demo ; sys_platform == 'linux'"),))
        ),
        "demo",
    ),
    "what a package needs": (replace(LOCK, packages=(DEMO,), requirements=ASKED), "torch"),
    "what a conda package needs": (
        replace(MIXED, packages=tuple(p for p in MIXED.packages if p.name != "tzdata")),
        "tzdata",
    ),
    "a conda package": (
        replace(MIXED, packages=(MOVED, *(p for p in MIXED.packages if p.name not in {"tool", "numpy"}))),
        "numpy",
    ),
}


@pytest.mark.parametrize(("lock", "name"), LACKING.values(), ids=list(LACKING))
def test_what_is_asked_for_or_needed_and_not_there_is_told(lock: Lock, name: str) -> None:
    lock = replace(lock, packages=tuple(sorted(lock.packages, key=lambda each: (each.kind, each.name))))
    proof = quick_summary(render(lock).encode())
    assert proof is not None
    assert re.search(rf"\b{name}(,| is required,) .*not locked", proof.inconsistency)


def test_a_version_that_is_not_asked_for_is_told() -> None:
    for asked in ("demo>=2", "demo[fast]!=1.2.3 ; platform_machine == 'x86_64'"):
        lock = replace(LOCK, requirements=ASKED._replace(pypi=(parse_requirement(asked),)))
        assert "demo 1.2.3 is locked, but demo" in summary_of(lock).inconsistency


def pinned(index: str, marker: str = "") -> Requirements:
    """demo, asked of one index alone."""
    return ASKED._replace(pypi=(parse_requirement(f"demo{marker}")._replace(from_index=index),))


@pytest.mark.parametrize("found", ["https://other.example/simple", "https://index.example/simple/more", ""])
@pytest.mark.parametrize("upload_time", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05+01:00"])
def test_a_package_from_another_index_than_its_own_is_told(found: str, upload_time: str) -> None:
    packages = (replace(DEMO, index=found, upload_time=upload_time), TORCH)
    for marker in ("", " ; sys_platform == 'linux'"):
        lock = replace(LOCK, packages=packages, requirements=pinned("https://index.example/simple", marker))
        parse(render(lock).encode(), "pylock.toml")
        assert "but demo from https://index.example/simple is required" in summary_of(lock).inconsistency


@pytest.mark.parametrize(
    ("asked", "marker"),
    [
        ("https://index.example/simple/", ""),
        ("https://Index.example:443/simple", ""),
        ("https://${HOST}:${PORT}/simple", ""),
        ("https://${TEAM}.example/simple", ""),
        ("${BASE}/simple", ""),
        ("${INDEX}", ""),
        ("https://other.example/simple", " ; sys_platform == 'darwin'"),
    ],
)
def test_the_index_of_a_package_may_be_written_otherwise(asked: str, marker: str) -> None:
    assert summary_of(replace(LOCK, requirements=pinned(asked, marker))).inconsistency == ""


@pytest.mark.parametrize("asked", ["https://${HOST}/other", "https://${TEAM}.other/simple", "${BASE}/other"])
def test_a_variable_of_an_index_stands_for_no_more_than_its_place(asked: str) -> None:
    assert "but demo from" in summary_of(replace(LOCK, requirements=pinned(asked))).inconsistency


@pytest.mark.parametrize("asked", ["==3.11.*", "<3.12", "<3.13,>=3.12.5", "==3.12.3"])
def test_a_python_that_is_not_asked_for_is_told(asked: str) -> None:
    lock = replace(LOCK, requirements=ASKED._replace(python=asked))
    assert summary_of(lock).inconsistency == f"Python 3.12.4 is locked, but Python {asked} is required"
    assert summary_of(replace(lock, requirements=ASKED._replace(python="==3.12.*"))).inconsistency == ""


def with_file(filename: str, version: str = "1.2.3", **changes: Any) -> str:
    """What is told of a lock of demo whose file is called so."""
    demo = replace(DEMO, filename=filename, url=f"https://files.example/{filename}", version=version)
    return summary_of(replace(LOCK, packages=(demo, TORCH), requirements=ASKED, **changes)).inconsistency


@pytest.mark.parametrize(
    "filename",
    [
        "evil-1.2.3-py3-none-any.whl",
        "demo_evil-1.2.3-py3-none-any.whl",
        "demo-1.2.4-py3-none-any.whl",
        "demo-1.2.3rc1-py3-none-any.whl",
        "demo-1.2.3.whl",
        "demo-1.2.3-py2-none-any.whl",
        "demo-1.2.3-py313-none-any.whl",
        "demo-1.2.3-cp311-cp311-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-cp313-abi3-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-pp310-pypy310_pp73-manylinux_2_28_x86_64.whl",
        "demo-1.2.3-cp312-cp312-manylinux_2_28_aarch64.whl",
        "demo-1.2.3-cp312-cp312-macosx_11_0_x86_64.whl",
        "demo-1.2.3-cp312-cp312-win_amd64.whl",
    ],
)
def test_the_file_of_another_package_version_machine_or_python_is_told(filename: str) -> None:
    assert filename in with_file(filename)


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("Demo-1.2.3-py2.py3-none-any.whl", "1.2.3"),
        ("demo-1.2.3-1local-py3-none-any.whl", "1.2.3"),
        ("demo-2024.07.04-py3-none-any.whl", "2024.7.4"),
        ("demo-1.0.0-py3-none-any.whl", "1.0"),
        ("demo-1.0.0.post1-py3-none-any.whl", "1.0.0.post1"),
        ("demo-1.0.beta1-py3-none-any.whl", "1.0b1"),
        ("demo-1.0_cu12-py3-none-any.whl", "1.0+cu12"),
        ("demo-1.2.3-cp36-abi3-manylinux1_x86_64.manylinux2014_x86_64.whl", "1.2.3"),
        ("demo-1.2.3-cp311.cp312-none-linux_x86_64.whl", "1.2.3"),
        ("demo-1.2.3-py3-none-musllinux_1_2_x86_64.whl", "1.2.3"),
    ],
)
def test_a_file_may_spell_its_package_and_version_otherwise(filename: str, version: str) -> None:
    assert with_file(filename, version) == ""


@pytest.mark.parametrize("platform", ["macosx_11_0_arm64", "macosx_10_9_universal2", "any"])
def test_a_file_for_several_machines_is_for_each_of_them(platform: str) -> None:
    assert with_file(f"demo-1.2.3-py3-none-{platform}.whl", arch=OSX_ARM64) == ""


def test_what_is_whole_lacks_nothing() -> None:
    for lock in (
        replace(LOCK, requirements=ASKED),
        *(
            replace(LOCK, packages=(), requirements=ASKED._replace(pypi=(parse_requirement(f"demo ; {marker}"),)))
            for marker in ("os_name == 'nt'", "sys_platform == 'darwin' or python_version < '3.12'", "extra == 'x'")
        ),
        replace(LOCK, requirements=ASKED._replace(pypi=(parse_requirement("demo<1 ; os_name == 'nt'"),))),
        replace(LOCK, requirements=ASKED._replace(pypi=(parse_requirement(f"demo @ {DEMO.url}"),))),
        replace(CONDA, requirements=CONDA.requirements._replace(conda=())),
        MIXED,
        EXACT,
    ):
        assert summary_of(lock).inconsistency == ""


def test_a_local_mirror_of_python_builds_may_be_locked() -> None:
    lock = with_python(url=f"file:///srv/pythons/{EXACT.python.filename}")
    assert parse(render(lock).encode(), "pylock.toml") == lock
    assert quick_summary(render(lock).encode()) is not None
