"""PyPI packages on top of what conda provides: real uv, and provided distributions made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from envlock.errors import EnvlockError
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.lock import LockedPackage
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.errors import ConflictWithConda, ExtraOfCondaPackage, NoSolution, NoSuchPackage, merge_archs
from envlock.resolve.port import Extras, Provided, Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.index import Index, Release
from tests.support import conda_requirements

BETA = Provided("beta", "1.5", "beta 1.5")
ALPHA = Provided("alpha", "1.1", "alpha 1.1")


def ask(
    served: Index,
    *roots: str,
    provided: tuple[Provided, ...] = (),
    arch: Arch = LINUX_64,
    python: str = "3.12.1",
    extra: tuple[str, ...] = (),
    system: tuple[tuple[Arch, str, str], ...] = (),
    exclude_newer: str = "",
    pins: dict[str, str] | None = None,
) -> Resolution:
    request = Request(
        name="demo",
        arch=arch,
        requirements=Requirements(
            pypi=tuple(parse_requirement(root) for root in roots),
            conda=conda_requirements("beta"),
            python_from="conda",
            indexes=extra,
            default_index=served.url,
            system=system,
        ),
        python=python,
        provided=provided,
        pins=pins or {},
        exclude_newer=exclude_newer,
        index_urls=extra,
        default_index_url=served.url,
    )
    return UvResolver().resolve(request)


def versions(resolution: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in resolution.packages}


def package(resolution: Resolution, name: str) -> LockedPackage:
    return next(package for package in resolution.packages if package.name == name)


# What conda provides is there already.


def test_what_conda_provides_is_never_locked_again(index: Index) -> None:
    assert versions(ask(index, "alpha")) == {"alpha": "2.0", "beta": "2.0"}
    found = ask(index, "alpha", provided=(BETA,))
    assert versions(found) == {"alpha": "2.0"}
    assert package(found, "alpha").dependencies == ()
    assert found.notes == ()


@pytest.mark.parametrize("arch", ARCHS)
def test_on_each_arch(index: Index, arch: Arch) -> None:
    assert versions(ask(index, "alpha", "pi", provided=(BETA,), arch=arch)) == {"alpha": "2.0", "pi": "1.0"}


def test_what_conda_provides_may_be_required_of_pypi_too(index: Index) -> None:
    assert versions(ask(index, "beta", "lam", provided=(BETA,))) == {"lam": "1.0"}
    assert versions(ask(index, "beta>=1.5,<2", "alpha", provided=(BETA,))) == {"alpha": "2.0"}
    assert ask(index, "beta==1.5", provided=(BETA,)) == Resolution(packages=())


def test_nothing_is_pulled_in_for_what_conda_provides(index: Index) -> None:
    """PyPI's alpha 2.0 needs beta; conda's is there, whole, with whatever conda says that it needs."""
    assert versions(ask(index, "alpha", "lam", provided=(Provided("alpha", "2.0", "alpha 2.0"),))) == {"lam": "1.0"}


def test_what_conda_provides_is_not_requested_from_the_index(make_index: Callable[..., Index]) -> None:
    served = make_index()
    ask(served, "alpha", provided=(BETA,))
    assert not [request for request in served.requests if "beta" in request.path]


@pytest.mark.parametrize(
    "version", ["3.0", "2.5.1.post300", "2.3.0rc1", "1!2.0", "2.4.0+cpu", "2024a0", "7.dev1", "1.0.0.0"]
)
def test_versions_that_pypi_does_not_have(make_index: Callable[..., Index], version: str) -> None:
    served = make_index(Release("user", "1.0", requires=("num",)), Release("num", "1.0"))
    provided = (Provided("num", version, f"num {version}"), Provided("only-conda", version, f"only-conda {version}"))
    assert versions(ask(served, "user", "num", "only-conda", provided=provided)) == {"user": "1.0"}


def test_a_prerelease_of_conda_serves_a_range(make_index: Callable[..., Index]) -> None:
    served = make_index(Release("user", "1.0", requires=("num>=2",)))
    assert versions(ask(served, "user", provided=(Provided("num", "2.3.0rc1", "num 2.3.0rc1"),))) == {"user": "1.0"}


def test_exclude_newer_hides_nothing_of_conda(index: Index) -> None:
    found = ask(index, "alpha", provided=(BETA,), exclude_newer="2023-03-15T00:00:00Z")
    assert versions(found) == {"alpha": "2.0"}


def test_an_older_release_is_taken_where_conda_wants_it(index: Index) -> None:
    """theta 2.0 wants beta<2 and alpha<2; with conda's beta 2.0 it is theta 1.0."""
    assert versions(ask(index, "theta", provided=(Provided("beta", "2.0", "beta 2.0"),))) == {
        "theta": "1.0",
        "alpha": "1.1",
    }


def test_another_index_does_not_stand_in_for_conda(index: Index, make_index: Callable[..., Index]) -> None:
    private = make_index(Release("beta", "99.0"), Release("ours", "1.0", requires=("beta",)))
    assert versions(ask(index, "ours", extra=(private.url,), provided=(BETA,))) == {"ours": "1.0"}


