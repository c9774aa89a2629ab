"""What the ids depend on, and what not."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from envlock.model.lock import Lock
from envlock.model.requirements import Requirements
from tests.property.strategies import any_requirements, conda_asking, locks, requirements


@given(asked=requirements, seed=st.integers(0, 1000))
def test_the_order_of_packages_does_not_matter(asked: Requirements, seed: int) -> None:
    shuffled = list(asked.pypi)
    random.Random(seed).shuffle(shuffled)
    assert asked._replace(pypi=tuple(shuffled)).req_id == asked.req_id


@given(asked=requirements)
def test_the_order_of_indexes_matters(asked: Requirements) -> None:
    turned = asked._replace(indexes=tuple(reversed(asked.indexes)))
    assert (turned.req_id == asked.req_id) == (turned.indexes == asked.indexes)


@given(one=any_requirements, two=any_requirements)
def test_other_requirements_have_another_id(one: Requirements, two: Requirements) -> None:
    assert (one.req_id == two.req_id) == (one.document() == two.document())


@given(asked=conda_asking, seed=st.integers(0, 1000))
def test_the_order_of_conda_packages_does_not_matter_and_that_of_channels_does(asked: Requirements, seed: int) -> None:
    shuffled = list(asked.conda)
    random.Random(seed).shuffle(shuffled)
    assert asked._replace(conda=tuple(shuffled)).req_id == asked.req_id
    turned = asked._replace(channels=tuple(reversed(asked.channels)))
    assert (turned.req_id == asked.req_id) == (turned.channels == asked.channels)


@given(lock=locks)
def test_full_id_is_of_contents_alone(lock: Lock) -> None:
    elsewhere = tuple(
        replace(each, url=f"https://mirror.example/{each.filename}", size=None, upload_time="", index="")
        for each in lock.packages
    )
    moved = replace(lock, packages=elsewhere, resolved_by="somebody else", resolved_at="", asked_by=())
    assert moved.full_id == lock.full_id


@given(lock=locks)
def test_full_id_sees_every_hash(lock: Lock) -> None:
    for number, package in enumerate(lock.packages):
        other = replace(package, sha256=package.sha256[:-1] + ("0" if package.sha256[-1] != "0" else "1"))
        packages = (*lock.packages[:number], other, *lock.packages[number + 1 :])
        assert replace(lock, packages=packages).full_id != lock.full_id
