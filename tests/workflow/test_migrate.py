"""A repository moved from decorators to envlock.toml."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from envlock.config.conda_tables import entry_of
from envlock.config.flows.decorators import read_decorators
from envlock.config.pypi_entries import requirement_of
from envlock.config.read import load_project
from envlock.config.tables import normalize_python
from envlock.errors import ConfigError
from envlock.workflow.migrate import Migration, plan, write

SAMPLES = Path(__file__).parent.parent / "config" / "flows" / "samples"

BASE = """
from metaflow import FlowSpec, pypi, pypi_base, step

PANDAS = "2.2.3"


@pypi_base(packages={"pandas": PANDAS}, python="3.12")
class TeamFlow(FlowSpec):
    @pypi(packages={"attrs": ""})
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""
TRAIN = """
from metaflow import conda, step
from team.base import TeamFlow


class TrainFlow(TeamFlow):
    @step
    def start(self):
        self.next(self.fit)

    @conda(libraries={"ffmpeg": ">=6"})
    @step
    def fit(self):
        self.next(self.end)


if __name__ == "__main__":
    TrainFlow()
"""
SCORE = """
from team.base import TeamFlow


class ScoreFlow(TeamFlow):
    pass


if __name__ == "__main__":
    ScoreFlow()
"""

PLAIN = """
from metaflow import FlowSpec, step


class PlainFlow(FlowSpec):
    @step
    def start(self):
        pass
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two flows on a base class in a package, and what is no flow of the repository's."""
    folder = tmp_path / "repository"
    for name, text in {
        "team/__init__.py": "",
        "team/base.py": BASE,
        "train_flow.py": TRAIN,
        "score_flow.py": SCORE,
        "plain_flow.py": PLAIN,
        "notebook.ipynb": '{"cells": [{"source": "@pypi_base(packages={})\\nclass NotebookFlow(FlowSpec): pass"}]}',
        ".venv/lib/python3.11/site-packages/other_flow.py": BASE,
        "node_modules/odd/flow.py": BASE,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.lstrip())
    return folder


def requirements(folder: Path) -> dict[str, list[str]]:
    return {
        each.name: [str(one) for one in (*each.requirements.pypi, *each.requirements.all_conda)]
        for each in load_project(folder / "envlock.toml").environments()
    }


def verdicts(migration: Migration) -> dict[str, str]:
    return {f"{each.flow}/{each.step}": each.verdict for each in migration.proofs}


@pytest.mark.parametrize("in_git", [True, False])
def test_flows_and_the_base_class_that_they_share_move_together(repository: Path, in_git: bool) -> None:
    if in_git:
        subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
        (repository / ".gitignore").write_text(".venv\nnode_modules\n")
    migration = plan(repository)
    assert migration.is_whole
    assert migration.left == ()
    assert set(verdicts(migration).values()) == {"same"}
    assert [each.path for each in migration.configs] == [repository / "envlock.toml"]
    assert [str(each.path.relative_to(repository)) for each in migration.sources] == ["team/base.py", "train_flow.py"]
    assert sorted(path.name for path in repository.glob("*.toml")) == [], "nothing is written yet"
    write(migration, delete_decorators=True)
    assert requirements(repository) == {
        "ScoreFlow/start": ["attrs", "pandas==2.2.3"],
        "ScoreFlow/end": ["pandas==2.2.3"],
        "TrainFlow/start": ["pandas==2.2.3"],
        "TrainFlow/fit": ["pandas==2.2.3", "ffmpeg >=6"],
        "TrainFlow/end": ["pandas==2.2.3"],
    }
    assert (repository / "team" / "base.py").read_text() == (
        BASE.lstrip()
        .replace("FlowSpec, pypi, pypi_base, step", "FlowSpec, step")
        .replace('@pypi_base(packages={"pandas": PANDAS}, python="3.12")\n', "")
        .replace('    @pypi(packages={"attrs": ""})\n', "")
    )
    assert "from metaflow import step\n" in (repository / "train_flow.py").read_text()
    again = plan(repository)
    assert (again.is_whole, again.configs, again.sources) == (True, (), ())


