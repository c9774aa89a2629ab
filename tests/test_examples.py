"""Every example is checked in place, and the quickstart is run as `make demo` runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import tomli

from envlock.config.read import load_project
from envlock.lockfile.folder import lock_files, read_lock
from envlock.model.arch import host_arch
from scripts import demo_team
from scripts.demo import fitted
from tests.channel import Channel
from tests.forked import wanted
from tests.index import Index, Release
from tests.preloaded import Parent, preloaded_popen
from tests.support import run_envlock, share_bytecode

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/**/envlock.toml") if ".metaflow" not in path.parts)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right_to_an_editor_and_to_envlock(example: Path) -> None:
    text = (example / "envlock.toml").read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named is not None
    schema = json.loads((example / named[1]).read_text(encoding="utf-8"))
    jsonschema.validate(tomli.loads(text), schema)
    assert load_project(example / "envlock.toml").environments()


COUNTS = re.compile(r"\d+(?= (?:packages|the same|environments? to)\b)|\([\d.]+ [kM]?B\)|CPython 3\.\d+|(?<= to )/\S+")
"""What of README's lines depends on the index, the machine and the folder."""
TIMES = re.compile(r"^\w+: .* in [\d.]+ s\n", re.MULTILINE)
"""What progress leaves behind if stderr is no terminal."""


