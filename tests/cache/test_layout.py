from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envlock.cache.errors import UnsafePath
from envlock.cache.layout import (
    EnvironmentPlace,
    PlanPlace,
    ResolvedPlace,
    alias_folder,
    checked,
    environment_at,
    environment_place,
    kit_at,
    kit_path,
    move_at,
    move_path,
    package_at,
    package_path,
    plan_at,
    probe_path,
    push_path,
    resolved_at,
    resolved_folder,
    resolved_place,
    step_folder,
    sweep_path,
)
from envlock.model.arch import ARCHS, LINUX_64, Arch
from envlock.model.lock import Lock, LockedPython
from envlock.model.requirements import Requirements
from envlock.named.alias import Alias

SHA = "ab" + "0" * 62
HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    "filename",
    [
        "demo-1.0-py3-none-any.whl",
        "torch-2.1+cu118-1!0-cp312-cp312-linux_x86_64.whl",
        "cpython-3.12.4+20240726-x86_64-unknown-linux-gnu-install_only.tar.gz",
        "_libgcc_mutex-0.1-conda_forge.tar.bz2",
        "a" * 200,
    ],
)
def test_names_that_packages_have(filename: str) -> None:
    path = package_path(SHA, filename)
    assert path == f"packages/ab/{SHA}/{filename}"
    assert package_at(path) == (SHA, filename)


@pytest.mark.parametrize(
    "filename",
    [
        *[
            "",
            ".",
            "..",
            "../x.whl",
            "a/b.whl",
            "/etc/passwd",
            "a\\b.whl",
            ".hidden",
            "-rf",
            "~root",
            "a\n",
            "a\0b",
            "a b",
        ],
        *["a?", "a*", "a[1]", "a#b", "a:b", "é.whl", "a\u202egpj.whl", "x" * 201, "%2e%2e/x", "\uff0e\uff0e"],
    ],
)
def test_names_that_no_package_has(filename: str) -> None:
    with pytest.raises(UnsafePath) as caught:
        package_path(SHA, filename)
    assert caught.value.exit_status == 3
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "sha256", ["", "ab", SHA + "0", SHA[:-1], SHA.upper(), "../" + SHA[3:], SHA[:-1] + "\n", SHA + "\n"]
)
def test_what_is_no_sha256(sha256: str) -> None:
    with pytest.raises(UnsafePath):
        package_path(sha256, "demo-1.0-py3-none-any.whl")


@given(st.text(), st.text())
def test_no_package_path_leaves_the_root(sha256: str, filename: str) -> None:
    stays_or_is_refused(lambda: package_path(sha256, filename))


@given(st.text(alphabet="./\\~-ab%\0\n "))
def test_no_file_name_made_of_dots_and_slashes_leaves_the_root(filename: str) -> None:
    stays_or_is_refused(lambda: package_path(SHA, filename))


@given(st.text(), st.text(), st.text())
def test_no_environment_path_leaves_the_root(arch: str, req_id: str, full_id: str) -> None:
    stays_or_is_refused(lambda: EnvironmentPlace(Arch(arch), req_id, full_id).path)


@given(st.text(alphabet="./\\ab\0"))
def test_no_checked_path_leaves_the_root(path: str) -> None:
    stays_or_is_refused(lambda: checked(path))


def stays_or_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    try:
        path = make()
    except UnsafePath:
        return
    parts = PurePosixPath(path).parts
    assert not path.startswith("/")
    assert ".." not in parts
    assert "\0" not in path
    assert str(PurePosixPath(path)) == path, "it is spelt in one way only"


@given(
    st.text(alphabet=HEX, min_size=64, max_size=64),
    st.from_regex(r"[a-z0-9_]{1,20}-[0-9.+!]{1,9}\.whl", fullmatch=True),
)
def test_a_package_is_found_by_its_path(sha256: str, filename: str) -> None:
    assert package_at(package_path(sha256, filename)) == (sha256, filename)


ids = st.text(alphabet=HEX, min_size=40, max_size=40)


@given(st.sampled_from(ARCHS), ids, ids)
def test_an_environment_is_found_by_its_path(arch: Arch, req_id: str, full_id: str) -> None:
    place = EnvironmentPlace(arch, req_id, full_id)
    assert environment_at(place.path) == place


def test_a_lock_has_one_place() -> None:
    lock = Lock(LINUX_64, Requirements(), LockedPython("machine", "3.12.0"), ())
    assert environment_place(lock).path == f"envs/linux-64/{lock.req_id}/{lock.full_id}.toml"
    assert environment_place(lock).identity == lock.identity


@pytest.mark.parametrize(
    "path",
    [
        "packages",
        "packages/README.md",
        f"packages/cd/{SHA}/demo.whl",
        f"packages/ab/{SHA}/.demo.whl.part",
        f"packages/ab/{SHA}/sub/demo.whl",
        f"other/ab/{SHA}/demo.whl",
    ],
)
def test_where_no_package_belongs(path: str) -> None:
    assert package_at(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "envs",
        "envs/linux-64/a/b.toml",
        f"envs/win-64/{'1' * 40}/{'2' * 40}.toml",
        f"envs/linux-64/{'1' * 40}/{'2' * 40}",
    ],
)
def test_where_no_environment_belongs(path: str) -> None:
    assert environment_at(path) is None


OUTSIDE = ("..", ".", "", "a/b", "../x", "/etc", "a\0b", "a\n")
"""Parts that would make a path lead elsewhere, or be no path."""
ONE, TWO = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    "place",
    [
        *(EnvironmentPlace(Arch(bad), ONE, TWO) for bad in (*OUTSIDE, "win-64")),
        *(EnvironmentPlace(LINUX_64, bad, TWO) for bad in (*OUTSIDE, ONE[1:], ONE + "1", ONE[1:] + "G")),
        *(EnvironmentPlace(LINUX_64, ONE, bad) for bad in (*OUTSIDE, TWO[1:], TWO + "2", TWO[1:] + "G")),
    ],
)
def test_an_environment_with_a_strange_part_has_no_path(place: EnvironmentPlace) -> None:
    with pytest.raises(UnsafePath):
        _ = place.path


