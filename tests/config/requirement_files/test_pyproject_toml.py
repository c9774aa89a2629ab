"""pyproject.toml: what is chosen of it, and where packages come from, as uv and Poetry mean it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.config.project import Environment
from envlock.config.read import load_project
from envlock.errors import ConfigError

CONFIG = '[env.base]\npyproject = "pyproject.toml"\n'
CHOSEN = "[env.base]\npyproject = {{ file = 'pyproject.toml', extras = {}, groups = {} }}\n"


def read(folder: Path, text: str, *, extras: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> Environment:
    """The environment of a project whose pyproject.toml has this text, with these extras and groups of it."""
    (folder / "envlock.toml").write_text(CHOSEN.format(list(extras), list(groups)))
    (folder / "pyproject.toml").write_text(text)
    return load_project(folder / "envlock.toml").named[0]


def asked(folder: Path, text: str, *, extras: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> list[str]:
    return texts(read(folder, text, extras=extras, groups=groups))


def texts(found: Environment) -> list[str]:
    """Its requirements as locks have them, with the indexes that they name."""
    return [f"{each} (from {each.from_index})" if each.from_index else str(each) for each in found.requirements.pypi]


def refused(folder: Path, text: str, *, extras: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, extras=extras, groups=groups)
    return caught.value


def lines(error: ConfigError) -> list[tuple[str, int | None]]:
    return [(at.path, at.line) for at in error.locations]


PROJECT = """\
[project]
name = "Demo_App"
version = "1"
requires-python = ">=3.10,<3.13"
dependencies = [
    "rich>=13",  # why
    "requests[socks]>=2 ; sys_platform == 'linux'",
]

[project.optional-dependencies]
gpu = ["torch>=2"]
plots = ["matplotlib"]
all = ["demo-app[gpu,plots]", "demo_app[win] ; sys_platform == 'win32'"]
win = ["colorama"]

