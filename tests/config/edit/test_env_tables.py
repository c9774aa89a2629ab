"""Requirements back to envlock.toml: the new table asks for the same, to the id; else it is said what hinders it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.config.edit.env_tables import env_from_requirements
from envlock.config.edit.errors import CannotCopyRequirements, SettingsDiffer
from envlock.config.project import Project
from envlock.config.read import load_project
from envlock.model.requirements import Requirements

SETTINGS = """
archs = ["linux-64"]
extra-indices = ["https://index.example/project"]
channels = ["https://${TOKEN}@conda.example/project", "conda-forge"]
exclude-newer = "2026-11-01"
datastore = ["s3", "local"]
system-requirements = { linux-64 = { __glibc = "2.31" } }
"""

TABLES = {
    "nothing": "",
    "python": 'pypi = { python = ">=3.11, <3.13" }',
    "spellings": 'pypi = { packages = { "Requests[b,A.x]" = ">= 2, <3 ; sys_platform == \'linux\'", x = "1" } }',
    "url": 'pypi = { packages = { "demo@https://a.example/demo-1-py3-none-any.whl" = "; os_name == \'nt\'" } }',
    "indexes": 'pypi = { extra_indices = ["https://a.example", "https://index.example/project"], extras = ["pre"] }',
    "before": 'pypi = { packages = { x = "" }, extra_indices = ["https://index.example/a"] }',
    "many": "pypi.packages = { " + ", ".join(f'package-{n} = ">={n},<{n + 1}"' for n in range(20)) + " }",
    "conda": 'conda = { libraries = { NumPy = "=1.26", blas = "2.1=openblas*", a = "* py312*", b = "1.*" } }',
    "conda python": 'conda = { python = "=3.12" }',
    "bare conda": "conda = { channels = [] }",
    "channels": 'conda = { libraries = { "bioconda::samtools" = ">=1,<2" }, channels = ["bioconda"], python = "3.12" }',
    "channel of one package": 'conda = { libraries = { "bioconda::samtools" = "" } }',
    "order": 'conda = { libraries = { x = "" }, channels = ["conda-forge", "https://me:pw@conda.example/t/abc/team"] }',
    "build of python": 'conda = { libraries = { python = "3.12=*_cpython" } }',
    "channel of python": 'conda = { libraries = { "conda-forge::python" = "" }, python = ">=3.11" }',
    "conda only": 'pypi = { packages = { rich = "15" }, conda_only = { ffmpeg = "6" }, python = "3.12" }',
    "only conda only": 'pypi = { conda_only = { ffmpeg = "" } }',
    "twice": "pypi = { packages = { x = ['<3', '>=2 ; os_name == \"nt\"'], 'x[a]' = '' } }",
    "its index": "pypi = { packages = { x = { version = '2', index = 'https://me:pw@index.example/cu' }, y = '' } }",
    "index for a marker": """pypi = { packages = { x = [
        { index = "https://index.example/cu", marker = "os_name == 'posix'" }, "2 ; os_name == 'nt'"
    ] } }""",
    "mixed": 'pypi = { packages = { rich = "" } }\nconda = { libraries = { numpy = "" }, python = "3.11.4" }',
    "limits": """pypi = { constraints = { a = '<2' }, overrides = { B = "; os_name == 'nt'" } }""",
    "links": 'pypi = { packages = { x = "" }, find_links = ["https://links.example/x", "https://links.example/y"] }',
    "flags of packages": 'pypi = { packages = { x = "" }, extras = ["no-binary=X", "all-releases=:all:"] }',
    "system": 'sys_packages = { packages = { __cuda = "12.4", __glibc = "2.35" } }',
    "microarchitecture": 'conda = { libraries = { x = "" } }\nsys_packages.packages = { __archspec = "x86_64_v3" }',
}


def load(folder: Path, settings: str, tables: str = "") -> Project:
    folder.mkdir(exist_ok=True)
    path = folder / "envlock.toml"
    path.write_text(f"[envlock]\n{settings}\n{tables}\n", encoding="utf-8")
    return load_project(path)


def wanted(folder: Path, settings: str, table: str) -> Requirements:
    return load(folder, settings, f"[env.theirs]\n{table}").named[0].requirements


def asked(project: Project, requirements: Requirements) -> Project:
    return env_from_requirements(project, "mine", requirements, source="team/base:v1", use="envlock lock --using it")


@pytest.mark.parametrize("settings", ["", SETTINGS, 'python-from = "conda"'], ids=["plain", "settings", "conda"])
@pytest.mark.parametrize("name", TABLES)
def test_the_requirements_are_the_same(tmp_path: Path, name: str, settings: str) -> None:
    theirs = wanted(tmp_path / "theirs", settings, TABLES[name])
    others = '# ours\n[env.base] # base\npypi = { packages = {} }\n\n[env.base.conda]\nchannels = ["x"]\n# end\n'
    mine = load(tmp_path / "mine", settings, others)
    made = asked(mine, theirs)
    environment = next(each for each in made.named if each.name == "mine")
    assert environment.requirements.req_id == theirs.req_id
    assert made.text.startswith(mine.text.rstrip("\n"))
    assert ":pw@" not in made.text
    assert "abc" not in made.text
    assert mine.path.read_text(encoding="utf-8") == mine.text
    assert max(map(len, made.text.splitlines())) < 120


@pytest.mark.parametrize("text", ["env = { a = { pypi = {} } }\n", "env.a.pypi.python = '3.12'\n", "env.a = {}\n"])
def test_tables_of_other_styles_get_a_sibling(tmp_path: Path, text: str) -> None:
    theirs = wanted(tmp_path / "theirs", "", TABLES["mixed"])
    path = tmp_path / "envlock.toml"
    path.write_text(text)
    made = asked(load_project(path), theirs)
    assert [each.name for each in made.named] == ["a", "mine"]
    assert made.named[1].requirements == theirs


def test_line_ends_stay(tmp_path: Path) -> None:
    theirs = wanted(tmp_path / "theirs", "", TABLES["many"])
    path = tmp_path / "envlock.toml"
    path.write_bytes(b"[env.a]\r\npypi = {}\r\n")
    made = asked(load_project(path), theirs)
    assert made.text.count("\r\n") == made.text.count("\n") > 20


@pytest.mark.parametrize(
    ("theirs", "mine", "change"),
    [
        ('python-from = "uv"', "", 'write `python-from = "uv"`'),
        ("", 'python-from = "conda"', 'write `python-from = "machine"`'),
        ("metaflow-requirements = false", "", "write `metaflow-requirements = false`"),
        ('datastore = ["gs", "s3"]', "", 'write `datastore = ["s3", "gs"]`, and no `metaflow-requirements = false`'),
        ('index-url = "https://index.example/"', "", 'write `index-url = "https://index.example/"`'),
        ("", 'index-url = "https://index.example/"', "remove `index-url`"),
        ('exclude-newer = "2026-11-01T00:00:00Z"', "", 'write `exclude-newer = "2026-11-01T00:00:00Z"`'),
        (
            "",
            'extra-indices = ["https://me:pw@a.example/"]',
            "remove `https://a.example/` from `extra-indices`",
        ),
        ("", "system-requirements = { osx-64 = { __archspec = 'x86_64_v2' } }", "remove `system-requirements.osx-64."),
        (
            'system-requirements = { linux-64 = { __glibc = "2.31" } }',
            "",
            'write `system-requirements.linux-64.__glibc = "2.31"`',
        ),
    ],
)
def test_settings_that_differ(tmp_path: Path, theirs: str, mine: str, change: str) -> None:
    requirements = wanted(tmp_path / "theirs", theirs, TABLES["spellings"])
    with pytest.raises(SettingsDiffer) as caught:
        asked(load(tmp_path / "mine", mine), requirements)
    assert any(detail.startswith(change) for detail in caught.value.details), caught.value.details
    assert "pw" not in caught.value.render()


def test_settings_of_channels_that_differ(tmp_path: Path) -> None:
    requirements = wanted(tmp_path / "theirs", 'channel-priority = "disabled"', TABLES["conda"])
    with pytest.raises(SettingsDiffer) as caught:
        asked(load(tmp_path / "mine", 'channels = ["bioconda"]'), requirements)
    assert caught.value.details == (
        'write `channel-priority = "disabled"`',
        "remove `bioconda` from `channels`",
    )


def test_the_default_channel_that_is_not_wanted(tmp_path: Path) -> None:
    requirements = wanted(tmp_path / "theirs", "channels = []", TABLES["channels"])
    assert requirements.channels == ("bioconda",)
    with pytest.raises(SettingsDiffer) as caught:
        asked(load(tmp_path / "mine", ""), requirements)
    assert caught.value.details == ("write `channels = []`",)


def test_what_was_said_to_do_is_enough(tmp_path: Path) -> None:
    settings = """metaflow-requirements = false\npython-from = "uv"
