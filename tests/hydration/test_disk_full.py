"""A disk that runs full while an environment is made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from envlock.activation import RECEIPT
from envlock.hydration.errors import DiskFull
from envlock.workflow.machine.gc import collect
from envlock.workflow.machine.gc_values import limits_of
from tests.hydration.making import Making, missing_files, remains


def fill(path: Path) -> None:
    """Write until no byte is left."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, b"x" * 4096)
    except OSError as error:
        assert error.errno == errno.ENOSPC  # noqa: PT017  it is how the loop ends
    finally:
        os.close(handle)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    making = Making(tmp_path, count=3, files=10, padding=200_000)
    making.write_artifacts()
    environments = small_disk / "environments"
    with pytest.raises(DiskFull) as caught:
        making.hydrate(home=small_disk)
    said = caught.value.render()
    assert caught.value.exit_status == 5
    assert str(environments) in said
    assert "the environment takes up to 6.0 MB" in said
    assert "free there now: " in said
    assert remains(environments) == []
    assert os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize > 1_900_000


def test_a_disk_with_room_for_nothing_at_all(tmp_path: Path, small_disk: Path) -> None:
    making = Making(tmp_path)
    making.write_artifacts()
    environments = small_disk / "environments"
    environments.mkdir()
    fill(small_disk / "filler")
    with pytest.raises(DiskFull) as caught:
        making.hydrate(home=small_disk)
    assert "free there now: 0" in caught.value.render()
    assert remains(environments) == []
    (small_disk / "filler").unlink()
    assert missing_files(making.hydrate(home=small_disk)) == []


def test_gc_makes_room_where_there_is_none(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(tmp_path)
    making.write_artifacts()
    prefix = making.hydrate(home=small_disk)
    os.utime(prefix / RECEIPT, (1000, 1000))
    fill(small_disk / "filler")
    monkeypatch.setenv("ENVLOCK_HOME", str(small_disk))
    small_disk.chmod(0o755)
    swept = collect(limits_of(), delete=True)
    assert [each.path for each in swept.going] == [str(prefix)]
    status = os.statvfs(small_disk)
    assert status.f_bavail * status.f_frsize >= swept.frees > 0
    assert remains(small_disk / "environments") == []
