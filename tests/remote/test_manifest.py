"""The manifest: what a code package says of its steps, in few bytes and always the same ones."""

from __future__ import annotations

import json
from typing import Any

from envlock.remote.manifest import StepOnNode, render_manifest
from metaflow_extensions.envlock.plugins.node.manifest import Target


def plan(letter: str, arch: str = "linux-64") -> Target:
    return Target(arch, letter * 40, letter * 40, letter * 64)


def test_each_step_has_the_number_of_its_environment_a_name_or_nothing() -> None:
    steps: dict[str, StepOnNode] = {
        "start": plan("a"),
        "train": plan("b", "linux-aarch64"),
        "score": plan("a"),
        "join": None,
        "late": "team/env:@{METAFLOW_INIT_ENV_TAG}",
    }
    text = render_manifest("TrainFlow", steps, cache="s3://team/envlock", parameters={"METAFLOW_INIT_ENV_TAG": "tag"})
    document = json.loads(text)
    a, b = list(plan("a")), list(plan("b", "linux-aarch64"))
    found = {
        step: document["environments"][needed] if isinstance(needed, int) else needed
        for step, needed in document["steps"].items()
    }
    assert found == {"start": a, "train": b, "score": a, "join": None, "late": steps["late"]}
    assert len(document["environments"]) == 2
    assert (document["format"], document["flow"], document["cache"]) == (1, "TrainFlow", "s3://team/envlock")
    assert document["parameters"] == {"METAFLOW_INIT_ENV_TAG": "tag"}


def test_only_what_differs_from_the_defaults_is_said() -> None:
    text = render_manifest("TrainFlow", {"start": plan("a")}, cache="s3://team/x", parameters={"METAFLOW_INIT_N": "n"})
    assert set(json.loads(text)) == {"format", "flow", "environments", "steps", "cache"}
    options, node = {"endpoint": "https://objects.example"}, {"python": "kit"}
    more = json.loads(render_manifest("TrainFlow", {"start": plan("a")}, cache="s3://x", options=options, node=node))
    assert (more["options"], more["node"]) == (options, node)


def test_the_same_flow_has_the_same_bytes_in_whatever_order_its_steps_come() -> None:
    steps: dict[str, StepOnNode] = {f"step_{number}": plan("abc"[number % 3]) for number in range(9)}
    backwards = dict(reversed(steps.items()))
    assert render_manifest("F", steps, cache="s3://x") == render_manifest("F", backwards, cache="s3://x")
    assert render_manifest("F", steps).isascii()


def test_it_takes_1_kb_and_200_bytes_a_step_where_each_has_its_own_environment() -> None:
    def size(count: int) -> int:
        steps: dict[str, StepOnNode] = {
            f"a_step_of_the_flow_{number:03}": Target("linux-aarch64", f"{number:040}", "f" * 40, "e" * 64)
            for number in range(count)
        }
        more: dict[str, Any] = {"options": {"endpoint": "https://objects.example:9000", "region": "eu-central-1"}}
        return len(render_manifest("SomeLongNameOfAFlow", steps, cache="s3://team/envlock", **more))

    assert size(1) <= 1000
    assert (size(500) - size(1)) / 499 <= 200
