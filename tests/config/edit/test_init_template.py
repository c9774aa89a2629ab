"""A project's first envlock.toml."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import tomli
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.contradictions import BadTeamFile
from envlock.config.edit.add_remove import add_packages, remove_packages
from envlock.config.edit.errors import BadMetaflowConfig, NoFlowInFile, NoRequirementFile, SameFlowTwice
from envlock.config.edit.init_template import Template, make_template, text_there, write_template
from envlock.config.edit.metaflow_config import KEY, make_default
from envlock.config.flows.errors import FlowFileMissing, FlowFileSyntax
from envlock.config.read import load_project
from envlock.errors import EnvlockError
from tests.notebooks import notebook_of

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


def test_what_is_no_toml_is_kept_whole(tmp_path: Path) -> None:
    config = tmp_path / "envlock.toml"
    config.write_text("mine\n")
    made = make_template(tmp_path, [])
    written = write_template(tmp_path, made)
    assert (written.files, written.dropped) == ((config,), None), "it has no keys to name"
    assert (tmp_path / "envlock.toml.old").read_text() == "mine\n"
    assert config.read_text() == made.text


def test_what_is_replaced_is_kept_beside_it_with_its_permissions(tmp_path: Path) -> None:
    config = tmp_path / "envlock.toml"
    shutil.copy(FLOWS / "plain.py", tmp_path)
    skeleton, made = make_template(tmp_path, []), make_template(tmp_path, [tmp_path / "plain.py"])
    assert write_template(tmp_path, skeleton).old is None
    assert write_template(tmp_path, made).old is None, "a skeleton says nothing of its own"
    for number, name in enumerate(["envlock.toml.old", "envlock.toml.old.2"]):
        mine = made.text + f"pypi = {{ packages = {{ rich = '{number}' }} }}\n[envlock]\nhosts = ['index.example']\n"
        config.write_text(mine.replace("\n[envlock]\n", "\n", 1))
        config.chmod(0o600)
        written = write_template(tmp_path, made)
        assert written.old == tmp_path / name
        assert written.old.stat().st_mode & 0o777 == 0o600
        assert written.dropped is not None
        assert len(written.dropped) == 2
        assert written.dropped[0].endswith(".pypi.packages.rich")
        assert written.dropped[1] == "envlock.hosts"
    assert "rich = '0'" in (tmp_path / "envlock.toml.old").read_text()
    assert write_template(tmp_path, made).old is None, "nothing changed"


def test_the_flows_of_the_folder_are_taken_without_being_told(tmp_path: Path) -> None:
    for name in NAMES:
        shutil.copy(FLOWS / f"{name}.py", tmp_path)
    (tmp_path / "tool.py").write_text("print()\n")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "broken.py").write_text("class Broken(FlowSpec\n")
    (tmp_path / "team.py").write_text(BASE_FLOW)
    (tmp_path / "weekly.py").write_text("from team import TeamFlow\nclass OurFlow(TeamFlow): pass\nOurFlow()\n")
    (tmp_path / "notes.ipynb").write_text("class NotebookFlow(FlowSpec): pass")
    cell = "from metaflow import FlowSpec, step\nclass NotedFlow(FlowSpec):\n    @step\n    def start(self): ..."
    (tmp_path / "analysis.ipynb").write_bytes(notebook_of(cell))
    made = make_template(tmp_path)
    assert {flow.file for flow in made.flows} == {*(f"{name}.py" for name in NAMES), "weekly.py", "analysis.ipynb"}
    assert "TeamFlow" not in {flow.name for flow in made.flows}, "it is only a base"
    assert [error.code for error in made.unread] == ["flow-file-syntax", "bad-notebook"]


BASE_FLOW = """
from metaflow import FlowSpec, pypi_base, step

@pypi_base(packages={"rich": "13"})
class TeamFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""
MINE = """\
# Ours.
[flow.TeamFlow]
file = "team.py"   # the first
# steps: start, end
pypi = { packages = { rich = "14" } } # newer than the decorator's

# Theirs.
[env.notebook]
pypi = { packages = { jupyterlab = "" } }
"""


def added_to(folder: Path, before: str, **options: list[str]) -> Template:
    (folder / "envlock.toml").write_text(before)
    assert text_there(folder) == before
    return make_template(folder, before=before, **options)


def test_new_flows_are_added_and_everything_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(BASE_FLOW)
    assert not added_to(tmp_path, MINE).is_changed
    shutil.copy(FLOWS / "packages.py", tmp_path)
    made = added_to(tmp_path, MINE)
    assert made.added == (("flow", "TrainFlow"),)
    theirs = MINE.index("# Theirs.")
    assert made.text.startswith(MINE[:theirs].rstrip())
    assert made.text.endswith(MINE[theirs:])
    assert '\n# env = "notebook"\n' in made.text[len(MINE[:theirs].rstrip()) :], "what is there is offered"
    assert (
        tomli.loads(made.text)["flow"]["TrainFlow"]
        == tomli.loads((FLOWS / "packages.toml").read_text())["flow"]["TrainFlow"]
    )
    written = write_template(tmp_path, made)
    assert (written.old, written.files) == (None, (tmp_path / "envlock.toml",))
    again = added_to(tmp_path, made.text)
    assert (again.added, again.is_changed) == ((), False)


