"""What tests share that is no fixture: the real command, project folders, and machines without settings."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from envlock.model.arch import ARCHS, Arch, host_arch
from envlock.model.conda_requirement import CondaRequirement, parse_conda_requirement
from tests import forked
from tests.index import Index

ENVLOCK = Path(sys.executable).with_name("envlock")
TIMEOUT = 120.0

TWO_ARCHS: tuple[Arch, ...] = (host_arch(), "osx-arm64" if host_arch() != "osx-arm64" else "linux-64")
"""This machine's arch, and one of another system: what is locked where a test says nothing of archs."""

_LEAKY = (
    *("UV_", "PIP_", "METAFLOW_", "ENVLOCK_", "XDG_", "CONDA_", "GITHUB_", "AWS_", "AZURE_", "GOOGLE_", "FSSPEC_"),
    *("VIRTUAL_ENV", "NETRC", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "MACOSX_DEPLOYMENT_TARGET"),
)

# Runs the command with an audit hook that notes what it does to the machine, one event a line.
_WATCH = """
import os, sys
note = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
EFFECTS = {f"os.{name}" for name in "mkdir rename remove rmdir chmod utime link symlink truncate".split()}
STARTS = {"subprocess.Popen", "os.posix_spawn", "os.fork", "os.exec", "os.system"}
TALKS = {"socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
def watch(event, details):
    if event == "open":
        path, mode, flags = details
        kind = "write" if flags & WRITES and path != os.devnull else None
    else:
        kind = "write" if event in EFFECTS else "start" if event in STARTS else "talk" if event in TALKS else None
    if kind:
        os.write(note, f"{kind} {event} {details[:2]!r}\\n".encode())
sys.addaudithook(watch)
from envlock.__main__ import main
sys.exit(main())
"""


def _is_known(host: str) -> bool:
    try:
        socket.getaddrinfo(host, 80)
    except OSError:
        return False
    return True


needs_localhost = pytest.mark.skipif(
    not _is_known("localhost"), reason="`localhost` is this machine's second name, and it has no /etc/hosts"
)


def conda_requirements(*texts: str) -> tuple[CondaRequirement, ...]:
    """What people write in a line each, as requirements of conda packages."""
    return tuple(map(parse_conda_requirement, texts))


@dataclass(frozen=True)
class Ran:
    """What a command said, and how it ended."""

    status: int
    stdout: str
    stderr: str
    effects: tuple[str, ...] = ()
    """What it did to the machine, where it was watched: lines that begin with `write`, `start` or `talk`."""

    @property
    def json(self) -> Any:
        """stdout, read as JSON."""
        return json.loads(self.stdout)

    @property
    def moved(self) -> set[str]:
        """The rows of `lock`'s table, as words: `alpha 2.0 2.1 upgraded`, `beta 1.0 added linux-64`."""
        _, _, rows = self.stdout.partition("\npackage ")
        return {" ".join(row.split()) for row in rows.partition("\n\n")[0].splitlines()[1:]}

    @property
    def text(self) -> str:
        """Everything it said."""
        return self.stdout + self.stderr


