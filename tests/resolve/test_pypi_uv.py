"""Resolving from the loopback index: the right wheels for each arch, whatever surrounds the resolver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.model.url import strip_credentials
from envlock.resolve.errors import (
    BadDirectUrl,
    IndexNotFound,
    IndexUnauthorized,
    IndexUnreachable,
    NoSolution,
    NoSuchPackage,
    NoWheel,
    OlderMajorVersion,
    UnknownPipFlag,
)
from envlock.resolve.port import Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.index import DROP, Index, Release
from tests.index.catalogue import LINUX_64 as ON_LINUX

SECRET = "s3cr3t-t0ken"


def ask(
    served: Index | str,
    *roots: str,
    arch: Arch = LINUX_64,
    python: str = "3.12.0",
    extra: tuple[str, ...] = (),
    flags: tuple[str, ...] = (),
    system: tuple[tuple[Arch, str, str], ...] = (),
    exclude_newer: str = "",
    pins: dict[str, str] | None = None,
    allow_older: tuple[str, ...] = (),
) -> Resolution:
    url = served if isinstance(served, str) else served.url
    request = Request(
        name="demo",
        arch=arch,
        requirements=Requirements(
            pypi=tuple(parse_requirement(root) for root in roots),
            indexes=tuple(strip_credentials(each) for each in extra),
            default_index=strip_credentials(url),
            pip_flags=flags,
            system=system,
        ),
        python=python,
        pins=pins or {},
        allow_older=allow_older,
        exclude_newer=exclude_newer,
        index_urls=extra,
        default_index_url=url,
    )
    return UvResolver().resolve(request)


def versions(resolution: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in resolution.packages}


def package(resolution: Resolution, name: str) -> LockedPackage:
    return next(package for package in resolution.packages if package.name == name)


# What is locked.


def test_a_package_is_locked_with_everything_that_the_index_says(index: Index) -> None:
    found = package(ask(index, "alpha==2.0"), "alpha")
    artifact = index.artifact("alpha-2.0-py3-none-any.whl")
    assert found == LockedPackage(
        name="alpha",
        version="2.0",
        filename="alpha-2.0-py3-none-any.whl",
        url=index.file_url("alpha-2.0-py3-none-any.whl"),
        sha256=artifact.sha256,
        size=len(artifact.data),
        upload_time="2023-03-01T00:00:00Z",
        index=found.index,
        dependencies=("beta",),
    )
    assert found.index.rstrip("/") == index.url.rstrip("/")


def test_nothing_is_downloaded_but_metadata(make_index: Callable[..., Index]) -> None:
    served = make_index()
    ask(served, "alpha", "eta", "zeta[fast,full]")
    assert served.requests
    assert not served.downloads()


@pytest.mark.parametrize(
    ("arch", "platform"),
    [
        (LINUX_64, "manylinux_2_17_x86_64.manylinux2014_x86_64"),
        (LINUX_AARCH64, "manylinux_2_28_aarch64"),
        (OSX_64, "macosx_13_0_x86_64"),
        (OSX_ARM64, "macosx_11_0_arm64"),
    ],
)
def test_each_arch_gets_its_own_wheel(index: Index, arch: Arch, platform: str) -> None:
    assert package(ask(index, "beta", arch=arch), "beta").filename == f"beta-2.0-cp312-cp312-{platform}.whl"
    older = ask(index, "beta", arch=arch, python="3.10.0")
    assert package(older, "beta").filename == f"beta-2.0-cp310-cp310-{platform}.whl"


@pytest.mark.parametrize(
    ("arch", "python", "expected"),
    [
        (LINUX_64, "3.12.0", {"eta", "alpha"}),
        (LINUX_AARCH64, "3.12.0", {"eta", "alpha", "lam"}),
        (OSX_64, "3.12.0", {"eta", "beta"}),
        (OSX_ARM64, "3.12.0", {"eta", "beta", "lam"}),
        (LINUX_64, "3.11.0", {"eta", "alpha", "zeta"}),
        (OSX_ARM64, "3.10.0", {"eta", "beta", "lam", "zeta"}),
    ],
)
def test_markers_of_packages_are_those_of_the_target(index: Index, arch: Arch, python: str, expected: set[str]) -> None:
    assert set(versions(ask(index, "eta", arch=arch, python=python))) == expected


def test_markers_of_requirements_are_those_of_the_target(index: Index) -> None:
    roots = ("alpha==1.0 ; sys_platform == 'linux'", "alpha==1.1 ; sys_platform == 'darwin'")
    assert versions(ask(index, *roots)) == {"alpha": "1.0"}
    assert versions(ask(index, *roots, arch=OSX_ARM64)) == {"alpha": "1.1"}


@pytest.mark.parametrize("arch", ARCHS)
def test_one_wheel_of_several_that_fit(index: Index, arch: Arch) -> None:
    (found,) = ask(index, "pi", arch=arch).packages
    assert found.filename.startswith("pi-1.0-cp310-abi3-")


@pytest.mark.parametrize(("python", "expected"), [("3.11.0", "1.0"), ("3.12.0", "2.0"), ("3.13.0", "2.0")])
def test_the_locked_python_decides_which_release_fits(index: Index, python: str, expected: str) -> None:
    assert versions(ask(index, "iota", python=python)) == {"iota": expected}


@pytest.mark.parametrize(
    ("name", "arch", "floors", "expected"),
    [
        ("kappa", LINUX_64, (), "1.0"),
        ("kappa", LINUX_64, ((LINUX_64, "__glibc", "2.34"),), "2.0"),
        ("kappa", LINUX_64, ((LINUX_64, "__glibc", "2.33"),), "1.0"),
        ("kappa", LINUX_64, ((LINUX_AARCH64, "__glibc", "2.34"),), "1.0"),
        ("kappa", LINUX_AARCH64, ((LINUX_AARCH64, "__glibc", "2.35"),), "2.0"),
        ("kappa", OSX_64, (), "2.0"),
        ("mu", LINUX_64, (), "2.0"),
        ("mu", OSX_ARM64, (), "1.0"),
        ("mu", OSX_ARM64, ((OSX_ARM64, "__osx", "14.0"),), "2.0"),
        ("mu", OSX_64, ((OSX_64, "__osx", "13.5"),), "1.0"),
        ("mu", OSX_64, ((OSX_64, "__osx", "15.0"),), "2.0"),
    ],
)
def test_floors_of_glibc_and_macos(
    index: Index, name: str, arch: Arch, floors: tuple[tuple[Arch, str, str], ...], expected: str
) -> None:
    assert versions(ask(index, name, arch=arch, system=floors)) == {name: expected}


@pytest.mark.parametrize(("glibc", "expected"), [("2.28", "3.0"), ("2.27", "2.0"), ("2.26", "2.0"), ("2.17", "1.0")])
def test_a_glibc_that_uv_does_not_know(make_index: Callable[..., Index], glibc: str, expected: str) -> None:
    served = make_index(
        Release("old", "1.0", tags=("py3-none-manylinux_2_17_x86_64",)),
        Release("old", "2.0", tags=("py3-none-manylinux_2_24_x86_64",)),
        Release("old", "3.0", tags=("py3-none-manylinux_2_28_x86_64",)),
    )
    assert versions(ask(served, "old", system=((LINUX_64, "__glibc", glibc),))) == {"old": expected}


def test_extras_bring_their_packages(index: Index) -> None:
    assert set(versions(ask(index, "zeta"))) == {"zeta"}
    fast = ask(index, "zeta[fast]")
    assert set(versions(fast)) == {"zeta", "beta"}
    assert package(fast, "zeta").dependencies == ("beta",)
    assert set(versions(ask(index, "zeta[fast,full]"))) == {"zeta", "beta", "lam", "nu-name-space"}


@pytest.mark.parametrize("pins", [{}, {"beta": "2.0"}])
def test_an_extra_that_is_not_there_is_said(index: Index, pins: dict[str, str]) -> None:
    found = ask(index, "beta[nope]", pins=pins)
    assert versions(found) == {"beta": "2.0"}
    assert found.notes == ("beta 2.0 has no extra `nope`",)


def test_edges_are_those_of_the_metadata(index: Index) -> None:
    found = ask(index, "alpha", "rho", "lam")
    edges = {each.name: each.dependencies for each in found.packages}
    assert edges == {"alpha": ("beta",), "beta": (), "rho": ("sigma",), "sigma": ("rho",), "lam": ()}


def test_names_are_normalised_and_files_keep_theirs(index: Index) -> None:
    (found,) = ask(index, "Nu.Name_Space").packages
    assert (found.name, found.filename) == ("nu-name-space", "nu_name_space-1.0-py3-none-any.whl")


def test_yanked_and_prereleases_are_left_alone_unless_required(index: Index) -> None:
    assert versions(ask(index, "xi", "omicron")) == {"xi": "1.0", "omicron": "1.0"}
    assert versions(ask(index, "xi==1.1", "omicron>=2.0rc1")) == {"xi": "1.1", "omicron": "2.0rc1"}
    assert versions(ask(index, "omicron", flags=("pre",))) == {"omicron": "2.0rc1"}


def test_a_pip_flag_without_meaning_is_refused(index: Index) -> None:
    with pytest.raises(UnknownPipFlag, match="no-deps"):
        ask(index, "alpha", flags=("no-deps",))


def test_exclude_newer_hides_what_came_later(index: Index) -> None:
    assert versions(ask(index, "alpha", exclude_newer="2022-01-01T00:00:00Z")) == {"alpha": "1.1"}
    assert versions(ask(index, "alpha", exclude_newer="2020-01-01T00:00:00Z")) == {"alpha": "1.0"}
    with pytest.raises(NoSolution):
        ask(index, "alpha", exclude_newer="2018-01-01T00:00:00Z")


def test_no_requirements_are_an_empty_lock(index: Index) -> None:
    assert ask(index) == Resolution(packages=())


def test_the_same_question_has_the_same_answer(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ask(index, "eta", "zeta[full]", "alpha<2")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cold"))
    assert ask(index, "alpha<2", "zeta[full]", "eta") == first


# Pins of an older lock.


def test_pins_are_kept_where_the_requirements_allow(index: Index) -> None:
    pins = {"alpha": "1.0", "beta": "1.0"}
    assert versions(ask(index, "alpha", "beta", pins=pins)) == pins
    assert versions(ask(index, "alpha>1", "beta", pins=pins)) == {"alpha": "2.0", "beta": "1.0"}
    assert versions(ask(index, "alpha", pins={"alpha": "1.0", "lam": "1.0"})) == {"alpha": "1.0"}


def test_a_pin_that_is_gone_from_the_index_is_let_go(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"), Release("one", "1.1"))
    assert versions(ask(served, "one", pins={"one": "1.0"})) == {"one": "1.0"}
    served.withdraw("one", "1.0")
    assert versions(ask(served, "one", pins={"one": "1.0"})) == {"one": "1.1"}


def test_a_pin_that_was_yanked_is_kept(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"), Release("one", "1.1"))
    served.yank("one", "1.0")
    assert versions(ask(served, "one", pins={"one": "1.0"})) == {"one": "1.0"}


def test_a_release_that_appeared_a_moment_ago_is_seen(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("one", "1.0"))
    assert versions(ask(served, "one")) == {"one": "1.0"}
    served.publish(Release("one", "1.1"))
    assert versions(ask(served, "one")) == {"one": "1.1"}


# Several indexes.


@pytest.fixture
def second(make_index: Callable[..., Index]) -> Index:
    """An index that has one package of its own, and another package's name with a version that beats all."""
    return make_index(Release("ours", "1.0", requires=("alpha",)), Release("alpha", "99.0"))


