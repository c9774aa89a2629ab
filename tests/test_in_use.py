"""What a process uses is not removed, and its last use is known. Nodes read the same locks and notes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock import in_use
from envlock.activation import RECEIPT
from envlock.in_use import hold, last_used, note_of, stays, used
from metaflow_extensions.envlock.plugins.node.home import InUse, claim
from metaflow_extensions.envlock.plugins.node.kept import Kept, evict

NAME = "metaflow_" + "a" * 40 + "_" + "b" * 40


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    made = tmp_path / "environments" / NAME
    made.mkdir(parents=True)
    (made.parent / ".stages").mkdir()
    (made / RECEIPT).write_text("{}")
    return made


def is_free(prefix: Path) -> bool:
    try:
        handle = claim(str(prefix))
    except InUse:
        return False
    assert handle is not None
    os.close(handle)
    return True


def open_descriptors() -> set[int]:
    return {int(each.name) for each in Path("/dev/fd").iterdir()}


def test_a_program_that_a_holder_becomes_holds_on_without_an_open_file_of_it(prefix: Path) -> None:
    program = "import os, sys; from envlock.in_use import hold; hold(sys.argv[1]); os.execv('/bin/cat', ['cat'])"
    holder = subprocess.Popen([sys.executable, "-c", program, prefix], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"here\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == b"here\n"
    assert not is_free(prefix)
    assert not evict(str(prefix.parent.parent), f"environments/{NAME}")
    assert prefix.exists()
    holder.communicate()
    assert is_free(prefix)


def test_the_descriptor_is_none_that_scripts_use(prefix: Path) -> None:
    before = open_descriptors()
    assert hold(str(prefix))
    (own,) = (each for each in open_descriptors() - before if each >= 100)
    assert os.get_inheritable(own)
    os.close(own)
    assert is_free(prefix)


def test_what_is_gone_or_not_whole_is_not_held(prefix: Path) -> None:
    (prefix / RECEIPT).unlink()
    assert not hold(str(prefix))
    assert not stays(str(prefix))
    assert is_free(prefix)
    prefix.rmdir()
    assert not hold(str(prefix))
    assert not stays(str(prefix))


@pytest.mark.parametrize("begin", [hold, stays])
def test_who_waits_for_a_removal_is_told_that_it_is_gone(begin: Callable[[str], bool], prefix: Path) -> None:
    handle = claim(str(prefix))
    assert handle is not None
    told: list[bool] = []
    waiting = threading.Thread(target=lambda: told.append(begin(str(prefix))))
    waiting.start()
    time.sleep(0.05)
    assert told == []
    prefix.rename(prefix.with_name("aside"))
    prefix.mkdir()
    os.close(handle)
    waiting.join()
    assert told == [False]


def test_the_last_use_is_in_the_note_that_nodes_have(prefix: Path) -> None:
    home = prefix.parent.parent
    os.utime(prefix / RECEIPT, (1000, 1000))
    assert last_used(str(prefix)) == 1000, "never used: when it was made"
    used(str(prefix))
    kept = Kept(str(home), f"environments/{NAME}")
    assert (kept.path, kept.summary()) == (note_of(str(prefix)), {})
    os.utime(kept.path, (2000, 2000))
    assert last_used(str(prefix)) == kept.last_used() == 2000
    used(str(prefix))
    assert last_used(str(prefix)) == kept.last_used() > time.time() - 60


def test_the_receipt_has_one_name() -> None:
    assert in_use.RECEIPT == RECEIPT


def test_a_home_without_room_for_notes_is_no_error(prefix: Path) -> None:
    (prefix.parent.parent / "kept").write_text("not a folder")
    used(str(prefix))
    assert last_used(str(prefix)) == (prefix / RECEIPT).stat().st_mtime
