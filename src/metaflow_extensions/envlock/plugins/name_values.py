"""The values of `@{VARIABLE}` in the name of an environment that is looked up when a task starts.

Standard library and Metaflow only: the launcher may have no more.
"""

from metaflow.util import decompress_list

from .node.parameters import PARAMETER, VARIABLE, variable_of


def runtime_values(name, step, options, flow, datastore):
    """The values of those variables in a name that only the run knows; envlock itself finds environment variables.

    `options` are those of the task's command line. A parameter's value is read from the task's parent, as the task
    itself reads it, so it is right in a resumed run too.
    """
    known = {
        "METAFLOW_RUN_ID": str(options["run-id"]),
        "METAFLOW_RUN_ID_BASE": str(options["run-id"]),
        "METAFLOW_STEP_NAME": step,
        "METAFLOW_TASK_ID": str(options["task-id"]),
    }
    wanted = set(VARIABLE.findall(name))
    values = {variable: known[variable] for variable in wanted if variable in known}
    parameters = [variable for variable in wanted if variable.startswith(PARAMETER)]
    if parameters:
        values.update(_parameters(parameters, options, flow, datastore))
    return values


def parameter_variables(flow):
    """The variable of each parameter of a flow, by its name in `@{METAFLOW_INIT_...}`."""
    return {
        variable_of(parameter.name): variable
        for variable, parameter in flow._get_parameters()  # noqa: SLF001  Metaflow has no public list of them
        if not getattr(parameter, "IS_CONFIG_PARAMETER", False)
    }


def _parameters(wanted, options, flow, datastore):
    names = parameter_variables(flow)
    datastore = _of_the_parents(options, flow, datastore)
    run, step, task, *attempt = decompress_list(options["input-paths"])[0].split("/")
    parent = datastore.get_task_datastore(run, step, task, *map(int, attempt))
    return {each: str(parent[names[each]]) for each in wanted if each in names and names[each] in parent}


def _of_the_parents(options, flow, datastore):
    """The datastore of a task's parents: `spin` has one of its own, and tells its task where the run's is."""
    kind, _, root = (options.get("orig-flow-datastore") or "").partition("@")
    if not kind:
        return datastore
    from metaflow.datastore import FlowDataStore
    from metaflow.plugins import DATASTORES

    (storage,) = [each for each in DATASTORES if kind == each.TYPE]
    storage.datastore_root = root
    return FlowDataStore(flow.name, environment=None, storage_impl=storage, ds_root=root)
