"""Where a node keeps environments: which folders are used, and which are refused with what helps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envlock import activation
from metaflow_extensions.envlock.plugins.node import home as homes
from metaflow_extensions.envlock.plugins.node import kept, make
from metaflow_extensions.envlock.plugins.node.errors import DiskFull, Misconfigured
from metaflow_extensions.envlock.plugins.node.plan import parse
from tests.hydration.making import SERIES, remains
from tests.node.nodes import Node, let_go
from tests.node.plans import canonical, conda_plan, target_of, wheels_plan

MakeNode = Callable[..., Node]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


def test_a_prefix_has_the_same_files_on_nodes_and_workstations() -> None:
    assert (homes.RECEIPT, homes.VARIABLES) == (activation.RECEIPT, activation._VARIABLES)


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


def test_a_damaged_environment_of_the_images_own_layer_is_replaced(
    node: Node, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go(node, monkeypatch)
    shutil.rmtree(node.prefix / "lib" / f"python{SERIES}" / "site-packages" / "package_1")
    for name in ("up", "work"):
        (small_disk / name).mkdir()
    home = tmp_path / "image"
    home.mkdir()
    layers = f"lowerdir={node.home},upperdir={small_disk}/up,workdir={small_disk}/work"
    if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, home], check=False).returncode != 0:
        pytest.skip("this machine mounts no layers")
    try:
        entered = node.prepare(monkeypatch, ENVLOCK_HOME=str(home))
        assert Path(entered.prefix).is_relative_to(home)
        assert list(Path(entered.prefix).glob("lib/*/site-packages/package_1/part_1.py"))
        assert entered.lock is not None
        os.close(entered.lock)
    finally:
        subprocess.run(["umount", home], check=True)


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
