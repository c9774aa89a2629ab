"""The values of variables in the name of an environment, as each scheduler gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from metaflow.datastore import FlowDataStore
from metaflow.plugins import DATASTORES

from metaflow_extensions.envlock.plugins.node.errors import NodeError
from metaflow_extensions.envlock.plugins.node.manifest import parse
from metaflow_extensions.envlock.plugins.node.parameters import values_of
from tests.node.plans import canonical, manifest

TAG = "METAFLOW_INIT_ENV_TAG"
TASK = {"MF_PATHSPEC": "TrainFlow/argo-train-x7/late/t-5e2"}
NAMES = {TAG: "tag_variable", "METAFLOW_INIT_N": "n"}


def values(*wanted: str, **environ: str) -> dict[str, str]:
    return values_of(set(wanted), parse(canonical(manifest(parameters=NAMES))), "late", {**TASK, **environ})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run, in a datastore of Metaflow: `run(tag_variable="v1")` writes its parameters."""
    (storage,) = [each for each in DATASTORES if each.TYPE == "local"]
    monkeypatch.setattr(storage, "SYSROOT_VAR", str(tmp_path))
    monkeypatch.setattr(storage, "datastore_root", None)
    root = storage.get_datastore_root_from_config(lambda *_: None)

    def write(**parameters: object) -> None:
        store = FlowDataStore("TrainFlow", environment=None, storage_impl=storage, ds_root=root)
        task = store.get_task_datastore("argo-train-x7", "_parameters", "p-1", attempt=0, mode="w")
        task.init_task()
        task.save_artifacts(iter(parameters.items()))
        task.done()

    return write


def test_the_run_is_known_by_its_pathspec_whatever_the_scheduler_sets_beside_it() -> None:
    wanted = ("METAFLOW_RUN_ID", "METAFLOW_RUN_ID_BASE", "METAFLOW_STEP_NAME", "METAFLOW_TASK_ID")
    got = values(*wanted, METAFLOW_RUN_ID="train-x7", METAFLOW_TASK_ID="()")
    assert got == dict(zip(wanted, ("argo-train-x7", "argo-train-x7", "late", "t-5e2"), strict=True))


def test_argo_exports_the_parameters_of_the_start_step() -> None:
    assert values(TAG, METAFLOW_INIT_ENV_TAG="stable") == {TAG: "stable"}


def test_step_functions_gives_defaults_and_what_was_chosen() -> None:
    defaults, chosen = json.dumps({"env-tag": "latest", "n": 3}), json.dumps({"env-tag": "stable"})
    given = {"METAFLOW_DEFAULT_PARAMETERS": defaults, "METAFLOW_PARAMETERS": chosen}
    assert values(TAG, "METAFLOW_INIT_N", **given) == {TAG: "stable", "METAFLOW_INIT_N": "3"}
    assert values(TAG, METAFLOW_DEFAULT_PARAMETERS=defaults) == {TAG: "latest"}


@pytest.mark.parametrize("text", [json.dumps({"env_tag": "stable"}), json.dumps(json.dumps({"env-tag": "stable"}))])
def test_airflow_gives_them_as_json(text: str) -> None:
    assert values(TAG, METAFLOW_PARAMETERS=text) == {TAG: "stable"}


def test_later_steps_find_them_where_the_run_keeps_them(run: Any) -> None:
    run(tag_variable="stable", n=3)
    wanted = (TAG, "METAFLOW_INIT_N", "METAFLOW_INIT_UNKNOWN")
    assert values(*wanted, METAFLOW_DEFAULT_DATASTORE="local") == {TAG: "stable", "METAFLOW_INIT_N": "3"}


def test_a_parameter_without_a_value_has_none(run: Any) -> None:
    run(tag_variable=None)
    assert values(TAG, "METAFLOW_INIT_N", METAFLOW_DEFAULT_DATASTORE="local") == {}
    assert values(TAG, METAFLOW_PARAMETERS='{"env-tag": null}', METAFLOW_DEFAULT_DATASTORE="local") == {}


def test_a_datastore_that_cannot_be_read_is_reported() -> None:
    with pytest.raises(NodeError, match=r"TrainFlow/argo-train-x7 cannot be read"):
        values(TAG, METAFLOW_DEFAULT_DATASTORE="no-such")


def test_other_variables_are_those_of_the_task() -> None:
    assert values("TEAM", "UNSET", TEAM="fraud") == {"TEAM": "fraud"}


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', ""])
def test_what_is_no_list_of_parameters_is_passed_over(text: str, run: Any) -> None:
    run(tag_variable="stable")
    assert values(TAG, METAFLOW_PARAMETERS=text, METAFLOW_DEFAULT_DATASTORE="local") == {TAG: "stable"}
