"""Every lock that was ever written is read for ever: files of each format, never edited."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.lockfile.document import parse, render
from envlock.lockfile.errors import ConflictMarkersInLock, DamagedLock, NewerLockFormat
from envlock.lockfile.summary import quick_summary
from envlock.model.arch import LINUX_64, OSX_ARM64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements

V1 = Path(__file__).parent.parent / "formats" / "v1"

SYSTEM = ((LINUX_64, "__glibc", "2.28"), (OSX_ARM64, "__osx", "13.0"))
DEMO = LockedPackage(
    name="demo",
    version="1.2.3",
    filename="demo-1.2.3-cp312-cp312-manylinux_2_28_x86_64.whl",
    url="https://files.example/ab/demo-1.2.3-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256="ab" * 32,
    size=12345,
    upload_time="2026-01-02T03:04:05Z",
    index="https://index.example/simple",
    dependencies=("torch",),
)
TORCH = LockedPackage(
    name="torch",
    version="2.0+cpu",
    filename="torch-2.0+cpu-py3-none-any.whl",
    url="https://files.example/cd/torch-2.0%2Bcpu-py3-none-any.whl",
    sha256="cd" * 32,
)
LOCKS = {
    "pylock.machine.toml": Lock(
        arch=LINUX_64,
        requirements=Requirements(
            python="<3.13,>=3.12.4",
            pypi=(parse_requirement("demo[fast]>=1,<2 ; sys_platform == 'linux'"),),
            metaflow=(parse_requirement("requests>=2.21.0"),),
            indexes=("https://index.example/simple",),
            default_index="https://other.example/simple",
            pip_flags=("pre",),
            system=SYSTEM,
        ),
        python=LockedPython(source="machine", version="3.12.4"),
        packages=(DEMO, TORCH),
        exclude_newer="2026-02-01T00:00:00Z",
        asked_by=("Train/start", "Train/end"),
        resolved_by="somebody",
        resolved_at="2026-02-08T00:00:00Z",
    ),
    "pylock.exact.toml": Lock(
        arch=OSX_ARM64,
        requirements=Requirements(python_from="uv", exclude_newer="2026-02-02T00:00:00Z", system=SYSTEM),
        python=LockedPython(
            source="uv",
            version="3.12.9",
            url="https://files.example/20260101/cpython-3.12.9%2B20260101-aarch64.tar.gz",
            filename="cpython-3.12.9+20260101-aarch64.tar.gz",
            sha256="ef" * 32,
        ),
        packages=(),
        exclude_newer="2026-02-02T00:00:00Z",
        asked_by=("base",),
        resolved_by='a "quoted" name',
        resolved_at="2026-02-08T00:00:00Z",
    ),
}
IDS = {
    "pylock.machine.toml": "dd7483b2c5cc211e800a7b95f03d103801f61497:f1d6f133365eccc98daefeca3e02b858a445ee51",
    "pylock.exact.toml": "44d66239667f6ee6107baf873d22fcede03a4db6:fda52bbf1aac96a3db40411e7b494d8b62c68fda",
}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_1_is_read_as_it_was_meant(name: str) -> None:
    data = (V1 / name).read_bytes()
    assert parse(data, name) == LOCKS[name]
    assert quick_summary(data) is not None


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_format_1_is_written_to_the_byte(name: str) -> None:
    assert render(LOCKS[name]) == (V1 / name).read_text()


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_the_ids_of_format_1_never_change(name: str) -> None:
    assert LOCKS[name].identity == IDS[name]


def changed(old: str, new: str) -> bytes:
    text = (V1 / "pylock.machine.toml").read_text()
    assert old in text
    return text.replace(old, new).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (changed("ab" * 32, "ac" * 32), "its content does not match its digest"),
        (changed('version = "1.2.3"', 'version = "1.2.4"'), "its content does not match its digest"),
        (changed("[tool.envlock.stamp]", "[tool.envlock.stomp]"), "a part is missing or malformed"),
        (changed(', dependencies = [{name = "torch"}]', ""), "its content does not match its digest"),
        (changed('created-by = "envlock"', 'created-by = "envlock"\nextras = ["x"]'), "envlock did not write"),
        (changed("hashes = {", "size = 1, hashes = {"), "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"", "a part is missing or malformed"),
    ],
)
def test_what_was_changed_is_damage_and_says_how(data: bytes, reason: str) -> None:
    assert quick_summary(data) is None
    with pytest.raises(DamagedLock) as caught:
        parse(data, "x")
    assert reason in caught.value.reason


@pytest.mark.parametrize("marker", ["<<<<<<<", "<<<<<<<<<"])
def test_conflict_markers_are_named_with_their_line(marker: str) -> None:
    """Git's are longer where two branches gave a file two names, as those of locks change with their content."""
    data = changed("[tool.envlock.python]", f"{marker} ours\n[tool.envlock.python]")
    with pytest.raises(ConflictMarkersInLock) as caught:
        parse(data, "x")
    text = data.decode()
    assert caught.value.locations[0].line == text[: text.index("<<<<<<<")].count("\n") + 1


def test_a_newer_format_is_not_damage() -> None:
    data = changed("format = 1", "format = 4")
    with pytest.raises(NewerLockFormat):
        parse(data, "x")
    assert quick_summary(data) is None
