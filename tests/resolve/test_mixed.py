"""Conda first, then PyPI on top: real archives of the test channel, real uv, and a conda part that is given."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from envlock.model.arch import ARCHS, LINUX_64, Arch
from envlock.model.lock import LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.conda_provided import extras_in, provided_by, pypi_version
from envlock.resolve.errors import CondaOnlyWithPython, ConflictWithConda, ExtraOfCondaPackage, UnexpectedAnswer
from envlock.resolve.mixed import ByType
from envlock.resolve.port import Provided, Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.channel import Channel, Dist, python_package
from tests.index import Index, Release
from tests.locked import CONDA_FORGE, locked
from tests.support import conda_requirements

PYTHON = LockedPython(source="conda", version="3.12.1")


class Given:
    """A conda resolver that was asked and has answered: its answer is given."""

    def __init__(self, *packages: LockedPackage, notes: tuple[str, ...] = ()) -> None:
        self.answer = Resolution(packages=packages, notes=notes, python=PYTHON)
        self.requests: list[Request] = []
        self.stopped = False

    def resolve(self, request: Request) -> Resolution:
        self.requests.append(request)
        return self.answer

    def stop(self) -> None:
        self.stopped = True


def request_for(
    channel: Channel,
    index: Index,
    *roots: str,
    conda: tuple[str, ...] = (),
    conda_only: tuple[str, ...] = (),
    arch: Arch = LINUX_64,
    pins: dict[str, str] | None = None,
    conda_pins: tuple[LockedPackage, ...] = (),
) -> Request:
    return Request(
        name="demo",
        arch=arch,
        requirements=Requirements(
            python_from="conda",
            pypi=tuple(parse_requirement(root) for root in roots),
            conda=conda_requirements(*conda),
            conda_only=conda_requirements(*conda_only),
            channels=("conda-forge",),
            default_index=index.url,
        ),
        python="",
        pins=pins or {},
        conda_pins=conda_pins,
        default_index_url=index.url,
        channel_urls=("conda-forge",),
        channel_mirrors=(("conda-forge", channel.url_of("main")),),
    )


def resolve(request: Request, *packages: LockedPackage) -> Resolution:
    return ByType(Given(*packages), UvResolver()).resolve(request)


def kinds(resolution: Resolution) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {"conda": [], "pypi": []}
    for package in resolution.packages:
        found[package.kind].append(f"{package.name} {package.version}")
    return found


def provides(resolution: Resolution, name: str) -> tuple[tuple[str, str], ...]:
    (package,) = [each for each in resolution.packages if each.kind == "conda" and each.name == name]
    assert package.conda is not None
    return package.conda.provides


# Which part is asked.


def test_without_conda_only_the_pypi_resolver_runs(channel: Channel, index: Index) -> None:
    def never() -> Given:
        raise AssertionError

    request = request_for(channel, index, "lam")
    request = replace(request, requirements=request.requirements._replace(python_from="machine"), python="3.12.0")
    assert kinds(ByType(never, UvResolver()).resolve(request)) == {"conda": [], "pypi": ["lam 1.0"]}


def test_without_conda_py_rattler_is_not_imported(index: Index) -> None:
    code = f"""
import sys
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.mixed import ByType
from envlock.resolve.port import Request
from envlock.resolve.pypi_uv import UvResolver
requirements = Requirements(pypi=(parse_requirement("lam"),), default_index={index.url!r})
request = Request("demo", "linux-64", requirements, "3.12.0", default_index_url={index.url!r})
print([each.name for each in ByType(lambda: 1 / 0, UvResolver()).resolve(request).packages])
assert not [name for name in sys.modules if name.startswith(("rattler", "envlock.conda"))]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "['lam']\n", done.stderr


def test_conda_alone_is_left_as_it_was_solved(make_channel: Callable[..., Channel], index: Index) -> None:
    served = make_channel(whole=True)
    given = Given(*locked(served, "noarch/beta-1.5-*"), notes=("a note",))
    assert ByType(given, UvResolver()).resolve(request_for(served, index, conda=("beta",))) == given.answer
    assert not served.requests, "nobody looks into packages that nothing is put on top of"


def test_the_conda_resolver_is_made_once_and_when_it_is_needed(channel: Channel, index: Index) -> None:
    made: list[Given] = []

    def make() -> Given:
        made.append(Given(*locked(channel, "noarch/beta-1.5-*")))
        return made[-1]

    by_type = ByType(make, UvResolver())
    assert not made
    for _ in range(2):
        by_type.resolve(request_for(channel, index, "alpha", conda=("beta",)))
    assert len(made) == 1
    by_type.stop()
    assert made[0].stopped


