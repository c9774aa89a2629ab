"""What is asked beside a named environment: its packages stay as they are, and only additions are solved for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from envlock.conda.channels import channel_base
from envlock.model.arch import LINUX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.named.pin import Pin
from envlock.resolve.conda_rattler import CondaResolver
from envlock.resolve.errors import BaseWithoutConda, ConflictWithBase
from envlock.resolve.mixed import ByType
from envlock.resolve.port import LockedBase, Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.channel import Channel
from tests.index import Index, Release
from tests.support import conda_requirements

SYSTEM = tuple((LINUX_64, name, version) for name, version in (("__glibc", "2.28"), ("__linux", "5.10")))


@pytest.fixture(autouse=True)
def _mirrored(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    """`conda-forge` is the test channel's `main`."""
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", channel.mirrors)


@pytest.fixture
def resolver() -> ByType:
    return ByType(CondaResolver, UvResolver())


def required(
    index: Index,
    *conda: str,
    pypi: tuple[str, ...] = (),
    python: str = "",
    source: str = "conda",
    channels: tuple[str, ...] = ("conda-forge",),
    metaflow: tuple[str, ...] = (),
    conda_only: tuple[str, ...] = (),
) -> Requirements:
    return Requirements(
        python=python,
        python_from=source,
        pypi=tuple(map(parse_requirement, pypi)),
        metaflow=tuple(map(parse_requirement, metaflow)),
        conda=conda_requirements(*conda),
        conda_only=conda_requirements(*conda_only),
        channels=channels if source == "conda" else (),
        default_index=index.url,
        system=SYSTEM,
    )


def request(index: Index, requirements: Requirements, base: LockedBase | None = None, **more: object) -> Request:
    request = Request(
        name="demo",
        arch=LINUX_64,
        requirements=requirements,
        python="3.12.0" if base is None and requirements.python_from == "machine" else "",
        base=base,
        default_index_url=index.url,
        channel_urls=requirements.channels,
    )
    return replace(request, **more)  # type: ignore[arg-type]


def base_of(resolver: ByType, index: Index, requirements: Requirements) -> LockedBase:
    """The environment of these requirements, locked and named `team/base:v1`."""
    found = resolver.resolve(request(index, requirements))
    lock = Lock(
        arch=LINUX_64,
        requirements=requirements,
        python=found.python or LockedPython("machine", "3.12.0"),
        packages=found.packages,
    )
    return LockedBase("team/base:v1", lock, lambda _: None)


def extend(resolver: ByType, index: Index, base: LockedBase, requirements: Requirements, **more: object) -> Resolution:
    pin = Pin("name", base.name, base.lock.requirements, ((LINUX_64, base.lock.full_id),))
    return resolver.resolve(request(index, requirements._replace(base=pin.base), base, **more))


def new(base: LockedBase, found: Resolution) -> set[str]:
    """What was added, after a look that everything else is the base's own."""
    kept = {(each.kind, each.name): each for each in base.lock.packages}
    added = [each for each in found.packages if (each.kind, each.name) not in kept]
    assert [each for each in found.packages if each not in added] == list(base.lock.packages)
    assert found.python == base.lock.python
    return {f"{each.name} {each.version}" for each in added}


def package(found: Resolution, name: str) -> LockedPackage:
    (one,) = [each for each in found.packages if each.name == name]
    return one


def test_conda_on_conda(resolver: ByType, index: Index) -> None:
    """`upper` goes with the `lower` of the base, which is not the newest that it could have."""
    base = base_of(resolver, index, required(index, "lower 1.1.*", python="==3.12.*"))
    found = extend(resolver, index, base, required(index, "upper"))
    assert new(base, found) == {"upper 2.0"}
    assert package(found, "upper").dependencies == ("lower",)


def test_what_the_channel_has_no_more_stays(
    resolver: ByType, index: Index, make_channel: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(resolver, index, required(index, "lower 1.1.*", "builds", python="==3.12.*"))
    served = make_channel(whole=True)
    served.withdraw("*/lower-1.1-*")
    served.withdraw("*/builds-*")
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", served.mirrors)
    fresh = ByType(CondaResolver, UvResolver())
    assert new(base, extend(fresh, index, base, required(index, "upper"))) == {"upper 2.0"}


def test_what_was_published_since_then_stays(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, "lower 2.0", python="==3.12.*"))
    found = extend(resolver, index, base, required(index, "upper"), exclude_newer="2021-01-01T00:00:00Z")
    assert new(base, found) == {"upper 1.0"}


