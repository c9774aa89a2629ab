"""`envlock import` of a conda-lock.yml of 3,000 packages, against py-rattler's own read of that file.

The file is made of the sample of conda-forge that `conda` serves, by name the same packages for four archs. The first
row leaves out the channel and the disk (`bare_import`); the second is the whole command.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.conda import ROOT, SAMPLE, sample, served
from benchmarks.timing import ENVLOCK, PYTHON, TOLD, Command, Row, pair
from envlock.conda.channels import channel_base

ARCHS = ("linux-64", "linux-aarch64", "osx-64", "osx-arm64")
PACKAGES = 3000
_READ = """
import sys
from rattler.lock import LockFile
records = LockFile.from_path(sys.argv[1]).default_environment().conda_repodata_records()
assert sum(map(len, records.values())) >= int(sys.argv[2])
"""


def rows(folder: Path) -> list[Row]:
    """The claims about importing other tools' locks."""
    folder.mkdir(parents=True)
    channel = sample(folder)
    if channel is None:
        print(f"import_locks: not measured, {SAMPLE} is not beside this checkout", file=sys.stderr)
        return []
    file = folder / "conda-lock.yml"
    file.write_text(conda_lock(channel))
    project = folder / "project"
    project.mkdir()
    with served(channel) as url:
        environment = {
            "ENVLOCK_HOME": str(folder / "home"),
            "ENVLOCK_CHANNEL_MIRRORS": f"conda-forge={url}",
            "HOME": str(folder),
        }
        ours = Command([ENVLOCK, "import", str(file)], project, before=emptied(project), environment=environment)
        theirs = Command([PYTHON, "-c", _READ, str(file), str(PACKAGES)], project, environment={"HOME": str(folder)})
        own, other = pair(ours, theirs, 5)
        told = subprocess.run(
            [PYTHON, "-m", "benchmarks.bare_import", str(file), str(folder / "bare"), "9"],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    bare = json.loads(told)
    claim = f"import a conda-lock.yml of {PACKAGES:,} packages, against py-rattler's own read of it"
    return [
        Row(claim, bare["import"], bare["read"], "at most 3 x", bare["import"] <= 3 * bare["read"]),
        Row("the whole command, channel and disk included, against a process that reads it", own, other, TOLD, True),
    ]


def emptied(project: Path) -> Callable[[], None]:
    """Takes away what an import wrote."""

    def empty() -> None:
        shutil.rmtree(project / "envlock.lock", ignore_errors=True)
        (project / "envlock.toml").unlink(missing_ok=True)

    return empty


def conda_lock(channel: Path) -> str:
    """A conda-lock.yml of packages of a channel, the same names for each arch; what is not among them is not needed."""
    records: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {}
    for arch in ARCHS:
        records[arch] = {}
        for subdir in (arch, "noarch"):
            repodata = json.loads((channel / subdir / "repodata.json").read_text())
            for filename, record in {**repodata.get("packages", {}), **repodata["packages.conda"]}.items():
                if record.get("md5") and record.get("sha256"):
                    records[arch].setdefault(record["name"], (f"{subdir}/{filename}", record))
    names = sorted(set.intersection(*map(set, records.values())) - {"python"})
    chosen = {"python", *random.Random(1).sample(names, PACKAGES // len(ARCHS))}
    lines = ["version: 1", "metadata:", "  content_hash:", *(f"    {arch}: {'0' * 64}" for arch in ARCHS)]
    lines += ["  channels:", "  - url: conda-forge", "    used_env_vars: []"]
    lines += ["  platforms:", *(f"  - {arch}" for arch in ARCHS), "  sources:", "  - environment.yml", "package:"]
    for name in sorted(chosen):
        for arch in ARCHS:
            lines += _entry(name, arch, *records[arch][name], chosen)
    return "\n".join(lines) + "\n"


def _entry(name: str, arch: str, path: str, record: dict[str, Any], chosen: set[str]) -> list[str]:
    needed = {words[0]: " ".join(words[1:2]) for words in map(str.split, record["depends"]) if words[0] in chosen}
    return [
        f"- name: {name}",
        f"  version: {record['version']!r}",
        "  manager: conda",
        f"  platform: {arch}",
        "  dependencies:" if needed else "  dependencies: {}",
        *(f"    {each}: {version!r}" for each, version in sorted(needed.items())),
        f"  url: {channel_base('conda-forge')}/{path}",
        "  hash:",
        f"    md5: {record['md5']}",
        f"    sha256: {record['sha256']}",
        "  category: main",
        "  optional: false",
    ]
