"""`envlock init`, as it is typed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import Envlock
from tests.notebooks import notebook_of

FLOWS = Path(__file__).parent.parent / "config" / "flows" / "samples"


def test_from_nothing(tmp_path: Path, envlock: Envlock) -> None:
    ran = envlock("init")
    assert ran.stdout == "wrote envlock.toml\n"
    assert ran.stderr == "\nnext:\n  name your flows in envlock.toml\n  envlock lock\n"
    assert [path.name for path in tmp_path.iterdir()] == ["envlock.toml"]
    envlock("check")


def test_a_link_to_itself_is_no_file_and_gives_way(tmp_path: Path, envlock: Envlock) -> None:
    (tmp_path / "envlock.toml").symlink_to("envlock.toml")
    assert envlock("init").stdout == "wrote envlock.toml\n"
    envlock("check")


def test_from_nothing_beside_flows(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    assert envlock("init").stdout == "wrote envlock.toml\n  PlainFlow: 4 steps, 0 of their own\n"


def test_a_flow_in_a_notebook_is_run_from_its_cell(tmp_path: Path, envlock: Envlock) -> None:
    cell = "from metaflow import FlowSpec, step\nclass TrainFlow(FlowSpec):\n    @step\n    def start(self): pass\n"
    (tmp_path / "analysis.ipynb").write_bytes(notebook_of(cell))
    said = envlock("init").stderr
    assert "python analysis.ipynb" not in said
    assert '  NBRunner(TrainFlow, environment="envlock").nbrun()   in the flow\'s cell of analysis.ipynb\n' in said


def test_from_a_flow_file(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "packages.py", tmp_path)
    ran = envlock("init", "packages.py")
    assert ran.stdout == "wrote envlock.toml\n  TrainFlow: 4 steps, 3 of their own, 4 decorators\n"
    assert ran.stderr == (
        "\nnext:\n"
        "  remove the decorators from packages.py, lines 7, 15, 20, 33: they need another --environment\n"
        "    (`envlock migrate` makes a patch of that)\n"
        "  envlock lock\n"
        "  python packages.py --environment=envlock run\n"
    )
    assert (tmp_path / "envlock.toml").read_text().endswith((FLOWS / "packages.toml").read_text())


def test_what_could_not_be_read_is_listed_with_its_line(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "unreadable.py", tmp_path)
    ran = envlock("init", "unreadable.py")
    listed = ran.stderr.split("\n\n")[0].splitlines()
    assert listed[:2] == [
        "",
        "review:",
    ]
    comments = [line for line in (FLOWS / "unreadable.toml").read_text().splitlines() if line.startswith("#   ")]
    assert len(listed) == 2 + len(comments)
    assert (
        "  unreadable.py:40 train: @gpu is not a Metaflow decorator; not read, though it may ask for packages" in listed
    )


def test_named_environments_are_carried_over(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "netflix.py", tmp_path)
    ran = envlock("init", "netflix.py", "--json", "--force")
    assert ran.json["written"] == ["envlock.toml"]
    (flow,) = ran.json["flows"]
    assert flow["name"] == "MediaFlow"
    assert flow["steps"] == ["start", "encode", "score", "join", "fetch", "old", "end"]
    assert {note["step"] for note in flow["notes"]} == {"encode", "score", "join", "end"}
    text = (tmp_path / "envlock.toml").read_text()
    assert 'name = "media/scoring:v2.1"' in text
    assert 'pathspec = "MediaFlow/142/encode"' in text


def test_what_is_there_is_not_overwritten_without_force(tmp_path: Path, envlock: Envlock) -> None:
    config = tmp_path / "envlock.toml"
    config.write_text("# mine\n")
    assert envlock("init").stdout == "nothing to add: envlock.toml has all of it already\n"
    assert config.read_text() == "# mine\n"
    for damage, code in [(b"mine\n", "not-toml"), (b"\xff\n", "not-toml"), (b"[flow]\nx = 1\n", "wrong-type")]:
        config.write_bytes(damage)
        assert envlock("init", check=2).stderr.startswith(f"error[{code}]: ")
        assert config.read_bytes() == damage
    config.write_text("# mine\n")
    envlock("init", "--force")
    assert config.read_text() != "# mine\n"
    assert (tmp_path / "envlock.toml.old").read_text() == "# mine\n"


def test_what_replacing_drops_is_kept_and_reported(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    config = tmp_path / "envlock.toml"
    envlock("init", "plain.py")
    migrated = config.read_text() + 'pypi = { packages = { pandas = "2.2.3", "requests[socks]" = "" } }\n'
    config.write_text(migrated)
    ran = envlock("init", "--force", "plain.py", "--metaflow-default")
    assert (tmp_path / "envlock.toml.old").read_text() == migrated
    assert "note: the previous envlock.toml is kept as envlock.toml.old\n" in ran.stderr
    assert ".pypi.packages.pandas\n" in ran.stderr
    assert '.pypi.packages."requests[socks]"\n' in ran.stderr
    config.write_text(migrated)
    told = envlock("init", "--force", "plain.py", "--json").json
    assert told["old"] == "envlock.toml.old.2"
    assert [key.partition(".pypi.")[2] for key in told["dropped"]] == ["packages.pandas", 'packages."requests[socks]"']


def test_what_is_new_is_added_and_said(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    (tmp_path / "requirements.txt").write_text("rich\n")
    envlock("init")
    shutil.copy(FLOWS / "packages.py", tmp_path)
    config = tmp_path / "envlock.toml"
    before = config.read_text()
    dry = envlock("init", "--dry-run")
    assert config.read_text() == before
    assert "\n+[flow.TrainFlow]\n" in dry.stdout
    assert "\n-" not in dry.stdout.replace("\n--- ", "")
    ran = envlock("init", "--json").json
    assert (ran["added"], ran["written"], ran["old"]) == (["flow.TrainFlow"], ["envlock.toml"], None)
    assert ran["offered"] == ["requirements.txt"]
    ran = envlock("init", "--with", "requirements.txt")
    assert ran.stdout == ("added to envlock.toml:\n  flow.TrainFlow.requirements\n  flow.PlainFlow.requirements\n")
    assert "--with" not in ran.stderr
    assert envlock("init").stdout.startswith("nothing to add")
    assert envlock("init", "--with", "gone.txt", check=2).stderr.startswith("error[no-requirement-file]: ")


def test_bad_files(tmp_path: Path, envlock: Envlock) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nclass Broken(:\n")
    (tmp_path / "tool.py").write_text("x = 1\n")
    assert envlock("init", "gone.py", check=2).stderr.startswith("error[flow-file-missing]: ")
    broken = envlock("init", "broken.py", check=2).stderr
    assert broken.startswith("error[flow-file-syntax]: ")
    assert "  at broken.py:2\n" in broken
    assert envlock("init", "tool.py", check=2).stderr.startswith("error[no-flow-in-file]: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.py", "tool.py"]


def test_metaflow_default_leaves_an_envlock_toml_as_it_is(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    config = tmp_path / "envlock.toml"
    for arguments in ((), ("plain.py",)):
        config.write_text("# mine\n")
        ran = envlock("init", *arguments, "--metaflow-default")
        assert ran.stdout == "wrote .metaflow/config.json\n"
        assert "envlock.toml exists already and was not changed" in ran.stderr
        assert config.read_text() == "# mine\n"
        assert (tmp_path / ".metaflow" / "config.json").exists()
        shutil.rmtree(tmp_path / ".metaflow")
    assert envlock("init", "--metaflow-default", "--json").json["written"] == [".metaflow/config.json"]


def test_a_flow_that_was_migrated_needs_no_option(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    ran = envlock("init", "plain.py", "--schema", "--metaflow-default")
    assert ran.stdout.splitlines()[:3] == [
        "wrote envlock.toml",
        "wrote .metaflow/config.json",
        "wrote .envlock.schema.json",
    ]
    assert "  python plain.py run\n" in ran.stderr
    assert json.loads((tmp_path / ".metaflow" / "config.json").read_text()) == {
        "METAFLOW_DEFAULT_ENVIRONMENT": "envlock"
    }
    assert json.loads((tmp_path / ".envlock.schema.json").read_text())["properties"]
    said = subprocess.run(
        [sys.executable, "plain.py", "run"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode != 0
    assert "envlock lock" in said.stdout + said.stderr, "envlock is in charge, and there is no lock yet"


SETTING = '"python.defaultInterpreterPath": "${workspaceFolder}/.envlock/envs/base/bin/python"'


def test_vscode_gets_an_environment_of_the_project_and_keeps_its_other_settings(
    tmp_path: Path, envlock: Envlock
) -> None:
    config = tmp_path / "envlock.toml"
    config.write_text('[env.base.pypi]\npython = "3.12"\n[env.other.pypi]\npython = "3.11"\n')
    assert "error[several-environments]" in envlock("init", "--vscode", check=2).stderr
    settings = tmp_path / ".vscode" / "settings.json"
    assert SETTING in envlock("init", "--vscode", "--env", "base", "--dry-run").stdout
    assert not settings.parent.exists()
    ran = envlock("init", "--vscode", "--env", "base")
    assert ran.stdout == "wrote .vscode/settings.json\n"
    assert "  envlock create --env base --in-project   VS Code then uses it\n" in ran.stderr
    assert settings.read_text() == f"{{\n    {SETTING}\n}}\n"
    (tmp_path / ".envlock" / "envs" / "base").mkdir(parents=True)
    ran = envlock("init", "--vscode", "--env", "base")
    assert "nothing to add" in ran.stdout
    assert ran.stderr == ""
    settings.write_text('{\n  // ours\n  "editor.rulers": [120],\n}\n')
    assert envlock("init", "--vscode", "--env", "base", "--json").json["written"] == [".vscode/settings.json"]
    assert settings.read_text() == f'{{\n  // ours\n  "editor.rulers": [120],\n  {SETTING}\n}}\n'
    assert config.read_text().startswith("[env.base.pypi]")


def test_settings_of_vscode_that_are_no_json_are_left_alone(tmp_path: Path, envlock: Envlock) -> None:
    (tmp_path / "envlock.toml").write_text('[env.base.pypi]\npython = "3.12"\n')
    settings = tmp_path / ".vscode" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{\n  "a": 1\n  "b": 2\n}\n')
    ran = envlock("init", "--vscode", check=2)
    assert "error[bad-vscode-settings]" in ran.stderr
    assert "at .vscode/settings.json:3" in ran.stderr
    assert f"add this line yourself: {SETTING}" in ran.stderr
    assert settings.read_text() == '{\n  "a": 1\n  "b": 2\n}\n'


def test_a_link_to_settings_of_vscode_stays_and_none_is_followed_out_of_the_project(
    tmp_path: Path, envlock: Envlock
) -> None:
    folder = tmp_path / "project"
    (folder / ".vscode").mkdir(parents=True)
    (folder / "envlock.toml").write_text('[env.base.pypi]\npython = "3.12"\n')
    (folder / "shared.json").write_text("{}")
    link = folder / ".vscode" / "settings.json"
    link.symlink_to("../shared.json")
    envlock("init", "--vscode")
    assert SETTING in (folder / "shared.json").read_text()
    assert link.is_symlink()
    link.unlink()
    (tmp_path / "mine.json").write_text("{}")
    link.symlink_to(tmp_path / "mine.json")
    assert "error[cannot-write]" in envlock("init", "--vscode", check=2).stderr
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_a_first_envlock_toml_and_vscode_in_one_go(tmp_path: Path, envlock: Envlock) -> None:
    shutil.copy(FLOWS / "plain.py", tmp_path)
    ran = envlock("init", "--vscode", "--step", "start", "--json")
    assert ran.json["written"] == ["envlock.toml", ".vscode/settings.json"]
    assert "envs/PlainFlow.start/bin/python" in (tmp_path / ".vscode" / "settings.json").read_text()
