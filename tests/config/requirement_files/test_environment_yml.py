"""environment.yml: what conda, conda-lock and Metaflow's extension write there, and what nobody may."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.config.project import Environment
from envlock.config.read import load_project
from envlock.errors import ConfigError, EnvlockError

CONFIG = '[env.base]\nenvironment-yml = "environment.yml"\n'


def read(folder: Path, text: str, config: str = CONFIG) -> Environment:
    """The environment of a project whose environment.yml has this text."""
    (folder / "envlock.toml").write_text(config)
    (folder / "environment.yml").write_text(text)
    return load_project(folder / "envlock.toml").named[0]


def refused(folder: Path, text: str, config: str = CONFIG) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, config)
    return caught.value


def conda(folder: Path, *lines: str) -> list[str]:
    """The conda packages of these dependencies, as they stand in the requirements."""
    found = read(folder, "dependencies:\n" + "".join(f"  - {line}\n" for line in lines))
    return [str(each) for each in found.requirements.conda]


def lines(error: ConfigError) -> list[tuple[str, int | None]]:
    return [(at.path, at.line) for at in error.locations]


WHOLE = """\
name: stats
channels:
  - team
  - defaults
dependencies:
  - python=3.11  # what the cluster has
  - numpy=1.26
  - conda-forge::ffmpeg >=6
  - scikit-learn=1.4=py311*
  - __glibc >=2.17
  - pip
  - pip:
      - requests[socks]==2.31.0
      - colorama  # [osx]
      - --extra-index-url https://index.example/simple/
  - sys:
      - __cuda=12.4
pypi-indices:
  - https://other.example/simple/
variables:
  OMP_NUM_THREADS: 4
  MODE: "a b"
