"""Each export in the hands of the tool that it is for: what it reads and installs is what the lock says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tomllib
from packaging.pylock import Pylock
from packaging.utils import canonicalize_name

from envlock.config.read import load_project
from envlock.interchange.exported import FORMATS
from envlock.lockfile.folder import read_lock
from envlock.model.arch import MARKER_VALUES, host_arch
from envlock.model.lock import Lock
from envlock.workflow.export import export_environment
from tests.channel import Channel
from tests.index import Index
from tests.support import TWO_ARCHS, ProjectFolder, get, isolation, run_envlock

UV = Path(sys.executable).with_name("uv")
SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = TWO_ARCHS[0]


@pytest.fixture(scope="module")
def home(new_folder: Callable[[str], Path], shared_uv_cache: Path) -> Iterator[Path]:
    """A machine without settings, for what the whole module shares."""
    folder = new_folder("home")
    with isolation(folder, shared_uv_cache):
        yield folder


@pytest.fixture(scope="module")
def mixed(index: Index, channel: Channel, new_folder: Callable[[str], Path], home: Path) -> ProjectFolder:
    """A project with conda packages and wheels, locked for two archs. Read-only."""
    channel.need()
    project = ProjectFolder.make(new_folder("mixed") / "project", index.url)
    project.write_conda_env(
        *("upper", "speak 1.1", "pip"), pypi=("beta==1.5",), python=channel.series[0], channels=(channel.url_of(),)
    )
    run_envlock("lock", cwd=project.folder)
    return project


@pytest.fixture(scope="module")
def wheels(index: Index, new_folder: Callable[[str], Path], home: Path) -> ProjectFolder:
    """A project with wheels alone, one of them from a URL, locked for two archs. Read-only."""
    project = ProjectFolder.make(new_folder("wheels") / "project", index.url)
    url = index.file_url("zeta-1.0-py3-none-any.whl")
    project.write_env("alpha==1.1", "beta", f"zeta@{url}", "eta", python=SERIES)
    run_envlock("lock", cwd=project.folder)
    return project


def written(project: ProjectFolder, name: str, folder: Path, *archs: str, only: str = "") -> Path:
    """The project's environment in a format, as a file with the name that its tool expects."""
    path = folder / FORMATS[name].file
    found = export_environment(load_project(project.config), name, archs=archs, only=only)  # type: ignore[arg-type]
    path.write_text(found.export.text)
    return path


def lock_of(project: ProjectFolder, arch: str = HERE) -> Lock:
    """The lock for an arch."""
    return read_lock(project.lock_of(arch))


def conda_rows(lock: Lock) -> set[tuple[str, ...]]:
    return {(each.name, each.version, each.build, each.url, each.sha256) for each in lock.conda_packages}


def read_by_py_rattler(path: Path) -> tuple[Any, dict[str, Any]]:
    """The environment in a lock, and its platforms by name."""
    from rattler.lock import LockFile

    environment = LockFile.from_path(path).default_environment()
    assert environment is not None
    return environment, {platform.name: platform for platform in environment.platforms()}


@pytest.mark.parametrize("name", ["pixi", "conda-lock"])
def test_py_rattler_reads_both_kinds_of_packages_for_each_arch(mixed: ProjectFolder, tmp_path: Path, name: str) -> None:
    environment, platforms = read_by_py_rattler(written(mixed, name, tmp_path))
    assert set(platforms) == set(TWO_ARCHS)
    for arch in TWO_ARCHS:
        lock = lock_of(mixed, arch)
        records = environment.conda_repodata_records_for_platform(platforms[arch])
        assert records is not None
        found = {(r.name.normalized, str(r.version), str(r.build), r.url, r.sha256.hex()) for r in records}
        assert found == conda_rows(lock)
        pypi = environment.pypi_packages_for_platform(platforms[arch])
        assert pypi is not None
        rows = {(each.name, str(each.version), each.location, each.hashes.sha256.hex()) for each in pypi}
        assert rows == {(each.name, each.version, each.url, each.sha256) for each in lock.pypi_packages}


def test_pixi_lock_has_all_that_a_record_of_the_channel_has(mixed: ProjectFolder, tmp_path: Path) -> None:
    environment, platforms = read_by_py_rattler(written(mixed, "pixi", tmp_path))
    records = environment.conda_repodata_records_for_platform(platforms[HERE])
    by_name = {record.name.normalized: record for record in records or ()}
    for package in lock_of(mixed).conda_packages:
        record, facts = by_name[package.name], package.conda
        assert facts is not None
        assert (record.build_number, record.subdir, record.size) == (facts.build_number, facts.subdir, package.size)
        assert (tuple(record.depends), tuple(record.constrains)) == (facts.depends, facts.constrains)
        assert (record.noarch.python, record.noarch.generic) == (facts.noarch == "python", facts.noarch == "generic")
        assert (record.license or "") == facts.license


