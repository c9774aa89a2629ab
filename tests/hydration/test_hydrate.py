"""One prefix: made whole, found again, made again when its interpreter is gone, and never half there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tomli_w

from envlock.activation import RECEIPT, activated
from envlock.errors import HydrateError
from envlock.hydration import pypi_uv
from envlock.hydration.errors import ChangedArtifact, ForeignArch, InstallFailed, UnfitForMachine, UnfitPrefix
from envlock.hydration.hydrate import hydrate
from envlock.hydration.port import Installer, InstallOptions
from envlock.hydration.prefix import find_prefix, prefix_of, read_receipt
from envlock.hydration.pypi_uv import UvInstaller
from envlock.in_use import hold
from envlock.interpreters import Interpreter, find_interpreter
from envlock.model.arch import ARCHS, host_arch
from envlock.model.lock import Lock
from envlock.places import home
from envlock.uv_command import run_uv
from metaflow_extensions.envlock.plugins.node.home import is_reserved
from tests.hydration.making import SERIES, CountingInstaller, Heard, MachinePythons, Making, missing_files, remains
from tests.index import Release
from tests.workflow.machine.homes import releasing


class Never(Installer):
    """Must not be called."""

    def install(self, lock: Lock, files: Mapping[str, Path], python: Path | None, stage: Path, place: Path) -> None:
        raise AssertionError("there was nothing to install")


@pytest.fixture
def making(tmp_path: Path) -> Making:
    made = Making(tmp_path)
    made.write_artifacts()
    return made


def run(prefix: Path, *command: str) -> str:
    done = subprocess.run([prefix / "bin" / command[0], *command[1:]], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def content(prefix: Path) -> dict[str, tuple[int, str | bytes]]:
    """The mode of each file of an environment, and its bytes, or where a link leads."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for path in prefix.rglob("*"):
        if path.is_symlink() or path.is_file():
            says = str(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[str(path.relative_to(prefix))] = path.lstat().st_mode, says
    return found


def test_a_prefix_is_made_whole_and_found_again(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert making.find() is None
    heard = Heard()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    prefix = making.hydrate(reporter=heard, installer=UvInstaller(heard))
    names = {f"{package.name} {package.version}" for package in making.lock.packages}
    for phase in ("hydrating", "unpacking"):
        assert sum(heard.done_of(phase).values()) == heard.totals[phase] == len(names)
    assert names <= heard.done_of("hydrating").keys()
    assert prefix == making.prefix
    assert prefix.is_absolute()
    assert missing_files(prefix) == []
    assert remains(making.environments) == []
    assert run(prefix, "python", "-c", "import package_0.part_2, sys; print(sys.prefix)") == str(prefix)
    assert making.find() == prefix
    assert making.hydrate(installer=Never()) == prefix


def test_a_lock_a_source_and_a_home_are_enough(making: Making, tmp_path: Path) -> None:
    """Interpreter and installer are envlock's own by default. All is in that home, whatever ENVLOCK_HOME is."""
    elsewhere = tmp_path / "node"
    prefix = hydrate(making.lock, making, elsewhere)
    assert prefix == prefix_of(making.lock, elsewhere) == find_prefix(making.lock, elsewhere)
    assert run(prefix, "python", "-c", "import package_0.part_2, sys; print(sys.prefix)") == str(prefix)
    assert find_prefix(making.lock, home()) is None
    (module,) = prefix.glob("lib/python*/site-packages/package_0/part_0.py")
    module.unlink()
    assert hydrate(making.lock, making, elsewhere) == prefix
    assert not module.exists(), "what is whole is not looked through"
    heard = Heard()
    assert hydrate(making.lock, making, elsewhere, rebuild=True, reporter=heard) == prefix
    assert module.exists()
    assert heard.warnings == []
    with releasing():
        assert hold(str(prefix))
        hydrate(making.lock, making, elsewhere, rebuild=True, reporter=heard)
    assert len(heard.warnings) == 1, "something runs in it"


def test_unpacking_again_says_where_uv_keeps_what_it_unpacked(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "uv-cache"
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    monkeypatch.setattr(pypi_uv, "PATIENCE", "1")
    (module,) = making.hydrate().glob("lib/python*/site-packages/package_0/part_0.py")
    with module.open("a") as file:
        file.write("PART = 'edited'\n")
    shutil.rmtree(making.prefix)
    heard = Heard()
    with (cache / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # as another run of uv does
        making.hydrate(installer=UvInstaller(heard, InstallOptions(unpack_again=True)))
    (warning,) = heard.warnings
    assert "`uv cache clean`" in warning
    assert "edited" not in module.read_text()


def test_exactly_the_locked_packages_are_in_it(making: Making) -> None:
    prefix = making.hydrate()
    installed = {path.name for path in prefix.glob("lib/python*/site-packages/*.dist-info")}
    assert installed == {f"package_{number}-1.0.dist-info" for number in range(3)}
    assert not list(prefix.glob("lib/python*/site-packages/*.dist-info/direct_url.json"))


def test_scripts_work_after_the_rename_and_nothing_names_the_stage(making: Making) -> None:
    prefix = making.hydrate()
    assert run(prefix, "command-1") == "package-1 1.0"
    texts = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in texts if b".stages" in path.read_bytes()] == []


def test_an_environment_is_what_uv_makes_of_the_same_wheels_in_a_virtual_environment(tmp_path: Path) -> None:
    """The packages are put beside the environment's own files, which are made meanwhile."""
    data = {
        f"odd-1.0.data/scripts/{name}": text
        for name, text in {
            "of-python": "#!python\nprint('odd')\n",
            "of-shell": "#!/bin/sh\necho odd\n",
            "of-env": "#!/usr/bin/env python3\nprint('odd')\n",
            "of-nobody": "echo odd\n",
            "activate": "# a wheel may bring it\n",
        }.items()
    }
    data |= {"odd-1.0.data/headers/odd.h": "//\n", "odd-1.0.data/data/lib64/odd.txt": "odd\n"}
    making = Making(tmp_path / "it's here", own=(Release("odd", "1.0", scripts={"odd": "odd:main"}, files=data),))
    making.write_artifacts()
    prefix = making.hydrate()
    theirs = tmp_path / "theirs"
    python = MachinePythons().provide(making.lock).path
    wheels = [
        {"name": each.name, "version": each.version, "wheels": [{"path": str(making.file_of(each)), "hashes": hashes}]}
        for each in making.lock.packages
        if (hashes := {"sha256": each.sha256})
    ]
    pylock = tmp_path / "pylock.toml"
    pylock.write_text(tomli_w.dumps({"lock-version": "1.0", "created-by": "a test", "packages": wheels}))
    for command in (
        ("venv", "--relocatable", "--python", str(python), str(theirs)),
        ("pip", "sync", "--offline", "--no-index", "--python", str(theirs / "bin" / "python"), str(pylock)),
    ):
        assert run_uv(command).returncode == 0
    assert run(prefix, "of-python") == "odd"
    ours, same = content(prefix), content(theirs)
    assert {path: ours[path] for path in same} == same
    assert ours.keys() - same.keys() <= {RECEIPT, ".lock"}


def test_a_lock_without_packages_is_an_interpreter_alone(tmp_path: Path) -> None:
    prefix = Making(tmp_path, count=0).hydrate()
    assert run(prefix, "python", "-c", "import sys; print(sys.prefix)") == str(prefix)


def test_the_marker_says_whose_it_is(making: Making) -> None:
    receipt = json.loads((making.hydrate() / RECEIPT).read_text())
    assert (receipt["req_id"], receipt["full_id"], receipt["arch"]) == (
        making.lock.req_id,
        making.lock.full_id,
        making.lock.arch,
    )
    python = find_interpreter(SERIES, lambda version: True)
    assert (receipt["python"], receipt["python_version"]) == (str(python.path), python.version)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"req_id": "x"}', None])
def test_what_has_no_good_marker_is_made_again(making: Making, content: str | None) -> None:
    prefix = making.hydrate()
    (prefix / "left-over").touch()
    if content is None:
        (prefix / RECEIPT).unlink()
    else:
        (prefix / RECEIPT).write_text(content)
    assert making.find() is None
    assert making.hydrate() == prefix
    assert not (prefix / "left-over").exists()
    assert missing_files(prefix) == []
    assert remains(making.environments) == []


def test_a_marker_of_another_environment_does_not_count(making: Making, tmp_path: Path) -> None:
    other = Making(tmp_path, count=1)
    other.hydrate()
    shutil.copytree(other.prefix, making.prefix, symlinks=True)
    assert making.find() is None
    assert missing_files(making.hydrate()) == []


def test_a_file_or_link_in_the_way_is_put_aside(making: Making, tmp_path: Path) -> None:
    making.environments.mkdir()
    making.prefix.write_text("in the way")
    assert missing_files(making.hydrate()) == []
    shutil.rmtree(making.prefix)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    making.prefix.symlink_to(elsewhere)
    assert missing_files(making.hydrate()) == []
    assert not making.prefix.is_symlink()
    assert (elsewhere / "kept").exists()


def test_a_marker_of_a_newer_envlock_counts(making: Making) -> None:
    prefix = making.hydrate()
    receipt = json.loads((prefix / RECEIPT).read_text())
    (prefix / RECEIPT).write_text(json.dumps({**receipt, "envlock": "99.0", "more": 1}))
    assert making.find() == prefix


def test_another_arch_is_refused_with_a_sentence(making: Making) -> None:
    foreign = next(arch for arch in ARCHS if arch != host_arch())
    with pytest.raises(ForeignArch) as caught:
        making.hydrate(lock=making.for_arch(foreign))
    assert caught.value.message == f"`DemoFlow/train` is locked for {foreign}, and this machine is {host_arch()}"
    assert not making.environments.exists()


def linked_python(folder: Path) -> Path:
    """A folder with an interpreter that can be taken away: a link to a real one."""
    folder.mkdir()
    link = folder / f"python{SERIES}"
    link.symlink_to(find_interpreter(SERIES, lambda version: True).path)
    return link


def test_an_interpreter_that_is_gone_is_noticed(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = linked_python(tmp_path / "first"), linked_python(tmp_path / "second")
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{first.parent}:{second.parent}")
    prefix = making.hydrate()
    receipt = read_receipt(prefix)
    assert receipt is not None
    assert receipt.python == str(first)
    first.unlink()
    assert making.find() is None
    heard = Heard()
    assert making.hydrate(reporter=heard) == prefix
    assert any(str(first) in note for note in heard.notes)
    assert run(prefix, "python", "-c", "import package_1, sys; print(sys.prefix)") == str(prefix)
    receipt = read_receipt(prefix)
    assert receipt is not None
    assert receipt.python == str(second)


def test_an_interpreter_that_changed_and_still_fits_is_kept(making: Making) -> None:
    prefix = making.hydrate()
    receipt = json.loads((prefix / RECEIPT).read_text())
    (prefix / RECEIPT).write_text(json.dumps({**receipt, "python_file": [1, 2, 3]}))
    assert making.find() is None
    assert making.hydrate(installer=Never()) == prefix
    assert making.find() == prefix
    assert json.loads((prefix / RECEIPT).read_text())["python_file"] == receipt["python_file"]


def test_an_interpreter_that_changed_and_fits_no_more_is_replaced(making: Making, tmp_path: Path) -> None:
    class Refusing(MachinePythons):
        def still_serves(self, lock: Lock, path: Path) -> Interpreter | None:
            return None

    prefix = making.hydrate()
    receipt = json.loads((prefix / RECEIPT).read_text())
    (prefix / RECEIPT).write_text(json.dumps({**receipt, "python_file": [1, 2, 3]}))
    log = tmp_path / "installs"
    assert making.hydrate(installer=CountingInstaller(log), pythons=Refusing()) == prefix
    assert len(log.read_text().splitlines()) == 1
    assert missing_files(prefix) == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "another wheel", "gone"])
@pytest.mark.parametrize("warm", [False, True])
def test_a_changed_wheel_is_named_and_nothing_is_left(making: Making, damage: str, warm: bool) -> None:
    if warm:
        shutil.rmtree(making.hydrate())
    package = making.lock.packages[1]
    path = making.file_of(package)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "truncated":
        del data[-20:]
    elif damage == "empty":
        data.clear()
    elif damage == "another wheel":
        data = bytearray(making.file_of(making.lock.packages[0]).read_bytes())
    path.write_bytes(data)
    if damage == "gone":
        path.unlink()
    with pytest.raises(ChangedArtifact) as caught:
        making.hydrate()
    assert caught.value.exit_status == 3
    assert "`package-1` 1.0" in caught.value.message
    assert package.sha256 in caught.value.render()
    assert str(path) in caught.value.render()
    assert remains(making.environments) == []
    assert making.find() is None


def test_a_change_that_keeps_the_time_of_the_file_is_seen(making: Making) -> None:
    """uv takes what it unpacked before only while the kernel saw no change of the file, whatever time that has."""
    shutil.rmtree(making.hydrate())
    path = making.file_of(making.lock.packages[2])
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ChangedArtifact, match="package-2"):
        making.hydrate()
    assert remains(making.environments) == []


