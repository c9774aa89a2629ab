"""Runs in the venv of Airflow: `airflow_run.py DAG.py CONF COMMAND...` runs a DAG to its end, in this process.

All is Airflow's own, its templates, mapped tasks and XComs, but for the one place where an operator would ask a cluster
for a pod: it asks COMMAND, as `tests.pods` is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace


def main() -> int:
    from airflow.models import DagBag
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.utils.state import DagRunState
    from kubernetes.client import ApiClient

    path, conf, *command = sys.argv[1:]

    def execute(self, context):
        instance = context["ti"]
        pod = ApiClient().sanitize_for_serialization(self.build_pod_request_obj(context))
        container = pod["spec"]["containers"][0]
        asked = {
            "name": f"{instance.task_id}-{instance.map_index}-{instance.try_number}",
            "image": container["image"],
            "command": container["command"] + container["args"],
            "variables": {each["name"]: str(each.get("value", "x")) for each in container["env"]},
        }
        done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    KubernetesPodOperator.execute = execute
    KubernetesPodOperator.hook = SimpleNamespace(
        is_in_cluster=True,
        get_xcom_sidecar_container_image=lambda: None,
        get_xcom_sidecar_container_resources=lambda: None,
    )
    bag = DagBag(path, include_examples=False)
    assert not bag.import_errors, bag.import_errors
    (dag,) = bag.dags.values()
    run = dag.test(run_conf=json.loads(conf))
    metaflow_id = dag.user_defined_filters["run_id_creator"]([run.run_id, dag.dag_id])
    print(f"{run.state}: (run-id airflow-{metaflow_id})")
    return 0 if run.state == DagRunState.SUCCESS else 1


if __name__ == "__main__":
    sys.exit(main())