def test_the_first_index_that_knows_a_name_decides(index: Index, second: Index) -> None:
    assert versions(ask(index, "ours", "lam", extra=(second.url,))) == {"ours": "1.0", "alpha": "99.0", "lam": "1.0"}
    kept = ask(second, "ours", "lam", extra=(index.url,))
    assert versions(kept) == {"ours": "1.0", "alpha": "2.0", "beta": "2.0", "lam": "1.0"}
    assert package(kept, "ours").index.rstrip("/") == second.url.rstrip("/")
    assert package(kept, "alpha").index.rstrip("/") == index.url.rstrip("/")


def test_a_name_of_a_private_index_is_never_taken_from_elsewhere(index: Index, second: Index) -> None:
    with pytest.raises(NoSolution):
        ask(index, "alpha<2", extra=(second.url,))


def test_an_extra_index_that_is_not_there_is_refused(index: Index, second: Index) -> None:
    """Else a misspelt private index would hand its names to the next one."""
    gone = f"{second.base}wrong/"
    with pytest.raises(IndexNotFound) as caught:
        ask(index, "lam", extra=(second.url, gone))
    assert gone in caught.value.message
    assert caught.value.packages == (gone,)


def test_an_extra_index_that_gave_something_is_not_requested_to_prove_that_it_is_there(
    index: Index, second: Index
) -> None:
    assert ask(index, "ours", extra=(second.url,)).notes == ()
    assert "simple/" not in {request.path for request in second.requests}


