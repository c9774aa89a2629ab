"""What an error of locking names: the cause, and what helps. Each is one failure for all archs where it is one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from envlock.model.arch import LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.resolve.errors import NoSolution, NoSuchPackage, NoWheel, OfOneEnvironment, ResolverCannot, merge_archs
from envlock.resolve.port import Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.index import Index, Release
from tests.index.catalogue import LINUX_64 as ON_LINUX
from tests.index.catalogue import PLATFORMS, each_python

RELEASES = (
    *(Release("sourced", version, tags=(), sdist=True) for version in ("3.0", "4.0")),
    *(Release("windowed", version, tags=("cp311-cp311-win_amd64", "cp312-cp312-win32")) for version in ("305", "306")),
    *(Release("young", f"{major}.0", tags=each_python(*PLATFORMS)) for major in range(1, 25)),
    *(Release("grown", f"{major}.0", requires_python=">=3.10", sdist=True) for major in range(2, 9)),
    Release("grown", "1.0"),
    Release("uses-young", "1.0", requires=("young",)),
    Release("linuxed", "1.0", tags=(f"py3-none-{ON_LINUX}", "py3-none-manylinux_2_28_aarch64")),
    Release("modern", "1.0", tags=("py3-none-manylinux_2_34_x86_64", "py3-none-macosx_14_0_arm64")),
    Release("half", "1.0"),
    Release("half", "2.0", tags=(), sdist=True),
    # As jupyterlab and ipykernel: the old kernels have no wheel, and would not do if they had.
    Release("lab", "4.0", requires=("kernel>=6.5",)),
    Release("kernel", "5.0", tags=(), sdist=True),
    Release("kernel", "5.1", tags=("py2-none-any",)),
    Release("kernel", "6.29"),
    *(Release("series", version) for version in ("2.2", "2.2.1", "2.3.5")),
    Release("requests", "2.20.0"),
    Release("requests", "2.32.0"),
    Release("doubled", "2.0"),
)


TWO = (LINUX_64, OSX_ARM64)


@pytest.fixture(scope="module")
def served() -> Iterator[Index]:
    with Index(*RELEASES, page_cache_control="max-age=600, public") as index:
        yield index


def ask(
    served: Index, *roots: str, arch: Arch = LINUX_64, python: str = "3.12.0", first: str = "", metaflow: str = ""
) -> Resolution:
    indexes = (first,) if first else ()
    requirements = Requirements(
        pypi=tuple(map(parse_requirement, roots)),
        metaflow=(parse_requirement(metaflow),) if metaflow else (),
        indexes=tuple(map(strip_credentials, indexes)),
        default_index=served.url,
    )
    request = Request("demo", arch, requirements, python, index_urls=indexes, default_index_url=served.url)
    return UvResolver().resolve(request)


def refused(served: Index, *roots: str, archs: tuple[Arch, ...] = (LINUX_64,), **more: str) -> OfOneEnvironment:
    """The one error, for all of these archs, of requirements that cannot be locked."""
    errors = []
    for arch in archs:
        with pytest.raises(OfOneEnvironment) as caught:
            ask(served, *roots, arch=arch, **more)
        errors.append(caught.value)
    (error,) = merge_archs(errors)
    assert isinstance(error, OfOneEnvironment)
    return error


def test_a_package_that_is_only_source_has_no_hint_that_cannot_help(served: Index) -> None:
    error = refused(served, "sourced", archs=TWO)
    assert isinstance(error, NoWheel)
    assert "only source" in error.sentence
    assert error.packages == ("sourced",)
    for useless in ("another version", "another Python", "system-requirements", "archs"):
        assert useless not in (error.hint or "")


def test_another_version_is_named_where_that_has_a_wheel(served: Index) -> None:
    assert "half 1.0" in (refused(served, "half>=2").hint or "")


def test_what_is_for_windows_is_one_error_with_the_marker_to_write(served: Index) -> None:
    error = refused(served, "windowed", archs=TWO)
    assert "`windowed`" in error.sentence
    assert "`windowed = \"; sys_platform == 'win32'\"`" in (error.hint or "")
    assert all(arch in error.message for arch in TWO)
    assert ask(served, "windowed ; sys_platform == 'win32'").packages == ()


@pytest.mark.parametrize(
    ("roots", "python", "name", "fitting"),
    [
        (("uses-young",), "3.7.0", "young", "3.10 or later"),
        (("young",), "3.15.0", "young", "3.14 or older"),
    ],
)
def test_a_python_without_wheels_is_reported_in_a_few_lines(
    served: Index, roots: tuple[str, ...], python: str, name: str, fitting: str
) -> None:
    error = refused(served, *roots, python=python, archs=TWO)
    assert f"`{name}`" in error.sentence
    assert f"Python {fitting}" in (error.hint or "")
    assert len(error.render().splitlines()) <= 10


def test_long_reasons_are_cut(served: Index) -> None:
    error = refused(served, "grown>1", "young<9", "uses-young", python="3.7.0")
    assert len(error.render().splitlines()) <= 12
    assert max(map(len, error.details)) < 450


@pytest.mark.parametrize(
    ("root", "arch", "hint"),
    [
        ("linuxed", OSX_64, "`linuxed = \"; sys_platform == 'linux'\"`"),
        ("linuxed>=1", OSX_64, "`linuxed = \">=1 ; sys_platform == 'linux'\"`"),
        ("linuxed==1.0", OSX_64, "`linuxed = \"1.0 ; sys_platform == 'linux'\"`"),
        ("modern", LINUX_64, '`__glibc = "2.34"`'),
        ("modern", OSX_ARM64, '`__osx = "14.0"`'),
        (
            "modern",
            LINUX_AARCH64,
            "sys_platform == 'linux' and platform_machine == 'x86_64' or sys_platform == 'darwin'",
        ),
    ],
)
def test_the_hint_follows_from_the_wheels_that_there_are(served: Index, root: str, arch: Arch, hint: str) -> None:
    assert hint in (refused(served, root, archs=(arch,)).hint or "")


def test_a_requirement_of_another_package_is_named_and_not_the_wheel(served: Index) -> None:
    error = refused(served, "kernel<6", "lab", archs=TWO)
    assert isinstance(error, NoSolution)
    said = "\n".join(error.details)
    assert "kernel>=6.5" in said
    assert "kernel<6" in said
    assert "wheel" not in said
    assert isinstance(refused(served, "kernel<6"), NoWheel)


def test_the_index_that_hides_a_version_and_the_one_that_has_it_are_named(served: Index) -> None:
    with Index(Release("doubled", "1.0")) as first:
        error = refused(served, "doubled>=2", first=first.url)
    assert isinstance(error, NoSolution)
    told = error.details[-1]
    assert first.url in told
    assert f"{served.url} has 2.0" in told
    assert f'`doubled = {{ version = ">=2", index = "{served.url}" }}`' in (error.hint or "")
    assert "dependency confusion" not in error.render()


def test_a_conflict_with_what_metaflow_needs_says_whose_need_it_is(served: Index) -> None:
    error = refused(served, "requests==2.20.0", metaflow="requests>=2.21.0")
    assert "Metaflow needs `requests>=2.21.0`" in error.details[-1]
    assert "metaflow-requirements = false" in (error.hint or "")
    unrelated = refused(served, "series==9", metaflow="requests>=2.21.0")
    assert "Metaflow" not in unrelated.render()


def test_a_version_that_reads_like_a_series_is_reported(served: Index) -> None:
    found = ask(served, "series==2.2")
    assert [package.version for package in found.packages] == ["2.2"]
    (note,) = found.notes
    assert "2.2.1" in note
    assert '"2.2.*"' in note
    for root in ("series==2.2.*", "series==2.2.1", "series>=2.2", "series==2.3.5"):
        assert ask(served, root).notes == ()
    assert '`series = "2.3.*"`' in (refused(served, "series==2.3").hint or "")


@pytest.mark.parametrize("asked", ["{}==23.0 ; sys_platform == 'linux'", "{}[extra]==23.0", "{}==23.0"])
def test_what_has_no_wheel_is_a_package_and_not_its_version_or_marker(served: Index, asked: str) -> None:
    error = refused(served, asked.format("young"), python="3.15.0")
    assert isinstance(error, NoWheel)
    assert "`young` has no compatible wheel" in error.sentence
    assert error.packages == ("young",)
    assert "Python 3.14 or older, which young" in (error.hint or "")
    assert "sys_platform" not in error.render()


@pytest.mark.parametrize(
    "form", ["{}", "{}>=2", "{}[extra]>=2", "{}>=2 ; sys_platform == 'linux'", "{}; os_name == 'posix'"]
)
def test_a_name_that_no_index_has_is_reported_as_such_however_it_is_written(served: Index, form: str) -> None:
    error = refused(served, form.format("grwon"), "grown<9")
    assert isinstance(error, NoSuchPackage)
    assert "`grwon`" in error.sentence
    assert error.packages == ("grwon",)


@pytest.mark.parametrize("asked", ["series[extra]==2.3", "series==2.3; os_name == 'posix'"])
def test_a_series_is_reported_with_an_extra_or_a_marker_too(served: Index, asked: str) -> None:
    error = refused(served, asked)
    assert isinstance(error, NoSolution)
    assert '`series = "2.3.*"`' in (error.hint or "")


def test_a_python_of_conda_that_is_too_old_for_pypi_is_one_error(served: Index) -> None:
    error = refused(served, "series", python="2.7.18", archs=TWO)
    assert isinstance(error, ResolverCannot)
    assert "Python 2.7.18 is older than 3.6" in error.sentence
    assert error.packages == ("python",)
    assert error.details == ()


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("series==2.3.0rc9", ("2.2.1", "2.3.5")),
        ("series==2.3.4; os_name == 'posix'", ("2.2.1", "2.3.5")),
        ("series[extra]==9.1.1", ("2.3.5",)),
        ("series==1.0", ("2.3.5",)),
    ],
)
def test_a_version_that_was_never_published_is_reported_with_those_nearby(
    served: Index, asked: str, near: tuple[str, ...]
) -> None:
    error = refused(served, asked, "young", archs=TWO)
    assert isinstance(error, NoSolution)
    assert error.sentence.startswith("there is no series ")
    assert tuple(re.findall(r"\d+(?:\.\d+)+", error.hint or "")) == near
    assert error.packages == ("series",)
