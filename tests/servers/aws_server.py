"""moto, for what Metaflow asks of AWS: S3, Batch, Step Functions, DynamoDB, IAM and EC2.

`python -m tests.servers.aws_server KIND FOLDER` prints its port, then Metaflow's settings for it as a line of JSON. The
jobs of Batch run as pods of that kind; Step Functions interprets the state machines that are deployed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import moto.core.config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.pods import Pod, Pods, pods_in
from tests.pods.pod import CREDENTIALS, wait_for

_REGION = "us-east-1"
_SLOTS = threading.Semaphore(2)  # as many jobs run at once


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say only what went wrong: the first line is the port."""


class _Container:
    """A job's attempts, one pod each, as moto asks docker for its container."""

    attrs: dict[str, Any] = {}

    def __init__(self, start: Callable[[int], Pod], attempts: int) -> None:
        self._start, self._attempts = start, attempts
        self._pods: list[Pod] = []
        self._status: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        status = 1
        with _SLOTS:
            for attempt in range(1, self._attempts + 1):
                self._pods.append(self._start(attempt))
                status = wait_for(self._pods[-1], 3600)
                if status == 0:
                    break
        self._status = status

    @property
    def status(self) -> str:
        return "running" if self._status is None else "exited"

    def wait(self) -> dict[str, int]:
        self._thread.join()
        return {"StatusCode": self._status or 0}

    def logs(self, *, stdout: bool, **_: object) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime())
        lines = (line for pod in self._pods for line in pod.said.splitlines()) if stdout else ()
        return "".join(f"{now} {line}\n" for line in lines).encode()

    def kill(self) -> None:
        self._attempts = 0
        for pod in self._pods:
            pod.kill()

    def reload(self) -> None: ...
    def remove(self) -> None: ...