# Credentials.


def test_credentials_in_the_url_are_used_and_never_shown(private_index: Index) -> None:
    found = ask(private_index.url_with("reader", SECRET), "alpha")
    assert versions(found) == {"alpha": "2.0", "beta": "2.0"}
    assert SECRET not in repr(found)
    assert found.packages[0].url.startswith(private_index.base)


def test_credentials_of_netrc_are_used(private_index: Index, isolated: Path) -> None:
    (isolated / ".netrc").write_text(f"machine 127.0.0.1 login reader password {SECRET}\n")
    (isolated / ".netrc").chmod(0o600)
    assert versions(ask(private_index, "lam")) == {"lam": "1.0"}


def test_credentials_of_one_index_are_not_shown_to_another(
    private_index: Index, make_index: Callable[..., Index]
) -> None:
    plain = make_index(Release("ours", "1.0", requires=("alpha",)))
    assert versions(ask(plain, "ours", extra=(private_index.url_with("reader", SECRET),)))["alpha"] == "2.0"
    assert {request.user for request in plain.requests} == {""}


@pytest.mark.parametrize("url", ["without", "with the wrong password"])
def test_refused_credentials_are_an_error_of_their_own(private_index: Index, url: str) -> None:
    given = private_index.url if url == "without" else private_index.url_with("reader", "wr0ng-passw0rd")
    with pytest.raises(IndexUnauthorized) as caught:
        ask(given, "alpha")
    assert "wr0ng-passw0rd" not in caught.value.render()
    assert caught.value.hint is not None
    assert private_index.url in caught.value.sentence
    assert caught.value.packages == (private_index.url,)


