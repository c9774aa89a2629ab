"""The tree of a pack: a lock's finished prefix, the same bytes wherever it is made, and nothing of a machine in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from envlock.hydration.errors import ChangedArtifact, ReservedPath
from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_ARM64, host_arch
from envlock.pack.errors import CannotPack
from tests.hydration.making import SERIES, Making
from tests.index import Release
from tests.pack.trees import tree_in

SITE = f"lib/python{SERIES}/site-packages"
FOREIGN = LINUX_AARCH64 if host_arch() == LINUX_64 else LINUX_64


@pytest.fixture
def making(tmp_path: Path) -> Making:
    made = Making(tmp_path / "one", count=2, files=2)
    made.write_artifacts()
    return made


def test_a_tree_has_the_files_of_the_wheels_their_commands_and_their_bytecode(making: Making, tmp_path: Path) -> None:
    tree, found = tree_in(making.lock, making, tmp_path / "scratch")
    assert list(found) == sorted(found)
    assert found["bin/command-1"].executable
    assert found["bin/command-1"].package == "wheel/package-1"
    assert b"realpath" in found["bin/command-1"].data, "it finds the interpreter beside it"
    assert found[f"{SITE}/package_0/part_1.py"].data == b"\nPART = 1\n"
    assert not found[f"{SITE}/package_0/part_1.py"].executable
    assert f"{SITE}/package_0/__pycache__/part_1.cpython-{SERIES.replace('.', '')}.pyc" in found
    assert found["lib64"].link == "lib"
    assert (tree.placeholder, tree.python) == ("", SERIES)
    assert tree.compiler.startswith(f"{SERIES}.")


def test_the_prefixs_own_files_are_not_in_its_tree(making: Making, tmp_path: Path) -> None:
    _, found = tree_in(making.lock, making, tmp_path / "scratch")
    assert not [path for path in found if path.startswith(("pyvenv.cfg", "bin/python", "bin/activate", "."))]
    assert {file.package for path, file in found.items() if path != "lib64"} == {"wheel/package-0", "wheel/package-1"}


def test_what_uv_notes_of_this_machine_is_neither_there_nor_in_a_record(making: Making, tmp_path: Path) -> None:
    _, found = tree_in(making.lock, making, tmp_path / "scratch")
    info = f"{SITE}/package_0-1.0.dist-info"
    record = found[f"{info}/RECORD"].data.decode()
    assert f"{info}/uv_cache.json" not in found
    assert "uv_cache.json" not in record
    listed = [line.partition(",")[0] for line in record.splitlines()]
    assert [name for name in listed if os.path.normpath(f"{SITE}/{name}") not in found] == []
    assert [path for path, file in found.items() if str(tmp_path).encode() in file.data] == []


def test_user_umask_locale_clock_and_folder_change_no_byte(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree_in(making.lock, making, tmp_path / "scratch")
    again = Making(tmp_path / "elsewhere, with ü", count=2, files=2)
    again.write_artifacts()
    for file in again.place.rglob("*.whl"):
        os.utime(file, (time.time() - 1e8,) * 2)
        file.chmod(0o600)
    variables = {
        "HOME": str(tmp_path / "home"), "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "77", "USER": "ada",
        "UV_LINK_MODE": "copy", "PYTHONOPTIMIZE": "2", "PYTHONPATH": str(tmp_path), "SOURCE_DATE_EPOCH": "1",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o177)
    try:
        second = tree_in(again.lock, again, tmp_path / "another scratch ü")
    finally:
        os.umask(before)
    assert first == second


def test_a_tree_for_another_arch_is_made_here(tmp_path: Path) -> None:
    machine = {LINUX_64: "x86_64", LINUX_AARCH64: "aarch64"}[FOREIGN]
    tag = f"cp{SERIES.replace('.', '')}-cp{SERIES.replace('.', '')}-manylinux_2_28_{machine}"
    making = Making(tmp_path, own=(Release("built", "1.0", tags=(f"py3-none-linux_{machine}",)),), tag=tag)
    making.write_artifacts()
    _, found = tree_in(making.for_arch(FOREIGN), making, tmp_path / "scratch")
    assert machine.encode() in found[f"{SITE}/package_0/__init__.py"].data
    assert machine.encode() in found[f"{SITE}/built/__init__.py"].data


def test_an_arch_is_refused_that_no_node_has(making: Making, tmp_path: Path) -> None:
    with pytest.raises(CannotPack, match=OSX_ARM64):
        tree_in(making.for_arch(OSX_ARM64), making, tmp_path)


def test_a_wheel_that_is_not_the_locked_one_is_refused(making: Making, tmp_path: Path) -> None:
    wheel = making.file_of(making.lock.packages[0])
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
    with pytest.raises(ChangedArtifact):
        tree_in(making.lock, making, tmp_path / "scratch")


def test_what_was_changed_in_the_cache_of_uv_reaches_no_tree(making: Making, tmp_path: Path) -> None:
    """Environments share their files with that cache: whoever edits one changes what is unpacked there."""
    first = tree_in(making.lock, making, tmp_path / "scratch")
    prefix = making.hydrate()
    (prefix / SITE / "package_0" / "part_0.py").write_text("PART = 'edited'\n")
    assert tree_in(making.lock, making, tmp_path / "scratch") == first


def test_a_wheel_with_a_file_of_the_environment_is_refused(tmp_path: Path) -> None:
    making = Making(tmp_path, 1, own=(Release("bad", "1.0", files={"bad-1.0.data/data/pyvenv.cfg": "home = /"}),))
    making.write_artifacts()
    with pytest.raises(ReservedPath):
        tree_in(making.lock, making, tmp_path / "scratch")


def test_a_lock_without_packages_has_a_tree(tmp_path: Path) -> None:
    making = Making(tmp_path, 0)
    assert list(tree_in(making.lock, making, tmp_path / "scratch")[1]) == ["lib64"]


def test_the_compiler_that_a_plan_names_is_taken(making: Making, tmp_path: Path) -> None:
    here = tree_in(making.lock, making, tmp_path / "scratch")[0].compiler
    assert tree_in(making.lock, making, tmp_path / "scratch", compiler=here)[0].compiler == here
