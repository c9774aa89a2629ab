"""Packages from a repository, a folder or a file: what they are called, what changes them, what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from envlock.config.edit.add_remove import add_packages
from envlock.config.local_sources import source_requirement
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.config.requirement_files.pip_requirement import path_entry
from envlock.errors import ConfigError
from envlock.source_tree import content_hash

PYPROJECT = '[build-system]\nrequires = ["setuptools"]\n[project]\nname = "common"\nversion = "1.0"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    common = tmp_path / "libs" / "common"
    common.mkdir(parents=True)
    (common / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "dist").mkdir()
    for name in ("common-1.0-py3-none-any.whl", "common-1.0.tar.gz", "notes.txt"):
        (tmp_path / "dist" / name).write_bytes(b"data")
    return tmp_path


def project_of(folder: Path, entry: str) -> Project:
    (folder / "envlock.toml").write_text(f"[env.base.pypi.packages]\n{entry}\n")
    return load_project(folder / "envlock.toml")


def test_a_folder_is_named_by_its_content_and_found_by_its_path(folder: Path) -> None:
    (environment,) = project_of(folder, 'common = { path = "libs/common", extras = ["x"] }').named
    (asked,) = environment.requirements.pypi
    url = f"folder+sha256:{content_hash(folder / 'libs/common')}"
    assert str(asked) == f"common[x] @ {url}"
    assert environment.local == ((url, "libs/common"),)


def test_a_change_in_a_folder_changes_the_id_and_another_place_does_not(folder: Path) -> None:
    entry = 'common = { path = "libs/common" }'
    (before,) = project_of(folder, entry).named
    (folder / "libs").rename(folder / "lib")
    (moved,) = project_of(folder, entry.replace("libs/", "lib/")).named
    assert moved.requirements.req_id == before.requirements.req_id
    (folder / "lib" / "common" / "common.py").write_text("x = 1\n")
    (changed,) = project_of(folder, entry.replace("libs/", "lib/")).named
    assert changed.requirements.req_id != before.requirements.req_id


@pytest.mark.parametrize("name", ["common-1.0-py3-none-any.whl", "common-1.0.tar.gz"])
def test_a_file_is_named_by_its_hash(folder: Path, name: str) -> None:
    (environment,) = project_of(folder, f"common = {{ path = 'dist/{name}' }}").named
    url = f"file+sha256:{hashlib.sha256(b'data').hexdigest()}/{name}"
    assert (environment.requirements.pypi[0].url, environment.local) == (url, ((url, f"dist/{name}"),))


def test_a_monorepo_has_its_folders_above_envlock_toml(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / "flows").mkdir()
    (environment,) = project_of(folder / "flows", 'common = { path = "../libs/common" }').named
    assert [path for _, path in environment.local] == ["../libs/common"]


@pytest.mark.parametrize(
    ("table", "url"),
    [
        ({"git": "https://code.example/t/tool"}, "git+https://code.example/t/tool"),
        ({"git": "https://code.example/t/tool", "branch": "main"}, "git+https://code.example/t/tool@main"),
        (
            {"git": "ssh://git@code.example/t/tool.git", "tag": "v1", "subdirectory": "./py/"},
            "git+ssh://git@code.example/t/tool.git@v1#subdirectory=py",
        ),
        ({"git": "git@code.example:t/tool.git", "rev": "c0ffee"}, "git+ssh://git@code.example/t/tool.git@c0ffee"),
        ({"git": "git+http://127.0.0.1:8000/tool.git"}, "git+http://127.0.0.1:8000/tool.git"),
    ],
)
def test_a_repository_is_named_by_its_url(table: dict[str, Any], url: str, tmp_path: Path) -> None:
    requirement, local = source_requirement("Tool", table, folder=tmp_path, project=tmp_path)
    assert (requirement.name, requirement.url, local) == ("tool", url, None)


@pytest.mark.parametrize(
    ("entry", "code", "reason"),
    [
        ('common = { path = "libs/comon" }', "bad-source", "no such file"),
        ('common = { path = "libs" }', "bad-source", "no Python project"),
        ('common = { path = "dist/notes.txt" }', "bad-source", "a file is a wheel"),
        ('other = { path = "dist/common-1.0-py3-none-any.whl" }', "bad-source", "it is a wheel of common"),
        ('common = { path = "/srv/common" }', "bad-source", "other machines"),
        ('common = { path = "~/common" }', "bad-source", "other machines"),
        ('common = { path = "../.." }', "bad-source", "outside the project"),
        ('common = { path = "libs/common", version = "1.0" }', "bad-source", "one version"),
        ('common = { path = "libs/common", branch = "main" }', "bad-source", "comes from `path`"),
        ('common = { git = "https://code.example/x", tag = "v1", branch = "main" }', "bad-source", "`tag` names"),
        ('common = { git = "https://code.example/x", path = "libs/common" }', "bad-source", "comes from `git`"),
        ('common = { git = "https://code.example/x", subdirectory = "../x" }', "bad-source", "a folder in the source"),
        ('common = { branch = "main" }', "bad-source", "no `git` beside it"),
        ('common = { git = "https://me:s3cr3t@code.example/x" }', "credentials-in-direct-url", ""),
        ('common = { git = "/srv/common" }', "direct-url-not-web", ""),
        ('common = { git = "https://code.example/x", rev = "--upload-pack=x" }', "bad-value", "a commit, a tag"),
        ('common = { path = "libs/common", editable = true }', "unknown-key", "editable"),
        ('common = { path = "" }', "bad-value", "empty"),
    ],
)
def test_what_cannot_be_a_source_is_an_error_with_its_line(folder: Path, entry: str, code: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project_of(folder, entry)
    assert caught.value.code == code
    assert reason in caught.value.message
    assert (caught.value.locations[-1].path, caught.value.locations[-1].line) == ("envlock.toml", 2)
    assert "s3cr3t" not in caught.value.render()


@pytest.mark.parametrize(
    ("written", "entry"),
    [
        ("./libs/common", 'common = { path = "libs/common" }'),
        ("common @ ./libs/common", 'common = { path = "libs/common" }'),
        ("./libs/common[io]", 'common = { path = "libs/common", extras = ["io"] }'),
        (
            "common[io, gpu] @ libs/common ; sys_platform == 'linux'",
            """common = { path = "libs/common", extras = ["io", "gpu"], marker = "sys_platform == 'linux'" }""",
        ),
        ("dist/common-1.0-py3-none-any.whl", 'common = { path = "dist/common-1.0-py3-none-any.whl" }'),
        ("dist/common-1.0.tar.gz", 'common = { path = "dist/common-1.0.tar.gz" }'),
    ],
)
@pytest.mark.parametrize("before", ["", 'common = ">=2"', 'common = { git = "https://code.example/x", tag = "v1" }'])
def test_add_takes_a_path_and_finds_the_name(folder: Path, before: str, written: str, entry: str) -> None:
    text = f"[env.base.pypi.packages]\n{before}\n"
    paths = {written: path_entry(written, folder=folder, project=folder)}
    added, _ = add_packages(text, ("env", "base"), [written], paths=paths)
    assert entry in added.splitlines()
    (folder / "envlock.toml").write_text(added)
    assert load_project(folder / "envlock.toml").named[0].local


def test_a_version_takes_the_place_of_a_source() -> None:
    text = '[env.base.pypi.packages]\ncommon = { path = "libs/common" }\n'
    assert add_packages(text, ("env", "base"), ["common>=2"])[0].splitlines()[-1] == 'common = ">=2"'


@pytest.mark.parametrize("text", ["", "tool = 3", "tool.poetry = 3", "project = [1]", "project.name = 3"])
def test_a_folder_without_a_name_is_no_entry(folder: Path, text: str) -> None:
    (folder / "libs/common/pyproject.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        path_entry("libs/common", folder=folder, project=folder)
    assert '{ path = "libs/common" }' in (caught.value.hint or "")


def test_add_finds_the_name_in_setup_py_as_requirement_files_do(folder: Path) -> None:
    (folder / "libs/common/pyproject.toml").unlink()
    (folder / "libs/common/setup.py").write_text("import setuptools\nsetuptools.setup(name='common', version='1')\n")
    assert path_entry("libs/common", folder=folder, project=folder) == ("common", {"path": "libs/common"})


def test_add_refuses_a_folder_of_another_project(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        path_entry("other @ ./libs/common", folder=folder, project=folder)
    assert caught.value.code == "bad-source"
    assert "common" in caught.value.message


def test_add_says_of_a_path_that_leads_nowhere_that_nothing_is_there(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        path_entry("./libs/nowhere", folder=folder, project=folder)
    assert caught.value.code == "bad-source"
    assert "no such file" in caught.value.message


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("libs/comon", "did you mean `libs/common`?"),
        ("dist/tool-1.0-py3-none-any.whl", "did you mean `dist/tool-1.0-py2.py3-none-any.whl`?"),
    ],
)
def test_a_path_that_is_nearly_right_is_told_the_right_one(folder: Path, written: str, hint: str) -> None:
    (folder / "dist").mkdir(exist_ok=True)
    (folder / "dist" / "tool-1.0-py2.py3-none-any.whl").touch()
    (folder / "envlock.toml").write_text(f'[env.base.pypi.packages]\ntool = {{ path = "{written}" }}\n')
    with pytest.raises(ConfigError) as caught:
        load_project(folder / "envlock.toml")
    assert (caught.value.code, caught.value.hint) == ("bad-source", hint)


def test_two_sources_of_one_package_contradict_each_other_with_both_lines(folder: Path) -> None:
    (folder / "requirements.txt").write_text("# ours\ncommon @ git+https://code.example/common@main\n")
    text = (
        '[env.base]\nrequirements = "requirements.txt"\n[env.base.pypi.packages]\ncommon = { path = "libs/common" }\n'
    )
    (folder / "envlock.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_project(folder / "envlock.toml")
    assert caught.value.code == "disagreeing-values"
    assert {(each.path, each.line) for each in caught.value.locations} >= {("envlock.toml", 4), ("requirements.txt", 2)}


def test_a_link_that_leads_out_of_the_project_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "pyproject.toml").write_text(PYPROJECT)
    (folder / "libs" / "out").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="outside the project"):
        project_of(folder, 'common = { path = "libs/out" }')


@pytest.mark.parametrize(("written", "found"), [("true", True), ('["DocOpt", "x_y"]', ("docopt", "x-y"))])
def test_build_names_packages_or_allows_all(written: str, found: object, tmp_path: Path) -> None:
    (tmp_path / "envlock.toml").write_text(f"[envlock]\nbuild = {written}\n")
    assert load_project(tmp_path / "envlock.toml").settings.build == found
