"""`envlock check` against starting Python, and against what poetry and pdm do for one environment of theirs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.projects import ROOTS, made_up
from benchmarks.timing import ENVLOCK, PYTHON, UV, Command, Row, at_least_faster, at_most


def rows(folder: Path) -> list[Row]:
    """The claims about `check`."""
    project = made_up(folder / "check")
    check = Command([ENVLOCK, "check"], project)
    found = [
        at_most(
            "check, 10 environments x 4 archs x 60 packages, against `python -c pass`",
            8,
            check,
            Command([PYTHON, "-c", "pass"], project),
            21,
        )
    ]
    peers = Peers(folder / "peers")
    found.append(at_least_faster("the same, against `poetry check --lock`", 5, check, peers.poetry(), 5))
    found.append(at_least_faster("the same, against `pdm lock --check`", 5, check, peers.pdm(), 5))
    return found


class Peers:
    """poetry and pdm, each in an environment of its own, with a locked project of real packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def poetry(self) -> Command:
        """`poetry check --lock` on a project that it has just locked."""
        program = self._installed("poetry", "poetry>=2")
        return self._locked("poetry", [program, "lock"], [program, "check", "--lock"])

    def pdm(self) -> Command:
        """`pdm lock --check` on a project that it has just locked."""
        program = self._installed("pdm", "pdm[locked]>=2.20")
        return self._locked("pdm", [program, "lock"], [program, "lock", "--check"])

    def _installed(self, name: str, requirement: str) -> str:
        home = self.folder / f"{name}-home"
        subprocess.run([UV, "venv", "--quiet", home], check=True)
        subprocess.run(
            [UV, "pip", "install", "--quiet", "--python", home / "bin/python", "--compile-bytecode", requirement],
            check=True,
        )
        return str(home / "bin" / name)

    def _locked(self, name: str, lock: list[str], check: list[str]) -> Command:
        project = self.folder / name
        project.mkdir()
        # A handful of the roots: theirs is one environment, and their solvers take minutes for all of them.
        dependencies = ", ".join(f'"{root}"' for root in ROOTS[:5])
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "peer"\nversion = "0"\nrequires-python = "==3.12.*"\ndependencies = [{dependencies}]\n'
            "[tool.poetry]\npackage-mode = false\n[tool.pdm]\ndistribution = false\n"
        )
        environment = {"PDM_CHECK_UPDATE": "false", "PDM_IGNORE_SAVED_PYTHON": "1"}
        subprocess.run(lock, cwd=project, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
        return Command(check, project, environment=environment)