def run_envlock(
    *arguments: str,
    cwd: Path,
    check: bool | int = True,
    env: Mapping[str, str] | None = None,
    notes: Path | None = None,
) -> Ran:
    """Run the real command in a folder, with `env` over the environment.

    `check` is the exit status to insist on: True for 0, False for any. No command may ever end in a traceback. With
    `notes`, a file that is not there yet, the command is watched.
    """
    variables = {**os.environ, **(env or {})}
    if notes is None and forked.wanted(variables):
        ran = Ran(*forked.forks().run(arguments, cwd, variables, TIMEOUT))
    else:
        # Python's own bytecode is no effect of the command.
        command = [str(ENVLOCK)] if notes is None else [sys.executable, "-B", "-c", _WATCH, str(notes)]
        done = subprocess.run(
            [*command, *arguments],
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        effects = tuple(notes.read_text().splitlines()) if notes is not None else ()
        ran = Ran(done.returncode, done.stdout, done.stderr, effects)
    said = f"envlock {' '.join(arguments)} -> {ran.status}\n{ran.text}"
    assert "Traceback (most recent call last)" not in ran.text, said
    assert "this is a defect" not in ran.text, said
    if check is not False:
        assert ran.status == (0 if check is True else check), said
    return ran


@dataclass(frozen=True)
class ProjectFolder:
    """A folder with an envlock.toml that locks from a loopback index."""

    folder: Path
    index_url: str
    conda_python: str = "3.12"
    """The series of Python that `write_conda_env` asks for."""

    @classmethod
    def make(cls, folder: Path, index_url: str) -> ProjectFolder:
        """An empty project in a new folder."""
        folder.mkdir(parents=True)
        return cls(folder, index_url)

    @property
    def config(self) -> Path:
        """envlock.toml."""
        return self.folder / "envlock.toml"

    @property
    def lock_folder(self) -> Path:
        """envlock.lock."""
        return self.folder / "envlock.lock"

    @property
    def locks(self) -> tuple[Path, ...]:
        """Every lock file, sorted."""
        return tuple(sorted(self.lock_folder.glob("*/*/pylock.*.toml")))

    def lock_of(self, arch: str) -> Path:
        """The one lock of an arch."""
        (path,) = (self.lock_folder / arch).glob("*/pylock.*.toml")
        return path

    def write(self, tables: str, *, settings: str = "", archs: Sequence[str] | None = None) -> Path:
        """Write envlock.toml: an `[envlock]` table (index, settings, archs or `TWO_ARCHS`), then these tables."""
        lines = ["[envlock]"]
        if "index-url" not in settings:
            lines.append(f'index-url = "{self.index_url}"')
        if "metaflow-requirements" not in settings:
            lines.append("metaflow-requirements = false")
        if "archs" not in settings and (archs := TWO_ARCHS if archs is None else archs):
            lines.append(f"archs = {json.dumps(list(archs))}")
        if re.search(r'(?m)^cache = "[a-z0-9]+://', settings) and "remote = " not in settings:
            lines.append("remote = false")  # or a push into a bucket makes plans, whose kits the index has to have
        self.config.write_text("\n".join([*lines, settings, tables]) + "\n", encoding="utf-8")
        return self.config

    def write_env(
        self,
        *packages: str,
        name: str = "demo",
        python: str = "3.12",
        settings: str = "",
        archs: Sequence[str] | None = None,
        more: str = "",
    ) -> Path:
        """Write an envlock.toml with one named environment; `packages` are as in requirements files."""
        table = packages_table(*packages)
        text = f'[env.{name}.pypi]\npython = "{python}"\n{more}\n[env.{name}.pypi.packages]\n{table}'
        return self.write(text, settings=settings, archs=archs)

    def write_conda_env(
        self,
        *libraries: str,
        pypi: Sequence[str] = (),
        name: str = "demo",
        python: str | None = None,
        channels: Sequence[str] = ("conda-forge",),
        system: Mapping[str, str] | None = None,
        settings: str = "",
        archs: Sequence[str] | None = None,
        more: str = "",
    ) -> Path:
        """Write an envlock.toml with one named environment of conda `libraries`, and `pypi` packages if there are any.

        Both are as in requirements files (`numpy >=1.26`, `other::lower`); `system` becomes `sys_packages`, `more`
        further lines of the conda table.
        """
        series = self.conda_python if python is None else python
        tables = [f"[env.{name}.conda]", f"channels = {json.dumps(list(channels))}"]
        if series:
            tables.append(f'python = "{series}"')
        tables += [more, f"[env.{name}.conda.libraries]", libraries_table(*libraries)]
        if pypi:
            tables += [f"[env.{name}.pypi.packages]", packages_table(*pypi)]
        if "channels =" not in settings:  # these channels, and no others
            settings += "\nchannels = []"
        if system:
            tables += [f"[env.{name}.sys_packages.packages]"]
            tables += [f"{json.dumps(package)} = {json.dumps(version)}" for package, version in system.items()]
        return self.write("\n".join(tables), settings=settings, archs=archs)

    def edit(self, old: str, new: str) -> None:
        """Put a text into envlock.toml in the place of one that is there, once."""
        text = self.config.read_text(encoding="utf-8")
        assert old in text
        self.config.write_text(text.replace(old, new, 1), encoding="utf-8")

    def copy(self, folder: Path) -> ProjectFolder:
        """The same project, in a new folder."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def write_flow(self, name: str = "DemoFlow", *, steps: Sequence[str] = ("start", "train", "end")) -> Path:
        """Write a flow file with these steps in a line; returns its path, `<name in lower case>.py`."""
        lines = ["from metaflow import FlowSpec, step", "", "", f"class {name}(FlowSpec):"]
        for number, step in enumerate(steps):
            then = f"self.next(self.{steps[number + 1]})" if number + 1 < len(steps) else "pass"
            lines += ["    @step", f"    def {step}(self):", f"        {then}", ""]
        lines += ["", 'if __name__ == "__main__":', f"    {name}()", ""]
        path = self.folder / f"{name.lower()}.py"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file and folder below, with its inode, its time of change, and its bytes."""
        return snapshot(self.folder)

    def pins(self, arch: str = "linux-64") -> dict[str, str]:
        """What the one lock of an arch pins."""
        import tomli

        packages = tomli.loads(self.lock_of(arch).read_text())["packages"]
        return {package["name"]: package["version"] for package in packages}


def packages_table(*packages: str) -> str:
    """Requirements as the lines of a `packages` table.

    >>> print(packages_table("zeta[fast]>=1", "demo@https://index.example/demo-1-py3-none-any.whl"))
    "zeta[fast]" = ">=1"
    "demo@https://index.example/demo-1-py3-none-any.whl" = ""
    """
    lines = []
    for package in packages:
        name = package if "@" in package else re.match(r"[\w.-]+(\[[^]]*\])?", package)[0]  # type: ignore[index]
        lines.append(f"{json.dumps(name)} = {json.dumps(package.removeprefix(name).strip())}")
    return "\n".join(lines)


def libraries_table(*libraries: str) -> str:
    """Conda requirements as the lines of a `libraries` table.

    >>> print(libraries_table("numpy >=1.26,<2", "other::lower", "builds=1.4=py312*", "pip 24.3.1"))
    "numpy" = ">=1.26,<2"
    "other::lower" = ""
    "builds" = "=1.4=py312*"
    "pip" = "24.3.1"
    """
    lines = []
    for library in libraries:
        name = re.match(r"[^\s=<>!~]+", library)[0]  # type: ignore[index]
        lines.append(f"{json.dumps(name)} = {json.dumps(library.removeprefix(name).strip())}")
    return "\n".join(lines)


def get(url: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    """Status, bytes and headers of what a host answers, whatever the status."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def wait_until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds; fail where it never does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def own_project(tmp_path: Path, served: Index) -> ProjectFolder:
    """An empty project, in `tmp_path / "project"`, that locks from an index of the test's own."""
    return ProjectFolder.make(tmp_path / "project", served.url)


def all_pins(project: ProjectFolder) -> dict[str, dict[str, str]]:
    """What the locks of one environment pin, by arch."""
    return {arch: project.pins(arch) for arch in ARCHS}


def files_holding(secret: str, *folders: Path) -> set[Path]:
    """The files below these folders whose bytes contain a secret."""
    return {
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    }


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder below a folder, with its inode, its time of change, and its bytes."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_ino,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def share_bytecode(envlock_home: Path, bytecode: Path) -> None:
    """Let a home of envlock keep Metaflow's bytecode where all homes of the session do.

    Compiling Metaflow takes almost a second, for each home and each Python that runs a flow there.
    """
    bytecode.mkdir(exist_ok=True)
    envlock_home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (envlock_home / "bytecode").symlink_to(bytecode)


@contextmanager
def isolation(home: Path, uv_cache: Path) -> Iterator[None]:
    """A machine without settings: HOME and every folder of tools are `home`, and no variable of a tool is set."""
    before = dict(os.environ)
    pyenv = before.get("PYENV_ROOT") or f"{before.get('HOME', '')}/.pyenv"
    here = {
        "HOME": f"{home}",
        "ENVLOCK_HOME": f"{home}/envlock",
        "METAFLOW_HOME": f"{home}/metaflowconfig",
        "METAFLOW_DATASTORE_SYSROOT_LOCAL": f"{home}/metaflow",
        "METAFLOW_USER": "tester",
        "XDG_CACHE_HOME": f"{home}/cache",
        "XDG_CONFIG_HOME": f"{home}/config",
        "XDG_DATA_HOME": f"{home}/data",
        "XDG_STATE_HOME": f"{home}/state",
        "UV_CACHE_DIR": f"{uv_cache}",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    if os.path.isdir(pyenv):  # noqa: PTH112  interpreters lie below HOME there, and must be found still
        here["PYENV_ROOT"] = pyenv
    _become({**{name: value for name, value in before.items() if not name.upper().startswith(_LEAKY)}, **here})
    try:
        yield
    finally:
        _become(before)


def _become(variables: Mapping[str, str]) -> None:
    """Let these be all variables. Those that are the same already are left alone, since each test comes here twice."""
    now = dict(os.environ)
    for name in now.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if now.get(name) != value:
            os.environ[name] = value


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder and what is below it cannot be changed, for root neither."""
    every = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    if os.geteuid() == 0 and _immutable(every):
        try:
            _refuses(folder)
            yield
        finally:
            subprocess.run(["chattr", "-i", *every], check=True)
        return
    folders = [path for path in every if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    try:
        with as_any_other_user():
            _refuses(folder)
            yield
    finally:
        for path in folders:
            path.chmod(0o755)


def _refuses(folder: Path) -> None:
    with pytest.raises(OSError, match=r".") as caught:
        (folder / "probe").touch()
    assert caught.value.errno in {errno.EPERM, errno.EACCES}


def _immutable(every: Sequence[Path]) -> bool:
    """Make files immutable, for which there has to be chattr, a file system that has it, and root of the host."""
    if shutil.which("chattr") is None:
        return False
    if subprocess.run(["chattr", "+i", *every], capture_output=True, check=False).returncode == 0:
        return True
    subprocess.run(["chattr", "-i", *every], capture_output=True, check=False)
    return False


@contextmanager
def as_any_other_user() -> Iterator[None]:
    """Root, too, may only do what the modes of files allow: this thread, and processes that it starts.

    It gives up its capabilities, and being root gives none to a process that it starts (capabilities(7)).
    """
    if os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("nothing can be made read-only for root here")
    system = ctypes.CDLL(None, use_errno=True)
    get_bits, set_bits, no_root = 27, 28, 1  # PR_GET_SECUREBITS, PR_SET_SECUREBITS, SECBIT_NOROOT
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # version 3, of this thread
    assert system.capget(header, held) == 0
    fewer = (ctypes.c_uint32 * 6)(*(0 if number in {0, 3} else each for number, each in enumerate(held)))
    bits = system.prctl(get_bits, 0, 0, 0, 0)
    if system.prctl(set_bits, bits | no_root, 0, 0, 0) != 0:
        pytest.skip("nothing can be made read-only for root here: it may not give up its rights")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forked, "MAY_FORK", False)  # the parent of commands has its rights still
            assert system.capset(header, fewer) == 0
            yield
    finally:
        assert system.capset(header, held) == 0
        assert system.prctl(set_bits, bits, 0, 0, 0) == 0