[dependency-groups]
test = ["pytest>=8"]
Train = ["mlflow", { include-group = "test" }, "demo-app[gpu]"]
"""
MAIN = ["requests[socks]>=2 ; sys_platform == 'linux'", "rich>=13"]


def test_the_dependencies_of_a_project_and_its_pythons_are_taken(tmp_path: Path) -> None:
    found = read(tmp_path, PROJECT)
    assert [str(each) for each in found.requirements.pypi] == MAIN
    assert found.requirements.python == "<3.13,>=3.10"
    place = found.origin("rich")
    assert place is not None
    assert (place.file, place.line) == ("pyproject.toml", 6)


@pytest.mark.parametrize(
    ("extras", "groups", "more"),
    [
        (("gpu",), (), ["torch>=2"]),
        (("GPU", "plots"), (), ["matplotlib", "torch>=2"]),
        (("all",), (), ["colorama ; sys_platform == 'win32'", "matplotlib", "torch>=2"]),
        ((), ("test",), ["pytest>=8"]),
        ((), ("train",), ["mlflow", "pytest>=8", "torch>=2"]),
    ],
)
def test_extras_and_groups_are_added_as_they_are_chosen(
    extras: tuple[str, ...], groups: tuple[str, ...], more: list[str], tmp_path: Path
) -> None:
    assert asked(tmp_path, PROJECT, extras=extras, groups=groups) == sorted([*MAIN, *more])


def test_a_step_chooses_other_groups_than_its_flow(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "flow.py").write_text(
        "from metaflow import FlowSpec, step\nclass Train(FlowSpec):\n"
        "    @step\n    def start(self): self.next(self.end)\n    @step\n    def end(self): pass\n"
    )
    (tmp_path / "envlock.toml").write_text(
        "[flow.Train]\nfile = 'flow.py'\npyproject = 'pyproject.toml'\n"
        "[flow.Train.step.end]\npyproject = { file = 'pyproject.toml', groups = ['test'] }\n"
    )
    start, end = load_project(tmp_path / "envlock.toml").environments()
    assert [each.name for each in start.requirements.pypi] == ["requests", "rich"]
    assert [each.name for each in end.requirements.pypi] == ["pytest", "requests", "rich"]


def test_groups_alone_need_no_project(tmp_path: Path) -> None:
    assert asked(tmp_path, "[dependency-groups]\ntest = ['pytest']\n", groups=("test",)) == ["pytest"]
    assert refused(tmp_path, "[dependency-groups]\ntest = ['pytest']\n").code == "bad-pyproject"


def test_groups_of_before_pep_735_are_groups(tmp_path: Path) -> None:
    text = "[project]\nname = 'a'\nversion = '1'\n[tool.uv]\ndev-dependencies = ['ruff']\n"
    assert asked(tmp_path, text, groups=("dev",)) == ["ruff"]
    text = "[project]\nname = 'a'\nversion = '1'\n[tool.pdm.dev-dependencies]\nlint = ['ruff']\n"
    assert asked(tmp_path, text, groups=("lint",)) == ["ruff"]


@pytest.mark.parametrize(
    ("extras", "groups", "said"),
    [(("gpus",), (), "`gpu`"), ((), ("tests",), "`test`"), (("zzz",), (), "`gpu`"), ((), ("zzz",), "`test`")],
)
def test_an_extra_or_group_that_is_not_there_names_the_nearest(
    extras: tuple[str, ...], groups: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    error = refused(tmp_path, PROJECT, extras=extras, groups=groups)
    assert (error.code, lines(error)) == ("bad-pyproject", [("envlock.toml", 2)])
    assert said in (error.hint or "")


HEAD = "[project]\nname = 'a'\nversion = '1'\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (HEAD + "dependencies = ['rich >>1']\n", 4, ">>1"),
        (HEAD + "dependencies = [\n'rich',\n1]\n", 6, "text"),
        (HEAD + "dependencies = 'rich'\n", 4, "list"),
        (HEAD + "dependencies = ['rich ; os = 1']\n", 4, "marker"),
        (HEAD + "requires-python = 'three'\n", 4, "three"),
        (HEAD + "dynamic = ['dependencies']\n", 4, "dynamic"),
        ("project = 'x'\n", 1, "table"),
        ("[tool.black]\nline-length = 1\n", 1, "[project]"),
        ("[tool]\nuv = 1\n[project]\nname = 'a'\nversion = '1'\n", 2, "table"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == "bad-pyproject"
    assert lines(error) == [("pyproject.toml", line), ("envlock.toml", 2)]
    assert said in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[project\n", "not-toml"),
        ("[project]\nname = 'a'\nname = 'b'\n", "written-twice"),
        (HEAD + "dependencies = ['python>=3']\n", "python-is-no-package"),
        (HEAD + "dependencies = ['a @ https://u:p@files.example/a-1-py3-none-any.whl']\n", "credentials-in-direct-url"),
        (HEAD + "dependencies = ['a @ ../a']\n", "direct-url-not-web"),
        (HEAD + "[[tool.uv.index]]\nname = 'x'\nurl = 'nowhere'\n", "bad-index-url"),
        (HEAD + "[[tool.poetry.source]]\nname = 'x'\nurl = 'nowhere'\n", "bad-index-url"),
    ],
)
def test_a_fault_that_other_places_have_too_has_the_same_code(text: str, code: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == code
    assert error.locations[0].path == "pyproject.toml"
    assert error.locations[0].line


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("setuptools.build_meta", "setuptools"),
        ("hatchling.build", "hook"),
        ("pdm.backend", "requirements"),
        ("flit_core", ""),
    ],
)
def test_dependencies_that_a_backend_makes_are_refused_with_what_helps(backend: str, said: str, tmp_path: Path) -> None:
    text = f"[build-system]\nbuild-backend = '{backend}'\n{HEAD}dynamic = ['dependencies', 'version']\n"
    error = refused(tmp_path, text)
    assert lines(error)[0] == ("pyproject.toml", 6)
    assert said in (error.hint or "")
    assert refused(tmp_path, HEAD + "dynamic = ['optional-dependencies']\n", extras=("x",)).code == "bad-pyproject"
    assert asked(tmp_path, HEAD + "dynamic = ['optional-dependencies', 'version']\n") == []


OF_SETUPTOOLS = (
    "dynamic = ['dependencies', 'optional-dependencies', 'version']\n[tool.setuptools.dynamic]\n"
    "dependencies = { file = ['r/base.txt', 'r/more.txt'] }\n"
    "optional-dependencies.Gpu = { file = 'r/gpu.txt' }\n"
)
OF_HATCH = (
    "dynamic = ['dependencies', 'optional-dependencies']\n[tool.hatch.metadata.hooks.requirements_txt]\n"
    "files = ['r/base.txt', 'r/more.txt']\noptional-dependencies.Gpu = ['r/gpu.txt']\n"
)


@pytest.mark.parametrize("text", [OF_SETUPTOOLS, OF_HATCH])
def test_dynamic_dependencies_are_read_from_the_files_that_list_them(text: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/base.txt").write_text("# those of all\n\nrich >=13  # pretty\n")
    (tmp_path / "r/more.txt").write_text("tool")
    (tmp_path / "r/gpu.txt").write_text("torch>=2 ; sys_platform == 'linux'\n")
    sources = "[tool.uv.sources]\ntool = { git = 'https://code.example/tool' }\n"
    found = read(tmp_path, HEAD + text + sources, extras=("gpu",))
    assert [str(each) for each in found.requirements.pypi] == [
        "rich>=13",
        "tool @ git+https://code.example/tool",
        "torch>=2 ; sys_platform == 'linux'",
    ]
    place = found.origin("rich")
    assert place is not None
    assert (place.file, place.line) == ("r/base.txt", 3)
    for wrong in ("rich", "-r other.txt\n", "rich>>1\n"):
        (tmp_path / "r/gpu.txt").write_text(wrong)
        if wrong != "rich":
            error = refused(tmp_path, HEAD + text, extras=("gpu",))
            assert (error.code, lines(error)[0]) == ("bad-requirements-file", ("r/gpu.txt", 1))
    (tmp_path / "r/base.txt").unlink()
    error = refused(tmp_path, HEAD + text)
    assert (error.code, lines(error)) == ("bad-requirements-file", [("pyproject.toml", 6), ("envlock.toml", 2)])


@pytest.mark.parametrize(
    ("groups", "line", "said"),
    [
        ("a = [{ include-group = 'b' }]\nb = [{ include-group = 'a' }]\n", 3, "includes itself"),
        ("a = [{ include-group = 'a' }]\n", 2, "includes itself"),
        ("a = [{ include-group = 'c' }]\n", 2, "no group"),
        ("a = [{ include = 'c' }]\n", 2, "include"),
        ("a = [1]\n", 2, "include"),
        ("a = 'b'\n", 2, "list"),
        ("a = []\nA = []\n", 3, "two groups"),
    ],
)
def test_groups_that_lead_nowhere_are_errors(groups: str, line: int, said: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"[dependency-groups]\n{groups}", groups=("a",))
    assert (error.code, lines(error)[0]) == ("bad-pyproject", ("pyproject.toml", line))
    assert said in error.message


def test_an_extra_that_needs_itself_ends(tmp_path: Path) -> None:
    text = HEAD + "[project.optional-dependencies]\nx = ['a[y]', 'rich']\ny = ['a[x]', 'lam']\n"
    assert asked(tmp_path, text, extras=("x",)) == ["lam", "rich"]


def test_an_extra_that_the_project_names_of_itself_and_lacks_has_its_line(tmp_path: Path) -> None:
    error = refused(tmp_path, HEAD + "dependencies = ['a[gp]']\noptional-dependencies.gpu = []\n")
    assert lines(error)[0] == ("pyproject.toml", 4)
    assert "`gpu`" in (error.hint or "")


# uv


UV = """\
[project]
name = "demo"
version = "1"
dependencies = ["torch>=2", "rich"]

