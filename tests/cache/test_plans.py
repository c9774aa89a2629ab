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
from envlock.cache.layout import EnvironmentPlace, PlanPlace, environment_place, kit_path, package_path, part_path
from envlock.cache.memory_store import MemoryStore
from envlock.cache.plan import (
    CondaTools,
    Pack,
    Part,
    Plan,
    PlanFile,
    PlanPackage,
    PlanPython,
    PlanTools,
    PythonBuild,
    parse_plan,
)
from envlock.cache.plans import Plans, find_plan, image_of, is_of
from envlock.lockfile.document import render
from envlock.model.arch import LINUX_64, LINUX_AARCH64
from envlock.model.lock import Lock
from tests.lockfile.conda_locks import MIXED
from tests.lockfile.test_formats import LOCKS

FORMATS = Path(__file__).parent.parent / "formats"
LOCK = LOCKS["pylock.machine.toml"]


def kit(digit: str, filename: str, size: int) -> PlanFile:
    return PlanFile(kit_path(digit * 64, filename), size, digit * 64)


def package(digit: str, filename: str, size: int) -> PlanFile:
    return PlanFile(package_path(digit * 64, filename), size, digit * 64)


def part(digit: str, size: int, raw_digit: str, raw_size: int) -> Part:
    return Part(PlanFile(part_path(digit * 64), size, digit * 64), raw_size, raw_digit * 64)


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


ZSTD = kit("5", "backports_zstd-1.0.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 500000)
PACKED = {
    "wheels.json": replace(
        PLANS["wheels.json"],
        tools=PlanTools(UV, zstd=ZSTD),
        variables=(("THREADS", "4"),),
        pack=Pack("3.12.4", "", (part("c", 16000000, "d", 48000000), part("e", 9000, "f", 20480)), compiles_tests=True),
    ),
    "conda.json": replace(
        PLANS["conda.json"],
        pack=Pack("3.12.9", "/opt/envlock_placeholder", (part("c", 16000000, "d", 48000000),), compiles_tests=True),
    ),
}
WITHOUT_TESTS = {
    name: replace(plan, pack=plan.pack._replace(compiles_tests=False)) for name, plan in PACKED.items() if plan.pack
}
FORMAT_OF = {"plan1": PLANS, "plan3": PACKED, "plan4": WITHOUT_TESTS}


@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version, plans in FORMAT_OF.items() for name in sorted(plans)]
)
def test_a_format_is_written_to_the_byte_and_read_as_it_was_meant(version: str, name: str) -> None:
    data, plan = (FORMATS / version / name).read_bytes(), FORMAT_OF[version][name]
    assert plan.render() == data
    assert parse_plan(data, plan.place) == plan
    assert plan.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_plan_with_variables_has_format_2(name: str) -> None:
    plan = replace(PLANS[name], variables=(("MODE", "a 'b'"), ("THREADS", "4")))
    data = plan.render()
    assert json.loads(data)["format"] == 2
    assert parse_plan(data, plan.place) == plan


def test_a_plan_without_a_pack_has_the_format_that_older_nodes_read() -> None:
    plan = PACKED["wheels.json"]
    assert json.loads(replace(plan, pack=None).render())["format"] == 2
    assert replace(PACKED["conda.json"], pack=None).render() == PLANS["conda.json"].render()


def test_the_raw_digest_of_a_pack_is_of_the_digests_of_its_raw_parts() -> None:
    pack = PACKED["wheels.json"].pack
    assert pack is not None
    assert pack.raw == hashlib.sha256(("d" * 64 + "\n" + "f" * 64 + "\n").encode()).hexdigest()
    assert pack.size == 16009000


def test_a_plan_names_its_parts_beside_the_packages_that_serve_without_them() -> None:
    plan = PACKED["wheels.json"]
    assert [file.size for file in plan.files] == [17600000, 500000, 30000000, 12345, 16000000, 9000]
    assert plan.parts == {part_path("c" * 64), part_path("e" * 64)}
    assert {path.rpartition("/")[2][:3] for path in plan.kits} == {"uv-", "cpy", "bac"}
    assert PLANS["wheels.json"].parts == frozenset()


