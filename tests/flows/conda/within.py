"""A flow that a conda step of another flow starts: a step of wheels, then one of other conda packages."""

from metaflow import FlowSpec, step
from told import what_is_here


class WithinFlow(FlowSpec):
    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    WithinFlow()
