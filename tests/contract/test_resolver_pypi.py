"""What every resolver of PyPI packages does, and what one that cannot do it says instead."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from envlock.errors import ResolveError
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, Arch, host_arch
from envlock.model.conda_requirement import CondaRequirement
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.resolve.errors import (
    BadDirectUrl,
    ConflictWithBase,
    ConflictWithConda,
    IndexNotFound,
    IndexUnauthorized,
    IndexUnreachable,
    NoRequiredHash,
    NoSolution,
    NoSuchPackage,
    NoWheel,
    ResolverCannot,
    ResolversDisagree,
    UnknownPipFlag,
)
from envlock.resolve.port import Extras, Provided, Request, Resolution, Resolver
from envlock.resolve.pypi_piptools import PipToolsResolver
from envlock.resolve.pypi_uv import UvResolver
from tests.index import Index, Release
from tests.support import files_holding

HERE = host_arch()
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER_PYTHON = "3.10.0" if RUNNING != "3.10" else "3.11.0"
SECRET = "s3cr3t-t0ken"
of_linux = pytest.mark.skipif(HERE not in {LINUX_64, LINUX_AARCH64}, reason="glibc is Linux's")

pytestmark = pytest.mark.usefixtures("preloaded_resolvers")


@dataclass(frozen=True)
class Adapter:
    """A resolver, and what it can: what it cannot, it refuses."""

    make: Callable[[], Resolver]
    any_target: bool
    """Every arch and every Python; else those of the machine and the interpreter that it runs on."""
    indexes_in_order: bool
    """The first index that knows a name decides; else what all of them have is one heap, and the rule only checked."""

    def ask(
        self,
        served: Index | str,
        *roots: str,
        arch: Arch = HERE,
        python: str = f"{RUNNING}.0",
        extra: tuple[str, ...] = (),
        flags: tuple[str, ...] = (),
        system: tuple[tuple[Arch, str, str], ...] = (),
        exclude_newer: str = "",
        pins: dict[str, str] | None = None,
        provided: tuple[Provided, ...] = (),
        constraints: tuple[str, ...] = (),
        overrides: tuple[str, ...] = (),
        links: tuple[str, ...] = (),
        hashes: tuple[tuple[str, str], ...] = (),
    ) -> Resolution:
        url = served if isinstance(served, str) else served.url
        requirements = Requirements(
            pypi=tuple(parse_requirement(root) for root in roots),
            indexes=tuple(strip_credentials(each) for each in extra),
            default_index=strip_credentials(url),
            pip_flags=flags,
            system=system,
            conda=tuple(CondaRequirement(each.name) for each in provided),
            python_from="conda" if provided else "machine",
            constraints=tuple(map(parse_requirement, constraints)),
            overrides=tuple(map(parse_requirement, overrides)),
            find_links=tuple(map(strip_credentials, links)),
            hashes=hashes,
        )
        request = Request(
            name="demo",
            arch=arch,
            requirements=requirements,
            python=python,
            pins=pins or {},
            provided=provided,
            exclude_newer=exclude_newer,
            index_urls=extra,
            default_index_url=url,
            find_links_urls=links,
        )
        return self.make().resolve(request)


ADAPTERS = {
    "uv": Adapter(UvResolver, any_target=True, indexes_in_order=True),
    "pip-tools": Adapter(PipToolsResolver, any_target=False, indexes_in_order=False),
}


@pytest.fixture(params=ADAPTERS.values(), ids=ADAPTERS.keys())
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return request.param


def versions(resolution: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in resolution.packages}


def package(resolution: Resolution, name: str) -> LockedPackage:
    return next(package for package in resolution.packages if package.name == name)


# What requirement files say beside packages.


def test_a_constraint_limits_what_is_needed_and_requires_nothing(adapter: Adapter, index: Index) -> None:
    found = adapter.ask(index, "alpha>=2", constraints=("beta<2", "lam==1.0"))
    assert versions(found) == {"alpha": "2.0", "beta": "1.5"}


def test_an_override_stands_in_place_of_what_is_required(adapter: Adapter, index: Index) -> None:
    overrides = ("alpha>=2", "beta<2")
    if not adapter.any_target:  # pip does not know them
        with pytest.raises(ResolverCannot, match="overrides"):
            adapter.ask(index, "theta>=2", overrides=overrides)
        return
    found = adapter.ask(index, "theta>=2", overrides=overrides)
    assert versions(found) == {"theta": "2.0", "alpha": "2.0", "beta": "1.5"}
    with pytest.raises(ConflictWithConda) as caught:
        adapter.ask(index, "theta>=2", overrides=("beta>=2",), provided=(Provided("beta", "1.5", "beta 1.5"),))
    assert "an override is beta>=2, but conda provides beta 1.5" in caught.value.message


def test_without_an_index_packages_come_from_the_pages_of_links(
    adapter: Adapter, make_index: Callable[..., Index]
) -> None:
    page = make_index(html_only=True, credentials=("me", SECRET))
    urls = tuple(f"{page.url_with('me', SECRET)}{name}/" for name in ("alpha", "beta"))
    found = adapter.ask("http://127.0.0.1:1/simple", "alpha>=2", links=urls, flags=("no-index",))
    assert {each.name: each.url.startswith(page.base) for each in found.packages} == {"alpha": True, "beta": True}
    assert SECRET not in repr(found)


def test_a_page_of_links_is_searched_beside_the_indexes(
    adapter: Adapter, index: Index, make_index: Callable[..., Index]
) -> None:
    page = make_index(Release("alpha", "3.0", requires=("lam",)), html_only=True)
    found = adapter.ask(index, "alpha", links=(f"{page.url}alpha/",))
    assert versions(found) == {"alpha": "3.0", "lam": "1.0"}
    assert package(found, "lam").index == index.url


def test_the_file_that_is_locked_has_a_required_hash(adapter: Adapter, index: Index) -> None:
    right = index.artifact("lam-1.0-py3-none-any.whl").sha256
    assert package(adapter.ask(index, "lam", hashes=(("lam", right), ("lam", "0" * 64))), "lam").sha256 == right
    with pytest.raises(NoRequiredHash) as caught:
        adapter.ask(index, "lam", hashes=(("lam", "0" * 64),))
    assert any(right in line for line in caught.value.details)
    assert caught.value.packages == ("hash:lam",)


# The form of what is locked.


def test_a_package_is_locked_with_everything_that_the_index_says(adapter: Adapter, index: Index) -> None:
    found = package(adapter.ask(index, "alpha==2.0"), "alpha")
    artifact = index.artifact("alpha-2.0-py3-none-any.whl")
    assert found == LockedPackage(
        name="alpha",
        version="2.0",
        filename="alpha-2.0-py3-none-any.whl",
        url=index.file_url("alpha-2.0-py3-none-any.whl"),
        sha256=artifact.sha256,
        size=len(artifact.data),
        upload_time="2023-03-01T00:00:00Z",
        index=index.url,
        dependencies=("beta",),
    )


@pytest.mark.parametrize(
    "roots",
    [
        ("alpha", "rho", "lam"),
        ("beta", "pi", "gamma"),
        ("eta", "zeta[fast,full]"),
        ("theta", "iota", "kappa", "mu", "xi", "omicron"),
        ("Nu.Name_Space", "delta"),
    ],
)
def test_every_resolver_gives_the_same_lock(index: Index, roots: tuple[str, ...]) -> None:
    answers = {name: adapter.ask(index, *roots) for name, adapter in ADAPTERS.items()}
    assert answers["pip-tools"] == answers["uv"]
    assert len(answers["uv"].packages) >= len(roots)


def test_the_order_of_the_requirements_does_not_matter(adapter: Adapter, index: Index) -> None:
    assert adapter.ask(index, "eta", "alpha<2", "beta") == adapter.ask(index, "beta", "eta", "alpha<2")


def test_no_requirements_are_no_packages(adapter: Adapter, index: Index) -> None:
    assert adapter.ask(index) == Resolution(packages=())


# Requirements.


def test_markers_are_those_of_the_target(adapter: Adapter, index: Index) -> None:
    here, elsewhere = ("linux", "darwin") if HERE in {LINUX_64, LINUX_AARCH64} else ("darwin", "linux")
    roots = (f"alpha==1.0 ; sys_platform == '{here}'", f"alpha==1.1 ; sys_platform == '{elsewhere}'")
    assert versions(adapter.ask(index, *roots)) == {"alpha": "1.0"}
    newer = f"lam ; python_version > '{RUNNING}'"
    assert versions(adapter.ask(index, newer, f"xi ; python_version == '{RUNNING}'")) == {"xi": "1.0"}


def test_extras_bring_their_packages(adapter: Adapter, index: Index) -> None:
    fast = adapter.ask(index, "zeta[fast]")
    assert set(versions(fast)) == {"zeta", "beta"}
    assert package(fast, "zeta").dependencies == ("beta",)


def test_an_extra_that_is_not_there_is_said(adapter: Adapter, index: Index) -> None:
    found = adapter.ask(index, "beta[nope]")
    assert versions(found) == {"beta": "2.0"}
    assert found.notes == ("beta 2.0 has no extra `nope`",)


def test_prereleases_and_yanked_releases_are_left_alone_unless_required(adapter: Adapter, index: Index) -> None:
    assert versions(adapter.ask(index, "xi", "omicron")) == {"xi": "1.0", "omicron": "1.0"}
    assert versions(adapter.ask(index, "xi==1.1", "omicron>=2.0rc1")) == {"xi": "1.1", "omicron": "2.0rc1"}
    assert versions(adapter.ask(index, "omicron", flags=("pre",))) == {"omicron": "2.0rc1"}


def test_a_pip_flag_without_meaning_is_refused(adapter: Adapter, index: Index) -> None:
    with pytest.raises(UnknownPipFlag, match="no-deps"):
        adapter.ask(index, "alpha", flags=("no-deps",))


def test_a_direct_url_brings_its_dependencies(adapter: Adapter, index: Index) -> None:
    url = index.file_url("alpha-2.0-py3-none-any.whl")
    found = adapter.ask(index, f"alpha @ {url}", "lam")
    assert versions(found) == {"alpha": "2.0", "beta": "2.0", "lam": "1.0"}
    assert package(found, "alpha").url == url


def test_what_must_be_built_is_passed_over_and_said(adapter: Adapter, index: Index) -> None:
    found = adapter.ask(index, "delta")
    assert versions(found) == {"delta": "1.0"}
    assert found.notes == (f"delta 1.5 has no compatible wheel for {HERE}; locked 1.0 instead",)


def test_packages_that_only_the_packaging_tools_call_unsafe_are_locked(
    adapter: Adapter, make_index: Callable[..., Index]
) -> None:
    served = make_index(Release("app", "1.0", requires=("setuptools>=70", "pip")), *tools())
    assert versions(adapter.ask(served, "app")) == {"app": "1.0", "pip": "24.0", "setuptools": "75.0"}


def tools() -> tuple[Release, ...]:
    return Release("setuptools", "75.0"), Release("pip", "24.0")


@of_linux
@pytest.mark.parametrize(("glibc", "expected"), [("2.28", "2.0"), ("2.17", "1.0")])
def test_the_floor_of_glibc_is_the_environments(
    adapter: Adapter, make_index: Callable[..., Index], glibc: str, expected: str
) -> None:
    machine = "x86_64" if HERE == LINUX_64 else "aarch64"
    served = make_index(
        Release("old", "1.0", tags=(f"py3-none-manylinux_2_17_{machine}",)),
        Release("old", "2.0", tags=(f"py3-none-manylinux_2_26_{machine}",)),
        Release("old", "3.0", tags=(f"py3-none-manylinux_2_31_{machine}",)),
    )
    assert versions(adapter.ask(served, "old", system=((HERE, "__glibc", glibc),))) == {"old": expected}


def test_the_lock_is_for_the_oldest_release_of_the_python_series(
    adapter: Adapter, make_index: Callable[..., Index]
) -> None:
    served = make_index(
        Release("fresh", "1.0", requires_python=f">={RUNNING}", requires=("gone ; python_full_version < '3.0'",)),
        Release("fresh", "2.0", requires_python=f">={RUNNING}.1"),
        Release("marked", "1.0", requires=(f"fresh ; python_full_version < '{RUNNING}.1'",)),
    )
    assert versions(adapter.ask(served, "marked")) == {"marked": "1.0", "fresh": "1.0"}
    assert versions(adapter.ask(served, "marked", "fresh", python=f"{RUNNING}.1")) == {"marked": "1.0", "fresh": "2.0"}


def test_what_later_releases_of_the_python_series_need_is_locked_too(
    adapter: Adapter, make_index: Callable[..., Index]
) -> None:
    served = make_index(
        Release("late", "1.0", requires=(f"tool ; python_full_version >= '{RUNNING}.1'",)),
        Release("tool", "1.0", requires=("more",)),
        Release("more", "1.0"),
    )
    found = adapter.ask(served, "late")
    assert {each.name: each.dependencies for each in found.packages} == {
        "late": ("tool",),
        "tool": ("more",),
        "more": (),
    }


# Targets.


@pytest.mark.parametrize("arch", ARCHS)
def test_each_arch_gets_its_own_wheels_or_a_refusal(adapter: Adapter, index: Index, arch: Arch) -> None:
    if adapter.any_target or arch == HERE:
        assert package(adapter.ask(index, "beta", arch=arch), "beta").version == "2.0"
        return
    with pytest.raises(ResolverCannot) as caught:
        adapter.ask(index, "beta", arch=arch)
    assert f"demo on {arch}: " in caught.value.message
    assert f'archs = ["{HERE}"]' in (caught.value.hint or "")
    assert '`resolver.pypi = "uv"`' in (caught.value.hint or "")


def test_another_python_is_solved_for_or_refused(adapter: Adapter, index: Index) -> None:
    if adapter.any_target:
        series = OTHER_PYTHON.replace(".", "")[:-1]
        assert f"-cp{series}-" in package(adapter.ask(index, "beta", python=OTHER_PYTHON), "beta").filename
        return
    with pytest.raises(ResolverCannot) as caught:
        adapter.ask(index, "beta", python=OTHER_PYTHON)
    assert RUNNING in caught.value.message
    assert OTHER_PYTHON[:-2] in caught.value.message
    assert '`resolver.pypi = "uv"`' in (caught.value.hint or "")
    assert caught.value.packages == ("python",)


# What an older lock had, and what came too late.


def test_pins_are_kept_where_the_requirements_allow(adapter: Adapter, index: Index) -> None:
    pins = {"alpha": "1.0", "beta": "1.0"}
    assert versions(adapter.ask(index, "alpha", "beta", pins=pins)) == pins
    assert versions(adapter.ask(index, "alpha>1", "beta", pins=pins)) == {"alpha": "2.0", "beta": "1.0"}
    assert versions(adapter.ask(index, "alpha", pins={"alpha": "1.0", "lam": "1.0"})) == {"alpha": "1.0"}


def test_a_pin_that_a_dependency_forbids_is_let_go(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("app", "2.0", requires=("one>=1.1",)), *(Release("one", version) for version in ("1.0", "1.1", "1.2"))
    )
    assert versions(adapter.ask(served, "app", pins={"one": "1.0"})) == {"app": "2.0", "one": "1.2"}
    assert versions(adapter.ask(served, "app", pins={"one": "1.1"})) == {"app": "2.0", "one": "1.1"}


def test_a_pin_that_is_gone_from_the_index_is_let_go(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"), Release("one", "1.1"))
    served.withdraw("one", "1.0")
    assert versions(adapter.ask(served, "one", pins={"one": "1.0"})) == {"one": "1.1"}


def test_a_pin_that_was_yanked_is_kept(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"), Release("one", "1.1"))
    served.yank("one", "1.0")
    assert versions(adapter.ask(served, "one", pins={"one": "1.0"})) == {"one": "1.0"}


def test_a_release_that_appeared_a_moment_ago_is_seen(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"))
    assert versions(adapter.ask(served, "one")) == {"one": "1.0"}
    served.publish(Release("one", "1.1"))
    assert versions(adapter.ask(served, "one")) == {"one": "1.1"}


def test_exclude_newer_hides_what_came_later(adapter: Adapter, index: Index) -> None:
    assert versions(adapter.ask(index, "alpha", exclude_newer="2022-01-01T00:00:00Z")) == {"alpha": "1.1"}
    with pytest.raises(NoSolution) as caught:
        adapter.ask(index, "alpha", exclude_newer="2018-01-01T00:00:00Z")
    assert "later `exclude-newer`" in (caught.value.hint or "")


def test_exclude_newer_on_an_index_without_times_is_refused(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    with pytest.raises(NoSolution) as caught:
        adapter.ask(make_index(html_only=True), "alpha", exclude_newer="2021-06-01T00:00:00Z")
    assert "no upload times" in (caught.value.hint or "")


# What conda provides.


def test_what_conda_provides_is_rested_on_and_not_locked(adapter: Adapter, index: Index) -> None:
    provided = (Provided("beta", "1.5", "beta 1.5"),)
    assert versions(adapter.ask(index, "alpha", "zeta[full]", provided=provided)) == {
        "alpha": "2.0",
        "zeta": "1.0",
        "lam": "1.0",
        "nu-name-space": "1.0",
    }


def test_what_conda_provides_need_not_be_on_the_index(adapter: Adapter, make_index: Callable[..., Index]) -> None:
    served = make_index(Release("app", "1.0", requires=("native>=2",)))
    assert versions(adapter.ask(served, "app", provided=(Provided("native", "2.7", "native 2.7"),))) == {"app": "1.0"}


def test_what_a_provided_package_needs_on_pypi_is_not_pulled_in(adapter: Adapter, index: Index) -> None:
    """Its own packages are conda's, and there."""
    found = adapter.ask(index, "lam", "alpha", provided=(Provided("alpha", "2.0", "alpha 2.0"),))
    assert versions(found) == {"lam": "1.0"}


