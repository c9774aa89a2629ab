"""Names that are given when an environment is locked: `aliases` in envlock.toml, and `lock --alias`."""

from __future__ import annotations

import pytest

from tests.conftest import Envlock
from tests.support import ProjectFolder

CACHE = 'cache = "../shared"'
ARCHS = ("linux-64",)


def ask(project: ProjectFolder, *packages: str, aliases: str) -> None:
    project.write_env(*packages, name="base", settings=CACHE, archs=ARCHS)
    project.config.write_text(
        project.config.read_text().replace("[env.base.pypi]", f"[env.base]\naliases = {aliases}\n[env.base.pypi]")
    )


def test_what_the_config_says_is_given(project: ProjectFolder, envlock: Envlock, watched: Envlock) -> None:
    ask(project, "lam", aliases='["team/base:v1", "team/base"]')
    said = envlock("lock").stdout
    assert "gave team/base:v1 to base: " in said
    assert "gave team/base:latest to base: " in said
    assert "lam==1.0" in envlock("show", "team/base:v1").stdout
    ran = watched("lock")
    assert "nothing changed" in ran.stdout
    assert "to give one: envlock alias team/base:v1 --env base" in ran.stderr, "they may never have been given"
    assert not [effect for effect in ran.effects if "shared" in effect]


def test_a_tag_that_was_given_stays_behind_and_the_environment_is_locked_all_the_same(
    project: ProjectFolder, envlock: Envlock
) -> None:
    ask(project, "lam", aliases='["team/base:v1", "team/base"]')
    envlock("lock")
    envlock("alias", "team/base:v2", "team/base:v1")
    ask(project, "lam", "zeta", aliases='["team/base:v1", "team/base"]')
    ran = envlock("lock")
    assert "moved team/base:latest to base: " in ran.stdout, "what can move, moves"
    assert "team/base:v1 still names the previous environment" in ran.stderr
    assert "envlock alias team/base:v3 --env base, and write it into envlock.toml:" in ran.stderr, "v2 is taken too"
    assert "zeta" not in envlock("show", "team/base:v1").stdout
    envlock("check")
    envlock("alias", "team/base:v3", "--env", "base")
    assert "zeta==" in envlock("show", "team/base:v3").stdout


def test_a_tag_that_stays_behind_is_told_to_machines(project: ProjectFolder, envlock: Envlock) -> None:
    ask(project, "lam", aliases='["team/base:v1"]')
    first = envlock("lock", "--json").json
    assert (first["aliases"], first["behind"]) == ([{"name": "team/base:v1", "move": 1}], [])
    ask(project, "lam", "zeta", aliases='["team/base:@{RELEASE}", "team/base:v1"]')
    (behind,) = envlock("lock", "--json", env={"RELEASE": "v2"}).json["behind"]
    assert {key: behind[key] for key in ("name", "environment", "next")} == {
        "name": "team/base:v1",
        "environment": "base",
        "next": "team/base:v3",
    }
    assert project.config.read_text().splitlines()[behind["line"] - 1].startswith("aliases = ")
    assert list(behind["full_ids"]) == list(ARCHS)


def test_a_tag_on_the_command_line_that_was_given_ends_it_before_anything_is_locked(
    project: ProjectFolder, envlock: Envlock
) -> None:
    ask(project, "lam", aliases="[]")
    envlock("lock", "--alias", "team/base:v1")
    ask(project, "lam", "zeta", aliases="[]")
    before = project.snapshot()
    said = envlock("lock", "--alias", "team/base:v1", check=2).stderr
    assert "error[alias-taken]" in said
    assert project.snapshot() == before


def test_aliases_that_came_after_the_lock_are_reported(project: ProjectFolder, envlock: Envlock) -> None:
    ask(project, "lam", aliases="[]")
    assert "base was not locked again" not in envlock("lock").stderr
    ask(project, "lam", aliases='["team/base:v1"]')
    assert "base was not locked again" in envlock("lock").stderr
    assert "base was not locked again" not in envlock("lock", "--alias", "team/base:v1").stderr
    ask(project, "lam", "zeta", aliases='["team/base:v2"]')
    assert "base was not locked again for all archs" in envlock("lock", "--arch", "linux-64").stderr


def test_a_name_on_the_command_line(project: ProjectFolder, envlock: Envlock) -> None:
    ask(project, "lam", aliases="[]")
    envlock("lock")
    assert "gave team/base:v1 to base: " in envlock("lock", "--alias", "team/base:v1").stdout
    assert " already, since " in envlock("lock", "--alias", "team/base:v1").stdout
    said = envlock("lock", "--alias", "Team:v1", check=2).stderr
    assert "error[bad-alias]" in said
    project.config.write_text(project.config.read_text() + "[env.other.pypi]\npackages = { zeta = '' }\n")
    said = envlock("lock", "--alias", "team/base:v2", check=2).stderr
    assert "error[several-environments]" in said
    assert "gave team/other:v1 to other: " in envlock("lock", "--env", "other", "--alias", "team/other:v1").stdout


@pytest.mark.parametrize("name", ["Team/base", "", "team/../base", "a:b:c"])
def test_a_name_that_is_none(project: ProjectFolder, envlock: Envlock, name: str) -> None:
    ask(project, "lam", aliases=f'["{name}"]')
    said = envlock("check", check=2).stderr
    assert "error[bad-alias]" in said
    assert "(env.base.aliases.0)" in said


def test_ids_are_no_name_to_give(project: ProjectFolder, envlock: Envlock) -> None:
    ask(project, "lam", aliases=f'["team/base", "{"a" * 40}:{"b" * 40}"]')
    said = envlock("check", check=2).stderr
    assert "error[bad-alias]" in said
    assert "(env.base.aliases.1)" in said


@pytest.mark.parametrize(
    ("variables", "code"), [({}, "unset-name-variable"), ({"ENVLOCK_VERSION": "../x"}, "bad-alias")]
)
def test_a_variable_of_a_name_is_reported_with_its_line(
    project: ProjectFolder, envlock: Envlock, variables: dict[str, str], code: str
) -> None:
    ask(project, "lam", aliases='["team/base:@{ENVLOCK_VERSION}"]')
    before = project.snapshot()
    said = envlock("lock", check=2, env=variables).stderr
    assert f"error[{code}]" in said
    assert "(env.base.aliases.0)" in said
    assert project.snapshot() == before