def test_links_with_secrets_are_locked_without_them(make_index: Callable[..., Index]) -> None:
    signed = make_index(link=lambda url: f"{url.replace('http://', f'http://reader:{SECRET}@')}?sig={SECRET}")
    found = ask(signed, "alpha")
    assert versions(found)["alpha"] == "2.0"
    assert SECRET not in repr(found)
    assert package(found, "alpha").url == signed.file_url("alpha-2.0-py3-none-any.whl")


# Direct URLs.


def test_a_direct_url_of_a_wheel_is_locked(index: Index) -> None:
    url = index.file_url("alpha-1.1-py3-none-any.whl")
    (found,) = ask(index, f"alpha @ {url}").packages
    assert (found.version, found.url, found.filename) == ("1.1", url, "alpha-1.1-py3-none-any.whl")
    assert found.sha256 == index.artifact("alpha-1.1-py3-none-any.whl").sha256


def test_a_direct_url_brings_its_dependencies(index: Index) -> None:
    found = ask(index, f"alpha @ {index.file_url('alpha-2.0-py3-none-any.whl')}", "theta-unrelated ; os_name == 'nt'")
    assert versions(found) == {"alpha": "2.0", "beta": "2.0"}
    assert package(found, "alpha").dependencies == ("beta",)


def test_a_direct_url_of_another_archs_wheel_is_refused(index: Index) -> None:
    url = index.file_url("gamma-1.0-py3-none-manylinux_2_28_aarch64.whl")
    assert package(ask(index, f"gamma @ {url}", arch=LINUX_AARCH64), "gamma").url == url
    with pytest.raises(NoWheel) as caught:
        ask(index, f"gamma @ {url}", arch=OSX_ARM64)
    assert "`gamma`" in caught.value.message
    assert "osx-arm64" in caught.value.message
    assert caught.value.packages == ("gamma",)


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("epsilon", "epsilon-1.0.tar.gz"),
        ("nothing", "nothing-1.0-py3-none-any.whl"),
        ("another", "nothing-1.0-py3-none-any.whl"),
    ],
)
def test_a_direct_url_that_is_no_wheel_is_refused(index: Index, name: str, filename: str) -> None:
    with pytest.raises(BadDirectUrl):
        ask(index, f"{name} @ {index.base}files/00000000/{filename}")