def test_a_requirement_against_what_conda_provides_is_refused(adapter: Adapter, index: Index) -> None:
    with pytest.raises(ConflictWithConda) as caught:
        adapter.ask(index, "theta==2.0", provided=(Provided("beta", "2.0", "beta 2.0"),))
    assert "requires beta<2, but conda provides beta 2.0" in caught.value.message
    assert "only beta" not in caught.value.render()


def test_a_hash_of_what_conda_provides_is_refused(adapter: Adapter, index: Index) -> None:
    provided = (Provided("beta", "2.0", "beta 2.0"),)
    with pytest.raises(ConflictWithConda) as caught:
        adapter.ask(index, "alpha>=2", "beta", provided=provided, hashes=(("beta", "0" * 64),))
    assert "beta is required with hashes, but conda provides beta 2.0" in caught.value.message
    assert caught.value.packages == ("hash:beta", "conda:beta")


def test_a_constraint_against_what_conda_provides_is_refused_as_that(adapter: Adapter, index: Index) -> None:
    with pytest.raises(ConflictWithConda) as caught:
        adapter.ask(index, "alpha>=2", provided=(Provided("beta", "2.0", "beta 2.0"),), constraints=("beta<2",))
    assert "a constraint is beta<2, but conda provides beta 2.0" in caught.value.message
    assert "alpha" not in "".join(caught.value.details)
    assert {"beta", "conda:beta"} <= set(caught.value.packages)


