"""Hydrating conda and mixed locks against a bare py-rattler install, and `uv pip install` after it, all caches warm.

The packages are those of the tests' own channel: Python, numpy, pandas and seventeen more, 37 MB.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.timing import ENVLOCK, PYTHON, UV, Command, Row, at_most
from envlock.cache.local import LocalPackages
from envlock.config.read import load_project
from envlock.lockfile.folder import candidates, read_lock
from envlock.model.arch import host_arch
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock
from tests.channel import Channel, built_channels

ROOT = Path(__file__).resolve().parent.parent
CONDA = (
    "numpy", "pandas", "pip", "requests", "click", "rich", "hello", "six", "pytz", "python-tzdata", "python-dateutil",
    "urllib3", "idna", "certifi", "charset-normalizer", "pygments", "mdurl", "markdown-it-py",
)  # fmt: skip
PYPI = ("itsdangerous", "jinja2", "networkx", "tqdm", "soupsieve", "httpx", "toolz", "more-itertools")


def rows(folder: Path) -> list[Row]:
    """The claims about hydrating conda packages."""
    folder.mkdir(parents=True)
    with Channel(built_channels()) as channel:
        return [
            _row(folder / "conda", channel, (), "against a bare py-rattler install"),
            _row(folder / "mixed", channel, PYPI, "against that, then `uv pip install`"),
        ]


def _row(folder: Path, channel: Channel, pypi: tuple[str, ...], against: str) -> Row:
    folder.mkdir()
    libraries = ", ".join(f'{name} = ""' for name in CONDA)
    packages = ", ".join(f'{name} = ""' for name in pypi)
    (folder / "envlock.toml").write_text(
        f'[envlock]\narchs = ["{host_arch()}"]\nmetaflow-requirements = false\n\n[env.big]\n'
        f'conda = {{ python = "{channel.series[0]}", libraries = {{ {libraries} }}, channels = ["conda-forge"] }}\n'
        + (f"pypi = {{ packages = {{ {packages} }} }}\n" if pypi else "")
    )
    environment = {"ENVLOCK_CHANNEL_MIRRORS": channel.mirrors, "ENVLOCK_HOME": str(folder / "home")}
    for command in ("lock", "push", "path"):
        variables = {**os.environ, **environment}
        subprocess.run([ENVLOCK, command], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=variables)
    project = load_project(folder / "envlock.toml")
    requirements = project.environments()[0].requirements
    (path,) = candidates(project.lock_folder, host_arch(), requirements.req_id)
    lock = read_lock(path)
    _write_what_is_bare(folder, lock)
    script = (
        f'target="{folder}/bare-$$" && '
        f'"{PYTHON}" -m benchmarks.bare_install "{folder}/records.json" "$target" "{folder}/bare-cache"'
    )
    if pypi:
        script += (
            f' && "{UV}" pip install -q --offline --no-index --no-deps --no-config --break-system-packages '
            f'--python "$target/bin/python" -r "{folder}/wheels.txt"'
        )
    number = len(lock.conda_packages)
    what = f"hydrate {number} conda packages" + (f" and {len(lock.pypi_packages)} wheels" if pypi else "")
    ours = Command([ENVLOCK, "path", "--offline"], folder, before=lambda: _gone(folder), environment=environment)
    return at_most(f"{what}, caches warm, {against}", 1.3, ours, Command(["sh", "-c", script], ROOT, before=os.sync), 9)


def _write_what_is_bare(folder: Path, lock: Lock) -> None:
    """The same packages and wheels, as files of this machine, for the bare tools."""
    local = LocalPackages(folder / "home")
    files = {each.sha256: local.find(each) for each in artifacts_of(lock)}
    records = [
        {
            "name": each.name,
            "version": each.version,
            "build": each.build,
            "number": each.conda.build_number,
            "subdir": each.conda.subdir,
            "noarch": each.conda.noarch,
            "depends": list(each.conda.depends),
            "constrains": list(each.conda.constrains),
            "sha256": each.sha256,
            "site-packages": each.conda.site_packages,
            "filename": each.filename,
            "url": f"file://{files[each.sha256]}",
            "channel": each.conda.channel,
        }
        for each in lock.conda_packages
        if each.conda is not None
    ]
    (folder / "records.json").write_text(json.dumps(records))
    lines = [f"{each.name} @ file://{files[each.sha256]}\n" for each in lock.pypi_packages]
    (folder / "wheels.txt").write_text("".join(lines))


def _gone(folder: Path) -> None:
    shutil.rmtree(folder / "home" / "memo", ignore_errors=True)
    environments = folder / "home" / "environments"
    if environments.exists():  # deleting thousands of files now would keep the disk busy in the run that follows
        environments.rename(folder / f"aside-{time.monotonic_ns()}")
    os.sync()
