"""A flow of which some steps start here, and some on nodes."""

import json
import os

from metaflow import FlowSpec, environment, kubernetes, step


def what_is_here():
    import sys

    from metaflow import current

    identity = getattr(current, "envlock", None)
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "prefix": sys.prefix,
        "identity": list(identity) if identity else None,
        "pod": "METAFLOW_KUBERNETES_WORKLOAD" in os.environ,
        "first_on_path": os.environ["PATH"].split(os.pathsep)[0],
        "entered_by_itself": os.environ.get("_METAFLOW_ENVLOCK_ENTERED", "").startswith(str(os.getpid()) + ":"),
    }


class MixedFlow(FlowSpec):
    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.work)

    @environment(vars=json.loads(os.environ.get("VARIABLES_OF_WORK", "{}")))
    @kubernetes(image=os.environ.get("IMAGE_OF_WORK"))
    @step
    def work(self):
        self.seen = what_is_here()
        print("SEEN", json.dumps(self.seen))
        self.next(self.end)

    @kubernetes
    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    MixedFlow()
