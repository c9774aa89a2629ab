"""A flow whose steps live in conda environments; nothing in it says so, `envlock.toml` beside it does.

python flow.py --environment=envlock run
"""

from metaflow import FlowSpec, step


class CondaFlow(FlowSpec):
    """Makes numbers, puts them into a frame, and tells what made them."""

    @step
    def start(self):
        import numpy

        self.numpy = numpy.__version__
        self.numbers = numpy.arange(12, dtype="float64").reshape(4, 3).tolist()
        self.next(self.frame)

    @step
    def frame(self):
        import pandas

        frame = pandas.DataFrame(self.numbers, columns=["a", "b", "c"])
        self.pandas = pandas.__version__
        self.sums = {name: float(value) for name, value in frame.sum().items()}
        self.next(self.end)

    @step
    def end(self):
        import os
        import sys

        self.prefix = sys.prefix
        self.activated = os.environ.get("CONDA_PREFIX", "")
        print(f"Python {sys.version.split()[0]}, numpy {self.numpy}, pandas {self.pandas}: {self.sums}")


if __name__ == "__main__":
    CondaFlow()
