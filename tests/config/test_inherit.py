"""The merge rules: tables of one level agree, a step goes over its flow, key by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.config.project import Environment
from envlock.config.read import load_project
from envlock.errors import ConfigError
from tests.config.projects import load


def steps(folder: Path, tables: str, *, settings: str = "") -> dict[str, Environment | None]:
    """The environment of each step of Train, under these tables."""
    text = f'[envlock]\nmetaflow-requirements = false\n{settings}\n[flow.Train]\nfile = "flow.py"\n{tables}'
    return {step.name: step.environment for step in load(folder, text).flows[0].steps}


def required(environment: Environment | None) -> list[str]:
    assert environment is not None
    return [str(each) for each in environment.requirements.pypi]


def refused(folder: Path, tables: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        steps(folder, tables)
    return caught.value


def lines(error: ConfigError) -> list[tuple[int | None, str | None]]:
    return [(each.line, each.key) for each in error.locations]


def test_a_step_without_tables_has_its_flows_environment(tmp_path: Path) -> None:
    found = steps(tmp_path, 'pypi = { python = "3.12", packages = { rich = ">=13" } }')
    assert required(found["start"]) == required(found["end"]) == ["rich>=13"]
    assert found["start"].requirements == found["end"].requirements


def test_a_steps_constraint_replaces_the_flows_whole_and_keeps_the_others(tmp_path: Path) -> None:
    found = steps(
        tmp_path,
        'pypi = { packages = { rich = ">=13,<14", attrs = "23.1" } }\n'
        '[flow.Train.step.end]\npypi = { packages = { Rich = "<15" } }',
    )
    assert required(found["end"]) == ["attrs==23.1", "rich<15"]
    assert required(found["start"]) == ["attrs==23.1", "rich<14,>=13"]


def test_a_steps_extras_replace_the_flows(tmp_path: Path) -> None:
    found = steps(
        tmp_path,
        'pypi = { packages = { "requests[socks]" = "" } }\n'
        '[flow.Train.step.end]\npypi = { packages = { requests = ">=2" } }',
    )
    assert required(found["end"]) == ["requests>=2"]


def test_a_steps_python_wins(tmp_path: Path) -> None:
    found = steps(tmp_path, 'pypi = { python = "3.11" }\n[flow.Train.step.end]\npypi = { python = ">=3.12" }')
    assert [each.requirements.python for each in found.values() if each] == ["==3.11.*", ">=3.12"]


def test_indexes_are_the_steps_then_the_flows_then_the_projects_without_duplicates(tmp_path: Path) -> None:
    found = steps(
        tmp_path,
        'pypi = { extra_indices = ["https://flow.example/simple", "https://both.example/simple"] }\n'
        "[flow.Train.step.end]\n"
        'pypi = { extra_indices = ["https://both.example/simple", "https://step.example/simple"] }',
        settings='extra-indices = ["https://project.example/simple", "https://flow.example/simple"]',
    )
    assert found["end"] is not None
    assert found["end"].requirements.indexes == (
        "https://both.example/simple",
        "https://step.example/simple",
        "https://flow.example/simple",
        "https://project.example/simple",
    )


def test_credentials_are_for_fetching_and_no_requirement(tmp_path: Path) -> None:
    found = steps(tmp_path, 'pypi = { extra_indices = ["https://me:pw@index.example/simple"] }')
    assert found["end"] is not None
    assert found["end"].requirements.indexes == ("https://index.example/simple",)
    assert found["end"].index_urls == ("https://me:pw@index.example/simple",)


def test_other_credentials_are_no_other_requirements(tmp_path: Path) -> None:
    one = steps(tmp_path, 'pypi = { extra_indices = ["https://me:pw@index.example/simple"] }')["end"]
    two = steps(tmp_path, 'pypi = { extra_indices = ["https://${WHO}:${TOKEN}@index.example/simple"] }')["end"]
    assert one is not None
    assert two is not None
    assert one.requirements.req_id == two.requirements.req_id


@pytest.mark.parametrize(
    ("flow", "step", "enabled"),
    [
        ("disabled = true", "", False),
        ("disabled = true", "disabled = false", True),
        ("disabled = true", 'pypi = { packages = { rich = "" } }', True),
        ("disabled = true", 'pypi = { python = "3.12" }', True),
        ("disabled = true", "pypi = {}", False),
        ('pypi = { packages = { rich = "" } }', "disabled = true", False),
        ('pypi = { packages = { rich = "" } }', "pypi = { disabled = true }", False),
        ("pypi = { disabled = true }", "", False),
        ("", "", True),
    ],
)
def test_disabled(tmp_path: Path, flow: str, step: str, enabled: bool) -> None:
    found = steps(tmp_path, f"{flow}\n[flow.Train.step.end]\n{step}")
    assert (found["end"] is not None) is enabled


def test_disabled_with_requirements_at_one_level_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, '[flow.Train.step.end]\ndisabled = true\npypi = { packages = { rich = "" } }')
    assert error.code == "disabled-with-requirements"
    assert lines(error) == [(7, "flow.Train.step.end.disabled"), (8, "flow.Train.step.end.pypi.packages.rich")]


def test_two_pythons_of_one_level_are_shown_with_both_lines(tmp_path: Path) -> None:
    error = refused(tmp_path, 'pypi = { python = "3.11" }\nconda = { python = "3.12" }')
    assert error.code == "disagreeing-values"
    assert lines(error) == [(6, "flow.Train.pypi.python"), (7, "flow.Train.conda.python")]


def test_two_spellings_of_one_python_agree(tmp_path: Path) -> None:
    found = steps(tmp_path, 'pypi = { python = ">=3.11, <3.13" }\nconda = { python = "<3.13,>=3.11" }')
    assert found["end"] is not None
    assert found["end"].requirements.python == "<3.13,>=3.11"


def test_two_spellings_of_one_package_must_agree(tmp_path: Path) -> None:
    error = refused(tmp_path, 'pypi = { packages = { Foo_bar = "1", foo-bar = "2" } }')
    assert error.code == "disagreeing-values"
    assert "foo-bar==1" in error.render()
    assert "foo-bar==2" in error.render()


@pytest.mark.parametrize(
    ("packages", "found"),
    [
        ('x = ">=1", X = "<2"', ["x<2", "x>=1"]),
        ('x = ["<2", ">=1"]', ["x<2", "x>=1"]),
        ('x = "1.0", X = "1.0"', ["x==1.0"]),
        ('x = "1.0", X = "1.0.0"', ["x==1.0", "x==1.0.0"]),
        ('x = "", "x[a]" = ""', ["x", "x[a]"]),
        (
            "x = [\"1 ; os_name == 'nt'\", \"2 ; os_name == 'posix'\"]",
            ["x==1 ; os_name == 'nt'", "x==2 ; os_name == 'posix'"],
        ),
        ("x = { version = '>=1', extras = ['b'], marker = \"os_name == 'nt'\" }", ["x[b]>=1 ; os_name == 'nt'"]),
    ],
)
def test_the_requirements_of_one_package_add_up(tmp_path: Path, packages: str, found: list[str]) -> None:
    environment = steps(tmp_path, f"pypi = {{ packages = {{ {packages} }} }}")["end"]
    assert environment is not None
    assert environment.requirements.document()["pypi"] == found


@pytest.mark.parametrize(
    "packages",
    [
        'x = "1", X = "2"',
        'x = ">=2", X = "<2"',
        'x = ">2", "x[a]" = "<=2.0"',
        "'x@https://a.example/x-1-py3-none-any.whl' = '', 'X@https://a.example/x-2-py3-none-any.whl' = ''",
        "x = { index = 'https://a.example' }, X = { index = 'https://b.example' }",
    ],
)
def test_what_can_never_hold_together_is_refused_with_both_places(tmp_path: Path, packages: str) -> None:
    error = refused(tmp_path, f"pypi = {{ packages = {{ {packages} }} }}")
    assert error.code == "disagreeing-values"
    assert len(error.locations) == 2


TEAM = "https://index.example/team"


@pytest.mark.parametrize(
    ("step", "places"),
    [
        ('x = "2.0"', [TEAM]),
        (
            "x = [\"2.0 ; sys_platform == 'linux'\", \"3.0 ; sys_platform == 'darwin'\"]",
            [TEAM, TEAM],
        ),
        ('x = { version = "2.0", extras = ["a"] }', [TEAM]),
        ('x = { version = "2.0", index = "https://other.example" }', ["https://other.example"]),
        ('"x@https://files.example/x-2.0-py3-none-any.whl" = ""', [""]),
    ],
)
def test_the_index_of_a_flows_package_holds_for_a_step_that_names_none(
    tmp_path: Path, step: str, places: list[str]
) -> None:
    found = steps(
        tmp_path,
        'pypi = { packages = { x = { index = "team" } } }\n[flow.Train.step.end.pypi.packages]\n' + step,
        settings='indexes = { team = "https://me:${TOKEN}@index.example/team" }',
    )["end"]
    assert found is not None
    assert [each.from_index for each in found.requirements.pypi] == places
    if TEAM in places:
        assert found.package_index_urls == ("https://me:${TOKEN}@index.example/team",)
        assert found.origin(TEAM) == ("flow", "Train", "pypi", "packages", "x")


def test_a_flow_that_takes_a_package_from_several_places_says_nothing_of_a_steps(tmp_path: Path) -> None:
    markers = (
        "{ marker = \"sys_platform == 'linux'\", index = 'https://index.example' }, \"1 ; sys_platform == 'darwin'\""
    )
    tables = f"pypi = {{ packages = {{ x = [{markers}] }} }}\n[flow.Train.step.end.pypi.packages]\nx = '2'"
    found = steps(tmp_path, tables)["end"]
    assert found is not None
    assert [each.from_index for each in found.requirements.pypi] == [""]


def test_an_index_that_is_named_nowhere_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "pypi = { packages = { x = [{ index = 'cu121' }] } }")
    assert error.code == "unknown-index"
    assert lines(error) == [(6, "flow.Train.pypi.packages.x.0")]


@pytest.mark.parametrize(
    ("tables", "code"),
    [
        ('named_env = { name = "a/b", pathspec = "F/1/s" }', "name-and-pathspec"),
        ('named_env = { name = "a/b" }\npypi = { packages = { rich = "" } }',
         "named-env-with-requirements-at-flow-level"),
        (('named_env = { name = "a/b", fetch_at_exec = true }\n'
        '[flow.Train.step.end]\npypi = { packages = { rich = "" } }'),
         "fetch-at-exec-with-requirements"),
        (('named_env = { name = "a/b", fetch_at_exec = true }\n'
        '[flow.Train.step.end]\nsys_packages = { packages = { __cuda = "12.4" } }'),
         "fetch-at-exec-with-requirements"),
        ("named_env = { fetch_at_exec = true }", "fetch-at-exec-without-name"),
        ('[flow.Train.step.middle]\npypi = { python = "3.12" }', "unknown-step"),
    ],
)  # fmt: skip
def test_rules_of_merging(tmp_path: Path, tables: str, code: str) -> None:
    error = refused(tmp_path, tables)
    assert error.code == code
    assert error.locations[0].line is not None


@pytest.mark.parametrize(
    ("tables", "place"),
    [
        ("named_env = {}", (6, "flow.Train.named_env")),
        ("[flow.Train.named_env]", (6, "flow.Train.named_env")),
        ("[flow.Train.step.end]\nnamed_env = {}", (7, "flow.Train.step.end.named_env")),
        ("[env.base]\nnamed_env = {}", (7, "env.base.named_env")),
    ],
)
def test_a_named_environment_that_names_none_is_refused(tmp_path: Path, tables: str, place: tuple[int, str]) -> None:
    error = refused(tmp_path, tables)
    assert error.code == "empty-named-env"
    assert lines(error) == [place]


def test_a_steps_name_goes_over_its_flows(tmp_path: Path) -> None:
    found = steps(
        tmp_path,
        'named_env = { name = "team/base:v1", fetch_at_exec = true }\n'
        '[flow.Train.step.end]\nnamed_env = { pathspec = "Train/1/end", fetch_at_exec = false }',
    )
    start, end = found["start"], found["end"]
    assert start is not None
    assert end is not None
    assert start.base is not None
    assert end.base is not None
    assert (start.base.kind, start.base.written, start.is_fetched) == ("name", "team/base:v1", True)
    assert (end.base.kind, end.base.written, end.is_fetched) == ("pathspec", "Train/1/end", False)
    assert start.requirements.req_id != end.requirements.req_id


@pytest.mark.parametrize(
    ("more", "extends"),
    [
        ("", False),
        ("conda = { channels = ['conda-forge'] }", False),
        ("pypi = { packages = { rich = '' } }", True),
        ("pypi = { python = '3.12' }", True),
        ("conda = { libraries = { ffmpeg = '' } }", True),
        ("sys_packages = { packages = { __cuda = '12.4' } }", True),
    ],
)
def test_requirements_beside_an_alias_extend_it(tmp_path: Path, more: str, extends: bool) -> None:
    found = steps(tmp_path, f'[flow.Train.step.end]\nnamed_env = {{ name = "a/b" }}\n{more}')["end"]
    assert found is not None
    assert found.base is not None
    assert found.base.extends == extends


def test_packages_of_the_flow_extend_the_name_of_a_step(tmp_path: Path) -> None:
    tables = 'pypi = { packages = { rich = "" } }\n[flow.Train.step.end]\nnamed_env = { name = "a/b" }'
    found = steps(tmp_path, tables)["end"]
    assert found is not None
    assert found.base is not None
    assert found.base.extends
    assert [str(each) for each in found.base.own.pypi] == ["rich"]


def test_metaflow_needs_are_there_unless_switched_off(tmp_path: Path) -> None:
    text = '[envlock]\ndatastore = ["s3", "gs"]\n[flow.Train]\nfile = "flow.py"'
    found = load(tmp_path, text).environments()[0].requirements.metaflow
    assert {"requests", "boto3", "google-cloud-storage"} <= {each.name for each in found}
    off = load(tmp_path, f"{text}".replace("[envlock]", "[envlock]\nmetaflow-requirements = false"))
    assert off.environments()[0].requirements.metaflow == ()


def test_the_order_of_tables_and_keys_does_not_matter(tmp_path: Path) -> None:
    one = steps(tmp_path, '[flow.Train.pypi]\npython = "3.12"\npackages = { rich = "1", attrs = "2" }')["end"]
    two = steps(tmp_path, '[flow.Train.pypi]\npackages = { attrs = "2", rich = "1" }\npython = "3.12"')["end"]
    assert one is not None
    assert two is not None
    assert one.requirements.req_id == two.requirements.req_id


def test_the_archs_that_are_locked_are_no_requirement(tmp_path: Path) -> None:
    one = steps(tmp_path, "", settings='archs = ["linux-64"]')["end"]
    two = steps(tmp_path, "", settings='archs = ["osx-arm64", "linux-64"]')["end"]
    assert one is not None
    assert two is not None
    assert one.requirements.req_id == two.requirements.req_id


@pytest.mark.parametrize("python", ["2.7", "<3.6", "~=3.5", "3.5.2"])
def test_a_python_that_is_too_old_to_lock_is_one_for_conda_alone(tmp_path: Path, python: str) -> None:
    config = tmp_path / "envlock.toml"
    config.write_text(f'[env.a]\nconda = {{ python = "{python}", libraries = {{ lower = "" }} }}\n')
    assert load_project(config).environments()[0].requirements.python_from == "conda"
    config.write_text(f'[env.a]\npypi = {{ python = "{python}" }}\n')
    with pytest.raises(ConfigError) as caught:
        load_project(config)
    assert (caught.value.code, caught.value.locations[0].line) == ("python-too-old", 2)


def test_a_floor_is_a_requirement(tmp_path: Path) -> None:
    one = steps(tmp_path, "")["end"]
    two = steps(tmp_path, "", settings='system-requirements = { linux-64 = { __glibc = "2.17" } }')["end"]
    assert one is not None
    assert two is not None
    assert one.requirements.req_id != two.requirements.req_id
    assert ("linux-64", "__glibc", "2.17") in two.requirements.system


def test_an_instant_is_a_requirement_and_a_span_is_not(tmp_path: Path) -> None:
    plain, span, instant = (
        steps(tmp_path, "", settings=settings)["end"]
        for settings in ("", 'exclude-newer = "7d"', 'exclude-newer = "2026-11-01"')
    )
    assert plain is not None
    assert span is not None
    assert instant is not None
    assert plain.requirements.req_id == span.requirements.req_id != instant.requirements.req_id


def test_a_requirements_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# ours\nrich>=13  # pretty\n--extra-index-url=https://index.example/simple\n"
        "--pre\nattrs ; python_version<'3.13'\n"
    )
    (environment,) = load(tmp_path, '[env.base]\nrequirements = "requirements.txt"').environments()
    assert [str(each) for each in environment.requirements.pypi] == ["attrs ; python_version<'3.13'", "rich>=13"]
    assert environment.requirements.indexes == ("https://index.example/simple",)
    assert environment.requirements.pip_flags == ("pre",)


@pytest.mark.parametrize("file", ["gone.txt", ".", "envlock.toml/requirements.txt", "a" * 300, "\\u0000"])
def test_a_requirements_file_that_cannot_be_read_is_named(tmp_path: Path, file: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[env.base]\nrequirements = "{file}"')
    assert caught.value.code == "bad-requirements-file"


@pytest.mark.parametrize("line", ["-r other.txt", "-e", "--hash=sha256:0", "rich ==", "not a name!"])
def test_a_line_that_cannot_be_taken_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"rich\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[env.base]\nrequirements = "requirements.txt"')
    assert caught.value.code == "bad-requirements-file"
    assert caught.value.locations[0].line == 2


@pytest.mark.parametrize(("python", "other"), [("3.9", ">=3.10"), (">=3.13", "<3.13,>=3.11"), ("3.12", "==3.11.*")])
def test_a_python_that_a_project_file_rules_out_is_shown_with_both_lines(
    tmp_path: Path, python: str, other: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "x"\nrequires-python = "{other}"\n')
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'[env.base]\npyproject = "pyproject.toml"\npypi.python = "{python}"\n')
    assert caught.value.code == "disagreeing-values"
    assert [(at.path, at.line) for at in caught.value.locations] == [("envlock.toml", 3), ("pyproject.toml", 3)]


def test_ranges_of_pythons_of_files_narrow_the_python(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.10"\n')
    project = load(tmp_path, '[env.base]\npyproject = "pyproject.toml"\npypi.python = "<3.13,>=3.9"\n')
    assert project.named[0].requirements.python == "<3.13,>=3.10,>=3.9"


def test_a_project_file_that_is_not_named_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '[env.base]\npyproject = { extras = ["gpu"] }\n')
    assert (caught.value.code, caught.value.locations[0].line) == ("bad-pyproject", 2)
