"""A flow with every kind of step that a node can start: locked, disabled, and looked up."""

from metaflow import FlowSpec, Parameter, step


class SpreadFlow(FlowSpec):
    env_tag = Parameter("env-tag", default="v1")

    @step
    def start(self):
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @step
    def work(self):
        self.next(self.join)

    @step
    def join(self, inputs):
        self.merge_artifacts(inputs)
        self.next(self.late)

    @step
    def late(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    SpreadFlow()
