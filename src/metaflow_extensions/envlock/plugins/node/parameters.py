"""The values of `@{VARIABLE}` in the name of an environment, as each scheduler gives them to a task.

`$MF_PATHSPEC` is the one variable that all of them set alike. Parameters are those of the run: its start step finds
them in variables, and the later steps where the run keeps them.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, Mapping, Set

from .errors import NodeError
from .manifest import PATHSPEC_VARIABLE, Manifest

VARIABLE = re.compile(r"@\{([^{}]*)\}")
PARAMETER = "METAFLOW_INIT_"
"""How the variables of parameters begin."""


def values_of(wanted: Set[str], manifest: Manifest, step: str, environ: Mapping[str, str]) -> Dict[str, str]:
    """The values of some variables, without those that have none. What the run knows comes before `environ`.

    Reading a parameter in a later step imports Metaflow and reads its datastore. Raises NodeError if that fails.
    """
    run, task = _run_and_task(environ)
    known = {
        "METAFLOW_RUN_ID": run,
        "METAFLOW_RUN_ID_BASE": run,
        "METAFLOW_STEP_NAME": step,
        "METAFLOW_TASK_ID": task,
    }
    parameters = {name for name in wanted if name.startswith(PARAMETER)}
    values = {name: known[name] for name in wanted if known.get(name)}
    # Step Functions and Airflow give the start step its parameters as JSON; Argo exports each of them.
    given = _given(environ)
    values.update({name: given[name] for name in parameters if name in given})
    unknown = {name: manifest.parameters[name] for name in parameters - set(values) if name in manifest.parameters}
    unknown = {name: variable for name, variable in unknown.items() if name not in environ}
    if unknown and run:
        values.update(_kept(unknown, manifest.flow, run, environ))
    for name in wanted - set(values):
        if name in environ:
            values[name] = environ[name]
    return values


def variable_of(parameter: str) -> str:
    """The variable of a parameter in the name of an environment.

    >>> variable_of("env-tag")
    'METAFLOW_INIT_ENV_TAG'
    """
    return PARAMETER + parameter.upper().replace("-", "_")


def _run_and_task(environ: Mapping[str, str]) -> tuple[str, str]:
    parts = environ.get(PATHSPEC_VARIABLE, "").split("/")
    return (parts[1], parts[3]) if len(parts) == 4 else ("", "")


def _given(environ: Mapping[str, str]) -> Dict[str, str]:
    given: Dict[str, str] = {}
    for variable in ("METAFLOW_DEFAULT_PARAMETERS", "METAFLOW_PARAMETERS"):
        try:
            found = json.loads(environ.get(variable) or "{}")
            found = json.loads(found) if isinstance(found, str) else found
            items = found.items()
        except (ValueError, AttributeError):
            continue
        for name, value in items:
            if value is not None:
                given[variable_of(name)] = str(value)
    return given


def _kept(wanted: Mapping[str, str], flow: str, run: str, environ: Mapping[str, str]) -> Dict[str, str]:
    """The parameters of a run: artifacts of its task `_parameters`, by their variables."""
    try:
        from metaflow.datastore import FlowDataStore
        from metaflow.metaflow_config import DEFAULT_DATASTORE
        from metaflow.plugins import DATASTORES

        kind = environ.get("METAFLOW_DEFAULT_DATASTORE") or DEFAULT_DATASTORE
        (storage,) = [each for each in DATASTORES if kind == each.TYPE]
        root = storage.get_datastore_root_from_config(_say_nothing)
        store = FlowDataStore(flow, environment=None, storage_impl=storage, ds_root=root)
        values: Dict[str, str] = {}
        for task in store.get_task_datastores(run, steps=["_parameters"]):
            found = {name: task[variable] for name, variable in wanted.items() if variable in task}
            values.update({name: str(value) for name, value in found.items() if value is not None})
    except Exception as error:  # noqa: BLE001  each datastore raises what its library raises
        raise NodeError(
            "the parameters of %s/%s cannot be read from Metaflow's datastore (%s): let this node read it"
            % (flow, run, type(error).__name__)
        ) from None
    return values


def _say_nothing(*_: Any, **__: Any) -> None:
    pass