def test_a_copy_of_a_flow_that_envlock_toml_knows_is_passed_over(tmp_path: Path) -> None:
    for name in ("team.py", "backup.py"):
        (tmp_path / name).write_text(BASE_FLOW)
    with pytest.raises(SameFlowTwice):
        make_template(tmp_path)
    assert not added_to(tmp_path, MINE).is_changed


def test_new_steps_are_added_to_their_flow(tmp_path: Path) -> None:
    flow = BASE_FLOW.replace("self.end)", "self.train)")
    flow += "    @step\n    def plain(self):\n        self.next(self.end)\n"
    flow += '    @pypi(packages={"xgboost": ">=2"})\n    @step\n    def train(self):\n        self.next(self.plain)\n'
    (tmp_path / "team.py").write_text(flow.replace("pypi_base, step", "pypi, pypi_base, step"))
    made = added_to(tmp_path, MINE)
    assert made.added == (("flow", "TeamFlow", "step", "train"),)
    assert made.steps == (("TeamFlow", "plain"), ("TeamFlow", "train"))
    assert "# steps: start, plain, train, end\n" in made.text
    assert made.text.index("[flow.TeamFlow.step.train]") < made.text.index("# Theirs.")
    assert tomli.loads(made.text)["flow"]["TeamFlow"]["pypi"] == {"packages": {"rich": "14"}}, "the file knows better"
    made = added_to(tmp_path, made.text.replace('xgboost = ">=2"', 'xgboost = "2"'))
    assert not made.is_changed


def test_lines_end_as_they_do_in_the_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(BASE_FLOW)
    (tmp_path / "requirements.txt").write_text("attrs\n")
    before = MINE.replace("\n", "\r\n")
    assert make_template(tmp_path, before=before).text == before
    shutil.copy(FLOWS / "packages.py", tmp_path)
    made = make_template(tmp_path, before=before, take=["requirements.txt"])
    assert made.text.count("\n") == made.text.count("\r\n")
    assert (len(made.added), made.steps) == (3, ())


def test_what_a_flow_asks_for_is_added_where_its_table_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(BASE_FLOW)
    made = added_to(tmp_path, 'flow = { TeamFlow = { file = "team.py" } }\n')
    assert made.added == (("flow", "TeamFlow", "pypi"),)
    assert tomli.loads(made.text)["flow"] == {"TeamFlow": {"file": "team.py", "pypi": {"packages": {"rich": "13"}}}}


