"""One run of conda-lock for one request: the executable, the job that its process is given, and what it answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote

from envlock.conda.channels import channel_address
from envlock.errors import ConfigError
from envlock.files import json_of
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage
from envlock.redaction import redact
from envlock.resolve.conda_lock_formats import NamedChannel, read_back
from envlock.resolve.port import Request
from envlock.resolve.processes import Processes
from envlock.stage import temporary_folder
from envlock.uv_command import uv_environment

_LABEL = "channel-{}"
_COMMAND = (sys.executable, "-m", "envlock.resolve.conda_lock_process")
_NOT_INHERITED = re.compile(
    r"CONDA_(?:OVERRIDE_|CHANNEL|DEFAULT_CHANNELS|SUBDIR|FLAGS)|MAMBA_(?:CHANNEL|PLATFORM)|PYTHON"
)
_TOKEN = re.compile(r"(?<=/t/)[^/\s'\"]+")


class Row(TypedDict):
    """A package in conda-lock's file."""

    name: str
    version: str
    url: str
    md5: str
    sha256: str


class CondaLockFailed(Exception):
    """conda-lock, or the executable that it ran, failed; `reason` is its output, without secrets."""

    def __init__(self, reason: Iterable[str]) -> None:
        self.reason = tuple(reason)
        super().__init__("\n".join(self.reason))


def locked_rows(
    request: Request,
    channels: tuple[NamedChannel, ...],
    asked: Sequence[CondaRequirement],
    executable: Path | None,
    processes: Processes,
    solve: Callable[[tuple[CondaRequirement, ...]], Sequence[LockedPackage]],
) -> list[Row]:
    """Run conda-lock. Without an executable, it asks `solve`, with the requirements as it understood them.

    Raises CondaLockFailed, and what `solve` raises.
    """
    labels = {channel.base: _LABEL.format(number) for number, channel in enumerate(channels)}
    names = {label: channel.name for label, channel in zip(labels.values(), channels, strict=True)}
    job = {
        "arch": request.arch,
        "channels": [channel.text for channel in channels] if executable else list(labels.values()),
        "specifications": [str(each if executable else _labelled(each, labels)) for each in asked],
        "system": _system(request),
        "executable": str(executable or ""),
    }
    last: dict[str, Any] = {}
    with temporary_folder() as folder:
        errors = folder / "errors.txt"
        environment = _environment(request, channels, folder, executable)
        with processes.begin(_COMMAND, environment, folder=folder, errors=errors) as process:
            if process is not None:
                tell(process, job)
                while "solve" in (last := _answer(process)):
                    understood = tuple(_unlabelled(text, names) for text in last["solve"]["specifications"])
                    tell(process, [_fetched(package) for package in solve(understood)])
        said = errors.read_text(encoding="utf-8", errors="replace")
    if "packages" not in last:
        raise CondaLockFailed(_reason(last.get("failed") or last.get("unknown") or said, channels))
    rows: list[Row] = last["packages"]
    return rows


def tell(process: subprocess.Popen[str], words: object) -> None:
    """Write a line of JSON to a process, unless it has ended."""
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of a process; empty if it ended without one."""
    assert process.stdout is not None
    line = process.stdout.readline()
    answer: dict[str, Any] = json_of(line) if line.endswith("\n") else {}
    return answer


def _labelled(requirement: CondaRequirement, labels: Mapping[str, str]) -> CondaRequirement:
    """The requirement with a label for its channel: of a URL, conda-lock would keep only the last part."""
    if not requirement.channel:
        return requirement
    return requirement._replace(channel=labels.get(channel_address(requirement.channel).kept, requirement.channel))


def _unlabelled(text: str, names: Mapping[str, str]) -> CondaRequirement:
    requirement = read_back(text)
    return requirement._replace(channel=names.get(requirement.channel, requirement.channel))


def _system(request: Request) -> dict[str, str]:
    """The virtual packages of the arch, in the format of conda-lock's file."""
    rows = {name: version for arch, name, version in request.requirements.system if arch == request.arch}
    archspec = rows.pop("__archspec", "")
    linux = {"__linux": "0"} if request.arch.startswith("linux-") else {}
    return {"__unix": "0", **linux, **({"__archspec": f"1 {archspec}"} if archspec else {}), **rows}


def _environment(
    request: Request, channels: tuple[NamedChannel, ...], folder: Path, executable: Path | None
) -> dict[str, str]:
    """The variables of the process: an executable gets the user's, except those that would change its answer."""
    if executable is None:
        return uv_environment({"TMPDIR": str(folder)})
    priority = "disabled" if request.requirements.channel_priority == "disabled" else "strict"
    return {
        **{name: value for name, value in os.environ.items() if _NOT_INHERITED.match(name) is None},
        "TMPDIR": str(folder),
        "CONDA_CHANNEL_PRIORITY": priority,
        "MAMBA_CHANNEL_PRIORITY": priority,
        **{name: value for channel in channels for name, value in channel.variables.items()},
    }


def _fetched(package: LockedPackage) -> dict[str, Any]:
    """A package in the format in which conda lists what it would download."""
    facts = package.conda
    assert facts is not None
    return {
        "name": package.name,
        "version": package.version,
        "channel": facts.channel,
        "url": package.url,
        "fn": unquote(package.filename),
        "md5": facts.md5,
        "sha256": package.sha256,
        "depends": list(facts.depends),
        "constrains": list(facts.constrains),
        "subdir": facts.subdir,
        "timestamp": 0,
    }


def _reason(text: str, channels: tuple[NamedChannel, ...]) -> list[str]:
    """The end of the output, without secrets."""
    text = _TOKEN.sub("...", redact(text))
    for secret in (value for channel in channels for value in channel.variables.values() if value):
        text = text.replace(secret, "...").replace(unquote(secret), "...")
    return [line.strip() for line in text.splitlines() if line.strip()][-12:]


VARIABLE = "ENVLOCK_CONDA_EXE"
NAMES = ("micromamba", "mamba", "conda")
"""In order of preference: the first ones solve faster."""


class NoCondaExecutable(ConfigError):
    """ENVLOCK_CONDA_EXE does not name an executable."""

    code = "no-conda-executable"

    def __init__(self, found: str) -> None:
        super().__init__(
            f"{VARIABLE} is `{found}`, which is not an executable",
            hint=f"export {VARIABLE}= to a conda, mamba or micromamba; or to nothing, to use none",
        )


def conda_executable() -> Path | None:
    """The executable that ENVLOCK_CONDA_EXE names, or the first on PATH; None without one, or if it is empty.

    Raises NoCondaExecutable.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen is None:
        return next((Path(found) for name in NAMES if (found := shutil.which(name)) is not None), None)
    if not chosen.strip():
        return None
    found = shutil.which(chosen.strip())
    if found is None:
        raise NoCondaExecutable(chosen)
    return Path(found).absolute()
