# ruff: noqa
"""A flow that is disabled, and steps that are not."""

from metaflow import *


@conda_base(disabled=True)
class DisabledFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.asks)

    @pypi(packages={"rich": "13"})
    @step
    def asks(self):
        self.next(self.bare)

    @conda
    @step
    def bare(self):
        self.next(self.enabled)

    @conda(disabled=False)
    @step
    def enabled(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    DisabledFlow()
