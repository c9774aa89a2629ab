"""As much of the Kubernetes API as Metaflow asks for: jobs of the `batch` group and their pods; objects of Argo."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.pods.pod import Pod, Pods
from tests.servers.loopback import LoopbackServer

_JOBS = re.compile(r"/apis/batch/v1/namespaces/[^/]+/jobs(?:/([^/]+))?")
_PODS = re.compile(r"/api/v1/namespaces/[^/]+/pods")
_ARGO = re.compile(r"/apis/argoproj.io/v1alpha1/namespaces/[^/]+/(\w+)(?:/([^/]+))?")

_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: tests
clusters: [{{name: tests, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: tests, context: {{cluster: tests, user: tests}}}}]
users: [{{name: tests, user: {{}}}}]
"""


class _Job:
    """A job and its one pod, as the API shows them."""

    def __init__(self, asked: dict[str, Any], pods: Pods) -> None:
        self.asked = asked
        metadata = asked["metadata"]
        self.name: str = metadata.get("name") or f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        metadata.update(name=self.name, uid=str(uuid.uuid4()), creationTimestamp=_now())
        self._ended = ""
        template = asked["spec"]["template"]
        (self._container,) = template["spec"]["containers"]
        self._labels = {**(template.get("metadata") or {}).get("labels", {}), "job-name": self.name}
        self.pod: Pod = pods.start(
            self.name, self._container["image"], self._container["command"], variables_of(self._container)
        )

    def stop(self) -> None:
        """What the cluster does when a job may have no pod any more."""
        threading.Thread(target=self.pod.kill).start()

    def job(self) -> dict[str, Any]:
        status = self.pod.status
        return {**self.asked, "status": {"active": 1} if status is None else {"failed" if status else "succeeded": 1}}

    def as_pod(self) -> dict[str, Any]:
        metadata = self.asked["metadata"]
        status, began = self.pod.status, metadata["creationTimestamp"]
        if status is None:
            phase, state = "Running", {"running": {"startedAt": began}}
        else:
            self._ended = self._ended or _now()
            phase = "Failed" if status else "Succeeded"
            reason = "Error" if status else "Completed"
            state = {
                "terminated": {"exitCode": status, "reason": reason, "startedAt": began, "finishedAt": self._ended}
            }
        container = {"name": self._container["name"], "image": self._container["image"], "imageID": ""}
        container |= {"ready": status is None, "restartCount": 0, "state": state}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "name": f"{self.name}-pod", "labels": self._labels},
            "spec": self.asked["spec"]["template"]["spec"],
            "status": {"phase": phase, "containerStatuses": [container]},
        }

    def is_selected(self, selector: str) -> bool:
        wanted = (part.partition("=") for part in selector.split(",") if part)
        return all(self._labels.get(key) == value for key, _, value in wanted)


class KubernetesApi(LoopbackServer):
    """A cluster of one node. Stop its pods before closing it."""

    def __init__(self, pods: Pods, run_workflow: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
        self.pods = pods
        self.jobs: dict[str, _Job] = {}
        self.of_argo: dict[tuple[str, str], dict[str, Any]] = {}
        """By the plural of its kind, and its name."""
        self._run_workflow = run_workflow
        super().__init__(_Handler)

    def create_of_argo(self, kind: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Keep an object of Argo; begin to run it, if it is a workflow."""
        metadata = asked["metadata"]
        metadata["name"] = metadata.get("name") or f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        metadata["resourceVersion"] = uuid.uuid4().hex
        self.of_argo[kind, metadata["name"]] = asked
        if kind == "workflows":
            asked["status"] = {"phase": "Running", "startedAt": _now(), "finishedAt": None}
            threading.Thread(target=self._run_to_its_end, args=(asked,), daemon=True).start()
        return asked

    def _run_to_its_end(self, workflow: dict[str, Any]) -> None:
        phase = "Failed"
        try:
            self._run_workflow(
                workflow, self.of_argo["workflowtemplates", workflow["spec"]["workflowTemplateRef"]["name"]]
            )
            phase = "Succeeded"
        finally:
            workflow["status"].update(phase=phase, finishedAt=_now())

    def write_kubeconfig(self, folder: Path) -> Path:
        """The file whose path is KUBECONFIG."""
        path = folder / "kubeconfig"
        path.write_text(_KUBECONFIG.format(port=self.port))
        return path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KubernetesApi

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = _JOBS.fullmatch(url.path)
        if found and found[1] in self.server.jobs:
            self._answer(200, self.server.jobs[found[1]].job())
        elif _PODS.fullmatch(url.path):
            selector = parse_qs(url.query).get("labelSelector", [""])[0]
            items = [job.as_pod() for job in self.server.jobs.values() if job.is_selected(selector)]
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        elif (of_argo := _ARGO.fullmatch(url.path)) and of_argo.groups() in self.server.of_argo:
            self._answer(200, self.server.of_argo[of_argo[1], of_argo[2]])
        else:
            self._answer(404)

    def do_POST(self) -> None:
        found = _JOBS.fullmatch(urlsplit(self.path).path)
        asked = self._asked()
        if of_argo := _ARGO.fullmatch(urlsplit(self.path).path):
            return self._answer(201, self.server.create_of_argo(of_argo[1], asked))
        if not found or found[1]:
            return self._answer(404)
        job = _Job(asked, self.server.pods)
        self.server.jobs[job.name] = job
        return self._answer(201, job.job())

    def do_PUT(self) -> None:
        found, asked = _ARGO.fullmatch(urlsplit(self.path).path), self._asked()
        if not found or found.groups() not in self.server.of_argo:
            return self._answer(404)
        return self._answer(200, self.server.create_of_argo(found[1], asked))

    def do_DELETE(self) -> None:
        found = _ARGO.fullmatch(urlsplit(self.path).path)
        gone = self.server.of_argo.pop((found[1], found[2]), None) if found else None
        self._answer(404 if gone is None else 200, gone)

    def do_PATCH(self) -> None:
        found = _JOBS.fullmatch(urlsplit(self.path).path)
        asked = self._asked()
        if not found or found[1] not in self.server.jobs:
            return self._answer(404)
        job = self.server.jobs[found[1]]
        job.asked["spec"].update(asked.get("spec", {}))
        if job.asked["spec"].get("parallelism") == 0:
            job.stop()
        return self._answer(200, job.job())

    def _asked(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        return read

    def _answer(self, status: int, value: dict[str, Any] | None = None) -> None:
        body = json.dumps(value or {"kind": "Status", "code": status, "message": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def variables_of(container: dict[str, Any]) -> dict[str, str]:
    """The variables of a container; what the cluster itself would fill in is `x`."""
    return {
        each["name"]: "x" if each.get("value") is None else str(each["value"]) for each in container.get("env") or ()
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
