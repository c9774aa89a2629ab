"""The JSON schema is the models', and says of a file's shape what the full reader says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import tomli

from envlock.config.json_schema import json_schema, json_schema_text, node_at, settings_schema
from envlock.config.metaflow_needs import NEEDS
from envlock.config.read import load_project
from envlock.config.schema import ArchName, DatastoreName, VirtualPackage
from envlock.config.shape import fits
from envlock.config.system_packages import VIRTUAL_PACKAGES
from envlock.config.validate import explain
from envlock.model.arch import ARCHS
from scripts.reference_pages import generated_files
from tests.config.test_validate import BAD, GOOD
from tests.support import ProjectFolder

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "envlock.toml.example"
SCHEMA = ROOT / "schemas" / "envlock.schema.json"
CONFIGS = [EXAMPLE, *sorted(ROOT.glob("examples/*/envlock.toml"))]

# What the reader refuses beyond what a schema can say: the sense of a string.
SENSE = {
    *(
        "bad-index-url",
        "bad-instant",
        "bad-python-specifier",
        "bad-marker",
        "bad-version-specifier",
        "bad-package-name",
        "bad-channel",
        "bad-conda-requirement",
    ),
    *("not-toml", "merge-conflict", "written-twice"),
}
SENSE_CASES = {
    "flags of pip that mean nothing when locking, and extras of a package",
    "a mirror that is a variable with a default",
    "a host with a scheme",
    "an amount without a unit",
    "a floor that is no version",
    "a floor of another system",
    "a version beside a URL",
    "a system version that is none",
    "a mirror that is no URL",
    "a bucket with one slash",
    "an endpoint with a secret",
    "a version of what may be older",
    "a link script of a version",
    "a step that no method can be called",
    "a list of users with a word for all",
    "an index for a URL",
    "an index that is neither name nor URL, and a name that no index can have",
}


@pytest.mark.parametrize("path", generated_files(), ids=lambda path: path.name)
def test_what_is_made_from_the_models_and_the_commands_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generated_files()[path], "run `make docs-check`"


@cache
def validator() -> jsonschema.Draft7Validator:
    """The schema, to hold documents to."""
    return jsonschema.Draft7Validator(json_schema())


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())


def test_the_schema_has_no_null_and_no_reference_that_editors_would_not_read() -> None:
    for node in nodes(json_schema()):
        assert node.get("type") != "null"
        assert "$ref" not in node or set(node) == {"$ref"}, "draft 7 reads nothing beside a $ref"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_keep_to_the_schema_and_name_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    validator().validate(tomli.loads(text))
    explain(text, path)
    first = text.splitlines()[0]
    assert first.startswith("#:schema ")
    assert (path.parent / first.removeprefix("#:schema ")).resolve() == SCHEMA


def test_the_example_loads(tmp_path: Path) -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    (tmp_path / "envlock.toml").write_text(text, encoding="utf-8")
    folder = ProjectFolder(tmp_path, "")
    folder.write_flow("TrainFlow", steps=["start", "train", "score", "end"]).rename(tmp_path / "train_flow.py")
    folder.write_flow("NightlyFlow").rename(tmp_path / "nightly_flow.py")
    (tmp_path / "team.toml").write_text('[envlock]\ncache = "s3://team/envlock"\n', encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("rich>=13\n", encoding="utf-8")
    (tmp_path / "environment.yml").write_text("dependencies: [ffmpeg]\n", encoding="utf-8")
    lists = '[project]\nname = "train"\noptional-dependencies.gpu = ["numpy"]\n[dependency-groups]\ntrain = ["shap"]\n'
    (tmp_path / "pyproject.toml").write_text(lists, encoding="utf-8")
    (tmp_path / "libs/common").mkdir(parents=True)
    (tmp_path / "libs/common/pyproject.toml").write_text("", encoding="utf-8")
    project = load_project(tmp_path / "envlock.toml")
    assert [flow.name for flow in project.flows] == ["TrainFlow", "NightlyFlow"]
    assert [environment.name for environment in project.named] == ["base"]


def test_the_example_shows_every_key() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    missing = [key for node in nodes(json_schema()) for key in node.get("properties", {}) if not shows(text, key)]
    assert missing == []


def shows(text: str, key: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", re.sub(r"#.*", "", text)) is not None


def test_every_key_has_a_meaning_and_an_example_that_is_right() -> None:
    definitions = json_schema()["definitions"]
    for node in nodes(json_schema()):
        for key, about in node.get("properties", {}).items():
            meaning = about.get("description") or node_at(("envlock",)).get("description")
            assert meaning, key
            assert meaning.endswith("."), key
            assert about["examples"], key
            for example in about["examples"]:
                jsonschema.Draft7Validator({**about, "definitions": definitions}).validate(example)


@pytest.mark.parametrize("name", [name for name, (source, *_) in BAD.items() if isinstance(source, str)])
def test_schema_and_reader_and_light_reader_agree_on_shapes(name: str) -> None:
    source, (code, *_), *_ = BAD[name]
    if code in {"not-toml", "merge-conflict", "written-twice"}:
        return
    document = tomli.loads(source)
    is_sense = code in SENSE or name in SENSE_CASES
    assert validator().is_valid(document) is is_sense
    if code in {"unknown-key", "wrong-type"} and not is_sense:
        assert not fits(document)


def test_the_choices_are_those_that_the_code_knows() -> None:
    assert get_args(ArchName) == ARCHS
    assert get_args(VirtualPackage) == tuple(VIRTUAL_PACKAGES)
    assert get_args(DatastoreName) == tuple(NEEDS)


def test_a_right_file_has_the_right_shape() -> None:
    document = tomli.loads(GOOD)
    assert fits(document)
    validator().validate({**document, "envlock": {**document["envlock"], "exclude-newer": "2026-11-01"}})


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every table of the schema that may itself be a schema; examples and defaults are values, and passed over."""
    if isinstance(value, dict):
        yield value
        for key, inner in value.items():
            if key not in {"examples", "default"}:
                yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_the_schema_takes_the_place_of_no_file_but_a_schema(tmp_path: Path) -> None:
    from envlock.__main__ import main

    config, made = tmp_path / "envlock.toml", tmp_path / "s.json"
    config.write_text("# mine\n")
    assert main(["schema", "--output", str(config)]) == 2
    assert config.read_text() == "# mine\n"
    made.write_text("{}")
    assert main(["schema", "--output", str(made)]) == 0
    assert json.loads(made.read_text())["$schema"]