def test_settings_of_the_user_change_nothing(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.txt").write_text("beta>=2\n")
    for name, value in {
        "UV_INDEX": index.url,
        "UV_EXTRA_INDEX_URL": index.url,
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_OVERRIDE": str(tmp_path / "c.txt"),
        "UV_CONSTRAINT": str(tmp_path / "c.txt"),
    }.items():
        monkeypatch.setenv(name, value)
    assert versions(ask(index, "alpha", provided=(BETA,))) == {"alpha": "2.0"}


def test_uv_keeps_nothing_of_it(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    ask(index, "alpha", "beta", provided=(BETA,))
    assert [path for path in (tmp_path / "cache").rglob("*") if "beta" in path.name] == []


def test_the_same_question_has_the_same_answer(index: Index) -> None:
    provided = (BETA, Provided("lam", "1.0", "lambda-tools 1.0"))
    first = ask(index, "eta", "zeta[full]", "alpha", provided=provided)
    assert ask(index, "alpha", "zeta[full]", "eta", provided=provided[::-1]) == first


# Pins, and notes.


def test_old_pins_are_kept(index: Index) -> None:
    pins = {"alpha": "1.1", "theta": "1.0"}
    assert versions(ask(index, "alpha", "theta", "lam", provided=(BETA,), pins=pins)) == {**pins, "lam": "1.0"}
    # A pin of what has become conda's is of no account.
    assert versions(ask(index, "alpha", provided=(BETA,), pins={"beta": "2.0", "alpha": "2.0"})) == {"alpha": "2.0"}


def test_a_fallback_to_an_older_release_is_reported_as_ever(index: Index) -> None:
    assert ask(index, "delta", provided=(BETA,)).notes == (
        "delta 1.5 has no compatible wheel for linux-64; locked 1.0 instead",
    )


def test_a_release_that_conda_rules_out_is_no_fallback(make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("user", "1.0", requires=("num<2",)), Release("user", "2.0", requires=("num>=2",)), Release("num", "2.0")
    )
    found = ask(served, "user", provided=(Provided("num", "1.5", "num 1.5"),))
    assert (versions(found), found.notes) == ({"user": "1.0"}, ())


# Contradictions.


def conflict(served: Index, *roots: str, provided: tuple[Provided, ...], arch: Arch = LINUX_64) -> ConflictWithConda:
    with pytest.raises(ConflictWithConda) as caught:
        ask(served, *roots, provided=provided, arch=arch)
    assert "invalid" not in caught.value.render(), "the stand-in index is nobody's business"
    assert "/tmp" not in caught.value.render()
    assert caught.value.hint is not None
    return caught.value


def test_a_requirement_that_conda_does_not_fit(index: Index) -> None:
    error = conflict(index, "beta>=2", "lam", provided=(BETA,))
    assert error.sentence == "beta>=2 is required from PyPI, but conda provides beta 1.5 (conda package beta 1.5)"
    assert error.packages == ("beta", "conda:beta")
    assert "Because conda provides beta 1.5 (conda package beta 1.5) and you require beta>=2" in error.render()


@pytest.mark.parametrize("specifier", ["==2.0", "!=1.5", "<1.5", "<2,>1.5", "~=2.0", "===1.4"])
def test_every_kind_of_specifier(index: Index, specifier: str) -> None:
    error = conflict(index, f"beta{specifier}", provided=(BETA,))
    assert error.packages == ("beta", "conda:beta")
    assert f"beta{specifier} is required from PyPI" in error.sentence


def test_a_package_that_conda_does_not_fit(index: Index) -> None:
    error = conflict(index, "theta", provided=(Provided("alpha", "2.0", "alpha 2.0"),))
    assert error.sentence == "theta requires alpha<2, but conda provides alpha 2.0 (conda package alpha 2.0)"
    assert error.packages == ("theta", "conda:alpha")


def test_a_package_deep_down_that_conda_does_not_fit(make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("top", "1.0", requires=("middle",)),
        Release("middle", "1.0", requires=("torch>=2.5",)),
        Release("torch", "2.5"),
    )
    error = conflict(served, "top", provided=(Provided("torch", "2.4.0+cpu", "pytorch 2.4.0"),))
    assert error.sentence == (
        "middle requires torch>=2.5, but conda provides torch 2.4.0+cpu (conda package pytorch 2.4.0)"
    )
    assert error.packages == ("top", "conda:pytorch")


def test_the_one_that_does_not_fit_is_named_where_others_do(make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("fits", "1.0", requires=("num>=1", "dep")), Release("fights", "1.0", requires=("num>=2",))
    )
    error = conflict(
        served,
        "fits",
        "fights",
        "num",
        provided=(Provided("num", "1.5", "num 1.5"), Provided("dep", "1.0", "dep 1.0")),
    )
    assert error.sentence.startswith("fights requires num>=2, but conda provides num 1.5 ")
    assert "conda:dep" not in error.packages


def test_a_direct_url_does_not_take_the_place_of_conda(index: Index) -> None:
    url = index.file_url("beta-1.0-py3-none-any.whl")
    error = conflict(index, f"beta @ {url}", provided=(BETA,))
    assert error.sentence == (
        "beta is required from a direct URL, but conda provides beta 1.5 (conda package beta 1.5)"
    )
    assert error.packages == ("beta", "conda:beta")
    elsewhere = f"beta @ {url} ; sys_platform == 'darwin'"
    assert versions(ask(index, elsewhere, "lam", provided=(BETA,))) == {"lam": "1.0"}


def test_a_conflict_among_pypi_packages_is_not_laid_to_conda(index: Index) -> None:
    with pytest.raises(NoSolution):
        ask(index, "theta", "alpha>=2", provided=(BETA,))


def test_a_missing_package_is_a_missing_package(index: Index) -> None:
    with pytest.raises(NoSuchPackage):
        ask(index, "nowhere-to-be-found", "alpha", provided=(BETA,))


def test_a_conflict_on_several_archs_is_one_error(index: Index) -> None:
    errors: list[EnvlockError] = [conflict(index, "beta>=2", provided=(BETA,), arch=arch) for arch in ARCHS]
    (error,) = merge_archs(errors)
    assert isinstance(error, ConflictWithConda)
    assert ", ".join(ARCHS) in error.message


# Extras.


def socks(served_by: Callable[..., Index]) -> Index:
    return served_by(
        Release("requests", "2.32.3", requires=("idna",), extras={"socks": ("pysocks>=1.5",)}),
        Release("pysocks", "1.7"),
        Release("idna", "3.1"),
        Release("user", "1.0", requires=("requests[socks]",)),
        Release("top", "1.0", requires=("user",)),
    )


EXTRAS = Extras(("socks", "use-chardet"), ("pysocks>=1.5 ; extra == 'socks'", "chardet ; extra == 'use-chardet'"))
REQUESTS = Provided("requests", "2.32.3", "requests 2.32.3", EXTRAS)


def test_what_an_extra_brings_is_locked(make_index: Callable[..., Index]) -> None:
    served = socks(make_index)
    assert versions(ask(served, "requests", provided=(REQUESTS,))) == {}
    found = ask(served, "requests[socks]", provided=(REQUESTS,))
    assert versions(found) == {"pysocks": "1.7"}
    assert found.notes == ()


def test_what_an_extra_brings_belongs_to_the_requirement_with_the_extra(make_index: Callable[..., Index]) -> None:
    found = ask(socks(make_index), "top", provided=(REQUESTS,))
    assert {each.name: each.dependencies for each in found.packages} == {
        "pysocks": (),
        "top": ("user",),
        "user": ("pysocks",),
    }


def test_what_an_extra_brings_may_be_conda_too(make_index: Callable[..., Index]) -> None:
    served = socks(make_index)
    fits, does_not = Provided("pysocks", "1.6", "pysocks 1.6"), Provided("pysocks", "1.4", "pysocks 1.4")
    assert versions(ask(served, "requests[socks]", provided=(REQUESTS, fits))) == {}
    error = conflict(served, "requests[socks]", provided=(REQUESTS, does_not))
    assert "conda:pysocks" in error.packages


@pytest.mark.parametrize("root", ["requests[socks]", "top"])
def test_an_extra_of_which_nothing_is_known_is_refused(make_index: Callable[..., Index], root: str) -> None:
    with pytest.raises(ExtraOfCondaPackage) as caught:
        ask(socks(make_index), root, provided=(Provided("requests", "2.32.3", "requests 2.32.3"),))
    error = caught.value
    assert error.sentence == (
        "requests[socks] is required from PyPI, but conda provides requests 2.32.3 (conda package requests 2.32.3)"
    )
    assert error.wanted == ("requests",)
    assert error.packages == ("requests", "conda:requests")


def test_an_extra_that_is_not_there_is_said(make_index: Callable[..., Index]) -> None:
    found = ask(socks(make_index), "requests[nope]", "idna", provided=(REQUESTS,))
    assert versions(found) == {"idna": "3.1"}
    assert found.notes == ("requests 2.32.3 has no extra `nope`",)


# System requirements: the floors of the environment steer PyPI's tags, as ever.


@pytest.mark.parametrize(
    ("name", "arch", "floors", "expected"),
    [
        ("kappa", LINUX_64, (), "1.0"),
        ("kappa", LINUX_64, ((LINUX_64, "__glibc", "2.34"),), "2.0"),
        ("kappa", LINUX_AARCH64, ((LINUX_AARCH64, "__glibc", "2.34"), (LINUX_AARCH64, "__cuda", "12.4")), "2.0"),
        ("mu", OSX_ARM64, (), "1.0"),
        ("mu", OSX_ARM64, ((OSX_ARM64, "__osx", "14.0"),), "2.0"),
        ("mu", OSX_64, ((OSX_64, "__osx", "14"),), "2.0"),
    ],
)
def test_floors_of_glibc_and_macos(
    index: Index, name: str, arch: Arch, floors: tuple[tuple[Arch, str, str], ...], expected: str
) -> None:
    assert versions(ask(index, name, arch=arch, system=floors, provided=(BETA,))) == {name: expected}