prefix: /opt/conda/envs/stats
"""


def test_every_section_of_a_file_that_conda_and_the_extension_read_counts(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    asked = found.requirements
    assert asked.python == "==3.11.*"
    assert [str(each) for each in asked.conda] == [
        "conda-forge::ffmpeg >=6",
        "numpy =1.26",
        "pip",
        "scikit-learn ==1.4 py311*",
    ]
    assert [str(each) for each in asked.pypi] == ["colorama ; sys_platform == 'darwin'", "requests[socks]==2.31.0"]
    assert asked.channels == ("team", "main", "r", "conda-forge")
    assert asked.indexes == ("https://index.example/simple/", "https://other.example/simple/")
    assert {("linux-64", "__glibc", "2.17"), ("linux-64", "__cuda", "12.4")} <= set(asked.system)
    assert [(place.line, text.partition(" ")[0]) for text, place in found.notes] == [(1, "`name`"), (23, "`prefix`")]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy =1.26"),
        ("numpy==1.26", "numpy ==1.26"),
        ("numpy 1.26", "numpy ==1.26"),
        ("numpy >=1.26, <2", "numpy >=1.26,<2"),
        ("numpy=>=1.26", "numpy >=1.26"),
        ("numpy==<2", "numpy <2"),
        ("numpy!=1.2", "numpy !=1.2"),
        ("numpy=1.26.4=py312_0", "numpy ==1.26.4 py312_0"),
        ("numpy 1.26.* py312*", "numpy 1.26.* py312*"),
        ("'numpy[version=\">=1,<2\"]'", "numpy >=1,<2"),
        ("'numpy[build=py312*]'", "numpy * py312*"),
        ("'numpy[version=1.26.4, build=py312_0, channel=team]'", "team::numpy ==1.26.4 py312_0"),
        ("'numpy >=1[build=py312_0]'", None),
        ("https://conda.example/team::demo >=1", "https://conda.example/team::demo >=1"),
        ("_libgcc_mutex=0.1=main", "_libgcc_mutex ==0.1 main"),
    ],
)
def test_a_dependency_means_what_it_means_to_conda(written: str, meant: str | None, tmp_path: Path) -> None:
    if meant is None:
        assert refused(tmp_path, f"dependencies: [{written}]").code == "bad-environment-yml"
    else:
        assert conda(tmp_path, written) == [meant]


def test_nodefaults_leaves_out_the_channels_of_the_project(tmp_path: Path) -> None:
    text = "channels: [team, nodefaults]\ndependencies: [numpy]\n"
    assert read(tmp_path, text).requirements.channels == ("team",)
    assert read(tmp_path, text.replace(", nodefaults", "")).requirements.channels == ("team", "conda-forge")


@pytest.mark.parametrize(
    ("selector", "marker"),
    [
        ("linux", "sys_platform == 'linux'"),
        ("not osx", "sys_platform == 'linux'"),
        ("osx and arm64", "sys_platform == 'darwin' and platform_machine == 'arm64'"),
        ("unix", ""),
        ("linux or osx", ""),
        ("win", None),
        ("1", ""),
        ("see the docs", ""),
    ],
)
def test_a_selector_becomes_a_marker_and_any_other_comment_stays_one(
    selector: str, marker: str | None, tmp_path: Path
) -> None:
    found = read(tmp_path, f"dependencies:\n  - pip:\n    - rich>=13  # [{selector}]\n").requirements.pypi
    assert [(each.name, each.marker) for each in found] == ([] if marker is None else [("rich", marker)])


def test_a_selector_says_which_archs_need_a_conda_package(tmp_path: Path) -> None:
    lines_ = (
        "readline  # [unix]",
        "pywin32  # [win]",
        "libgcc=13  # [linux]",
        "'llvm[version=1]'  # [osx and not arm64]",
    )
    assert conda(tmp_path, *lines_) == ["libgcc =13 ; linux-64 linux-aarch64", "llvm ==1 ; osx-64", "readline"]
    error = refused(tmp_path, "dependencies:\n  - python=3.12  # [linux]\n")
    assert (error.code, lines(error)[0]) == ("bad-conda-requirement", ("environment.yml", 2))


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("", 1, ""),
        ("- numpy\n", 1, ""),
        ("numpy", 1, ""),
        ("services:\n  web: {image: x}\n", 1, ""),
        ("dependencies: [a]\nname: x\ndependencies: [b]\n", 1, "twice"),
        ("dependencies:\n\t- numpy\n", 2, "tab"),
        ("dependencies: [numpy\n", 1, "YAML"),
        ("dependencies:\n  - numpy\n ? b", 3, "YAML"),
        ("dependencies: [a]\n---\nb: 1\n", 2, "document"),
        ("dependencies: &a [numpy]\nname: *a\n", 1, "anchors"),
        ("dependencies: []\nx:\n  <<: {a: 1}\n", 3, "merged"),
        ("dependencies: !!python/object:os.system [numpy]\n", 1, "tags"),
        ("dependencies: " + "[" * 30 + "]" * 30, 1, "deep"),
        ("dependencies: [a]\n? [x]\n: y\n", 2, "key"),
        ("dependencies: [a]\nx: \x07\n", 2, "character"),
        ("dependencies: numpy\n", 1, "list"),
        ("dependencies: {numpy: 1}\n", 1, "list"),
        ("dependencies:\n  - numpy: 1.26\n", 2, "mapping"),
        ("dependencies:\n  - npm: [x]\n", 2, "`npm`"),
        ("dependencies:\n  -\n", 2, "text"),
        ("dependencies:\n  - |\n    a\n    b\n", 2, "one line"),
        ("dependencies:\n  - pip: requests\n", 2, "`pip`"),
        ("dependencies:\n  - pip:  # [linux]\n    - rich\n", 2, "selector"),
        ("dependencies:\n  - numpy  # [py<310]\n", 2, "selector"),
        ("dependencies:\n  - pip:\n    - -r x.txt  # [linux]\n", 3, "selector"),
        ("dependencies:\n  - defaults::numpy\n", 2, "`defaults`"),
        ("dependencies:\n  - conda-forge/linux-64::numpy\n", 2, "platform"),
        ("dependencies:\n  - https://conda.example/linux-64/x-1-0.conda\n", 2, "file"),
        ("dependencies:\n  - numpy[md5=0]\n", 2, "brackets"),
        ("dependencies:\n  - __glibc <3\n", 2, "system package"),
        ("dependencies:\n  - __win\n", 2, "system package"),
        ("dependencies: []\nvariables:\n  PYTHONPATH: src\n", 3, "`PYTHONPATH`"),
        ("dependencies: []\nvariables:\n  HF_TOKEN: x\n", 3, "`HF_TOKEN`"),
        ("dependencies: []\nvariables:\n  A: [x]\n", 3, "variable"),
        ("dependencies: []\nvariables:\n  A: 1.10\n", 3, "change"),
        ("dependencies: []\nvariables: [A]\n", 2, "mapping"),
    ],
)
def test_what_is_not_understood_is_an_error_with_its_line(text: str, line: int, key: str, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == "bad-environment-yml"
    assert lines(error)[0] == ("environment.yml", line)
    assert lines(error)[-1] == ("envlock.toml", 2)
    assert key in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("dependencies:\n  - numpy=\n", "bad-conda-requirement", 2),
        ("dependencies:\n  - python=abc\n", "bad-python-specifier", 2),
        ("dependencies:\n  - __cuda=x\n", "bad-value", 2),
        ("channels:\n  - ../channel\ndependencies: []\n", "bad-channel", 2),
        ("channels:\n  - local\ndependencies: []\n", "bad-channel", 2),
        ("dependencies:\n  - '../x::numpy'\n", "bad-channel", 2),
        ("dependencies: []\npypi-indices:\n  - pypi\n", "bad-index-url", 3),
        ("dependencies:\n  - pip:\n    - rich ; os = 'x'\n", "bad-environment-yml", 3),
        ("dependencies:\n  - pip:\n    - python>=3\n", "python-is-no-package", 3),
        (
            "dependencies:\n  - pip:\n    - x @ https://u:p@files.example/x-1-py3-none-any.whl\n",
            "credentials-in-direct-url",
            3,
        ),
    ],
)
def test_a_fault_that_other_places_have_too_has_the_same_code(text: str, code: str, line: int, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert (error.code, lines(error)[0]) == (code, ("environment.yml", line))


def test_a_value_that_conda_cannot_quote_is_told(tmp_path: Path) -> None:
    read(tmp_path, 'dependencies: []\nvariables:\n  A: "it is"\n  B: "it\'s"\n')
    (environment,) = load_project(tmp_path / "envlock.toml").named
    ((said, key),) = environment.notes
    assert "`B`" in said
    assert load_project(tmp_path / "envlock.toml").locate(key).line == 4


def test_a_key_that_is_there_twice_names_both_lines(tmp_path: Path) -> None:
    error = refused(tmp_path, "dependencies: []\nvariables:\n  A: x\n  B: x\n  A: y\n")
    assert lines(error)[:2] == [("environment.yml", 3), ("environment.yml", 5)]


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("dependencies:\n  - python=3.10\n  - numpy\n  - python=3.11\n", 2, 4),
        ("dependencies:\n  - numpy=1.26\n  - numpy>=2\n", 2, 3),
        ("dependencies:\n  - __glibc=2.17\n  - sys:\n    - __glibc=2.28\n", 2, 4),
    ],
)
def test_what_is_asked_twice_and_differs_names_both_lines(text: str, first: int, second: int, tmp_path: Path) -> None:
    error = refused(tmp_path, text)
    assert error.code == "disagreeing-values"
    assert lines(error) == [("environment.yml", first), ("environment.yml", second)]


def test_a_file_and_a_table_that_contradict_each_other_name_both_places(tmp_path: Path) -> None:
    error = refused(tmp_path, "dependencies:\n  - python=3.10\n", CONFIG + 'pypi.python = "3.12"\n')
    assert error.code == "disagreeing-values"
    assert lines(error) == [("envlock.toml", 3), ("environment.yml", 2)]


def test_what_pip_would_refuse_and_the_extension_accepts_is_read_with_a_note(tmp_path: Path) -> None:
    text = "dependencies:\n  - pandas=>=1.4\n  - pip:\n    - requests = 2.31\n    - rich=13 ; os_name == 'posix'\n"
    found = read(tmp_path, text)
    assert [str(each) for each in found.requirements.pypi] == ["requests==2.31", "rich==13 ; os_name == 'posix'"]
    assert sorted(place.line for _, place in found.notes) == [2, 4, 5]


def test_an_unknown_section_is_left_out_with_a_note(tmp_path: Path) -> None:
    notes = read(tmp_path, "dependencies: [numpy]\ncategory: dev\nplatforms: [linux-64]\n").notes
    assert sorted((place.file, place.line) for _, place in notes) == [("environment.yml", 2), ("environment.yml", 3)]


def test_an_error_about_a_requirement_names_its_line_later_too(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE)
    places = {name: found.origin(name) for name in ("conda:numpy", "requests", "python", "team", "__cuda")}
    assert {name: place and place.line for name, place in places.items()} == {
        "conda:numpy": 7,
        "requests": 13,
        "python": 6,
        "team": 3,
        "__cuda": 17,
    }


def test_the_order_of_dependencies_and_the_spelling_of_yaml_change_no_id(tmp_path: Path) -> None:
    block = read(tmp_path, "dependencies:\n  - numpy=1.26\n  - pip:\n    - rich\n  - scipy\n")
    flow = read(tmp_path, "{dependencies: [{pip: ['rich']}, scipy, \"numpy =1.26\"]}")
    assert block.requirements.req_id == flow.requirements.req_id


@given(st.text(alphabet="ab:-#[]{}&*!|>'\"%@`,? \n\t=<1.", max_size=60))
def test_no_text_is_more_than_an_error(text: str) -> None:
    from envlock.config.requirement_files.contents import RequirementFile
    from envlock.config.requirement_files.environment_yml import read_environment_yml
    from envlock.config.requirement_files.errors import BadEnvironmentYml
    from envlock.errors import Location

    file = RequirementFile(
        Path("e.yml"), "e.yml", text, ("env",), lambda _: Location("envlock.toml"), Path(), BadEnvironmentYml, True
    )
    for each in (text, f"dependencies:\n- {text}\n", f"dependencies:\n- pip:\n  - {text}\n"):
        with suppress(EnvlockError):
            read_environment_yml(file._replace(text=each))
