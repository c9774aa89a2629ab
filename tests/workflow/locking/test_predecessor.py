"""Which old lock a changed environment starts from: its own, else the one that is most like it."""

from __future__ import annotations

from dataclasses import replace

from envlock.config.project import Environment
from envlock.model.arch import LINUX_64, OSX_64, Arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirement import parse_requirement
from envlock.model.requirements import Requirements
from envlock.workflow.locking.previous_locks import predecessor
from tests.support import conda_requirements


def asking(*roots: str) -> Requirements:
    return Requirements(pypi=tuple(parse_requirement(root) for root in roots))


def a_lock(*roots: str, by: tuple[str, ...], arch: Arch = LINUX_64, at: str = "2024-01-01T00:00:00Z") -> Lock:
    return Lock(
        arch=arch,
        requirements=asking(*roots),
        python=LockedPython(source="machine", version="3.12.0"),
        packages=(),
        asked_by=by,
        resolved_at=at,
    )


NOW = Environment(name="train", requirements=asking("pandas>=2", "rich", "requests"))


def test_its_own_lock_comes_before_one_that_is_more_like_it() -> None:
    own = a_lock("pandas<2", by=("start", "train"))
    alike = a_lock("pandas>=2", "rich", by=("end",))
    assert predecessor(NOW, LINUX_64, [alike, own], []) == own
    assert predecessor(NOW, LINUX_64, [own, alike], [alike.req_id]) == own


def test_its_own_lock_counts_though_another_environment_still_needs_it() -> None:
    shared = a_lock("numpy", by=("start", "train"))
    alike = a_lock("pandas>=2", "rich", by=("end",))
    assert predecessor(NOW, LINUX_64, [alike, shared], [shared.req_id]) == shared


def test_of_its_own_locks_the_one_that_nothing_needs_is_the_one_it_had() -> None:
    left = a_lock("numpy", by=("train",))
    shared = a_lock("pandas>=2", "rich", by=("start", "train"))
    assert predecessor(NOW, LINUX_64, [shared, left], [shared.req_id]) == left


def test_else_the_one_that_is_most_like_it() -> None:
    less, more = a_lock("rich", by=("a",)), a_lock("rich", "pandas<2", by=("b",))
    assert predecessor(NOW, LINUX_64, [less, more], []) == more
    assert predecessor(NOW, LINUX_64, [a_lock("numpy", by=("a",))], []) is None
    assert predecessor(NOW, LINUX_64, [], []) is None


def test_of_equals_the_newest() -> None:
    old, new = a_lock("rich", by=("train",)), a_lock("rich", by=("train",), at="2024-02-01T00:00:00Z")
    assert predecessor(NOW, LINUX_64, [new, old], []) == predecessor(NOW, LINUX_64, [old, new], []) == new


def test_a_lock_of_another_arch_is_none() -> None:
    assert predecessor(NOW, LINUX_64, [a_lock("rich", by=("train",), arch=OSX_64)], []) is None


def test_conda_packages_make_locks_alike_too() -> None:
    now = Environment(
        name="train", requirements=Requirements(conda=conda_requirements("numpy =1.26", "scipy"), python_from="conda")
    )
    pypi = a_lock("numpy", "scipy", by=("a",))
    less = replace(pypi, requirements=Requirements(conda=conda_requirements("scipy"), python_from="conda"))
    more = replace(pypi, requirements=Requirements(conda=conda_requirements("numpy >=1", "scipy"), python_from="conda"))
    moved = replace(
        pypi, requirements=Requirements(conda_only=conda_requirements("numpy =1.26", "scipy"), python_from="conda")
    )
    assert predecessor(now, LINUX_64, [pypi], []) is None
    assert predecessor(now, LINUX_64, [pypi, less], []) == less
    assert predecessor(now, LINUX_64, [pypi, less, more], []) == more
    assert predecessor(now, LINUX_64, [pypi, less, more, moved], []) == moved