# Wheels only.


def test_an_older_release_for_want_of_a_wheel_is_said(index: Index) -> None:
    found = ask(index, "delta", "alpha")
    assert versions(found)["delta"] == "1.0"
    (note,) = found.notes
    assert "delta 1.5" in note
    assert "1.0" in note
    assert not ask(index, "delta<1.5", "alpha").notes
    assert not ask(index, "delta", "alpha", pins={"delta": "1.0"}).notes  # that was said when it was locked


def test_an_older_release_for_want_of_a_dependencys_wheel_is_said(make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("app", "1.0"),
        Release("app", "1.5", requires=("needs-building", "and-this")),
        Release("needs-building", "1.0", tags=(), sdist=True),
        Release("and-this", "1.0", tags=(), sdist=True),
    )
    found = ask(served, "app")
    assert versions(found) == {"app": "1.0"}
    (note,) = found.notes
    assert "app 1.5" in note
    assert "needs-building" in note
    assert "and-this" in note


# Major versions.


@pytest.fixture(scope="module")
def falling_back() -> Iterator[Index]:
    """Packages whose newest major version has no wheel, or needs what has none, as hydra-core needs antlr4."""
    releases = (
        *(Release("sourced", "1.0"), Release("sourced", "2.0", tags=(), sdist=True)),
        *(Release("hydra", "0.11.3"), Release("hydra", "1.3.8", requires=("omega>=2", "antlr==4.9.*"))),
        *(Release("omega", "1.4"), Release("omega", "2.3", requires=("antlr==4.9.*",))),
        *(Release("antlr", "4.9.3", tags=(), sdist=True), Release("antlr", "4.13")),
        Release("app", "1.0", requires=("omega",)),
        *(Release("wide", "0.9", requires=("mega",)), Release("wide", "1.3", requires=("mega>=2", "antlr==4.9.*"))),
        *(Release("mega", "1.4"), Release("mega", "2.0", tags=(), sdist=True)),
        Release("mega", "2.1", requires=("antlr==4.9.*",)),
        *(Release("lab", "4.0", requires=("server",)), Release("server", "2.0", requires=("crypt",))),
        *(Release("crypt", "25.1"), Release("crypt", "26.2", tags=(f"py3-none-{ON_LINUX}",), sdist=True)),
        Release("floored", "25.5"),
        Release("floored", "26.9", tags=("py3-none-manylinux_2_34_x86_64",), sdist=True),
        Release("old", "1.0", requires=("hydra<1", "sourced<2")),
        *(Release("dbt", "1.12.0", requires=("diff<9",)), Release("dbt", "1.12.6", ("diff<9",), tags=(), sdist=True)),
        *(Release("diff", "8.6"), Release("diff", "9.1")),
    )
    with Index(*releases, page_cache_control="max-age=600, public") as served:
        yield served