@pytest.mark.parametrize("text", ["tool = 3", "tool = []", "[tool]\npoetry = 3\n", "[tool.uv]\nsources = 3\n"])
def test_a_pyproject_of_any_shape_is_passed_over_or_offered(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert make_template(tmp_path).offered == (("pyproject.toml",) if "poetry" in text else ())


def test_requirement_files_of_the_folder_are_offered_and_taken_over(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(BASE_FLOW)
    (tmp_path / "requirements.txt").write_text("attrs\n")
    (tmp_path / "extra.in").write_text("click\n")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    first = make_template(tmp_path)
    assert first.offered == ("requirements.txt",), "that pyproject.toml requires nothing"
    assert '# steps: start, end\n# requirements = "requirements.txt"\npypi = ' in first.text
    taken = added_to(tmp_path, first.text, take=["requirements.txt"])
    assert "\n# requirements" not in taken.text
    assert tomli.loads(taken.text)["flow"]["TeamFlow"]["requirements"] == "requirements.txt"
    assert (taken.offered, taken.added) == ((), (("flow", "TeamFlow", "requirements"),))
    assert [str(each) for each in taken.project.environments()[0].requirements.pypi] == ["attrs", "rich==13"]
    both = added_to(tmp_path, taken.text, take=["requirements.txt", "extra.in"])
    assert tomli.loads(both.text)["flow"]["TeamFlow"]["requirements"] == ["requirements.txt", "extra.in"]
    assert not added_to(tmp_path, both.text, take=["extra.in"]).is_changed


def test_a_requirement_file_may_be_elsewhere_and_the_schema_comes_later(tmp_path: Path) -> None:
    (tmp_path / "team.py").write_text(BASE_FLOW)
    (tmp_path / "needs").mkdir()
    (tmp_path / "needs" / "all.txt").write_text("attrs\n")
    made = added_to(tmp_path, MINE, take=[str(tmp_path / "needs" / ".." / "needs" / "all.txt")])
    assert tomli.loads(made.text)["flow"]["TeamFlow"]["requirements"] == "needs/all.txt"
    made = make_template(tmp_path, before=MINE, schema=True)
    assert made.text == f"#:schema .envlock.schema.json\n{MINE}"
    assert make_template(tmp_path, before=made.text, schema=True).text == made.text


def test_a_requirement_file_without_flows_is_an_environment(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("attrs\n")
    made = make_template(tmp_path, take=["requirements.txt"])
    assert tomli.loads(made.text)["env"] == {"base": {"requirements": "requirements.txt"}}


@pytest.mark.parametrize("name", ["gone.txt", "setup.cfg", "folder.txt", "bad\x1b.txt"])
def test_what_is_no_requirement_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(NoRequirementFile):
        make_template(tmp_path, take=[name])


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


def test_a_team_file_is_extended_by_a_new_envlock_toml_and_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    folder = tmp_path / "flows"
    folder.mkdir()
    for name in ("team.toml", "other.toml"):
        (tmp_path / name).write_text('[envlock]\narchs = ["linux-64"]\n')
    made = make_template(folder, extends="../team.toml")
    assert made.project.settings.archs == ("linux-64",)
    assert 'extends = "../team.toml"\n' in made.text
    again = make_template(folder, before=made.text, extends=str(tmp_path / "team.toml"))
    assert (again.text, again.added) == (made.text, ())
    changed = make_template(folder, before=made.text, extends="../other.toml")
    assert changed.text == made.text.replace("team.toml", "other.toml")
    own = make_template(folder, before='[env.base]\npypi.python = "3.12"\n', extends="../team.toml")
    assert own.added == (("envlock", "extends"),)
    assert own.project.settings.extends == "../team.toml"


def test_a_team_file_that_is_no_file_of_the_repository_is_not_extended(tmp_path: Path) -> None:
    (tmp_path / "flows" / ".git").mkdir(parents=True)
    (tmp_path / "team.toml").write_text("[envlock]\n")
    for name in ("gone.toml", "../team.toml"):
        with pytest.raises(BadTeamFile) as caught:
            make_template(tmp_path / "flows", extends=name)
        assert caught.value.locations[0].key == "envlock.extends"


@pytest.fixture
def user_file(isolated: Path) -> Path:
    path = isolated / "config" / "envlock" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_a_first_file_has_the_settings_that_a_company_gives_to_new_projects(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text(
        '[envlock]\ncache = "s3://team/envlock"\n[init]\nindex-url = "https://${USER}:${TOKEN}@index.example/simple/"\n'
        'archs = ["linux-64"]\nexclude-newer = 2026-11-01\nsystem-requirements.linux-64.__glibc = "2.31"\n'
    )
    made = make_template(tmp_path)
    assert made.settings == ("index-url", "archs", "exclude-newer", "system-requirements")
    found = made.project.settings
    assert found.index_url == "https://${USER}:${TOKEN}@index.example/simple/"
    assert (found.archs, found.exclude_newer) == (("linux-64",), "2026-11-01")
    assert found.system_requirements == (("linux-64", (("__glibc", "2.31"),)),)
    assert "cache =" not in re.sub(r"(?m)^#.*", "", made.text), "which stays the machine's"
    path = tmp_path / "envlock.toml"
    path.write_text(made.text)
    assert text_there(tmp_path) is None, "a skeleton of envlock's is written anew"
    user_file.write_text("")
    assert load_project(path).settings.index_url == found.index_url, "it is in the repository now"
    assert make_template(tmp_path, before="[envlock]\n").settings == ()


def test_with_a_team_file_a_first_file_has_no_settings_of_the_machine(tmp_path: Path, user_file: Path) -> None:
    user_file.write_text('[init]\narchs = ["linux-64"]\n')
    (tmp_path / "team.toml").write_text('[envlock]\narchs = ["osx-arm64"]\n')
    made = make_template(tmp_path, extends="team.toml")
    assert (made.settings, made.project.settings.archs) == ((), ("osx-arm64",))


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ('index-url = "https://me:s3cret@index.example/simple/"', "bad-value", 2),
        ('channels = ["https://conda.example/t/s3cret-token/team"]', "bad-value", 2),
        ('archs = "linux-64"', "wrong-type", 2),
        ('idnex-url = "x"', "unknown-key", 2),
        ('home = "/data"', "unknown-key", 2),
    ],
)
def test_what_a_first_file_cannot_have_is_told_where_it_stands(
    tmp_path: Path, user_file: Path, text: str, code: str, line: int
) -> None:
    user_file.write_text(f"[init]\n{text}\n")
    with pytest.raises(EnvlockError) as caught:
        make_template(tmp_path)
    at = caught.value.locations[0]
    assert (caught.value.code, at.path, at.line) == (code, str(user_file), line)
    assert "s3cret" not in caught.value.render()
