"""Temporary folders go with whoever made them, and what killed commands left goes with the next."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from envlock.stage import temporary_folder


def left_behind(folder: Path, name: str) -> Path:
    """A folder as a command that was killed leaves it."""
    made = folder / name
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "file").write_text("")
    return made


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, where everything is old enough."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("envlock.stage._YOUNG", 0.0)
    return tmp_path


def a_dead_process() -> int:
    done = subprocess.Popen(["true"])
    done.wait()
    return done.pid


def test_what_killed_commands_left_goes_with_the_next_temporary_folder(temporary: Path) -> None:
    dead = a_dead_process()
    gone = [left_behind(temporary, f"envlock-{kind}{dead}-abc") for kind in ("", "push-", "shell-", "metaflow-")]
    kept = [
        left_behind(temporary, f"envlock-{os.getpid()}-abc"),
        left_behind(temporary, f"envlock-tests-{dead}-abc"),
        left_behind(temporary, f"other-{dead}-abc"),
    ]
    (temporary / f"envlock-{dead}-link").symlink_to(kept[2])
    with temporary_folder() as folder:
        assert folder.parent == temporary
        assert [path for path in gone if path.exists()] == []
        assert [path for path in kept if not (path / "sub" / "file").exists()] == []
    assert not folder.exists()


def test_the_folder_of_a_running_command_stays_whoever_cannot_see_it(temporary: Path) -> None:
    other = left_behind(temporary, f"envlock-{a_dead_process()}-abc")
    handle = os.open(other, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as a process in another container holds it
    with temporary_folder("envlock-push-"):
        assert other.exists()
    os.close(handle)
    with temporary_folder("envlock-push-"):
        assert not other.exists()


def test_a_young_folder_may_have_no_lock_yet(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envlock.stage._YOUNG", 10.0)
    other = left_behind(temporary, f"envlock-{a_dead_process()}-abc")
    with temporary_folder():
        assert other.exists()


def test_a_temporary_folder_goes_whatever_happens_in_it(temporary: Path) -> None:
    def broken_off() -> None:
        with temporary_folder() as folder:
            (folder / "file").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert list(temporary.iterdir()) == []