def test_what_uv_says_is_passed_on(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(MachinePythons):
        def provide(self, lock: Lock) -> Interpreter:
            return Interpreter(Path("/no/such/python"), f"{SERIES}.0")

    with pytest.raises(InstallFailed) as caught:
        making.hydrate(pythons=Wrong())
    assert "/no/such/python" in caught.value.render()
    assert remains(making.environments) == []


def test_a_wheel_for_a_newer_system_is_reported(tmp_path: Path) -> None:
    machine = os.uname().machine
    tag = f"macosx_99_0_{machine}" if sys.platform == "darwin" else f"manylinux_2_99_{machine}"
    making = Making(tmp_path, count=2, tag=f"py3-none-{tag}")
    making.write_artifacts()
    with pytest.raises(UnfitForMachine) as caught:
        making.hydrate()
    said = caught.value.render()
    assert f"package_0-1.0-py3-none-{tag}.whl does not run here" in said
    assert f"[envlock.system-requirements.{host_arch()}]" in said
    assert remains(making.environments) == []


def test_settings_of_the_user_change_nothing(making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uv.toml").write_text("[pip]\nno-binary = [':all:']\n")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "UV_PYTHON": "3.6",
        "UV_NO_BINARY": "1",
        "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
        "UV_TARGET": str(tmp_path / "target"),
        "UV_LINK_MODE": "symlink",
        "PYTHONHOME": "/nowhere",
        "PYTHONPATH": "/nowhere",
        "PIP_TARGET": str(tmp_path / "target"),
        "VIRTUAL_ENV": str(tmp_path / "venv"),
    }.items():
        monkeypatch.setenv(name, value)
    prefix = making.hydrate()
    monkeypatch.delenv("PYTHONHOME")
    assert missing_files(prefix) == []
    assert not [path for path in prefix.glob("lib/*/site-packages/package_0/*") if path.is_symlink()]


def test_a_home_with_any_character_that_a_path_may_have_serves(tmp_path: Path) -> None:
    making = Making(tmp_path / 'it\'s "quoted" $HOME `x` back\\slash %20 #ü', count=1)
    making.write_artifacts()
    prefix = making.hydrate()
    assert run(prefix, "command-0") == "package-0 1.0"
    entered = activated(str(prefix), os.environ)
    assert Path(str(shutil.which("python", path=entered["PATH"]))) == prefix / "bin" / "python"


@pytest.mark.parametrize(("folder", "shown"), [("a:b", ":"), ("a\nb", r"\n"), ("a\x1bb", r"\x1b")])
def test_a_home_that_no_path_can_hold_is_refused(tmp_path: Path, folder: str, shown: str) -> None:
    making = Making(tmp_path / folder, count=0)
    with pytest.raises(UnfitPrefix) as caught:
        making.hydrate(installer=Never())
    assert caught.value.render().startswith(f"error[unfit-prefix]: the environment's path contains `{shown}`")
    assert remains(making.environments) == []


def test_a_folder_that_cannot_be_written_is_an_error(making: Making, tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.touch()
    with pytest.raises(HydrateError) as caught:
        making.hydrate(home=blocked)
    assert caught.value.code == "home-unusable"
    assert str(blocked) in caught.value.render()


def test_an_interrupt_does_not_wait_for_files_that_are_being_hashed(making: Making, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(8 << 30)  # sparse: seconds to hash, and no room on the disk

    class Interrupted(UvInstaller):
        def install(self, *_: object) -> None:
            raise KeyboardInterrupt

    source = SimpleNamespace(fetch=lambda artifacts: {each.sha256: large for each in artifacts})
    conda = replace(making.lock, packages=tuple(replace(each, kind="conda") for each in making.lock.packages))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hydrate(conda, source, tmp_path, pythons=MachinePythons(), installer=Interrupted())
    assert time.monotonic() - began < 5
    assert remains(making.environments) == []


def test_the_variables_of_a_lock_are_in_its_prefix_and_a_wheel_cannot_bring_them(tmp_path: Path) -> None:
    making = Making(tmp_path, count=1)
    making.write_artifacts()
    asked = making.lock.requirements._replace(variables=(("MODE", "quick"),))
    prefix = making.hydrate(lock=replace(making.lock, requirements=asked))
    assert activated(str(prefix), {})["MODE"] == "quick"
    assert "MODE" not in activated(str(making.hydrate()), {})
    assert is_reserved(".envlock-variables.json")
