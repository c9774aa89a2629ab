"""Kits are chosen once, and a plan is made of a lock and a kit alone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.config.project import Project
from envlock.model.artifact import Artifact
from envlock.model.lock import Lock
from envlock.places import home
from envlock.remote.kit import FOLDER, Build, Kit, Kits, NoKit, plan_of
from envlock.uv_command import run_uv
from envlock.workflow.push_plans import has_plans, insists
from tests.cache.locks import locked_project
from tests.hydration.builds import Host
from tests.index import Index
from tests.lockfile.test_formats import LOCKS
from tests.remote.kits import KIT_RELEASES, UV, installed, python_mirror

LOCK = LOCKS["pylock.machine.toml"]
UV_WHEEL = Artifact("uv-1.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "1" * 64, "https://x/uv.whl", 100)
BUILD = Build(Artifact("cpython-3.12.9.tar.gz", "2" * 64, "https://x/cpython.tar.gz"), "3.12.9")


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with Index(*KIT_RELEASES) as served:
        yield served


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with python_mirror(tmp_path_factory.mktemp("mirror"), "3.12") as host:
        yield host


def project_with(tmp_path: Path, index: Index, settings: str) -> Project:
    return locked_project(tmp_path / "project", index, {}, settings=settings)


def sizes(path: str) -> int:
    """What the cache is asked for: only what neither lock nor kit knows."""
    assert "cpython" in path or "torch" in path
    return 7


class TestPlan:
    def test_the_images_python_is_any_that_the_lock_allows(self) -> None:
        plan = plan_of(LOCK, Kit(UV_WHEEL, BUILD), sizes)
        assert plan.python.image == ((4, None),)
        assert plan.python.build is not None
        assert (plan.python.build.version, plan.python.build.file.size) == ("3.12.9", 7)

    @pytest.mark.parametrize(
        ("required", "image"),
        [
            ("<3.12.7,>=3.12.4", ((4, 6),)),
            ("!=3.12.6,>=3.12.4", ((4, 5), (7, None))),
            ("==3.12.4", ((4, 4),)),
            ("", ((4, None),)),
        ],
    )
    def test_it_is_no_other(self, required: str, image: object) -> None:
        lock = replace(LOCK, requirements=LOCK.requirements._replace(python=required))
        assert plan_of(lock, Kit(UV_WHEEL), sizes).python.image == image

    def test_a_node_needs_the_glibc_of_the_lock_and_of_the_kit(self) -> None:
        assert plan_of(LOCK, Kit(UV_WHEEL), sizes).system == (("__glibc", "2.28"),)
        newer = replace(UV_WHEEL, filename="uv-1.0-py3-none-manylinux_2_31_x86_64.whl")
        assert plan_of(LOCK, Kit(newer), sizes).system == (("__glibc", "2.31"),)

    def test_who_locked_it_is_not_in_it(self) -> None:
        other = replace(LOCK, asked_by=("x",), resolved_by="x", resolved_at="2027-01-01T00:00:00Z", exclude_newer="")
        assert plan_of(other, Kit(UV_WHEEL, BUILD), sizes) == plan_of(LOCK, Kit(UV_WHEEL, BUILD), sizes)


class TestChoosing:
    @pytest.fixture
    def project(self, tmp_path: Path, index: Index, mirror: Host) -> Project:
        return project_with(tmp_path, index, f'remote = true\npython-mirror = "{mirror.url}"')

    def test_what_was_noted_is_not_requested_again(self, project: Project, index: Index, mirror: Host) -> None:
        kit = Kits(project).of(LOCK)
        assert kit.uv.filename in index.filenames("uv")
        assert kit.uv.sha256 == index.artifact(kit.uv.filename).sha256
        index.forget()
        mirror.paths.clear()
        assert Kits(project).of(LOCK) == kit
        assert (index.requests, mirror.paths) == ((), [])

    @pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b'[["../uv.whl", "x", "y", null, "1"]]', b"[[1]]"])
    def test_a_damaged_note_counts_for_nothing(self, project: Project, damage: bytes) -> None:
        kit = Kits(project).of(LOCK)
        for memo in (home() / FOLDER).iterdir():
            memo.write_bytes(damage)
        assert Kits(project).of(LOCK) == kit

    def test_what_was_forgotten_is_chosen_again(self, project: Project, index: Index) -> None:
        kits = Kits(project)
        kit = kits.of(LOCK)
        kits.forget()
        index.forget()
        assert Kits(project).of(LOCK) == kit
        assert index.has_been_asked("simple/uv/*")

    def test_an_unreachable_host_of_python_builds_is_waited_for_once(
        self, tmp_path: Path, index: Index, mirror: Host
    ) -> None:
        project = project_with(tmp_path, index, f'remote = true\npython-mirror = "{mirror.url}/nowhere"')
        kits = Kits(project)
        other: Lock = replace(LOCK, requirements=LOCK.requirements._replace(python="<3.12.8,>=3.12.4"))
        assert kits.of(LOCK).lacking is not None
        mirror.paths.clear()
        assert kits.of(other).lacking is not None
        assert mirror.paths == []

    def test_a_python_that_uv_does_not_know_needs_an_image_with_it(self, project: Project) -> None:
        old = replace(LOCK, python=replace(LOCK.python, version="3.6.0"))
        old = replace(old, requirements=LOCK.requirements._replace(python="==3.6.*"))
        lacking = Kits(project).of(old).lacking
        assert lacking is not None
        assert "need an image with CPython 3.6" in lacking.message
        assert "update uv" in (lacking.hint or "")

    def test_a_wheel_that_no_index_has_is_named(self, project: Project, make_index: Callable[..., Index]) -> None:
        with pytest.raises(NoKit, match=f"no wheel of uv {UV.version}") as caught:
            Kits(project._replace(settings=project.settings._replace(index_url=make_index().url))).of(LOCK)
        assert caught.value.details


@pytest.mark.parametrize(
    ("settings", "makes", "must"),
    [
        ("", False, False),
        ("remote = true", True, True),
        ("remote = false", False, False),
        ('cache = "s3://team/x"\n# remote = ', True, False),
        ('cache = "s3://team/x"\nremote = true', True, True),
        ('cache = "gs://team/x"\nremote = false', False, False),
        ('cache = "s3://team/x"\npush-on-deploy = true\n# remote = ', True, True),
    ],
)
def test_who_gets_plans(tmp_path: Path, index: Index, settings: str, makes: bool, must: bool) -> None:
    project = project_with(tmp_path, index, settings)
    assert (has_plans(project), insists(project)) == (makes, must)


def test_an_installed_package_is_a_wheel_again(tmp_path: Path) -> None:
    """Not of envlock: tests of nodes rely on it."""
    (artifact,) = installed("uv").artifacts()
    (tmp_path / artifact.filename).write_bytes(artifact.data)
    ran = run_uv(["pip", "install", "--no-deps", "--target", str(tmp_path / "to"), str(tmp_path / artifact.filename)])
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "to" / "bin" / "uv").stat().st_mode & 0o111
    with zipfile.ZipFile(tmp_path / artifact.filename) as wheel:
        assert f"uv-{UV.version}.data/scripts/uv" in wheel.namelist()
