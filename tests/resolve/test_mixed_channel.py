"""Mixed environments as they are locked: solved by py-rattler from a real channel, and uv on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from envlock.model.arch import ARCHS, LINUX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import CondaOnlyWithPython, ConflictWithConda
from envlock.resolve.mixed import ByType
from envlock.resolve.port import Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.channel import Channel
from tests.index import Index, Release
from tests.support import conda_requirements

RESOLVER = ByType(CondaResolver, UvResolver())


@pytest.fixture(autouse=True)
def _mirrored(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """`conda-forge` is the test channel's `main`."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)


def request_for(
    index: Index,
    *conda: str,
    pypi: tuple[str, ...] = (),
    arch: Arch = LINUX_64,
    python: str = "==3.12.*",
    conda_only: tuple[str, ...] = (),
    metaflow: tuple[str, ...] = (),
    system: tuple[tuple[str, str], ...] = (),
    before: Resolution | None = None,
) -> Request:
    floors = dict([("__glibc", "2.28"), ("__linux", "5.10")] if arch.startswith("linux") else [("__osx", "13.0")])
    floors = {"__unix": "0", **floors, **dict(system)}
    kept = before.packages if before is not None else ()
    return Request(
        name="demo",
        arch=arch,
        requirements=Requirements(
            python=python,
            python_from="conda",
            pypi=tuple(map(parse_requirement, pypi)),
            metaflow=tuple(map(parse_requirement, metaflow)),
            conda=conda_requirements(*conda),
            conda_only=conda_requirements(*conda_only),
            channels=("conda-forge",),
            default_index=index.url,
            system=tuple((arch, name, version) for name, version in floors.items()),
        ),
        python="",
        pins={each.name: each.version for each in kept if each.kind == "pypi"},
        conda_pins=tuple(each for each in kept if each.kind == "conda"),
        default_index_url=index.url,
        channel_urls=("conda-forge",),
    )


def names(resolution: Resolution, kind: str) -> set[str]:
    return {f"{each.name} {each.version}" for each in resolution.packages if each.kind == kind}


def package(resolution: Resolution, name: str) -> LockedPackage:
    (found,) = [each for each in resolution.packages if each.name == name]
    return found


@pytest.mark.parametrize("arch", ARCHS)
def test_on_four_archs(channel: Channel, index: Index, arch: Arch) -> None:
    found = RESOLVER.resolve(request_for(index, "beta", "builds", "lower", pypi=("alpha", "beta", "pi"), arch=arch))
    assert names(found, "pypi") == {"alpha 2.0", "pi 1.0"}
    assert {"beta 1.5", "builds 1.4", "lower 2.0"} < names(found, "conda")
    assert found.python is not None
    assert found.python.source == "conda"
    assert package(found, "python").version == found.python.version
    assert package(found, "builds").conda.provides == (("builds", "1.4"),)  # type: ignore[union-attr]
    assert package(found, "pi").filename.startswith("pi-1.0-cp310-abi3-")
    assert [(each.kind, each.name) for each in found.packages] == sorted(
        (each.kind, each.name) for each in found.packages
    )


def test_real_packages_are_known_by_their_own_metadata(channel: Channel, make_index: Callable[..., Index]) -> None:
    channel.need("pandas", "requests")
    served = make_index(
        Release(
            "frames", "1.0", requires=("pandas>=2", "numpy", "tzdata", "python-dateutil>=2.8", "charset-normalizer")
        )
    )
    found = RESOLVER.resolve(request_for(served, "pandas", "requests", pypi=("frames",)))
    assert names(found, "pypi") == {"frames 1.0"}
    assert dict(package(found, "python-tzdata").conda.provides) == {"tzdata": "2024.2"}  # type: ignore[union-attr]
    assert found.notes == ()
    # An extra of a real package, from its real metadata.
    socks = make_index(Release("pysocks", "1.7.1"), Release("PySocks-other", "1.0"))
    found = RESOLVER.resolve(request_for(socks, "requests", pypi=("requests[socks]",)))
    assert names(found, "pypi") == {"pysocks 1.7.1"}


def test_python_from_conda_for_an_environment_of_pypi_packages(index: Index) -> None:
    found = RESOLVER.resolve(request_for(index, pypi=("alpha",), metaflow=("lam",), conda_only=("hello",)))
    assert names(found, "pypi") == {"alpha 2.0", "beta 2.0", "lam 1.0"}
    assert {each.name for each in found.packages if each.kind == "conda"} >= {"python", "hello"}


def test_what_metaflow_needs_is_conda_s_in_a_mixed_environment(index: Index) -> None:
    found = RESOLVER.resolve(request_for(index, "lower", pypi=("alpha",), metaflow=("torch>=2",)))
    assert "pytorch 2.4.0" in names(found, "conda")
    assert names(found, "pypi") == {"alpha 2.0", "beta 2.0"}


def test_what_the_user_pins_on_pypi_is_what_metaflow_gets(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("torch", "2.1"), Release("torch", "9.0"))
    found = RESOLVER.resolve(request_for(served, "lower", pypi=("torch<3",), metaflow=("torch>=2", "lower>=2")))
    assert names(found, "pypi") == {"torch 2.1"}
    assert not [each for each in names(found, "conda") if each.startswith("pytorch")]
    assert "lower 2.0" in names(found, "conda")