def test_the_base_may_be_from_a_channel_that_is_not_used(resolver: ByType, index: Index) -> None:
    both = ("other", "conda-forge")
    base = base_of(resolver, index, required(index, "lower", "speak", python="==3.12.*", channels=both))
    assert {each.conda.channel for each in base.lock.packages if each.conda and each.name in {"lower", "speak"}} != {
        channel_base("conda-forge")
    }
    assert new(base, extend(resolver, index, base, required(index, "upper"))) == {"upper 2.0"}
    turned = required(index, "listens", "upper", channels=("conda-forge", "other"))
    assert new(base, extend(resolver, index, base, turned)) == {"upper 2.0", "listens 1.0", "lambda-tools 1.0"}


@pytest.mark.parametrize(
    ("had", "added", "sentence"),
    [
        ("lower 1.2", "west", "west conflicts with lower 1.2 of `team/base:v1`"),
        ("lower 2.0", "guards", "guards conflicts with lower 2.0 of `team/base:v1`"),
        ("guards", "lower 2.0", "lower conflicts with guards 1.0 of `team/base:v1`"),
    ],
)
def test_what_does_not_go_with_the_base(resolver: ByType, index: Index, had: str, added: str, sentence: str) -> None:
    base = base_of(resolver, index, required(index, had, python="==3.12.*"))
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, required(index, added))
    assert caught.value.sentence == sentence
    assert caught.value.packages == (f"conda:{added.split()[0]}", "named_env")
    assert f"{sentence.partition(' with ')[2].partition(' of ')[0]} is in `team/base:v1`" in str(caught.value.details)


def test_another_version_of_what_the_base_has(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, "lower 1.2", python="==3.12.*"))
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, required(index, "lower >=2"))
    assert caught.value.sentence == "`lower >=2` is required from conda, but `team/base:v1` has lower 1.2 0"
    assert caught.value.packages == ("conda:lower", "named_env")


def test_what_the_base_has_already_is_not_requested(
    resolver: ByType, index: Index, make_channel: Callable[..., Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_of(resolver, index, required(index, "lower", pypi=("alpha",), python="==3.12.*"))
    served = make_channel(whole=True)
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", served.mirrors)
    fresh = ByType(CondaResolver, UvResolver())
    requirements = required(index, "lower >=1.2", pypi=("alpha>=2", "beta"), python=">=3.11", metaflow=("alpha",))
    assert new(base, extend(fresh, index, base, requirements)) == set()
    assert served.requests == ()


def test_pypi_on_conda(resolver: ByType, index: Index) -> None:
    """Nobody had to know what the conda packages hold: that is looked up, and said of them from then on."""
    base = base_of(resolver, index, required(index, "beta", python="==3.12.*"))
    found = extend(resolver, index, base, required(index, pypi=("alpha",)))
    assert {f"{each.kind} {each.name} {each.version}" for each in found.packages if each.kind == "pypi"} == {
        "pypi alpha 2.0"
    }
    assert package(found, "beta").conda.provides == (("beta", "1.5"),)  # type: ignore[union-attr]
    bare = [replace(each, conda=replace(each.conda, provides=())) for each in found.packages if each.conda]
    assert bare == list(base.lock.packages)


def test_both_on_mixed(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, "beta", pypi=("alpha<2",), python="==3.12.*"))
    found = extend(resolver, index, base, required(index, "upper", "lower <2", pypi=("theta", "pi")))
    assert new(base, found) == {"upper 2.0", "lower 1.2", "theta 2.0", "pi 1.0"}
    assert package(found, "theta").dependencies == ("alpha",)


def test_conda_on_pypi_packages_with_a_python_of_conda(resolver: ByType, index: Index) -> None:
    """What Metaflow needs is there as wheels: conda does not bring it a second time."""
    base = base_of(resolver, index, required(index, pypi=("alpha<2",), metaflow=("lam",), python="==3.12.*"))
    found = extend(resolver, index, base, required(index, "lower", metaflow=("lam",)))
    assert new(base, found) == {"lower 2.0"}
    assert {each.kind for each in found.packages if each.name in {"alpha", "lam"}} == {"pypi"}


def test_conda_does_not_bring_what_the_base_has_as_a_wheel(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, "lower", pypi=("lam",), python="==3.12.*"))
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, required(index, "listens"))
    assert caught.value.sentence == (
        "the conda package lambda-tools 1.0 contains lam 1.0, but `team/base:v1` has lam 1.0 from PyPI"
    )


def test_pypi_wants_another_version_of_what_conda_brought(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, "beta", python="==3.12.*"))
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, required(index, pypi=("beta>=2",)))
    assert (
        caught.value.sentence
        == "beta>=2 is required from PyPI, but `team/base:v1` has beta 1.5 (conda package beta 1.5)"
    )
    assert caught.value.packages == ("beta", "named_env")


def test_conda_on_the_python_of_a_machine(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, pypi=("lam",), source="machine"))
    with pytest.raises(BaseWithoutConda) as caught:
        extend(resolver, index, base, required(index, "lower", source="machine"))
    assert caught.value.packages == ("conda:lower", "named_env")


