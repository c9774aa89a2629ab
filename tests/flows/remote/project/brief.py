"""As short as a flow can be that has a locked step, and one that is looked up by its name and a parameter."""

import os
import sys

from metaflow import FlowSpec, Parameter, step


class BriefFlow(FlowSpec):
    release = Parameter("release-tag", default="v1")

    @step
    def start(self):
        self.seen = {"prefix": sys.prefix, "in_pod": "WITHIN_A_POD" in os.environ}
        self.next(self.end)

    @step
    def end(self):
        self.seen = {"prefix": sys.prefix, "in_pod": "WITHIN_A_POD" in os.environ}


if __name__ == "__main__":
    BriefFlow()
