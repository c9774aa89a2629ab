"""Real wheels from the public index: which ones, and a folder that keeps them between sessions."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

PURE = (
    *("pip==24.3.1", "requests==2.32.3", "urllib3==2.2.3", "idna==3.10", "charset-normalizer==3.4.0"),
    *("certifi==2024.8.30", "click==8.1.7", "rich==13.9.4", "markdown-it-py==3.0.0", "mdurl==0.1.2"),
    *("pygments==2.18.0", "python-dateutil==2.9.0.post0", "pytz==2024.2", "six==1.16.0", "tzdata==2024.2"),
)
BINARY = ("numpy==1.26.4", "pandas==2.2.3")
"""For each series of Python that there is, where there is a wheel for it: numpy 1.26 ends with 3.12."""
BINARY_OF_FIRST = ("numpy==2.1.3",)
"""For the first series only: these are large."""

_PLATFORMS = {
    "linux-64": ("manylinux", "x86_64"),
    "linux-aarch64": ("manylinux", "aarch64"),
    "osx-64": ("macosx", "x86_64"),
    "osx-arm64": ("macosx", "arm64"),
}


@dataclass(frozen=True)
class Wheel:
    """A wheel, and where it is kept."""

    path: Path
    sha256: str
    uploaded: str
    subdir: str
    series: str
    """Of the Python it is for; empty for a pure one."""


class Unreachable(Exception):
    """The public index cannot be asked, and not all wheels are here."""


def wheels(folder: Path, series: tuple[str, ...]) -> tuple[Wheel, ...]:
    """Every wheel for these series of Python, downloaded into `folder` where it is not there yet."""
    found: list[tuple[Wheel, str]] = []
    for pins in ((*PURE, *BINARY), BINARY_OF_FIRST):
        listing = _listing(folder, pins)
        wanted = series[:1] if pins is BINARY_OF_FIRST else series
        for package in listing:
            found += _chosen(folder, package, wanted)
    missing = [(wheel, url) for wheel, url in found if not wheel.path.exists()]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda each: _download(*each), missing))
    return tuple(wheel for wheel, _ in found)


def _listing(folder: Path, pins: tuple[str, ...]) -> list[dict[str, Any]]:
    """What uv's index says of these pins: name, and each wheel's URL, hash and time."""
    kept = folder / f"listing-{hashlib.sha256(repr(pins).encode()).hexdigest()[:12]}.json"
    if kept.exists():
        return json.loads(kept.read_bytes())
    import tomli
    from uv import find_uv_bin

    done = subprocess.run(
        [
            *(find_uv_bin(), "pip", "compile", "-", "--no-deps", "--universal", "--format", "pylock.toml"),
            *("--python", sys.executable, "--python-version", "3.10", "--no-header"),
        ],
        input="\n".join(pins),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unreachable(done.stderr)
    packages = [
        [
            {
                "name": wheel.get("name") or wheel["url"].rpartition("/")[2],
                "url": wheel["url"],
                "sha256": wheel["hashes"]["sha256"],
                "uploaded": str(wheel.get("upload-time", "2024-01-01T00:00:00Z")).replace(" ", "T"),
            }
            for wheel in package["wheels"]
        ]
        for package in tomli.loads(done.stdout)["packages"]
    ]
    _write(kept, json.dumps(packages, indent=1).encode())
    return packages  # type: ignore[return-value]


def _chosen(folder: Path, listed: Any, series: Iterable[str]) -> list[tuple[Wheel, str]]:
    """The one pure wheel of a package, else one for each arch and series."""

    def wheel(entry: dict[str, str], subdir: str, series: str) -> tuple[Wheel, str]:
        path = folder / entry["name"]
        return Wheel(path, entry["sha256"], entry["uploaded"], subdir, series), entry["url"]

    entries = [(entry, parse_wheel_filename(entry["name"])[3]) for entry in sorted(listed, key=lambda e: e["name"])]
    for entry, tags in entries:
        if any(tag.platform == "any" for tag in tags):
            return [wheel(entry, "noarch", "")]
    found = []
    for each in series:
        for subdir in _PLATFORMS:
            found += [wheel(entry, subdir, each) for entry, tags in entries if _fits(tags, subdir, each)][:1]
    return found


def _fits(tags: Iterable[Tag], subdir: str, series: str) -> bool:
    system, machine = _PLATFORMS[subdir]
    python = f"cp{series.replace('.', '')}"
    return any(
        (tag.interpreter, tag.abi) == (python, python)
        and tag.platform.startswith(system)
        and tag.platform.endswith(machine)
        for tag in tags
    )


def _download(wheel: Wheel, url: str) -> None:
    import httpx

    try:
        data = httpx.get(url, follow_redirects=True, timeout=120).raise_for_status().content
    except httpx.HTTPError as error:
        raise Unreachable(f"{wheel.path.name}: {error}") from error
    if hashlib.sha256(data).hexdigest() != wheel.sha256:
        raise Unreachable(f"{wheel.path.name} has other bytes than its index says")
    _write(wheel.path, data)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
