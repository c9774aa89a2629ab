"""What conda tables, `conda_only` and `python-from` come to: packages, Python, channels, and the key of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.config.project import Environment
from envlock.model.conda_requirement import CondaRequirement
from tests.config.test_inherit import lines, load, refused, steps


def conda(folder: Path, tables: str, *, settings: str = "", step: str = "end") -> Environment:
    """The environment of one step under these tables of `[flow.Train]`."""
    found = steps(folder, tables, settings=settings)[step]
    assert found is not None
    return found


def test_libraries_are_conda_packages_with_their_keys(tmp_path: Path) -> None:
    found = conda(tmp_path, 'conda = { libraries = { NumPy = "1.26.4", scipy = "=1.11", blas = "2.1=openblas*" } }')
    asked = found.requirements
    assert tuple(map(str, asked.conda)) == ("blas ==2.1 openblas*", "numpy ==1.26.4", "scipy =1.11")
    assert (asked.type, asked.python_from, asked.channels) == ("conda", "conda", ("conda-forge",))
    assert found.channel_urls == ("conda-forge",)
    assert found.origin("conda:numpy") == ("flow", "Train", "conda", "libraries", "NumPy")


@pytest.mark.parametrize(
    ("tables", "kind"),
    [
        ('conda = { libraries = { numpy = "" } }', "conda"),
        ('conda = { libraries = { numpy = "" } }\npypi = { packages = { rich = "" } }', "mixed"),
        ('pypi = { packages = { rich = "" }, conda_only = { ffmpeg = "" } }', "pypi"),
        ('conda = { python = "3.12" }', "conda"),
        ('conda = { channels = ["conda-forge"] }\npypi = { packages = { rich = "" } }', "pypi"),
        ('conda = { libraries = { python = "3.12" } }', "conda"),
        ('conda = { libraries = { python = "3.12" } }\npypi = { packages = { rich = "" } }', "pypi"),
    ],
)
def test_the_type_follows_the_requirements_and_python_comes_from_conda(tmp_path: Path, tables: str, kind: str) -> None:
    asked = conda(tmp_path, tables).requirements
    assert (asked.type, asked.python_from) == (kind, "conda")
    assert asked.channels == ("conda-forge",)


def test_a_project_may_take_every_python_from_conda(tmp_path: Path) -> None:
    found = conda(tmp_path, 'pypi = { packages = { rich = "" } }', settings='python-from = "conda"')
    assert (found.requirements.type, found.requirements.python_from) == ("pypi", "conda")
    assert found.requirements.channels == ("conda-forge",)


@pytest.mark.parametrize("tables", ['pypi = { packages = { rich = "" } }', "conda = { disabled = false }", ""])
def test_an_environment_without_conda_has_no_channels(tmp_path: Path, tables: str) -> None:
    settings = 'channels = ["bioconda"]\nchannel-priority = "disabled"\npython-from = "uv"'
    asked = conda(tmp_path, tables, settings=settings).requirements
    assert (asked.python_from, asked.channels, asked.channel_priority) == ("uv", (), "")
    assert asked.type == "pypi"


def test_a_steps_package_replaces_the_flows_of_that_name_whatever_its_channel(tmp_path: Path) -> None:
    found = conda(
        tmp_path,
        'conda = { channels = ["conda-forge", "other"], libraries = { "conda-forge::numpy" = ">=1,<2", blas = "2" } }\n'
        '[flow.Train.step.end]\nconda = { libraries = { "other::NumPy" = "" } }',
    )
    assert tuple(map(str, found.requirements.conda)) == ("blas ==2", "other::numpy")
    assert found.origin("conda:numpy") == ("flow", "Train", "step", "end", "conda", "libraries", "other::NumPy")


def test_a_package_of_conda_and_one_of_pypi_have_a_key_each(tmp_path: Path) -> None:
    found = conda(tmp_path, 'conda = { libraries = { rich = "" } }\npypi = { packages = { rich = "13" } }')
    assert found.origin("conda:rich") == ("flow", "Train", "conda", "libraries", "rich")
    assert found.origin("rich") == ("flow", "Train", "pypi", "packages", "rich")


def test_requirements_of_one_package_at_one_level_add_up(tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text("dependencies: [numpy, 'ffmpeg>=5', 'python=3.12']\n")
    (tmp_path / "more.yml").write_text("dependencies: ['numpy=1.26', ffmpeg]\n")
    files = 'environment-yml = ["base.yml", "more.yml"]\n'
    found = conda(tmp_path, f'{files}conda = {{ libraries = {{ ffmpeg = "<7", python = "=3.12" }} }}')
    assert [str(each) for each in found.requirements.conda] == ["ffmpeg <7,>=5", "numpy =1.26"]
    (tmp_path / "more.yml").write_text("dependencies:\n- ffmpeg=4\n")
    error = refused(tmp_path, files)
    assert [(at.path, at.line) for at in error.locations] == [("base.yml", 1), ("more.yml", 2)]


@pytest.mark.parametrize(
    "tables",
    [
        'conda = { libraries = { ffmpeg = "6" } }\npypi = { conda_only = { ffmpeg = "7" } }',
        'conda = { libraries = { ffmpeg = "6", "conda-forge::FFmpeg" = "6" } }',
        'conda = { libraries = { ffmpeg = "6" } }\n[flow.Train.step.end]\npypi = { conda_only = { ffmpeg = "7" } }',
    ],
)
def test_two_requirements_of_one_package_must_agree(tmp_path: Path, tables: str) -> None:
    error = refused(tmp_path, tables)
    assert error.code == "disagreeing-values"
    assert len(error.locations) == 2
    assert all(location.line for location in error.locations)


def test_two_equal_requirements_of_one_package_are_one(tmp_path: Path) -> None:
    tables = 'conda = { libraries = { ffmpeg = "6", FFMPEG = "==6" } }\npypi = { conda_only = { ffmpeg = "6" } }'
    asked = conda(tmp_path, tables).requirements
    assert asked.conda == asked.conda_only == (CondaRequirement("ffmpeg", "==6"),)


@pytest.mark.parametrize(
    ("value", "python", "left"),
    [
        ("3.11", "==3.11.*", ()),
        ("=3.11", "==3.11.*", ()),
        ("3.11.*", "==3.11.*", ()),
        ("=3.11.*", "==3.11.*", ()),
        ("3.11.4", "==3.11.4", ()),
        ("==3.11.4", "==3.11.4", ()),
        ("=3.11.4", "==3.11.4", ()),
        (">=3.10, <3.13", "<3.13,>=3.10", ()),
        ("", "", ()),
        ("3.11=*_cpython", "==3.11.*", ("python 3.11.* *_cpython",)),
        ("3.11.4 h1_0_cpython", "==3.11.4", ("python ==3.11.4 h1_0_cpython",)),
        (">=3.10 *_cpython", ">=3.10", ("python >=3.10 *_cpython",)),
        ("* *_cpython", "", ("python * *_cpython",)),
    ],
)
def test_python_among_the_libraries_is_the_environments_python(
    tmp_path: Path, value: str, python: str, left: tuple[str, ...]
) -> None:
    found = conda(tmp_path, f'conda = {{ libraries = {{ python = "{value}" }} }}')
    assert (found.requirements.python, tuple(map(str, found.requirements.conda))) == (python, left)
    assert found.origin("python") == ("flow", "Train", "conda", "libraries", "python")


def test_python_of_a_channel_stays_a_conda_package_too(tmp_path: Path) -> None:
    asked = conda(tmp_path, 'conda = { libraries = { "conda-forge::python" = "3.11" } }').requirements
    assert (asked.python, tuple(map(str, asked.conda))) == ("==3.11.*", ("conda-forge::python 3.11.*",))


@pytest.mark.parametrize(
    "tables",
    [
        'conda = { python = "3.11", libraries = { python = "=3.11" } }',
        'pypi = { python = "==3.11.*" }\nconda = { python = "=3.11", libraries = { python = "3.11" } }',
        'pypi = { python = "==3.11.*" }\nconda = { libraries = { python = "" } }',
    ],
)
def test_pythons_that_agree_are_one(tmp_path: Path, tables: str) -> None:
    assert conda(tmp_path, tables).requirements.python == "==3.11.*"


@pytest.mark.parametrize(
    ("tables", "keys", "values"),
    [
        ('pypi = { python = "3.11" }\nconda = { python = "=3.12" }', ["pypi.python", "conda.python"], "3.11 =3.12"),
        ('conda = { python = "3.11", libraries = { python = "3.12" } }',
         ["conda.python", "conda.libraries.python"], "3.11 3.12"),
        ('pypi = { python = "3.11" }\nconda = { libraries = { python = "3.12=*_cpython" } }',
         ["pypi.python", "conda.libraries.python"], "3.11 3.12=*_cpython"),
        ('pypi = { python = "3.11", conda_only = { python = "3.12" } }',
         ["pypi.python", "pypi.conda_only.python"], "3.11 3.12"),
    ],
)  # fmt: skip
def test_two_pythons_that_disagree_show_both_lines(tmp_path: Path, tables: str, keys: list[str], values: str) -> None:
    error = refused(tmp_path, tables)
    assert error.code == "disagreeing-values"
    assert [key for _, key in lines(error)] == [f"flow.Train.{key}" for key in keys]
    assert all(line is not None for line, _ in lines(error))
    assert error.message == "conflicting values: `{}` and `{}`".format(*values.split(" "))


def test_a_steps_python_takes_the_flows_build_with_it(tmp_path: Path) -> None:
    flow = 'conda = { libraries = { python = "3.11=*_cpython", numpy = "" } }'
    step = conda(tmp_path, f'{flow}\n[flow.Train.step.end]\npypi = {{ python = "3.12" }}').requirements
    assert (step.python, tuple(map(str, step.conda))) == ("==3.12.*", ("numpy",))
    kept = conda(tmp_path, f'{flow}\n[flow.Train.step.end]\npypi = {{ packages = {{ rich = "" }} }}').requirements
    assert (kept.python, tuple(map(str, kept.conda))) == ("==3.11.*", ("numpy", "python 3.11.* *_cpython"))


def test_channels_are_the_steps_then_the_flows_then_the_projects_without_duplicates(tmp_path: Path) -> None:
    found = conda(
        tmp_path,
        'conda = { channels = ["flow", "both"], libraries = { numpy = "" } }\n'
        '[flow.Train.step.end]\nconda = { channels = ["both", "https://me:pw@conda.example/t/token/team/"] }',
        settings='channels = ["project", "https://conda.example/team", "flow"]',
    )
    assert found.requirements.channels == ("both", "https://conda.example/team", "flow", "project")
    assert found.channel_urls == ("both", "https://me:pw@conda.example/t/token/team/", "flow", "project")
    assert found.origin("https://conda.example/team") == ("flow", "Train", "step", "end", "conda", "channels", "1")
    assert found.origin("project") == ("envlock", "channels", "0")


def test_other_credentials_are_no_other_requirements(tmp_path: Path) -> None:
    urls = ["https://me:pw@conda.example/team", "https://conda.example/t/${TOKEN}/team/", "https://conda.example/team"]
    ids = {
        conda(
            tmp_path, f'conda = {{ channels = ["{url}"], libraries = {{ "{key}::numpy" = "" }} }}'
        ).requirements.req_id
        for url in urls
        for key in urls
    }
    assert len(ids) == 1


def test_a_secret_beside_a_package_is_used_for_fetching_alone(tmp_path: Path) -> None:
    found = conda(tmp_path, 'conda = { libraries = { "https://me:pw@conda.example/t/token/team::numpy" = "" } }')
    assert tuple(map(str, found.requirements.conda)) == ("https://conda.example/team::numpy",)
    assert found.requirements.channels == ("conda-forge",)
    assert found.channel_urls == ("conda-forge", "https://me:pw@conda.example/t/token/team")
    key = found.origin("conda:numpy")
    assert key is not None
    at = str(load(tmp_path, (tmp_path / "envlock.toml").read_text()).locate(key))
    assert at == "envlock.toml:6 (flow.Train.conda.libraries.https://conda.example/team::numpy)"


def test_a_channel_that_only_packages_name_is_none_of_the_environment(tmp_path: Path) -> None:
    tables = 'conda = { libraries = { "zeta::a" = "" } }\npypi = { conda_only = { "https://me:pw@b.example::f" = "" } }'
    found = conda(tmp_path, tables)
    assert found.requirements.channels == ("conda-forge",)
    assert found.channel_urls == ("conda-forge", "zeta", "https://me:pw@b.example")
    assert found.origin("zeta") == ("flow", "Train", "conda", "libraries", "zeta::a")


@pytest.mark.parametrize(
    ("settings", "own", "channels"),
    [
        ("", '["bioconda"]', ("bioconda", "conda-forge")),
        ("", "[]", ("conda-forge",)),
        ('channels = ["team"]', '["bioconda"]', ("bioconda", "team")),
        ("channels = []", '["bioconda"]', ("bioconda",)),
        ("channels = []", "[]", ()),
    ],
)
def test_channels_are_more_beside_the_projects(
    tmp_path: Path, settings: str, own: str, channels: tuple[str, ...]
) -> None:
    found = conda(tmp_path, f"conda = {{ channels = {own}, libraries = {{ numpy = '' }} }}", settings=settings)
    assert found.requirements.channels == channels


def test_the_priority_of_channels_is_a_requirement_where_there_is_conda(tmp_path: Path) -> None:
    tables = 'conda = { libraries = { numpy = "" } }'
    plain, strict, disabled = (
        conda(tmp_path, tables, settings=settings).requirements
        for settings in ("", 'channel-priority = "strict"', 'channel-priority = "disabled"')
    )
    assert plain.req_id == strict.req_id != disabled.req_id
    assert disabled.channel_priority == "disabled"


def test_settings_of_conda(tmp_path: Path) -> None:
    text = """
