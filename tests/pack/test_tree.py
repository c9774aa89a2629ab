"""The tree of a pack: a lock's finished prefix, the same bytes wherever it is made, and nothing of a machine in it."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from envlock.hydration.errors import ChangedArtifact, ReservedPath
from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_ARM64, host_arch
from envlock.model.lock import LockedPackage
from envlock.pack.errors import CannotPack
from tests.hydration.making import SERIES, Making
from tests.index import Release
from tests.pack.trees import Stubs, tree_in

SITE = f"lib/python{SERIES}/site-packages"
OWN = {"bin", ".envlock.json", ".gitignore", ".lock", "CACHEDIR.TAG", "pyvenv.cfg"}
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


def test_the_tests_of_a_package_have_no_bytecode_unless_their_format_wants_it(tmp_path: Path) -> None:
    names = (
        "tests/test_a.py",
        "tests/deep/conftest.py",
        "test/b_test.py",
        "tests/runner.py",
        "testing.py",
        "test_c.py",
    )
    making = Stubs(tmp_path, wheels=(Release("top", "1.0", files={f"top/{name}": "X = 1\n" for name in names}),))

    def compiled(found: Mapping[str, object]) -> set[str]:
        return {each.rpartition("/")[2].partition(".")[0] for each in found if each.endswith(".pyc")}

    assert compiled(making.tree()) == {"__init__", "os", "runner", "testing", "test_c"}
    older = tree_in(making.lock, making, tmp_path / "scratch", compiles_tests=True)[1]
    assert compiled(older) - compiled(making.tree()) == {"test_a", "conftest", "b_test"}


def test_a_module_whose_bytecode_would_have_too_long_a_name_has_none(tmp_path: Path) -> None:
    """Nodes, like every Linux, refuse a name of more than 255 bytes."""
    ending = f".cpython-{SERIES.replace('.', '')}.pyc"
    longest, too_long = ("\u00e9" * 100 + "n" * (255 - 200 - len(ending) + more) for more in (0, 1))
    making = Stubs(tmp_path, wheels=(Release("top", "1.0", files={f"{longest}.py": "", f"{too_long}.py": ""}),))
    _, found = tree_in(making.lock, making, tmp_path / "scratch")
    names = {path.rpartition("/")[2] for path in found if "n" * 20 in path}
    assert names == {f"{longest}.py", f"{too_long}.py", f"{longest}{ending}"}


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
    """Environments share their files with that cache: an edit of one changes what is unpacked there."""
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


def test_a_tree_is_what_a_prefix_has_but_for_bytecode_and_the_prefixs_own_files(making: Making, tmp_path: Path) -> None:
    _, found = tree_in(making.lock, making, tmp_path / "scratch")
    prefix = making.hydrate()
    installed = {
        path.relative_to(prefix).as_posix(): path for path in prefix.rglob("*") if path.is_symlink() or path.is_file()
    }
    assert sorted(set(found) - set(installed)) == [path for path in found if path.endswith(".pyc")]
    beside = {path for path in set(installed) - set(found) if not path.endswith("/uv_cache.json")}
    assert {path.partition("/")[0] for path in beside} <= OWN
    assert not {path for path in beside if path.startswith("bin/command")}
    for path in set(found) & set(installed) - {"lib64"}:
        if not path.endswith("/RECORD"):
            assert found[path].data == installed[path].read_bytes(), path
            assert found[path].executable == os.access(installed[path], os.X_OK), path


def test_no_code_of_a_package_runs_even_where_two_wheels_have_one_path(tmp_path: Path) -> None:
    """uv starts twice then, the second time with an environment that is full."""
    mark = tmp_path / "ran"
    code = f"import pathlib; pathlib.Path({str(mark)!r}).write_text('x')\n"
    first = Release("first", "1.0", files={"evil.pth": code, "sitecustomize.py": code, "shared.py": "1\n"})
    making = Making(tmp_path, 0, own=(first, Release("second", "1.0", files={"shared.py": "2\n"})))
    making.write_artifacts()
    _, found = tree_in(making.lock, making, tmp_path / "scratch")
    assert (found[f"{SITE}/shared.py"].data, found[f"{SITE}/shared.py"].package) == (b"2\n", "wheel/second")
    assert not mark.exists()


def test_a_wheel_brings_no_link_no_device_no_set_id_and_nothing_outside(tmp_path: Path) -> None:
    members = {
        "bad/__init__.py": 0o100644,
        "bad/link": 0o120777,
        "bad/fifo": 0o010644,
        "bad/device": 0o020666,
        "bad/setuid": 0o106755,
        "../../../../../../outside": 0o100644,
        "/outside": 0o100644,
        "bad/unlisted.py": 0o100644,
        "bad-1.0.dist-info/uv_cache.json": 0o100644,
    }
    data = hostile_wheel("bad", members)
    lock = replace(Making(tmp_path, 0).lock, packages=(locked("bad", data),))
    file = tmp_path / "bad-1.0-py3-none-any.whl"
    file.write_bytes(data)
    _, found = tree_in(
        lock, SimpleNamespace(fetch=lambda artifacts: {each.sha256: file for each in artifacts}), tmp_path / "s"
    )
    names = {path.removeprefix(f"{SITE}/") for path in found if ".dist-info/" not in path and not path.endswith(".pyc")}
    assert names == {
        *(f"bad/{name}" for name in ("__init__.py", "link", "fifo", "device", "setuid", "unlisted.py")),
        "lib64",
    }
    assert {path: file.link for path, file in found.items() if file.link} == {"lib64": "lib"}
    assert found[f"{SITE}/bad/link"].data == b"bad/link", "what the archive has, as a file"
    assert f"{SITE}/bad-1.0.dist-info/uv_cache.json" not in found
    assert not list(tmp_path.rglob("outside"))


def hostile_wheel(name: str, members: dict[str, int]) -> bytes:
    """A wheel with members of these modes, each of which contains its own name."""
    buffer, record = io.BytesIO(), ""
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, mode in members.items():
            entry = zipfile.ZipInfo(path)
            entry.create_system, entry.external_attr = 3, mode << 16
            archive.writestr(entry, f"'{path}'" if path.endswith(".py") else path)
            record += "" if "unlisted" in path else f"{path},,\n"
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{record}{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return buffer.getvalue()


def locked(name: str, data: bytes) -> LockedPackage:
    filename = f"{name}-1.0-py3-none-any.whl"
    return LockedPackage(name, "1.0", filename, f"https://index.example/{filename}", hashlib.sha256(data).hexdigest())
