"""A flow that a step of another flow starts."""

from metaflow import FlowSpec, step
from seen import what_is_here


class InnerFlow(FlowSpec):
    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    InnerFlow()