@pytest.mark.parametrize(
    ("root", "name", "newest", "older", "culprit"),
    [
        ("sourced", "sourced", "2.0", "1.0", "no compatible wheel"),
        ("hydra", "hydra", "1.3.8", "0.11.3", "antlr"),
        ("app", "omega", "2.3", "1.4", "antlr"),
        ("floored", "floored", "26.9", "25.5", "raise the floor"),
    ],
)
def test_going_back_a_major_version_for_want_of_wheels_is_an_error(
    falling_back: Index, root: str, name: str, newest: str, older: str, culprit: str
) -> None:
    with pytest.raises(OlderMajorVersion) as caught:
        ask(falling_back, root)
    said = caught.value.render()
    assert f"{name} from {newest} to {older}" in said
    assert culprit in said
    assert f'allow-older = ["{name}"]' in said
    assert caught.value.packages == ((name,) if name == root else (name, root))
    assert (f"{root} depends on {name}" in said) is (name != root)
    assert "`archs`" not in said


def test_the_requirement_that_brings_what_would_go_back_is_named_and_the_arch_that_lacks_it(
    falling_back: Index,
) -> None:
    """As jupyterlab's argon2-cffi-bindings on an Intel Mac."""
    assert versions(ask(falling_back, "lab"))["crypt"] == "26.2"
    with pytest.raises(OlderMajorVersion) as caught:
        ask(falling_back, "lab", arch=OSX_64)
    assert caught.value.packages == ("crypt", "lab")
    assert caught.value.details[1:] == ("lab depends on crypt, through server",)
    assert "or remove osx-64 from `archs`" in (caught.value.hint or "")


def test_a_major_version_may_be_given_up_where_the_project_says_so(falling_back: Index) -> None:
    found = ask(falling_back, "hydra", allow_older=("hydra",))
    assert versions(found) == {"hydra": "0.11.3"}
    assert "hydra 1.3.8" in found.notes[0]
    assert ask(falling_back, "hydra<1").notes == ()
    with pytest.raises(OlderMajorVersion) as caught:
        ask(falling_back, "hydra", "sourced", allow_older=("hydra",))
    assert caught.value.packages == ("sourced",)