@pytest.mark.parametrize("bad", [*OUTSIDE, "-rf", ".hidden", "x" * 201])
def test_a_run_with_a_strange_part_has_no_folder(bad: str) -> None:
    assert step_folder("TrainFlow", "142", "train") == "pathspecs/TrainFlow/142/train"
    for parts in ((bad, "142", "train"), ("TrainFlow", bad, "train"), ("TrainFlow", "142", bad)):
        with pytest.raises(UnsafePath):
            step_folder(*parts)


@pytest.mark.parametrize(
    "alias", [Alias("../x"), Alias("team/../x"), Alias("/team"), Alias("team", "../v1"), Alias("team", ""), Alias("")]
)
def test_what_is_no_alias_has_no_folder(alias: Alias) -> None:
    with pytest.raises(UnsafePath):
        alias_folder(alias)
    with pytest.raises(UnsafePath):
        move_path(alias, 1)


@pytest.mark.parametrize(
    "path",
    [
        "aliases/team/@tags/v1/0000000000.json",
        "aliases/team/@tags/v1/1.json",
        "aliases/team/../x/@tags/v1/0000000001.json",
        "aliases/team/@tags/../0000000001.json",
        "aliases/team/v1/0000000001.json",
    ],
)
def test_where_no_move_belongs(path: str) -> None:
    assert move_at(path) is None


@pytest.mark.parametrize("bad", OUTSIDE)
def test_records_of_who_resolved_stay_in_their_folder(bad: str) -> None:
    assert resolved_folder(ONE, LINUX_64) == f"resolved/{ONE}/linux-64"
    for req_id, arch in ((bad, LINUX_64), (ONE, bad), (ONE[1:], LINUX_64), (ONE, "win-64")):
        with pytest.raises(UnsafePath):
            resolved_folder(req_id, arch)
    with pytest.raises(UnsafePath):
        _ = ResolvedPlace(bad, "mia", EnvironmentPlace(LINUX_64, ONE, TWO)).path
    with pytest.raises(UnsafePath):
        _ = ResolvedPlace("20261101T093000Z", "mia", EnvironmentPlace(LINUX_64, ONE, bad)).path


def test_where_no_record_of_who_resolved_belongs() -> None:
    name = f"20261101T093000Z-mia-{TWO}"
    assert resolved_at(f"resolved/{ONE}/linux-64/{name}") is not None
    for path in (f"resolved/{ONE}/win-64/{name}", f"resolved/{ONE}/linux-64/x{name}", f"envs/{ONE}/linux-64/{name}"):
        assert resolved_at(path) is None


def test_a_lock_without_a_time_has_no_record_of_who_resolved_it() -> None:
    lock = Lock(LINUX_64, Requirements(), LockedPython("machine", "3.12.0"), ())
    assert resolved_place(lock) is None
    dated = resolved_place(replace(lock, resolved_by="mia", resolved_at="2026-11-01T09:30:00Z"))
    assert dated is not None
    assert dated.path == f"resolved/{lock.req_id}/linux-64/20261101T093000Z-mia-{lock.full_id}"


def test_what_processes_leave_has_a_folder_of_its_kind() -> None:
    assert probe_path("ab") == "probe/ab"
    assert push_path("ab") == "pushes/ab.json"
    assert sweep_path("ab") == "sweeps/ab.json"


PLACE = EnvironmentPlace(LINUX_64, "1" * 40, "2" * 40)


def test_kits_and_plans_have_folders_that_an_older_gc_never_visits() -> None:
    part, plan = kit_path(SHA, "kernel.zip"), PlanPlace(PLACE, SHA).path
    assert part == f"kits/objects/ab/{SHA}/kernel.zip"
    assert plan == f"plans/linux-64/{'1' * 40}/{'2' * 40}/{SHA}.json"
    assert kit_at(part) == (SHA, "kernel.zip")
    assert package_at(part) is None
    assert kit_at(package_path(SHA, "kernel.zip")) is None
    found = plan_at(plan)
    assert found is not None
    assert (found.environment, found.sha256) == (PLACE, SHA)
    assert environment_at(plan) is None


@pytest.mark.parametrize(
    "path",
    [
        *[
            "plans/README.md",
            f"plans/linux-64/{'1' * 40}/{'2' * 40}.json",
            f"plans/mars/{'1' * 40}/{'2' * 40}/{SHA}.json",
        ],
        *[f"plans/linux-64/{'1' * 40}/{'2' * 40}/{SHA}", f"plans/linux-64/{'1' * 40}/x/{SHA}.json"],
        *["kits/README.md", "kits/objects/ab/x/kernel.zip", f"kits/objects/ac/{SHA}/kernel.zip"],
    ],
)
def test_what_is_neither_a_kit_nor_a_plan(path: str) -> None:
    assert kit_at(path) is None
    assert plan_at(path) is None


@pytest.mark.parametrize("filename", ["../kernel.zip", "", ".hidden", "a/b"])
def test_names_that_no_file_of_a_kit_has(filename: str) -> None:
    with pytest.raises(UnsafePath):
        kit_path(SHA, filename)


@pytest.mark.parametrize("sha256", ["", "x" * 64, "a" * 63, "../x"])
def test_names_that_no_plan_has(sha256: str) -> None:
    with pytest.raises(UnsafePath):
        _ = PlanPlace(PLACE, sha256).path
