"""A flow with an environment.yml beside it: `envlock init --with environment.yml` takes it over."""

from metaflow import FlowSpec, step


class ScoreFlow(FlowSpec):
    """Computes a score with numpy from conda, and signs it with a package of PyPI."""

    @step
    def start(self):
        import os

        import numpy

        self.score = f"{numpy.mean([3.0, 5.0]):.1f} {os.environ['SCORE_UNIT']}"
        self.next(self.end)

    @step
    def end(self):
        from itsdangerous import Signer

        print(Signer("a key").sign(self.score).decode())


if __name__ == "__main__":
    ScoreFlow()