def test_a_plan_lists_each_of_its_files_once() -> None:
    plan = PLANS["conda.json"]
    assert [file.size for file in plan.files] == [17600000, 24900000, 300000, 30000000, 31000000, 12345]
    assert {path.rpartition("/")[2][:3] for path in plan.kits} == {"uv-", "cpy", "py_", "ker"}


def changed(change: Callable[[Any], object], name: str = "plan1/conda.json") -> tuple[bytes, PlanPlace]:
    """A plan that somebody changed, in its canonical form and under its own right name."""
    document = json.loads((FORMATS / name).read_bytes())
    change(document)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    return data, PlanPlace(PLANS[name.rpartition("/")[2]].environment, hashlib.sha256(data).hexdigest())


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
        (lambda plan: plan["pack"]["parts"][0].update(path="parts/../x.tar.zst"), "not a part of a cache"),
        (lambda plan: plan["pack"]["parts"][0].update(path=WHEEL.file.path), "not a part of a cache"),
        (lambda plan: plan["pack"]["parts"][0].update(sha256="0" * 64), "not a part of a cache"),
        (lambda plan: plan["pack"]["parts"][0].update(raw_sha256="x"), "not valid there"),
        (lambda plan: plan["pack"]["parts"][0].update(raw_sha256="0" * 64), "envlock did not write"),
        (lambda plan: plan["pack"]["parts"][0].update(size=-1), "not a size"),
        (lambda plan: plan["pack"]["parts"][0].update(raw_size=1.0), "not a size"),
        (lambda plan: plan["pack"].update(parts=[]), "no parts"),
        (lambda plan: plan["pack"].update(compiler="3.11.2"), "not of the series"),
        (lambda plan: plan["pack"].update(compiler="3.12"), "not valid there"),
        (lambda plan: plan["pack"].update(placeholder="../x"), "not valid there"),
        (lambda plan: plan["pack"].update(placeholder="/opt/../x"), "not valid there"),
        (lambda plan: plan["pack"].update(raw="0" * 64), "envlock did not write"),
        (lambda plan: plan["pack"].update(more=1), "envlock did not write"),
        (lambda plan: plan["tools"].update(zstd={"path": "x", "size": 1, "sha256": "0" * 64}), "not a file of a cache"),
        (lambda plan: plan.pop("pack"), "envlock did not write"),
        (lambda plan: plan.update(format=2), "envlock did not write"),
    ],
)
def test_a_changed_pack_is_damage(change: Callable[[Any], object], reason: str) -> None:
    with pytest.raises(PlanDamaged) as caught:
        parse_plan(*changed(change, "plan3/wheels.json"))
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda plan: plan.update(format=5, install="pack"), "format 5"),
        (lambda plan: plan.update(install="pack"), "`pack`"),
    ],
)
def test_what_a_newer_envlock_wrote_is_no_damage(change: Callable[[Any], object], reason: str) -> None:
    with pytest.raises(NewerPlan, match=reason):
        parse_plan(*changed(change))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", (FORMATS / "plan1" / "wheels.json").read_bytes()[:-1]])
def test_what_is_no_plan_at_all_is_damage(data: bytes) -> None:
    with pytest.raises(PlanDamaged):
        parse_plan(data, PlanPlace(PLANS["wheels.json"].environment, hashlib.sha256(data).hexdigest()))
    with pytest.raises(PlanDamaged, match="its name"):
        parse_plan(data, PLANS["wheels.json"].place)


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    return MemoryStore(f"memory://{tmp_path.name}")


def plan_for(lock: Lock, **changes: Any) -> Plan:
    """A plan that installs what a lock says."""
    kinds = {"conda": "conda"}
    return replace(
        PLANS["conda.json" if lock.conda_packages else "wheels.json"],
        environment=environment_place(lock),
        python=PlanPython(lock.python.series, image_of(lock), None if lock.conda_packages else BUILD),
        packages=tuple(
            PlanPackage(
                kinds.get(each.kind, "wheel"),
                each.name,
                each.version,
                PlanFile(package_path(each.sha256, each.filename), 1, each.sha256),
            )
            for each in lock.packages
        ),
        lock=render(lock) if lock.conda_packages else "",
        **changes,
    )


