"""`envlock lock` of conda packages for four archs, against the four bare py-rattler solves that it rests on.

The channel is a sample of real conda-forge records (60,000 of them), served on loopback. It is no part of the project:
its archive lies in `shared/data/` beside the checkout, or beside a folder above it. Without it, the table stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lock import unlocked
from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_least_faster, at_most, run

if sys.version_info >= (3, 14):
    import tarfile
else:
    from backports.zstd import tarfile  # the standard library's, with Zstandard

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path("shared", "data", "conda-forge-sample.tar.zst")
SPECS = ("python 3.11.*", "numpy", "pandas", "pyarrow", "boto3", "scikit-learn", "matplotlib")


def rows(folder: Path) -> list[Row]:
    """The claims about locking conda packages."""
    folder.mkdir(parents=True)
    channel = sample(folder)
    if channel is None:
        print(f"conda: not measured, {SAMPLE} is not beside this checkout", file=sys.stderr)
        return []
    with served(channel) as url:
        return _rows(folder, url)


def _rows(folder: Path, url: str) -> list[Row]:
    project = folder / "project"
    project.mkdir()
    libraries = ", ".join(f'{name} = ""' for name in SPECS[1:])
    (project / "envlock.toml").write_text(
        "[envlock]\nmetaflow-requirements = false\n\n"
        f'[env.big]\nconda = {{ python = "3.11", libraries = {{ {libraries} }}, channels = ["conda-forge"] }}\n'
    )
    environment = {
        "ENVLOCK_HOME": str(folder / "home"),
        "ENVLOCK_CHANNEL_MIRRORS": f"conda-forge={url}",
        "HOME": str(folder),
    }
    lock = Command([ENVLOCK, "lock"], project, before=unlocked(project), environment=environment)
    bare = Command(
        [PYTHON, "-m", "benchmarks.bare_solves", url, str(folder / "bare-cache"), *SPECS],
        ROOT,
        environment={"HOME": str(folder)},
    )
    found = [
        at_most("lock conda packages, four archs, against the four bare solves together", 1.2, lock, bare, 9),
        _memory(lock),
    ]
    run(lock)
    again = Command([ENVLOCK, "lock"], project, environment=environment)
    found.append(
        at_most(
            "the same, nothing changed (no solve at all), against 0.3 s",
            1,
            again,
            Command(["sleep", "0.3"], project),
            9,
        )
    )
    solver = next(filter(None, map(shutil.which, ("micromamba", "mamba", "conda"))), None)
    if solver is not None:
        other = folder / "conda-lock"
        shutil.copytree(project, other, ignore=shutil.ignore_patterns("envlock.lock"))
        text = (other / "envlock.toml").read_text()
        (other / "envlock.toml").write_text(
            text.replace("[envlock]\n", '[envlock]\nresolver = { conda = "conda-lock" }\n')
        )
        theirs = Command([ENVLOCK, "lock"], other, before=unlocked(other), environment=environment)
        found.append(at_least_faster(f"the same, against conda-lock with {Path(solver).name}", 4, lock, theirs, 3))
    return found


def _memory(lock: Command) -> Row:
    """The most memory that the lock takes, in a child of its own so that no other run counts."""
    lock.before()
    said = subprocess.run(
        [PYTHON, "-c", _MEASURE, *lock.arguments],
        cwd=lock.folder,
        env={**os.environ, **(lock.environment or {})},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    used = float(said.splitlines()[-1]) / 1e3
    return Row("the same, its peak memory", used, 600.0, "at most 600 MB", used <= 600, unit="MB")


_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def sample(folder: Path) -> Path | None:
    """The sample channel, unpacked below `folder`; None where there is no archive of it."""
    archives = (parent / SAMPLE for parent in ROOT.parents)
    archive = next(filter(Path.is_file, archives), None)
    if archive is None:
        return None
    with tarfile.open(archive, "r:zst") as packed:
        packed.extractall(folder, filter="data")
    return next(path.parent.parent for path in folder.rglob("linux-64/repodata.json"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback, by a process of its own, as long as the context lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [PYTHON, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()
