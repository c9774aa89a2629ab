"""What every export promises: nothing left out in silence, nothing of this machine in it, the same text each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envlock.interchange.errors import FormatCannotHold
from envlock.interchange.exported import FORMATS, Export, Given, export
from envlock.lockfile.document import render
from envlock.lockfile.rows import LockRows, rows_in
from envlock.model.arch import OSX_ARM64
from envlock.model.lock import Lock
from tests.lockfile.conda_locks import MIXED

GOLDEN = Path(__file__).parent.parent / "formats"


OF_FILES = [name for name, each in FORMATS.items() if not each.is_image]


def rows_of(lock: Lock) -> LockRows:
    """The rows of a lock as its file has them."""
    return rows_in(render(lock).encode())


def published(lock: Lock) -> Lock:
    """The lock without what only one machine has, and with an MD5 for each conda package."""
    kept = (each for each in lock.packages if each.name != "tool")
    packages = (replace(each, conda=replace(each.conda, md5="ab" * 16)) if each.conda else each for each in kept)
    asked = tuple(each for each in lock.requirements.conda if each.name != "tool")
    return replace(lock, packages=tuple(packages), requirements=lock.requirements._replace(conda=asked))


CONDA = rows_of(published(MIXED))
WHEELS = rows_in((GOLDEN / "v1" / "pylock.machine.toml").read_bytes())
EXACT = rows_in((GOLDEN / "v1" / "pylock.exact.toml").read_bytes())
BUILT = rows_in((GOLDEN / "v3" / "pylock.built.toml").read_bytes())
MAC = WHEELS._replace(
    arch=OSX_ARM64,
    packages=(
        WHEELS.packages[0]._replace(filename="demo-1.2.3-cp312-cp312-macosx_11_0_arm64.whl", sha256="ef" * 32),
        WHEELS.packages[1],
    ),
)


def exported(name: str, *locks: LockRows, only: str = "") -> Export:
    """Locks in a format, as those of a step."""
    return export(Given(name, "Train/start", locks, only))


@pytest.mark.parametrize(
    ("name", "lock", "what", "found"),
    [
        ("pylock", CONDA, "conda packages", "libzlib"),
        ("requirements", CONDA, "conda packages", "libzlib"),
        ("constraints", CONDA, "conda packages", "libzlib"),
        ("explicit", CONDA, "PyPI packages", "demo"),
        ("pixi", WHEELS, "whose Python is no conda package", "machine"),
        ("conda-lock", EXACT, "whose Python is no conda package", "uv"),
        ("requirements", BUILT, "built from what no index has", "beta, common, local, packed"),
        ("environment-yml", BUILT, "built from what no index has", "common, local, packed"),
        ("pixi", rows_of(MIXED), "that only this machine has", "tool"),
        ("environment-yml", rows_of(MIXED), "that only this machine has", "tool"),
    ],
)
def test_what_a_format_has_no_place_for_is_an_error_that_names_it(
    name: str, lock: LockRows, what: str, found: str
) -> None:
    with pytest.raises(FormatCannotHold) as error:
        exported(name, lock)
    assert what in error.value.message
    assert found in error.value.details[0]
    assert error.value.exit_status == 2


def test_constraints_name_a_version_once_whatever_files_archs_have_of_it() -> None:
    text = exported("constraints", WHEELS, MAC).text
    assert [line for line in text.splitlines() if line.startswith("demo")] == ["demo==1.2.3"]
    other = MAC._replace(packages=(MAC.packages[0]._replace(version="1.3"), MAC.packages[1]))
    text = exported("constraints", WHEELS, other).text
    assert [line.partition(" ")[0] for line in text.splitlines() if line.startswith("demo")] == [
        "demo==1.2.3",
        "demo==1.3",
    ]


def test_the_hint_names_formats_that_hold_the_environment() -> None:
    with pytest.raises(FormatCannotHold) as error:
        exported("explicit", WHEELS)
    assert error.value.hint == "`--format requirements` and `--format pylock` hold them"
    with pytest.raises(FormatCannotHold) as error:
        exported("explicit", CONDA)
    assert "`--format conda-lock`" in (error.value.hint or "")
    assert "`--format requirements`" in exported("environment-yml", WHEELS).notes[0]


def test_a_url_with_a_variable_is_for_tools_that_fill_it_in() -> None:
    moved = WHEELS.packages[1]._replace(url="https://files.example/${TEAM}/torch-2.0%2Bcpu-py3-none-any.whl")
    lock = WHEELS._replace(packages=(WHEELS.packages[0], moved))
    assert "${TEAM}" in exported("requirements", lock).text
    with pytest.raises(FormatCannotHold, match="variables"):
        exported("pylock", lock)


def test_conda_lock_takes_no_conda_package_without_an_md5() -> None:
    packages = tuple(each for each in CONDA.packages if each.conda)
    bare = packages[0]._replace(conda=packages[0].conda._replace(md5=""))  # type: ignore[union-attr]
    with pytest.raises(FormatCannotHold, match="MD5"):
        exported("conda-lock", CONDA._replace(packages=(bare, *packages[1:])))


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if not each.holds_archs])
def test_a_format_of_one_arch_takes_no_two(name: str) -> None:
    with pytest.raises(FormatCannotHold) as error:
        exported(name, CONDA, CONDA._replace(arch=OSX_ARM64))
    assert "osx-arm64" in error.value.details[0]
    assert error.value.hint == "choose one: `--arch linux-64`"


@pytest.mark.parametrize("name", OF_FILES)
def test_only_one_kind_is_exported_where_it_is_asked_for(name: str) -> None:
    kinds = {"pypi": "demo", "conda": "libzlib"}
    for kind in FORMATS[name].kinds:
        if FORMATS[name].needs_python and kind == "pypi":
            continue
        text = exported(name, CONDA, only=kind).text
        assert kinds.pop(kind) in text
        assert all(other not in text for other in kinds.values())
        kinds = {"pypi": "demo", "conda": "libzlib"}


@pytest.mark.parametrize("name", OF_FILES)
def test_the_same_locks_are_the_same_text_and_it_says_what_it_is(name: str) -> None:
    lock = CONDA if "conda" in FORMATS[name].kinds else WHEELS
    only = "conda" if FORMATS[name].kinds == ("conda",) else ""
    first, second = (exported(name, lock, only=only) for _ in range(2))
    assert first == second
    assert lock.full_id in first.text
    assert lock.req_id in first.text
    assert "Train/start" in first.text


def test_requirements_of_two_archs_have_a_marker_only_where_their_files_differ() -> None:
    text = exported("requirements", WHEELS, MAC).text
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "--"))]
    linux = "sys_platform == 'linux' and platform_machine == 'x86_64'"
    mac = "sys_platform == 'darwin' and platform_machine == 'arm64'"
    assert lines == [
        f"demo==1.2.3 ; {linux} \\",
        f"    --hash=sha256:{'ab' * 32}",
        f"demo==1.2.3 ; {mac} \\",
        f"    --hash=sha256:{'ef' * 32}",
        "torch @ https://files.example/cd/torch-2.0%2Bcpu-py3-none-any.whl \\",
        f"    --hash=sha256:{'cd' * 32}",
    ]


def test_requirements_name_the_indexes_as_the_configuration_does() -> None:
    lines = exported("requirements", WHEELS).text.splitlines()
    assert [line for line in lines if line.startswith("--")] == [
        "--index-url https://other.example/simple",
        "--extra-index-url https://index.example/simple",
    ]
    assert not any(line.startswith("--") for line in exported("constraints", WHEELS).text.splitlines())


def test_constraints_have_what_conda_packages_contain_too() -> None:
    lines = exported("constraints", CONDA, only="pypi").text.splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["demo==1.2.3", "numpy==1.26.4"]


def test_what_was_built_is_in_a_pylock_as_what_it_was_built_from() -> None:
    found = exported("pylock", BUILT)
    assert 'vcs = {type = "git", url = "https://code.example/team/beta", commit-id = ' in found.text
    assert 'directory = {path = "libs/common"}' in found.text
    assert any("relative to the folder of envlock.toml" in note for note in found.notes)
    assert any("built again" in note and "common" in note for note in found.notes)


def test_an_exact_build_of_python_is_told_where_the_format_has_no_place_for_it() -> None:
    notes = exported("requirements", EXACT).notes
    assert any(EXACT.python.version in note for note in notes)
    assert not exported("requirements", WHEELS).notes
    overridden = WHEELS._replace(requirements={**WHEELS.requirements, "overrides": ["alpha>=2"]})
    (note,) = exported("requirements", overridden).notes
    assert "alpha>=2" in note
    assert "--no-deps" in note


def test_explicit_lists_a_package_after_what_it_needs() -> None:
    urls = [line for line in exported("explicit", CONDA, only="conda").text.splitlines() if "#sha256:" in line]
    names = [line.rpartition("/")[2].split("-")[0] for line in urls]
    assert names == ["_openmp_mutex", "libzlib", "tzdata", "python", "numpy"]


def test_packages_that_need_each_other_are_both_listed() -> None:
    libzlib, numpy = (each for each in CONDA.packages if each.name in {"libzlib", "numpy"})
    circle = CONDA._replace(packages=(libzlib._replace(dependencies=("numpy",)), numpy))
    text = exported("explicit", circle).text
    assert text.count("#sha256:") == 2


def test_variables_are_in_an_environment_yml() -> None:
    lock = CONDA._replace(requirements={**CONDA.requirements, "variables": [["MODE", "on: #1"]]})
    assert 'variables:\n  MODE: "on: #1"\n' in exported("environment-yml", lock).text
