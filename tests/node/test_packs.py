"""A node that unpacks a pack has what it would make of the packages, and makes it of those where it has to."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.hydration.port import Pythons
from envlock.hydration.prefix import find_prefix
from envlock.pack import tree
from envlock.pack.parts import compress, raw_parts
from metaflow_extensions.envlock.plugins.node import fetch, make, zstd
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node.errors import Damaged, DiskFull, Missing, NodeError
from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import SERIES, Heard, MachinePythons, Making, missing_files, remains
from tests.node.nodes import Node, PackedCondaNode, PackedNode, Said, oldest_python, tree_of, wheel_of
from tests.node.packs import LINK, Member, Part, as_part, part_of
from tests.node.task import Folder
from tests.remote.kits import installed
from tests.support import wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")
SITE = f"lib/python{SERIES}/site-packages"
get = Folder.get
OF_UV = ("bin/activate", "bin/deactivate", "bin/pydoc", ".gitignore", "CACHEDIR.TAG", ".lock")
"""What uv makes for those who type into a shell, and for itself: no pack has it."""


def packed(making: Making | CondaMaking, scratch: Path, pythons: Pythons) -> tuple[tuple[Part, ...], str]:
    """The parts of a lock's pack as envlock makes them, and its placeholder."""
    scratch.mkdir(parents=True)
    found = []
    with tree.tree_of(making.lock, making, scratch, Heard(), interpreters=pythons) as made:
        for number, part in enumerate(raw_parts(made.files)):
            file = scratch / f"{number}"
            done = compress(part, file)
            found.append(as_part(file.read_bytes(), b"", raw_size=done.raw_size, raw_sha256=done.raw_sha256))
    return tuple(found), made.placeholder


@pytest.fixture(scope="module")
def making(tmp_path_factory: pytest.TempPathFactory) -> Making:
    made = Making(tmp_path_factory.mktemp("making"), count=3, files=6)
    made.write_artifacts()
    return made


@pytest.fixture(scope="module")
def parts(making: Making, tmp_path_factory: pytest.TempPathFactory) -> tuple[Part, ...]:
    """The pack of three small wheels."""
    return packed(making, tmp_path_factory.mktemp("scratch") / "x", MachinePythons())[0]


@pytest.fixture(scope="module")
def zstd_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of backports.zstd that is installed here."""
    if sys.version_info >= (3, 14):
        pytest.skip("Python has its own zstd")
    path = tmp_path_factory.mktemp("kit") / "zstd.whl"
    path.write_bytes(next(installed("backports.zstd").artifacts()).data)
    return path


@pytest.fixture
def packed_node(tmp_path: Path, making: Making, parts: tuple[Part, ...], kit: Path) -> Callable[..., PackedNode]:
    """Makes a node on which nothing has started yet, with a pack in its cache."""

    def make(**options: object) -> PackedNode:
        return PackedNode(tmp_path, making, kit, **{"parts": parts, **options})  # type: ignore[arg-type]

    return make


def forget(node: Node, *folders: str) -> None:
    """Remove folders of the cache: what is not there is not used."""
    assert node.plan
    for folder in folders:
        shutil.rmtree(node.cache / folder)


def no_libzstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the image have none, nor Python, which has one since 3.14."""
    monkeypatch.setattr(zstd, "_of_image", lambda: None)


def comparable(prefix: Path) -> dict[str, str]:
    """The files of a prefix that a pack has too, and `pyvenv.cfg` without the version of uv, which tests make up."""
    found = {path: each for path, each in tree_of(prefix).items() if not path.startswith(OF_UV)}
    lines = (prefix / "pyvenv.cfg").read_text().splitlines()
    return {**found, "pyvenv.cfg": "".join(line for line in lines if not line.startswith("uv = "))}


