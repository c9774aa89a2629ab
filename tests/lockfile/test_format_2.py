"""Locks with conda packages: read for ever, written to the byte, and every change of them seen."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tomli
from packaging.pylock import Pylock

from envlock.lockfile.canonical_text import STAMP, body_of, digest_of
from envlock.lockfile.document import parse, render
from envlock.lockfile.errors import DamagedLock, NewerLockFormat
from envlock.lockfile.summary import quick_summary
from envlock.model.lock import Lock
from tests.lockfile.conda_locks import CONDA, MIXED, NUMPY, PYTHON

V2 = Path(__file__).parent.parent / "formats" / "v2"
LOCKS = {"pylock.conda.toml": CONDA, "pylock.mixed.toml": MIXED}
IDS = {
    "pylock.conda.toml": "b894775a7310220ef5dfe6ed5a413a9a61ccd1c4:ea4d1813b17a9b0530182353313c98734c16edb8",
    "pylock.mixed.toml": "cd1acd48da904d5e94914fd22805ac47640a7b27:0b5e9f81e3127c6376273f73a112319c8477e89f",
}


def resealed(text: str) -> bytes:
    """A file whose digest fits its content again, as somebody who means harm would write it."""
    old = text[text.index(STAMP) :].split('"')[1]
    return text.replace(old, digest_of(body_of(text))).encode()


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_2_is_read_as_it_was_meant(name: str) -> None:
    data = (V2 / name).read_bytes()
    assert parse(data, name) == LOCKS[name]
    summary = quick_summary(data)
    assert summary is not None
    assert f"{summary.req_id}:{summary.full_id}" == IDS[name] == LOCKS[name].identity
    assert summary.urls == tuple(package.url for package in LOCKS[name].packages)
    assert summary.python_url == ""


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_2_is_written_to_the_byte(name: str) -> None:
    assert render(LOCKS[name]) == (V2 / name).read_text()


@pytest.mark.parametrize("lock", [CONDA, MIXED], ids=["conda", "mixed"])
def test_others_read_the_wheels_and_no_more(lock: Lock) -> None:
    document = Pylock.from_dict(tomli.loads(render(lock)))
    assert [each.name for each in document.packages] == [each.name for each in lock.pypi_packages]
    assert str(document.requires_python) == f"=={lock.python.version}"


@pytest.mark.parametrize("lock", [CONDA, MIXED], ids=["conda", "mixed"])
def test_the_header_says_that_others_install_a_part_only(lock: Lock) -> None:
    first, second = render(lock).splitlines()[:2]
    assert f"exactly {lock.python.version}, {len(lock.conda_packages)} conda" in first
    assert second.endswith("pip and uv install only its PyPI packages.")


def test_a_lock_without_conda_packages_is_format_1() -> None:
    lock = replace(MIXED, packages=MIXED.pypi_packages, python=replace(MIXED.python, source="machine"))
    assert "\nformat = 1\n" in render(lock)
    assert "[tool.envlock.conda]" not in render(lock)


def test_each_conda_package_is_one_line() -> None:
    lines = render(MIXED).splitlines()
    for package in MIXED.conda_packages:
        (line,) = [line for line in lines if line.startswith(f'    {{name = "{package.name}"')]
        assert package.sha256 in line


def test_the_edges_are_the_names_that_are_locked() -> None:
    """Virtual packages and what is only constrained are no edges."""
    read = {package.name: package for package in parse(render(MIXED).encode(), "x").packages}
    assert read["python"].dependencies == ("libzlib", "tzdata")
    assert read["numpy"].dependencies == ("libzlib", "python")
    assert "dependencies" not in render(MIXED)


def changed(old: str, new: str) -> str:
    text = render(MIXED)
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (NUMPY.sha256, PYTHON.sha256),
        ('build = "py313h64a7726_0"', 'build = "py313h64a7726_1"'),
        (', depends = ["__glibc >=2.17,<3.0.a0", "libzlib >=1.3.1,<2.0a0", "tzdata"]', ""),
        ("__glibc >=2.17", "__glibc >=2.16"),
        ("python_abi 3.13.*", "python_abi 3.12.*"),
        ("timestamp = 2026-01-02T03:04:05.678Z", "timestamp = 2026-01-02T03:04:05.679Z"),
        ('site-packages = "lib/python3.13', 'site-packages = "lib/python3.12'),
        ('provides = [["numpy", "1.26.4"]]', 'provides = [["numpy", "1.26.3"]]'),
        ('noarch = "generic", ', ""),
        ("https://conda.example/conda-forge/noarch", "https://evil.example/conda-forge/noarch"),
        ("[tool.envlock.conda]\n", '[tool.envlock.conda]\nmore = "x"\n'),
        ('conda = ["conda-forge::numpy =1.26", "tool"]', 'conda = ["conda-forge::numpy =1.26"]'),
        ('channels = ["conda-forge", "https://conda.example/team"]', 'channels = ["https://conda.example/team"]'),
        ("format = 2", "format = 1"),
        ('version = "3.13.9"\n', 'version = "3.13.8"\n'),
    ],
)
def test_every_change_is_damage(old: str, new: str) -> None:
    data = changed(old, new).encode()
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock):
        parse(data, "x")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("format = 2", "format = 1", "format 1 with conda packages"),
        ("[tool.envlock.conda]\n", '[tool.envlock.conda]\nmore = "x"\n', "something else than packages"),
        ('depends = ["libzlib", ', 'depends = "libzlib", other = [', "depends is no list"),
        ('sha256 = "efef', 'sha256 = "EFef', "package 'tool'"),
        ("timestamp = 2026-01-02T03:04:05Z", 'timestamp = "yesterday"', "malformed"),
        ("timestamp = 2026-01-02T03:04:05Z", "timestamp = 2026-01-02T03:04:05.000001Z", "package 'tzdata'"),
        ('name = "tzdata"', "name = 1", "malformed"),
        ("number = 101", "number = -1", "package 'python'"),
        ("number = 101", "number = true", "package 'python'"),
    ],
)
def test_what_no_lock_may_say_is_damage_though_its_digest_fits(old: str, new: str, reason: str) -> None:
    data = resealed(changed(old, new))
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock) as caught:
        parse(data, "x")
    assert reason in caught.value.reason


def test_format_2_without_conda_packages_is_damage() -> None:
    text = render(CONDA)
    start, end = text.index("    {name"), text.index("]\n\n[tool.envlock]")
    data = resealed(text[:start] + text[end:])
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock, match="changed or cut off") as caught:
        parse(data, "x")
    assert "format 2 without conda packages" in caught.value.reason


def test_a_comment_between_the_packages_is_layout() -> None:
    text = changed('    {name = "python"', '  # reviewed\n  {  name = "python"')
    assert quick_summary(text.encode()) is None
    assert parse(text.encode(), "x") == MIXED


def test_an_older_envlock_says_to_upgrade() -> None:
    with pytest.raises(NewerLockFormat) as caught:
        parse(changed("format = 2", "format = 4").encode(), "x")
    assert "reads up to 3" in str(caught.value)


def test_a_summary_imports_little() -> None:
    program = (
        "import sys; from envlock.lockfile.summary import quick_summary\n"
        "assert quick_summary(open(sys.argv[1], 'rb').read())\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] in sys.argv[2:]))"
    )
    heavy = ("rattler", "packaging", "pydantic", "dataclasses", "httpx", "asyncio")
    command = [sys.executable, "-c", program, str(V2 / "pylock.mixed.toml"), *heavy]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == []
