"""A flow whose tasks are started one by one, as a scheduler does it; the last one starts a task of another flow."""

import subprocess
import sys

from metaflow import FlowSpec, environment, parallel, step
from seen import what_is_here


class BareFlow(FlowSpec):
    @environment(vars={"SAID_BY_THE_FLOW": "yes"})
    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.many, num_parallel=2)

    @parallel
    @step
    def many(self):
        self.seen = what_is_here()
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.seen = what_is_here()
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()
        ids = ["--run-id", "inside", "--task-id"]
        for command in (["init", *ids, "t1"], ["step", "start", *ids, "t2", "--input-paths", "inside/_parameters/t1"]):
            subprocess.check_call([sys.executable, "inner.py", "--environment=envlock", *command])


if __name__ == "__main__":
    BareFlow()