def test_what_the_users_own_requirement_excludes_is_not_said_to_have_no_wheel(
    falling_back: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `hydra-core` with `omegaconf = "<2"`, whose solve never reads the metadata of a later omegaconf."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    found = ask(falling_back, "wide", "mega<2")
    assert versions(found) == {"wide": "0.9", "mega": "1.4"}
    assert found.notes == ()
    with pytest.raises(OlderMajorVersion) as caught:
        ask(falling_back, "wide")
    assert "wide 1.3 needs antlr, which has no wheel for linux-64" in caught.value.details


def test_a_major_version_that_is_ruled_out_by_requirements_is_nobodys_fault(falling_back: Index) -> None:
    found = ask(falling_back, "hydra", "sourced", "old")
    assert versions(found) == {"hydra": "0.11.3", "sourced": "1.0", "old": "1.0"}
    assert found.notes == ()
    assert [note.partition(";")[0] for note in ask(falling_back, "dbt").notes] == [
        "dbt 1.12.6 has no compatible wheel for linux-64"
    ]


# Patch releases of Python.


def test_a_newer_release_that_the_oldest_python_costs_is_said(make_index: Callable[..., Index]) -> None:
    """As cryptography on 3.9, which wants 3.9.2."""
    served = make_index(
        Release("crypt", "43.0"),
        Release("crypt", "46.0", requires_python=">=3.9.2"),
        Release("crypt", "47.0", requires_python=">=3.10"),
        Release("app", "1.0", requires=("crypt",)),
    )
    found = ask(served, "app", python="3.9.0")
    assert versions(found) == {"app": "1.0", "crypt": "43.0"}
    (note,) = found.notes
    assert "crypt 46.0 needs Python 3.9.2" in note
    assert '`python = ">=3.9.2,<3.10"`' in note
    assert ask(served, "app", python="3.9.2").notes == ()
    assert ask(served, "app", "crypt<46", python="3.9.0").notes == ()


def test_an_older_release_for_other_reasons_is_not_said(index: Index) -> None:
    assert ask(index, "theta", "alpha", "beta", "iota", "kappa", "xi", "omicron", python="3.11.0").notes == ()


@pytest.mark.parametrize(
    ("root", "arch", "python"),
    [
        ("gamma", OSX_ARM64, "3.12.0"),
        ("gamma", OSX_64, "3.12.0"),
        ("delta>=1.5", LINUX_64, "3.12.0"),
        ("beta==2.0", LINUX_64, "3.9.0"),
        ("kappa==2.0", LINUX_64, "3.12.0"),
    ],
)
def test_no_wheel_names_the_package_and_the_arch(index: Index, root: str, arch: Arch, python: str) -> None:
    with pytest.raises(NoWheel) as caught:
        ask(index, root, arch=arch, python=python)
    said = caught.value.render()
    name = root.partition(">")[0].partition("=")[0]
    assert f"`{name}`" in caught.value.message
    assert arch in caught.value.message
    assert "Python " + python.rpartition(".")[0] in said
    assert caught.value.packages == (name,)
    assert caught.value.hint


# What goes wrong.


def test_a_conflict_names_what_disagrees(index: Index) -> None:
    with pytest.raises(NoSolution) as caught:
        ask(index, "alpha>=2", "theta")
    assert caught.value.packages == ("alpha", "theta")
    said = "\n".join(caught.value.details)
    assert "theta" in said
    assert "alpha" in said
    assert "╰" not in said
    assert len(said) < 600


def test_a_version_that_was_never_published(index: Index) -> None:
    with pytest.raises(NoSolution) as caught:
        ask(index, "alpha==7.7")
    assert "7.7" in caught.value.render()


def test_a_python_that_is_too_old(index: Index) -> None:
    with pytest.raises(NoSolution) as caught:
        ask(index, "iota>=2", python="3.11.0")
    assert "Python>=3.12" in caught.value.render()
    assert "--python-version" not in caught.value.render()
    assert "`python`" in (caught.value.hint or "")


def test_an_exclude_newer_that_leaves_nothing(index: Index, make_index: Callable[..., Index]) -> None:
    with pytest.raises(NoSolution) as caught:
        ask(index, "alpha>=2", exclude_newer="2021-06-01T00:00:00Z")
    assert "published at 2023-03-01" in caught.value.render()
    assert "exclude-newer-package" not in caught.value.render()
    assert "later `exclude-newer`" in (caught.value.hint or "")
    with pytest.raises(NoSolution) as caught:
        ask(make_index(html_only=True), "alpha", exclude_newer="2021-06-01T00:00:00Z")
    assert "no upload times" in (caught.value.hint or "")


def test_an_index_that_says_little_will_do(make_index: Callable[..., Index]) -> None:
    (found,) = ask(make_index(html_only=True, metadata=False), "lam").packages
    assert (found.size, found.upload_time) == (None, "")
    assert found.sha256


def test_a_package_that_no_index_has(index: Index) -> None:
    with pytest.raises(NoSuchPackage) as caught:
        ask(index, "no-such-thing")
    assert "`no-such-thing`" in caught.value.message


def test_an_index_that_is_not_there(index: Index) -> None:
    with pytest.raises(IndexNotFound) as caught:
        ask(f"{index.base}wrong/", "alpha")
    assert f"{index.base}wrong/" in caught.value.message
    assert "`extra-indices`" in (caught.value.hint or ""), "as the key is written in [envlock]"


def test_an_index_that_does_not_answer(make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    served = make_index()
    served.close()
    with pytest.raises(IndexUnreachable):
        ask(served, "alpha")


def test_a_direct_url_where_nobody_is_says_nothing_of_the_index(
    index: Index, make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    gone = make_index()
    url = gone.file_url("alpha-1.1-py3-none-any.whl")
    gone.close()
    with pytest.raises(IndexUnreachable) as caught:
        ask(index, f"alpha @ {url}")
    assert caught.value.sentence == f"{url} did not answer"
    assert not caught.value.nobody_there


@pytest.mark.parametrize("status", [500, 503, 400, 429, DROP])
def test_an_index_that_fails(make_index: Callable[..., Index], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    served = make_index()
    served.fail("simple/alpha/", status=status)
    with pytest.raises(IndexUnreachable) as caught:
        ask(served, "alpha")
    assert caught.value.hint


def test_an_index_that_answers_no_head_is_there_and_says_so(
    make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    served = make_index(metadata=False)
    served.fail("files/*", status=501, method="HEAD")
    with pytest.raises(IndexUnreachable) as caught:
        ask(served, "alpha")
    assert f"{served.url} answered `501 Not Implemented`" in caught.value.message
    assert "HEAD" in (caught.value.hint or "")
    assert "network" not in (caught.value.hint or "")
    assert caught.value.packages == (served.url,)
    assert not caught.value.nobody_there


def test_an_index_that_fails_once_is_requested_again(make_index: Callable[..., Index]) -> None:
    served = make_index()
    served.fail("simple/alpha/", status=503, times=1)
    assert versions(ask(served, "alpha"))["alpha"] == "2.0"


# What must not matter.


@pytest.mark.parametrize(
    "variables",
    [
        {
            **dict.fromkeys(("UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL"), "second"),
            **dict.fromkeys(("UV_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"), "second"),
            "UV_INDEX_STRATEGY": "unsafe-best-match",
        },
        {"UV_CONSTRAINT": "constraints", "UV_RESOLUTION": "lowest", "UV_CUSTOM_COMPILE_COMMAND": "other"},
        {"UV_OVERRIDE": "constraints", "UV_EXCLUDE_NEWER": "2020-01-01", "UV_TORCH_BACKEND": "cpu"},
        {"UV_PRERELEASE": "allow", "UV_OFFLINE": "1", "UV_SYSTEM_PYTHON": "1"},
        {"UV_CONFIG_FILE": "config", "PIP_CONFIG_FILE": "config", "UV_PYTHON": "3.10", "UV_NO_BINARY": "1"},
        {
            "PIP_NO_INDEX": "1",
            "MACOSX_DEPLOYMENT_TARGET": "15.0",
            **dict.fromkeys(("PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"), "/nowhere"),
        },
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_no_variable_changes_a_result(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Those of one case have different effects: none hides what comes of another one."""
    (tmp_path / "constraints.txt").write_text("alpha==1.0\n")
    (tmp_path / "uv.toml").write_text('[pip]\nresolution = "lowest"\n')
    places = {
        "constraints": str(tmp_path / "constraints.txt"),
        "config": str(tmp_path / "uv.toml"),
        "second": f"{index.base}nothing/",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, places.get(value, value))
    found = ask(index, "alpha", "mu", "omicron", arch=OSX_ARM64)
    assert versions(found) == {"alpha": "2.0", "beta": "2.0", "mu": "1.0", "omicron": "1.0"}


@pytest.mark.parametrize("where", ["user", "parent", "project"])
def test_no_file_of_the_user_changes_a_result(
    index: Index, isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    uv_settings = 'constraint-dependencies = ["alpha==1.0"]\nresolution = "lowest"\nprerelease = "allow"\n'
    folder = tmp_path / "parent" / "project"
    folder.mkdir(parents=True)
    if where == "user":
        for place in ("config", ".config"):
            for tool in ("uv", "pip"):
                (isolated / place / tool).mkdir(parents=True)
            (isolated / place / "uv" / "uv.toml").write_text(f'{uv_settings}[pip]\nresolution = "lowest"\n')
            (isolated / place / "pip" / "pip.conf").write_text("[global]\nno-index = true\n")
    else:
        at = folder if where == "project" else folder.parent
        (at / "uv.toml").write_text(uv_settings)
        (at / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "0"\n[tool.uv]\n{uv_settings}')
        (at / ".python-version").write_text("3.10\n")
        monkeypatch.setenv("TMPDIR", str(folder))  # the resolver's own folder then lies below these files
    monkeypatch.chdir(folder)
    assert versions(ask(index, "alpha", "omicron")) == {"alpha": "2.0", "beta": "2.0", "omicron": "1.0"}
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_nothing_is_left_behind(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    ask(index, "alpha")
    with pytest.raises(NoSolution):
        ask(index, "alpha>=2", "theta")
    assert not list(tmp_path.iterdir())