# What is locked.


@pytest.mark.parametrize("arch", ARCHS)
def test_pypi_is_locked_on_top_of_conda(channel: Channel, index: Index, arch: Arch) -> None:
    packages = locked(channel, "noarch/beta-1.5-*", "noarch/lower-2.0-*", f"{arch}/builds-1.4-py312_0.conda")
    found = resolve(request_for(channel, index, "alpha", "pi", conda=("beta", "builds"), arch=arch), *packages)
    assert kinds(found) == {"conda": ["beta 1.5", "builds 1.4", "lower 2.0"], "pypi": ["alpha 2.0", "pi 1.0"]}
    assert found.packages == tuple(sorted(found.packages, key=lambda each: (each.kind, each.name)))
    assert [provides(found, name) for name in ("beta", "builds", "lower")] == [
        (("beta", "1.5"),),
        (("builds", "1.4"),),
        (),
    ]
    assert found.python == PYTHON
    assert found.notes == ()


def test_the_locked_python_of_conda_is_what_pypi_is_solved_for(channel: Channel, index: Index) -> None:
    given = Given(*locked(channel, "noarch/beta-1.5-*"))
    request = request_for(channel, index, "iota", conda=("beta",))
    assert kinds(ByType(given, UvResolver()).resolve(request))["pypi"] == ["iota 2.0"]
    given.answer = replace(given.answer, python=LockedPython(source="conda", version="3.11.7"))
    assert kinds(ByType(given, UvResolver()).resolve(request))["pypi"] == ["iota 1.0"]


def test_packages_of_other_names_are_recognised(channel: Channel, index: Index) -> None:
    packages = locked(channel, "noarch/lambda-tools-*", "noarch/nu_name_space-*", "noarch/twins-*")
    roots = ("zeta[full]", "lam", "Nu.Name-Space", "rho", "sigma==1.0")
    found = resolve(request_for(channel, index, *roots, conda=("lambda-tools",)), *packages)
    assert kinds(found)["pypi"] == ["zeta 1.0"]
    assert provides(found, "lambda-tools") == (("lam", "1.0"),)
    assert provides(found, "twins") == (("rho", "1.0"), ("sigma", "1.0"))


def test_versions_that_are_not_those_of_conda(channel: Channel, index: Index) -> None:
    packages = locked(channel, "noarch/gamma-2024.1-*", "noarch/iota-3.0-*", "noarch/pytorch-2.4.0-*")
    roots = ("gamma<2", "iota>=3", "torch>=2,<2.5", "lam")
    found = resolve(request_for(channel, index, *roots, conda=("gamma",)), *packages)
    assert kinds(found)["pypi"] == ["lam 1.0"]


def test_what_no_installer_knows_of_is_not_provided(channel: Channel, make_index: Callable[..., Index]) -> None:
    """`bare` has a module of that name and no metadata: pip would not see it either."""
    served = make_index(Release("bare", "2.0"))
    found = resolve(request_for(channel, served, "bare", conda=("bare",)), *locked(channel, "noarch/bare-*"))
    assert kinds(found) == {"conda": ["bare 1.0"], "pypi": ["bare 2.0"]}


def test_old_pins_of_pypi_are_kept(channel: Channel, index: Index) -> None:
    packages = locked(channel, "noarch/beta-1.5-*")
    first = resolve(request_for(channel, index, "alpha<2", conda=("beta",)), *packages)
    pins = {each.name: each.version for each in first.packages if each.kind == "pypi"}
    again = resolve(request_for(channel, index, "alpha", "lam", conda=("beta",), pins=pins), *packages)
    assert kinds(first)["pypi"] == ["alpha 1.1"]
    assert kinds(again)["pypi"] == ["alpha 1.1", "lam 1.0"]
    assert [each for each in again.packages if each.kind == "conda"] == [
        each for each in first.packages if each.kind == "conda"
    ]


# What cannot be looked into.


def test_where_no_archive_can_be_read_names_are_guessed_and_that_is_said(
    make_channel: Callable[..., Channel], index: Index
) -> None:
    served = make_channel(whole=True)
    packages = locked(served, "noarch/beta-1.5-*", "noarch/pytorch-2.4.0-*", "noarch/vintage-1.0-*.tar.bz2")
    served.fail("*.conda", status=404)
    found = resolve(request_for(served, index, "alpha", "torch", conda=("beta",)), *packages)
    assert kinds(found)["pypi"] == ["alpha 2.0"]
    assert found.notes == ("could not read beta, pytorch, vintage: its PyPI names come from a published list",)


