"""The kernel: one file that makes conda environments on a node, as envlock makes them on this machine."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import rattler
import uv

from envlock.activation import RECEIPT
from envlock.cache.layout import package_path
from envlock.model.arch import ARCHS, Arch
from envlock.model.artifact import Artifact, artifacts_of
from envlock.model.lock import Lock, LockedPackage
from envlock.remote import kernel as kernel_module
from envlock.remote import on_node
from envlock.remote.kernel import KERNEL_NAME, MODULES, OF_SHIM, OUTSIDE, SHIM, kernel
from tests.channel import Channel, data_package
from tests.hydration.conda_making import CondaMaking, wheels
from tests.remote.kits import conda_plan
from tests.support import wait_until

BUDGET = 1_050_000
"""Bytes of the kernel."""


@dataclass(frozen=True)
class Node:
    """A machine with an interpreter that has nothing installed, and the kit beside it."""

    folder: Path
    python: Path

    def environ(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(self.folder / "uv-cache")}

    def command(self, making: CondaMaking, plan: Mapping[str, Any], **options: Any) -> list[str]:
        """Lay out what a node has fetched, and the command line that makes the environment of it."""
        (self.folder / KERNEL_NAME).write_bytes(kernel())
        (self.folder / "plan.json").write_text(json.dumps(plan, sort_keys=True, separators=(",", ":")) + "\n")
        rattler_folder = self.folder / "rattler"
        if not rattler_folder.exists():
            rattler_folder.mkdir()
            (rattler_folder / "rattler").symlink_to(Path(rattler.__file__).parent)
        stage = making.prefix.parent / ".stages" / f"{making.prefix.name}.0" / "new"
        stage.mkdir(parents=True)
        arguments = {
            "plan": self.folder / "plan.json",
            "files": self.folder,
            "stage": stage,
            "place": making.prefix,
            "unpacked": making.unpacked,
            "uv": uv.find_uv_bin(),
            "rattler": rattler_folder,
            **options,
        }
        return [
            *(str(self.python), "-I", str(self.folder / KERNEL_NAME)),
            *(part for name, value in arguments.items() for part in (f"--{name}", str(value))),
        ]

    def run(self, making: CondaMaking, plan: Mapping[str, Any] | None = None, **options: Any) -> Result:
        done = subprocess.run(
            self.command(making, plan or planned(making.lock), **options),
            env=self.environ(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.stdout == ""
        return Result(done.returncode, done.stderr.splitlines())


def in_process(node: Node, making: CondaMaking, plan: Mapping[str, Any] | None = None, **options: Any) -> Result:
    """As `Node.run`, for what ends before py-rattler is called: in this process, which has it already."""
    command = node.command(making, plan or planned(making.lock), **options)
    said = io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    path = list(sys.path)
    try:
        with redirect_stderr(said):
            status = on_node.main(command[3:])
    finally:
        sys.path[:] = path
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Result(status, said.getvalue().splitlines())


@dataclass(frozen=True)
class Result:
    status: int
    said: list[str]

    @property
    def error(self) -> str:
        """The code of the error on the last line."""
        return self.said[-1].removeprefix("error[").partition("]")[0]


def planned(lock: Lock) -> dict[str, Any]:
    """The document of the plan of an environment."""
    return dict(json.loads(conda_plan(lock).render()))


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin" / "python"


@pytest.fixture
def node(tmp_path: Path, bare_python: Path) -> Node:
    return Node(tmp_path, bare_python)


class Fetched(CondaMaking):
    """Its packages lie where a node has fetched them to: below its place, laid out as the cache is."""

    def fetch(self, artifacts: Sequence[Artifact]) -> Mapping[str, Path]:
        files = {each.sha256: self.place / package_path(each.sha256, each.filename) for each in artifacts}
        for sha256, path in files.items():
            if not path.exists():
                data = self.archives[sha256]
                path.parent.mkdir(parents=True)
                path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
        return files

    def fetched(self) -> Fetched:
        self.fetch(artifacts_of(self.lock))
        return self


def tree(prefix: Path) -> dict[str, tuple[str, int, str]]:
    """Everything below a prefix: its kind, its mode, and its bytes or where it leads. Receipts aside."""
    found = {}
    for path in sorted(prefix.rglob("*")):
        name, status = str(path.relative_to(prefix)), path.lstat()
        if path.is_symlink():
            found[name] = ("link", 0, str(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", stat.S_IMODE(status.st_mode), "")
        elif name != RECEIPT:
            found[name] = ("file", stat.S_IMODE(status.st_mode), hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@pytest.mark.parametrize("count", [0, 2], ids=["conda", "mixed"])
def test_a_bare_interpreter_makes_the_environment_that_envlock_makes(node: Node, channel: Channel, count: int) -> None:
    channel.need()
    making = Fetched(node.folder, ("speak", "click", "greets"), wheels=wheels(count))
    here = tree(making.hydrate())
    shutil.rmtree(making.environments)
    ran = node.run(making)
    assert ran.status == 0, ran.said
    assert tree(making.prefix) == here
    assert not (making.prefix / RECEIPT).exists()
    (noted,) = (line for line in ran.said if "link script" in line)
    assert noted.endswith("and the next deployment of the flow then makes the environment again")


def test_what_a_node_chooses_is_done_at_the_place(node: Node, channel: Channel) -> None:
    channel.need()
    making = Fetched(node.folder, ("speak", "greets"), link_scripts=("greets",))
    here = tree(making.hydrate())
    shutil.rmtree(making.environments)
    chosen = {"compile-bytecode": True, "link-scripts": ["greets"], "keep": 1}
    ran = node.run(making, options=json.dumps(chosen))
    assert ran.status == 0, ran.said
    there = tree(making.prefix)
    compiled = {name for name in there.keys() - here.keys() if "__pycache__" in name}
    assert any(name.endswith(".pyc") for name in compiled)
    assert {name: each for name, each in there.items() if name not in compiled} == here


@pytest.mark.parametrize(
    "changes",
    [
        {"full_id": "0" * 40},
        {"arch": "osx-64"},
        {"lock": "lock-version = 1"},
        {"lock": None},
        {"packages": []},
        {"packages": None},
        {"more": 1},
    ],
    ids=["another environment", "another arch", "no lock of ours", "no text", "no packages", "no list", "more"],
)
def test_a_plan_that_is_not_as_it_was_written_is_refused(node: Node, channel: Channel, changes: dict[str, Any]) -> None:
    channel.need()
    making = Fetched(node.folder)
    found = in_process(node, making, {**planned(making.lock), **changes})
    assert (found.status, found.error) == (3, "plan-damaged")
    assert str(node.folder / "plan.json") in found.said[-1]


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd"])
def test_a_path_that_leads_out_is_refused(node: Node, channel: Channel, path: str) -> None:
    channel.need()
    making = Fetched(node.folder).fetched()
    plan = planned(making.lock)
    plan["packages"][0]["path"] = path
    found = in_process(node, making, plan)
    assert (found.status, found.error) == (3, "plan-damaged")


def test_a_package_that_is_not_there_is_named(node: Node, channel: Channel) -> None:
    channel.need()
    making = Fetched(node.folder).fetched()
    package = making.named("python")
    gone = node.folder / package_path(package.sha256, package.filename)
    gone.unlink()
    found = in_process(node, making)
    assert (found.status, found.error) == (3, "changed-artifact")
    assert str(gone) in found.said[-1]


@pytest.mark.parametrize(
    ("place", "code"),
    [("a:b", "unfit-prefix"), ("it's", "unfit-prefix"), ("x" * 250, "prefix-too-long")],
    ids=["colon", "quote", "long"],
)
def test_a_place_where_it_would_not_work_is_refused(node: Node, channel: Channel, place: str, code: str) -> None:
    channel.need()
    found = in_process(node, Fetched(node.folder).fetched(), place=node.folder / place)
    assert (found.status, found.error) == (5, code)


def test_a_lock_of_another_arch_is_refused(node: Node, channel: Channel) -> None:
    channel.need()
    making = Fetched(node.folder).fetched()
    other = next(arch for arch in ARCHS if arch != making.lock.arch)
    lock = replace(making.lock, arch=other, packages=tuple(_of(other, package) for package in making.lock.packages))
    found = in_process(node, making, planned(lock))
    assert (found.status, found.error) == (5, "foreign-arch")


def _of(arch: Arch, package: LockedPackage) -> LockedPackage:
    assert package.conda is not None
    if package.conda.subdir == "noarch":
        return package
    url = package.url.replace(f"/{package.conda.subdir}/", f"/{arch}/")
    return replace(package, url=url, conda=replace(package.conda, subdir=arch))


def test_what_an_image_has_installed_does_not_get_in_its_way(node: Node, channel: Channel, tmp_path: Path) -> None:
    """Its Python may even have imported some of it already, for a `.pth` file or a `sitecustomize`."""
    channel.need()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "image"], check=True)
    (site,) = (tmp_path / "image").glob("lib/python3*/site-packages")
    names = (*OUTSIDE, "envlock", "rattler")
    for name in names:
        (site / name).mkdir()
        (site / name / "__init__.py").touch()
    (site / "early.pth").write_text(f"import {', '.join(names)}\n")
    image = replace(node, python=tmp_path / "image" / "bin" / "python")
    ran = image.run(Fetched(node.folder, ("click",), wheels=wheels(1)).fetched())
    assert ran.status == 0, ran.said


def test_what_fails_at_the_place_leaves_nothing_there(node: Node, channel: Channel) -> None:
    channel.need()
    making = Fetched(
        node.folder, own=(data_package("fails", "1.0", {"bin/.fails-post-link.sh": "exit 3\n"}),)
    ).fetched()
    ran = node.run(making, options=json.dumps({"link-scripts": ["fails"]}))
    assert (ran.status, ran.error) == (5, "link-script-failed")
    assert not making.prefix.exists()


def test_a_home_that_cannot_be_written_is_an_error(node: Node, channel: Channel) -> None:
    channel.need()
    in_the_way = node.folder / "file"
    in_the_way.touch()
    found = in_process(node, Fetched(node.folder).fetched(), unpacked=in_the_way / "unpacked")
    assert (found.status, found.error) == (5, "home-unusable")


def test_uv_that_does_not_start_is_an_error(node: Node, channel: Channel) -> None:
    channel.need()
    found = node.run(Fetched(node.folder, wheels=wheels(1)).fetched(), uv=node.folder / "nothing")
    assert (found.status, found.error) == (5, "home-unusable")


def test_a_signal_ends_it_and_leaves_nothing_at_the_place(node: Node, channel: Channel) -> None:
    channel.need()
    slow = data_package("slow", "1.0", {"bin/.slow-post-link.sh": "echo > $PREFIX/began; sleep 60\n"})
    making = Fetched(node.folder, own=(slow,)).fetched()
    command = node.command(making, planned(making.lock), options=json.dumps({"link-scripts": ["slow"]}))
    with subprocess.Popen(command, env=node.environ(), stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: (making.prefix / "began").exists())
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in said) == (143, False)
    assert not making.prefix.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent ended")
def test_it_ends_with_the_process_that_started_it(node: Node, channel: Channel) -> None:
    """The lock of the place is free then, and whoever takes it finds nobody at work there."""
    channel.need()
    slow = data_package("slow", "1.0", {"bin/.slow-post-link.sh": "echo > $PREFIX/began; sleep 60\n"})
    making = Fetched(node.folder, own=(slow,)).fetched()
    command = node.command(making, planned(making.lock), options=json.dumps({"link-scripts": ["slow"]}))
    code = "import subprocess, sys; subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL)"
    began = making.prefix / "began"
    with subprocess.Popen([sys.executable, "-c", code, *command], env=node.environ()) as parent:
        wait_until(began.exists)
        parent.kill()
    wait_until(lambda: not making.prefix.exists())


def test_options_that_are_no_object_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        on_node.main(["--options", "[1]"])
    assert (ended.value.code, "--options" in capsys.readouterr().err) == (2, True)


def test_the_kernel_has_the_same_bytes_wherever_its_modules_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = kernel()
    site = tmp_path / "site"
    shutil.copytree(Path(kernel_module.__file__).parent.parent, site / "envlock", copy_function=copied_later)
    for package in (*OUTSIDE, SHIM):
        place = site.joinpath(*package.split("."))
        shutil.copytree(kernel_module._folder_of(package), place, copy_function=copied_later)
    code = "import sys; from envlock.remote.kernel import kernel; sys.stdout.buffer.write(kernel())"
    environ = {"PYTHONPATH": str(site), "PYTHONPYCACHEPREFIX": str(tmp_path / "elsewhere"), "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == made


def copied_later(source: str, to: str) -> None:
    """As a copy that was made at another time, with other permissions."""
    shutil.copyfile(source, to)
    os.utime(to, (1, 1))
    Path(to).chmod(0o600)


def test_the_kernel_holds_source_alone_and_stays_small() -> None:
    with zipfile.ZipFile(io.BytesIO(kernel())) as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
    assert {Path(each.filename).suffix for each in entries} == {".py"}
    assert {each.date_time for each in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert [each.filename for each in entries] == sorted(each.filename for each in entries)
    assert len(kernel()) < BUDGET


def test_the_kernel_holds_what_its_entry_imports_and_no_more() -> None:
    """Imports within functions count: a node that comes upon one has no other place to look."""
    reached = all_imported("envlock.remote.on_node")
    ours = {name for name in reached if name.partition(".")[0] == "envlock"}
    assert {
        f"envlock.{folder}.{name}".replace("..", ".").removesuffix(".__init__")
        for folder, names in MODULES.items()
        for name in names.split()
    } == ours
    of_shim = {f"{SHIM}.{name}".removesuffix(".__init__") for name in OF_SHIM.split()}
    assert {name for name in reached if name.startswith(SHIM)} == of_shim
    theirs = {name.partition(".")[0] for name in reached} - {"envlock", "metaflow_extensions"}
    theirs -= {*sys.stdlib_module_names, "_sha2", "_sha256"}  # Python's own, from 3.12 on and before
    assert theirs == {*OUTSIDE, "rattler", "uv"}  # the kit has py-rattler, and uv is an executable that is given


def all_imported(*entries: str) -> set[str]:
    """Every module that these import, directly or not; of others' packages, only those that the kernel holds."""
    waiting, reached = list(entries), set[str]()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        source = source_of(name)
        if source is None and name.rpartition(".")[0] and source_of(name.rpartition(".")[0]) is not None:
            continue  # a name of a module, not a module
        reached.add(name)
        waiting += [name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1)]
        if source is not None:
            package = name if source.name == "__init__.py" else name.rpartition(".")[0]
            waiting += imports_in(ast.parse(source.read_text()), package)
    return reached


def source_of(name: str) -> Path | None:
    top, *below = name.split(".")
    if name.startswith(SHIM):
        top, below = SHIM, name.removeprefix(SHIM).split(".")[1:]
    elif top not in {"envlock", *OUTSIDE}:
        return None
    path = kernel_module._folder_of(top).joinpath(*below)
    return next((each for each in (path / "__init__.py", path.with_suffix(".py")) if each.is_file()), None)


def imports_in(node: ast.AST, package: str) -> Iterator[str]:
    """The modules, and the names in them, that a syntax tree imports when it runs."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for each in node.orelse:
            yield from imports_in(each, package)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*parts, *([node.module] if node.module else [])])
        yield module
        if source_of(module) is not None:
            yield from (f"{module}.{alias.name}" for alias in node.names)
    for each in ast.iter_child_nodes(node):
        yield from imports_in(each, package)
