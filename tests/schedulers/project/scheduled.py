"""A flow as schedulers run it: a parameter, a foreach, a retry, a disabled step, and two environments."""

import os
import sys
from pathlib import Path

from metaflow import FlowSpec, Parameter, current, environment, retry, step

ONCE = Path(__file__).absolute().with_name("fails-once")


def what_is_here():
    try:
        import alpha
    except ImportError:
        alpha = None
    identity = getattr(current, "envlock", None)
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "alpha": getattr(alpha, "__version__", None),
        "prefix": sys.prefix,
        "identity": list(identity) if identity else None,
        "said": os.environ.get("SAID_BY_THE_FLOW"),
    }


class ScheduledFlow(FlowSpec):
    team = Parameter("team", default="red")

    @step
    def start(self):
        self.seen = what_is_here()
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @retry(times=1, minutes_between_retries=0)
    @environment(vars={"SAID_BY_THE_FLOW": "yes"})
    @step
    def work(self):
        self.seen = what_is_here()
        self.part = self.input + self.team
        if self.input == "b" and ONCE.exists():
            ONCE.unlink()
            raise ValueError("fails once")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = what_is_here()
        self.parts = sorted(each.part for each in inputs)
        self.next(self.end)

    @step
    def end(self):
        self.seen = {**what_is_here(), "parts": self.parts}


if __name__ == "__main__":
    ScheduledFlow()