def test_the_lock_before_says_what_no_archive_can(make_channel: Callable[..., Channel], index: Index) -> None:
    served = make_channel(whole=True)
    (package,) = locked(served, "noarch/lambda-tools-*")
    assert package.conda is not None
    before = replace(package, conda=replace(package.conda, provides=(("lam", "1.0"),)))
    served.fail("*.conda", status=404)
    found = resolve(request_for(served, index, "zeta[full]", conda=("x",), conda_pins=(before,)), package)
    assert kinds(found)["pypi"] == ["nu-name-space 1.0", "zeta 1.0"]
    assert found.notes == ()


def test_a_version_that_pypi_cannot_have_is_said(make_channel: Callable[..., Channel], index: Index) -> None:
    served = make_channel(python_package("lam", "2024.x", dist=Dist("lam", "2024.x")))
    found = resolve(request_for(served, index, "lam", conda=("lam",)), *locked(served, "noarch/lam-*"))
    assert kinds(found)["pypi"] == ["lam 1.0"]
    assert found.notes == (
        "lam 2024.x from conda has a version that is not valid on PyPI: PyPI packages are locked without it",
    )


# Contradictions and extras.


def test_a_contradiction_names_the_conda_package_that_is_required(channel: Channel, index: Index) -> None:
    packages = locked(channel, "noarch/listens-*", "noarch/lambda-tools-*")
    with pytest.raises(ConflictWithConda) as caught:
        resolve(request_for(channel, index, "lam>=2", conda=("listens >=1",)), *packages)
    error = caught.value
    assert error.sentence == "lam>=2 is required from PyPI, but conda provides lam 1.0 (conda package lambda-tools 1.0)"
    assert error.packages == ("lam", "conda:lambda-tools", "conda:listens")
    assert any("lambda-tools" in line and "listens" in line for line in error.details)


def test_a_contradiction_with_a_requirement_of_conda_itself(channel: Channel, index: Index) -> None:
    with pytest.raises(ConflictWithConda) as caught:
        resolve(
            request_for(channel, index, "theta", conda=("conda-forge::alpha ==2.0",)),
            *locked(channel, "noarch/alpha-2*"),
        )
    assert caught.value.packages == ("theta", "conda:alpha")
    assert not [line for line in caught.value.details if "is a dependency of" in line]


def published(make_index: Callable[..., Index]) -> Index:
    return make_index(
        Release("pysocks", "1.7"),
        Release("idna", "3.1"),
        Release("user", "1.0", requires=("requests[socks]",)),
    )


def with_extras() -> Dist:
    return Dist("requests", "2.32.3", ("idna>=2", "pysocks>=1.5 ; extra == 'socks'"))


@pytest.mark.parametrize("root", ["requests[socks]", "user"])
def test_what_an_extra_brings_is_read_in_the_archive(
    make_channel: Callable[..., Channel], make_index: Callable[..., Index], root: str
) -> None:
    served = make_channel(python_package("requests", "2.32.3", dist=with_extras()))
    packages = locked(served, "noarch/requests-*")
    found = resolve(request_for(served, published(make_index), root, conda=("requests",)), *packages)
    assert "pysocks 1.7" in kinds(found)["pypi"]
    assert "idna 3.1" not in kinds(found)["pypi"], "that is for conda to bring"


def test_an_extra_that_cannot_be_read_is_refused(
    make_channel: Callable[..., Channel], make_index: Callable[..., Index]
) -> None:
    served = make_channel(python_package("requests", "2.32.3", suffix=".tar.bz2", dist=with_extras()))
    packages = locked(served, "noarch/requests-*")
    with pytest.raises(ExtraOfCondaPackage) as caught:
        resolve(request_for(served, published(make_index), "requests[socks]", conda=("requests",)), *packages)
    assert caught.value.packages == ("requests", "conda:requests")
    assert kinds(resolve(request_for(served, published(make_index), "requests", conda=("requests",)), *packages)) == {
        "conda": ["requests 2.32.3"],
        "pypi": [],
    }


# conda_only.


def test_conda_only_goes_with_pypi_packages(make_channel: Callable[..., Channel], index: Index) -> None:
    served = make_channel(whole=True)
    packages = locked(served, "noarch/upper-2.0-*", "noarch/lower-2.0-*")
    found = resolve(request_for(served, index, "lam", conda_only=("upper",)), *packages)
    assert kinds(found) == {"conda": ["lower 2.0", "upper 2.0"], "pypi": ["lam 1.0"]}
    assert not served.requests