def test_readme_shows_what_envlock_prints(make_index: Callable[..., Index], tmp_path: Path) -> None:
    """Its commands of envlock, in their order, in a new repository of git. The index has no more than they need."""
    text = (
        (ROOT / "README.md").read_text(encoding="utf-8").partition("## In sixty seconds")[2].partition("Weeks later")[0]
    )
    versions = ("itsdangerous==2.1.2", "itsdangerous==2.2.0", "numpy==2.5.5", "requests==2.32")
    releases = [Release(*each.split("==")) for each in versions]
    index = make_index(*releases, Release("pandas", "3.1.1", requires=("numpy",)))
    config = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0].replace("\n\n", f"\nindex-url = '{index.url}'\n", 1)
    (tmp_path / "envlock.toml").write_text(config)
    shutil.copy(ROOT / "examples" / "quickstart" / "flow.py", tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    shown = [each.partition("\n") for block in blocks for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    assert [command.partition(" ")[0] for command, _, _ in shown].count("envlock") >= 4
    for command, _, said in shown:
        if command.startswith("python"):
            continue
        printed, status = "", 0
        for part in command.split("; "):
            if part.startswith("sed"):
                old, new = re.findall(r"s/(.*)/(.*)/'", part)[0]
                changed = (tmp_path / "envlock.toml").read_text().replace(old, new)
                (tmp_path / "envlock.toml").write_text(changed)
            elif part == "echo $?":
                printed += f"{status}\n"
            else:
                done = run_envlock(*part.split()[1:], cwd=tmp_path, check=False)
                printed, status = printed + done.stdout + TIMES.sub("", done.stderr), done.status
        assert COUNTS.sub("N", printed) == COUNTS.sub("N", said), command


@pytest.fixture
def has_bytecode(isolated: Path, shared_bytecode: Path) -> None:
    """This machine's home need not compile Metaflow again."""
    share_bytecode(isolated / "envlock", shared_bytecode)


@pytest.mark.index
@pytest.mark.flows
@pytest.mark.usefixtures("has_bytecode")
def test_the_demo_puts_each_step_into_its_environment(tmp_path: Path) -> None:
    folder = tmp_path / "quickstart"
    for file in ("envlock.toml", "flow.py"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / "examples" / "quickstart" / file, folder)
    config = folder / "envlock.toml"
    # The packages of the other archs, some hundred MB, would be fetched and pushed as well.
    config.write_text(re.sub(r"(?m)^archs = .*", f'archs = ["{host_arch()}"]', config.read_text()))

    folder = fitted(folder)
    said = demo(folder)
    table = [line for line in said if line.startswith("  ") and len(line.split()) == 5]
    rows = {row[0]: row[1:] for row in map(str.split, table)}
    assert {name for name in rows if "[" not in name} == {"step", "--------", "start", "join", "report", "end"}
    assert rows["start"][1:3] == ["2.1.2", "-"]
    trained = [row for name, row in rows.items() if name.startswith("train[")]
    assert len(trained) == 3
    assert all(row[1] == "2.2.0" and row[2] != "-" for row in trained)
    assert len({row[3] for row in trained}) == 1
    assert not rows["report"][3].startswith("metaflow_")
    assert len({row[3] for row in (rows["start"], *trained, rows["join"], rows["end"])}) == 3

    before = written(folder)
    assert "nothing changed" in run(["envlock", "lock"], folder)
    run(["envlock", "push"], folder)
    assert written(folder) == before


def test_the_demo_does_with_the_one_python_of_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(ROOT / "examples" / "quickstart", folder, ignore=shutil.ignore_patterns("envlock?*", ".*"))
    shutil.copy(ROOT / "examples" / "quickstart" / "envlock.toml", folder)
    only = tmp_path / "pythons"
    only.mkdir()
    monkeypatch.setenv("ENVLOCK_PYTHONS", f"only:{only}")

    (only / "python3.11").symlink_to(Path(sys.executable).resolve())
    assert fitted(folder) == folder
    (only / "python3.11").rename(only / "python3.99")
    copy = fitted(folder)
    assert "3.99" in capsys.readouterr().out
    pythons = {each.name: each.requirements.python for each in load_project(copy / "envlock.toml").environments()}
    assert pythons["QuickstartFlow/start"] == pythons["QuickstartFlow/train"] == ">=3.10"
    assert fitted(copy) == copy


@pytest.mark.flows
@pytest.mark.slow  # flows/test_conda runs conda steps each time
def test_the_conda_example_runs_on_the_tests_channel(conda_example: Callable[[str], Path]) -> None:
    folder = conda_example("conda")
    said = run(["envlock", "lock"], folder)
    assert "8 locks: 8 written" in said
    assert "fresh" in run(["envlock", "check"], folder)
    assert "pushed" in run(["envlock", "push"], folder)
    told = run(["envlock", "show", "CondaFlow/frame"], folder)
    assert "type conda" in told
    assert "pandas" in told
    ran = run(["python", "flow.py", "--environment=envlock", "run"], folder)
    assert "numpy 1.26.4, pandas 2.2.3: {'a': 18.0, 'b': 22.0, 'c': 26.0}" in ran

    config = folder / "envlock.toml"
    before = pins(folder)
    config.write_text(config.read_text().replace('pandas = ">=2"', 'pandas = ">=2", click = ""'))
    run(["envlock", "lock"], folder)
    after = pins(folder)
    assert {name for _, name, *_ in after - before} == {"click"}
    assert before <= after


@pytest.mark.index
@pytest.mark.flows
@pytest.mark.slow  # in `make test`, tests/flows/test_named.py has two checkouts, tests/named the race for a name
def test_two_people_share_a_cache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As `make demo-team` tells it, in a folder; below, it is on each server.

    Its commands are forked, for most of the time would be theirs to start.
    """
    monkeypatch.setattr(sys, "argv", ["demo_team.py", "--on", "folder"])
    with TemporaryDirectory(prefix="envlock-") as folder:
        parent = Parent("envlock.__main__", Path(folder))
        if wanted(os.environ):
            monkeypatch.setattr(subprocess, "Popen", preloaded_popen({("envlock",): parent}))
        assert demo_team.main() == 0
        parent.close()
    said = capsys.readouterr().out
    assert said.count("[ok]") == 6
    assert "All of it on folder" in said


@pytest.mark.index
@pytest.mark.flows
@pytest.mark.slow
@pytest.mark.parametrize("server", ["moto", "gcs", "azurite"])
def test_two_people_share_a_cache_by_started_commands(server: str, tmp_path: Path) -> None:
    said = run(["python", str(ROOT / "scripts" / "demo_team.py"), "--on", server], tmp_path)
    assert said.count("[ok]") == 6
    assert f"All of it on {server}" in said


@pytest.mark.flows
def test_a_repository_of_decorators_moves_to_envlock_toml(tmp_path: Path) -> None:
    said = run(["python", str(ROOT / "scripts" / "demo_ways.py"), "--only", "migrate"], tmp_path)
    assert said.count("[ok]") == 4


@pytest.mark.index
@pytest.mark.flows
@pytest.mark.slow
def test_every_way_in_and_out(tmp_path: Path) -> None:
    said = run(["python", str(ROOT / "scripts" / "demo_ways.py")], tmp_path)
    assert said.count("[ok]") == 15
    assert "s in all." in said


@pytest.mark.index
def test_the_mixed_example_has_all_three_types(conda_example: Callable[[str], Path]) -> None:
    folder = conda_example("mixed")
    run(["envlock", "lock"], folder)
    run(["envlock", "check"], folder)
    for step, type_ in (("start", "conda"), ("sign", "mixed"), ("end", "pypi")):
        assert f"type {type_}" in run(["envlock", "show", f"MixedFlow/{step}"], folder)


@pytest.mark.index
@pytest.mark.flows
@pytest.mark.slow  # in `make test`, tests/flows/test_conda.py runs a flow with all three types
def test_the_mixed_example_runs_on_the_tests_channel(conda_example: Callable[[str], Path]) -> None:
    folder = conda_example("mixed")
    run(["envlock", "lock"], folder)
    ran = run(["python", "flow.py", "--environment=envlock", "run"], folder)
    assert "start: {'numpy': 'conda'}" in ran
    assert re.search(r"sign: \{(?=.*'numpy': 'conda')(?=.*'itsdangerous': 'uv').*\}", ran)
    assert "end: {'itsdangerous': 'uv'}" in ran


@pytest.fixture
def conda_example(
    tmp_path: Path, channel: Channel, has_bytecode: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Copies an example, whose conda-forge is then the tests' channel."""
    channel.need("numpy 1.26", "pandas", "requests")
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)
    monkeypatch.setenv("METAFLOW_USER", "tester")

    def copied(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("envlock?*", ".*"))
        shutil.copy(ROOT / "examples" / name / "envlock.toml", folder)
        return folder

    return copied


def pins(folder: Path) -> set[tuple[str, ...]]:
    """Every package of every lock of an example: arch, name, version, build, SHA-256."""
    locks = [read_lock(path) for path in lock_files(folder / "envlock.lock")]
    return {(lock.arch, each.name, each.version, each.build, each.sha256) for lock in locks for each in lock.packages}


def demo(folder: Path) -> list[str]:
    """The lines that the demo prints for a folder."""
    return run(["python", str(ROOT / "scripts" / "demo.py"), "--folder", str(folder)], folder).splitlines()


def run(command: list[str], folder: Path) -> str:
    """What a program beside this Python prints; it must end well."""
    if command[0] == "envlock":
        return run_envlock(*command[1:], cwd=folder).stdout
    program = str(Path(sys.executable).with_name(command[0]))
    done = subprocess.run([program, *command[1:]], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(folder: Path) -> dict[Path, int]:
    """Every lock and every file of the cache, with the time of its last change."""
    files = [path for part in ("envlock.lock", "envlock-cache") for path in (folder / part).rglob("*")]
    found = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    assert len(found) > 12
    return found
