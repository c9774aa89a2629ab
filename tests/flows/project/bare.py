"""A flow whose tasks are started one by one, as a scheduler does it."""

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


if __name__ == "__main__":
    BareFlow()
