"""The manifest says which environment a task has."""

from __future__ import annotations

from pathlib import Path

import pytest

from envlock.remote.manifest import render_manifest
from metaflow_extensions.envlock.plugins.node.errors import Damaged, Misconfigured, Missing, NodeError
from metaflow_extensions.envlock.plugins.node.manifest import Reference, Target, manifest_path, parse, read
from tests.node.plans import ARCH, FULL_ID, REQ_ID, canonical, manifest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A code package, unpacked, with the manifest of a flow."""
    (tmp_path / ".mf_meta").mkdir()
    (tmp_path / ".mf_meta" / "envlock.json").write_bytes(canonical(manifest()))
    monkeypatch.setenv("METAFLOW_EXTRACTED_ROOT", str(tmp_path))
    return tmp_path


def test_a_step_is_locked_disabled_or_looked_up(package: Path) -> None:
    found = read(manifest_path(), "TrainFlow")
    assert found.cache == "s3://team/envlock"
    assert found.entry("start") == Target(ARCH, REQ_ID, FULL_ID, "a" * 64)
    assert found.entry("join") is None
    assert found.entry("late") == Reference("name", "team/env:@{METAFLOW_INIT_ENV_TAG}")
    assert found.entry("ran") == Reference("pathspec", "TrainFlow/142/start")


def test_what_it_does_not_say_of_nodes_has_the_defaults_of_workstations() -> None:
    found = parse(canonical(manifest()))
    assert (found.keep, found.python, found.compile_bytecode, found.link_scripts) == (20 * 10**9, "image", False, ())
    said = {"keep": 5, "python": "kit", "compile-bytecode": True, "link-scripts": ["tool"]}
    found = parse(canonical(manifest(node=said)))
    assert (found.keep, found.python, found.compile_bytecode, found.link_scripts) == (5, "kit", True, ("tool",))
    assert found.node == said


def test_it_reads_what_envlock_writes() -> None:
    plan = Target(ARCH, REQ_ID, FULL_ID, "a" * 64)
    written = render_manifest("TrainFlow", {"start": plan, "end": None}, cache="s3://team/envlock")
    found = parse(written.encode())
    assert (found.entry("start"), found.entry("end"), found.own) == (Target(*plan), None, {})
    written = render_manifest("TrainFlow", {"start": plan, "end": None}, own={"start": ["A", "B"], "end": ["C"]})
    assert parse(written.encode()).own == {"start": ("A", "B")}
    assert parse(render_manifest("TrainFlow", {"start": None}).encode()).cache == ""


def test_a_step_that_was_not_deployed_is_named(package: Path) -> None:
    with pytest.raises(Missing, match=r"TrainFlow/other: deploy"):
        read(manifest_path(), "TrainFlow").entry("other")


def test_the_manifest_of_another_flow_is_not_used(package: Path) -> None:
    with pytest.raises(Missing, match=r"of TrainFlow, not of InnerFlow"):
        read(manifest_path(), "InnerFlow")


def test_a_package_without_a_manifest_says_what_to_do(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / ".mf_meta" / "envlock.json").unlink()
    with pytest.raises(Missing, match="--environment=envlock"):
        read(manifest_path(), "TrainFlow")
    monkeypatch.delenv("METAFLOW_EXTRACTED_ROOT")
    with pytest.raises(Misconfigured, match="METAFLOW_EXTRACTED_ROOT"):
        read(manifest_path(), "TrainFlow")


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"format 2.*format 1.*deploy"):
        parse(canonical(manifest(format=2, steps="changed")))


@pytest.mark.parametrize(
    "more",
    [
        {"format": "1"},
        {"format": 0},
        {"flow": 3},
        {"cache": None},
        {"options": []},
        {"parameters": {"METAFLOW_INIT_X": 1}},
        {"own": {"start": "A"}},
        {"own": {"start": [1]}},
        {"environments": [["linux-64"]]},
        {"environments": [["../etc", REQ_ID, FULL_ID, "a" * 64]]},
        {"environments": [[ARCH, REQ_ID + "\n", FULL_ID, "a" * 64]]},
        {"environments": [[ARCH, REQ_ID, FULL_ID, "../" + "a" * 61]]},
        {"steps": {"start": 1}},
        {"steps": {"start": -1}},
        {"steps": {"start": ["alias"]}},
        {"steps": {"start": True}},
        {"node": {"python": "mine"}},
        {"node": {"keep": "20 GB"}},
        {"node": {"link-scripts": [1]}},
        {"steps": {"start": 0.5}},
        {"steps": []},
    ],
    ids=str,
)
def test_a_value_that_is_none_is_damage(more: dict[str, object]) -> None:
    with pytest.raises(Damaged):
        parse(canonical(manifest(**more)))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"null", b"{" * 100000, canonical(manifest())[:-20]], ids=len)
def test_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(NodeError) as raised:
        parse(data)
    assert raised.value.status == 3