[project.optional-dependencies]
cpu = ["jax"]

[[tool.uv.index]]
name = "cu121"
url = "https://${USER}:${TOKEN}@index.example/cu121/"
explicit = true

[[tool.uv.index]]
name = "team"
url = "https://index.example/team/"

[[tool.uv.index]]
name = "mirror"
url = "https://index.example/pypi/"
default = true
"""


def test_indexes_of_uv_are_searched_as_uv_does(tmp_path: Path) -> None:
    found = read(tmp_path, UV + "[tool.uv.sources]\ntorch = { index = 'cu121' }\n")
    assert texts(found) == ["rich", "torch>=2 (from https://index.example/cu121/)"]
    assert found.requirements.indexes == ("https://index.example/team/",)
    assert found.requirements.default_index == "https://index.example/pypi/"
    assert found.package_index_urls == ("https://${USER}:${TOKEN}@index.example/cu121/",)


def test_a_source_with_a_marker_leaves_the_indexes_for_the_rest(tmp_path: Path) -> None:
    text = UV + "[tool.uv.sources]\ntorch = [{ index = 'cu121', marker = \"sys_platform == 'linux'\" }]\n"
    assert asked(tmp_path, text) == [
        "rich",
        "torch>=2 ; sys_platform != 'linux'",
        "torch>=2 ; sys_platform == 'linux' (from https://index.example/cu121/)",
    ]


def test_a_source_of_an_extra_counts_for_that_extra_only(tmp_path: Path) -> None:
    text = (
        UV + "[tool.uv.sources]\njax = { index = 'cu121', extra = 'cpu' }\nrich = { index = 'cu121', extra = 'cpu' }\n"
    )
    assert asked(tmp_path, text, extras=("cpu",)) == ["jax (from https://index.example/cu121/)", "rich", "torch>=2"]


def test_constraints_of_uv_are_constraints_and_its_older_settings_count(tmp_path: Path) -> None:
    text = HEAD + (
        "[tool.uv]\nconstraint-dependencies = ['numpy<2']\nprerelease = 'allow'\nindex-url = 'https://index.example/all/'\n"
        "extra-index-url = ['https://index.example/more/']\nexclude-newer = '2026-01-01'\n"
    )
    found = read(tmp_path, text)
    assert [str(each) for each in found.requirements.constraints] == ["numpy<2"]
    assert found.requirements.pip_flags == ("pre",)
    assert found.requirements.default_index == "https://index.example/all/"
    assert found.requirements.indexes == ("https://index.example/more/",)
    assert [place.line for _, place in found.notes] == [9]


def test_overrides_of_uv_and_pdm_stand_in_place_of_what_is_required(tmp_path: Path) -> None:
    uv = (
        "[tool.uv]\noverride-dependencies = ['numpy>=2', 'tool']\nexclude-dependencies = ['pip']\n"
        "[tool.uv.sources]\ntool = { git = 'https://code.example/tool', tag = 'v1' }\n"
    )
    found = read(tmp_path, HEAD + uv)
    assert [str(each) for each in found.requirements.overrides] == [
        "numpy>=2",
        "pip ; python_version < '0'",
        "tool @ git+https://code.example/tool@v1",
    ]
    place = found.origin("override:numpy")
    assert place is not None
    assert (place.file, place.line) == ("pyproject.toml", 5)
    pdm = "[tool.pdm.resolution]\nexcludes = ['pip']\n[tool.pdm.resolution.overrides]\nNumPy = '2.1'\nrich = '>=13'\n"
    found = read(tmp_path, HEAD + pdm)
    assert [str(each) for each in found.requirements.overrides] == [
        "numpy==2.1",
        "pip ; python_version < '0'",
        "rich>=13",
    ]


@pytest.mark.parametrize(
    ("text", "flags", "noted"),
    [
        ("[tool.uv]\nprerelease = 'disallow'\n", ["only-final=:all:"], []),
        ("[tool.uv]\nprerelease = 'explicit'\nno-build = true\n", [], [5, 6]),
        ("[tool.uv]\nprerelease-package = { Rich = 'allow', attrs = 'disallow' }\n",
         ["all-releases=rich", "only-final=attrs"], []),
        ("[tool.uv]\nno-binary = true\n", ["no-binary=:all:"], []),
        ("[tool.uv]\nno-binary-package = ['Lxml']\n", ["no-binary=lxml"], []),
        ("[tool.poetry.dependencies]\nrich = { version = '*', allow-prereleases = true }\n", ["all-releases=rich"], []),
        ("dependencies = ['rich']\n[tool.poetry.dependencies]\nrich = { allow-prereleases = true }\n",
         ["all-releases=rich"], []),
    ],
)  # fmt: skip
def test_pre_releases_and_builds_of_single_packages_are_flags(
    text: str, flags: list[str], noted: list[int], tmp_path: Path
) -> None:
    found = read(tmp_path, HEAD + text)
    assert (list(found.requirements.pip_flags), sorted(place.line for _, place in found.notes)) == (flags, noted)


def test_a_group_of_uv_may_need_other_pythons(tmp_path: Path) -> None:
    text = (
        "[dependency-groups]\ntest = ['pytest']\n[tool.uv.dependency-groups]\ntest = { requires-python = '>=3.12' }\n"
    )
    assert read(tmp_path, text, groups=("test",)).requirements.python == ">=3.12"


@pytest.mark.parametrize(
    ("uv", "line", "said"),
    [
        ("[tool.uv]\nno-sources = true\n", 23, "no-sources"),
        ("[tool.uv]\noverride-dependencies = ['rich<']\n", 23, "version specifier"),
        ("[tool.uv]\noverride-dependencies = ['jax']\n[tool.uv.sources]\njax = { index = 'cu121' }\n", 23, "override"),
        ("[tool.uv]\nno-binary-package = ['a/b']\n", 23, "a/b"),
        ("[tool.uv]\nfind-links = ['./wheels']\n", 23, "cannot be read"),
        ("[[tool.uv.index]]\nname = 'here'\nurl = 'file:///wheels'\nformat = 'flat'\n", 24, "is absolute"),
        ("[tool.uv.sources]\ntorch = { index = 'cu12' }\n", 23, "cu12"),
        ("[tool.uv.sources]\ntorch = { idx = 'cu121' }\n", 23, "source"),
        ("[tool.uv.sources]\ntorch = 'cu121'\n", 23, "source"),
        ("[tool.uv.sources]\ntorch = { index = 'cu121', git = 'x' }\n", 23, "source"),
        ("[tool.uv.sources]\ntorch = { index = 'cu121', branch = 'x' }\n", 23, "branch"),
        ("[tool.uv.sources]\ntorch = { index = 1 }\n", 23, "type"),
        ("[tool.uv.sources]\ntorch = { index = 'cu121', marker = 'x' }\n", 23, "marker"),
        ("[tool.uv.sources]\ntorch = { index = 'cu121', marker = \"python_version ~= '3.9'\" }\n", 23, "marker"),
        ("[tool.uv.sources]\ntorch = { workspace = true }\n", 23, "workspace"),
        ("[[tool.uv.index]]\nname = 'x'\n", 22, "url"),
        ("[[tool.uv.index]]\nurl = 'https://index.example/'\nexplict = true\n", 24, "explict"),
    ],
)
def test_what_is_wrong_with_the_tables_of_uv_has_its_line(uv: str, line: int, said: str, tmp_path: Path) -> None:
    error = refused(tmp_path, UV + uv)
    assert (error.code, lines(error)[0]) == ("bad-pyproject", ("pyproject.toml", line))
    assert said in error.message


# Poetry


POETRY = """\
[tool.poetry]
name = "demo"
version = "1"

