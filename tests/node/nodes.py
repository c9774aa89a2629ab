"""A node in a folder: a cache with a plan, a code package with a manifest, a home, and tasks that start there."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import rattler
import uv

from envlock.cache.layout import environment_place, kit_path, package_path
from envlock.cache.plan import (
    CondaTools,
    Pack,
    Part,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    PlanTools,
    PythonBuild,
)
from envlock.interpreters import find_interpreter, machine_series
from envlock.lockfile.document import render
from envlock.model.lock import Lock
from envlock.remote.kernel import KERNEL_NAME, kernel
from metaflow_extensions.envlock.plugins.node import make, stage, start, transport
from metaflow_extensions.envlock.plugins.node import prepare as module
from metaflow_extensions.envlock.plugins.node.manifest import Manifest, parse
from metaflow_extensions.envlock.plugins.node.report import Reporter
from tests.hydration.builds import SERIES, VERSION
from tests.node import task
from tests.node.packs import Part as MadePart

TASK = Path(task.__file__)
FLOW = "DemoFlow"
UV_WHEEL = "uv-1.0-py3-none-manylinux_2_17_x86_64.whl"


def stored(cache: Path, path: str, data: bytes | Path) -> PlanFile:
    """Put a file into a cache."""
    place = cache / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, Path):
        if not place.exists():
            try:
                os.link(data, place)
            except OSError:  # temporary files are on another disk
                shutil.copyfile(data, place)
    else:
        place.write_bytes(data)
    return PlanFile(path, place.stat().st_size, Path(path).parent.name)


def kit_file(cache: Path, data: bytes | Path, filename: str) -> PlanFile:
    sha256 = hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else _sha256_of(data)
    return stored(cache, kit_path(sha256, filename), data)


@functools.cache
def _sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def uv_wheel(path: Path) -> Path:
    """This machine's uv in a wheel, as the kit has it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.write(uv.find_uv_bin(), "uv-1.0.data/scripts/uv")
        archive.writestr("uv-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n")
    return path


