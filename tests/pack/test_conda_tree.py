"""The tree of conda packages: a placeholder in place of the prefix, and nothing of the machine that linked them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.hydration.errors import BadCondaArchive, FileAndFolder, LinkFailed
from envlock.model.arch import LINUX_64, LINUX_AARCH64, host_arch
from envlock.pack.errors import CannotPack
from envlock.pack.tree import PLACEHOLDER, tree_of
from tests.channel import Channel
from tests.channel.recipe import Dist, File, Package, data_package, python_package
from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import Heard, MachinePythons
from tests.index import Release
from tests.pack.trees import LIBRARY, SITE, TAG, Stubs, lay_out, tree_in

BUILT = "/built/" + "x" * 248
SHORT = "/tiny/prefix"
FOREIGN = LINUX_AARCH64 if host_arch() == LINUX_64 else LINUX_64


def test_files_that_name_their_prefix_have_the_placeholder_and_say_how_it_is_replaced(tmp_path: Path) -> None:
    tool = Package(
        "tool",
        "1.0",
        files={
            "bin/tool": File(f"#!{BUILT}/bin/perl -w\n1;\n".encode(), executable=True, placeholder=BUILT),
            "etc/tool.conf": File(f"home = {BUILT}\n".encode(), placeholder=BUILT),
            "etc/other.conf": File(f"home = {SHORT}\n".encode(), placeholder=SHORT),
            "lib/libtool.so": File(f"\0{BUILT}/share\0end".encode(), placeholder=BUILT, mode="binary"),
            "share/plain.txt": File(b"plain\n"),
        },
    )
    found = Stubs(tmp_path, (tool,)).tree()
    assert found["etc/tool.conf"] == (f"home = {PLACEHOLDER}\n".encode(), "", False, "text", "conda/tool")
    assert found["etc/other.conf"].data == f"home = {PLACEHOLDER}\n".encode()
    assert found["lib/libtool.so"].data == f"\0{PLACEHOLDER}/share\0end".encode()
    assert found["lib/libtool.so"].prefix == "binary"
    assert found["share/plain.txt"].prefix == ""
    assert found["bin/tool"].data == b"#!/usr/bin/env perl -w\n1;\n", "a first line has no room for the placeholder"
    assert (found["bin/tool"].executable, found["bin/tool"].prefix) == (True, "")
    assert len(PLACEHOLDER) == 255


def test_a_record_has_nothing_of_the_machine_and_no_hash_of_what_depends_on_the_place(tmp_path: Path) -> None:
    files = {
        "etc/a.conf": File(f"{BUILT}\n".encode(), placeholder=BUILT),
        "share/b.txt": File(b"plain\n"),
    }
    found = Stubs(tmp_path, (Package("tool", "1.0", files=files),)).tree()
    record = json.loads(found["conda-meta/tool-1.0-0.json"].data)
    assert not {"link", "extracted_package_dir", "package_tarball_full_path"} & set(record)
    assert record["url"].endswith("/noarch/tool-1.0-0.conda")
    rows = {row["_path"]: row for row in record["paths_data"]["paths"]}
    assert not {"sha256", "sha256_in_prefix"} & set(rows["etc/a.conf"])
    assert rows["share/b.txt"]["sha256"] == hashlib.sha256(b"plain\n").hexdigest()
    assert [path for path, file in found.items() if str(tmp_path).encode() in file.data] == []
    assert found["conda-meta/history"].data == b""
    assert "CACHEDIR.TAG" not in found


def test_the_commands_of_a_noarch_package_start_the_python_of_the_prefix(tmp_path: Path) -> None:
    speak = python_package("speak", "1.0", scripts={"speak": "speak:main"})
    found = Stubs(tmp_path, (speak,)).tree()
    assert found["bin/speak"].executable
    assert (found["bin/speak"].prefix, found["bin/speak"].package) == ("text", "conda/speak")
    assert f"{PLACEHOLDER}/bin/python".encode() in found["bin/speak"].data
    assert f"{SITE}/speak/__pycache__/__init__.{TAG}.pyc" in found


def test_bytecode_replaces_that_of_packages_and_no_module_with_the_placeholder_has_any(tmp_path: Path) -> None:
    files = {
        f"{LIBRARY}/plain.py": File(b"X = 1\n"),
        f"{LIBRARY}/__pycache__/plain.{TAG}.pyc": File(b"of the package"),
        f"{LIBRARY}/__pycache__/plain.{TAG}.opt-1.pyc": File(b"of the package"),
        f"{LIBRARY}/__pycache__/alone.{TAG}.pyc": File(b"without a source"),
        f"{LIBRARY}/config.py": File(f"PREFIX = '{BUILT}'\n".encode(), placeholder=BUILT),
        f"{LIBRARY}/huge.py": File(b"#" * (8 << 20) + b"\n"),
        "share/tool/example.py": File(b"X = 1\n"),
    }
    found = Stubs(tmp_path, (Package("tool", "1.0", files=files),)).tree()
    assert found[f"{LIBRARY}/__pycache__/plain.{TAG}.pyc"].data[4:8] == b"\1\0\0\0", "unchecked hash"
    assert f"{LIBRARY}/__pycache__/plain.{TAG}.opt-1.pyc" not in found
    assert found[f"{LIBRARY}/__pycache__/alone.{TAG}.pyc"].data == b"without a source"
    assert f"{LIBRARY}/__pycache__/config.{TAG}.pyc" not in found
    assert f"{LIBRARY}/__pycache__/huge.{TAG}.pyc" not in found
    assert [path for path in found if path.startswith("share/tool/")] == ["share/tool/example.py"]


def test_links_stay_and_those_that_name_the_prefix_become_relative(tmp_path: Path) -> None:
    files = {
        "lib/a.so.1": File(b"library"),
        "lib/a.so": File(target="a.so.1"),
        "bin/up": File(target="../lib/a.so"),
        "lib/own": File(target=f"{PLACEHOLDER}/share/own"),
    }
    found = Stubs(tmp_path, (Package("tool", "1.0", files=files),)).tree()
    assert {path: found[path].link for path in ("lib/a.so", "bin/up", "lib/own")} == {
        "lib/a.so": "a.so.1",
        "bin/up": "../lib/a.so",
        "lib/own": "../share/own",
    }


@pytest.mark.parametrize("target", ["../../out", "/etc/passwd", "../lib/../../out", "own/../x"])
def test_a_link_that_leaves_the_prefix_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises((CannotPack, BadCondaArchive)):
        Stubs(tmp_path, (Package("tool", "1.0", files={"lib/a": File(target=target)}),)).tree()


def test_a_file_below_a_link_of_another_package_is_refused(tmp_path: Path) -> None:
    conda = Package("tool", "1.0", files={"share/tool": File(target="../lib"), "lib/x": File(b"")})
    wheel = Release("wheel", "1.0", files={"wheel-1.0.data/data/share/tool/x.txt": "x"})
    with pytest.raises(CannotPack) as caught:
        Stubs(tmp_path, (conda,), (wheel,)).tree()
    assert "share/tool" in caught.value.message


@pytest.mark.parametrize("taken", [File(target="real"), File(b"a file")], ids=["link", "file"])
def test_a_path_that_is_below_that_of_another_package_is_refused(tmp_path: Path, taken: File) -> None:
    """py-rattler makes this or that of such packages, as its threads come, or fails. So does no prefix have both."""
    one = Package("one", "1.0", files={"share/real/a": File(b"a"), "share/link": taken})
    two = Package("two", "1.0", files={"share/link/b": File(b"b")})
    for attempt in range(3):
        with pytest.raises((FileAndFolder, LinkFailed)) as caught:
            Stubs(tmp_path / str(attempt), (one, two)).tree()
        if isinstance(caught.value, FileAndFolder):
            assert "share/link" in caught.value.details[0]


def test_a_file_in_more_folders_than_nodes_make_cannot_be_packed(tmp_path: Path) -> None:
    with pytest.raises(CannotPack, match="128"):
        Stubs(tmp_path, (Package("tool", "1.0", files={f"{'d/' * 129}f": File(b"")}),)).tree()


def test_a_package_without_room_for_the_placeholder_cannot_be_packed(tmp_path: Path) -> None:
    old = Package(
        "old", "1.0", files={"lib/old.so": File(f"\0{SHORT}/share\0".encode(), placeholder=SHORT, mode="binary")}
    )
    with pytest.raises(CannotPack) as caught:
        Stubs(tmp_path, (old,)).tree()
    assert any("old" in detail for detail in caught.value.details)


def test_no_link_script_runs(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    script = f"#!/bin/sh\ntouch {mark}\n"
    found = Stubs(tmp_path, (data_package("greets", "1.0", {"bin/.greets-post-link.sh": script}),)).tree()
    assert "bin/.greets-post-link.sh" in found
    assert not mark.exists()


def test_wheels_lie_over_conda_packages_and_nothing_starts_condas_python(tmp_path: Path) -> None:
    conda = Package("base", "1.0", files={f"{SITE}/shared.py": File(b"FROM = 'conda'\n"), "etc/base": File(b"base")})
    wheel = Release(
        "top",
        "1.0",
        scripts={"top": "top:main"},
        files={"shared.py": "FROM = 'wheel'\n", "top-1.0.data/headers/top.h": "// top\n"},
    )
    found = Stubs(tmp_path, (conda,), (wheel,)).tree()
    assert found[f"{SITE}/shared.py"] == (b"FROM = 'wheel'\n", "", False, "", "wheel/top")
    assert found["etc/base"].package == "conda/base"
    assert PLACEHOLDER.encode() not in found["bin/top"].data, "the script finds the interpreter beside it"
    header = next(path for path in found if path.endswith("/top.h"))
    assert header == f"include/python{SITE.split('/')[1].removeprefix('python')}/top/top.h"
    record = found[f"{SITE}/top-1.0.dist-info/RECORD"].data.decode()
    listed = [os.path.normpath(f"{SITE}/{line.partition(',')[0]}") for line in record.splitlines()]
    assert [path for path in listed if path not in found] == []
    assert "lib64" not in found


def test_a_wheel_replaces_the_distribution_of_a_conda_package(tmp_path: Path) -> None:
    conda = python_package("twin", "1.0", dist=Dist("twin", "1.0"))
    found = Stubs(tmp_path, (conda,), (Release("twin", "2.0", files={"other.py": "X = 1\n"}),)).tree()
    assert [path for path in found if path.endswith(".dist-info/METADATA")] == [f"{SITE}/twin-2.0.dist-info/METADATA"]
    assert found[f"{SITE}/twin/__init__.py"].package == "wheel/twin"


def test_conda_packages_of_another_arch_are_linked_here(tmp_path: Path) -> None:
    tool = Package("tool", "1.0", subdir=FOREIGN, files={"bin/tool": File(b"\x7fELF of another arch", executable=True)})
    stubs = Stubs(tmp_path, (tool, python_package("speak", "1.0")), (Release("top", "1.0"),), FOREIGN)
    assert {"bin/tool", f"{SITE}/speak/__init__.py", f"{SITE}/top/__init__.py"} <= stubs.tree().keys()


def test_the_tree_is_the_same_for_another_user_umask_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = (
        python_package("speak", "1.0", scripts={"speak": "speak:main"}),
        Package("tool", "1.0", files={"bin/tool": File(f"{BUILT}\n".encode(), executable=True, placeholder=BUILT)}),
        data_package("one", "1.0", {"share/same": "1"}),
        data_package("two", "1.0", {"share/same": "2"}),
    )
    first = Stubs(tmp_path / "one", packages, (Release("top", "1.0"),)).tree()
    for name, value in {"HOME": str(tmp_path), "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}.items():
        monkeypatch.setenv(name, value)
    before = os.umask(0o177)
    try:
        second = Stubs(tmp_path / "two ü", packages, (Release("top", "1.0"),)).tree()
    finally:
        os.umask(before)
    assert list(first) == list(second)
    assert first == second


def test_the_files_of_a_tree_are_gone_with_its_context(tmp_path: Path) -> None:
    stubs = Stubs(tmp_path, (data_package("one", "1.0"),))
    with tree_of(stubs.lock, stubs, tmp_path, Heard(), interpreters=MachinePythons()) as tree:
        sources = [file.source for file in tree.files if file.source is not None]
        assert all(source.exists() for source in sources)
    assert not any(source.exists() for source in sources)


def test_a_package_that_claims_the_record_of_another_is_refused(tmp_path: Path) -> None:
    evil = Package("evil", "1.0", files={"conda-meta/one-1.0-0.json": File(b"[1]"), "conda-meta/x.json": File(b"{")})
    with pytest.raises(LinkFailed):
        Stubs(tmp_path, (data_package("one", "1.0"), evil)).tree()


def test_what_is_laid_out_of_a_tree_runs_at_its_place_with_its_bytecode(tmp_path: Path, channel: Channel) -> None:
    channel.need("hello")
    making = CondaMaking(tmp_path / "packages", ("speak", "hello", "click"), wheels=wheels(1))
    tree, found = tree_in(making.lock, making, tmp_path / "scratch")
    assert {path for path, file in found.items() if file.prefix == "binary"} == {"lib/libhello.so"}
    place = tmp_path / "anywhere"
    lay_out(found, place)
    bytecode = {path: path.stat().st_mtime_ns for path in place.rglob("*.pyc")}

    def run(*command: str) -> str:
        ran = subprocess.run([place / "bin" / command[0], *command[1:]], capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    assert run("python", "-c", "import click, sys; print(sys.prefix, click.__version__)") == f"{place} 8.1.7"
    assert run("speak") == "speak 1.1 from conda"
    assert run("wheel-0") == "wheel-0 1.0"
    assert run("hello").startswith("hello 1.")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.pyc")} == bytecode, "no module was compiled again"
    assert {path for path in wrong_files(place) if not path.endswith(".pyc")} == set()
    assert tree.python == making.series


def test_a_special_build_of_python_is_refused(tmp_path: Path) -> None:
    stubs = Stubs(tmp_path)
    python = stubs.lock.packages[0]
    assert python.conda is not None
    free = replace(python, conda=replace(python.conda, site_packages=f"{LIBRARY}t/site-packages"))
    with pytest.raises(CannotPack) as caught:
        tree_in(replace(stubs.lock, packages=(free,)), stubs, tmp_path / "scratch")
    assert f"{LIBRARY}t/site-packages" in caught.value.message
