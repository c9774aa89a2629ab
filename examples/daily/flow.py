"""A flow that a team runs every day. `--wait FILE` keeps its last step running until that file is there."""

import time
from pathlib import Path

from metaflow import FlowSpec, Parameter, card, step


class DailyFlow(FlowSpec):
    wait = Parameter("wait", default="")

    @card(type="envlock")
    @step
    def start(self):
        import itsdangerous

        self.version = itsdangerous.__version__
        self.next(self.end)

    @step
    def end(self):
        deadline = time.monotonic() + 120
        while self.wait and not Path(self.wait).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        print(f"itsdangerous {self.version}")


if __name__ == "__main__":
    DailyFlow()
