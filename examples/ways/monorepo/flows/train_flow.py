"""A flow that uses a package of its own repository, and one of another."""

from metaflow import FlowSpec, step


class TrainFlow(FlowSpec):
    """Means, as the team computes them, signed as another team signs."""

    @step
    def start(self):
        from common import mean

        self.mean = mean([3.0, 5.0, 8.0])
        self.next(self.end)

    @step
    def end(self):
        from signing import signed

        print(signed(f"{self.mean:.2f}"))


if __name__ == "__main__":
    TrainFlow()
