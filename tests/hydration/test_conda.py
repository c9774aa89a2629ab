"""Environments of conda packages, and of wheels on top: whole, runnable, naming nothing but their own place."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from envlock.conda.channels import channel_base
from envlock.conda.install import LeadsOut, _refuse_paths
from envlock.errors import HydrateError
from envlock.hydration.errors import (
    BadCondaArchive,
    ChangedArtifact,
    DiskFull,
    ForeignArch,
    HomeUnusable,
    InstallFailed,
    LinkFailed,
    PrefixTooLong,
    UnfitPrefix,
)
from envlock.hydration.prefix import read_receipt
from envlock.model.arch import ARCHS, host_arch
from envlock.model.artifact import Artifact, artifacts_of
from envlock.model.lock import LockedPackage
from tests.channel import Channel, File, Package, data_package
from tests.channel.archive import pack
from tests.channel.recipe import Dist, python_package
from tests.hydration.conda_making import CondaMaking, changed, files_naming, wheels, wrong_files
from tests.hydration.making import remains
from tests.index import Release
from tests.support import read_only


@pytest.fixture(autouse=True)
def _python_runs_here(channel: Channel) -> None:
    channel.need()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives that no test changes."""
    return tmp_path_factory.mktemp("archives")


class AsTheyAre(CondaMaking):
    """Its archives are those that lie there."""

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        return {each.sha256: self.place / "packages" / each.sha256 / each.filename for each in artifacts}