[tool.poetry.dependencies]
python = "^3.10"
rich = "^13.5"
requests = { version = "~2.31", extras = ["socks"] }
torch = [
    { version = "2.3.1", platform = "linux", source = "cu121" },
    { version = "2.3.*", markers = "sys_platform == 'darwin'" },
]
tomli = { version = "*", python = "<3.11" }
xgboost = { version = ">=2 <3", optional = true }

[tool.poetry.extras]
boost = ["xgboost"]

[tool.poetry.group.test.dependencies]
pytest = "^8.0 || ^9.0"

[tool.poetry.dev-dependencies]
ruff = "*"

[[tool.poetry.source]]
name = "cu121"
url = "https://index.example/cu121/"
priority = "explicit"
"""


def test_the_tables_of_poetry_mean_what_they_mean_to_poetry(tmp_path: Path) -> None:
    found = read(tmp_path, POETRY, extras=("boost",), groups=("test", "dev"))
    assert texts(found) == [
        "pytest<10.0,>=8.0",
        "requests[socks]<2.32,>=2.31",
        "rich<14.0,>=13.5",
        "ruff",
        "tomli ; python_version < '3.11'",
        "torch==2.3.* ; sys_platform == 'darwin'",
        "torch==2.3.1 ; sys_platform == 'linux' (from https://index.example/cu121/)",
        "xgboost<3,>=2",
    ]
    assert found.requirements.python == "<4.0,>=3.10"
    assert found.requirements.indexes == ()
    place = found.origin("rich")
    assert place is not None
    assert place.line == 7


def test_without_its_extra_an_optional_package_is_not_taken(tmp_path: Path) -> None:
    assert not any(each.startswith("xgboost") for each in asked(tmp_path, POETRY))


def source(name: str, priority: str = "") -> str:
    url = "" if name == "PyPI" else f'url = "https://index.example/{name}/"\n'
    return f'[[tool.poetry.source]]\nname = "{name}"\n{url}' + (f'priority = "{priority}"\n' if priority else "")


@pytest.mark.parametrize(
    ("sources", "indexes", "default"),
    [
        ([("a", "")], [], "a"),
        ([("a", "primary"), ("b", "primary")], ["a"], "b"),
        ([("a", "primary"), ("PyPI", "primary")], ["a"], ""),
        ([("a", "explicit")], [], ""),
        ([("a", "supplemental")], [], ""),
        ([("a", "primary"), ("b", "supplemental")], ["a"], "b"),
    ],
)
def test_sources_of_poetry_are_searched_by_their_priority(
    sources: list[tuple[str, str]], indexes: list[str], default: str, tmp_path: Path
) -> None:
    text = "[tool.poetry.dependencies]\nrich = '*'\n" + "".join(source(*each) for each in sources)
    found = read(tmp_path, text).requirements
    assert found.indexes == tuple(f"https://index.example/{name}/" for name in indexes)
    assert found.default_index == (f"https://index.example/{default}/" if default else "")


def test_the_tables_of_poetry_add_sources_to_the_dependencies_of_the_project(tmp_path: Path) -> None:
    text = (
        HEAD
        + "dependencies = ['torch>=2', 'rich']\n[tool.poetry.dependencies]\n"
        + "torch = { version = '<3', source = 'cu121' }\nlam = '*'\n"
        + source("cu121", "explicit")
    )
    assert asked(tmp_path, text) == ["rich", "torch<3,>=2 (from https://index.example/cu121/)"]


def test_a_project_whose_dependencies_are_dynamic_for_poetry_is_read(tmp_path: Path) -> None:
    text = HEAD + "dynamic = ['dependencies']\n[tool.poetry.dependencies]\nrich = '^13'\n"
    assert asked(tmp_path, text) == ["rich<14,>=13"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("rich = 1", "version"),
        ("rich = { vers = '1' }", "vers"),
        ("rich = { version = 1 }", "type"),
        ("rich = { version = '^^1' }", "^^1"),
        ("rich = '^1.2 || ^3.9'", "alternatives"),
        ("rich = { version = '*', source = 'nowhere' }", "nowhere"),
        ("rich = { version = '*', platform = '>x' }", "platform"),
        ("rich = { version = '*', python = 'three' }", "three"),
        ("python = ['3']", "python"),
    ],
)
def test_what_is_wrong_with_a_dependency_of_poetry_has_its_line(entry: str, said: str, tmp_path: Path) -> None:
    error = refused(tmp_path, f"[tool.poetry.dependencies]\n{entry}\n")
    assert (error.code, lines(error)[0]) == ("bad-pyproject", ("pyproject.toml", 2))
    assert said in error.message


def test_an_extra_of_poetry_that_names_no_dependency_has_its_line(tmp_path: Path) -> None:
    text = (
        "[tool.poetry.dependencies]\nrich = { version = '*', optional = true }\n[tool.poetry.extras]\nx = ['ritch']\n"
    )
    error = refused(tmp_path, text, extras=("x",))
    assert lines(error)[0] == ("pyproject.toml", 4)
    assert "`rich`" in (error.hint or "")


def test_sources_of_pdm_are_indexes(tmp_path: Path) -> None:
    text = HEAD + "".join(
        f"[[tool.pdm.source]]\nname = '{name}'\nurl = 'https://index.example/{name}/'\n{more}"
        for name, more in (("pypi", ""), ("team", ""), ("links", "type = 'find_links'\n"))
    )
    found = read(tmp_path, text + "[tool.pdm.resolution]\nallow-prereleases = true\n").requirements
    assert (found.default_index, found.indexes) == ("https://index.example/pypi/", ("https://index.example/team/",))
    assert (found.find_links, found.pip_flags) == (("https://index.example/links/",), ("pre",))
    for key, wrong in (("overrides", "['rich']"), ("excludes", "'rich'")):
        error = refused(tmp_path, HEAD + f"[tool.pdm.resolution]\n{key} = {wrong}\n")
        assert (error.code, lines(error)[0]) == ("bad-pyproject", ("pyproject.toml", 5))


def test_tables_of_other_tools_are_left_out_with_a_note(tmp_path: Path) -> None:
    found = read(tmp_path, HEAD + "[tool.pixi.dependencies]\nnumpy = '*'\n[tool.black]\nline-length = 1\n")
    assert [place.line for _, place in found.notes] == [4]


# Sources


def library(folder: Path, name: str, more: str = "") -> None:
    """A project in a folder of its own."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(f"[project]\nname = '{name}'\nversion = '1'\n{more}")
    (folder / f"{name.replace('-', '_')}.py").write_text("")


