"""Every way in which Metaflow starts a local task, in one flow. `end` fails until MAY_END is set."""

import os
from pathlib import Path

from metaflow import FlowSpec, Runner, catch, current, parallel, retry, step
from seen import what_is_here


class WideFlow(FlowSpec):
    @step
    def start(self):
        self.seen = what_is_here()
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        self.seen = what_is_here()
        self.part = self.input
        if self.part == "b" and current.retry_count == 0:
            raise ValueError("fails once")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = what_is_here()
        self.parts = [each.part for each in inputs]
        self.next(self.nested)

    @step
    def nested(self):
        self.seen = what_is_here()
        file = Path(__file__).with_name("inner.py")
        with Runner(str(file), environment="envlock", show_output=False).run() as running:
            self.inner = running.run.pathspec
        self.next(self.many, num_parallel=2)

    @parallel
    @step
    def many(self):
        self.seen = what_is_here()
        self.next(self.gather)

    @catch(var="caught")
    @step
    def gather(self, inputs):
        self.seen = what_is_here()
        self.never = {}["is caught"]
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()
        if "MAY_END" not in os.environ:
            raise ValueError("may not end yet")


if __name__ == "__main__":
    WideFlow()
