"""One set of packages for every release of Python that is allowed: what any of them needs is locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from envlock.model.arch import LINUX_64, OSX_ARM64, Arch
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.resolve.errors import IndexUnreachable, ReleasesDiffer
from envlock.resolve.port import Request, Resolution
from envlock.resolve.pypi_uv import UvResolver
from tests.index import Index, Release

RELEASES = (
    *(Release("tool", version) for version in ("1.0", "2.0")),
    # A backport, as many libraries need one on the first releases of a series; and one that needs another.
    Release("early", "1.0", requires=("backport>=1,<3 ; python_full_version < '3.11.3'",)),
    Release("backport", "1.0"),
    Release("backport", "2.0", requires=("tool<2 ; python_full_version < '3.11.2'",)),
    Release("backport", "3.0"),
    Release("late", "1.0", requires=("tool<2 ; python_full_version >= '3.11.4'",)),
    Release("late-in-two-steps", "1.0", requires=("late ; python_full_version >= '3.11.2'",)),
    Release("once", "1.0", requires=("tool ; python_full_version == '3.11.4'",)),
    Release("never", "1.0", requires=("tool ; python_full_version >= '3.12' or implementation_version < '3.9'",)),
    Release("of-implementation", "1.0", requires=("tool ; implementation_version >= '3.11.4'",)),
    Release("of-kernel", "1.0", requires=("tool ; platform_release >= '5.0' or 'Ubuntu' in platform_version",)),
    Release("of-windows", "1.0", requires=("no-such-thing ; sys_platform == 'win32'",)),
    Release("fast", "1.0", extras={"quick": ("tool ; python_full_version >= '3.11.4'",)}),
    # The oldest release takes the newest tool; all of them can have tool 1.
    Release("late-limit", "1.0", requires=("tool", "tool<2 ; python_full_version >= '3.11.4'")),
    Release("early-limit", "1.0", requires=("tool<2 ; python_full_version < '3.11.4'", "tool")),
    # No tool serves all.
    Release(
        "two-tools",
        "1.0",
        requires=("tool<2 ; python_full_version < '3.11.4'", "tool>=2 ; python_full_version >= '3.11.4'"),
    ),
    Release(
        "two-tools-by-kernel",
        "1.0",
        requires=("tool<2 ; platform_release < '5'", "tool>=2 ; platform_release >= '5'"),
    ),
    Release("late-of-linux", "1.0", requires=("of-linux ; python_full_version >= '3.11.4'",)),
    Release("of-linux", "1.0", tags=("py3-none-manylinux_2_17_x86_64",)),
    # Two versions that exclude each other and a third that serves all.
    *(Release("stair", version) for version in ("1.0", "1.1", "2.0")),
    Release(
        "stairs",
        "1.0",
        requires=("stair!=1.1 ; python_full_version < '3.11.4'", "stair<2 ; python_full_version >= '3.11.4'"),
    ),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Index]:
    with Index(*RELEASES, page_cache_control="max-age=600, public") as index:
        yield index


def ask(served: Index, *roots: str, python: str = "3.11.0", asked: str = "==3.11.*", **more: object) -> Resolution:
    requirements = Requirements(
        python=asked,
        pypi=tuple(parse_requirement(root) for root in roots),
        default_index=served.url,
    )
    request = Request(
        name="demo", arch=LINUX_64, requirements=requirements, python=python, default_index_url=served.url
    )
    return UvResolver().resolve(replace(request, **more))  # type: ignore[arg-type]


def versions(found: Resolution) -> dict[str, str]:
    return {package.name: package.version for package in found.packages}


@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        (("early",), {"early": "1.0", "backport": "2.0", "tool": "1.0"}),
        (("late-in-two-steps",), {"late-in-two-steps": "1.0", "late": "1.0", "tool": "1.0"}),
        (("once",), {"once": "1.0", "tool": "2.0"}),
        (("never",), {"never": "1.0"}),
        (("of-implementation",), {"of-implementation": "1.0", "tool": "2.0"}),
        (("of-kernel",), {"of-kernel": "1.0", "tool": "2.0"}),
        (("of-windows",), {"of-windows": "1.0"}),
        (("fast",), {"fast": "1.0"}),
        (("fast[quick]",), {"fast": "1.0", "tool": "2.0"}),
        (("late-limit",), {"late-limit": "1.0", "tool": "1.0"}),
        (("early-limit",), {"early-limit": "1.0", "tool": "1.0"}),
        (("stairs",), {"stairs": "1.0", "stair": "1.0"}),
        (("late", "tool"), {"late": "1.0", "tool": "1.0"}),
        (("tool<2 ; python_full_version >= '3.11.4'",), {"tool": "1.0"}),
        (("tool ; python_full_version < '3.11.1'",), {"tool": "2.0"}),
        (("tool ; python_version >= '3.12'", "no-such-thing ; python_full_version < '3.11'"), {}),
    ],
)
def test_what_any_allowed_release_needs_is_locked(
    served: Index, roots: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert versions(ask(served, *roots)) == expected


@pytest.mark.parametrize(
    ("root", "python", "asked", "expected"),
    [
        ("late", "3.11.0", "<3.11.4,>=3.11", {"late": "1.0"}),
        ("early", "3.11.3", ">=3.11.3,<3.12", {"early": "1.0"}),
        ("early", "3.11.2", ">=3.11.2,<3.12", {"early": "1.0", "backport": "2.0"}),
        ("once", "3.11.0", "!=3.11.4,==3.11.*", {"once": "1.0"}),
        ("two-tools", "3.11.4", ">=3.11.4,<3.12", {"two-tools": "1.0", "tool": "2.0"}),
        ("two-tools", "3.11.0", ">=3.11,<3.11.4", {"two-tools": "1.0", "tool": "1.0"}),
    ],
)
def test_releases_that_are_not_allowed_have_no_say(
    served: Index, root: str, python: str, asked: str, expected: dict[str, str]
) -> None:
    assert versions(ask(served, root, python=python, asked=asked)) == expected


def test_an_exact_build_has_what_it_needs_itself(served: Index) -> None:
    asked = Requirements(
        python="==3.11.*", python_from="uv", pypi=(parse_requirement("late"),), default_index=served.url
    )
    assert versions(ask(served, requirements=asked)) == {"late": "1.0"}
    assert versions(ask(served, requirements=asked, python="3.11.4")) == {"late": "1.0", "tool": "1.0"}


def test_edges_are_those_of_every_release(served: Index) -> None:
    found = ask(served, "early", "late", "fast[quick]")
    assert {package.name: package.dependencies for package in found.packages} == {
        "early": ("backport",),
        "backport": ("tool",),
        "late": ("tool",),
        "fast": ("tool",),
        "tool": (),
    }
    assert {package.index for package in found.packages} == {served.url}


def test_a_url_that_only_some_releases_require_is_what_is_locked(served: Index) -> None:
    url = served.file_url("tool-1.0-py3-none-any.whl")
    (found,) = ask(served, f"tool @ {url} ; python_full_version >= '3.11.4'").packages
    assert (found.version, found.url, found.index) == ("1.0", url, "")


def test_two_urls_of_one_version_cannot_be_locked(served: Index, make_index: Callable[..., Index]) -> None:
    other = make_index(Release("tool", "1.0", files={"tool/more.py": ""})).file_url("tool-1.0-py3-none-any.whl")
    with pytest.raises(ReleasesDiffer) as caught:
        ask(
            served,
            f"tool @ {served.file_url('tool-1.0-py3-none-any.whl')} ; python_full_version < '3.11.4'",
            f"tool @ {other} ; python_full_version >= '3.11.4'",
        )
    assert caught.value.packages == ("python", "tool")
    assert 'python = ">=3.11.4,<3.12"' in (caught.value.hint or "")


def test_a_pin_is_kept_where_it_serves_every_release(served: Index) -> None:
    assert versions(ask(served, "early", pins={"backport": "1.0"})) == {"early": "1.0", "backport": "1.0"}
    assert versions(ask(served, "late", pins={"tool": "2.0"})) == {"late": "1.0", "tool": "1.0"}


def test_what_the_cache_happens_to_hold_does_not_decide(make_index: Callable[..., Index]) -> None:
    served = make_index(
        Release("late", "1.0", requires=("tool ; python_full_version >= '3.11.4'",)),
        Release("tool", "1.0"),
        Release("tool", "2.0"),
        page_cache_control="max-age=600, public",
    )
    ask(served, "tool==1.0")
    assert versions(ask(served, "late")) == {"late": "1.0", "tool": "2.0"}


def test_what_only_a_later_release_needs_may_be_missing_offline(
    make_index: Callable[..., Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cold"))
    served = make_index(
        Release("late", "1.0", requires=("tool ; python_full_version >= '3.11.4'",)), Release("tool", "1.0")
    )
    narrow = "<3.11.4,>=3.11"
    ask(served, "late", asked=narrow)
    assert versions(ask(served, "late", asked=narrow, offline=True)) == {"late": "1.0"}
    with pytest.raises(IndexUnreachable) as caught:
        ask(served, "late", offline=True)
    assert "offline" in caught.value.sentence


def test_an_index_that_fails_for_what_a_later_release_needs_is_no_conflict(
    make_index: Callable[..., Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    served = make_index(
        Release("late", "1.0", requires=("tool ; python_full_version >= '3.11.4'",)), Release("tool", "1.0")
    )
    served.fail("simple/tool/", status=503)
    with pytest.raises(IndexUnreachable):
        ask(served, "late")


@pytest.mark.parametrize("arch", [LINUX_64, OSX_ARM64])
def test_releases_that_need_different_versions_are_an_error(served: Index, arch: Arch) -> None:
    with pytest.raises(ReleasesDiffer) as caught:
        ask(served, "two-tools", arch=arch)
    error = caught.value
    assert "tool" in error.sentence
    assert error.details == (
        "tool 1.0: required by two-tools if `python_full_version < '3.11.4'`",
        "tool 2.0: required by two-tools if `python_full_version >= '3.11.4'`",
    )
    assert error.hint == 'set `python = ">=3.11.4,<3.12"` or `python = ">=3.11.0,<3.11.4"`'
    assert error.packages == ("python", "two-tools")


def test_requirements_that_differ_by_release_are_an_error_too(served: Index) -> None:
    with pytest.raises(ReleasesDiffer) as caught:
        ask(served, "tool==1.0 ; python_full_version < '3.11.2'", "tool==2.0 ; python_full_version >= '3.11.2'")
    assert "tool 1.0: required if `python_full_version < '3.11.2'`" in caught.value.details
    assert ">=3.11.2,<3.12" in (caught.value.hint or "")


def test_kernels_that_need_different_versions_are_an_error(served: Index) -> None:
    with pytest.raises(ReleasesDiffer) as caught:
        ask(served, "two-tools-by-kernel")
    assert any("platform_release" in line for line in caught.value.details)
    assert "python =" not in (caught.value.hint or "")


def test_what_a_release_needs_and_the_arch_cannot_have_is_an_error(served: Index) -> None:
    assert versions(ask(served, "late-of-linux")) == {"late-of-linux": "1.0", "of-linux": "1.0"}
    with pytest.raises(ReleasesDiffer) as caught:
        ask(served, "late-of-linux", arch=OSX_ARM64)
    assert "Python 3.11.4" in caught.value.sentence
    assert "of-linux" in "\n".join(caught.value.details)
    assert "tool.uv" not in caught.value.render()
    assert 'python = ">=3.11.0,<3.11.4"' in (caught.value.hint or "")
    assert caught.value.packages == ("python", "late-of-linux")