def test_an_environment_is_what_is_made_of_the_packages(
    packed_node: Callable[..., PackedNode],
    make_node: Callable[..., Node],
    making: Making,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = packed_node()
    forget(node, "packages", "kits")
    entered = node.prepare(monkeypatch)
    made = comparable(node.prefix)
    assert missing_files(node.prefix) == []
    assert entered.python == str(node.prefix / "bin" / "python")
    assert find_prefix(node.lock, node.home) == node.prefix, "a workstation takes it for its own"
    assert remains(node.home / "environments") == []
    bytecode = sorted(node.prefix.rglob("part_*.pyc"))
    assert len(bytecode) == 18
    assert {path.read_bytes()[4:8] for path in bytecode} == {b"\1\0\0\0"}, "it is the pack's"
    ran = subprocess.run([node.prefix / "bin" / "command-1"], check=False, env={"PATH": "/usr/bin:/bin"})
    assert ran.returncode == 0
    shutil.rmtree(node.home)
    shutil.rmtree(node.cache)
    other = make_node(making=making)
    other.prepare(monkeypatch)
    assert made == comparable(other.prefix)


def test_a_second_task_needs_neither_cache_nor_libzstd(
    packed_node: Callable[..., PackedNode], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = packed_node()
    assert node.run(monkeypatch, capsys)[0] == 0
    monkeypatch.setattr(zstd, "_LIBRARY", "libno.so.1")
    shutil.rmtree(node.cache)
    assert node.run(monkeypatch, capsys) == (0, "")
    ran = node.shell('"$ENVLOCK_PYTHON" -c "import package_0.part_0, sys; print(sys.prefix)"')
    assert ran.stdout == f"{node.prefix}\n"


def test_a_cold_task_sends_a_request_for_each_part_and_three_more(
    packed_node: Callable[..., PackedNode], build: Path, zstd_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_libzstd(monkeypatch)
    node = packed_node(build=build, image=None, zstd=zstd_wheel)
    forget(node, "packages")
    requested = []
    monkeypatch.setattr(fetch, "RANGE", 3 << 20)  # less than a Python build
    monkeypatch.setattr(Folder, "get", lambda *request: requested.append(request[1]) or get(*request))
    entered = node.prepare(monkeypatch)
    build_file, wheel = node.plan.python.build, node.plan.tools.zstd
    assert build_file is not None
    assert wheel is not None
    named = [node.plan.place.path, build_file.file.path, wheel.path, *(part.path for part in node.parts)]
    assert sorted(requested) == sorted(named)
    assert str(node.home / "pythons") in os.path.realpath(entered.python)
    assert json.loads((node.prefix / ".envlock.json").read_text())["python"].startswith(str(node.home / "pythons"))


@pytest.mark.parametrize("lost", ["build", "part"])
def test_what_comes_beside_ends_when_the_other_fails(
    packed_node: Callable[..., PackedNode], build: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    node = packed_node(build=build, image=None)
    build_file = node.plan.python.build
    assert build_file is not None
    (node.cache / (build_file.file.path if lost == "build" else node.parts[0].path)).unlink()
    with pytest.raises(Missing, match="envlock push"):
        node.prepare(monkeypatch)
    assert remains(node.home / "environments") == []


def test_the_kits_libzstd_serves_where_the_image_has_none(
    packed_node: Callable[..., PackedNode], zstd_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_libzstd(monkeypatch)
    node = packed_node(zstd=zstd_wheel)
    forget(node, "packages")
    node.prepare(monkeypatch)
    assert missing_files(node.prefix) == []
    assert len(list((node.home / "tools").glob("[!.]*"))) == 1


@pytest.mark.parametrize("has_wheel", [False, True], ids=["nothing", "damaged"])
def test_packages_serve_where_nothing_decompresses(
    packed_node: Callable[..., PackedNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_wheel: bool
) -> None:
    no_libzstd(monkeypatch)
    (tmp_path / "zstd.whl").write_bytes(wheel_of({"backports/zstd/_zstd.so": b"no library"}))
    node, said = packed_node(zstd=tmp_path / "zstd.whl" if has_wheel else None), Said()
    forget(node, "parts")
    node.prepare(monkeypatch, said)
    assert missing_files(node.prefix) == []
    assert [line for line in said.lines if "libzstd" in line]


@pytest.mark.parametrize(
    ("change", "error", "status"),
    [
        (lambda part: part.data[::-1], Damaged, 3),
        (lambda part: part.data[:-1], Damaged, 3),
        (lambda part: part.data + b"x", Damaged, 3),
        (lambda part: None, Missing, 1),
    ],
    ids=["replaced", "cut", "longer", "gone"],
)
def test_a_part_that_is_not_the_plans_ends_the_task_and_leaves_nothing(
    packed_node: Callable[..., PackedNode],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Part], bytes | None],
    error: type[NodeError],
    status: int,
) -> None:
    node = packed_node()
    place = node.cache / (node.plan and node.parts[0].path)
    data = change(node.parts[0])
    place.unlink()
    if data is not None:
        place.write_bytes(data)
    with pytest.raises(error) as caught:
        node.prepare(monkeypatch)
    assert caught.value.status == status
    assert node.parts[0].path in str(caught.value)
    assert remains(node.home / "environments") == []
    place.write_bytes(node.parts[0].data)
    node.prepare(monkeypatch)
    assert missing_files(node.prefix) == []


@pytest.mark.parametrize(
    "bad",
    [
        part_of([Member(f"{SITE}/x.py", b"x")], raw_sha256="0" * 64),
        part_of([Member("../../../../x.py", b"x")]),
        part_of([Member("bin/python3", kind=LINK, link="sh")]),
        part_of([Member(f"{SITE}/package_0/part_0.py", b"x")]),
    ],
    ids=["raw hash", "outside", "reserved", "twice"],
)
def test_a_hostile_pack_leaves_nothing(
    packed_node: Callable[..., PackedNode],
    parts: tuple[Part, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bad: Part,
) -> None:
    node = packed_node(parts=(*parts, bad))
    with pytest.raises(Damaged):
        node.prepare(monkeypatch)
    assert remains(node.home / "environments") == []
    assert not list(tmp_path.glob("**/x.py"))


def test_a_disk_that_is_full_halfway_is_reported_and_left_clean(
    packed_node: Callable[..., PackedNode], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tuple(part_of([Member(f"lib/{each}", os.urandom(900_000))]) for each in range(4))
    node = packed_node(parts=large)
    with pytest.raises(DiskFull, match="no space is left"):
        node.prepare(monkeypatch, ENVLOCK_HOME=str(small_disk / "home"))
    assert remains(small_disk / "home" / "environments") == []
    monkeypatch.setattr(homes, "SHARED_HOME", str(small_disk / "home"))
    monkeypatch.setattr(homes, "free_bytes", lambda folder: 1 << 40)
    said = Said()
    entered = node.prepare(monkeypatch, said, ENVLOCK_HOME="")
    assert entered.prefix.startswith(str(node.task / ".envlock"))
    assert any("no space is left" in line and "trying" in line for line in said.lines)


def test_tasks_that_start_at_once_unpack_once(packed_node: Callable[..., PackedNode]) -> None:
    node = packed_node()
    assert node.manifest
    node.cache.joinpath("gate").touch()
    tasks = [node.start() for _ in range(4)]
    wait_until(lambda: node.fetched() == 1, 60)
    node.cache.joinpath("gate").unlink()
    results = [(task.communicate(timeout=120)[1], task.returncode) for task in tasks]
    assert [status for _, status in results] == [0] * 4, results
    assert node.fetched() == 1
    assert missing_files(node.prefix) == []


def test_a_task_that_is_killed_at_any_moment_leaves_nothing_that_looks_whole(
    packed_node: Callable[..., PackedNode], parts: tuple[Part, ...]
) -> None:
    many = tuple(
        part_of([Member(f"{SITE}/many/{each}/{file}.py", b"x" * file) for file in range(150)]) for each in range(8)
    )
    node = packed_node(parts=(*parts, *many))
    python = oldest_python()
    began = time.monotonic()
    task = node.start(python=python, PATH=f"{Path(sys.base_prefix) / 'bin'}:/usr/bin:/bin")
    said = task.communicate(timeout=60)[1]
    assert task.returncode == 0, said
    whole, span = tree_of(node.prefix), time.monotonic() - began
    moments = random.Random(13)  # the same each time, so that a failure can be looked at
    unfinished = 0
    for number in range(6):
        shutil.rmtree(node.prefix, ignore_errors=True)
        task = node.start()
        time.sleep(span * (number + moments.random()) / 6)
        os.killpg(task.pid, signal.SIGKILL)
        task.communicate()
        if not (node.prefix / ".envlock.json").exists():
            unfinished += 1
        else:
            assert without_python(tree_of(node.prefix)) == without_python(whole)
    assert unfinished >= 3, "the kills came too late to prove anything"
    shutil.rmtree(node.prefix, ignore_errors=True)
    task = node.start()
    said = task.communicate(timeout=60)[1]
    assert task.returncode == 0, said
    assert without_python(tree_of(node.prefix)) == without_python(whole)
    wait_until(lambda: remains(node.home / "environments") == [])


def without_python(tree: dict[str, str]) -> dict[str, str]:
    """A tree without what names the interpreter: which one of the image serves depends on which one runs the node."""
    return {path: found for path, found in tree.items() if path not in ("pyvenv.cfg", "bin/python")}


class TestConda:
    @pytest.fixture
    def conda_node(self, tmp_path: Path, kit: Path, rattler: Path, build: Path) -> Callable[..., PackedCondaNode]:
        """Makes a node of packages of the channel and of a wheel, with whatever pack."""

        def make(*names: str, **options: object) -> PackedCondaNode:
            making = CondaMaking(tmp_path / "making", names, wheels=wheels(1))
            return PackedCondaNode(tmp_path, making, kit, build=build, rattler=rattler, **options)  # type: ignore[arg-type]

        return make

    def test_an_environment_is_what_is_made_of_the_packages_by_no_tool_of_the_kit(
        self, conda_node: Callable[..., PackedCondaNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = conda_node("click", "vintage")
        parts, placeholder = packed(node.making, tmp_path / "scratch", MachinePythons())
        assert len(placeholder) == 255
        node = replace(node, parts=parts, placeholder=placeholder)
        forget(node, "packages", "kits")
        entered = node.prepare(monkeypatch)
        assert entered.python == str(node.prefix / "bin" / "python")
        assert find_prefix(node.lock, node.home) == node.prefix, "a workstation takes it for its own"
        assert remains(node.home / "environments") == []
        code = "import click, wheel_0, sys; print(sys.prefix)"
        ran = subprocess.run([entered.python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
        assert ran.stdout == f"{node.prefix}\n"
        made = contents(node.prefix)
        shutil.rmtree(node.home)
        replace(node.making, place=node.home).hydrate()
        expected = contents(node.prefix)
        del expected["CACHEDIR.TAG"]
        assert wrong_files(node.prefix) == []
        assert made.keys() == expected.keys()
        # No script can have the path in its first line at which a pack is made: they ask `env`, or look beside them.
        scripts = {name: data for name, data in made.items() if data != expected[name] and not name.endswith("RECORD")}
        assert all(name.startswith("bin/") for name in scripts), list(scripts)
        assert {data.splitlines()[0].split()[0] for data in scripts.values()} <= {b"#!/usr/bin/env", b"#!/bin/sh"}

    def test_a_link_script_that_is_allowed_since_is_run_with_the_packages(
        self, conda_node: Callable[..., PackedCondaNode], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        part = part_of([Member("bin/python", mode=0o755)])
        node = conda_node("click", options={"link-scripts": ["click"]}, parts=(part,), placeholder="/opt/x")
        said = Said()
        monkeypatch.setattr(make, "link_conda", stop_there)
        with pytest.raises(NodeError, match="stopped there"):
            node.prepare(monkeypatch, said)
        assert any("link script of click" in line for line in said.lines)


def contents(prefix: Path) -> dict[str, bytes]:
    """Each file of a prefix that no installation has for itself alone, and the target of each link."""
    found = {}
    for path in prefix.rglob("*"):
        name = path.relative_to(prefix).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink()).encode()
        elif path.is_file() and path.suffix != ".pyc" and not name.startswith(("conda-meta/", ".envlock")):
            data = path.read_bytes()
            if path.name == "RECORD":
                data = b"".join(line for line in data.splitlines(keepends=True) if b"uv_cache.json" not in line)
            found[name] = data
    return {name: data for name, data in found.items() if not name.endswith(("uv_cache.json", "direct_url.json"))}


def stop_there(*_: object) -> list[str]:
    raise NodeError("stopped there")
