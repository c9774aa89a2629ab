"""Argo, as far as the WorkflowTemplates of Metaflow need it: each container of one is run as a pod, in Argo's order."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tests.pods.pod import Pod, Pods, wait_for
from tests.servers.kubernetes_api import variables_of

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}")
_BASE64 = re.compile(r"=toBase64\((workflow|inputs)\.parameters\['(.*)'\]\)")

_Scope = Mapping[str, str]


class PodFailed(AssertionError):
    """A pod of a workflow that ended badly, as often as it may be retried."""

    def __init__(self, pod: Pod) -> None:
        super().__init__(f"{pod.name} ended with {pod.status}: {pod.said[-3000:]}")
        self.pod = pod


@dataclass
class Workflow:
    """A WorkflowTemplate, submitted with some parameters under a name."""

    template: dict[str, Any]
    pods: Pods
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ran: list[Pod] = field(default_factory=list)
    """The pods, in the order in which they began."""

    def run(self) -> None:
        """Run it to its end; raises PodFailed."""
        spec = self.template["spec"]
        given = {each["name"]: each["value"] for each in spec["arguments"]["parameters"]}
        given |= {name: json.dumps(value) for name, value in self.parameters.items()}
        self._templates = {each["name"]: each for each in spec["templates"]}
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        scope = {"workflow.name": self.name, "workflow.creationTimestamp": began, "workflow.status": "Running"}
        self._scope = {**scope, **{f"workflow.parameters.{name}": str(value) for name, value in given.items()}}
        self._run(spec["entrypoint"], {})

    def _run(self, name: str, inputs: Mapping[str, str], label: str = "") -> dict[str, str]:
        template = self._templates[name]
        scope = {**self._scope, **{f"inputs.parameters.{key}": value for key, value in inputs.items()}}
        if "container" in template:
            return self._run_container(template, scope, label)
        for task in template["dag"]["tasks"]:  # they stand in an order in which they can run
            given = list(self._given(task, scope))
            with ThreadPoolExecutor(2) as threads:
                labels = [f"{label}-{number}" if task.get("withParam") else label for number in range(len(given))]
                done = list(threads.map(self._run, [task["template"]] * len(given), given, labels))
            for key, value in done[-1].items() if done else ():
                scope[f"tasks.{task['name']}.outputs.parameters.{key}"] = value
        outputs = (template.get("outputs") or {}).get("parameters", [])
        return {each["name"]: _filled(each["valueFrom"]["parameter"], scope) for each in outputs}

    def _given(self, task: dict[str, Any], scope: _Scope) -> Iterator[dict[str, str]]:
        """The inputs of each run of a task."""
        items = json.loads(_filled(task["withParam"], scope)) if task.get("withParam") else [None]
        for item in items:
            here = scope if item is None else {**scope, "item": str(item)}
            parameters = task.get("arguments", {}).get("parameters", [])
            yield {each["name"]: _filled(each["value"], here) for each in parameters}

    def _run_container(self, template: dict[str, Any], scope: _Scope, label: str) -> dict[str, str]:
        container = template["container"]
        attempts = 1 + int((template.get("retryStrategy") or {}).get("limit") or 0)
        for attempt in range(attempts):
            here = {**scope, "retries": str(attempt), "pod.name": f"{self.name}-{template['name']}{label}-{attempt}"}
            variables = {name: _filled(value, here) for name, value in variables_of(container).items()}
            command = [_filled(part, here) for part in container["command"]]
            pod = self.pods.start(here["pod.name"], container["image"], command, variables)
            self.ran.append(pod)
            if wait_for(pod) == 0:
                outputs = (template.get("outputs") or {}).get("parameters", [])
                return {
                    each["name"]: pod.output(each["valueFrom"]["path"].removeprefix("/mnt/out/")) for each in outputs
                }
        raise PodFailed(pod)


def _filled(text: str, scope: _Scope) -> str:
    def value(found: re.Match[str]) -> str:
        encoded = _BASE64.fullmatch(found[1])
        if encoded:
            return base64.b64encode(scope[f"{encoded[1]}.parameters.{encoded[2]}"].encode()).decode()
        return scope[found[1]]

    return _EXPRESSION.sub(value, str(text))
