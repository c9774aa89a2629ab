"""What a task finds on a node, and what it makes there if it finds nothing."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envlock.hydration.prefix import find_prefix, read_receipt
from envlock.model.arch import host_arch
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node import kept, machine, make, pythons
from metaflow_extensions.envlock.plugins.node.errors import Damaged, DiskFull, Misconfigured, NodeError
from metaflow_extensions.envlock.plugins.node.plan import Build, parse
from tests.hydration.making import SERIES, Making, remains
from tests.index import Release
from tests.node.nodes import Node, Said, let_go, tree_of, wheel_of
from tests.node.plans import canonical, conda_plan, target_of, wheels_plan

MakeNode = Callable[..., Node]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No node of these tests uses the home that all tasks of this machine share."""
    monkeypatch.setattr(homes, "SHARED_HOME", "/proc/no-home")


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


def test_an_environment_that_the_image_brings_in_part_is_not_used(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.making.write_artifacts()
    (node.making.hydrate(home=tmp_path / "opt") / "bin" / "python").unlink()
    said = Said()
    assert node.prepare(monkeypatch, said, ENVLOCK_PREBUILT=str(tmp_path / "opt")).prefix == str(node.prefix)
    assert any("is not used" in line for line in said.lines)


def test_another_environment_of_the_image_is_passed_over(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Making(tmp_path / "other", count=1)
    other.write_artifacts()
    other.hydrate()
    assert node.prepare(monkeypatch, ENVLOCK_PREBUILT=str(tmp_path / "other")).prefix == str(node.prefix)


def test_the_task_has_a_home_of_its_own_where_the_nodes_is_not_to_be_used(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = node.prepare(monkeypatch, ENVLOCK_HOME="")
    assert Path(entered.prefix).parent == node.task / ".envlock" / "environments"
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    monkeypatch.setattr(homes, "SHARED_HOME", str(shared))
    shutil.rmtree(node.task / ".envlock")
    assert Path(node.prepare(monkeypatch, ENVLOCK_HOME="").prefix).parent == node.task / ".envlock" / "environments"
    shared.chmod(0o755)
    shutil.rmtree(shared)
    shutil.rmtree(node.task / ".envlock")
    assert Path(node.prepare(monkeypatch, ENVLOCK_HOME="").prefix).parent == shared / "environments"
    assert shared.stat().st_mode & 0o077 in {0, 0o055}


@pytest.mark.parametrize("kind", ["a file", "open to all"])
def test_a_home_that_was_chosen_and_cannot_be_used_is_reported(
    cold_node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "a file":
        cold_node.home.write_text("")
    else:
        cold_node.home.mkdir()
        cold_node.home.chmod(0o777)
    with pytest.raises(Misconfigured, match="ENVLOCK_HOME"):
        cold_node.prepare(monkeypatch)


@pytest.mark.parametrize("name", ["a b", "a*", "a\nb", "a:b"])
def test_a_path_that_breaks_the_command_of_a_task_is_no_home(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(Misconfigured, match="ENVLOCK_HOME"):
        node.prepare(monkeypatch, ENVLOCK_HOME=str(tmp_path / name))
    assert node.fetched() == 0


def test_a_full_disk_is_reported_and_another_home_is_tried(
    make_node: MakeNode, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    with pytest.raises(DiskFull, match="ENVLOCK_HOME") as caught:
        node.prepare(monkeypatch, ENVLOCK_HOME=str(small_disk / "home"))
    assert ".stages" not in str(caught.value)
    assert remains(small_disk / "home" / "environments") == []
    monkeypatch.setattr(homes, "SHARED_HOME", str(small_disk / "home"))
    entered = node.prepare(monkeypatch, ENVLOCK_HOME="")
    assert Path(entered.prefix).parent == node.task / ".envlock" / "environments"


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def test_a_home_that_is_read_only_is_used_and_not_written(
    node: Node, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go(node, monkeypatch)
    home = small_disk / "home"
    shutil.copytree(node.home, home, symlinks=True, ignore=shutil.ignore_patterns("tools"))
    monkeypatch.setattr(kept.Kept, "damage", lambda *_: "")  # a copy has other times
    remount(small_disk, "ro")
    entered = node.prepare(monkeypatch, ENVLOCK_HOME=str(home))
    assert Path(entered.prefix).is_relative_to(home)
    assert entered.lock is not None
    os.close(entered.lock)
    remount(small_disk, "rw")
    shutil.rmtree(home / "environments" / node.lock.prefix_name)
    remount(small_disk, "ro")
    with pytest.raises(Misconfigured, match="ENVLOCK_HOME"):
        node.prepare(monkeypatch, ENVLOCK_HOME=str(home))


def test_a_disk_from_which_no_program_starts_is_no_home(
    node: Node, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remount(small_disk, "noexec")
    with pytest.raises(Misconfigured, match="noexec"):
        node.prepare(monkeypatch, ENVLOCK_HOME=str(small_disk / "home"))


@pytest.mark.parametrize(
    ("fields", "prefix", "reason"),
    [
        (wheels_plan(), "/srv/a\tb", r"'\\t'"),
        (conda_plan(), "/srv/$HOME", r"'\$'"),
        (conda_plan(), "/" + "x" * 255, "256 bytes"),
    ],
)
def test_a_path_that_breaks_an_environment_is_no_home(fields: dict[str, Any], prefix: str, reason: str) -> None:
    data = canonical(fields)
    with pytest.raises(homes.Unusable, match=rf"{reason}.*ENVLOCK_HOME"):
        make.check_place(parse(data, target_of(data)), prefix)


def test_wheels_may_be_below_a_long_path_with_a_dollar() -> None:
    data = canonical(wheels_plan())
    make.check_place(parse(data, target_of(data)), "/srv/$HOME/" + "x" * 255)


@pytest.mark.parametrize("place", ["", "environments", "environments/{prefix}"])
def test_an_environment_that_others_may_have_written_is_not_used(
    node: Node, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    let_go(node, monkeypatch)
    (node.home / place.format(prefix=node.lock.prefix_name)).chmod(0o777)
    monkeypatch.setattr(homes, "SHARED_HOME", str(node.home))
    entered = node.prepare(monkeypatch, ENVLOCK_HOME="")
    is_own = Path(entered.prefix).is_relative_to(node.task)
    assert is_own == (place != "environments/{prefix}"), "what is not trusted is replaced where that is safe"
    assert node.fetched() == 2


def test_a_link_of_somebody_else_is_not_followed(tmp_path: Path) -> None:
    mine, link = tmp_path / "mine", tmp_path / "link"
    mine.mkdir()
    link.symlink_to(mine)
    assert homes.distrust(str(link)) == ""
    if os.geteuid() != 0:
        pytest.skip("only root can make a link somebody else's")
    os.lchown(link, 12345, 12345)
    assert "12345" in homes.distrust(str(link))


# Keeping.


def others(make_node: MakeNode, tmp_path: Path, count: int, **options: object) -> list[Node]:
    """Nodes that share a home and a cache, each with an environment of its own."""
    return [make_node(making=Making(tmp_path / f"m{each}", count=each + 1), **options) for each in range(count)]


def test_the_least_recently_used_environment_goes_first(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_UNUSED_SECONDS", 1e12)
    monkeypatch.setattr(kept, "_OLD_SECONDS", 1e12)
    first, second, third = others(make_node, tmp_path, 3, cold=True)
    let_go(first, monkeypatch, used=1000)
    let_go(second, monkeypatch, used=500)
    tools = sum(path.stat().st_size for path in (first.home / "tools").rglob("*") if path.is_file())
    size = kept.Kept(str(first.home), f"environments/{first.lock.prefix_name}").summary()["bytes"]
    keeping = replace(third, options={"keep": int(tools + 2.9 * size)})
    let_go(keeping, monkeypatch)
    assert (first.prefix.exists(), second.prefix.exists(), third.prefix.exists()) == (True, False, True)
    assert remains(first.home / "environments") == []
    let_go(second, monkeypatch)
    assert second.prefix.exists(), "what was removed is made again"


def test_an_environment_that_was_never_finished_goes_with_the_next_one(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = others(make_node, tmp_path, 2)
    let_go(first, monkeypatch)
    (first.prefix / ".envlock.json").unlink()
    (first.home / "kept" / f"environments-{first.lock.prefix_name}").unlink()
    (first.home / "environments" / "mine").mkdir()
    let_go(second, monkeypatch)
    assert {path.name for path in (first.home / "environments").glob("[!.]*")} == {second.lock.prefix_name, "mine"}


def test_what_a_task_uses_or_used_a_moment_ago_stays(
    make_node: MakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, fresh, last = others(make_node, tmp_path, 3, options={"keep": 0})
    entered = used.prepare(monkeypatch)
    assert entered.lock is not None
    os.utime(used.home / "kept" / f"environments-{used.lock.prefix_name}", (1000, 1000))
    let_go(fresh, monkeypatch)
    let_go(last, monkeypatch)
    assert used.prefix.exists()
    assert fresh.prefix.exists()
    os.close(entered.lock)
    kept.make_room(str(used.home), 0)
    assert not used.prefix.exists()
    assert fresh.prefix.exists()


@pytest.mark.parametrize("when", ["hold", "distrust"])
def test_an_environment_that_is_removed_under_a_waiting_task_is_made_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    let_go(node, monkeypatch)
    real, removed = getattr(homes, when), list[bool]()

    def removing_first(folder: str) -> object:
        if not removed:
            removed.append(kept.evict(str(node.home), f"environments/{node.lock.prefix_name}"))
        return real(folder)

    monkeypatch.setattr(homes, when, removing_first)
    let_go(node, monkeypatch)
    assert removed == [True]
    assert node.fetched() == 2
    assert find_prefix(node.lock, node.home) == node.prefix


def test_a_lock_outlives_the_process_that_took_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = node.prepare(monkeypatch)
    assert entered.lock is not None
    os.set_inheritable(entered.lock, True)
    task = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    os.close(entered.lock)
    assert not kept.evict(str(node.home), f"environments/{node.lock.prefix_name}")
    task.communicate(b"\n")
    assert kept.evict(str(node.home), f"environments/{node.lock.prefix_name}")


def test_a_python_that_an_environment_needs_stays_as_long_as_that(
    make_node: MakeNode, build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node(build=build, image=None)
    entered = node.prepare(monkeypatch)
    assert entered.lock is not None
    (python,) = (node.home / "pythons").glob("[!.]*")
    for record in (node.home / "kept").iterdir():
        os.utime(record, (1000, 1000))
    kept.make_room(str(node.home), 0)
    assert python.exists()
    os.close(entered.lock)
    kept.make_room(str(node.home), 0)
    assert not python.exists()
    assert not node.prefix.exists()
    assert list((node.home / "kept").iterdir()) == []


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


def test_a_shared_lock_is_what_a_task_holds(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    entered = node.prepare(monkeypatch)
    handle = os.open(node.prefix, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert entered.lock is not None
    os.close(entered.lock)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


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
