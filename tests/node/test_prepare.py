"""What a task finds on a node, and what it makes there if it finds nothing."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.hydration.prefix import find_prefix, read_receipt
from envlock.model.arch import host_arch
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node import machine, pythons
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured, NodeError
from metaflow_extensions.envlock.plugins.node.plan import Build
from tests.hydration.making import SERIES, Making, remains
from tests.index import Release
from tests.node.nodes import Node, Said, let_go, tree_of, wheel_of

MakeNode = Callable[..., Node]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


def test_an_environment_is_what_a_workstation_makes_of_the_lock(
    cold_node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = cold_node.prepare(monkeypatch)
    assert entered.prefix == str(cold_node.prefix)
    assert find_prefix(cold_node.lock, cold_node.home) == cold_node.prefix, "a workstation takes it for its own"
    cold_node.making.write_artifacts()
    assert tree_of(cold_node.prefix) == tree_of(cold_node.making.hydrate())
    assert remains(cold_node.home / "environments") == []


def test_a_path_that_several_wheels_contain_is_the_last_ones(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tuple(
        Release(name, "1.0", files={"shared/part.py": f"OF = '{name}'\n"}, scripts={"tool": "shared.part:OF"})
        for name in ("one", "other", "zebra")
    )
    node, said = make_node(making=Making(tmp_path / "making", count=1, own=own)), Said()
    node.prepare(monkeypatch, said)
    site = node.prefix / "lib" / f"python{SERIES}" / "site-packages"
    assert (site / "shared" / "part.py").read_text() == "OF = 'zebra'\n"
    assert [line for line in said.lines if "shared/part.py" in line or "bin/tool" in line] != []
    node.making.write_artifacts()
    assert tree_of(node.prefix) == tree_of(node.making.hydrate())


def test_what_belongs_to_the_environment_is_no_wheels(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = Release("evil", "1.0", files={"evil-1.0.data/data/pyvenv.cfg": "home = /evil\n"})
    node = make_node(making=Making(tmp_path / "making", count=1, own=(evil,)))
    with pytest.raises(NodeError, match=r"pyvenv\.cfg"):
        node.prepare(monkeypatch)
    assert remains(node.home / "environments") == []


def test_what_is_there_is_found_without_a_cache(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    first = node.prepare(monkeypatch)
    shutil.rmtree(node.cache)
    said = Said()
    again = node.prepare(monkeypatch, said)
    assert (again.prefix, again.python) == (first.prefix, first.python)
    assert said.lines == []


def test_a_second_environment_fetches_no_kit(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node().prepare(monkeypatch)
    second = make_node(making=Making(tmp_path / "second", count=1))
    assert second.plan
    shutil.rmtree(second.cache / "kits")
    assert second.prepare(monkeypatch).prefix == str(second.prefix)


def test_a_step_that_is_disabled_has_none(cold_node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from metaflow_extensions.envlock.plugins.node.prepare import prepare

    assert prepare(cold_node.manifest, "join", cold_node.environ(), Said()) is None
    assert not cold_node.home.exists()


# Pythons.


def test_the_images_own_python_serves_where_the_plan_allows_it(
    make_node: MakeNode, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(build=build)
    node.prepare(monkeypatch)
    receipt = read_receipt(node.prefix)
    assert receipt is not None
    assert Path(receipt.python).parent == Path(sys.base_prefix) / "bin"
    assert list((node.home / "pythons").glob("[!.]*")) == []


@pytest.mark.parametrize(
    ("image", "options"),
    [(None, {}), (((98, None),), {}), (((0, None),), {"python": "kit"})],
    ids=["the lock names a build", "the image's is too old", "the kit's is wanted"],
)
def test_the_kits_python_serves_otherwise(
    make_node: MakeNode,
    build: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: tuple[tuple[int, int | None], ...] | None,
    options: dict[str, str],
) -> None:
    node = make_node(build=build, image=image, options=options)
    entered = node.prepare(monkeypatch)
    code = "import sys, package_0.part_0; print(sys.base_prefix)"
    ran = subprocess.run([entered.python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).parent.parent == node.home / "pythons"


@pytest.mark.parametrize(
    "options", [{"image": ((98, None),)}, {"options": {"python": "kit"}}], ids=["no other", "no kit's"]
)
def test_a_plan_without_a_python_for_this_image_says_so(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    node = make_node(**options)
    with pytest.raises(Misconfigured, match="envlock push"):
        node.prepare(monkeypatch)
    assert node.fetched() == 0


@pytest.mark.parametrize(
    ("folder", "advice"), [("kits/objects", "python-mirror"), ("packages", "lock --upgrade")], ids=["kit", "lock"]
)
@pytest.mark.parametrize("data", [b"no archive", gzip.compress(bytes(10240))], ids=["other bytes", "nothing in it"])
def test_an_archive_without_a_python_names_who_chose_it(tmp_path: Path, folder: str, advice: str, data: bytes) -> None:
    archive, home = tmp_path / "cpython.tar.gz", str(tmp_path / "home")
    archive.write_bytes(data)
    homes.make_usable(home)
    build = Build(f"{folder}/00/{'0' * 64}/cpython.tar.gz", 1, "0" * 64, "3.12.1", "python/bin/python3.12")
    with pytest.raises(Damaged, match=advice):
        pythons.unpack_build(build, str(archive), home)


def test_an_interpreter_that_was_replaced_by_one_that_serves_is_used_on(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.prepare(monkeypatch)
    before = (node.prefix / "pyvenv.cfg").stat().st_ino
    change_receipt(node, python_file=[1, 2, 3], python_version=f"{SERIES}.0")
    node.prepare(monkeypatch)
    assert (node.prefix / "pyvenv.cfg").stat().st_ino == before
    assert find_prefix(node.lock, node.home) == node.prefix


def test_an_environment_of_the_images_python_is_made_again_where_the_kits_is_wanted(
    make_node: MakeNode, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go(make_node(build=build), monkeypatch)
    node = make_node(build=build, options={"python": "kit"})
    let_go(node, monkeypatch)
    assert f"{node.home}/pythons" in (node.prefix / "pyvenv.cfg").read_text()
    let_go(make_node(build=build), monkeypatch)
    assert node.fetched() == 2, "who wants the image's takes the kit's too"


def change_receipt(node: Node, **values: object) -> None:
    path = node.prefix / ".envlock.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# Damage.


@pytest.mark.parametrize(
    "harm",
    [
        lambda prefix: (prefix / ".envlock.json").write_text('{"req_id'),
        lambda prefix: (prefix / ".envlock.json").unlink(),
        lambda prefix: (prefix / "bin" / "python").unlink(),
        lambda prefix: shutil.rmtree(prefix / "lib" / f"python{SERIES}" / "site-packages" / "package_1"),
    ],
    ids=["receipt cut", "receipt gone", "interpreter gone", "package gone"],
)
def test_a_kept_environment_that_is_damaged_is_made_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], object]
) -> None:
    let_go(node, monkeypatch)
    whole = tree_of(node.prefix)
    harm(node.prefix)
    node.prepare(monkeypatch)
    assert node.fetched() == 2
    assert tree_of(node.prefix) == whole


@pytest.mark.parametrize("why", ["attempt", "age"], ids=["the task failed before", "it was not used for long"])
def test_all_files_are_looked_at_when_there_is_a_reason(node: Node, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    let_go(node, monkeypatch)
    module = node.prefix / "lib" / f"python{SERIES}" / "site-packages" / "package_1" / "part_1.py"
    text = module.read_text()
    module.write_text("")
    let_go(node, monkeypatch)
    assert node.fetched() == 1
    if why == "age":
        (record,) = (node.home / "kept").glob("environments-*")
        os.utime(record, (1, 1))
    node.prepare(monkeypatch, MF_ATTEMPT="1" if why == "attempt" else "0")
    assert module.read_text() == text


def test_what_is_left_of_the_kit_by_a_cleaner_of_temporary_files_is_not_used(
    make_node: MakeNode, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(build=build, image=None, cold=True)
    let_go(node, monkeypatch)
    (module,) = node.home.glob(f"pythons/*/python/lib/python{SERIES}/os.py")
    module.unlink()
    for program in node.home.glob("tools/*/*.data/scripts/uv"):
        program.unlink()
    let_go(node, monkeypatch, MF_ATTEMPT="1")
    assert module.exists()
    assert node.fetched() == 2
    shutil.rmtree(node.prefix)
    shutil.rmtree(node.cache / "kits")
    let_go(node, monkeypatch)


@pytest.mark.parametrize("which", ["wheel", "uv", "plan"])
def test_other_bytes_than_the_plans_are_never_used(
    cold_node: Node, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    plan = cold_node.plan
    path = {"wheel": plan.packages[0].file.path, "uv": plan.tools.uv.path, "plan": plan.place.path}[which]
    data = bytearray((cold_node.cache / path).read_bytes())
    data[len(data) // 2] ^= 1
    (cold_node.cache / path).unlink()  # it is a link
    (cold_node.cache / path).write_bytes(data)
    with pytest.raises(Damaged) as caught:
        cold_node.prepare(monkeypatch)
    assert caught.value.status == 3
    assert Path(path).name in str(caught.value)
    assert remains(cold_node.home / "environments") == []
    assert not list((cold_node.home / "tools").glob(f"{Path(path).parent.name}*"))


def test_a_kit_without_uv_in_it_is_refused(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "uv.whl"
    empty.write_bytes(wheel_of({"uv-1.0.dist-info/METADATA": b""}))
    node = replace(make_node(), kit=empty)
    with pytest.raises(Damaged, match="no uv"):
        node.prepare(monkeypatch)


def test_no_member_of_a_tool_leaves_its_folder(make_node: MakeNode, tmp_path: Path, kit: Path) -> None:
    from metaflow_extensions.envlock.plugins.node.install import unpack_tool
    from metaflow_extensions.envlock.plugins.node.plan import Object

    wheel = tmp_path / "evil.whl"
    wheel.write_bytes(wheel_of({"../../../evil": b"x", "/evil": b"x", "a.data/scripts/uv": b"x"}))
    homes.make_usable(str(tmp_path / "home"))
    folder = unpack_tool(Object("evil.whl", 1, "0" * 64), str(wheel), str(tmp_path / "home"))
    names = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}
    assert names == {"evil", "a.data/scripts/uv"}
    assert not list(tmp_path.glob("evil"))
    assert not Path("/evil").exists()


# Machines.


def test_another_arch_is_reported(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    assert node.plan
    uname = list(os.uname())
    uname[4] = "aarch64" if host_arch() == "linux-64" else "x86_64"
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(uname))
    with pytest.raises(Misconfigured, match=r"linux-(64|aarch64), and this node is linux-(aarch64|64)"):
        node.prepare(monkeypatch)


def test_an_image_with_musl_is_reported(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "glibc", lambda: "")
    with pytest.raises(Misconfigured, match="musl"):
        node.prepare(monkeypatch)
    assert node.fetched() == 0


def test_an_image_that_is_too_old_is_reported(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node(system=(("__glibc", "2.99"),))
    with pytest.raises(Misconfigured, match=r"__glibc 2\.99"):
        node.prepare(monkeypatch)
    assert node.fetched() == 0


@pytest.mark.parametrize("here", ["", "2.5"], ids=["musl", "too old"])
def test_what_another_image_made_is_not_entered_by_one_that_lacks_what_it_needs(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    node = make_node(system=(("__glibc", "2.17"),))
    let_go(node, monkeypatch)
    monkeypatch.setattr(machine, "glibc", lambda: here)
    with pytest.raises(Misconfigured, match="glibc"):
        node.prepare(monkeypatch)
    monkeypatch.undo()
    assert (node.prefix / ".envlock.json").exists()


# Homes.


@pytest.mark.parametrize("is_prefix", [True, False], ids=["a prefix", "a home"])
def test_what_the_image_brings_is_used_as_it_is(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_prefix: bool
) -> None:
    node = make_node(cold=True)
    node.making.write_artifacts()
    prefix = node.making.hydrate(home=tmp_path / "opt")
    if is_prefix:
        prefix = prefix.rename(tmp_path / "opt" / "env")
    before = tree_of(prefix)
    entered = node.prepare(monkeypatch, ENVLOCK_PREBUILT=str(prefix if is_prefix else tmp_path / "opt"))
    assert os.path.realpath(entered.prefix) == str(prefix)
    assert entered.lock is None
    assert node.fetched() == 0
    assert tree_of(prefix) == before
    assert not node.home.exists()
    code = "import sys, package_0.part_0; print(sys.prefix)"
    ran = subprocess.run([entered.python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert Path(ran.stdout.strip()).name == node.lock.prefix_name, "the task can tell where it is"


def test_what_the_image_brings_may_be_at_a_path_that_no_command_can_name(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(cold=True)
    node.making.write_artifacts()
    prefix = node.making.hydrate(home=tmp_path / "opt of a team")
    entered = node.prepare(monkeypatch, ENVLOCK_PREBUILT=str(tmp_path / "opt of a team"))
    assert os.path.realpath(entered.prefix) == str(prefix)
    command = '$ENVLOCK_PYTHON -I -c "import sys, package_0.part_0; print(sys.prefix)"'  # as Metaflow starts a task
    ran = subprocess.run(
        ["bash", "-c", command], env={"ENVLOCK_PYTHON": entered.python}, capture_output=True, text=True, check=True
    )
    assert Path(ran.stdout.strip()).name == node.lock.prefix_name


def test_an_environment_that_the_image_brings_in_part_is_not_used(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.making.write_artifacts()
    (node.making.hydrate(home=tmp_path / "opt") / "bin" / "python").unlink()
    said = Said()
    assert node.prepare(monkeypatch, said, ENVLOCK_PREBUILT=str(tmp_path / "opt")).prefix == str(node.prefix)
    assert any("is not used" in line for line in said.lines)


@pytest.mark.parametrize(
    ("with_size", "version", "is_used"),
    [(True, "3.0.0", True), (False, "SERIES", True), (False, "3.0", False), (False, "3.0.0", False)],
    ids=["the file is the same", "its series is right", "another series", "another release"],
)
def test_the_receipt_of_an_image_has_no_inode_and_may_know_the_series_of_its_python_alone(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_size: bool, version: str, is_used: bool
) -> None:
    node.making.write_artifacts()
    prefix = node.making.hydrate(home=tmp_path / "opt")
    receipt = json.loads((prefix / ".envlock.json").read_text())
    receipt["python_file"] = receipt["python_file"][:2] if with_size else []
    receipt["python_version"] = version.replace("SERIES", "{}.{}".format(*sys.version_info[:2]))
    (prefix / ".envlock.json").write_text(json.dumps(receipt))
    entered = node.prepare(monkeypatch, ENVLOCK_PREBUILT=str(tmp_path / "opt"))
    assert entered.prefix == str(prefix if is_used else node.prefix)


def test_another_environment_of_the_image_is_passed_over(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Making(tmp_path / "other", count=1)
    other.write_artifacts()
    other.hydrate()
    assert node.prepare(monkeypatch, ENVLOCK_PREBUILT=str(tmp_path / "other")).prefix == str(node.prefix)


def test_an_environment_of_another_images_python_is_not_taken_from_a_running_task(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = node.prepare(monkeypatch)
    change_receipt(node, python="/gone/python", python_file=[1, 2, 3])
    with pytest.raises(NodeError, match="remote-python"):
        node.prepare(monkeypatch)
    assert entered.lock is not None
    os.close(entered.lock)
    assert node.prepare(monkeypatch).prefix == str(node.prefix)


def test_modules_are_compiled_if_that_is_wanted(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    node = make_node(options={"compile-bytecode": True})
    node.prepare(monkeypatch)
    site = node.prefix / "lib" / f"python{SERIES}" / "site-packages"
    assert len(list(site.glob("package_0/__pycache__/*.pyc"))) == len(list(site.glob("package_0/*.py")))


def test_an_interpreter_is_asked_what_it_is(tmp_path: Path) -> None:
    assert pythons.version_of(sys.executable) == ".".join(map(str, sys.version_info[:3]))
    script = tmp_path / "python3.12"
    script.write_text("#!/bin/sh\necho 3.12.1\n")
    script.chmod(0o755)
    assert pythons.version_of(str(script)) == ""
    assert pythons.version_of(str(tmp_path / "gone")) == ""
