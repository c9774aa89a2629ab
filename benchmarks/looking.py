"""What looks at locks, against starting Python: the whole of a project of 10 environments x 4 archs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from benchmarks.projects import made_up
from benchmarks.timing import ENVLOCK, PYTHON, Command, Row, at_most
from envlock.lockfile.folder import lock_files, read_lock, write_lock

_CLAIM = "10 environments x 4 archs x 60 packages, against `python -c pass`"


def rows(folder: Path) -> list[Row]:
    """The claims about `diff`, `tree`, `why` and `list`."""
    project = made_up(folder / "looking")
    commit_and_change(project)
    python = Command([PYTHON, "-c", "pass"], project)
    home = {"ENVLOCK_HOME": str(folder / "home")}
    commands = {
        "diff": ["diff"],
        "tree": ["tree"],
        "tree upside down": ["tree", "--invert", "package-03"],
        "why": ["why", "package-03"],
        "list": ["list"],
    }
    return [
        at_most(f"{name}, {_CLAIM}", 12, Command([ENVLOCK, *words], project, environment=home), python, 21)
        for name, words in commands.items()
    ]


def commit_and_change(project: Path) -> None:
    """Commit the project as it is, and then lock one package of each environment in another version."""
    git = ["git", "-C", str(project), "-c", "user.name=benchmark", "-c", "user.email=benchmark@users.example"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "Locked"]):
        subprocess.run([*git, *words], check=True)
    folder = project / "envlock.lock"
    for path in lock_files(folder):
        lock = read_lock(path)
        path.unlink()
        first, *others = lock.packages
        filename = first.filename.replace("-1.0-", "-1.1-")
        newer = replace(first, version="1.1", filename=filename, url=first.url.replace(first.filename, filename))
        write_lock(folder, replace(lock, packages=(newer, *others)))
