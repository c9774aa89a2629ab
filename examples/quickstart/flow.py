"""A flow whose steps want different things; nothing in it says so, `envlock.toml` beside it does.

python flow.py --environment=envlock run
"""

from metaflow import FlowSpec, step


def what_is_here(step_name):
    """What a step sees of its environment: Python, two packages, and the prefix it runs in."""
    import platform
    import sys
    from importlib.metadata import distributions
    from pathlib import Path

    versions = {each.metadata["Name"]: each.version for each in distributions()}
    seen = {
        "step": step_name,
        "python": platform.python_version(),
        "itsdangerous": versions.get("itsdangerous", "-"),
        "pandas": versions.get("pandas", "-"),
        "prefix": Path(sys.prefix).name,
    }
    print("Python {python}, itsdangerous {itsdangerous}, pandas {pandas}".format(**seen))
    return seen


class QuickstartFlow(FlowSpec):
    """Signs a message, trains three models at once, and tells which environment each step had."""

    @step
    def start(self):
        from itsdangerous import Signer

        self.signed = Signer("a key").sign("hello").decode()
        self.seen = [what_is_here("start")]
        self.windows = [2, 3, 4]
        self.next(self.train, foreach="windows")

    @step
    def train(self):
        import pandas

        readings = pandas.Series([3.0, 5.0, 8.0, 13.0, 21.0])
        self.window = self.input
        self.smoothed = float(readings.rolling(self.window).mean().iloc[-1])
        self.seen = [*self.seen, what_is_here(f"train[{self.window}]")]
        self.next(self.join)

    @step
    def join(self, inputs):
        self.smoothed = {model.window: model.smoothed for model in inputs}
        self.seen = [inputs[0].seen[0], *(model.seen[-1] for model in inputs), what_is_here("join")]
        self.next(self.report)

    @step
    def report(self):
        self.seen = [*self.seen, what_is_here("report")]
        self.next(self.end)

    @step
    def end(self):
        self.seen = [*self.seen, what_is_here("end")]


if __name__ == "__main__":
    QuickstartFlow()