def places(environment: Environment) -> dict[str, str]:
    """The local sources of an environment: each package with its path."""
    paths = dict(environment.local)
    return {each.name: paths.get(each.url, each.url) for each in environment.requirements.pypi if each.url}


def test_paths_and_repositories_of_uv_are_where_packages_come_from(tmp_path: Path) -> None:
    library(tmp_path / "libs" / "common", "common")
    text = HEAD + (
        "dependencies = ['common>=1', 'tool[cli] ; python_version >= \"3.9\"', 'web']\n[tool.uv.sources]\n"
        "common = { path = 'libs/common', editable = true }\n"
        "tool = { git = 'https://code.example/team/tool', tag = 'v1', subdirectory = 'python' }\n"
        "web = { url = 'https://files.example/web-1.0.tar.gz' }\n"
    )
    found = read(tmp_path, text)
    assert places(found) == {
        "common": "libs/common",
        "tool": "git+https://code.example/team/tool@v1#subdirectory=python",
        "web": "https://files.example/web-1.0.tar.gz",
    }
    assert [str(each).partition(" @ ")[0] for each in found.requirements.pypi] == ["common", "tool[cli]", "web"]
    assert found.requirements.pypi[1].marker == 'python_version >= "3.9"'
    assert [place.line for _, place in found.notes] == [6]