class _Docker:
    """What moto uses of docker's client."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods
        self.containers = self
        self.variables: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        """How often the job of an id may be tried."""
        self.submitting = threading.Lock()

    def run(
        self, *, image: str, command: Sequence[str], environment: Mapping[str, str], name: str, **_: object
    ) -> _Container:
        with self.submitting:
            job_id, attempts = next((each, count) for each, count in self.attempts.items() if name.endswith(each))

        def start(attempt: int) -> Pod:
            given = {**self.variables, **environment, "AWS_BATCH_JOB_ID": job_id}
            return self._pods.start(
                f"{name}-{attempt}", image, command, {**given, "AWS_BATCH_JOB_ATTEMPT": str(attempt)}
            )

        return _Container(start, attempts)


def _mend_moto(docker: _Docker) -> None:
    """What moto does not do as AWS does, and Metaflow relies on."""
    import boto3
    from moto.batch import models as batch_models
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_batch
    from moto.utilities.docker_utilities import DockerModel

    DockerModel.docker_client = property(lambda _: docker)
    # It looks twice a second how far a job is, which has half a dozen states.
    batch_models.sleep = lambda _: time.sleep(0.05)
    batch_models.time = SimpleNamespace(sleep=batch_models.sleep, mktime=time.mktime)
    # A state machine spells the parameters of Batch as `JobName`, Batch itself as `jobName`.
    batch = state_task_service_batch.StateTaskServiceBatch
    model = boto3.client("batch", region_name=_REGION).meta.service_model
    operations = {"submit_job": "SubmitJob", "describe_jobs": "DescribeJobs"}
    batch._normalise_parameters = lambda self, parameters, *_, **__: self._to_boto_request(
        parameters, model.operation_model("SubmitJob").input_shape
    )
    batch._normalise_response = lambda self, response, _=None, service_action_name=None: self._from_boto_response(
        response, model.operation_model(operations[service_action_name or "submit_job"]).output_shape
    )
    _let_paths_choose_keys()
    _let_jobs_be_tried_again(docker)
    _name_executions()


def _let_paths_choose_keys() -> None:
    """`$.['a', 'b']` is the object with these two keys, not a list of their values."""
    from moto.stepfunctions.parser.asl.utils import json_path

    several = re.compile(r"\$\.\[('[^']+'(?:\s*,\s*'[^']+')+)\]")
    extract = json_path.extract_json

    def extract_json(path: str, data: Any) -> Any:
        found = several.fullmatch(path)
        if found is None:
            return extract(path, data)
        return {key: data[key] for key in re.findall(r"'([^']+)'", found[1]) if key in data}

    for module in list(sys.modules.values()):
        if module.__name__.startswith("moto.stepfunctions") and getattr(module, "extract_json", None) is extract:
            module.extract_json = extract_json


def _let_jobs_be_tried_again(docker: _Docker) -> None:
    """moto drops the strategy that a job is submitted with."""
    from moto.batch.responses import BatchResponse

    submit = BatchResponse.submitjob

    def submitjob(self: BatchResponse) -> str:
        with docker.submitting:
            answer = submit(self)
            docker.attempts[json.loads(answer)["jobId"]] = (self._get_param("retryStrategy") or {}).get("attempts", 1)
        return answer

    BatchResponse.submitjob = submitjob


def _name_executions() -> None:
    """An execution that nobody named has a name all the same."""
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

    start = StepFunctionsParserBackend.start_execution

    def start_execution(self: StepFunctionsParserBackend, arn: str, name: str | None, given: str) -> Any:
        return start(self, arn, name or str(uuid.uuid4()), given)

    StepFunctionsParserBackend.start_execution = start_execution


def _make_resources(endpoint: str) -> dict[str, str]:
    """The roles, the queue and the table that an administrator would have made, as Metaflow's settings."""
    import boto3

    def client(name: str) -> Any:
        keys = {"aws_access_key_id": "made", "aws_secret_access_key": "made"}
        return boto3.client(name, endpoint_url=endpoint, region_name=_REGION, **keys)

    iam, ec2, batch = client("iam"), client("ec2"), client("batch")
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    role = iam.create_role(RoleName="tasks", AssumeRolePolicyDocument=policy)["Role"]["Arn"]
    profile = iam.create_instance_profile(InstanceProfileName="nodes")["InstanceProfile"]["Arn"]
    computing = batch.create_compute_environment(
        computeEnvironmentName="comp-env",
        type="MANAGED",
        state="ENABLED",
        serviceRole=role,
        computeResources={
            "type": "EC2",
            "minvCpus": 0,
            "maxvCpus": 4,
            "desiredvCpus": 0,
            "instanceTypes": ["m5.large"],
            "subnets": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
            "securityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
            "instanceRole": profile,
        },
    )
    order = [{"order": 1, "computeEnvironment": computing["computeEnvironmentArn"]}]
    queue = batch.create_job_queue(jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    client("dynamodb").create_table(
        TableName="sfn-state",
        KeySchema=[{"AttributeName": "pathspec", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pathspec", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return {
        "METAFLOW_BATCH_JOB_QUEUE": queue["jobQueueArn"],
        "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": role,
        "METAFLOW_SFN_IAM_ROLE": role,
        "METAFLOW_EVENTS_SFN_ACCESS_IAM_ROLE": role,
        "METAFLOW_SFN_DYNAMO_DB_TABLE": "sfn-state",
    }


def main() -> None:
    kind, folder = sys.argv[1:]
    docker = _Docker(pods_in(kind, folder))
    moto.core.config.default_user_config["stepfunctions"] = {"execute_state_machine": True}
    os.environ.update(CREDENTIALS, AWS_DEFAULT_REGION=_REGION)
    application = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    endpoint = f"http://127.0.0.1:{server.port}"
    os.environ["MOTO_DOCKER_NETWORK_MODE"] = "host"
    os.environ["MOTO_PORT"] = str(server.port)  # where the interpreter of state machines asks Batch
    docker.variables["AWS_ENDPOINT_URL"] = endpoint
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = _make_resources(endpoint)
    _mend_moto(docker)
    print(f"{server.port}\n{json.dumps(settings)}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
