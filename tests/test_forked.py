"""Commands that are forked end as those do that are started: status, streams, folder, variables and mask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.forked import MAY_FORK, forks, run_python, wanted
from tests.preloaded import Parent, of_module, preloaded_popen
from tests.support import ENVLOCK, ProjectFolder


@pytest.mark.skipif(not MAY_FORK, reason="every command starts in a new process here")
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
def test_a_forked_command_is_as_a_started_one(
    arguments: list[str], status: int, project: ProjectFolder, tmp_path: Path
) -> None:
    project.write_env("alpha")
    assert wanted(os.environ)
    alone = subprocess.run(
        [ENVLOCK, *arguments], cwd=project.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert forks().run(arguments, project.folder, os.environ, 60) == (alone.returncode, alone.stdout, alone.stderr)
    assert alone.returncode == status


@pytest.mark.parametrize("name", ["PYTHONWARNINGS", "LANG", "LC_ALL"])
def test_what_an_interpreter_reads_when_it_starts_is_not_forked(name: str) -> None:
    assert not wanted({**os.environ, name: "C"})


@pytest.mark.skipif(not MAY_FORK, reason="every command starts in a new process here")
def test_what_two_commands_compiled_is_compiled_for_those_that_follow(tmp_path: Path) -> None:
    code = f"import re; key = (str, {tmp_path.name!r}, 0); print(key in re._cache); re.compile(key[1])"
    assert [run_python(code)[1] for _ in range(4)] == ["False\n", "False\n", "True\n", "True\n"]


@pytest.fixture
def parents() -> Iterator[dict[tuple[str, ...], Parent]]:
    with TemporaryDirectory() as folder:
        made = [Parent(each, Path(folder)) for each in ("json.tool", "code")]
        yield {of_module(parent): parent for parent in made}
        for parent in made:
            parent.close()


@pytest.mark.parametrize("argument", ["there.json", "not-there.json", "odd.json", "--no-such-option"])
def test_a_preloaded_module_is_as_a_started_one(
    argument: str, parents: dict[tuple[str, ...], Parent], tmp_path: Path
) -> None:
    (tmp_path / "there.json").write_text('{"a": 1}')
    (tmp_path / "odd.json").write_text("{")
    ended = []
    for popen in (subprocess.Popen, preloaded_popen(parents)):
        command = [sys.executable, "-m", "json.tool", argument]
        with popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            ended.append((*process.communicate(timeout=60), process.returncode))
    assert ended[0] == ended[1]
    assert "".join(ended[0][:2])


def test_a_preloaded_module_is_talked_with_and_ends_when_it_is_told_to(
    parents: dict[tuple[str, ...], Parent], tmp_path: Path
) -> None:
    with preloaded_popen(parents)(
        [sys.executable, "-m", "code"],
        cwd=tmp_path,
        env={**os.environ, "TOLD": "by the test"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("import os; print(os.getcwd(), os.environ['TOLD'], flush=True)\n")
        process.stdin.flush()
        assert process.stdout.readline().removeprefix(">>> ") == f"{tmp_path} by the test\n"
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