def test_what_metaflow_needs_gives_way_where_it_brings_what_the_user_pins(index: Index) -> None:
    """conda's alpha 2.0 would bring beta 1.5, and nobody but Metaflow asks for alpha."""
    asked = request_for(index, "lower", pypi=("beta==2.0",), metaflow=("alpha>=2", "torch>=2"))
    found = RESOLVER.resolve(asked)
    assert names(found, "pypi") == {"alpha 2.0", "beta 2.0"}
    assert {"lower 2.0", "pytorch 2.4.0"} < names(found, "conda")
    with pytest.raises(ConflictWithConda):
        RESOLVER.resolve(request_for(index, "alpha", pypi=("beta==2.0",), metaflow=("alpha>=2",)))


def test_a_pypi_package_of_its_own_index_goes_on_top_of_conda_s(index: Index, make_index: Callable[..., Index]) -> None:
    gpu = make_index(Release("torch", "2.4.0+cu121", requires=("beta",)), Release("beta", "9.0"))
    request = request_for(index, "beta", pypi=("torch", "lam"))
    pinned = tuple(
        each._replace(from_index=gpu.url) if each.name == "torch" else each for each in request.requirements.pypi
    )
    asked = replace(request, requirements=request.requirements._replace(pypi=pinned), package_index_urls=(gpu.url,))
    found = RESOLVER.resolve(asked)
    assert names(found, "pypi") == {"torch 2.4.0+cu121", "lam 1.0"}
    assert "beta 1.5" in names(found, "conda")
    asked = replace(
        asked,
        requirements=asked.requirements._replace(pypi=(parse_requirement("beta")._replace(from_index=gpu.url),)),
    )
    with pytest.raises(ConflictWithConda):
        RESOLVER.resolve(asked)


def test_conda_alone_has_no_pypi_part(index: Index) -> None:
    found = RESOLVER.resolve(request_for(index, "beta"))
    assert names(found, "pypi") == set()
    assert package(found, "beta").conda.provides == ()  # type: ignore[union-attr]


def test_old_pins_are_kept_in_both_parts(index: Index) -> None:
    first = RESOLVER.resolve(request_for(index, "lower <2", pypi=("alpha<2",)))
    assert {"lower 1.2"} < names(first, "conda")
    again = RESOLVER.resolve(request_for(index, "lower", pypi=("alpha", "lam"), before=first))
    assert [each for each in again.packages if each.name != "lam"] == list(first.packages)
    assert names(again, "pypi") == {"alpha 1.1", "lam 1.0"}
    fresh = RESOLVER.resolve(request_for(index, "lower", pypi=("alpha", "lam")))
    assert {"lower 2.0"} < names(fresh, "conda")


def test_what_moves_to_conda_leaves_the_pypi_part(index: Index) -> None:
    first = RESOLVER.resolve(request_for(index, "lower", pypi=("alpha",)))
    assert names(first, "pypi") == {"alpha 2.0", "beta 2.0"}
    again = RESOLVER.resolve(request_for(index, "lower", "beta", pypi=("alpha",), before=first))
    assert names(again, "pypi") == {"alpha 2.0"}
    assert "beta 1.5" in names(again, "conda")


def test_a_contradiction_is_reported_with_both_sides(index: Index) -> None:
    with pytest.raises(ConflictWithConda) as caught:
        RESOLVER.resolve(request_for(index, "listens", pypi=("lam>=2",)))
    error = caught.value
    assert error.sentence == "lam>=2 is required from PyPI, but conda provides lam 1.0 (conda package lambda-tools 1.0)"
    assert error.packages == ("lam", "conda:lambda-tools", "conda:listens")


def test_conda_only_brings_no_python(index: Index) -> None:
    with pytest.raises(CondaOnlyWithPython) as caught:
        RESOLVER.resolve(request_for(index, pypi=("alpha",), conda_only=("listens",)))
    assert caught.value.packages == ("conda:listens",)


@pytest.mark.parametrize(
    ("root", "arch", "system", "expected"),
    [
        ("kappa", LINUX_64, (), "kappa 1.0"),
        ("kappa", LINUX_64, (("__glibc", "2.36"),), "kappa 2.0"),
        ("mu", OSX_ARM64, (), "mu 1.0"),
        ("mu", OSX_ARM64, (("__osx", "14.0"),), "mu 2.0"),
    ],
)
def test_system_requirements_steer_both_parts(
    index: Index, root: str, arch: Arch, system: tuple[tuple[str, str], ...], expected: str
) -> None:
    found = RESOLVER.resolve(request_for(index, "modern", pypi=(root,), arch=arch, system=system))
    assert names(found, "pypi") == {expected}
    assert f"modern {expected.split()[1]}" in names(found, "conda")


def test_credentials_of_a_channel_open_its_archives(private_channel: Channel, index: Index) -> None:
    request = request_for(index, "whisper", pypi=("lam",))
    url = private_channel.url_with_token("private")
    known_as = private_channel.url_of("private")
    main = private_channel.url_with_password("main")
    request = replace(
        request,
        requirements=request.requirements._replace(channels=(known_as, private_channel.url_of("main"))),
        channel_urls=(url, main),
    )
    found = RESOLVER.resolve(request)
    assert package(found, "whisper").conda.provides == (("whisper", "1.0"),)  # type: ignore[union-attr]
    assert found.notes == ()
    assert not [secret for secret in private_channel.credentials.secrets if secret in repr(found)]  # type: ignore[union-attr]


def test_resolved_again_it_is_the_same_and_no_archive_is_touched(
    make_channel: Callable[..., Channel], index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = make_channel(whole=True)
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", served.mirrors)
    request = request_for(index, "beta", "listens", pypi=("alpha",))
    resolver = ByType(CondaResolver(), UvResolver())
    first = resolver.resolve(request)
    assert served.downloads()
    served.forget()
    assert resolver.resolve(request) == first
    assert not served.downloads()