def test_paths_and_repositories_of_poetry_are_where_packages_come_from(tmp_path: Path) -> None:
    library(tmp_path / "libs" / "common", "common")
    text = (
        "[tool.poetry.dependencies]\ncommon = { path = 'libs/common', develop = true }\n"
        "tool = { git = 'git@code.example:team/tool.git', branch = 'main', extras = ['cli'] }\n"
        "web = { url = 'https://files.example/web-1.0-py3-none-any.whl' }\n"
    )
    found = read(tmp_path, text)
    assert places(found) == {
        "common": "libs/common",
        "tool": "git+ssh://git@code.example/team/tool.git@main",
        "web": "https://files.example/web-1.0-py3-none-any.whl",
    }
    assert [place.line for _, place in found.notes] == [2]


def test_paths_are_relative_to_the_file_that_has_them(tmp_path: Path) -> None:
    library(tmp_path / "libs" / "common", "common")
    library(
        tmp_path / "apps" / "train",
        "train",
        "dependencies = ['common']\n[tool.uv.sources]\ncommon = { path = '../../libs/common' }\n",
    )
    (tmp_path / "envlock.toml").write_text("[env.base]\npyproject = 'apps/train/pyproject.toml'\n")
    found = load_project(tmp_path / "envlock.toml").named[0]
    assert places(found) == {"common": "libs/common"}


