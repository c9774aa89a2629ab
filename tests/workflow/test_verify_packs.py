"""`verify --pack` makes packs again from their locks, so that nobody need trust who made those in the cache."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.folder_store import FolderStore
from envlock.cache.layout import part_path
from envlock.cache.plan import Part, Plan, PlanFile
from envlock.cache.plans import Plans
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.selection import Selection
from envlock.hydration.errors import DiskFull
from envlock.pack import tree
from envlock.pack.bytecode import Kept
from envlock.pack.parts import zstd
from envlock.places import home
from envlock.remote.kit import FOLDER as KITS
from envlock.workflow.push import push
from envlock.workflow.verify_packs import VerifiedPack, verify_packs
from tests.cache.locks import locked_project
from tests.conftest import Envlock
from tests.index import CATALOGUE, Index
from tests.remote.kits import KIT_RELEASES, python_mirror
from tests.support import isolation
from tests.workflow.test_push_packs import ALPHA, BETA, PYTHON, SERIES, pack_of, plan_of


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, shared_uv_cache: Path) -> Iterator[Path]:
    """A project whose one environment has a pack in the cache beside it."""
    root = tmp_path_factory.mktemp("pushed")
    with (
        isolation(root / "user", shared_uv_cache),
        Index(*CATALOGUE, *KIT_RELEASES) as index,
        python_mirror(root / "mirror", SERIES) as mirror,
    ):
        settings = f'cache = "../cache"\npython-mirror = "{mirror.url}"\npack = true\nremote = true'
        push(locked_project(root / "project", index, {"one": [ALPHA, BETA]}, settings=settings, python=PYTHON))
        shutil.copytree(home() / KITS, root / KITS)
        yield root


@pytest.fixture
def project(tmp_path: Path, pushed: Path) -> Project:
    """A copy of it, on a machine that has nothing of it but what it knows of kits."""
    for name in ("project", "cache"):
        shutil.copytree(pushed / name, tmp_path / name, symlinks=True)
    shutil.copytree(pushed / KITS, home() / KITS)
    return load_project(tmp_path / "project" / "envlock.toml")


@pytest.fixture
def store(project: Project, tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "cache")


def verified(project: Project, *, download: bool = False) -> VerifiedPack:
    result = verify_packs(project, download=download)
    assert (result.absent, result.unlocked, result.failures) == ((), (), ())
    (found,) = result.verified
    return found


def hostile(project: Project, store: FolderStore, tmp_path: Path) -> Plan:
    """A newer plan of the same lock, whose pack has another file: all hashes in it are right."""
    plan, pack = plan_of(project, store), pack_of(project, store)
    raw = zstd.decompress((tmp_path / "cache" / pack.parts[0].file.path).read_bytes())
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(raw)) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            file = old.extractfile(member) if member.isreg() else None
            data = file.read() if file else b""
            if member.name.endswith("/alpha/__init__.py"):
                data += b"import os\n"
                member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    changed = out.getvalue()
    packed = zstd.compress(changed)
    sha256 = hashlib.sha256(packed).hexdigest()
    store.put(part_path(sha256), packed)
    part = Part(PlanFile(part_path(sha256), len(packed), sha256), len(changed), hashlib.sha256(changed).hexdigest())
    made = replace(plan, pack=pack._replace(parts=(part,)))
    Plans(store).write(made)
    assert plan_of(project, store) == made
    return made


@pytest.mark.parametrize("download", [False, True])
def test_a_pack_is_what_its_lock_makes(project: Project, store: FolderStore, tmp_path: Path, download: bool) -> None:
    """Made again by somebody else, who has nothing of what it was made from."""
    found = verified(project, download=download)
    assert found.is_right
    assert (found.raw, found.other, found.damaged) == (pack_of(project, store).raw, (), ())


def test_a_pack_of_somebody_who_can_write_to_the_cache_is_found(
    project: Project, store: FolderStore, tmp_path: Path
) -> None:
    plan = hostile(project, store, tmp_path)
    found = verified(project)
    assert not found.is_right
    assert plan.pack is not None
    assert (found.pack.raw, found.raw != plan.pack.raw) == (plan.pack.raw, True)
    assert "alpha" in found.other
    assert verified(project, download=True).other == (f"lib/python{SERIES}/site-packages/alpha/__init__.py",)


def test_what_it_advises_replaces_it(project: Project, store: FolderStore, tmp_path: Path) -> None:
    hostile(project, store, tmp_path)
    assert push(project, pack=True).moved_nothing, "its parts are there"
    push(project, pack=True, verify=True)
    assert verified(project, download=True).is_right


def test_what_this_machine_compiled_before_proves_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def used(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Kept, "restored", used)
    assert verified(project).is_right
    push(project, pack=True, verify=True)


def test_a_pack_of_format_3_is_compared_with_one_in_which_tests_have_bytecode(
    project: Project, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, pack = plan_of(project, store), pack_of(project, store)
    monkeypatch.setattr(tree, "is_test", lambda path: path.endswith("/alpha/__init__.py"))
    assert not verified(project).is_right, "its alpha has bytecode"
    Plans(store).write(replace(plan, pack=pack._replace(compiles_tests=True)))
    assert verified(project).is_right


def test_a_push_that_verifies_a_right_pack_has_nothing_to_do(project: Project) -> None:
    assert push(project, pack=True, verify=True).moved_nothing


def test_another_placeholder_is_another_pack(project: Project, store: FolderStore) -> None:
    plan = plan_of(project, store)
    Plans(store).write(replace(plan, pack=pack_of(project, store)._replace(placeholder="/usr")))
    found = verified(project)
    assert (found.is_right, found.other) == (False, ("the placeholder",))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "it is not there"),
        (lambda path: path.write_bytes(b"changed"), "its size is not that of the plan"),
        (lambda path: path.write_bytes(bytes(path.stat().st_size)), "its bytes are not those of the plan"),
    ],
)
def test_a_lost_part_is_found_where_parts_are_read(
    project: Project, store: FolderStore, tmp_path: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    path = pack_of(project, store).parts[0].file.path
    spoil(tmp_path / "cache" / path)
    assert verified(project).is_right, "the plan itself is right"
    assert verified(project, download=True).damaged == ((path, reason),)


def test_a_full_disk_is_no_damage_of_the_pack(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = FolderStore.fetch

    def full(self: FolderStore, path: str, to: Path, **more: Any) -> None:
        fetch(self, path, to, **more)
        if path.startswith("parts/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))

    monkeypatch.setattr(FolderStore, "fetch", full)
    with pytest.raises(DiskFull):
        verify_packs(project, download=True)


def test_a_part_that_decompresses_to_something_else_is_found(
    project: Project, store: FolderStore, tmp_path: Path
) -> None:
    plan, pack = plan_of(project, store), pack_of(project, store)
    for data, raw_size in ((zstd.compress(bytes(1 << 20)), 9), (b"no zstd at all", 9), (b"a bomb", 1 << 33)):
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(part_path(sha256), data)
        part = pack.parts[0]._replace(file=PlanFile(part_path(sha256), len(data), sha256), raw_size=raw_size)
        Plans(store).write(replace(plan, pack=pack._replace(parts=(part,))))
        ((path, _),) = verified(project, download=True).damaged
        assert path == part_path(sha256)


def test_environments_without_a_pack_are_named(project: Project, store: FolderStore) -> None:
    push(project, pack=False)
    result = verify_packs(project)
    assert (result.verified, result.absent) == ((), ("one on linux-64",))
    assert verify_packs(project, Selection(archs=("linux-64",))).absent == result.absent


def test_a_compiler_that_cannot_be_got_is_an_error_that_says_so(project: Project, store: FolderStore) -> None:
    plan = plan_of(project, store)
    Plans(store).write(replace(plan, pack=pack_of(project, store)._replace(compiler=f"{SERIES}.987")))
    result = verify_packs(project)
    (error,) = result.failures
    assert (error.exit_status, result.verified) == (5, ())
    assert "so the pack of one on linux-64 was not compared" in error.details


def test_the_command(
    project: Project, store: FolderStore, tmp_path: Path, envlock: Envlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    raw = pack_of(project, store).raw
    assert envlock("verify", "--pack").stdout == f"verified 1 pack: each is what its lock makes (raw digest {raw})\n"
    answer = envlock("verify", "--pack", "--json").json
    assert (answer["exit_status"], answer["absent"], answer["unlocked"], answer["errors"]) == (0, [], [], [])
    (pack,) = answer["packs"]
    assert (pack["raw"], pack["made"], pack["right"], pack["parts"]) == (raw, raw, True, 1)
    (part,) = pack_of(project, store).parts
    whole = (tmp_path / "cache" / part.file.path).read_bytes()
    (tmp_path / "cache" / part.file.path).write_bytes(b"damaged")
    ran = envlock("verify", "--pack", "--download", check=3)
    assert "damaged: the pack of one on linux-64" in ran.stdout
    assert raw[:12] not in ran.stdout, "its plan is right"
    (tmp_path / "cache" / part.file.path).write_bytes(whole)
    plan = hostile(project, store, tmp_path)
    ran = envlock("verify", "--pack", "--download", check=3)
    assert plan.pack is not None
    assert "not what its lock makes: the pack of one on linux-64" in ran.stdout
    assert f"  differs: lib/python{SERIES}/site-packages/alpha/__init__.py" in ran.stdout
    assert plan.pack.raw[:12] in ran.stdout
    assert raw[:12] in ran.stdout
    assert "envlock push --pack --verify" in ran.stdout
    assert envlock("verify", "--pack", "--json", check=3).json["packs"][0]["right"] is False
    for words in (["--download"], ["--arch", "linux-64"], ["--pack", "--unexpected"]):
        assert "error[usage]" in envlock("verify", *words, check=2).stderr
