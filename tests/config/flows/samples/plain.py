# ruff: noqa
"""A flow without environments."""

from metaflow import FlowSpec, Parameter, card, current, project, retry, schedule, step


@project(name="plain")
@schedule(daily=True)
class PlainFlow(FlowSpec):
    alpha = Parameter("alpha", default=0.1)

    @step
    def start(self):
        self.parts = [1, 2, 3]
        self.next(self.work, foreach="parts")

    @retry(times=2)
    @step
    def work(self):
        self.next(self.join)

    @card
    @step
    def join(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        print(current.run_id)

    def helper(self):
        """No step."""


if __name__ == "__main__":
    PlainFlow()
