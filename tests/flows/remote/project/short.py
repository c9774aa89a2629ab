"""As short as a flow can be that has a locked step, and one that is looked up by each kind of variable."""

import os
import sys

from metaflow import FlowSpec, Parameter, step


class ShortFlow(FlowSpec):
    release = Parameter("release-tag", default="v1")

    @step
    def start(self):
        self.seen = {"prefix": sys.prefix, "in_pod": "WITHIN_A_POD" in os.environ}
        self.next(self.late)

    @step
    def late(self):
        self.seen = {"prefix": sys.prefix, "in_pod": "WITHIN_A_POD" in os.environ}
        self.next(self.end)

    @step
    def end(self):
        self.seen = {"prefix": sys.prefix, "in_pod": "WITHIN_A_POD" in os.environ}


if __name__ == "__main__":
    ShortFlow()
