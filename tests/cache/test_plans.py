"""Plans: every plan that was ever written is read for ever, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envlock.cache.errors import NewerPlan, PlanDamaged
from envlock.cache.layout import EnvironmentPlace, PlanPlace, kit_path, package_path, plan_path
from envlock.cache.memory_store import MemoryStore
from envlock.cache.plans import (
    CondaTools,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    Plans,
    PlanTools,
    PythonBuild,
    find_plan,
    parse_plan,
)
from envlock.model.arch import LINUX_64, LINUX_AARCH64
from tests.lockfile.test_formats import LOCKS

FORMATS = Path(__file__).parent.parent / "formats" / "plan1"
LOCK = LOCKS["pylock.machine.toml"]


def kit(digit: str, filename: str, size: int) -> PlanFile:
    return PlanFile(kit_path(digit * 64, filename), size, digit * 64)


def package(digit: str, filename: str, size: int) -> PlanFile:
    return PlanFile(package_path(digit * 64, filename), size, digit * 64)


UV = kit("1", "uv-0.13.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 17600000)
BUILD = PythonBuild(
    kit("2", "cpython-3.12.9+20260101-x86_64-unknown-linux-gnu-install_only.tar.gz", 30000000),
    "3.12.9",
    "python/bin/python3.12",
)
RATTLER = kit("3", "py_rattler-0.28.0-cp310-abi3-manylinux_2_17_x86_64.whl", 24900000)
WHEEL = PlanPackage("wheel", "demo", "1.2.3", package("a", "demo-1.2.3-cp312-cp312-manylinux_2_28_x86_64.whl", 12345))
PLANS = {
    "wheels.json": Plan(
        EnvironmentPlace(LINUX_64, LOCK.req_id, LOCK.full_id),
        PlanPython("3.12", ((4, None),), BUILD),
        (("__glibc", "2.28"),),
        PlanTools(UV),
        (WHEEL,),
    ),
    "exact.json": Plan(
        EnvironmentPlace(LINUX_AARCH64, "3" * 40, "4" * 40),
        PlanPython("3.12", None, BUILD._replace(file=package("2", "cpython-3.12.9.tar.gz", 30000000))),
        (("__glibc", "2.28"), ("__linux", "4.18")),
        PlanTools(UV),
        (),
    ),
    "conda.json": Plan(
        EnvironmentPlace(LINUX_64, "5" * 40, "6" * 40),
        PlanPython("3.12"),
        (("__archspec", "x86_64"), ("__glibc", "2.28"), ("__linux", "4.18")),
        PlanTools(UV, CondaTools((RATTLER,), kit("4", "kernel.zip", 300000), BUILD)),
        (PlanPackage("conda", "python", "3.12.9", package("b", "python-3.12.9-h0_0_cpython.conda", 31000000)), WHEEL),
        'lock-version = "1.0"\n',
    ),
}


@pytest.mark.parametrize("name", sorted(PLANS))
def test_format_1_is_written_to_the_byte_and_read_as_it_was_meant(name: str) -> None:
    data, plan = (FORMATS / name).read_bytes(), PLANS[name]
    assert plan.render() == data
    assert parse_plan(data, plan.place) == plan
    assert plan.sha256 == hashlib.sha256(data).hexdigest()


def test_a_plan_lists_each_of_its_files_once() -> None:
    plan = PLANS["conda.json"]
    assert [file.size for file in plan.files] == [17600000, 24900000, 300000, 30000000, 31000000, 12345]
    assert {path.rpartition("/")[2][:3] for path in plan.kits} == {"uv-", "cpy", "py_", "ker"}


def changed(change: Callable[[Any], object], name: str = "conda.json") -> tuple[bytes, PlanPlace]:
    """A plan that somebody changed, in its canonical form and under its own right name."""
    document = json.loads((FORMATS / name).read_bytes())
    change(document)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return data, PlanPlace(PLANS[name].environment, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plan: plan["packages"][0].update(path="packages/../x"), "not a file of a cache"),
        (lambda plan: plan["packages"][0].update(path=WHEEL.file.path), "not a file of a cache"),
        (lambda plan: plan["packages"][0].update(path="envs/linux-64/x.toml"), "not a file of a cache"),
        (lambda plan: plan["packages"][0].update(size=-1), "not a size"),
        (lambda plan: plan["packages"][0].update(size=True), "not a size"),
        (lambda plan: plan["tools"]["python"].update(executable="../../bin/sh"), "not valid there"),
        (lambda plan: plan["tools"]["python"].update(executable="/bin/sh"), "not valid there"),
        (lambda plan: plan["python"].update(image=[["a", None]]), "not a range"),
        (lambda plan: plan["tools"].pop("kernel"), "kernel"),
        (lambda plan: plan.pop("lock"), "lock"),
        (lambda plan: plan.update(more=1), "envlock did not write"),
        (lambda plan: plan.update(format=0), "envlock did not write"),
        (lambda plan: plan.update(install="wheels"), "envlock did not write"),
        (lambda plan: plan.update(req_id="7" * 40), "another environment"),
    ],
)
def test_a_changed_plan_is_damage_even_under_its_own_right_name(change: Callable[[Any], object], reason: str) -> None:
    data, place = changed(change)
    with pytest.raises(PlanDamaged) as caught:
        parse_plan(data, place, "s3://team/x.json")
    assert reason in caught.value.message
    assert caught.value.locations[0].path == "s3://team/x.json"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plan: plan.update(format=2, install="pack"), "format 2"),
        (lambda plan: plan.update(install="pack"), "`pack`"),
    ],
)
def test_what_a_newer_envlock_wrote_is_no_damage(change: Callable[[Any], object], reason: str) -> None:
    with pytest.raises(NewerPlan, match=reason):
        parse_plan(*changed(change))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", (FORMATS / "wheels.json").read_bytes()[:-1]])
def test_what_is_no_plan_at_all_is_damage(data: bytes) -> None:
    with pytest.raises(PlanDamaged):
        parse_plan(data, PlanPlace(PLANS["wheels.json"].environment, hashlib.sha256(data).hexdigest()))
    with pytest.raises(PlanDamaged, match="its name"):
        parse_plan(data, PLANS["wheels.json"].place)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(f"memory://{tmp_path.name}")


def test_the_newest_plan_that_can_be_read_is_found(store: MemoryStore) -> None:
    plan = PLANS["wheels.json"]
    assert find_plan(store, LOCK) is None
    older = replace(plan, system=())
    Plans(store).write(older)
    Plans(store).write(plan)
    assert find_plan(store, LOCK) == plan
    assert Plans(store).of(plan.environment) == [plan.place, older.place]
    newer, place = changed(lambda document: document.update(format=2), "wheels.json")
    store.put(place.path, newer)
    assert find_plan(store, LOCK) == plan
    assert {place for _, place in Plans(store).places()} == {plan.place, older.place, place}


def test_a_lock_whose_plans_cannot_be_read_has_an_error_that_says_why(store: MemoryStore) -> None:
    newer, place = changed(lambda document: document.update(format=2), "wheels.json")
    store.put(place.path, newer)
    with pytest.raises(NewerPlan):
        find_plan(store, LOCK)
    store.put(plan_path(place.environment, "f" * 64), b"{}")
    with pytest.raises(PlanDamaged):
        find_plan(store, LOCK)


def test_a_plan_that_was_changed_is_not_there(store: MemoryStore) -> None:
    plan = PLANS["wheels.json"]
    assert not Plans(store).has(plan)
    store.put(plan.place.path, plan.render().replace(b"12345", b"12346"))
    assert not Plans(store).has(plan)
    Plans(store).write(plan)
    assert Plans(store).has(plan)
