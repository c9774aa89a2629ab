"""`envlock check` against starting Python, and against what poetry and pdm do for one environment of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tomli

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
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    subprocess.run(["git", "add", "."], cwd=project, check=True)
    hook = Command([ENVLOCK, "check", "--staged"], project)
    claim = "the same as a pre-commit hook (`check --staged`), against `python -c pass`"
    found.append(at_most(claim, 15, hook, Command([PYTHON, "-c", "pass"], project), 21))
    peers = Peers(folder / "peers")
    found.append(at_least_faster("the same, against `poetry check --lock`", 5, check, peers.poetry(), 5))
    pdm = peers.pdm()
    found.append(at_least_faster("the same, against `pdm lock --check`", 5, check, pdm, 5))
    one = Command([ENVLOCK, "check", "--step", "start", "--arch", "linux-64"], project)
    found.append(
        at_least_faster("check, one environment and arch of these, against `pdm lock --check`", 5, one, pdm, 5)
    )
    return found


def _default_index(folder: Path) -> str:
    """The index that uv asks when it is told nothing, as a lock names it."""
    folder.mkdir(parents=True)
    (folder / "envlock.toml").write_text('[envlock]\narchs = ["linux-64"]\n[env.one]\n')
    subprocess.run([ENVLOCK, "lock"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (lock,) = (folder / "envlock.lock").glob("*/*/pylock.*.toml")
    return str(tomli.loads(lock.read_text())["packages"][0]["index"])


class Peers:
    """poetry and pdm, each in an environment of its own, with a locked project of real packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.index = _default_index(folder / "index")

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
        series = ".".join(str(part) for part in sys.version_info[:2])  # they insist on running on what they lock for
        # A handful of the roots: theirs is one environment, and their solvers take minutes for all of them.
        dependencies = ", ".join(f'"{root}"' for root in ROOTS[:5])
        lines = ["[project]", 'name = "peer"', 'version = "0"', f'requires-python = ">={series},<4"']
        lines += [f"dependencies = [{dependencies}]", "[tool.poetry]", "package-mode = false"]
        lines += ["[tool.pdm]", "distribution = false"]
        # poetry asks its default index by an interface of its own, which mirrors need not have.
        lines += ["[[tool.poetry.source]]", 'name = "simple"', f'url = "{self.index}/"', 'priority = "primary"']
        (project / "pyproject.toml").write_text("\n".join(lines) + "\n")
        environment = {"PDM_CHECK_UPDATE": "false", "PDM_IGNORE_SAVED_PYTHON": "1"}
        subprocess.run(lock, cwd=project, check=True, capture_output=True, env={**os.environ, **environment})
        return Command(check, project, environment=environment)