system-requirements = { linux-64 = { __glibc = "2.31" } }"""
    requirements = wanted(tmp_path / "theirs", settings, TABLES["python"])
    with pytest.raises(SettingsDiffer) as caught:
        asked(load(tmp_path / "mine", ""), requirements)
    lines = [detail.removeprefix("write `").removesuffix("`") for detail in caught.value.details]
    assert len(lines) == 3
    asked(load(tmp_path / "mine", "\n".join(lines)), requirements)


def test_what_extends_another_cannot_be_copied(tmp_path: Path) -> None:
    requirements = wanted(tmp_path / "theirs", "", TABLES["python"])._replace(base=f"pypi:{'0' * 40}:{'0' * 16}")
    with pytest.raises(CannotCopyRequirements, match="extends another environment"):
        asked(load(tmp_path / "mine", ""), requirements)


def test_what_only_a_requirement_file_says_cannot_be_copied(tmp_path: Path) -> None:
    requirements = wanted(tmp_path / "theirs", "", TABLES["python"])._replace(
        hashes=(("rich", "ab" * 32),), find_links=(f"wheels+sha256:{'ab' * 32}",), pip_flags=("no-index",)
    )
    with pytest.raises(CannotCopyRequirements, match="hashes and find links come from a requirement file"):
        asked(load(tmp_path / "mine", ""), requirements)