@pytest.mark.parametrize("root", ["beta==1.5", "beta<2", "needs-older"])
def test_a_conflict_with_a_base_says_what_the_base_has_and_not_what_is_published(
    adapter: Adapter, make_index: Callable[..., Index], root: str
) -> None:
    """The index has that version; the environment that is extended has not."""
    served = make_index(
        *(Release("beta", version) for version in ("1.5", "2.0")),
        Release("needs-older", "1.0", requires=("beta==1.5",)),
    )
    with pytest.raises(ConflictWithBase) as caught:
        adapter.ask(served, root, provided=(Provided("beta", "2.0", "", base="team/base:v1"),))
    said = caught.value.render()
    assert "Because `team/base:v1` has beta 2.0 " in said or "and `team/base:v1` has beta 2.0: " in said
    assert "no version" not in said
    assert "only beta" not in said


def test_an_extra_of_what_conda_provides_brings_its_packages(adapter: Adapter, index: Index) -> None:
    extras = Extras(("fast",), ("lam>=1 ; extra == 'fast'",))
    provided = (Provided("beta", "1.5", "beta 1.5", extras),)
    assert versions(adapter.ask(index, "beta[fast]", "xi", provided=provided)) == {"lam": "1.0", "xi": "1.0"}


# Indexes and credentials.


