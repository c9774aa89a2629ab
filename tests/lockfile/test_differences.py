"""Which changes an old lock still serves: the difference between a re-stamp and a solve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envlock.lockfile.differences import differences
from envlock.model.arch import LINUX_64, OSX_64
from envlock.model.lock import Lock, LockedPackage, LockedPython
from envlock.model.requirement import PypiRequirement, parse_requirement
from envlock.model.requirements import Requirements


def roots(*texts: str) -> tuple[PypiRequirement, ...]:
    return tuple(parse_requirement(text) for text in texts)


def package(name: str, version: str, *dependencies: str) -> LockedPackage:
    filename = f"{name}-{version}-py3-none-any.whl"
    return LockedPackage(
        name, version, filename, f"https://index.example/{filename}", "0" * 64, dependencies=dependencies
    )


ASKED = Requirements(
    python=">=3.10,<3.13",
    pypi=roots(
        "app>=1", "tool[fast]", "windows ; sys_platform == 'win32'", "wheel @ https://index.example/wheel-1.whl"
    ),
    metaflow=roots("requests>=2"),
    default_index="https://index.example/simple/",
)
LOCK = Lock(
    arch=LINUX_64,
    requirements=ASKED,
    python=LockedPython(source="machine", version="3.12.0"),
    packages=(
        package("app", "1.5", "lib"),
        package("lib", "2.0rc1"),
        package("requests", "2.32"),
        package("tool", "1.0"),
        package("wheel", "1.0"),
    ),
)


def with_roots(*texts: str, without: tuple[str, ...] = ()) -> Requirements:
    new = {root.name for root in roots(*texts)}
    kept = tuple(root for root in ASKED.pypi if root.name not in new and root.name not in without)
    return ASKED._replace(pypi=(*kept, *roots(*texts)))


@pytest.mark.parametrize(
    ("asked", "thing", "is_satisfied"),
    [
        (with_roots("app>=1.2,<2"), "app", True),
        (with_roots("app==1.5"), "app", True),
        (with_roots("app"), "app", True),
        (with_roots("app>=2"), "app", False),
        (with_roots("lib"), "lib", True),
        (with_roots("lib>=1.9"), "lib", True),
        (with_roots("lib>=2.1"), "lib", False),
        (with_roots("new"), "new", False),
        (with_roots("app[extra]"), "app", False),
        (with_roots("tool"), "tool", False),
        (with_roots("wheel"), "wheel", False),
        (with_roots("tool[fast]>=1"), "tool", True),
        (with_roots("tool[fast]>=2"), "tool", False),
        (with_roots("tool[slow]"), "tool", False),
        (with_roots("app>=1 ; sys_platform == 'linux'"), "app", False),
        (with_roots("windows>=3 ; sys_platform == 'win32'"), "windows", True),
        (with_roots("windows>=3"), "windows", False),
        (with_roots("wheel @ https://index.example/wheel-2.whl"), "wheel", False),
        (with_roots(without=("app",)), "app", False),
        (with_roots(without=("windows",)), "windows", True),
        (ASKED._replace(metaflow=()), "requests", False),
        (ASKED._replace(python=">=3.11,<3.13"), "python", True),
        (ASKED._replace(python="<3.12"), "python", False),
        (ASKED._replace(python_from="uv"), "python-from", False),
        (ASKED._replace(indexes=("https://other.example/simple/",)), "extra_indices", False),
        (ASKED._replace(default_index="https://other.example/simple/"), "index-url", False),
        (ASKED._replace(pip_flags=("pre",)), "extras", False),
        (ASKED._replace(exclude_newer="2026-01-01T00:00:00Z"), "exclude-newer", False),
        (ASKED._replace(system=((LINUX_64, "__glibc", "2.17"),)), "__glibc", False),
        (ASKED._replace(system=((OSX_64, "__osx", "14.0"),)), "__osx", True),
        (ASKED._replace(channels=("conda-forge",)), "conda-forge", False),
    ],
    ids=str,
)
def test_a_change_is_served_or_not(asked: Requirements, thing: str, is_satisfied: Any) -> None:
    found = {difference.thing: difference for difference in differences(LOCK, asked)}
    assert found[thing].is_satisfied is is_satisfied
    assert found[thing].sentence
    assert all(difference.is_satisfied for difference in found.values()) is is_satisfied


@pytest.mark.parametrize(
    ("before", "oldest", "now", "is_satisfied"),
    [
        (">=3.12,<3.12.4", "3.12.0", ">=3.12,<3.12.3", True),
        (">=3.12,<3.12.4", "3.12.0", "==3.12.*", False),
        (">=3.12,<3.12.4", "3.12.0", ">=3.10", False),
        ("!=3.12.2,==3.12.*", "3.12.0", "==3.12.*", False),
        ("==3.12.*", "3.12.0", "!=3.12.2,==3.12.*", True),
        (">=3.12.4,<3.13", "3.12.4", "==3.12.*", True),
        ("==3.12.*", "3.12.0", ">=3.12.4", False),
    ],
)
def test_a_lock_serves_no_release_of_python_that_it_was_not_made_for(
    before: str, oldest: str, now: str, is_satisfied: bool
) -> None:
    """What only the new release needs would be missing; an older one is never used, so it need not be served."""
    asked = ASKED._replace(python=before)
    lock = replace(LOCK, requirements=asked, python=LockedPython(source="machine", version=oldest))
    (difference,) = differences(lock, asked._replace(python=now))
    assert (difference.thing, difference.is_satisfied) == ("python", is_satisfied)


def test_nothing_differs() -> None:
    assert differences(LOCK, ASKED) == ()
    assert differences(LOCK, ASKED._replace(pypi=ASKED.pypi[::-1])) == ()


def test_what_is_kept_for_another_need_not_be_required() -> None:
    """`lib` is no longer required, and is there still: `app` needs it."""
    lock = replace(LOCK, requirements=with_roots("lib"))
    (difference,) = differences(lock, ASKED)
    assert (difference.thing, difference.is_satisfied) == ("lib", True)


@pytest.mark.parametrize("root", ["lib[fast]", "lib @ https://index.example/lib-2.0rc1-py3-none-any.whl"])
def test_what_was_kept_with_extras_or_from_a_url_may_not(root: str) -> None:
    (difference,) = differences(replace(LOCK, requirements=with_roots(root)), ASKED)
    assert (difference.thing, difference.is_satisfied) == ("lib", False)


def test_what_other_requirements_brought_in_may_not_stay() -> None:
    """Without `app`, `lib` and `app` itself would not have been locked."""
    (difference,) = differences(LOCK, with_roots(without=("app",)))
    assert "app" in difference.sentence