_AS_METAFLOW_MERGES = """
import importlib, json
from metaflow import decorators
from metaflow.plugins.pypi.conda_environment import CondaEnvironment

class Environment:
    TYPE = "conda"
    is_disabled = CondaEnvironment.is_disabled
    def set_local_root(self, root): pass

merged = {}
for name in ("ScoreFlow", "TrainFlow"):
    flow = getattr(importlib.import_module(f"{name[:5].lower()}_flow"), name)(use_cli=False)
    decorators._attach_decorators(flow, ["conda", "pypi"])
    of_flow = [each for same in flow._flow_decorators.values() for each in same]
    for each in [*of_flow, *(each for step in flow for each in step.decorators)]:
        each.external_init()
    for step in flow:
        own = [each for each in step.decorators if each.name in ("conda", "pypi")]
        for each in own:
            each.step_init(flow, flow._graph, step.name, step.decorators, Environment(), None, print)
        merged[f"{name}/{step.name}"] = {each.name: each.attributes for each in own}
print(json.dumps(merged))
"""


def test_each_step_requires_what_metaflow_itself_makes_of_its_decorators(repository: Path) -> None:
    """Metaflow puts the decorators of flow, base classes and step together, as with `--environment=conda`."""
    environment = {**os.environ, "METAFLOW_USER": "tester"}
    command = [sys.executable, "-c", _AS_METAFLOW_MERGES]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    merged = json.loads(done.stdout.splitlines()[-1])
    write(plan(repository), delete_decorators=True)
    written = {each.name: each.requirements for each in load_project(repository / "envlock.toml").environments()}
    assert written.keys() == merged.keys()
    for step, decorators in merged.items():
        pypi, conda = (decorators[kind]["packages"] for kind in ("pypi", "conda"))
        assert set(written[step].pypi) == {requirement_of(*each) for each in pypi.items()}, step
        assert set(written[step].conda) == {entry_of(*each)[0] for each in conda.items()}, step
        assert written[step].python == normalize_python(decorators["pypi"]["python"]), step


def test_no_flow_is_run(repository: Path) -> None:
    ran = repository / "ran"
    for path in (repository / "train_flow.py", repository / "team" / "base.py"):
        path.write_text(f"open({str(ran)!r}, 'w')\n{path.read_text()}")
    write(plan(repository), delete_decorators=True)
    assert len(requirements(repository)) == 5
    assert not ran.exists()


def test_commands_with_another_environment_are_pointed_at(repository: Path) -> None:
    for name, data in {
        "Makefile": b"train:\n\tpython train_flow.py --environment=conda run\n",
        ".github/workflows/ci.yml": b"run: python score_flow.py --environment pypi run\n",
        "settings.sh": b"export METAFLOW_DEFAULT_ENVIRONMENT=conda\n",
        "new.sh": b"python score_flow.py --environment=envlock run --environments=uv\n",
        "model.bin": b"\0--environment=conda",
    }.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(data)
    migration = plan(repository)
    assert migration.is_whole, "they are no part of any step's requirements"
    assert [(os.path.relpath(each.path, repository), each.line) for each in migration.left] == [
        (".github/workflows/ci.yml", 1),
        ("Makefile", 2),
        ("settings.sh", 1),
    ]
    assert not any(each.stays for each in migration.left)


def test_a_decorator_that_nobody_can_read_stays_for_all_flows_that_have_it(repository: Path) -> None:
    base = repository / "team" / "base.py"
    base.write_text(base.read_text().replace('{"attrs": ""}', 'load("attrs")'))
    migration = plan(repository)
    assert not migration.is_whole
    assert verdicts(migration) == {
        "ScoreFlow/start": "incomplete",
        "ScoreFlow/end": "same",
        "TrainFlow/start": "same",
        "TrainFlow/fit": "same",
        "TrainFlow/end": "same",
    }
    (left,) = migration.left
    assert (left.path, left.line, left.flow, left.step, left.stays) == (str(base), 8, "ScoreFlow", "start", True)
    write(migration, delete_decorators=True)
    assert "    @pypi(packages=load(" in base.read_text()
    assert "import FlowSpec, pypi, step\n" in base.read_text()
    assert "pypi_base" not in base.read_text()


