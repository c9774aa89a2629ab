"""The code of a task, unpacked from an archive that anybody may have written."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.workflow.errors import CannotUnpack, DamagedCodePackage
from envlock.workflow.task_code import CodePackage, check_folder, unpack_code


def archive(*members: tuple[str, bytes | None] | tarfile.TarInfo) -> bytes:
    """A tar.gz of files, folders (None) and whatever else."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                made.addfile(member)
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size, info.type = len(data or b""), tarfile.REGTYPE if data is not None else tarfile.DIRTYPE
            made.addfile(info, io.BytesIO(data or b""))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """What stands for a prefix: it has a Python."""
    made = tmp_path / "a prefix"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (made / "bin" / "python").chmod(0o755)
    return made


def package(*members: tuple[str, bytes | None] | tarfile.TarInfo) -> CodePackage:
    return CodePackage("TrainFlow/142/train/3", archive(*members), "")


def test_the_code_is_run_by_the_scripts_beside_it(tmp_path: Path, prefix: Path) -> None:
    folder = tmp_path / "it's a task"
    unpack_code(package(("flow.py", b"SAID = 'from the run'\n"), ("lib/part.py", b"")), folder, prefix, "")
    code = "import flow, os, sys; print(flow.SAID, os.environ['METAFLOW_EXTRACTED_ROOT'], os.environ['VIRTUAL_ENV'])"
    ran = subprocess.run(
        [folder / "python", "-c", code], cwd="/", env={"PATH": os.defpath}, capture_output=True, text=True, check=True
    )
    assert (ran.stdout, ran.stderr) == (f"from the run {folder} {prefix}\n", "")
    script = 'cd / && . "$1/enter.sh" && . "$1/enter.sh" && python -c "import flow; print(flow.SAID)" && echo "$PATH"'
    ran = subprocess.run(
        ["sh", "-ec", script, "sh", folder], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert ran.stdout == f"from the run\n{prefix}/bin:/usr/bin:/bin\n"


def test_what_runs_the_code_holds_the_prefix(tmp_path: Path, prefix: Path) -> None:
    folder = tmp_path / "code"
    unpack_code(package(), folder, prefix, "envlock create")
    with subprocess.Popen(
        [folder / "python", "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        handle = os.open(prefix, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        running.communicate(b"\n")
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


def test_the_scripts_say_when_the_environment_was_removed(tmp_path: Path, prefix: Path) -> None:
    folder = tmp_path / "code"
    unpack_code(package(), folder, prefix, "envlock create --pathspec TrainFlow/142/train")
    prefix.rename(tmp_path / "gone")
    ran = subprocess.run([folder / "python", "-V"], capture_output=True, text=True, check=False)
    assert ran.returncode == 5
    assert ran.stderr == (
        f"envlock: the environment {prefix} is no longer on this machine. "
        "Create it again: envlock create --pathspec TrainFlow/142/train\n"
    )


HOSTILE: dict[str, Callable[[Path], tuple[object, ...]]] = {
    "above": lambda _: (("../escaped", b"x"),),
    "absolute": lambda top: ((f"{top}/escaped", b"x"),),
    "through a link": lambda top: (special("out", tarfile.SYMTYPE, str(top)), ("out/escaped", b"x")),
    "a link out": lambda top: (special("out", tarfile.SYMTYPE, str(top)),),
    "a hard link out": lambda _: (special("out", tarfile.LNKTYPE, "../secret"),),
    "a device": lambda _: (special("null", tarfile.CHRTYPE),),
    "a pipe": lambda _: (special("pipe", tarfile.FIFOTYPE),),
    "a file that is a folder": lambda _: (("a", b"x"), ("a/b", b"y")),
}


def below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_writes_nothing(tmp_path: Path, prefix: Path, case: str) -> None:
    (tmp_path / "secret").write_text("mine")
    before = below(tmp_path)
    members = (("flow.py", b"x"), *HOSTILE[case](tmp_path))
    with pytest.raises(DamagedCodePackage) as caught:
        unpack_code(package(*members), tmp_path / "code", prefix, "envlock create")  # type: ignore[arg-type]
    assert "TrainFlow/142/train/3" in caught.value.message
    assert below(tmp_path) == before


# Named, because an archive has the time in it, and every worker has to collect the same tests.
@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", archive(("flow.py", b"x" * 9999))[:-40]],
    ids=["nothing", "no archive", "cut off"],
)
def test_a_damaged_archive_writes_nothing(tmp_path: Path, prefix: Path, data: bytes) -> None:
    with pytest.raises(DamagedCodePackage):
        unpack_code(CodePackage("TrainFlow/1/a", data, ""), tmp_path / "code", prefix, "")
    assert [path.name for path in tmp_path.iterdir()] == [prefix.name]


@pytest.mark.parametrize(
    "metadata", ["no JSON", "[]", '{"mfcontent_version": 99}', '{"mfcontent_version": []}', "[" * 9999]
)
@pytest.mark.filterwarnings("ignore:The _yaml extension module")  # by importing Metaflow
def test_what_metaflow_notes_of_an_archive_may_be_anything(tmp_path: Path, prefix: Path, metadata: str) -> None:
    with pytest.raises(DamagedCodePackage):
        unpack_code(CodePackage("TrainFlow/1/a", archive(("flow.py", b"x")), metadata), tmp_path / "code", prefix, "")
    assert [path.name for path in tmp_path.iterdir()] == [prefix.name]


def test_only_an_empty_folder_is_filled(tmp_path: Path, prefix: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    for name in ("file", "full"):
        with pytest.raises(CannotUnpack):
            check_folder(tmp_path / name)
    (tmp_path / "empty").mkdir()
    unpack_code(package(("flow.py", b"x")), tmp_path / "empty", prefix, "")
    assert (tmp_path / "empty" / "flow.py").read_bytes() == b"x"
    for taken in ("python", "enter.sh"):
        with pytest.raises(CannotUnpack, match=f"called `{taken}`"):
            unpack_code(package((taken, b"x")), tmp_path / "new", prefix, "")
    assert not (tmp_path / "new").exists()
