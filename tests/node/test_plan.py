"""A plan is used only if it is the one that the flow was deployed with, and each of its values can be used."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured
from metaflow_extensions.envlock.plugins.node.machine import node_arch
from metaflow_extensions.envlock.plugins.node.manifest import Target
from metaflow_extensions.envlock.plugins.node.plan import parse, path_of
from tests.node.packs import Member, pack_of, part_of
from tests.node.plans import (
    ARCH,
    FULL_ID,
    REQ_ID,
    canonical,
    conda_plan,
    packed_plan,
    python_build,
    stored,
    target_of,
    tool,
    wheels_plan,
)

PART = part_of([Member("lib/x.py", b"x")]).fields
RAW = pack_of([part_of([Member("lib/x.py", b"x")])])["raw"]
WHEEL = stored(b"wheel", "demo-1.0-py3-none-any.whl", kind="wheel", name="demo", version="1.0")


def parsed(fields: Mapping[str, Any]) -> Any:
    data = canonical(fields)
    return parse(data, target_of(data))


def test_a_plan_of_wheels_names_what_to_fetch() -> None:
    plan = parsed(wheels_plan(WHEEL))
    assert (plan.install, plan.arch, plan.req_id, plan.full_id) == ("wheels", ARCH, REQ_ID, FULL_ID)
    assert [(each.kind, each.name, each.size, each.path) for each in plan.packages] == [
        ("wheel", "demo", 5, WHEEL["path"])
    ]
    assert plan.python.image == ((4, None),)
    assert (plan.python.build.version, plan.python.build.executable) == ("3.12.4", "python/bin/python3.12")
    assert plan.system == (("__glibc", "2.17"),)
    assert plan.tools.uv.path.endswith("uv-0.13.9-py3-none-any.whl")


def test_a_plan_of_conda_packages_brings_what_links_them() -> None:
    plan = parsed(conda_plan(stored(b"x", "x-1-0.conda", kind="conda", name="x", version="1"), WHEEL))
    assert [each.kind for each in plan.packages] == ["conda", "wheel"]
    assert plan.python.build is None
    tools = (plan.tools.uv, *plan.tools.rattler, plan.tools.kernel, plan.tools.python)
    assert [each.filename.partition("-")[0] for each in tools] == ["uv", "py_rattler", "kernel.zip", "python"]
    assert plan.lock == 'lock-version = "1.0"\n'


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).parents[1] / "formats").glob("plan[134]/*.json")),
    ids=lambda path: f"{path.parent.name} {path.stem}",
)
def test_it_reads_what_envlock_writes(path: Path) -> None:
    data = path.read_bytes()
    fields = json.loads(data)
    plan = parse(data, Target(fields["arch"], fields["req_id"], fields["full_id"], hashlib.sha256(data).hexdigest()))
    assert [each.sha256 for each in plan.packages] == [each["sha256"] for each in fields["packages"]]
    assert plan.data == data
    if "pack" in fields:
        pack = fields["pack"]
        assert (plan.pack.compiler, plan.pack.placeholder) == (pack["compiler"], pack["placeholder"])
        assert [each._asdict() for each in plan.pack.parts] == pack["parts"]
    else:
        assert plan.pack is None


def test_a_plan_with_a_pack_names_its_parts_and_what_installs_the_packages() -> None:
    part = part_of([Member("lib/x.py", b"x")])
    plan = parsed(packed_plan(pack_of([part]), WHEEL))
    assert [each.path for each in plan.pack.parts] == [part.path]
    assert plan.pack.placeholder == ""
    assert plan.tools.zstd.filename.startswith("backports_zstd")
    assert [each.name for each in plan.packages] == ["demo"]


@pytest.mark.parametrize(
    "change",
    [
        {"raw": "0" * 64},
        {"parts": []},
        {"placeholder": "/opt/x"},
        {"placeholder": None},
        {"compiler": "3.11.4"},
        {"compiler": "3.12"},
        {"compiler": None},
        *(
            {"parts": [{**PART, **each}]}
            for each in (
                {"path": f"packages/{PART['path'][6:]}"},
                {"path": f"parts/../{PART['path']}"},
                {"path": PART["path"].replace("parts/", "parts/0")},
                {"sha256": "0" * 64},
                {"size": -1},
                {"size": True},
                {"raw_size": 1 << 32},
                {"raw_size": "1"},
                {"raw_sha256": "x"},
                {"raw_sha256": None},
            )
        ),
    ],
    ids=str,
)
def test_a_pack_whose_parts_cannot_be_used_is_damage(change: dict[str, Any]) -> None:
    good = {"compiler": "3.12.4", "placeholder": "", "raw": RAW, "parts": [PART]}
    assert parsed(packed_plan(good)).pack is not None
    with pytest.raises(Damaged, match="cannot be carried out"):
        parsed(packed_plan({**good, **change}))


def test_a_pack_of_which_a_part_comes_twice_is_damage() -> None:
    part = part_of([Member("lib/x.py", b"x")])
    with pytest.raises(Damaged, match="cannot be carried out"):
        parsed(packed_plan(pack_of([part, part])))


def test_another_plan_in_its_place_is_damage_that_names_the_file() -> None:
    wanted = target_of(canonical(wheels_plan(WHEEL)))
    with pytest.raises(Damaged, match=r"not used.*envlock push") as raised:
        parse(canonical(wheels_plan()), wanted)
    assert path_of(wanted) in str(raised.value)
    assert path_of(wanted) == f"plans/{ARCH}/{REQ_ID}/{FULL_ID}/{wanted.plan}.json"


def test_it_has_the_variables_of_its_environment() -> None:
    assert parsed(wheels_plan(WHEEL, format=2, variables=[["SAID", "a 'b' $HOME"]])).variables == (
        ("SAID", "a 'b' $HOME"),
    )


@pytest.mark.parametrize(
    "rows", [[["PATH", "/x"]], [["LD_PRELOAD", "x"]], [["A", 1]], [["A"]], "AB", [["A B", "x"]]], ids=str
)
def test_a_variable_that_no_environment_may_set_is_damage(rows: object) -> None:
    with pytest.raises(Damaged):
        parsed(wheels_plan(WHEEL, format=2, variables=rows))


@pytest.mark.parametrize("key", ["arch", "req_id", "full_id"])
def test_a_plan_of_another_environment_is_damage(key: str) -> None:
    with pytest.raises(Damaged):
        parsed(wheels_plan(**{key: "linux-aarch64" if key == "arch" else "3" * 40}))


@pytest.mark.parametrize(
    "more", [{"format": 5}, {"install": "pack"}, {"packages": [{**WHEEL, "kind": "layer"}]}], ids=str
)
def test_what_a_newer_envlock_planned_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"newer envlock \(.*deploy the flow again"):
        parsed(wheels_plan(**more))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "packages/../../etc/passwd"},
        {"path": "/" + WHEEL["path"]},
        {"path": WHEEL["path"].replace("packages", "envs")},
        {"path": WHEEL["path"] + "/../x"},
        {"path": WHEEL["path"].rpartition("/")[0] + "/--config.whl"},
        {"path": WHEEL["path"] + "\n"},
        {"path": WHEEL["path"].replace("demo", "de mo")},
        {"path": 3},
        {"sha256": "0" * 64},
        {"sha256": WHEEL["sha256"][:2] + "0" * 62},
        {"sha256": WHEEL["sha256"].upper()},
        {"size": -1},
        {"size": "5"},
        {"size": True},
        {"name": 5},
        {"name": "\ud800"},
        {"version": "1\n[tool]"},
    ],
    ids=str,
)
def test_an_object_with_an_impossible_value_is_damage(change: dict[str, Any]) -> None:
    with pytest.raises(Damaged):
        parsed(wheels_plan({**WHEEL, **change}))


@pytest.mark.parametrize(
    "fields",
    [
        wheels_plan(format=True),
        wheels_plan(tools={}),
        wheels_plan(packages=None),
        wheels_plan(python={"series": "3", "image": None, "build": python_build()}),
        wheels_plan(python={"series": "3.12", "image": None, "build": None}),
        wheels_plan(python={"series": "3.12", "image": [["4", None]], "build": None}),
        wheels_plan(python={"series": "3.12", "image": [4], "build": None}),
        wheels_plan(python={"series": "3.12", "image": None, "build": {**python_build(), "executable": "/bin/sh"}}),
        wheels_plan(python={"series": "3.12", "image": None, "build": tool("python.tar.gz")}),
        wheels_plan(system=[["__glibc", 2]]),
        wheels_plan(system=[["__glibc", "9" * 5000]]),
        {**conda_plan(), "lock": ""},
        {**conda_plan(), "tools": {"uv": tool("uv.whl")}},
        [],
        None,
    ],
    ids=lambda fields: str(fields)[-90:],
)
def test_a_plan_that_cannot_be_carried_out_is_damage(fields: Any) -> None:
    with pytest.raises(Damaged):
        parsed(fields)


def test_a_machine_without_an_arch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(system: str, machine: str) -> None:
        monkeypatch.setattr(os, "uname", lambda: os.uname_result((system, "node", "6.1", "#1", machine)))

    pretend("Linux", "aarch64")
    assert node_arch() == "linux-aarch64"
    pretend("Linux", "ppc64le")
    with pytest.raises(Misconfigured, match="ppc64le"):
        node_arch()