class Said(Reporter):
    """Remembers what a node says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def said(self, text: str) -> None:
        self.lines.append(text)


@dataclass(frozen=True)
class Node:
    """A node whose cache has the packages of a lock of wheels."""

    folder: Path
    making: Any
    """A Making, or a CondaMaking."""
    kit: Path
    """The wheel of uv."""
    image: tuple[tuple[int, int | None], ...] | None = ((0, None),)
    build: Path | None = None
    """An archive of the Python that runs this."""
    system: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the manifest says of nodes."""

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def task(self) -> Path:
        return self.folder / "task"

    @property
    def prefix(self) -> Path:
        return self.home / "environments" / self.lock.prefix_name

    @property
    def lock(self) -> Lock:
        return self.making.lock

    @cached_property
    def plan(self) -> Plan:
        """The plan, which is in the cache with all that it names."""
        data = {next(release.artifacts()).sha256: next(release.artifacts()).data for release in self.making.releases}
        packages = tuple(
            PlanPackage(
                "wheel",
                each.name,
                each.version,
                stored(self.cache, package_path(each.sha256, each.filename), data[each.sha256]),
            )
            for each in self.lock.pypi_packages
        )
        build = None
        if self.build is not None:
            archive = kit_file(self.cache, self.build, "cpython.tar.gz")
            series = self.lock.python.series
            build = PythonBuild(archive, VERSION, f"python/bin/python{series}")
        plan = Plan(
            environment_place(self.lock),
            PlanPython(self.lock.python.series, self.image, build),
            self.system,
            PlanTools(kit_file(self.cache, self.kit, UV_WHEEL)),
            packages,
        )
        self.write_plan(plan)
        return plan

    def has_had(self, unpacked: Path) -> Node:
        """This node, after another environment: the kit's uv is there, as `unpacked` has it."""
        tool = self.home / "tools" / Path(self.plan.tools.uv.path).parent.name
        if not tool.exists():
            shutil.copytree(unpacked, tool, copy_function=os.link)
        return self

    def write_plan(self, plan: Plan) -> None:
        path = self.cache / "plans" / plan.environment.arch / plan.environment.req_id / plan.environment.full_id
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{plan.sha256}.json").write_bytes(plan.render())

    @property
    def fields(self) -> dict[str, Any]:
        """The manifest, as it is written."""
        lock = self.lock
        return {
            "format": 1,
            "flow": FLOW,
            "cache": "s3://team/envlock",
            "node": dict(self.options),
            "environments": [[lock.arch, lock.req_id, lock.full_id, self.plan.sha256]],
            "steps": {"train": 0, "join": None},
        }

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, which is in the code package too."""
        data = json.dumps(self.fields).encode()
        meta = self.task / ".mf_meta"
        meta.mkdir(parents=True, exist_ok=True)
        (meta / "envlock.json").write_bytes(data)
        return parse(data)

    def environ(self, **more: str) -> dict[str, str]:
        """The variables of a task."""
        return {
            "PATH": "/usr/bin:/bin",
            "METAFLOW_EXTRACTED_ROOT": str(self.task),
            "MF_PATHSPEC": f"{FLOW}/7/train/1",
            "ENVLOCK_HOME": str(self.home),
            **more,
        }

    def prepare(self, monkeypatch: pytest.MonkeyPatch, said: Said | None = None, **environ: str) -> module.Entered:
        """Prepare the environment in this process."""
        manifest = self.manifest
        with monkeypatch.context() as patch:
            patch.chdir(self.task)
            patch.setattr(transport, "open_transport", transport.open_transport)
            patch.setattr(make, "fetch", task.use(str(self.cache)))
            patch.setattr(make, "unpack", task.noted(str(self.cache), make.unpack))
            patch.setattr(stage, "remove_in_background", stage.remove)
            entered = module.prepare(manifest, "train", self.environ(**environ), said or Said())
        assert entered is not None
        return entered

    def run(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], step: str = "train", **environ: str
    ) -> tuple[int, str]:
        """Run a task's command in this process: its exit status, and what it says."""
        assert self.manifest
        with monkeypatch.context() as patch:
            patch.chdir(self.task)
            for name, value in self.environ(**environ).items():
                patch.setenv(name, value)
            patch.setattr(transport, "open_transport", transport.open_transport)
            patch.setattr(make, "fetch", task.use(str(self.cache)))
            patch.setattr(make, "unpack", task.noted(str(self.cache), make.unpack))
            patch.setattr(stage, "remove_in_background", stage.remove)
            status = start.start([FLOW, step])
        return status, capsys.readouterr().err

    def fetched(self) -> int:
        """How often packages were fetched."""
        try:
            return len((self.cache / "fetched").read_text().splitlines())
        except FileNotFoundError:
            return 0

    def command(self, step: str = "train", python: str | None = None) -> list[str]:
        return [python or sys.executable, str(TASK), str(self.cache), FLOW, step]

    def start(self, step: str = "train", python: str | None = None, **environ: str) -> subprocess.Popen[str]:
        """Start a task, in a process of its own."""
        assert self.manifest
        return subprocess.Popen(
            self.command(step, python),
            cwd=self.task,
            env=self.environ(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def shell(self, program: str, shell: str = "bash", **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a shell that has read `enter.sh`."""
        return subprocess.run(
            [shell, "-c", f". ./.envlock/enter.sh && {program}"],
            cwd=self.task,
            env=self.environ(**environ),
            capture_output=True,
            text=True,
            check=False,
        )


@dataclass(frozen=True)
class CondaNode(Node):
    """A node whose cache has the packages of a lock of conda packages."""

    rattler: Path = Path()
    """The wheel of py-rattler."""

    @cached_property
    def plan(self) -> Plan:
        """The plan, which is in the cache with all that it names."""
        packages = tuple(
            PlanPackage(
                "conda" if each.conda else "wheel",
                each.name,
                each.version,
                stored(self.cache, package_path(each.sha256, each.filename), self.making.archives[each.sha256]),
            )
            for each in self.lock.packages
        )
        assert self.build is not None
        archive = kit_file(self.cache, self.build, "cpython.tar.gz")
        python = PythonBuild(archive, VERSION, f"python/bin/python{SERIES}")
        tools = CondaTools(
            (kit_file(self.cache, self.rattler, "py_rattler-1.0-py3-none-any.whl"),),
            kit_file(self.cache, kernel(), KERNEL_NAME),
            python,
        )
        plan = Plan(
            environment_place(self.lock),
            PlanPython(self.lock.python.series),
            (),
            PlanTools(kit_file(self.cache, self.kit, UV_WHEEL), tools),
            packages,
            render(replace(self.lock, asked_by=(), resolved_by="", resolved_at="")),
        )
        self.write_plan(plan)
        return plan


@dataclass(frozen=True)
class PackedNode(Node):
    """A node whose cache has a pack of the packages, too."""

    parts: tuple[MadePart, ...] = ()
    zstd: Path | None = None
    """The wheel of backports.zstd."""

    @cached_property
    def plan(self) -> Plan:
        return with_pack(self, Node.plan.func(self), self.parts, zstd=self.zstd)


@dataclass(frozen=True)
class PackedCondaNode(CondaNode):
    """A node whose cache has a pack of conda packages, too."""

    parts: tuple[MadePart, ...] = ()
    placeholder: str = ""

    @cached_property
    def plan(self) -> Plan:
        return with_pack(self, CondaNode.plan.func(self), self.parts, self.placeholder)


def with_pack(
    node: Node, plan: Plan, parts: Iterable[MadePart], placeholder: str = "", zstd: Path | None = None
) -> Plan:
    """A plan with a pack, which is in the node's cache with its parts."""
    named = []
    for part in parts:
        file = stored(node.cache, part.path, part.data)._replace(size=part.fields["size"], sha256=part.fields["sha256"])
        named.append(Part(file, part.fields["raw_size"], part.fields["raw_sha256"]))
    tools = plan.tools
    if zstd is not None:
        tools = tools._replace(zstd=kit_file(node.cache, zstd, "backports_zstd-1.0-cp312-cp312-any.whl"))
    packed = replace(plan, tools=tools, pack=Pack(f"{node.lock.python.series}.9", placeholder, tuple(named)))
    node.write_plan(packed)
    return packed


def let_go(node: Node, monkeypatch: pytest.MonkeyPatch, used: float | None = None, **environ: str) -> None:
    """Prepare an environment, and end the task; `used` is when that was, in seconds."""
    entered = node.prepare(monkeypatch, **environ)
    assert entered.lock is not None
    os.close(entered.lock)
    if used is not None:
        os.utime(node.home / "kept" / f"environments-{node.lock.prefix_name}", (used, used))


def rattler_wheel(path: Path) -> Path:
    """This machine's py-rattler in a wheel, as the kit has it."""
    folder = Path(rattler.__file__).parent
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                archive.write(file, f"rattler/{file.relative_to(folder)}")
    return path


OF_ONE_INSTALLATION = (".envlock.json", "uv_cache.json", "direct_url.json")


def tree_of(prefix: Path) -> dict[str, str]:
    """Each file of a prefix with its mode and its bytes' hash, each link with its target.

    Left out is what no two installations have in common: bytecode, receipts, what uv notes of a wheel's path and time,
    and the lines of RECORDs about that.
    """
    found = {}
    for path in sorted(prefix.rglob("*")):
        name = path.relative_to(prefix).as_posix()
        if path.is_symlink():
            found[name] = f"link {path.readlink()}"
        elif path.is_file() and path.suffix != ".pyc" and path.name not in OF_ONE_INSTALLATION:
            data = path.read_bytes()
            if path.name == "RECORD":
                rows = data.splitlines(keepends=True)
                data = b"".join(row for row in rows if not any(each.encode() in row for each in OF_ONE_INSTALLATION))
            found[name] = f"{path.stat().st_mode:o} {hashlib.sha256(data).hexdigest()}"
    return found


def oldest_python() -> str:
    """CPython 3.8, the oldest of which an image may be. Skips the test where there is none."""
    if "3.8" not in machine_series():
        pytest.skip("this machine has no Python 3.8")
    return str(find_interpreter("3.8", lambda _: True).path)


def wheel_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()