@pytest.fixture
def second(make_index: Callable[..., Index]) -> Index:
    """An index that has one package of its own, and another package's name with a version that beats all."""
    return make_index(Release("ours", "1.0", requires=("alpha",)), Release("alpha", "99.0"))


def test_packages_of_an_extra_index(adapter: Adapter, index: Index, second: Index) -> None:
    found = adapter.ask(index, "ours", "lam", extra=(second.url,))
    assert versions(found) == {"ours": "1.0", "alpha": "99.0", "lam": "1.0"}
    assert (package(found, "ours").index, package(found, "lam").index) == (second.url, index.url)


def test_a_name_of_an_earlier_index_is_never_taken_from_a_later_one(
    adapter: Adapter, index: Index, second: Index
) -> None:
    if adapter.indexes_in_order:
        found = adapter.ask(second, "ours", "lam", extra=(index.url,))
        assert versions(found) == {"ours": "1.0", "alpha": "2.0", "beta": "2.0", "lam": "1.0"}
        return
    with pytest.raises(ResolversDisagree) as caught:
        adapter.ask(second, "ours", "lam", extra=(index.url,))
    assert "alpha 99.0" in caught.value.render()
    assert '`resolver.pypi = "uv"`' in (caught.value.hint or "")


def test_an_index_that_is_not_there(adapter: Adapter, index: Index) -> None:
    for default, extra in ((f"{index.base}wrong/", ()), (index.url, (f"{index.base}wrong/",))):
        with pytest.raises(IndexNotFound) as caught:
            adapter.ask(default, "alpha", extra=extra)
        assert f"{index.base}wrong/" in caught.value.message


