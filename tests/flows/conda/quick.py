"""A mixed step and a step of wheels, as short as can be."""

from metaflow import FlowSpec, step


class QuickFlow(FlowSpec):
    @step
    def start(self):
        import sys

        import alpha  # noqa: F401

        print("modules are in", sys.path)
        self.next(self.end)

    @step
    def end(self):
        import alpha  # noqa: F401


if __name__ == "__main__":
    QuickFlow()