def test_the_command_prints_the_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from envlock.__main__ import main

    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
    assert main(["schema", "--output", str(tmp_path / "made" / "s.json")]) == 0
    assert (tmp_path / "made" / "s.json").read_text(encoding="utf-8") == json_schema_text()
    assert capsys.readouterr().out == ""


def test_an_output_that_cannot_be_written_is_no_defect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from envlock.__main__ import main

    (tmp_path / "file").write_text("", encoding="utf-8")
    assert main(["schema", "--output", str(tmp_path / "file" / "s.json")]) == 2
    assert "error[cannot-write]" in capsys.readouterr().err


@pytest.mark.parametrize("is_machine", [False, True])
def test_settings_files_have_a_schema_that_says_what_the_reader_says(is_machine: bool, tmp_path: Path) -> None:
    from envlock.config.validate import explain_settings
    from envlock.errors import EnvlockError

    known = jsonschema.Draft7Validator(settings_schema(is_machine=is_machine))
    jsonschema.Draft7Validator.check_schema(known.schema)
    for text, right in {
        '[envlock]\ncache = "s3://a/b"\ncache-options.region = "x"\n': (True, True),
        '[envlock]\nindex-url = "https://index.example/"\nresolver.pypi = "uv"\n': (True, False),
        '[envlock]\nhome = "/data"\n': (False, True),
        '[init]\nindex-url = "https://index.example/"\nsystem-requirements.linux-64.__glibc = "2.31"\n': (False, True),
        "[init]\nhome = '/data'\n": (False, False),
        "[env.base]\n": (False, False),
        "[envlock]\ncache = 1\n": (False, False),
    }.items():
        assert known.is_valid(tomli.loads(text)) is right[is_machine], text
        try:
            explain_settings(text, "x.toml", is_machine=is_machine)
            is_right = True
        except EnvlockError:
            is_right = False
        assert is_right is right[is_machine], text


@pytest.mark.parametrize(("option", "is_machine"), [("--team", False), ("--user", True)])
def test_the_command_prints_the_schema_of_settings_files(
    capsys: pytest.CaptureFixture[str], option: str, is_machine: bool
) -> None:
    from envlock.__main__ import main

    assert main(["schema", option]) == 0
    assert json.loads(capsys.readouterr().out) == settings_schema(is_machine=is_machine)
    assert main(["schema", "--team", "--user"]) == 2
