"""A project's first envlock.toml."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from envlock.config.edit.add_remove import add_packages, remove_packages
from envlock.config.edit.errors import BadMetaflowConfig, ConfigExists, NoFlowInFile, SameFlowTwice
from envlock.config.edit.init_template import flow_files, make_template, write_template
from envlock.config.edit.metaflow_config import KEY, make_default
from envlock.config.flows.errors import FlowFileMissing, FlowFileSyntax
from envlock.config.read import load_project

FLOWS = Path(__file__).parents[1] / "flows" / "samples"
NAMES = sorted(path.stem for path in FLOWS.glob("*.py") if path.stem != "conftest")


def body(text: str) -> str:
    """What an envlock.toml says of its flows."""
    return text[text.index("[flow.") :]


@pytest.mark.parametrize("name", NAMES)
def test_what_init_writes_for_a_flow(name: str, tmp_path: Path) -> None:
    """Each flow file here has its envlock.toml beside it; UPDATE_EXPECTED=1 writes them again."""
    shutil.copy(FLOWS / f"{name}.py", tmp_path)
    made = make_template(tmp_path, [tmp_path / f"{name}.py"])
    expected = FLOWS / f"{name}.toml"
    if os.environ.get("UPDATE_EXPECTED"):
        expected.write_text(body(made.text))
    assert body(made.text) == expected.read_text()


@pytest.mark.parametrize("name", NAMES)
def test_what_init_writes_loads_and_can_be_edited(name: str, tmp_path: Path) -> None:
    shutil.copy(FLOWS / f"{name}.py", tmp_path)
    made = make_template(tmp_path, [tmp_path / f"{name}.py"], schema=True)
    write_template(tmp_path, made, schema=True)
    project = load_project(tmp_path / "envlock.toml")
    assert project.flows == made.project.flows
    assert "s3cr3t" not in made.text
    assert {path.name for path in tmp_path.iterdir()} == {".envlock.schema.json", "envlock.toml", f"{name}.py"}
    for flow in project.flows:
        for level in [("flow", flow.name), *(("flow", flow.name, "step", step.name) for step in flow.steps)]:
            edited, _ = add_packages(made.text, level, ["new-package>=1"])
            assert remove_packages(edited, level, ["new-package"])[0] == made.text


def test_the_schema_accepts_what_init_writes(tmp_path: Path) -> None:
    import json

    import jsonschema

    made = make_template(tmp_path, [FLOWS / f"{name}.py" for name in NAMES], schema=True)
    write_template(tmp_path, made, schema=True)
    schema = json.loads((tmp_path / ".envlock.schema.json").read_text())
    assert made.text.startswith("#:schema .envlock.schema.json\n")
    jsonschema.validate(tomli.loads(made.text), schema)
    assert len(tomli.loads(made.text)["flow"]) == 11


def test_the_skeleton_is_accepted_as_it_is_and_with_its_comments_taken_off(tmp_path: Path) -> None:
    made = make_template(tmp_path, [])
    assert made.project.environments() == ()
    shutil.copy(FLOWS / "packages.py", tmp_path / "train_flow.py")
    (tmp_path / "requirements.txt").write_text("rich\n")
    lines = made.text.splitlines()
    settings_ = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines]
    (tmp_path / "envlock.toml").write_text("\n".join(settings_) + "\n")
    project = load_project(tmp_path / "envlock.toml")
    assert [flow.name for flow in project.flows] == ["TrainFlow"]
    assert [step.environment is None for step in project.flows[0].steps] == [False, False, False, True]
    assert [environment.name for environment in project.named] == ["notebook"]
    assert project.settings.archs == ("linux-64", "osx-arm64")
    assert project.settings.exclude_newer == "7d"
    types = [environment.requirements.type for environment in project.environments()]
    assert types == ["pypi", "mixed", "pypi", "pypi"]


def test_files_are_named_from_the_folder_of_envlock_toml(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "flows").mkdir()
    shutil.copy(FLOWS / "plain.py", tmp_path / "project")
    shutil.copy(FLOWS / "packages.py", tmp_path / "flows" / 'a "b".py')
    made = make_template(tmp_path / "project", [tmp_path / "project" / "plain.py", tmp_path / "flows" / 'a "b".py'])
    assert [found.file for found in made.flows] == ["plain.py", '../flows/a "b".py']
    assert tomli.loads(made.text)["flow"]["TrainFlow"]["file"] == '../flows/a "b".py'


def test_a_level_that_envlock_refuses_becomes_a_note(tmp_path: Path) -> None:
    flow = tmp_path / "flow.py"
    two_pythons = '@pypi{0}(python="3.11")\n    @conda{0}(python="3.12", libraries={{"numpy": ""}})\n'
    flow.write_text(
        "from metaflow import *\n"
        f"{two_pythons.format('_base').replace('    ', '')}"
        "class TwiceFlow(FlowSpec):\n"
        f"    {two_pythons.format('')}"
        "    @step\n"
        "    def start(self): self.next(self.end)\n"
        '    @pypi(packages={"httpx": "0.27"})\n'
        "    @step\n"
        "    def end(self): pass\n"
    )
    made = make_template(tmp_path, [flow])
    assert tomli.loads(made.text)["flow"]["TwiceFlow"] == {
        "file": "flow.py",
        "step": {"end": {"pypi": {"packages": {"httpx": "0.27"}}}},
    }
    messages = [(note.step, note.message) for note in made.flows[0].notes]
    assert [step for step, _ in messages] == ["", "start"]
    assert all("left out what its decorators ask for: " in message for _, message in messages)


def test_a_file_without_a_flow(tmp_path: Path) -> None:
    path = tmp_path / "helpers.py"
    path.write_text("import metaflow\nclass Failure(Exception): pass\n")
    with pytest.raises(NoFlowInFile):
        make_template(tmp_path, [path])


def test_two_flows_of_one_name(tmp_path: Path) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path / "a.py")
    shutil.copy(FLOWS / "plain.py", tmp_path / "b.py")
    with pytest.raises(SameFlowTwice) as raised:
        make_template(tmp_path, [tmp_path / "a.py", tmp_path / "b.py"])
    assert [location.line for location in raised.value.locations] == [9, 9]
    assert len(make_template(tmp_path, [tmp_path / "a.py", tmp_path / "a.py"]).flows) == 1


def test_a_file_that_is_missing_or_no_python(tmp_path: Path) -> None:
    with pytest.raises(FlowFileMissing):
        make_template(tmp_path, [tmp_path / "gone.py"])
    (tmp_path / "broken.py").write_text("class Broken(:\n")
    with pytest.raises(FlowFileSyntax):
        make_template(tmp_path, [tmp_path / "broken.py"])
    assert [path.name for path in tmp_path.iterdir()] == ["broken.py"]


def test_an_envlock_toml_is_not_overwritten_without_force(tmp_path: Path) -> None:
    config = tmp_path / "envlock.toml"
    config.write_text("mine\n")
    made = make_template(tmp_path, [])
    with pytest.raises(ConfigExists):
        write_template(tmp_path, made, schema=True, metaflow_default=True)
    assert config.read_text() == "mine\n"
    assert [path.name for path in tmp_path.iterdir()] == ["envlock.toml"]
    written = write_template(tmp_path, made, force=True)
    assert (written.files, written.dropped) == ((config,), None), "what is no TOML has no keys to name"
    assert config.read_text() == made.text


def test_what_is_replaced_is_kept_beside_it_with_its_permissions(tmp_path: Path) -> None:
    config = tmp_path / "envlock.toml"
    shutil.copy(FLOWS / "plain.py", tmp_path)
    skeleton, made = make_template(tmp_path, []), make_template(tmp_path, [tmp_path / "plain.py"])
    assert write_template(tmp_path, skeleton).old is None
    assert write_template(tmp_path, made, force=True).old is None, "a skeleton says nothing of its own"
    for number, name in enumerate(["envlock.toml.old", "envlock.toml.old.2"]):
        mine = made.text + f"pypi = {{ packages = {{ rich = '{number}' }} }}\n[envlock]\nhosts = ['index.example']\n"
        config.write_text(mine.replace("\n[envlock]\n", "\n", 1))
        config.chmod(0o600)
        written = write_template(tmp_path, made, force=True)
        assert written.old == tmp_path / name
        assert written.old.stat().st_mode & 0o777 == 0o600
        assert written.dropped is not None
        assert len(written.dropped) == 2
        assert written.dropped[0].endswith(".pypi.packages.rich")
        assert written.dropped[1] == "envlock.hosts"
    assert "rich = '0'" in (tmp_path / "envlock.toml.old").read_text()
    assert write_template(tmp_path, made, force=True).old is None, "nothing changed"


def test_flow_files_are_found_by_their_text(tmp_path: Path) -> None:
    for name in NAMES:
        shutil.copy(FLOWS / f"{name}.py", tmp_path)
    (tmp_path / "tool.py").write_text("print()\n")
    (tmp_path / "folder.py").mkdir()
    found = [path.stem for path in flow_files(tmp_path)]
    assert found == sorted(set(NAMES) - {"foreign", "constants"})


def test_metaflow_default_keeps_other_settings(tmp_path: Path) -> None:
    path = tmp_path / ".metaflow" / "config.json"
    path.parent.mkdir()
    path.write_text('{"METAFLOW_DEFAULT_DATASTORE": "s3", "METAFLOW_DEFAULT_ENVIRONMENT": "conda"}')
    assert make_default(tmp_path) == path
    assert path.read_text() == (
        '{\n    "METAFLOW_DEFAULT_DATASTORE": "s3",\n    "METAFLOW_DEFAULT_ENVIRONMENT": "envlock"\n}\n'
    )
    before = path.stat()
    make_default(tmp_path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"a": 1', "\xff\xfe"])
def test_metaflow_settings_that_are_no_object_stay_as_they_are(text: str, tmp_path: Path) -> None:
    path = tmp_path / ".metaflow" / "config.json"
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadMetaflowConfig):
        write_template(tmp_path, make_template(tmp_path, []), metaflow_default=True)
    assert path.read_bytes() == text.encode("latin-1")
    assert [each.name for each in tmp_path.iterdir()] == [".metaflow"]


def test_metaflow_reads_the_default(tmp_path: Path) -> None:
    import subprocess
    import sys

    make_default(tmp_path)
    (tmp_path / "below").mkdir()
    code = "from metaflow.metaflow_config import DEFAULT_ENVIRONMENT; print(DEFAULT_ENVIRONMENT)"
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "below", capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "envlock"
    assert KEY == "METAFLOW_DEFAULT_ENVIRONMENT"


VALUES = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text(max_size=4), max_size=2)
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(
        [
            "packages",
            "libraries",
            "python",
            "channels",
            "extra_indices",
            "name",
            "pathspec",
            "fetch_at_exec",
            "disabled",
        ]
    ),
    st.one_of(VALUES, st.dictionaries(st.text(max_size=8), VALUES, max_size=3)),
    max_size=3,
)
DECORATORS = st.lists(
    st.tuples(st.sampled_from(["conda", "pypi", "pip", "named_env", "sys_packages"]), ARGUMENTS), max_size=3
)


@settings(max_examples=80, deadline=None)
@given(DECORATORS, DECORATORS)
def test_whatever_the_decorators_say_the_file_loads(
    tmp_path_factory: pytest.TempPathFactory,
    flow: list[tuple[str, dict[str, object]]],
    step: list[tuple[str, dict[str, object]]],
) -> None:
    folder = tmp_path_factory.mktemp("any")
    lines = ["from metaflow import *"]
    lines += [f"@{name}_base(**{arguments!r})" for name, arguments in flow]
    lines += ["class AnyFlow(FlowSpec):"]
    lines += [f"    @{name}(**{arguments!r})" for name, arguments in step]
    lines += ["    @step", "    def start(self): pass"]
    path = folder / "flow.py"
    path.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")
    made = make_template(folder, [path])
    assert [found.name for found in made.project.flows] == ["AnyFlow"]