def test_a_package_of_the_index_that_the_base_has_it_from_is_there_already(
    resolver: ByType, index: Index, make_index: Callable[..., Index]
) -> None:
    base = base_of(resolver, index, required(index, pypi=("lam",), source="machine", python="==3.12.*"))
    own, gpu = (
        required(index, source="machine")._replace(pypi=(parse_requirement("lam")._replace(from_index=url),))
        for url in (index.url, make_index(Release("lam", "1.0")).url)
    )
    assert new(base, extend(resolver, index, base, own, package_index_urls=(index.url,))) == set()
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, gpu)
    assert caught.value.packages[-1] == "named_env"


def test_a_package_of_the_url_that_the_base_has_it_from_is_there_already(resolver: ByType, index: Index) -> None:
    asked = f"lam @ {index.file_url('lam-1.0-py3-none-any.whl')}"
    base = base_of(resolver, index, required(index, pypi=(asked,), python="==3.12.*", source="machine"))
    found = extend(resolver, index, base, required(index, pypi=(asked, "alpha<2"), source="machine"))
    assert new(base, found) == {"alpha 1.1"}


def test_constraints_and_hashes_hold_for_what_the_base_has(resolver: ByType, index: Index) -> None:
    base = base_of(resolver, index, required(index, pypi=("lam",), source="machine", python="==3.12.*"))
    asked = required(index, pypi=("alpha",), source="machine")
    right, other = base.lock.pypi_packages[0].sha256, "0" * 64
    fitting = asked._replace(constraints=(parse_requirement("lam<2"),), hashes=(("lam", right), ("lam", other)))
    assert "alpha 2.0" in new(base, extend(resolver, index, base, fitting))
    for wrong, key in (
        (asked._replace(constraints=(parse_requirement("lam>=2"),)), "lam"),
        (asked._replace(overrides=(parse_requirement("lam>=2"),)), "lam"),
        (asked._replace(hashes=(("lam", other),)), "hash:lam"),
    ):
        with pytest.raises(ConflictWithBase) as caught:
            extend(resolver, index, base, wrong)
        assert caught.value.packages == (key, "named_env")


def test_a_base_with_overrides_is_extended_with_the_same_overrides(resolver: ByType, index: Index) -> None:
    asked = required(index, pypi=("theta>=2",), source="machine", python="==3.12.*")
    overrides = (parse_requirement("alpha>=2"),)
    base = base_of(resolver, index, asked._replace(overrides=overrides))
    more = required(index, pypi=("lam",), source="machine")
    assert new(base, extend(resolver, index, base, more._replace(overrides=overrides))) == {"lam 1.0"}
    with pytest.raises(ConflictWithBase) as caught:
        extend(resolver, index, base, more)
    assert caught.value.packages == ("named_env",)


def test_other_resolvers_leave_the_base_as_it_is(index: Index) -> None:
    """conda-lock cannot be told what must stay, so py-rattler solves; pip-tools is told of wheels that are there."""
    pytest.importorskip("conda_lock")
    from envlock.resolve.conda_lock import CondaLockResolver
    from envlock.resolve.pypi_piptools import PipToolsResolver

    resolver = ByType(CondaResolver, UvResolver())
    others = ByType(CondaLockResolver, PipToolsResolver)
    base = base_of(resolver, index, required(index, "lower 1.1.*", python="==3.12.*"))
    assert new(base, extend(others, index, base, required(index, "upper"))) == {"upper 2.0"}
    series = "{}.{}".format(*sys.version_info[:2])
    wheels = base_of(resolver, index, required(index, pypi=("alpha<2",), python=f"=={series}.*", source="machine"))
    wheels = replace(wheels, lock=replace(wheels.lock, python=LockedPython("machine", f"{series}.0")))
    found = extend(others, index, wheels, required(index, pypi=("theta",), source="machine"))
    assert {each.name for each in found.packages} == {"alpha", "theta", "beta"}
    assert package(found, "alpha") == wheels.lock.packages[0]


def test_releases_of_python_that_the_base_was_not_locked_for_are_refused(resolver: ByType, index: Index) -> None:
    narrow = required(index, pypi=("lam",), python=">=3.12,<3.12.4", source="machine")
    base = base_of(resolver, index, narrow)
    for python in ("", "==3.12.*"):
        with pytest.raises(ConflictWithBase) as caught:
            resolver.resolve(request(index, required(index, pypi=("alpha",), python=python, source="machine"), base))
        assert 'python = ">=3.12,<3.12.4"' in (caught.value.hint or "")
        assert caught.value.packages[0] == "python"
    for python in (">=3.12,<3.12.4", "<3.12.3"):
        found = resolver.resolve(
            request(index, required(index, pypi=("alpha<2",), python=python, source="machine"), base)
        )
        assert {each.name for each in found.packages} == {"lam", "alpha"}
