"""`envlock add` and `envlock remove`, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import tomli

from tests.conftest import Envlock

TEXT = """\
# the flows of our team
[flow.TrainFlow]
file = "flow.py"
pypi = { packages = { pandas = "2.2.3" } }   # for all

[env.notebook]
pypi.packages.rich = "15"
"""
FLOW = """\
from metaflow import FlowSpec, step
class TrainFlow(FlowSpec):
    @step
    def start(self): self.next(self.train)
    @step
    def train(self): self.next(self.end)
    @step
    def end(self): pass
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    config = tmp_path / "envlock.toml"
    config.write_text(TEXT)
    return config


def test_add_and_remove_say_what_they_did_and_leave_no_trace(config: Path, envlock: Envlock) -> None:
    added = envlock("add", "requests[socks]>=2", "numpy")
    assert added.stdout == '+ "requests[socks]" = ">=2"  [flow.TrainFlow]\n+ numpy = ""  [flow.TrainFlow]\n'
    assert added.stderr == "hint: envlock lock\n"
    assert config.read_text() == TEXT.replace(
        'pandas = "2.2.3" }', 'pandas = "2.2.3", "requests[socks]" = ">=2", numpy = "" }'
    )
    assert envlock("remove", "numpy", "requests").stdout == (
        '- numpy = ""  [flow.TrainFlow]\n- "requests[socks]" = ">=2"  [flow.TrainFlow]\n'
    )
    assert config.read_text() == TEXT


def test_a_step_gets_a_table_of_its_own_from_any_folder_below(config: Path, envlock: Envlock) -> None:
    below = config.parent / "below"
    below.mkdir()
    ran = envlock("add", "xgboost >=2, <3", "--step", "train", cwd=below)
    assert ran.stdout == '+ xgboost = ">=2,<3"  [flow.TrainFlow.step.train]\n'
    assert config.read_text() == TEXT.replace(
        "\n[env.", '\n[flow.TrainFlow.step.train]\npypi = { packages = { xgboost = ">=2,<3" } }\n\n[env.'
    )


def test_a_changed_requirement_and_one_that_stands_already(config: Path, envlock: Envlock) -> None:
    ran = envlock("add", "rich>=15,<16", "--env", "notebook")
    assert ran.stdout == '~ rich = "15" -> ">=15,<16"  [env.notebook]\n'
    before = config.stat()
    ran = envlock("add", "rich >= 15, <16", "--env", "notebook")
    assert (ran.stdout, ran.stderr) == ("", "[env.notebook] lists that already\n")
    assert config.stat().st_mtime_ns == before.st_mtime_ns


def test_conda_packages(config: Path, envlock: Envlock) -> None:
    added = envlock("add", "--conda", "numpy>=1.26", "ffmpeg =6", "--step", "train")
    table = "[flow.TrainFlow.step.train]"
    assert added.stdout == f'+ numpy = ">=1.26"  {table}\n+ ffmpeg = "=6"  {table}\n'
    assert added.stderr == "hint: envlock lock\n"
    assert tomli.loads(config.read_text())["flow"]["TrainFlow"]["step"]["train"] == {
        "conda": {"libraries": {"numpy": ">=1.26", "ffmpeg": "=6"}}
    }
    changed = envlock("add", "--conda", "numpy=1.26", "--step", "train")
    assert changed.stdout == f'~ numpy = ">=1.26" -> "=1.26"  {table}\n'
    assert envlock("remove", "numpy", "--conda", "--step", "train").stdout == f'- numpy = "=1.26"  {table}\n'
    envlock("remove", "ffmpeg", "--conda", "--step", "train")
    assert "conda" not in config.read_text()


def test_a_conda_package_of_a_channel(config: Path, envlock: Envlock) -> None:
    added = envlock("add", "--conda", "samtools", "--channel", "bioconda", "--env", "notebook")
    assert added.stdout == '+ "bioconda::samtools" = ""  [env.notebook]\n'
    assert tomli.loads(config.read_text())["env"]["notebook"]["conda"] == {"libraries": {"bioconda::samtools": ""}}
    url = "https://me:s3cr3t@conda.example/t/s3cr3t/team"
    config.write_text(f'[envlock]\nchannels = ["{url}"]\n\n{TEXT}')
    added = envlock("add", "--conda", "samtools", "--channel", url)
    assert added.stdout == '+ "https://conda.example/team::samtools" = ""  [flow.TrainFlow]\n'
    assert tomli.loads(config.read_text())["flow"]["TrainFlow"]["conda"] == {
        "libraries": {"https://conda.example/team::samtools": ""},
    }
    again = envlock("add", "--conda", "samtools", "--channel", url, "--json")
    assert again.json == {"config": str(config), "changes": []}
    assert envlock("add", "--conda", "samtools>=1", "--channel", url, "--json").json["changes"] == [
        {
            "table": "flow.TrainFlow",
            "before": {"package": "https://conda.example/team::samtools", "version": ""},
            "after": {"package": "https://conda.example/team::samtools", "version": ">=1"},
        }
    ]


