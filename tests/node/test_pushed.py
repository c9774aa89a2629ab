"""What `push` puts into a cache is what a node makes an environment of, with nothing between them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pytest

from envlock.cache.layout import package_path
from envlock.cache.open import open_store
from envlock.cache.plan import Plan
from envlock.cache.plans import find_plan
from envlock.config.project import Project
from envlock.model.lock import Lock
from envlock.workflow.push import push_locks
from tests.cache.locks import locked_project
from tests.hydration.builds import SERIES, VERSION, Host
from tests.hydration.conda_making import CondaMaking, wheels, wrong_files
from tests.hydration.making import Making, missing_files
from tests.index import Index, Release
from tests.node.nodes import Node, stored
from tests.remote.kits import installed, is_built, python_mirror

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nodes are machines with Linux")


@pytest.fixture(scope="module")
def tools() -> Iterator[Index]:
    """An index that has what runs on a node of this machine's arch."""
    with Index(installed("uv"), installed("py-rattler"), *decompressors()) as served:
        yield served


def decompressors() -> Iterator[Release]:
    """The wheel that is installed here, named as the one that `push` chooses: its library is for any Python."""
    if sys.version_info < (3, 14):
        found = installed("backports-zstd")
        yield replace(found, tags=(f"cp312-cp312-{found.tags[0].rpartition('-')[2]}",))


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, build: Path) -> Iterator[Host]:
    """A host of Python builds that run here."""
    archive = build.read_bytes()
    if not is_built(VERSION):  # as of Debian's own Python, which is no release of uv's
        pytest.skip(f"uv has no build of {VERSION}")
    with python_mirror(
        tmp_path_factory.mktemp("mirror"), VERSION, SERIES, real={VERSION: archive, SERIES: archive}
    ) as host:
        yield host


@dataclass(frozen=True)
class PushedNode(Node):
    """A node whose cache was filled by a push."""

    project: Project | None = None
    pushed: Lock | None = field(default=None)
    pack: bool | None = None

    @property
    def lock(self) -> Lock:
        return self.pushed or self.making.lock

    @cached_property
    def plan(self) -> Plan:
        assert self.project is not None
        store = open_store(self.project.cache_url)
        result = push_locks(self.project, store, [self.lock], pack=self.pack)
        assert result.all_failures == result.plans.errors == result.plans.warnings == ()
        assert result.plans.packs.errors == result.plans.packs.without == ()
        plan = find_plan(store, self.lock)
        assert plan is not None
        return plan


@pytest.fixture
def push_to_node(tmp_path: Path, kit: Path, tools: Index, mirror: Host) -> Callable[..., PushedNode]:
    """Makes a node whose cache has the packages of a lock, before they are pushed."""

    def make(making: Making | CondaMaking, lock: Lock, **options: object) -> PushedNode:
        settings = f'cache = "../cache"\nremote = true\npython-mirror = "{mirror.url}"'
        project = locked_project(tmp_path / "project", tools, {}, settings=settings)
        if isinstance(making, Making):
            files = [next(release.artifacts()) for release in making.releases]
            found = {each.sha256: each.data for each in files}
        else:
            found = dict(making.archives)  # type: ignore[arg-type]
        for package in lock.packages:
            stored(tmp_path / "cache", package_path(package.sha256, package.filename), found[package.sha256])
        return PushedNode(tmp_path, making, kit, project=project, pushed=lock, **options)  # type: ignore[arg-type]

    return make


@pytest.mark.parametrize("python", ["image", "kit"])
def test_wheels_are_installed_for_the_images_python_or_the_kits(
    push_to_node: Callable[..., PushedNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    making = Making(tmp_path / "making")
    lock = replace(making.lock, requirements=making.lock.requirements._replace(python=f"=={VERSION}"))
    lock = replace(lock, python=replace(lock.python, version=VERSION))
    node = push_to_node(making, lock, options={} if python == "image" else {"python": "kit"})
    entered = node.prepare(monkeypatch)
    assert missing_files(node.prefix) == []
    base = json.loads((node.prefix / ".envlock.json").read_text())
    assert base["python_version"] == VERSION
    assert (str(node.home / "pythons") in str(Path(entered.python).resolve())) == (python == "kit")


def test_conda_packages_are_linked_by_the_kits_kernel(
    push_to_node: Callable[..., PushedNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    making = CondaMaking(tmp_path / "home", ("click",), wheels=wheels(1))
    node = push_to_node(making, making.lock)
    entered = node.prepare(monkeypatch)
    assert node.plan.install == "conda"
    assert entered.python == str(node.prefix / "bin" / "python")
    assert wrong_files(node.prefix) == []


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="no wheel of backports.zstd is installed here")
@pytest.mark.parametrize("kind", ["wheels", "conda"])
def test_a_pack_is_all_that_a_node_needs(
    push_to_node: Callable[..., PushedNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "wheels":
        making: Making | CondaMaking = Making(tmp_path / "making")
        lock = replace(making.lock, requirements=making.lock.requirements._replace(python=f"=={VERSION}"))
        lock = replace(lock, python=replace(lock.python, version=VERSION))
    else:
        making = CondaMaking(tmp_path / "home", ("click",), wheels=wheels(1))
        lock = making.lock
    node = push_to_node(making, lock, pack=True)
    pack, zstd = node.plan.pack, node.plan.tools.zstd
    assert pack is not None
    assert zstd is not None
    assert bool(pack.placeholder) == (kind == "conda")
    shutil.rmtree(tmp_path / "cache" / "packages")
    for file in node.plan.files:
        if file.path in node.plan.kits - {zstd.path}:
            (tmp_path / "cache" / file.path).unlink()
    node.prepare(monkeypatch)
    assert (missing_files if kind == "wheels" else wrong_files)(node.prefix) == []
