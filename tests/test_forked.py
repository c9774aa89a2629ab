"""Commands that are forked end as those do that start anew: status, streams, folder, variables and mask."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.forked import forks, wanted
from tests.support import ENVLOCK, ProjectFolder


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--version"], 0),
        (["check"], 1),
        (["check", "--json"], 1),
        (["add", "--help"], 0),
        (["push"], 1),
        (["no-such-command"], 2),
        (["run", "--name", "demo", "--no-hydrate", "--", "true"], 2),
    ],
)
def test_a_forked_command_is_the_one_that_starts_anew(
    arguments: list[str], status: int, project: ProjectFolder, tmp_path: Path
) -> None:
    project.write_env("alpha")
    assert wanted(os.environ)
    anew = subprocess.run(
        [ENVLOCK, *arguments], cwd=project.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert forks().run(arguments, project.folder, os.environ, 60) == (anew.returncode, anew.stdout, anew.stderr)
    assert anew.returncode == status


@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "LANG", "LC_ALL"])
def test_what_an_interpreter_reads_when_it_starts_is_not_forked(name: str) -> None:
    assert not wanted({**os.environ, name: "C"})