def test_json(config: Path, envlock: Envlock) -> None:
    assert envlock("add", "pandas>=2", "--json").json == {
        "config": str(config),
        "changes": [
            {
                "table": "flow.TrainFlow",
                "before": {"package": "pandas", "version": "2.2.3"},
                "after": {"package": "pandas", "version": ">=2"},
            }
        ],
    }
    assert envlock("remove", "nothing", "--json", check=2).json["error"]["code"] == "not-listed"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["add", "pan das"], "bad-version-specifier", "`das`"),
        (["add", "pandas=2"], "bad-version-specifier", "`=2` is not a version specifier"),
        (["add", "--conda", "two words"], "bad-conda-requirement", "`two words` is not a conda requirement"),
        (["add", "--conda", "numpy 1 2 3"], "bad-conda-requirement", "more than a version and a build"),
        (["add", "--conda", "python=3.10|3.11"], "bad-python-specifier", "`=3.10|3.11`"),
        (["add", "--conda", "./here::numpy"], "bad-channel", "`./here`"),
        (["add", "--conda", "numpy", "--channel", "./here"], "bad-channel", "`./here`"),
        (["add", "--conda", "a::numpy", "--channel", "b"], "usage", "names its channel already"),
        (["add", "numpy", "--channel", "conda-forge"], "usage", "--conda"),
        (["remove", "--conda", "pandas"], "not-listed", "hint: envlock remove pandas --flow TrainFlow"),
        (["add", "-e", "."], "usage", "-e"),
        (["add"], "usage", "PACKAGE"),
        (["add", "rich", "--step", "trian"], "no-such-selection", "did you mean `train`?"),
        (["add", "rich", "--flow", "TrainFlo"], "no-such-selection", "did you mean `TrainFlow`?"),
        (["add", "rich", "--env", "notebook", "--step", "train"], "usage", "--env"),
        (["remove", "rich"], "not-listed", "hint: envlock remove rich --env notebook"),
        (["remove", "panda"], "not-listed", "did you mean `pandas`?"),
        (["remove", "pandas==2.2.3"], "bad-package-name", "`pandas==2.2.3`"),
    ],
)
def test_what_is_refused_changes_nothing(
    arguments: list[str], code: str, said: str, config: Path, envlock: Envlock
) -> None:
    ran = envlock(*arguments, check=2)
    assert ran.stderr.startswith(f"error[{code}]: ")
    assert said in ran.stderr
    assert config.read_text() == TEXT
    assert sorted(path.name for path in config.parent.iterdir()) == ["envlock.toml", "flow.py"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "rich", "--step", "trian"],
        ["remove", "rich"],
        ["path"],
        ["show", "trian"],
        ["lock", "-P", "nope"],
        ["lock", "--upgrade-alias", "nope"],
        ["lock", "--alias", "team/base:v1"],
    ],
)
def test_an_error_names_the_file_that_was_read(arguments: list[str], config: Path, envlock: Envlock) -> None:
    other = config.rename(config.with_name("team.toml"))
    assert "\n  at team.toml" in envlock(*arguments, "--config", str(other), check=2).stderr


def test_what_would_no_longer_load_is_not_written(config: Path, envlock: Envlock) -> None:
    text = TEXT + "\n[flow.TrainFlow.step.end]\ndisabled = true\n"
    config.write_text(text)
    ran = envlock("add", "rich", "--step", "end", check=2)
    assert ran.stderr.startswith("error[disabled-with-requirements]: ")
    assert "envlock.toml:10 (flow.TrainFlow.step.end.disabled)" in ran.stderr
    assert config.read_text() == text


def test_without_an_envlock_toml(tmp_path: Path, envlock: Envlock) -> None:
    assert envlock("add", "rich", check=2).stderr.startswith("error[no-config]: ")


def test_no_process_is_started_and_nobody_is_talked_to(config: Path, watched: Envlock) -> None:
    ran = watched("add", "rich")
    assert [line for line in ran.effects if not line.startswith("write")] == []
    assert tomli.loads(config.read_text())["flow"]["TrainFlow"]["pypi"]["packages"]["rich"] == ""


def test_what_a_requirement_file_lists_is_to_be_removed_there(config: Path, envlock: Envlock) -> None:
    (config.parent / "base.txt").write_text("# ours\nRich>=13\n")
    (config.parent / "r.txt").write_text("-r base.txt\n")
    config.write_text(TEXT.replace('pypi.packages.rich = "15"', 'requirements = "r.txt"'))
    error = envlock("remove", "RICH", "--env", "notebook", "--json", check=2).json["error"]
    assert error["code"] == "not-listed"
    assert [(at["path"], at["line"]) for at in error["locations"]] == [("base.txt", 2)]
    assert "there" in error["hint"]
    assert envlock("remove", "attrs", "--env", "notebook", "--json", check=2).json["error"]["locations"] == []


def test_what_a_step_has_from_an_environment_of_the_file_is_changed_there(config: Path, envlock: Envlock) -> None:
    config.write_text(f'{TEXT}\n[flow.TrainFlow.step.train]\nenv = "notebook"\n')
    before = config.read_text()
    said = envlock("add", "rich<13", "--step", "train", check=2).stderr
    assert "error[disagreeing-values]: conflicting values: `rich<13` and `rich==15`" in said
    for place in ("step.train.pypi.packages.rich", "env.notebook.pypi.packages.rich", "step.train.env"):
        assert f"{place})" in said
    assert config.read_text() == before
    said = envlock("remove", "rich", "--step", "train", check=2).stderr
    assert "hint: envlock remove rich --env notebook" in said
    envlock("add", "attrs", "--step", "train")
    assert 'env = "notebook"\npypi = { packages = { attrs = "" } }\n' in config.read_text()
