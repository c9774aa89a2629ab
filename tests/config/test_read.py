"""`env`: the tables of an `[env.*]` stand where a flow, a step or another such table names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envlock.config.edit.toml_edit import header_text, value_text
from envlock.config.project import Environment, Project
from envlock.errors import ConfigError
from envlock.workflow.locking.jobs import jobs_of
from tests.config.projects import load


def environment_of(project: Project, step: str) -> Environment:
    found = project.flows[0].step(step)
    assert found is not None
    assert found.environment is not None
    return found.environment


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return caught.value


def places(error: ConfigError) -> list[tuple[str, int | None, str | None]]:
    return [(each.path, each.line, each.key) for each in error.locations]


BASE = """
[env.base]
aliases = ["team/base:v1"]
pypi = { python = "3.12", packages = { rich = ">=13" } }
"""


def test_a_step_has_the_requirements_of_the_environment_that_it_names_and_its_own(tmp_path: Path) -> None:
    text = '[flow.Train]\nfile = "flow.py"\n[flow.Train.step.end]\nenv = "base"\npypi.packages = { attrs = "23.1" }\n'
    project = load(tmp_path, text + BASE)
    end = environment_of(project, "end")
    assert [str(each) for each in end.requirements.pypi] == ["attrs==23.1", "rich>=13"]
    assert end.requirements.python == "==3.12.*"
    assert environment_of(project, "start").requirements.pypi == ()


def test_the_aliases_of_an_environment_are_not_those_of_what_names_it(tmp_path: Path) -> None:
    project = load(tmp_path, f'[flow.Train]\nfile = "flow.py"\nenv = "base"\n[env.more]\nenv = "base"\n{BASE}')
    assert {each.name: len(each.aliases) for each in project.environments()} == {
        "Train/start": 0,
        "Train/end": 0,
        "more": 0,
        "base": 1,
    }


def test_all_that_have_just_these_requirements_share_one_lock(tmp_path: Path) -> None:
    project = load(tmp_path, f'[flow.Train]\nfile = "flow.py"\nenv = "base"\n{BASE}')
    (job,) = jobs_of(project.environments(), ["linux-64"])
    assert job.names == ("Train/start", "Train/end", "base")


def test_a_steps_own_environment_goes_over_the_flows_key_by_key(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        '[flow.Train]\nfile = "flow.py"\nenv = "base"\n[flow.Train.step.end]\nenv = ["newer"]\n'
        f'[env.newer]\npypi = {{ python = "3.13" }}\n{BASE}',
    )
    end = environment_of(project, "end").requirements
    assert ([str(each) for each in end.pypi], end.python) == (["rich>=13"], "==3.13.*")


def test_the_tables_of_several_environments_add_up_in_their_order(tmp_path: Path) -> None:
    project = load(
        tmp_path,
        '[flow.Train]\nfile = "flow.py"\nenv = ["one", "two"]\npypi.extra_indices = ["https://own.example/simple"]\n'
        '[env.two]\npypi = { packages = { rich = ">=13" }, extra_indices = ["https://two.example/simple"] }\n'
        'conda.channels = ["two"]\n'
        '[env.one]\nenv = "deep"\n'
        'pypi = { packages = { rich = "<15" }, extra_indices = ["https://one.example/simple"] }\n'
        'conda.channels = ["one"]\n'
        '[env.deep]\npypi.extra_indices = ["https://deep.example/simple"]\n',
    )
    found = environment_of(project, "start").requirements
    assert [str(each) for each in found.pypi] == ["rich<15", "rich>=13"]
    assert found.indexes == tuple(f"https://{name}.example/simple" for name in ("own", "one", "deep", "two"))
    assert found.channels[:2] == ("one", "two")


def test_a_requirements_file_of_the_named_environment_counts_and_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from envlock.config.requirement_files import contents

    read: list[str] = []
    real = contents.contents_of

    def counting(kind: str, entry: str, *arguments: Any, **keywords: Any) -> contents.FileContents:
        read.append(entry)
        return real(kind, entry, *arguments, **keywords)

    monkeypatch.setattr(contents, "contents_of", counting)
    (tmp_path / "base.txt").write_text("rich>=13\n")
    project = load(
        tmp_path,
        '[flow.Train]\nfile = "flow.py"\nenv = "base"\n[env.more]\nenv = "base"\n'
        '[env.base]\nrequirements = "base.txt"\n',
    )
    assert [str(each) for each in environment_of(project, "end").requirements.pypi] == ["rich>=13"]
    assert read == ["base.txt"]


def test_ids_are_those_of_the_same_requirement_files_named_there(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("rich>=13\n-c limits.txt\n--extra-index-url https://index.example/simple\n")
    (tmp_path / "limits.txt").write_text("attrs<24\n")
    (tmp_path / "env.yml").write_text(
        "channels: [bioconda]\ndependencies: [samtools, pip, {pip: [click]}]\nvariables: {A: b}\n"
    )
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nversion = '1'\ndependencies = ['flask']\n")
    files = 'requirements = "base.txt"\nenvironment-yml = "env.yml"\npyproject = "pyproject.toml"\n'
    flow = '[flow.Train]\nfile = "flow.py"\npypi.packages = { attrs = "" }\n[flow.Train.step.end]\n'
    named = load(tmp_path, f'{flow}env = "more"\n[env.more]\nenv = "base"\n[env.base]\n{files}')
    there = load(tmp_path, f"{flow}{files}[env.base]\n{files}")
    end = environment_of(named, "end")
    assert end.requirements == environment_of(there, "end").requirements
    assert end.requirements.variables == (("A", "b"),)
    assert [str(each) for each in end.requirements.constraints] == ["attrs<24"]
    assert {each.name for each in end.requirements.pypi} == {"attrs", "click", "flask", "rich"}
    assert named.locate(end.origin("rich") or ()).path == "base.txt"


def test_what_contradicts_is_shown_with_both_lines_and_with_the_key_that_puts_them_together(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("# ours\nrich>=14\n")
    error = refused(
        tmp_path,
        '[flow.Train]\nfile = "flow.py"\nenv = "base"\npypi.packages = { rich = "<13" }\n\n'
        '[env.base]\nrequirements = "base.txt"\n',
    )
    assert error.code == "disagreeing-values"
    assert places(error) == [
        ("envlock.toml", 4, "flow.Train.pypi.packages.rich"),
        ("base.txt", 2, "env.base.requirements"),
        ("envlock.toml", 3, "flow.Train.env"),
    ]


@pytest.mark.parametrize(
    ("one", "two", "code"),
    [
        ('pypi.python = "3.12"', 'pypi.python = "3.13"', "disagreeing-values"),
        ('pypi.python = "3.12"', 'conda.libraries = { python = "3.13" }', "disagreeing-values"),
        ('conda.libraries = { ffmpeg = ">=6" }', 'pypi.conda_only = { ffmpeg = ">=7" }', "disagreeing-values"),
        (
            'sys_packages.packages = { __cuda = "12.4" }',
            'sys_packages.packages = { __cuda = "12" }',
            "disagreeing-values",
        ),
        ('named_env.name = "team/a:v1"', 'named_env.name = "team/b:v1"', "disagreeing-values"),
        ('named_env.name = "team/a:v1"', 'named_env.pathspec = "Train/1/start"', "name-and-pathspec"),
        (
            'named_env = { name = "team/a:v1", fetch_at_exec = true }',
            "named_env.fetch_at_exec = false",
            "disagreeing-values",
        ),
        ("pypi.disabled = false", "conda.disabled = true", "disagreeing-values"),
    ],
)
def test_two_environments_that_contradict_each_other_cannot_stand_together(
    tmp_path: Path, one: str, two: str, code: str
) -> None:
    error = refused(tmp_path, f'[env.one]\n{one}\n[env.two]\n{two}\n[env.both]\nenv = ["one", "two"]\n')
    assert error.code == code
    assert [line for _, line, _ in places(error)] == [2, 4, 6]


def test_values_that_are_equal_in_another_spelling_agree(tmp_path: Path) -> None:
    tables = '[env.one]\npypi.python = "3.12"\n[env.two]\nconda.libraries = { python = "" }\n'
    project = load(
        tmp_path, f'{tables}[env.three]\nconda.python = "==3.12.*"\n[env.all]\nenv = ["two", "one", "three"]\n'
    )
    assert {each.name: each.requirements.python for each in project.named}["all"] == "==3.12.*"


def test_a_disabled_step_with_an_environment_shows_both_lines(tmp_path: Path) -> None:
    error = refused(
        tmp_path, f'[flow.Train]\nfile = "flow.py"\n[flow.Train.step.end]\ndisabled = true\nenv = "base"\n{BASE}'
    )
    assert error.code == "disabled-with-requirements"
    assert [line for _, line, _ in places(error)] == [4, 9]


def test_a_step_that_names_an_environment_has_one_in_a_disabled_flow(tmp_path: Path) -> None:
    project = load(
        tmp_path, f'[flow.Train]\nfile = "flow.py"\ndisabled = true\n[flow.Train.step.end]\nenv = "base"\n{BASE}'
    )
    assert [step.environment is None for step in project.flows[0].steps] == [True, False]


def test_a_named_environment_within_one_is_extended_by_a_step_and_not_at_flow_level(tmp_path: Path) -> None:
    base = '[env.base]\nnamed_env.name = "team/base:v1"\n'
    own = 'env = "base"\npypi.packages = { rich = "" }\n'
    step = environment_of(load(tmp_path, f'[flow.Train]\nfile = "flow.py"\n[flow.Train.step.end]\n{own}{base}'), "end")
    assert step.base is not None
    assert (step.base.written, step.base.extends) == ("team/base:v1", True)
    error = refused(tmp_path, f'[flow.Train]\nfile = "flow.py"\n{own}{base}')
    assert error.code == "named-env-with-requirements-at-flow-level"
    assert [line for _, line, _ in places(error)] == [6, 4]


def test_an_unknown_name_is_refused_with_the_nearest_one(tmp_path: Path) -> None:
    error = refused(tmp_path, f'[flow.Train]\nfile = "flow.py"\nenv = ["base", "bsae"]\n{BASE}')
    assert (error.code, error.hint) == ("unknown-env", "did you mean `base`?")
    assert places(error) == [("envlock.toml", 3, "flow.Train.env.1")]


@pytest.mark.parametrize(
    ("text", "lines", "circle"),
    [
        ('[env.a]\nenv = "a"\n', [2], "`a` -> `a`"),
        ('[env.a]\nenv = "b"\n[env.b]\nenv = ["c"]\n[env.c]\nenv = ["a"]\n', [2, 4, 6], "`a` -> `b` -> `c` -> `a`"),
    ],
)
def test_a_circle_is_refused_with_all_of_its_lines(tmp_path: Path, text: str, lines: list[int], circle: str) -> None:
    error = refused(tmp_path, text)
    assert error.code == "env-cycle"
    assert [line for _, line, _ in places(error)] == lines
    assert circle in error.message


def test_a_long_chain_is_no_circle(tmp_path: Path) -> None:
    chain = "".join(f'[env.e{number}]\nenv = "e{number + 1}"\n' for number in range(1500))
    project = load(tmp_path, f"{chain}[env.e1500]\npypi.packages = {{ rich = '' }}\n")
    assert {each.requirements.req_id for each in project.named} == {project.named[-1].requirements.req_id}


def test_an_environment_that_is_reached_in_many_ways_counts_once(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("attrs<24\n")
    chain = "".join(f'[env.e{number}]\nenv = ["e{number + 1}", "e{number + 1}"]\n' for number in range(40))
    last = (
        'requirements = "base.txt"\npypi.extra_indices = ["https://index.example/simple"]\nconda.channels = ["one"]\n'
    )
    project = load(tmp_path, f"{chain}[env.e40]\n{last}")
    assert {each.requirements.req_id for each in project.named} == {project.named[-1].requirements.req_id}


PACKAGES = ("rich", "flask", "requests[socks]")
LEVEL = st.fixed_dictionaries(
    {},
    optional={
        "pypi": st.fixed_dictionaries(
            {},
            optional={
                "python": st.just("3.12"),
                "packages": st.dictionaries(st.sampled_from(PACKAGES), st.sampled_from(["", ">=1", "<9", ">=2,<8"])),
                "extra_indices": st.lists(st.sampled_from([f"https://{name}.example/simple" for name in "xyz"])),
                "extras": st.just(["pre"]),
                "conda_only": st.just({"ffmpeg": ">=6"}),
            },
        ),
        "conda": st.fixed_dictionaries(
            {},
            optional={
                "libraries": st.dictionaries(st.sampled_from(["zlib", "numpy"]), st.just(">=1"), max_size=2),
                "channels": st.lists(st.sampled_from(["one", "two"])),
            },
        ),
        "sys_packages": st.just({"packages": {"__cuda": "12.4"}}),
    },
)


def put_together(levels: list[dict[str, Any]]) -> dict[str, Any]:
    """The tables as somebody would write them who copied all levels to one place."""
    found: dict[str, Any] = {}
    for level in levels:
        for table, keys in level.items():
            for key, value in keys.items():
                own = found.setdefault(table, {})
                if isinstance(value, list):
                    own[key] = [*own.get(key, []), *value]
                elif table == "pypi" and key == "packages":
                    for package, version in value.items():
                        own.setdefault(key, {}).setdefault(package, []).append(version)
                elif isinstance(value, dict):
                    own[key] = {**own.get(key, {}), **value}
                else:
                    own[key] = value
            found.setdefault(table, {})
    return found


def table_text(path: tuple[str, ...], keys: dict[str, Any]) -> str:
    return f"{header_text(path)}\n" + "".join(f"{key} = {value_text(value)}\n" for key, value in keys.items())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LEVEL, min_size=3, max_size=3), LEVEL, LEVEL, st.permutations(["a", "b"]))
def test_ids_are_those_of_the_same_tables_written_there(
    tmp_path: Path, envs: list[dict[str, Any]], flow: dict[str, Any], step: dict[str, Any], order: list[str]
) -> None:
    tables = dict(zip("abc", envs, strict=True))
    in_a = [tables["a"], tables["c"]]
    expanded = {"a": in_a, "b": [tables["b"]]}
    of_step = [step, *(level for name in order for level in expanded[name])]
    named = table_text(("flow", "Train"), {"file": "flow.py", "env": "c", **flow})
    named += table_text(("flow", "Train", "step", "end"), {"env": order, **step})
    named += table_text(("env", "a"), {"env": ["c"], **tables["a"]})
    named += table_text(("env", "b"), tables["b"]) + table_text(("env", "c"), tables["c"])
    written = table_text(("flow", "Train"), {"file": "flow.py", **put_together([flow, tables["c"]])})
    written += table_text(("flow", "Train", "step", "end"), put_together(of_step))
    written += table_text(("env", "a"), put_together(in_a))
    written += table_text(("env", "b"), tables["b"]) + table_text(("env", "c"), tables["c"])
    by_name, there = ({each.name: each for each in load(tmp_path, text).environments()} for text in (named, written))
    for name, environment in there.items():
        assert by_name[name].requirements == environment.requirements, name
        assert by_name[name].requirements.req_id == environment.requirements.req_id
        assert by_name[name].index_urls == environment.index_urls
        assert by_name[name].channel_urls == environment.channel_urls
