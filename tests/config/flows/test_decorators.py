"""What decorators ask for, read from text. What a whole file becomes stands in samples/*.toml (test_init_template)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envlock.config.flows.decorators import DecoratedFlow, read_decorators

FLOWS = Path(__file__).with_name("samples")
BARE = "a bare {} below a disabled flow: the step stays disabled; `disabled = false` gives it one"
HEAD = "import functools, os\nimport metaflow as mf\nfrom metaflow import *\nfrom team import thing\n"


def read(text: str, tmp_path: Path) -> DecoratedFlow:
    path = tmp_path / "flow.py"
    path.write_text(HEAD + text)
    (flow,) = read_decorators(path)
    return flow


def step(decorators: str, tmp_path: Path, before: str = "", flow: str = "") -> tuple[dict[str, Any], list[str]]:
    """The tables of one step, and the notes, for its decorators."""
    text = f"{before}\n{flow}\nclass OneFlow(FlowSpec):\n    {decorators}\n    @step\n    def start(self): pass\n"
    found = read(text, tmp_path)
    return found.step_tables.get("start", {}), [note.message for note in found.notes]


def packages(value: str, tmp_path: Path, before: str = "") -> Any:
    """The packages that a value means; None where it is noted as not fixed."""
    tables, notes = step(f"@pypi(packages={value})", tmp_path, before)
    assert bool(tables) is not bool(notes), (tables, notes)
    return tables["pypi"]["packages"] if tables else None


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("", "{'rich': '13', 'click': ''}"),
        ("", "dict(rich='13', click='')"),
        ("", "dict({'rich': '1'}, rich='13', click='')"),
        ("", "dict([('rich', '13'), ['click', '']])"),
        ("", "dict(**{'rich': '13'}, click='')"),
        ("", "{'rich': '13'} | {'click': ''}"),
        ("", "{'rich': '1', **{'rich': '13', 'click': ''}}"),
        ("", "{'ri' + 'ch': f'{1}3', 'click': ''}"),
        ("", "{'rich': '%s%d' % ('1', 3), 'click': '%s' % ''}"),
        ("", "{'rich': '{}{x}'.format(1, x=3), 'click': ','.join([])}"),
        ("", "{'rich': f'{13!s:>02}', 'click': f''}"),
        ("", "{'rich': ['1', '13'][1], 'click': {'a': ''}['a']}"),
        ("P = {'rich': '13', 'click': ''}", "P"),
        ("P: dict = {'rich': '13', 'click': ''}", "P.copy()"),
        ("P = Q = 1\nR = {'rich': '13', 'click': ''}", "R"),
        ("A = '13'\nB = {'rich': A}\nC = B | {'click': ''}", "C"),
        ("class Names:\n    P = {'rich': '13'}\nclass More(Names):\n    pass", "{**More.P, 'click': ''}"),
        ("P = {'rich': '13', 'click': ''}\nprint(P)\nfor p in P: print(p)", "P"),
    ],
)
def test_values_that_are_fixed_in_the_text(before: str, value: str, tmp_path: Path) -> None:
    assert packages(value, tmp_path, before) == {"rich": "13", "click": ""}


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("", "load()"),
        ("", "thing"),
        ("", "os.environ"),
        ("", "UNKNOWN"),
        ("", "{'rich': '13'}.get('rich')"),
        ("", "{'a': 1}['b']"),
        ("", "[1][5]"),
        ("", "{[]: 'x'}"),
        ("", "'%d' % 'x'"),
        ("", "'{x}'.format()"),
        ("", "1 + '1'"),
        ("", "{'a': '1'} + {'b': '2'}"),
        ("", "'a' | 'b'"),
        ("", "lambda: {}"),
        ("", "config_expr('packages')"),
        ("", "{'a': '1'} if True else {}"),
        ("P = P", "P"),
        ("P = {**Q}\nQ = {**P}", "P"),
        ("P = {'a': '1'}\nP = {'a': '2'}", "P"),
        ("P = {'a': '1'}\nP |= {'a': '2'}", "P"),
        ("P = {'a': '1'}\nP['a'] = '2'", "P"),
        ("P = {'a': '1'}\nP.update(a='2')", "P"),
        ("P = {'a': '1'}\nchange(P)", "P"),
        ("P = {'a': '1'}\nchange(x=[P])", "P"),
        ("P = {'a': '1'}\ndel P['a']", "P"),
        ("P = {'a': '1'}\ndef f():\n    global P\n    P = 1", "P"),
        ("P = {'a': '1'}\ndef f():\n    P['a'] = '2'", "P"),
        ("if thing:\n    P = {'a': '1'}", "P"),
        ("try:\n    P = {'a': '1'}\nfinally: pass", "P"),
        ("P, Q = {'a': '1'}, 1", "P"),
        ("for P in []: pass", "P"),
        ("with thing as P: pass", "P"),
        ("def P(): pass", "P"),
        ("class P: pass", "P"),
        ("P: dict", "P"),
        ("print(P := {'a': '1'})", "P"),
        ("def dict(**x): return {}", "dict(a='1')"),
        ("class Names:\n    P = {'a': '1'}\nNames.P = {}", "Names.P"),
        ("P = " + " + ".join(["'a'"] * 900), "{P: ''}"),
    ],
)
def test_values_that_are_not_fixed_are_noted_and_never_guessed(before: str, value: str, tmp_path: Path) -> None:
    assert packages(value, tmp_path, before) is None


def test_constants_of_other_modules_of_the_project_are_read(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "__init__.py").write_text("from .deps import BASE as SHARED\n")
    (tmp_path / "team" / "deps.py").write_text(
        "from team.versions import RICH\nBASE = {'rich': RICH}\nODD = load()\nGROWS = {}\nGROWS['a'] = '1'\n"
    )
    (tmp_path / "team" / "versions.py").write_text("RICH = '13'\nfrom team.deps import LOOP\n")
    (tmp_path / "team" / "loop.py").write_text("from team.loop import X\n")
    for before, value in [
        ("from team import SHARED", "SHARED"),
        ("from team.deps import BASE", "BASE | {'rich': '13'}"),
        ("import team.deps as deps", "deps.BASE"),
        ("from team import deps", "deps.BASE"),
        ("from team.versions import RICH as R", "{'rich': R}"),
    ]:
        tables, notes = step(f"@pypi(packages={value})", tmp_path, before)
        assert (tables, notes) == ({"pypi": {"packages": {"rich": "13"}}}, []), before
    for before, value in [
        ("from team.deps import ODD", "ODD"),
        ("from team.deps import GROWS", "GROWS"),
        ("from team.deps import BASE\nBASE['a'] = ''", "BASE"),
        ("try:\n    from team.deps import BASE\nexcept ImportError:\n    from other import BASE", "BASE"),
        ("from team.loop import X", "X"),
        ("from team.deps import NOTHING", "NOTHING"),
        ("from team.gone import X", "X"),
        ("from numpy import X", "X"),
    ]:
        tables, notes = step(f"@pypi(packages={value})", tmp_path, before)
        assert (tables, len(notes)) == ({}, 1), before


def test_a_constant_of_another_module_tells_why_it_is_not_fixed(tmp_path: Path) -> None:
    (tmp_path / "deps.py").write_text("ODD = load()\n")
    _, notes = step("@pypi(packages=ODD)", tmp_path, "from deps import ODD")
    assert notes == [
        "@pypi(packages=…): `ODD` comes from the module `deps`, where `load()` is a call, known only when the flow runs"
    ]


def test_the_entries_that_are_fixed_are_read_beside_those_that_are_not(tmp_path: Path) -> None:
    value = "{'rich': '13', 'click': load(), **thing, load(): '1', 'numpy': '2'}"
    tables, notes = step(f"@pypi(packages={value}, extra_indices=['https://index.example/a', thing])", tmp_path)
    assert tables == {"pypi": {"packages": {"rich": "13", "numpy": "2"}, "extra_indices": ["https://index.example/a"]}}
    assert notes == [
        "@pypi(packages=…) `'click'`: `load()` is a call, known only when the flow runs",
        "@pypi(packages=…): `thing` comes from the module `team`",
        "@pypi(packages=…) `load()`: `load()` is a call, known only when the flow runs",
        "@pypi(extra_indices=…): `thing` comes from the module `team`",
    ]


@pytest.mark.parametrize(
    ("decorators", "tables"),
    [
        ("@pypi", {}),
        ("@pypi()", {}),
        ("@pypi(packages={}, python=None, extra_indices=[])", {}),
        ("@pypi(packages={'rich': '13'})", {"pypi": {"packages": {"rich": "13"}}}),
        ("@mf.pypi(python='3.12')", {"pypi": {"python": "3.12"}}),
        ("@conda(python='3.12')", {"pypi": {"python": "3.12"}}),
        (
            "@conda(python='3.12', libraries={'ffmpeg': '>=6'})",
            {"conda": {"python": "3.12", "libraries": {"ffmpeg": ">=6"}}},
        ),
        (
            "@conda(libraries={'a': '1', 'b': '1'}, packages={'b': '2'})",
            {"conda": {"libraries": {"a": "1", "b": "2"}}},
        ),
        ("@pip(packages={'rich': '13'})", {"pypi": {"packages": {"rich": "13"}}}),
        ("@conda(disabled=True)", {"disabled": True}),
        ("@pypi(disabled=False, packages={'rich': '13'})", {"pypi": {"packages": {"rich": "13"}}}),
        ("@named_env(name='a/b', fetch_at_exec=True)", {"named_env": {"name": "a/b", "fetch_at_exec": True}}),
        ("@named_env(name='a/b', fetch_at_exec=False)", {"named_env": {"name": "a/b"}}),
        ("@sys_packages(packages={'__cuda': '12.4'})", {"sys_packages": {"packages": {"__cuda": "12.4"}}}),
        (
            "@pypi(packages={'rich': '13'})\n    @conda(libraries={'ffmpeg': ''})\n    @named_env(name='a')",
            {"pypi": {"packages": {"rich": "13"}}, "conda": {"libraries": {"ffmpeg": ""}}, "named_env": {"name": "a"}},
        ),
        (
            "@pypi(packages={'rich': '>=13', 'rich[jupyter]': '<15'})",
            {"pypi": {"packages": {"rich": ">=13", "rich[jupyter]": "<15"}}},
        ),
    ],
)
def test_the_tables_of_a_step(decorators: str, tables: dict[str, Any], tmp_path: Path) -> None:
    assert step(decorators, tmp_path) == (tables, [])


@pytest.mark.parametrize(
    ("decorators", "tables", "note"),
    [
        (
            "@conda(pip_packages={'rich': '13'})",
            {"pypi": {"packages": {"rich": "13"}}},
            "@conda(pip_packages=…) is written as `pypi.packages`",
        ),
        (
            "@pypi(sources=['https://index.example/a'])",
            {"pypi": {"extra_indices": ["https://index.example/a"]}},
            "@pypi(sources=…) is written as `pypi.extra_indices`",
        ),
        (
            "@pypi(pathspec='Flow/1/start')",
            {"named_env": {"pathspec": "Flow/1/start"}},
            "@pypi(pathspec=…) is written as `named_env.pathspec`",
        ),
        (
            "@pypi(packages={'rich': '>=13'})\n    @pypi(packages={'Rich': '<14'})",
            {"pypi": {"packages": {"rich": ">=13,<14"}}},
            "@pypi(packages=…): `Rich` is listed twice; wrote `>=13,<14`",
        ),
        (
            "@pypi(packages={'rich': '>=13 ; python_version>\"3\"'})\n    @pypi(packages={'rich': '<14'})",
            {"pypi": {"packages": {"rich": ['>=13 ; python_version>"3"', "<14"]}}},
            (
                "@pypi(packages=…): `rich` is listed twice; "
                'wrote `[">=13 ; python_version>\\"3\\"", "<14"]`'
            ),
        ),
        (
            "@pypi(packages={'rich': '13', 'rich[jupyter]': '<12'})",
            {"pypi": {"packages": {"rich": "13"}}},
            "@pypi(packages=…): left out `rich[jupyter] <12`: it contradicts `rich==13`",
        ),
        (
            "@named_env(name='a')\n    @named_env(name='b')",
            {"named_env": {"name": "a"}},
            "@named_env(name=…) is `b`, but another decorator says `a`; kept `a`",
        ),
        (
            "@named_env(fetch_at_exec=True)",
            {},
            "`fetch_at_exec` needs a `name` or a `pathspec`; left out",
        ),
        ("@pypi(python='3.x.y')", {}, "@pypi(python=…): left out `3.x.y`: it takes a range of Python versions"),
        ("@pypi(colour='red')", {}, "@pypi(colour=…) is not a parameter that envlock knows; left out"),
        ("@pypi(disabled=True, python='3')", {"disabled": True}, "disabled, so left out: python 3"),
        ("@team.mine", {}, "@team.mine is not a Metaflow decorator; not read, though it may ask for packages"),
        ("@mf.resolved_uv", {}, "@resolved_uv takes its packages from another file; not read"),
        ("@thing(1)", {}, "@thing(1) comes from `team`; not read, though it may ask for packages"),
        ("@pypi_base(packages={})", {}, "@pypi_base is not for a step; not read"),
        (
            "@sys_packages(packages={'__win': '1'})",
            {},
            (
                "@sys_packages(packages=…): left out `__win: 1`: "
                "it is none of __glibc, __linux, __osx, __cuda, __archspec"
            ),
        ),
        (
            "@sys_packages(packages={'__cuda': 'twelve'})",
            {},
            "@sys_packages(packages=…): left out `__cuda: twelve`: it takes one number, or two",
        ),
        (
            "@conda(libraries={'numpy': '1 2 3', 'scipy': '=1.11'})",
            {"conda": {"libraries": {"scipy": "=1.11"}}},
            "@conda(libraries=…): left out `numpy: 1 2 3`: more than a version and a build follow the name",
        ),
        (
            "@conda(libraries={'python': '3.10|3.11', 'scipy': ''})",
            {"conda": {"libraries": {"scipy": ""}}},
            (
                "@conda(libraries=…): left out `python: 3.10|3.11`: "
                "`3.10|3.11` is not a version specifier"
            ),
        ),
        (
            "@conda(libraries={'numpy': ''}, channels=['./here', 'conda-forge', 'nodefaults'])",
            {"conda": {"libraries": {"numpy": ""}, "channels": ["conda-forge"]}},
            "@conda(channels=…): left out `./here`: a channel is a name or a URL",
        ),
        (
            "@conda(libraries={'bioconda::samtools': ''}, channels=['conda-forge'])",
            {"conda": {"libraries": {"bioconda::samtools": ""}, "channels": ["conda-forge", "bioconda"]}},
            "packages name the channel bioconda; it was added to `conda.channels`",
        ),
        (
            "@conda(libraries={'numpy': ''}, channels=['https://conda.example/t/s3cr3t/team'])",
            {"conda": {"libraries": {"numpy": ""}, "channels": ["https://conda.example/team"]}},
            "@conda(channels=…): left out the credentials in a URL; keep them in ~/.netrc",
        ),
        (
            "@pypi(extra_indices=['https://me:s3cr3t@index.example/a'])",
            {"pypi": {"extra_indices": ["https://index.example/a"]}},
            "@pypi(extra_indices=…): left out the credentials in a URL; keep them in ~/.netrc",
        ),
        (
            "@pypi(extra_indices=['https://index.example/a?x=s3cr3t'])",
            {"pypi": {"extra_indices": ["https://index.example/a"]}},
            (
                "@pypi(extra_indices=…): left out the query of a URL: "
                "it may hold a token, which no index gets"
            ),
        ),
        (
            "@conda(libraries={'u:s3cr3t@conda.example::z': '1', 'y': '2'})",
            {"conda": {"libraries": {"y": "2"}}},
            (
                "@conda(libraries=…): left out `conda.example::z: 1`: "
                "`conda.example` is not a conda channel"
            ),
        ),
        (
            "@pypi(packages={'rich': '13'}, extra_indices=['u:s3cr3t@index.example/simple'])",
            {"pypi": {"packages": {"rich": "13"}}},
            (
                "@pypi(extra_indices=…): left out `index.example/simple`: an index begins with https:// or http://"
            ),
        ),
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_noted(decorators: str, tables: dict[str, Any], note: str, tmp_path: Path) -> None:
    assert step(decorators, tmp_path) == (tables, [note])


def test_one_url_that_no_lock_can_hold_leaves_out_itself_alone(tmp_path: Path) -> None:
    tool = "tool@git+file:///srv/tool"
    tables, notes = step(f"@pypi(packages={{'rich': '13', {tool!r}: '', 'attrs': ''}})", tmp_path)
    assert tables == {"pypi": {"packages": {"rich": "13", "attrs": ""}}}
    assert len(notes) == 1
    assert f"left out `{tool}: `" in notes[0]
    tables, notes = step("@pypi(packages={'rich': '13'}, extra_indices=['../a', 'https://index.example/b'])", tmp_path)
    assert tables == {"pypi": {"packages": {"rich": "13"}, "extra_indices": ["https://index.example/b"]}}
    assert notes == ["@pypi(extra_indices=…): left out `../a`: an index begins with https:// or http://"]
    tables, notes = step("@pypi(packages={'rich': '13'}, extras=['pre', 'no-deps'])", tmp_path)
    assert tables == {"pypi": {"packages": {"rich": "13"}, "extras": ["pre"]}}
    (note,) = notes
    assert note.startswith("@pypi(extras=…): left out `no-deps`: it takes `pre`")


def test_a_disabled_flow_keeps_where_packages_come_from(tmp_path: Path) -> None:
    """What envlock.toml takes beside `disabled`, and steps that ask for something all the same inherit."""
    flow = read(
        "@pypi_base(extra_indices=['https://index.example/a'], extras=['pre'], python='3.12')\n"
        "@conda_base(channels=['bioconda'], libraries={'numpy': ''})\n"
        "@sys_packages_base(disabled=True)\n"
        "class OneFlow(FlowSpec):\n    @step\n    def start(self): pass\n",
        tmp_path,
    )
    assert flow.tables == {
        "disabled": True,
        "pypi": {"extra_indices": ["https://index.example/a"], "extras": ["pre"]},
        "conda": {"channels": ["bioconda"]},
    }
    (note,) = flow.notes
    assert (note.line, note.message) == (7, "disabled, so left out: python 3.12, numpy")


def test_a_note_names_the_line_of_its_decorator(tmp_path: Path) -> None:
    flow = read(
        "class OneFlow(FlowSpec):\n    @retry\n    @pypi(\n        packages={'rich': ''},\n    )\n"
        "    @named_env(\n        name='a', pathspec='Flow/1/start')\n    @conda(libraries={'other::upper': ''})\n"
        "    @step\n    def start(self): pass\n",
        tmp_path,
    )
    assert {note.line: note.message.partition(" ")[0] for note in flow.notes} == {10: "`name`", 12: "packages"}


@pytest.mark.parametrize(
    "decorators",
    [
        "@retry",
        "@mf.kubernetes(memory=100)",
        "@staticmethod",
        "@card(type='default')",
        "@environment(vars={'A': '1'})",
        "@functools.cache",
    ],
)
def test_decorators_that_ask_for_nothing_are_passed_over(decorators: str, tmp_path: Path) -> None:
    tables, notes = step(decorators, tmp_path)
    assert (tables, notes) == ({}, [])


@pytest.mark.parametrize(
    ("flow", "decorators", "tables", "note"),
    [
        ("@pypi_base(disabled=True)", "@pypi(disabled=False)", {"disabled": False}, None),
        (
            "@conda_base(disabled=True)",
            "@conda",
            {},
            BARE.format("@conda"),
        ),
        *(
            (
                "@conda_base(disabled=True)",
                empty,
                {},
                BARE.format(empty.partition("(")[0]),
            )
            for empty in ("@conda(libraries={})", "@pypi(packages={}, extra_indices=[])", "@conda(python=None)")
        ),
        (
            "@pypi_base(packages={'rich': ''}, extra_indices=['https://index.example/a'])",
            "@named_env(name='a', disabled=False)",
            {"named_env": {"name": "a"}},
            None,
        ),
        (
            "@pypi_base(extra_indices=['https://index.example/a'])",
            "@named_env(name='a', fetch_at_exec=True)",
            {"named_env": {"name": "a", "fetch_at_exec": True}},
            None,
        ),
        (
            "@pypi_base(disabled=True)",
            "@pypi(packages={'rich': ''})",
            {"pypi": {"packages": {"rich": ""}}},
            "this step has an environment although its flow is disabled, as in metaflow-netflixext",
        ),
        (
            "@pypi_base(packages={'rich': ''})",
            "@named_env(name='a', fetch_at_exec=True)",
            {"named_env": {"name": "a"}},
            "`fetch_at_exec` excludes packages beside it; left out",
        ),
        (
            "@conda_base(libraries={'bioconda::samtools': ''})",
            "@conda(channels=['conda-forge'])",
            {"conda": {"channels": ["conda-forge"]}},
            "packages name the channel bioconda; it was added to `conda.channels`",
        ),
        (
            "@conda_base(libraries={'bioconda::samtools': ''}, channels=['bioconda'])",
            "@conda(libraries={'samtools': '1'})",
            {"conda": {"libraries": {"samtools": "1"}}},
            None,
        ),
        ("@named_env_base(name='a')", "@named_env(fetch_at_exec=True)", {"named_env": {"fetch_at_exec": True}}, None),
        ("@named_env_base(name='a')", "@pypi(packages={'rich': ''})", {"pypi": {"packages": {"rich": ""}}}, None),
        ("@pypi(packages={'rich': ''})", "", {}, "@pypi is not for a flow; not read"),
        (
            "@thing",
            "",
            {},
            "@thing comes from `team`; not read, though it may ask for packages",
        ),
    ],
)
def test_a_step_below_its_flow(
    flow: str, decorators: str, tables: dict[str, Any], note: str | None, tmp_path: Path
) -> None:
    assert step(decorators, tmp_path, flow=flow) == (tables, [note] if note else [])


def test_python_of_conda_stays_with_conda_where_anything_is_required_of_conda(tmp_path: Path) -> None:
    text = (
        "@conda_base(python='3.12')\nclass OneFlow(FlowSpec):\n"
        "    @conda(libraries={'ffmpeg': ''})\n    @step\n    def start(self): pass\n"
    )
    assert read(text, tmp_path).tables == {"conda": {"python": "3.12"}}


def test_two_pythons_at_one_level_are_both_kept_for_envlock_to_name(tmp_path: Path) -> None:
    tables, _ = step("@conda(python='3.12')\n    @pypi(python='3.11')", tmp_path)
    assert tables == {"pypi": {"python": "3.11"}, "conda": {"python": "3.12"}}


def test_the_lines_of_the_decorators_that_were_read(tmp_path: Path) -> None:
    for path in FLOWS.glob("*.py"):
        lines = ["", *path.read_text().splitlines()]
        for flow in read_decorators(path):
            assert all(lines[line].strip().startswith("@") for line in flow.lines())
            assert flow.lines() == tuple(sorted(flow.lines()))
    (flow,) = read_decorators(FLOWS / "packages.py")
    assert flow.lines() == (7, 15, 20, 33)


def test_a_base_class_is_no_flow_of_its_own_unless_the_file_calls_it(tmp_path: Path) -> None:
    text = (
        "class Base(FlowSpec):\n    @step\n    def start(self): pass\n"
        "class Train(Base): pass\nclass Score(Base): pass\nif __name__ == '__main__':\n    {}()\n"
    )
    for called, names in [("Train", ["Train", "Score"]), ("Base", ["Base", "Train", "Score"])]:
        path = tmp_path / f"{called}.py"
        path.write_text(HEAD + text.format(called))
        assert [flow.name for flow in read_decorators(path)] == names


def test_no_note_shows_a_credential_or_breaks_its_line(tmp_path: Path) -> None:
    secret = "https://me:s3cr3t-t0ken@index.example/" + "x" * 60
    decorators = [
        f"@pypi(packages=load({secret!r}))",
        f"@pypi(extra_indices={secret!r})",
        f"@pypi(name={secret!r}, colour={secret!r})",
        f"@pypi(packages={{'a@{secret}': '', 'b': {secret!r}}})",
        f"@pypi(python={secret!r})",
        "@pypi(python='3\\n[flow.Bad]\\n')",
        f"@thing({secret!r})",
        f"@named_env(name={secret!r})\n    @named_env(name='b', pathspec={secret!r})",
    ]
    for decorator in decorators:
        _, notes = step(decorator, tmp_path)
        assert notes
        for note in notes:
            assert "s3cr3t" not in note
            assert "\n" not in note


def test_names_given_to_metaflows_own_are_known(tmp_path: Path) -> None:
    text = "s = mf.step\nneeds = pypi\nclass OneFlow(FlowSpec):\n"
    text += "    @needs(packages={'rich': '13'})\n    @s\n    def start(self): pass\n"
    found = read(text, tmp_path)
    assert found.steps == ("start",)
    assert found.step_tables == {"start": {"pypi": {"packages": {"rich": "13"}}}}
    assert found.notes == ()


def test_a_base_in_another_module_of_the_project_brings_its_decorators(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "needs.py").write_text("from metaflow import pypi, pypi_base\n")
    (tmp_path / "team" / "base.py").write_text(
        "from metaflow import FlowSpec, step\nfrom team.needs import pypi, pypi_base\nBASE = {'rich': '13'}\n"
        "@pypi_base(packages=BASE)\nclass Base(FlowSpec):\n"
        "    NUMPY = {'numpy': load()}\n"
        "    @pypi(packages={'attrs': ''}, python='3.12')\n    @step\n    def start(self): pass\n"
        "    @pypi(packages=NUMPY)\n    @step\n    def middle(self): pass\n"
    )
    (tmp_path / "flow.py").write_text(
        "from metaflow import step\nfrom team.base import Base\nclass OneFlow(Base):\n"
        "    @step\n    def end(self): pass\n"
    )
    (found,) = read_decorators(tmp_path / "flow.py", tmp_path)
    assert found.steps == ("start", "middle", "end")
    assert found.tables == {"pypi": {"packages": {"rich": "13"}}}
    assert found.step_tables == {"start": {"pypi": {"packages": {"attrs": ""}, "python": "3.12"}}}
    base = str(tmp_path / "team" / "base.py")
    assert [(each.path, each.line, each.step) for each in found.decorators] == [
        (base, 4, ""),
        (base, 7, "start"),
        (base, 10, "middle"),
    ]
    (note,) = found.notes
    assert (note.path, note.line, note.step) == (base, 6, "middle")
    assert [each.line for each in found.not_carried_over()] == [10], "that of the note, which is elsewhere"
    assert found.lines() == ()


def test_steps_of_a_base_in_another_module_are_named(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(
        "from metaflow import FlowSpec, step\nclass Base(FlowSpec):\n    @step\n    def start(self): pass\n"
    )
    (tmp_path / "flow.py").write_text(
        "from metaflow import step\nfrom base import Base\nclass OneFlow(Base):\n    @step\n    def end(self): pass\n"
    )
    (found,) = read_decorators(tmp_path / "flow.py")
    assert (found.steps, found.complete) == (("start", "end"), True)
    assert found.notes == ()


def test_a_class_that_only_looks_like_a_flow_is_none(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "from metaflow import FlowSpec, step\nclass FlowSpec: pass\n"
        "class OneFlow(FlowSpec):\n    @step\n    def start(self): pass\n"
    )
    assert read_decorators(tmp_path / "flow.py") == ()
