"""Pods: where a task starts far from the launcher, with nothing but its image and the code package.

A `Folder` is a clean folder with an interpreter that has no Metaflow and no envlock; a `Container` is one of docker's.
Both are started, asked and killed in one way (`Pods`), by the stand-ins of the backends: Batch (`tests.servers.aws`),
the API of Kubernetes (`tests.servers.kubernetes_api`) and Argo (`tests.pods.argo`).
"""

from tests.pods.containers import Containers
from tests.pods.folders import Folders, can_mount
from tests.pods.pod import Pod, Pods, image_of

__all__ = ["Containers", "Folders", "Pod", "Pods", "can_mount", "image_of", "pods_in"]


def pods_in(kind: str, home: str) -> Pods:
    """The pods of a kind (`folder` or `container`) that live below a folder, those of other processes too."""
    return {"folder": Folders, "container": Containers}[kind].at(home)