WORKSPACE = "[tool.uv.workspace]\nmembers = ['libs/*', 'apps/*']\nexclude = ['libs/old']\n"


def test_a_member_of_the_workspace_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(WORKSPACE)
    library(tmp_path / "libs" / "one", "Team_Common")
    library(tmp_path / "libs" / "old", "team-common")
    library(
        tmp_path / "apps" / "train",
        "train",
        "dependencies = ['team-common']\n[tool.uv.sources]\nteam-common = { workspace = true }\n",
    )
    (tmp_path / "envlock.toml").write_text("[env.base]\npyproject = 'apps/train/pyproject.toml'\n")
    assert places(load_project(tmp_path / "envlock.toml").named[0]) == {"team-common": "libs/one"}


def test_a_member_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    library(tmp_path / "libs" / "one", "common")
    text = HEAD + f"dependencies = ['comon']\n[tool.uv.sources]\ncomon = {{ workspace = true }}\n{WORKSPACE}"
    error = refused(tmp_path, text)
    assert (error.code, lines(error)[0]) == ("bad-pyproject", ("pyproject.toml", 6))
    assert "`common`" in (error.hint or "")


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("{ path = 'nowhere' }", "bad-source"),
        ("{ path = '/srv/common' }", "bad-source"),
        ("{ git = 'https://code.example/x', tag = 'a', rev = 'b' }", "bad-source"),
        ("{ git = 'https://me:pw@code.example/x' }", "credentials-in-direct-url"),
        ("{ url = 'ftp://files.example/x-1.tar.gz' }", "direct-url-not-web"),
    ],
)
@pytest.mark.parametrize("tool", ["uv", "poetry"])
def test_what_is_wrong_with_a_source_has_its_line(tool: str, source: str, code: str, tmp_path: Path) -> None:
    if tool == "uv":
        text, line = HEAD + f"dependencies = ['x']\n[tool.uv.sources]\nx = {source}\n", 6
    else:
        text, line = f"[tool.poetry.dependencies]\nx = {source}\n", 2
    error = refused(tmp_path, text)
    assert (error.code, lines(error)) == (code, [("pyproject.toml", line), ("envlock.toml", 2)])
    assert "pw@" not in error.render()


def test_a_change_in_a_folder_changes_the_id_and_its_path_does_not(tmp_path: Path) -> None:
    text = HEAD + "dependencies = ['common']\n[tool.uv.sources]\ncommon = { path = 'libs/common' }\n"
    library(tmp_path / "libs" / "common", "common")
    before = read(tmp_path, text).requirements.req_id
    (tmp_path / "libs" / "common").rename(tmp_path / "libs" / "moved")
    assert read(tmp_path, text.replace("libs/common", "libs/moved")).requirements.req_id == before
    (tmp_path / "libs" / "moved" / "common.py").write_text("x = 1\n")
    assert read(tmp_path, text.replace("libs/common", "libs/moved")).requirements.req_id != before


def load(folder: Path, file: str) -> Environment:
    (folder / "envlock.toml").write_text(f"[env.base]\npyproject = '{file}'\n")
    return load_project(folder / "envlock.toml").named[0]


def uses(*names: str) -> str:
    """Dependencies that come from the workspace."""
    sources = "".join(f"{name} = {{ workspace = true }}\n" for name in names)
    return f"dependencies = {list(names)}\n[tool.uv.sources]\n{sources}"