@pytest.mark.parametrize(
    ("root", "patterns", "sentence", "detail"),
    [
        (
            "lambda-tools",
            ("noarch/lambda-tools-*",),
            "`lambda-tools` in `conda_only` is a Python package",
            "the conda package lambda-tools 1.0 contains lam 1.0",
        ),
        (
            "listens",
            ("noarch/listens-*", "noarch/lambda-tools-*"),
            "`listens` in `conda_only` depends on lambda-tools, which is a Python package",
            "the conda package lambda-tools 1.0 contains lam 1.0",
        ),
    ],
)
@pytest.mark.parametrize("roots", [("pi",), ()])
def test_conda_only_holds_no_python(
    channel: Channel,
    index: Index,
    root: str,
    patterns: tuple[str, ...],
    sentence: str,
    detail: str,
    roots: tuple[str, ...],
) -> None:
    with pytest.raises(CondaOnlyWithPython) as caught:
        resolve(request_for(channel, index, *roots, conda_only=(root,)), *locked(channel, *patterns))
    assert caught.value.sentence == sentence
    assert caught.value.details == (detail,)
    assert caught.value.packages == (f"conda:{root}",)


def test_what_python_itself_needs_may_come_along(channel: Channel, index: Index) -> None:
    (beta,) = locked(channel, "noarch/beta-1.5-*")
    python = replace(beta, name="python", version="3.12.1", sha256="0" * 64, dependencies=("beta",))
    (lower,) = locked(channel, "noarch/lower-2.0-*")
    lower = replace(lower, dependencies=("python",))
    found = resolve(request_for(channel, index, "alpha", conda_only=("lower",)), python, lower, beta)
    assert kinds(found)["pypi"] == ["alpha 2.0"]


def test_in_a_mixed_environment_python_may_come_from_anywhere(channel: Channel, index: Index) -> None:
    request = request_for(channel, index, "pi", conda=("lower",), conda_only=("lambda-tools",))
    found = resolve(request, *locked(channel, "noarch/lower-2.0-*", "noarch/lambda-tools-*"))
    assert kinds(found)["pypi"] == ["pi 1.0"]


# Ending it.


def test_looking_into_packages_can_be_ended(make_channel: Callable[..., Channel], index: Index) -> None:
    served = make_channel(whole=True)
    served.slow("*.conda", seconds=30)
    by_type = ByType(Given(*locked(served, "noarch/beta-1.5-*")), UvResolver())
    threading.Timer(0.5, by_type.stop).start()
    began = time.monotonic()
    with pytest.raises(UnexpectedAnswer):
        by_type.resolve(request_for(served, index, "alpha", conda=("beta",)))
    assert time.monotonic() - began < 10
    with pytest.raises(UnexpectedAnswer):
        by_type.resolve(request_for(served, index, "alpha", conda=("beta",)))


# The parts.


def test_of_several_packages_with_one_distribution_its_namesake_counts(channel: Channel) -> None:
    beta, gamma = locked(channel, "noarch/beta-1.5-*", "noarch/gamma-2024.1-*")
    assert beta.conda is not None
    facts = replace(beta.conda, channel=CONDA_FORGE, provides=(("gamma", "1.0"),))
    other = replace(facts, provides=(("gamma", "2.0"),))
    packages = (replace(beta, conda=facts), replace(gamma, conda=other))
    for each in (packages, packages[::-1]):
        assert provided_by(each) == (Provided("gamma", "2.0", "gamma 2024.1"),)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("1.26.4", "1.26.4"),
        ("2.4.0+cpu", "2.4.0+cpu"),
        ("1!2.0", "1!2.0"),
        ("1.0RC1", "1.0rc1"),
        ("1.2_3", "1.2.post3"),
        ("2024a", "2024a0"),
        ("2024.1", "2024.1"),
        ("9e", ""),
        ("1.1.1w", ""),
        ("", ""),
    ],
)
def test_versions_of_conda_as_pypi_writes_them(found: str, expected: str) -> None:
    assert pypi_version(found) == expected


def test_metadata_that_cannot_be_read_has_no_extras() -> None:
    assert extras_in("Name: x\nRequires-Dist: what is this\n") is None
    assert extras_in("Name: x\nProvides-Extra: !\n") is None
    extras = extras_in("Name: x\nProvides-Extra: A_b\nRequires-Dist: y (>=1) ; extra == 'A_b'\nRequires-Dist: z\n")
    assert extras is not None
    assert extras.names == ("a-b",)
    assert [text.startswith("y>=1;") for text in extras.requires] == [True]
