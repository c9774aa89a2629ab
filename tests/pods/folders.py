"""Pods that need neither docker nor root: a clean folder, `env -i`, and an interpreter with boto3 and requests alone.

Where namespaces may be made (by root, or by anybody on most kernels), a pod has a /tmp, a /mnt and processes of its
own, its node's /var/tmp, and does not see envlock's source. Elsewhere it is told where to write by TMPDIR and
ENVLOCK_HOME, and cannot be a pod of Argo, whose paths are fixed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from envlock.interpreters import find_interpreter, machine_series
from tests.pods.pod import BARE, IMAGE_VARIABLES, INSTALLED, SERIES_ASKED, Pod, folders_of, named, series_of, wait_for
from tests.servers.processes import ROOT
from tests.support import wait_until

_UV = Path(sys.executable).with_name("uv")
_NAMESPACES = ("--mount", "--pid", "--fork", "--kill-child")
_COVERED = ("/tmp", "/mnt", "/var/tmp")


@dataclass(frozen=True)
class Folder:
    """A pod that is a folder: `pid` and `status` in it are written by the shell that waits for its command."""

    name: str
    place: Path

    @property
    def status(self) -> int | None:
        try:
            return int((self.place / "status").read_text())
        except FileNotFoundError:
            return None

    @property
    def said(self) -> str:
        return (self.place / "log").read_text(errors="replace")

    def output(self, name: str) -> str:
        return (self.place / "mnt" / "out" / name).read_text()

    def kill(self) -> None:
        if self.status is None:
            with suppress(ProcessLookupError):
                os.killpg(int((self.place / "pid").read_text()), signal.SIGKILL)
            wait_for(self)


@dataclass(frozen=True)
class Folders:
    """Pods that are folders."""

    home: Path
    node: Path
    kind: str = "folder"

    @classmethod
    def at(cls, home: str) -> Folders:
        return cls(*folders_of(home))

    def start(self, name: str, image: str, command: Sequence[str], variables: Mapping[str, str]) -> Folder:
        place = self.home / name
        for each in ("tmp", "mnt/work", "mnt/out"):
            (place / each).mkdir(parents=True)
        python = pod_python(series_of(image))
        pod = Folder(name, place)
        own = self._own(place, python) | dict(variables)
        if series_of(image).endswith(BARE):
            own.pop("METAFLOW_SKIP_INSTALL_DEPENDENCIES", None)
        (place / "spec.json").write_text(json.dumps({"image": image, "command": list(command), "variables": own}))
        entered = ["env", "-i", *(f"{key}={value}" for key, value in own.items()), *command]
        command = shlex.join(["setsid", *self._enter(place, python, entered)])  # a group of its own, to be killed
        waiting = f"{command} & echo $! > p; mv p pid; wait $!; echo $? > s; mv s status"
        script = f"cd {_q(place)}; {{ {waiting}; }} &"
        with (place / "log").open("wb") as log:
            output = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            subprocess.run(["sh", "-c", script], check=True, start_new_session=True, **output)
        wait_until((place / "pid").exists)
        return pod

    def all(self) -> list[Pod]:
        return [Folder(name, self.home / name) for name in named(self.home) if (self.home / name / "pid").exists()]

    def close(self) -> None:
        for pod in self.all():
            pod.kill()

    def _own(self, place: Path, python: Path) -> dict[str, str]:
        """The environment that the image gives."""
        path = f"{python.parent}:/usr/bin:/bin"
        if can_mount():
            # The first pod of a node compiles Metaflow for all: it lies at the same place in each of them.
            shared = {"PYTHONPYCACHEPREFIX": "/var/tmp/pycache"}
            return {**IMAGE_VARIABLES, **shared, "PATH": path, "HOME": "/mnt/work"}
        return {
            **IMAGE_VARIABLES,
            "PATH": path,
            "HOME": str(place / "mnt" / "work"),
            "TMPDIR": str(place / "tmp"),
            "ENVLOCK_HOME": str(self.node / "envlock"),
        }

    def _enter(self, place: Path, python: Path, command: Sequence[str]) -> list[str]:
        """The command that runs another one in the pod."""
        if not can_mount():
            return ["env", "-C", str(place / "mnt" / "work"), *command]
        covers = dict(zip(_COVERED, (place / "tmp", place / "mnt", self.node), strict=True))
        lines = ["set -e"]
        for path in (python.parent.parent, _base_of(python)):  # they stay visible, wherever the checkout is
            for covered, own in covers.items():
                if str(path).startswith(covered + "/"):
                    inside = own / path.relative_to(covered)
                    lines += [f"mkdir -p {_q(inside)}", f"mount --bind {_q(path)} {_q(inside)}"]
        lines.append(f"mount -t tmpfs none {_q(ROOT / 'src')}")
        # The place that all three lie in comes last: they would not be found below it.
        for covered in sorted(covers, key=lambda each: str(place).startswith(each + "/")):
            lines.append(f"mount --rbind {_q(covers[covered])} {covered}")
        lines += ["mount -t proc proc /proc", "cd /mnt/work", 'exec "$@"']
        return ["unshare", *_namespaces(), "bash", "-c", "\n".join(lines), "bash", *command]


@cache
def can_mount() -> bool:
    """Whether a pod has a /tmp, a /mnt and processes of its own on this machine."""
    return bool(_namespaces())


@cache
def _namespaces() -> tuple[str, ...]:
    if not shutil.which("unshare"):
        return ()
    found = [_NAMESPACES, ("--user", "--map-root-user", *_NAMESPACES)]
    if " shared:" not in Path("/proc/self/mountinfo").read_text():
        # In a chroot, `/` is no mount whose propagation could be changed; here nothing propagates anyway.
        found.append(("--propagation", "unchanged", *_NAMESPACES))
    for options in found:
        trial = ["unshare", *options, "sh", "-c", "mount -t proc proc /proc && mount -t tmpfs none /mnt"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return options
    return ()


def folder_series() -> tuple[str, ...]:
    """The series of Python that images can have on this machine: those asked for, else this interpreter's own."""
    there = [each for each in SERIES_ASKED if each in machine_series()]
    return tuple(there) or ("{}.{}".format(*sys.version_info[:2]),)


