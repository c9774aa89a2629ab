"""What is done once a prefix is at its final place: compile bytecode, and run the link scripts of conda packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from envlock.activation import without_python
from envlock.files import MEMO_BYTES, read_file
from envlock.hydration.errors import LinkScriptFailed, disk_full, is_full
from envlock.reporter import running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from envlock.hydration.port import InstallOptions
    from envlock.model.lock import Lock, LockedPackage
    from envlock.reporter import Reporter

_MESSAGES = ".messages.txt"
_MOST_LINES = 20


def compile_bytecode_below(folder: Path, python: Path, reporter: Reporter) -> None:
    """Compile every module below a folder with the environment's own interpreter, on all processors.

    Modules that do not compile are skipped: packages contain templates, and modules for other Pythons. The bytecode is
    valid for the time and size of its source, as at a first import, so Python notices when somebody edits a module.
    Raises DiskFull.
    """
    reporter.noted(f"compiling the modules below {folder}")
    completed = _compile(folder, python, workers=0)
    if "Traceback" in completed.stderr:  # processes cannot share memory here
        completed = _compile(folder, python, workers=1)
    output = completed.stdout + completed.stderr
    if is_full(output):
        raise disk_full(folder)
    if completed.returncode not in {0, 1} or "Traceback" in completed.stderr:
        last = (output.strip().splitlines() or ["no reason given"])[-1]
        reporter.warned(f"could not compile the bytecode below {folder} ({last}); Python does it at the first import")


def _compile(folder: Path, python: Path, *, workers: int) -> subprocess.CompletedProcess[str]:
    command = ["-I", "-m", "compileall", "-q", "-j", str(workers), "--invalidation-mode", "timestamp"]
    with running([python, *command, folder]):
        return subprocess.run(
            [python, *command, folder],
            env=without_python(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )


def run_link_scripts(lock: Lock, place: Path, options: InstallOptions, reporter: Reporter) -> None:
    """Run the link scripts of the packages that are allowed, and note which others have one.

    They run as in conda: in a shell, with PREFIX, PKG_NAME, PKG_VERSION and PKG_BUILDNUM set, after those of the
    packages that they depend on. `place` is where the environment stays. Raises LinkScriptFailed.
    """
    if not any((place / "bin").glob(".*-post-link.sh")):
        return
    scripts = {package.name: _script(package, place) for package in lock.conda_packages}
    names = {name.lower() for name in options.link_scripts}
    waiting = sorted(name for name, script in scripts.items() if name not in names and script.is_file())
    for package in _dependencies_first(lock.conda_packages):
        if package.name in names and scripts[package.name].is_file():
            _run(package, scripts[package.name], place, reporter)
    if waiting:
        listed = ", ".join(f'"{name}"' for name in sorted(names | set(waiting)))
        have = "has a link script that was" if len(waiting) == 1 else "have link scripts that were"
        reporter.noted(
            f"{', '.join(waiting)} {have} not run; `link-scripts = [{listed}]` in `[envlock]` allows it, "
            f"and {options.remake} then makes the environment again"
        )


def _script(package: LockedPackage, place: Path) -> Path:
    return place / "bin" / f".{package.name}-post-link.sh"


def _run(package: LockedPackage, script: Path, place: Path, reporter: Reporter) -> None:
    reporter.noted(f"running the link script of {package.name}")
    facts = package.conda
    kept = without_python(os.environ, "CONDA_")
    ran = subprocess.run(
        [shutil.which("bash") or "/bin/sh", script],
        env={
            **kept,
            "PATH": f"{place / 'bin'}:{kept.get('PATH', os.defpath)}",
            "PREFIX": str(place),
            "CONDA_PREFIX": str(place),
            "PKG_NAME": package.name,
            "PKG_VERSION": package.version,
            "PKG_BUILDNUM": str(facts.build_number if facts else 0),
        },
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ran.returncode != 0:
        raise LinkScriptFailed(package.name, ran.returncode, str(script), tuple(_last_lines(ran.stdout)))
    messages = place / _MESSAGES
    if messages.is_file():
        for line in _last_lines(read_file(messages, MEMO_BYTES).decode(errors="replace")):
            reporter.noted(f"{package.name}: {line}")
        messages.unlink()


def _last_lines(text: str) -> Iterator[str]:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    if len(lines) > _MOST_LINES:
        yield f"... {len(lines) - _MOST_LINES} lines before"
    yield from lines[-_MOST_LINES:]


def _dependencies_first(packages: Iterable[LockedPackage]) -> Iterator[LockedPackage]:
    """Each package after its dependencies; by name if that leaves a choice."""
    by_name = {package.name: package for package in packages}
    seen: set[str] = set()
    for start in sorted(by_name):
        pending = [(start, False)]
        while pending:
            name, is_ready = pending.pop()
            if is_ready:
                yield by_name[name]
            elif name not in seen:
                seen.add(name)
                pending.append((name, True))
                needed = (each for each in by_name[name].dependencies if each in by_name)
                pending += [(each, False) for each in sorted(needed, reverse=True)]
