"""A flow that knows nothing of envlock: what it sees in its pods is what every flow finds there."""

from metaflow import FlowSpec, Parameter, current, retry, step


def what_is_here():
    import importlib.util
    import sys
    from pathlib import Path

    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "pod": str(Path.cwd()).startswith(("/mnt/work", "/task/metaflow")),
        "envlock": importlib.util.find_spec("envlock") is not None,
        "shim": importlib.util.find_spec("metaflow_extensions.envlock") is not None,
    }


class PlainFlow(FlowSpec):
    greeting = Parameter("greeting", default="hello")
    failures = Parameter("failures", default=1)

    @step
    def start(self):
        self.seen = what_is_here()
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        self.seen = dict(what_is_here(), said=f"{self.greeting} {self.input}", attempt=current.retry_count)
        if self.input == "b" and current.retry_count < self.failures:
            raise ValueError("fails at first")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = dict(what_is_here(), said=sorted(each.seen["said"] for each in inputs))
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    PlainFlow()
