"""A file that was hashed is not hashed again, unless anything happened to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.files import sha256_of
from envlock.hydrate import proved as module
from envlock.hydrate.proved import Proved, signature


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is remembered."""
    monkeypatch.setattr(module, "_RACY_NANOSECONDS", 0)
    path = tmp_path / "demo.whl"
    path.write_bytes(b"one")
    Proved(tmp_path / "proved").remember(path, sha256_of(path), signature(path))
    assert Proved(tmp_path / "proved").knows(path, sha256_of(path))
    return path


def rewrite_with_the_same_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_with_the_same_times(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "touch",
    [
        rewrite_with_the_same_times,
        replace_with_the_same_times,
        lambda path: path.write_bytes(b"longer"),
        lambda path: path.chmod(0o600),
        lambda path: os.utime(path),
        lambda path: path.unlink(),
    ],
)
def test_whatever_happens_to_it_it_is_hashed_again(file: Path, touch: Callable[[Path], object]) -> None:
    sha256 = sha256_of(file)
    time.sleep(0.02)  # a tick of the kernel's clock
    touch(file)
    assert not Proved(file.parent / "proved").knows(file, sha256)


def test_another_file_of_the_same_content_is_hashed(file: Path) -> None:
    other = file.with_name("copy.whl")
    other.write_bytes(file.read_bytes())
    assert not Proved(file.parent / "proved").knows(other, sha256_of(file))


def test_a_young_file_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "demo.whl"
    path.write_bytes(b"one")
    proved = Proved(tmp_path / "proved")
    proved.remember(path, sha256_of(path), signature(path))
    assert not proved.knows(path, sha256_of(path))


def test_one_that_changed_while_it_was_hashed_is_not_remembered(file: Path) -> None:
    before = signature(file)
    time.sleep(0.02)
    file.write_bytes(b"two")
    proved = Proved(file.parent / "proved")
    proved.remember(file, sha256_of(file), before)
    assert not proved.knows(file, sha256_of(file))


def test_a_memory_that_cannot_be_kept_only_means_hashing(file: Path, tmp_path: Path) -> None:
    (tmp_path / "nofolder").write_text("")
    proved = Proved(tmp_path / "nofolder")
    proved.remember(file, sha256_of(file), signature(file))
    assert not proved.knows(file, sha256_of(file))