def run(prefix: Path, *command: str) -> str:
    done = subprocess.run(
        [prefix / "bin" / command[0], *command[1:]],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def placed(name: str, path: str, text: str, **options: object) -> Package:
    return data_package(name, "1.0", {path: text}, **options)


def test_a_conda_environment_runs_at_its_place(tmp_path: Path, store: Path, channel: Channel) -> None:
    channel.need("hello")
    making = CondaMaking(tmp_path, ("speak", "vintage", "hello", "click"), store=store)
    prefix = making.hydrate()
    assert prefix == making.prefix == making.find()
    assert run(prefix, "python", "-c", "import click, speak, sys; print(sys.prefix)") == str(prefix)
    assert run(prefix, "speak") == "speak 1.1 from conda"
    assert run(prefix, "vintage") == "vintage 1.0 from conda"
    assert run(prefix, "hello").startswith("hello 1.")
    assert (prefix / "share/hello/prefix.txt").read_text() == f"{prefix}\n"
    assert wrong_files(prefix) == []
    assert files_naming(prefix, ".stages") == []
    assert remains(making.environments) == []
    assert making.hydrate(installer=None) == prefix


def test_wheels_go_on_top_and_their_scripts_start_the_right_python(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("speak",), wheels=wheels(3), store=store)
    prefix = making.hydrate()
    assert not list(prefix.rglob("*.pyc")), "what ran in the stage must leave no bytecode that names it"
    assert run(prefix, "wheel-2") == "wheel-2 1.0"
    assert run(prefix, "python", "-c", "import wheel_0, speak; print(wheel_0.__file__)").startswith(str(prefix))
    assert wrong_files(prefix) == []
    assert files_naming(prefix, ".stages") == []
    installers = {path.parent.name: path.read_text().strip() for path in making.site_packages.glob("*/INSTALLER")}
    assert installers["speak-1.1.dist-info"] == "conda"
    assert installers["wheel_0-1.0.dist-info"] == "uv"
    assert not list(making.site_packages.glob("*.dist-info/direct_url.json"))
    assert making.reporter.warnings == []
    told = making.reporter.done_of("hydrating")
    assert {"speak 1.1", "wheel-0 1.0", "wheel-1 1.0", "wheel-2 1.0"} <= told.keys()
    assert sum(told.values()) == making.reporter.totals["hydrating"] == len(making.lock.packages)


@pytest.mark.parametrize("folder", ["a%20b#c/ü/~", "with space/(x) & y;z"], ids=["without a space", "with a space"])
def test_a_home_of_any_name_serves(tmp_path: Path, folder: str) -> None:
    """Scripts begin in another way where an interpreter's path has a space."""
    making = CondaMaking(tmp_path / folder, ("speak", "vintage"), wheels=wheels(1))
    prefix = making.hydrate()
    assert run(prefix, "wheel-0") == "wheel-0 1.0"
    assert run(prefix, "speak") == "speak 1.1 from conda"
    assert wrong_files(prefix) == []
    assert files_naming(prefix, ".stages") == []


@pytest.mark.parametrize("folder", ["it's", '"quoted"', "$HOME", "a:b", "back\\slash"])
def test_a_home_that_breaks_conda_packages_is_refused(tmp_path: Path, folder: str) -> None:
    making = CondaMaking(tmp_path / folder, ("speak",))
    with pytest.raises(UnfitPrefix) as caught:
        making.hydrate()
    assert caught.value.render().startswith("error[unfit-prefix]: the environment's path contains `")
    assert not making.place.exists()


def test_scripts_in_a_short_place_begin_with_the_interpreter(tmp_path: Path, store: Path) -> None:
    from envlock.hydration.shebangs import move_scripts

    making = CondaMaking(tmp_path, wheels=wheels(1), store=store)
    prefix = making.hydrate()
    text = (prefix / "bin" / "wheel-0").read_text()
    move_scripts([*making.site_packages.glob("wheel_0-*/RECORD")], making.site_packages, prefix, Path("/e"))
    moved = (prefix / "bin" / "wheel-0").read_text()
    assert moved.startswith("#!/e/bin/python\n# -*- coding")
    assert text.startswith("#!")
    assert wrong_files(prefix) == []
    assert not list((prefix / "bin").glob(".*"))


def test_the_prefix_is_known_to_conda_as_it_came_from_upstream(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("speak",), store=store)
    prefix = making.hydrate()
    records = {path.stem: json.loads(path.read_text()) for path in (prefix / "conda-meta").glob("*.json")}
    assert {record["url"] for record in records.values()} == {package.url for package in making.lock.packages}
    assert {record["sha256"] for record in records.values()} == {package.sha256 for package in making.lock.packages}
    assert all((prefix / "conda-meta" / f"{name}.json").stat().st_mode & 0o044 for name in records)


def test_the_marker_names_the_python_inside(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, store=store)
    prefix = making.hydrate()
    receipt = read_receipt(prefix)
    assert receipt is not None
    assert receipt.python == str(prefix / "bin" / f"python{making.series}")
    assert receipt.python_version == making.lock.python.version
    inside = Path(receipt.python)
    inside.rename(inside.with_name("gone"))
    assert making.find() is None
    assert making.hydrate() == prefix
    assert inside.exists()
    assert wrong_files(prefix) == []


def test_python_is_not_run_before_the_place_is_its_own(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, wheels=wheels(2), store=store, compile_bytecode=True)
    prefix = making.hydrate()
    compiled = list(prefix.rglob("*.pyc"))
    assert any("wheel_1" in str(path) for path in compiled)
    assert any(path.name.startswith("json") or "json" in path.parts for path in compiled)
    assert files_naming(prefix, ".stages") == []
    code = "import wheel_1, json; print(wheel_1.__cached__, json.dumps.__code__.co_filename)"
    before = {path: path.stat().st_mtime_ns for path in compiled}
    cached, name = run(prefix, "python", "-c", code).split()
    assert Path(cached) in before
    assert name == str(prefix / "lib" / f"python{making.series}" / "json" / "__init__.py")
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was compiled is what Python takes"


def test_a_python_that_is_externally_managed_takes_the_wheels(tmp_path: Path) -> None:
    series = CondaMaking(tmp_path).series
    managed = placed("managed", f"lib/python{series}/EXTERNALLY-MANAGED", "[externally-managed]\nError=no\n")
    making = CondaMaking(tmp_path, own=(managed,), wheels=wheels(1))
    assert run(making.hydrate(), "wheel-0") == "wheel-0 1.0"


def test_nothing_is_left_where_temporary_files_are(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    making = CondaMaking(tmp_path / "place", ("speak",), wheels=wheels(1), store=store)
    making.hydrate()
    assert list(temporary.iterdir()) == []
    assert remains(making.environments) == []


def test_no_network_is_used(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    making = CondaMaking(tmp_path, ("speak",), wheels=wheels(1), store=store)
    assert wrong_files(making.hydrate()) == []


# What is shared between environments.


def test_what_was_unpacked_is_linked_again(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path, ("speak",))
    first = (making.hydrate() / "lib" / f"python{making.series}" / "os.py").stat().st_ino
    other = CondaMaking(tmp_path, ("speak", "lower"))
    assert other.prefix != making.prefix
    assert (other.hydrate() / "lib" / f"python{making.series}" / "os.py").stat().st_ino == first


def test_a_file_that_was_edited_through_an_environment_is_not_linked_into_the_next(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path, ("speak",))
    edited = making.hydrate() / "lib" / f"python{making.series}" / "site-packages" / "speak" / "__init__.py"
    whole = edited.read_bytes()
    with edited.open("r+b") as file:
        file.write(b"import os; os.abort()")
    os.utime(edited, ns=(1577836800 * 10**9, 1577836800 * 10**9))
    other = CondaMaking(tmp_path, ("speak", "lower"))
    assert (other.hydrate() / edited.relative_to(making.prefix)).read_bytes() == whole
    assert wrong_files(other.prefix) == []
    assert run(other.prefix, "speak") == "speak 1.1 from conda"


@pytest.mark.parametrize("damage", ["a file", "a folder", "the list", "everything"])
def test_what_is_missing_of_an_unpacked_package_is_unpacked_again(tmp_path: Path, damage: str) -> None:
    making = CondaMaking(tmp_path, ("speak",))
    shutil.rmtree(making.hydrate())
    (unpacked,) = (path for path in making.unpacked.iterdir() if path.is_dir() and path.name.startswith("speak"))
    if damage == "a file":
        (unpacked / "site-packages/speak/__init__.py").unlink()
    elif damage == "a folder":
        shutil.rmtree(unpacked / "site-packages")
    elif damage == "the list":
        (unpacked / "info/paths.json").write_text("{")
    else:
        shutil.rmtree(making.unpacked)
    assert wrong_files(making.hydrate()) == []
    assert run(making.prefix, "speak") == "speak 1.1 from conda"


def test_two_archives_of_one_name_version_and_build_are_two(tmp_path: Path) -> None:
    one = CondaMaking(tmp_path, own=(placed("twin", "share/twin.txt", "one"),))
    two = CondaMaking(tmp_path, own=(placed("twin", "share/twin.txt", "two"),))
    assert one.prefix != two.prefix
    for making, text in ((one, "one"), (two, "two"), (one, "one")):
        shutil.rmtree(making.prefix, ignore_errors=True)
        assert (making.hydrate() / "share/twin.txt").read_text() == text


# Two packages that want one path.


def test_a_path_of_two_packages_is_reported_and_the_same_one_has_it_each_time(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("clobber-one", "clobber-two"), store=store)
    for _ in range(4):
        shutil.rmtree(making.prefix, ignore_errors=True)
        making.reporter.warnings.clear()
        prefix = making.hydrate()
        assert (prefix / "share/clobber/who.txt").read_text() == "one\n"
        assert making.reporter.warnings == [
            "clobber-one and clobber-two both contain share/clobber/who.txt: the one of clobber-one is used"
        ]
        left = sorted(str(path.relative_to(prefix)) for path in (prefix / "__clobbers__").rglob("*"))
        assert left == [
            "__clobbers__/clobber-two",
            "__clobbers__/clobber-two/share",
            "__clobbers__/clobber-two/share/clobber",
            "__clobbers__/clobber-two/share/clobber/who.txt",
        ]
        assert wrong_files(prefix) == []


def test_many_such_paths_are_summed_up(tmp_path: Path) -> None:
    paths = [f"share/many/{number}.txt" for number in range(9)]
    own = tuple(data_package(name, "1.0", dict.fromkeys(paths, name)) for name in ("many-a", "many-b"))
    making = CondaMaking(tmp_path, own=own)
    making.hydrate()
    assert len(making.reporter.warnings) == 6
    assert making.reporter.warnings[-1] == "... and 4 more files of DemoFlow/train"


def test_the_same_bytes_twice_are_no_matter(tmp_path: Path) -> None:
    own = tuple(placed(name, "share/licence.txt", "the same") for name in ("same-a", "same-b"))
    making = CondaMaking(tmp_path, own=own)
    assert (making.hydrate() / "share/licence.txt").read_text() == "the same"
    assert making.reporter.warnings == []


def test_a_wheel_on_a_file_of_a_conda_package_is_reported(tmp_path: Path) -> None:
    ours = python_package("shared", "1.0", dist=Dist("shared", "1.0"))
    theirs = Release("other", "1.0", files={"shared/__init__.py": "FROM = 'wheel'\n"})
    making = CondaMaking(tmp_path, own=(ours,), wheels=(theirs,))
    prefix = making.hydrate()
    path = f"lib/python{making.series}/site-packages/shared/__init__.py"
    assert making.reporter.warnings == [
        f"the conda package shared and the wheel of other both contain {path}: the wheel's is used"
    ]
    assert (prefix / path).read_text() == "FROM = 'wheel'\n"
    (unpacked,) = (each for each in making.unpacked.glob("shared-1.0-*") if each.is_dir())
    assert "wheel" not in (unpacked / "site-packages/shared/__init__.py").read_text(), "the shared file is left alone"


# Archives that are not what they should be.


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "gone"])
@pytest.mark.parametrize("is_warm", [False, True])
def test_an_archive_that_is_not_the_locked_one_is_named(tmp_path: Path, damage: str, is_warm: bool) -> None:
    making = CondaMaking(tmp_path, ("speak",))
    making.fetch(artifacts_of(making.lock))
    if is_warm:
        shutil.rmtree(making.hydrate())
    package = making.named("speak")
    path = making.file_of(package)
    status = path.stat()
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "truncated":
        del data[-20:]
    elif damage == "empty":
        data.clear()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    if damage == "gone":
        path.unlink()
    making = AsTheyAre(tmp_path, ("speak",))
    with pytest.raises(ChangedArtifact) as caught:
        making.hydrate()
    assert caught.value.exit_status == 3
    assert "`speak` 1.1" in caught.value.message
    assert package.sha256 in caught.value.render()
    assert remains(making.environments) == []
    assert making.find() is None


@pytest.mark.parametrize("is_unpacked", [False, True])
def test_nothing_of_a_changed_archive_is_in_a_later_environment(tmp_path: Path, is_unpacked: bool) -> None:
    """Also if it is an archive, and py-rattler has to unpack it: for the first time, or since a file was changed."""
    notes = partial(data_package, "notes", "1.0")
    making = CondaMaking(tmp_path, own=(notes({"share/notes.txt": "what was locked"}),))
    making.fetch(artifacts_of(making.lock))
    path = making.file_of(making.named("notes"))
    locked = path.read_bytes()
    if is_unpacked:
        prefix = making.hydrate()
        (prefix / "share" / "notes.txt").write_text("what somebody wrote")
        shutil.rmtree(prefix)
    path.write_bytes(pack(notes({"share/notes.txt": "what was not"}))[0])
    with pytest.raises(ChangedArtifact, match="notes"):
        AsTheyAre(tmp_path, own=making.own).hydrate()
    path.write_bytes(locked)
    assert (making.hydrate() / "share" / "notes.txt").read_text() == "what was locked"


@pytest.mark.parametrize("kind", ["half", "no archive", "no tar", "another thing"])
@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_an_archive_that_was_locked_broken_is_named(tmp_path: Path, kind: str, suffix: str) -> None:
    package = data_package("cracked", "1.0", {"share/cracked.bin": os.urandom(3000).hex()}, suffix=suffix)
    making = CondaMaking(tmp_path, own=(package,))
    whole = next(data for each, data in making._conda if each.name == "cracked")
    assert isinstance(whole, bytes)
    broken = {
        "half": whole[: len(whole) // 2],
        "no archive": b"<html>",
        "no tar": whole[:1000] + b"\0" * 50 + whole[1050:],
        "another thing": _without_metadata(suffix),
    }
    from hashlib import sha256

    data = broken[kind]
    digest = sha256(data).hexdigest()
    lock = changed(making.lock, making.named("cracked"), sha256=digest, size=len(data))
    making.__dict__["archives"] = {**making.archives, digest: data}
    with pytest.raises(BadCondaArchive) as caught:
        making.hydrate(lock=lock)
    assert caught.value.exit_status == 5
    assert f"`cracked-1.0-0{suffix}`" in caught.value.message
    assert f"channel: {channel_base('conda-forge')}" in caught.value.render()
    assert remains(making.environments) == []


LEADING_OUT = {
    "an absolute path": {"/tmp/envlock-evil": File(b"x")},
    "a path above": {"../evil": File(b"x")},
    "a path that goes above later": {"share/../../evil": File(b"x")},
    "a path that ends early": {"share/a\0b": File(b"x")},
    "an absolute link": {"lib/link": File(target="/etc/passwd")},
    "a link above": {"lib/link": File(target="../../../../etc/passwd")},
    "a link through a link": {"a/b/top": File(target="../.."), "a/b/link": File(target="top/../..")},
    "a file behind a link": {"lib/link": File(target="/tmp"), "lib/link/envlock-evil": File(b"x")},
}


@pytest.mark.parametrize("kind", LEADING_OUT)
@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_an_archive_that_leads_out_of_the_environment_is_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    """py-rattler ends the whole process for an absolute path."""
    making = CondaMaking(tmp_path, own=(Package("cracked", "1.0", files=LEADING_OUT[kind], suffix=suffix),))
    with pytest.raises(BadCondaArchive) as caught:
        making.hydrate()
    said = caught.value.render()
    assert f"`cracked-1.0-0{suffix}`" in said
    assert "leads out of the environment" in said or kind == "a file behind a link"
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/envlock-evil").exists()
    assert remains(making.environments) == []


@pytest.mark.parametrize(
    "listed",
    [
        b'{"paths": [{"_path": "' + path + b'"}], "more": 1}'
        for path in (b"..", b"a/../../b", b"\\u002e./b", b"\\/etc/x", b"\\u002fetc/x", b"/etc/x")
    ]
    + [
        b'{"more": ' + b"[" * 110 + b"]" * 110 + b', "paths": [{"_path": "/etc/x"}]}',  # serde reads 128
        b'{"paths": ' + b"[" * 100_000 + b"..",
        b'{"paths": {"..": 1}}',
    ],
)
def test_however_a_list_of_files_spells_a_way_out(listed: bytes) -> None:
    package = LockedPackage("cracked", "1.0", "cracked-1.0-0.conda", "https://channel.example/x", "0" * 64)
    with pytest.raises(LeadsOut):
        _refuse_paths(package, {"info/paths.json": listed})
    _refuse_paths(package, {"info/paths.json": b'{"paths": [{"_path": "lib/a.so"}]}', "info/files": b"lib/a..b\n"})


def test_links_that_stay_are_left_alone(tmp_path: Path) -> None:
    links = {
        "lib/real/a": File(b"x"),
        "lib/up": File(target="../lib/real"),
        "lib/through": File(target="up/a"),
        "lib/dangling": File(target="../nowhere"),
        "top": File(target="lib/real/../real"),
    }
    making = CondaMaking(tmp_path, own=(Package("linked", "1.0", files=links),))
    for _ in range(2):  # out of the archive, then out of what was unpacked
        prefix = making.hydrate()
        assert {path: (prefix / path).readlink().as_posix() for path in links if links[path].target} == {
            path: file.target for path, file in links.items() if file.target
        }
        shutil.rmtree(prefix)


def _without_metadata(suffix: str) -> bytes:
    """An archive of the right kind that holds no package."""
    data = io.BytesIO()
    if suffix == ".conda":
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("readme.txt", "hello")
    else:
        with tarfile.open(fileobj=data, mode="w:bz2") as tar:
            tar.addfile(tarfile.TarInfo("readme.txt"))
    return data.getvalue()


def test_a_lock_whose_packages_hold_no_python_is_reported(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("lower",), store=store)
    without = tuple(package for package in making.lock.packages if package.name != "python")
    with pytest.raises(LinkFailed, match="could not be linked") as caught:
        making.hydrate(lock=replace(making.lock, packages=without))
    assert f"bin/python{making.series}" in caught.value.details[0]


def test_a_wheel_that_uv_refuses_leaves_nothing(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path, wheels=wheels(1))
    wheel = making.named("wheel-0")
    lock = changed(making.lock, wheel, version="2.0")
    with pytest.raises(InstallFailed):
        making.hydrate(lock=lock)
    assert remains(making.environments) == []


# The place, and the machine.


def test_another_arch_is_refused(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path)
    foreign = next(arch for arch in ARCHS if arch != host_arch())
    with pytest.raises(ForeignArch):
        making.hydrate(lock=replace(making.lock, arch=foreign))
    assert not making.environments.exists()


def test_a_path_that_is_too_long_is_refused_before_any_work(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["d" * 100] * 2)
    making = CondaMaking(deep)
    with pytest.raises(PrefixTooLong) as caught:
        making.hydrate()
    said = caught.value.render()
    assert f"{len(str(making.prefix))} bytes" in said
    assert "at most 255 bytes" in said
    assert str(making.prefix) in said
    assert "export ENVLOCK_HOME=/" in said
    assert not deep.exists()


def test_the_longest_path_that_is_allowed_works(tmp_path: Path, channel: Channel) -> None:
    channel.need("hello")
    room = 255 - len(str(CondaMaking(tmp_path, ("hello",)).prefix)) - 1
    making = CondaMaking(tmp_path / ("x" * room), ("hello",))
    prefix = making.hydrate()
    assert len(str(prefix)) == 255
    assert run(prefix, "hello").startswith("hello 1.")


def test_a_package_with_less_room_is_named(tmp_path: Path) -> None:
    cramped = Package(
        "cramped",
        "1.0",
        files={"lib/cramped.bin": File(b"\0/tiny/prefix/share\0", placeholder="/tiny/prefix", mode="binary")},
    )
    making = CondaMaking(tmp_path, own=(cramped,))
    with pytest.raises(PrefixTooLong) as caught:
        making.hydrate()
    assert "cramped-1.0-0.conda" in caught.value.render()
    assert "lib/cramped.bin" in caught.value.render()
    assert remains(making.environments) == []


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, small_disk: Path) -> None:
    making = CondaMaking(small_disk, ("speak",))
    with pytest.raises(DiskFull) as caught:
        making.hydrate()
    assert "free there now: " in caught.value.render()
    assert remains(making.environments) == []


def test_a_disk_that_is_full_of_environments_only(tmp_path: Path, small_disk: Path) -> None:
    heavy = wheels(3, files={f"heavy/part_{part}.py": "#" * 500_000 for part in range(4)})
    making = CondaMaking(tmp_path, wheels=heavy)
    making.environments.symlink_to(small_disk)
    with pytest.raises(DiskFull):
        making.hydrate()


def test_a_home_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path)
    making.unpacked.mkdir(parents=True)
    with read_only(making.unpacked), pytest.raises(HomeUnusable):
        making.hydrate()