def test_py_rattler_installs_what_pixi_lock_and_conda_lock_name(
    mixed: ProjectFolder, tmp_path: Path, isolated: Path
) -> None:
    from tests.channel.solving import installed

    for name in ("pixi", "conda-lock"):
        environment, platforms = read_by_py_rattler(written(mixed, name, tmp_path))
        records = environment.conda_repodata_records_for_platform(platforms[HERE]) or []
        prefix = installed({record.name.normalized: record for record in records}, tmp_path / name)
        found = [json.loads(path.read_text()) for path in (prefix / "conda-meta").glob("*.json")]
        rows = {(each["name"], each["version"], each["build"], each["url"], each["sha256"]) for each in found}
        assert rows == conda_rows(lock_of(mixed))


def test_conda_lock_reads_its_lock_and_renders_an_explicit_list_of_it(mixed: ProjectFolder, tmp_path: Path) -> None:
    with warnings.catch_warnings():  # of what it contains
        warnings.simplefilter("ignore")
        from conda_lock.conda_lock import render_lockfile_for_platform
        from conda_lock.lockfile import parse_conda_lock_file

    lockfile = parse_conda_lock_file(written(mixed, "conda-lock", tmp_path))
    lock = lock_of(mixed)
    rows = {
        (each.name, each.version, each.manager, each.url, each.hash.sha256)
        for each in lockfile.package
        if each.platform == HERE
    }
    assert rows == {
        (each.name, each.version, "conda" if each.conda else "pip", each.url, each.sha256) for each in lock.packages
    }
    assert {each.name: set(each.dependencies) for each in lockfile.package if each.platform == HERE} == {
        each.name: set(each.dependencies) for each in lock.packages
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lines = render_lockfile_for_platform(
            lockfile=lockfile,
            include_dev_dependencies=False,
            extras=None,
            kind="explicit",
            platform=HERE,
            suppress_warning_for_pip_and_explicit=True,
        )
    urls = [line.partition("#")[0] for line in lines if line.startswith("http")]
    assert set(urls) == {each.url for each in lock.conda_packages}


def test_each_line_of_an_explicit_list_is_an_archive_with_that_hash(mixed: ProjectFolder, tmp_path: Path) -> None:
    text = written(mixed, "explicit", tmp_path, only="conda").read_text()
    assert f"# platform: {HERE}\n" in text
    lines = text.partition("@EXPLICIT\n")[2].splitlines()
    assert len(lines) == len(lock_of(mixed).conda_packages)
    for line in lines:
        url, _, digest = line.partition("#sha256:")
        assert hashlib.sha256(get(url)[1]).hexdigest() == digest


def test_an_environment_yml_asks_for_exactly_the_locked_builds(mixed: ProjectFolder, tmp_path: Path) -> None:
    import yaml
    from rattler import MatchSpec

    from envlock.conda.records import record_of

    document = yaml.safe_load(written(mixed, "environment-yml", tmp_path).read_text())
    lock = lock_of(mixed)
    *conda, pip = document["dependencies"]
    asked = {text.split("=")[0]: MatchSpec(text) for text in conda}
    assert set(asked) == {each.name for each in lock.conda_packages}
    for package in lock.conda_packages:
        assert asked[package.name].matches(record_of(package))
        assert str(asked[package.name].build) == package.build
    assert pip == {"pip": [f"{each.name}=={each.version}" for each in lock.pypi_packages]}
    assert document["channels"][-1] == "nodefaults"


def in_new_environment(folder: Path, *arguments: object) -> dict[str, str]:
    """What is installed in a new environment after pip or uv was called there with these arguments."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, python.parent.parent], check=True)
    tool = {"uv": [UV, "pip"], "pip": [sys.executable, "-m", "pip", "--python", python]}[str(arguments[0])]
    end = ["--python", python] if arguments[0] == "uv" else ["--no-input", "--disable-pip-version-check"]
    subprocess.run(
        [*map(str, tool), *map(str, arguments[1:]), *map(str, end)], check=True, capture_output=True, cwd=folder
    )
    ask = [UV, "pip", "list", "--format", "json", "--python", python]
    said = subprocess.run(ask, check=True, capture_output=True).stdout
    return {str(canonicalize_name(each["name"])): each["version"] for each in json.loads(said)}


@pytest.mark.parametrize(
    "arguments",
    [
        ("requirements", "uv", "pip", "sync", "--require-hashes"),
        ("requirements", "uv", "pip", "install", "--require-hashes", "-r"),
        ("requirements", "pip", "install", "--require-hashes", "-r"),
        ("pylock", "uv", "pip", "sync"),
        ("pylock", "pip", "install", "-r"),
    ],
    ids=" ".join,
)
def test_pip_and_uv_install_what_the_lock_says(
    wheels: ProjectFolder, tmp_path: Path, arguments: tuple[str, ...], isolated: Path
) -> None:
    name, tool, *words = arguments
    path = written(wheels, name, tmp_path)
    found = in_new_environment(tmp_path, tool, *(word for word in words if word != "pip"), path)
    lock = lock_of(wheels)
    assert found == {each.name: each.version for each in lock.pypi_packages}


@pytest.mark.parametrize("name", ["requirements", "pylock"])
def test_a_file_that_is_not_the_locked_one_is_refused(
    wheels: ProjectFolder, tmp_path: Path, name: str, isolated: Path
) -> None:
    path = written(wheels, name, tmp_path)
    sha256 = next(each.sha256 for each in lock_of(wheels).pypi_packages if each.name == "alpha")
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    more = ["--require-hashes"] if name == "requirements" else []
    with pytest.raises(subprocess.CalledProcessError) as refused:
        in_new_environment(tmp_path, "uv", "sync", *more, path)
    assert b"ash" in refused.value.stderr


def test_constraints_hold_an_install_to_the_locked_versions(
    wheels: ProjectFolder, tmp_path: Path, index: Index, isolated: Path
) -> None:
    path = written(wheels, "constraints", tmp_path)
    found = in_new_environment(tmp_path, "uv", "install", "--index-url", index.url, "-c", path, "beta", "zeta")
    locked = {each.name: each.version for each in lock_of(wheels).pypi_packages}
    assert found == {name: locked[name] for name in ("beta", "zeta")}


def test_wheels_of_a_mixed_environment_install_without_its_conda_packages(
    mixed: ProjectFolder, tmp_path: Path, isolated: Path
) -> None:
    path = written(mixed, "requirements", tmp_path, only="pypi")
    found = in_new_environment(tmp_path, "uv", "install", "--require-hashes", "--no-deps", "-r", path)
    assert found == {each.name: each.version for each in lock_of(mixed).pypi_packages}


def test_a_pylock_of_two_archs_has_the_locked_file_for_each_and_nothing_of_envlock(
    wheels: ProjectFolder, tmp_path: Path
) -> None:
    document = tomllib.loads(written(wheels, "pylock", tmp_path).read_text())
    assert "tool" not in document
    lock = Pylock.from_dict(document)
    lock.validate()
    for arch in TWO_ARCHS:
        environment = {**MARKER_VALUES[arch], "python_version": SERIES, "python_full_version": f"{SERIES}.0"}
        chosen = {
            (str(each.name), str(each.wheels[0].hashes["sha256"]))
            for each in lock.packages
            if each.marker is None or each.marker.evaluate(environment)  # type: ignore[arg-type]
        }
        assert chosen == {(each.name, each.sha256) for each in lock_of(wheels, arch).pypi_packages}


def test_this_machine_is_the_first_of_two_archs() -> None:
    assert host_arch() == HERE


@pytest.mark.parametrize(
    ("name", "archs", "only"),
    [
        ("conda-lock", TWO_ARCHS, ""),
        ("pixi", TWO_ARCHS, ""),
        ("explicit", TWO_ARCHS[:1], "conda"),
        ("requirements", TWO_ARCHS[:1], ""),
        ("requirements", TWO_ARCHS, ""),
        ("pylock", TWO_ARCHS, ""),
    ],
)
def test_an_export_that_is_imported_again_is_the_same_environment(
    mixed: ProjectFolder,
    wheels: ProjectFolder,
    tmp_path: Path,
    isolated: Path,
    name: str,
    archs: tuple[str, ...],
    only: str,
) -> None:
    source = mixed if "conda" in FORMATS[name].kinds else wheels
    path = written(source, name, tmp_path, *archs, only=only)
    project = ProjectFolder.make(tmp_path / "imported", source.index_url)
    settings = "channels = []" if source is mixed else ""
    project.write("", archs=archs, settings=settings)
    run_envlock("import", str(path), "--env", "again", cwd=project.folder)
    run_envlock("check", cwd=project.folder)
    for arch in archs:
        lock = lock_of(source, arch)
        expected = replace(lock, packages=lock.conda_packages) if only else lock
        assert lock_of(project, arch).full_id == expected.full_id


def test_an_environment_yml_that_is_named_in_envlock_toml_locks_the_same_packages(
    mixed: ProjectFolder, tmp_path: Path, isolated: Path
) -> None:
    project = ProjectFolder.make(tmp_path / "named", mixed.index_url)
    written(mixed, "environment-yml", project.folder)
    project.write('[env.again]\nenvironment-yml = "environment.yml"', archs=[HERE], settings="channels = []")
    run_envlock("lock", cwd=project.folder)
    assert lock_of(project).full_id == lock_of(mixed).full_id


def test_constraints_and_requirements_can_be_named_in_envlock_toml(
    wheels: ProjectFolder, tmp_path: Path, isolated: Path
) -> None:
    project = ProjectFolder.make(tmp_path / "named", wheels.index_url)
    written(wheels, "requirements", project.folder, HERE)
    python = f'pypi = {{ python = "{SERIES}" }}'
    project.write(f'[env.again]\nrequirements = "requirements.txt"\n{python}', archs=[HERE])
    run_envlock("lock", cwd=project.folder)
    assert lock_of(project).full_id == lock_of(wheels).full_id