def pod_python(series: str) -> Path:
    """The interpreter of an image: a venv that has what Metaflow installs in pods, and no more. Made once.

    That of a bare image has pip alone.
    """
    libraries = ("pip",) if series.endswith(BARE) else ("boto3", "requests")
    return _made(f"python-{series}", series.partition(BARE)[0], *libraries)


def airflow_python() -> Path:
    """An interpreter with Airflow, and its operators for Kubernetes. Made once."""
    usable = sorted({each for each in machine_series() if each in ("3.10", "3.11", "3.12")})
    assert usable, "Airflow 2.10 needs Python 3.10, 3.11 or 3.12"
    wanted = ("apache-airflow==2.10.5", "apache-airflow-providers-cncf-kubernetes==10.1.0")
    return _made("airflow", usable[-1], *wanted)


def scheduler_python(name: str, *packages: str) -> Path:
    """An interpreter with a scheduler, envlock and its Metaflow. Made once for each choice of packages."""
    chosen = "-".join(each.replace("==", "-") for each in packages)
    envlock = ("--editable", f"{ROOT}[metaflow]", f"metaflow=={version('metaflow')}")
    return _made(f"{name}-{chosen}", "{}.{}".format(*sys.version_info[:2]), *envlock, *packages)


def _made(name: str, series: str, *packages: str) -> Path:
    """The interpreter of a venv with some packages."""
    folder = INSTALLED / name
    python = folder / "bin" / "python"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f"{name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "is-made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            uv = [str(_UV), "--quiet", "--no-config", "--no-python-downloads"]
            base = find_interpreter(series, lambda _: True).path
            subprocess.run([*uv, "venv", "--python", str(base), str(folder)], check=True)
            subprocess.run([*uv, "pip", "install", "--python", str(python), *packages], check=True)
            (folder / "is-made").touch()
    return python


def _q(path: Path) -> str:
    return shlex.quote(str(path))


@cache
def _base_of(python: Path) -> Path:
    """The installation that a venv's interpreter stands on."""
    return python.resolve().parent.parent