def test_a_file_where_unpacked_packages_should_be_is_reported(tmp_path: Path) -> None:
    making = CondaMaking(tmp_path)
    making.unpacked.parent.mkdir(parents=True)
    making.unpacked.write_text("in the way")
    with pytest.raises(HydrateError) as caught:
        making.hydrate()
    assert caught.value.exit_status == 5
    assert remains(making.environments) == []


# Link scripts.


def test_link_scripts_do_not_run_and_are_reported_once(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("greets", "sulks"), store=store)
    prefix = making.hydrate()
    assert not (prefix / "share/greets/linked.txt").exists()
    (note,) = (note for note in making.reporter.notes if "link script" in note)
    assert note == (
        'greets, sulks have link scripts that were not run; `link-scripts = ["greets", "sulks"]` in `[envlock]` allows '
        "it, and `envlock create --rebuild` then makes the environment again"
    )


def test_a_link_script_that_is_allowed_runs_where_the_environment_stays(tmp_path: Path) -> None:
    script = (
        '#!/bin/sh\nprintf "%s\\n" "$PREFIX" "$PKG_NAME" "$PKG_VERSION" "$PKG_BUILDNUM" "$PWD" "$(command -v python)" '
        '"${PYTHONPATH-unset}" > "$PREFIX/said.txt"\necho "be kind" >> "$PREFIX/.messages.txt"\n'
    )
    own = data_package("tells", "1.5", {"bin/.tells-post-link.sh": script}, number=3)
    making = CondaMaking(tmp_path, ("greets", "sulks"), own=(own,), link_scripts=("greets", "Tells"))
    prefix = making.hydrate()
    assert (prefix / "share/greets/linked.txt").read_text() == "greets was linked\n"
    assert (prefix / "said.txt").read_text().splitlines() == [
        str(prefix), "tells", "1.5", "3", str(prefix), str(prefix / "bin" / "python"), "unset",
    ]  # fmt: skip
    assert not (prefix / ".messages.txt").exists()
    assert "tells: be kind" in making.reporter.notes
    assert any(note.startswith("sulks has a link script that was not run") for note in making.reporter.notes)
    assert files_naming(prefix, ".stages") == []


def test_scripts_run_after_those_of_what_is_needed(tmp_path: Path) -> None:
    def noting(name: str, *depends: str) -> Package:
        text = f'#!/bin/sh\necho {name} >> "$PREFIX/order.txt"\n'
        return data_package(name, "1.0", {f"bin/.{name}-post-link.sh": text}, depends=depends)

    own = (noting("aa", "bb"), noting("bb", "cc"), noting("cc", "aa"), noting("dd"))
    making = CondaMaking(tmp_path, own=own, link_scripts=("aa", "bb", "cc", "dd"))
    assert (making.hydrate() / "order.txt").read_text().split() == ["cc", "bb", "aa", "dd"]


def test_a_link_script_that_fails_is_an_error_with_what_it_said(tmp_path: Path, store: Path) -> None:
    making = CondaMaking(tmp_path, ("sulks",), store=store, link_scripts=("sulks",))
    with pytest.raises(HydrateError) as caught:
        making.hydrate()
    said = caught.value.render()
    assert said.startswith("error[link-script-failed]: the link script of `sulks` failed with exit status 3\n")
    assert "no, not here" in said
    assert making.find() is None
    assert remains(making.environments) == []