def test_what_a_member_needs_of_the_workspace_comes_from_there_too(tmp_path: Path) -> None:
    """Their wheels name each other, and an index may have packages of these names."""
    (tmp_path / "pyproject.toml").write_text(WORKSPACE)
    library(tmp_path / "libs" / "one", "one", uses("two"))
    library(tmp_path / "libs" / "two", "two", uses("one", "three"))
    library(tmp_path / "libs" / "three", "three", "dependencies = ['rich']\n")
    library(tmp_path / "libs" / "four", "four", "")
    library(tmp_path / "apps" / "train", "train", uses("one"))
    found = load(tmp_path, "apps/train/pyproject.toml")
    assert places(found) == {"one": "libs/one", "three": "libs/three", "two": "libs/two"}
    assert [each.name for each in found.requirements.pypi] == ["one", "three", "two"], "rich is the wheel's own affair"
    where = found.origin("three")
    assert where is not None
    assert (where.file, where.line) == ("libs/two/pyproject.toml", 4)


def test_a_marker_and_an_extra_lead_to_what_is_needed_under_them(tmp_path: Path) -> None:
    library(
        tmp_path / "libs" / "one",
        "one",
        "[project.optional-dependencies]\ngpu = ['two']\n[tool.uv.sources]\ntwo = { path = '../two' }\n",
    )
    library(tmp_path / "libs" / "two", "two")
    text = "dependencies = ['one{} ; sys_platform == \"linux\"']\n[tool.uv.sources]\none = {{ path = 'libs/one' }}\n"
    assert places(read(tmp_path, HEAD + text.format(""))) == {"one": "libs/one"}
    found = read(tmp_path, HEAD + text.format("[gpu]"))
    assert places(found) == {"one": "libs/one", "two": "libs/two"}
    assert {each.marker for each in found.requirements.pypi} == {'sys_platform == "linux"'}


def test_paths_of_poetry_lead_on_as_well(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "pyproject.toml").write_text(
            f"[tool.poetry]\nname = '{name}'\n"
            f"[tool.poetry.dependencies]\n{other} = {{ path = '../{other}' }}\nrich = '*'\n"
        )
    found = read(tmp_path, "[tool.poetry.dependencies]\none = { path = 'one' }\n")
    assert places(found) == {"one": "one", "two": "two"}


def test_sources_and_indexes_of_the_root_count_for_a_member(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f"{WORKSPACE}[tool.uv]\nconstraint-dependencies = ['rich<14']\n[[tool.uv.index]]\nname = 'team'\n"
        "url = 'https://index.example/team/'\n"
        "[tool.uv.sources]\none = { path = 'libs/one' }\ntwo = { index = 'team' }\n"
    )
    library(tmp_path / "libs" / "one", "one")
    library(tmp_path / "apps" / "train", "train", "dependencies = ['one', 'two', 'rich']\n")
    found = load(tmp_path, "apps/train/pyproject.toml")
    assert places(found) == {"one": "libs/one"}
    assert found.requirements.indexes == ("https://index.example/team/",)
    assert [str(each) for each in found.requirements.constraints] == ["rich<14"]
    assert found.requirements.pypi[-1].from_index == "https://index.example/team/"
    # Of a project that is no member, they do not.
    library(tmp_path / "other", "other", "dependencies = ['one', 'rich']\n")
    assert places(load(tmp_path, "other/pyproject.toml")) == {}


def test_what_is_wrong_in_a_folder_names_that_file_and_the_line_that_leads_there(tmp_path: Path) -> None:
    library(
        tmp_path / "libs" / "one", "one", "dependencies = ['two >>1']\n[tool.uv.sources]\ntwo = { path = '../two' }\n"
    )
    text = HEAD + "dependencies = ['one']\n[tool.uv.sources]\none = { path = 'libs/one' }\n"
    error = refused(tmp_path, text)
    assert error.code == "bad-pyproject"
    assert lines(error) == [("libs/one/pyproject.toml", 4), ("pyproject.toml", 4)]


@pytest.mark.parametrize("kind", ["table", "requirements"])
def test_a_folder_brings_what_it_needs_whatever_names_it(kind: str, tmp_path: Path) -> None:
    library(tmp_path / "libs" / "one", "one", "dependencies = ['two']\n[tool.uv.sources]\ntwo = { path = '../two' }\n")
    library(tmp_path / "libs" / "two", "two")
    library(tmp_path / "other" / "two", "two", "description = 'ours'\n")
    table = "pypi.packages.one = { path = 'libs/one' }\n" if kind == "table" else "requirements = 'r.txt'\n"
    (tmp_path / "r.txt").write_text("-e ./libs/one\n")
    (tmp_path / "envlock.toml").write_text(f"[env.base]\n{table}")
    assert places(load_project(tmp_path / "envlock.toml").named[0]) == {"one": "libs/one", "two": "libs/two"}
    # What the project itself says comes first.
    (tmp_path / "envlock.toml").write_text(f"[env.base]\n{table}pypi.packages.two = {{ path = 'other/two' }}\n")
    assert places(load_project(tmp_path / "envlock.toml").named[0]) == {"one": "libs/one", "two": "other/two"}
