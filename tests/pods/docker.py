"""docker for the tests, from Debian's packages, without a service: `scripts/setup.sh --pods` unpacks it and runs this
module, which makes the images. Its files and its socket are in .venv/pods.

A pod is on the machine's network, so docker makes no bridge and touches no firewall.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.pods.pod import IMAGE_VARIABLES, INSTALLED, SERIES_ASKED, image_of
from tests.support import wait_until

PROGRAMS = INSTALLED / "docker"
SOCKET = INSTALLED / "docker.sock"
ROOT_FILES = INSTALLED / "debian"
IS_MADE = INSTALLED / "images-are-made"
_DATA = INSTALLED / "docker-data"
_BASE = "envlock-pod-base:latest"


@cache
def client() -> Any:
    """docker's client, of the daemon that is used."""
    from docker import DockerClient

    return DockerClient(base_url=f"unix://{SOCKET}", timeout=300)


def is_set_up() -> bool:
    """Whether docker and its images are there, and may be used: by root alone."""
    return IS_MADE.exists() and os.geteuid() == 0


@contextmanager
def daemon() -> Iterator[None]:
    """docker's daemon, as long as somebody uses it: the first one starts it, the last one ends it."""
    with (INSTALLED / "docker.users").open("a") as users:
        with (INSTALLED / "docker.lock").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _answers():
                _start()
        try:
            yield
        finally:
            if client.cache_info().currsize:
                client().close()
                client.cache_clear()
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop()


def _answers() -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(SOCKET)) == 0


def _start() -> None:
    places = [PROGRAMS / "usr" / each for each in ("sbin", "bin")]
    libraries = [str(each.parent) for each in PROGRAMS.glob("usr/lib/*/lib*.so.*")]
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, places), "/usr/sbin:/usr/bin:/sbin:/bin"]),
        "LD_LIBRARY_PATH": os.pathsep.join(dict.fromkeys(libraries)),
    }
    (INSTALLED / "docker.pid").unlink(missing_ok=True)
    command = [
        *("dockerd", f"--data-root={_DATA}", f"--exec-root={INSTALLED / 'docker-run'}"),
        *(f"--pidfile={INSTALLED / 'docker.pid'}", f"--host=unix://{SOCKET}"),
        *("--bridge=none", "--iptables=false", "--ip6tables=false"),
    ]
    with (INSTALLED / "docker.log").open("wb") as said:
        subprocess.Popen(
            [shutil.which("dockerd", path=variables["PATH"]) or "dockerd", *command[1:]],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ).returncode = 0  # the last who uses it ends it, and that may be another process
    wait_until(_answers, 60)


def _stop() -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((INSTALLED / "docker.pid").read_text()), signal.SIGTERM)
        wait_until(lambda: not (INSTALLED / "docker.pid").exists(), 60)


def make_images() -> None:
    """Import Debian's files as the base, and build an image for each series of Python on it."""
    with daemon():
        api = client().api
        packed = subprocess.Popen(["tar", "-C", str(ROOT_FILES), "-c", "."], stdout=subprocess.PIPE)
        assert packed.stdout is not None
        with packed, packed.stdout:
            api.import_image_from_stream(packed.stdout, repository=_BASE.partition(":")[0], tag="latest")
        for series in image_series():
            options = {"custom_context": True, "network_mode": "host", "rm": True, "decode": True}
            said = list(api.build(fileobj=_context(series), tag=image_of(series), **options))
            assert not any("error" in line for line in said), said[-3:]
            print(f"pods: {image_of(series)} is made", file=sys.stderr, flush=True)
    IS_MADE.touch()


def image_series() -> tuple[str, ...]:
    """The series of Python that images have: those of installations that can be copied, else Debian's own."""
    return tuple(_installations()) or ("3.11",)


def debian_packages() -> tuple[str, ...]:
    """What the images' Debian needs beside libraries: Debian's own Python, where no other one can be copied."""
    return () if _installations() else ("python3", "python3-venv")


def _installations() -> dict[str, Path]:
    from envlock.interpreters import find_interpreter, machine_series

    found = {}
    for series in SERIES_ASKED:
        if series in machine_series():
            python = find_interpreter(series, lambda _: True).path
            ask = [str(python), "-c", "import sys; print(sys.base_prefix)"]
            prefix = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
            if prefix not in (Path("/usr"), Path("/usr/local")):  # these hold more than a Python
                found[series] = prefix
    return found


_DOCKERFILE = """\
FROM {base}
COPY usr-local /usr/local
{python}
RUN ldconfig && mkdir -p /mnt/out /task
WORKDIR /task
{variables}
"""


def _context(series: str) -> io.BytesIO:
    """What docker builds the image of a series from, as a tar: its Python, boto3 and requests."""
    prefix = _installations().get(series)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar, TemporaryDirectory() as made:
        site = f"usr-local/lib/python{series}/{'site' if prefix else 'dist'}-packages"
        uv = [str(Path(sys.executable).with_name("uv")), "--quiet", "--no-config"]
        wanted = ["--python-version", series, "--only-binary", ":all:", "--target", made, "boto3", "requests"]
        subprocess.run([*uv, "pip", "install", *wanted], check=True)
        tar.add(made, site)
        python = f"RUN ln -s /usr/bin/python{series} /usr/local/bin/python"
        if prefix:
            left_out = re.compile(r"/(test|site-packages|__pycache__)(/|$)|/bin/(pip|idle|2to3|pydoc)")
            for name in ("bin", "lib", "include"):
                tar.add(
                    prefix / name, f"usr-local/{name}", filter=lambda each: None if left_out.search(each.name) else each
                )
            python = "RUN ldconfig && ln -sf python3 /usr/local/bin/python && python -m ensurepip"
        variables = "\n".join(f"ENV {name}={value}" for name, value in IMAGE_VARIABLES.items())
        text = _DOCKERFILE.format(base=_BASE, python=python, variables=variables).encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    packed.seek(0)
    return packed


if __name__ == "__main__":
    make_images()