@pytest.mark.parametrize("given_by", ["url", "netrc", "variables"])
def test_credentials_are_used_and_kept_nowhere(
    adapter: Adapter,
    private_index: Index,
    isolated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given_by: str,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setattr("tempfile.tempdir", None)
    url = private_index.url
    if given_by == "url":
        url = private_index.url_with("reader", SECRET)
    elif given_by == "netrc":
        (isolated / ".netrc").write_text(f"machine 127.0.0.1 login reader password {SECRET}\n")
        (isolated / ".netrc").chmod(0o600)
    else:
        monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_USERNAME", "reader")
        monkeypatch.setenv("ENVLOCK_INDEX_127_0_0_1_PASSWORD", SECRET)
    found = adapter.ask(url, "alpha")
    assert versions(found) == {"alpha": "2.0", "beta": "2.0"}
    assert SECRET not in repr(found)
    assert list(temporary.iterdir()) == []
    assert files_holding(SECRET, tmp_path, isolated) <= {isolated / ".netrc"}


def test_credentials_of_one_index_are_not_shown_to_another(
    adapter: Adapter, private_index: Index, make_index: Callable[..., Index]
) -> None:
    plain = make_index(Release("ours", "1.0", requires=("alpha",)))
    assert versions(adapter.ask(plain, "ours", extra=(private_index.url_with("reader", SECRET),)))["alpha"] == "2.0"
    assert {request.user for request in plain.requests} == {""}


def test_refused_credentials_are_an_error_without_them(adapter: Adapter, private_index: Index) -> None:
    with pytest.raises(IndexUnauthorized) as caught:
        adapter.ask(private_index.url_with("reader", "wr0ng-passw0rd"), "alpha")
    assert "wr0ng-passw0rd" not in caught.value.render()


# What goes wrong.


def test_a_conflict_names_what_disagrees(adapter: Adapter, index: Index) -> None:
    with pytest.raises(NoSolution) as caught:
        adapter.ask(index, "alpha>=2", "theta")
    assert caught.value.packages == ("alpha", "theta")
    assert "theta" in "\n".join(caught.value.details)


def test_a_package_that_no_index_has(adapter: Adapter, index: Index) -> None:
    with pytest.raises(NoSuchPackage, match="`no-such-thing`"):
        adapter.ask(index, "no-such-thing")


def test_a_package_without_a_wheel(adapter: Adapter, index: Index) -> None:
    with pytest.raises(NoWheel) as caught:
        adapter.ask(index, "epsilon")
    assert caught.value.packages == ("epsilon",)


def test_a_direct_url_of_a_source_distribution(adapter: Adapter, index: Index) -> None:
    with pytest.raises((BadDirectUrl, NoWheel)):
        adapter.ask(index, f"delta @ {index.file_url('delta-1.5.tar.gz')}")


def test_an_index_that_does_not_answer(
    adapter: Adapter, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    served = make_index()
    served.close()
    with pytest.raises(IndexUnreachable):
        adapter.ask(served, "alpha")


def test_a_stopped_resolver_does_not_resolve(adapter: Adapter, index: Index) -> None:
    resolver = adapter.make()
    resolver.stop()
    request = Request(
        name="demo",
        arch=HERE,
        requirements=Requirements(pypi=(parse_requirement("alpha"),), default_index=index.url),
        python=f"{RUNNING}.0",
        default_index_url=index.url,
    )
    with pytest.raises(ResolveError):
        resolver.resolve(request)


# What must not matter.


@pytest.mark.parametrize(
    "variables",
    [
        {"PIP_INDEX_URL": "nothing", "PIP_EXTRA_INDEX_URL": "nothing", "PIP_FIND_LINKS": "nothing"},
        {"PIP_NO_INDEX": "1", "PIP_NO_BINARY": ":all:", "PIP_PRE": "1", "PIP_CONSTRAINT": "constraints"},
        {"PIP_CONFIG_FILE": "config", "PIP_PLATFORM": "win_amd64", "PIP_UPLOADED_PRIOR_TO": "2019-06-01"},
        {"CUSTOM_COMPILE_COMMAND": "other", "PIP_TOOLS_CACHE_DIR": "/nowhere", "PYTHONPATH": "/nowhere"},
        {"UV_INDEX": "nothing", "UV_CONSTRAINT": "constraints", "UV_PRERELEASE": "allow", "UV_OFFLINE": "1"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_no_variable_and_no_file_of_the_user_changes_a_result(
    adapter: Adapter,
    index: Index,
    isolated: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
) -> None:
    (tmp_path / "constraints.txt").write_text("alpha==1.0\n")
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\n")
    places = {
        "constraints": str(tmp_path / "constraints.txt"),
        "config": str(tmp_path / "pip.conf"),
        "nothing": f"{index.base}nothing/",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, places.get(value, value))
    (isolated / ".config" / "pip").mkdir(parents=True)
    (isolated / ".config" / "pip" / "pip.conf").write_text("[global]\nno-index = true\n")
    (tmp_path / ".pip-tools.toml").write_text("[tool.pip-tools]\npre = true\n")
    (tmp_path / "pyproject.toml").write_text("[tool.pip-tools]\npre = true\n[tool.uv]\nprerelease = 'allow'\n")
    monkeypatch.chdir(tmp_path)
    assert versions(adapter.ask(index, "alpha", "omicron")) == {"alpha": "2.0", "beta": "2.0", "omicron": "1.0"}