def test_the_newest_plan_that_can_be_read_is_found(store: MemoryStore) -> None:
    plan = plan_for(LOCK)
    assert find_plan(store, LOCK) is None
    older = replace(plan, system=())
    Plans(store).write(older)
    Plans(store).write(plan)
    assert find_plan(store, LOCK) == plan
    assert Plans(store).of(plan.environment) == [plan.place, older.place]
    newer, place = changed(lambda document: document.update(format=5), "plan1/wheels.json")
    store.put(place.path, newer)
    assert find_plan(store, LOCK) == plan
    assert {place for _, place in Plans(store).places()} == {plan.place, older.place, place}


OTHER = plan_for(LOCK).packages[0]
LIBRARY = package("e", "evil-1.0-py3-none-any.whl", 1)


@pytest.mark.parametrize("lock", [LOCK, MIXED], ids=["wheels", "conda"])
@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, packages=plan.packages[1:]),
        lambda plan: replace(plan, packages=(*plan.packages, OTHER)),
        lambda plan: replace(plan, packages=(plan.packages[0]._replace(file=LIBRARY), *plan.packages[1:])),
        lambda plan: replace(plan, packages=plan.packages[::-1]),
        lambda plan: replace(plan, python=plan.python._replace(series="3.11")),
        lambda plan: replace(plan, python=plan.python._replace(image=((0, None),))),
        lambda plan: replace(plan, python=plan.python._replace(build=BUILD._replace(version="3.12.1"))),
        lambda plan: replace(plan, python=plan.python._replace(build=BUILD._replace(executable="python/bin/x"))),
        lambda plan: replace(plan, tools=PlanTools(UV, None if plan.tools.conda else PLANS["conda.json"].tools.conda)),
        lambda plan: replace(plan, lock=render(replace(MIXED, packages=MIXED.packages[1:]))) if plan.lock else None,
    ],
)
def test_a_plan_of_anything_else_than_its_lock_is_passed_over(
    store: MemoryStore, lock: Lock, change: Callable[[Plan], Plan | None]
) -> None:
    """Whoever writes to the cache could add a plan, under its own right name, that installs something else."""
    plan = plan_for(lock)
    assert is_of(plan, lock)
    changed = change(plan)
    if changed is None:
        return
    assert not is_of(changed, lock)
    Plans(store).write(changed)
    with pytest.raises(PlanDamaged):
        find_plan(store, lock)


def test_a_plan_whose_build_is_another_than_the_locked_one_is_passed_over() -> None:
    exact = LOCKS["pylock.exact.toml"]
    python = exact.python
    build = PythonBuild(
        PlanFile(package_path(python.sha256, python.filename), 1, python.sha256), "3.12.9", "python/bin/python3.12"
    )
    plan = replace(plan_for(exact), python=PlanPython("3.12", None, build))
    assert is_of(plan, exact)
    assert not is_of(replace(plan, python=plan.python._replace(build=None)), exact)
    assert not is_of(replace(plan, python=plan.python._replace(build=BUILD)), exact)
    assert not is_of(replace(plan, python=plan.python._replace(image=((0, None),))), exact)


def test_a_lock_whose_plans_cannot_be_read_has_an_error_that_says_why(store: MemoryStore) -> None:
    newer, place = changed(lambda document: document.update(format=5), "plan1/wheels.json")
    store.put(place.path, newer)
    with pytest.raises(NewerPlan):
        find_plan(store, LOCK)
    store.put(PlanPlace(place.environment, "f" * 64).path, b"{}")
    with pytest.raises(PlanDamaged):
        find_plan(store, LOCK)


def test_a_plan_that_was_changed_is_not_there(store: MemoryStore) -> None:
    plan = PLANS["wheels.json"]
    assert not Plans(store).has(plan)
    store.put(plan.place.path, plan.render().replace(b"12345", b"12346"))
    assert not Plans(store).has(plan)
    Plans(store).write(plan)
    assert Plans(store).has(plan)