def test_what_an_envlock_toml_says_stays_and_has_to_agree(repository: Path) -> None:
    mine = textwrap.dedent("""\
        # Ours.
        [flow.ScoreFlow]
        file = "score_flow.py"
        pypi = { python = "3.12", packages = { pandas = "2.2.3", rich = "" } }

        [flow.ScoreFlow.step.start]
        pypi = { packages = { attrs = "", click = "" } }
        """)
    (repository / "envlock.toml").write_text(mine)
    migration = plan(repository)
    found = verdicts(migration)
    assert (found["ScoreFlow/start"], found["ScoreFlow/end"]) == ("more", "more")
    assert migration.is_whole
    assert migration.configs[0].edited.text.startswith(mine)
    (repository / "envlock.toml").write_text(mine.replace("2.2.3", "2.1.0"))
    migration = plan(repository)
    assert {step for step, verdict in verdicts(migration).items() if verdict == "differs"} == {
        "ScoreFlow/start",
        "ScoreFlow/end",
    }
    assert not migration.is_whole
    assert [each.path.name for each in migration.sources] == ["train_flow.py"], "TrainFlow's base stays, for ScoreFlow"


def test_flows_of_one_name_get_an_envlock_toml_in_their_folders(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        shutil.copy(SAMPLES / ("packages.py" if name != "three" else "constants.py"), tmp_path / name)
    assert sorted(str(each.path.relative_to(tmp_path)) for each in plan(tmp_path).configs) == [
        "envlock.toml",
        "one/envlock.toml",
        "two/envlock.toml",
    ]
    shutil.copy(SAMPLES / "packages.py", tmp_path / "one" / "again.py")
    migration = plan(tmp_path)
    assert [each.reason.partition(":")[0] for each in migration.left if "called TrainFlow" in each.reason] == [
        "another flow of this folder is called TrainFlow too"
    ] * 2
    assert not [each for each in migration.sources if each.path.parent.name == "one"]


def test_the_nearest_envlock_toml_gets_the_flows_below_it(repository: Path) -> None:
    (repository / "jobs").mkdir()
    shutil.copy(SAMPLES / "packages.py", repository / "jobs")
    (repository / "jobs" / "envlock.toml").write_text("# jobs\n")
    migration = plan(repository)
    assert {each.path.parent.name: len(each.edited.flows) for each in migration.configs} == {
        "repository": 2,
        "jobs": 1,
    }
    (repository / "envlock.toml").write_text("# all\n")
    (repository / "jobs" / "envlock.toml").unlink()
    (config,) = plan(repository / "jobs").configs
    assert config.path == repository / "envlock.toml"
    assert tomli.loads(config.edited.text)["flow"]["TrainFlow"]["file"] == "jobs/packages.py"


def test_what_a_flow_outside_of_the_folder_has_too_stays(repository: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    shutil.copy(SAMPLES / "packages.py", repository / "team")
    migration = plan(repository / "team")
    assert [each.path.name for each in migration.sources] == ["packages.py"]
    stays = [(Path(each.path).name, each.line) for each in migration.left if each.stays]
    assert sorted(set(stays)) == [("base.py", 6), ("base.py", 8)]
    assert {each.reason for each in migration.left if each.stays} == {
        "ScoreFlow of ../score_flow.py has it too: migrate both together",
        "TrainFlow of ../train_flow.py has it too: migrate both together",
    }


def test_a_flow_whose_base_class_is_outside_of_the_folder_stays(repository: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    (repository / "jobs").mkdir()
    (repository / "train_flow.py").rename(repository / "jobs" / "train_flow.py")
    migration = plan(repository / "jobs")
    assert (migration.configs, migration.sources) == ((), ())
    assert [(Path(each.path).name, each.line, each.stays) for each in migration.left] == [("train_flow.py", 5, True)]
    assert plan(repository).is_whole


def test_files_that_cannot_be_read_are_named(repository: Path) -> None:
    (repository / "broken.py").write_text("class Broken(FlowSpec\n")
    (repository / "link.py").symlink_to("/etc/hostname")
    (repository / "again.py").symlink_to("train_flow.py")
    Path(os.fsdecode(os.fsencode(repository) + b"/caf\xe9.py")).write_text(BASE)
    migration = plan(repository)
    assert sorted(error.code for error in migration.unread) == ["flow-file-missing", "flow-file-syntax"]
    assert [flow.name for flow in migration.configs[0].edited.flows] == ["ScoreFlow", "TrainFlow"]
    assert not migration.is_whole


@pytest.mark.parametrize("text", ["x =", "[flow.ScoreFlow]\nfile = 'gone.py'\n", "[flow]\nx = 1\n"])
def test_an_envlock_toml_that_is_wrong_is_told_as_it_is(repository: Path, text: str) -> None:
    (repository / "envlock.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        plan(repository)
    assert caught.value.locations[0].path == "envlock.toml"


def test_nothing_to_migrate(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "plain.py", tmp_path)
    assert plan(tmp_path) == Migration(tmp_path, (), (), (), ())


def test_the_samples_keep_what_they_require(tmp_path: Path) -> None:
    for path in SAMPLES.glob("*.py"):
        if path.stem != "conftest":
            shutil.copy(path, tmp_path)
    migration = plan(tmp_path)
    counted = [each.verdict for each in migration.proofs]
    assert {verdict: counted.count(verdict) for verdict in sorted(set(counted))} == {"incomplete": 22, "same": 25}
    before = {
        each.line
        for path in tmp_path.glob("*.py")
        for flow in read_decorators(path, tmp_path)
        for each in flow.decorators
    }
    assert before
    write(migration, delete_decorators=True)
    for path in tmp_path.glob("*.py"):
        for flow in read_decorators(path, tmp_path):
            steps = {each.step for each in migration.proofs if each.flow == flow.name and each.verdict == "incomplete"}
            assert all(each.step in {"", *steps} for each in flow.decorators)
    assert load_project(tmp_path / "envlock.toml").flows


VALUES = st.sampled_from(["", "1", ">=1,<2", "=>1", 3, None])
PACKAGES = st.dictionaries(st.sampled_from(["a", "b", "c[x]", "b ad"]), VALUES, max_size=2)
ASKS = st.one_of(
    st.tuples(st.just("pypi"), st.fixed_dictionaries({}, optional={"packages": PACKAGES, "python": st.just("3.12")})),
    st.tuples(st.just("conda"), st.fixed_dictionaries({}, optional={"libraries": PACKAGES, "disabled": st.booleans()})),
    st.tuples(st.just("named_env"), st.fixed_dictionaries({"name": st.sampled_from(["team/a:v1", "Bad"])})),
    st.tuples(st.just("sys_packages"), st.just({"packages": {"__cuda": "12.4"}})),
)


def decorated(asks: list[tuple[str, dict[str, object]]], suffix: str, indent: str) -> str:
    return "".join(f"{indent}@{name}{suffix}(**{arguments!r})\n" for name, arguments in asks)


@settings(max_examples=30, deadline=None)
@given(*[st.lists(ASKS, max_size=2)] * 4)
def test_whatever_decorators_say_each_step_requires_the_same_or_something_stays(
    tmp_path_factory: pytest.TempPathFactory,
    of_base: list[tuple[str, dict[str, object]]],
    of_flow: list[tuple[str, dict[str, object]]],
    of_start: list[tuple[str, dict[str, object]]],
    of_end: list[tuple[str, dict[str, object]]],
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "base.py").write_text(
        f"from metaflow import *\n{decorated(of_base, '_base', '')}class Base(FlowSpec):\n"
        f"{decorated(of_start, '', '    ')}    @step\n    def start(self): self.next(self.end)\n"
    )
    (folder / "flow.py").write_text(
        f"from metaflow import *\nfrom base import Base\n{decorated(of_flow, '_base', '')}class OneFlow(Base):\n"
        f"{decorated(of_end, '', '    ')}    @step\n    def end(self): pass\nOneFlow()\n"
    )
    migration = plan(folder)
    assert set(verdicts(migration).values()) <= {"same", "incomplete"}, "nothing was there that could differ"
    write(migration, delete_decorators=True)
    left = [
        each
        for name in ("base.py", "flow.py")
        for flow in read_decorators(folder / name, folder)
        for each in flow.decorators
    ]
    assert bool(left) is not migration.is_whole, "a decorator goes if all of it is carried over, and else is named"
    if of_base or of_flow or of_start or of_end:
        proved = {f"{each.flow}/{each.step}": each.written_id for each in migration.proofs if each.written_id}
        found = load_project(folder / "envlock.toml").environments()
        assert {each.name: (each.base.own if each.base else each.requirements).req_id for each in found} == proved