[envlock]
channel-mirrors = {"https://me:pw@conda.example/team/" = "https://me:pw@mirror.example/t", conda-forge = "file:///srv"}
link-scripts = ["Font", "tool"]
compile-bytecode = true
resolver = { conda = "conda-lock" }
"""
    settings = load(tmp_path, text).settings
    assert settings.channel_mirrors == (
        ("https://conda.example/team", "https://me:pw@mirror.example/t"),
        ("conda-forge", "file:///srv"),
    )
    assert settings.link_scripts == ("font", "tool")
    assert settings.compile_bytecode is True
    assert (settings.resolver.conda, settings.resolver.pypi) == ("conda-lock", "uv")


def test_a_disabled_level_with_conda_packages_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, '[flow.Train.step.end]\ndisabled = true\nconda = { libraries = { numpy = "" } }')
    assert error.code == "disabled-with-requirements"
    assert lines(error)[1] == (8, "flow.Train.step.end.conda.libraries.numpy")


def test_fetch_at_exec_excludes_conda_packages(tmp_path: Path) -> None:
    error = refused(
        tmp_path,
        'named_env = { name = "a/b", fetch_at_exec = true }\n'
        '[flow.Train.step.end]\nconda = { libraries = { numpy = "" } }',
    )
    assert error.code == "fetch-at-exec-with-requirements"


@pytest.mark.parametrize(
    ("base", "tables", "kind"),
    [
        ("pypi", 'conda = { libraries = { numpy = "" } }', "mixed"),
        ("conda", 'conda = { libraries = { numpy = "" } }', "conda"),
        ("conda", 'pypi = { packages = { rich = "" } }', "mixed"),
        ("mixed", 'pypi = { packages = { rich = "" } }', "mixed"),
        ("pypi", 'pypi = { conda_only = { ffmpeg = "" } }', "pypi"),
        ("mixed", "", "mixed"),
    ],
)
def test_the_type_over_a_base(tmp_path: Path, base: str, tables: str, kind: str) -> None:
    requirements = conda(tmp_path, tables).requirements._replace(base=f"{base}:0:0")
    assert requirements.type == kind


@pytest.mark.parametrize("slip", ["https//", "https:/", "https:", "http:///", "htps://", "HTTPS//"])
def test_a_secret_in_a_url_with_a_slip_is_not_shown(tmp_path: Path, slip: str) -> None:
    error = refused(tmp_path, f'conda = {{ channels = ["{slip}me:s3cr3t@conda.example/team"] }}')
    assert error.code == "bad-channel"
    assert "conda.example/team` is not a conda channel" in error.message
    assert "s3cr3t" not in error.render()


@pytest.mark.parametrize("folder", ["/srv/my channel", "./channel", "file:///srv/my channel", "file://srv/channel"])
def test_how_a_folder_is_a_channel_is_reported(tmp_path: Path, folder: str) -> None:
    error = refused(tmp_path, f'conda = {{ channels = ["{folder}"] }}')
    assert error.code == "bad-channel"
    assert error.hint
    assert "`file:///srv/channel`" in error.hint
