"""A flow whose tasks have cards of their environments. Before `end` is over, somebody has locked it again."""

import json
import os
import subprocess
from pathlib import Path

from metaflow import FlowSpec, card, current, step


class CardFlow(FlowSpec):
    @card(type="envlock")
    @card(type="blank", id="own")
    @step
    def start(self):
        from metaflow_extensions.envlock.plugins.cards import EnvlockTable

        current.card["own"].append(EnvlockTable(["Alpha", "requests"]))
        self.next(self.report)

    @card(type="envlock")
    @step
    def report(self):
        self.next(self.end)

    @card(type="envlock")
    @step
    def end(self):
        config = Path(__file__).with_name("envlock.toml")
        before, flow, after = config.read_text().partition("[flow.CardFlow]")
        config.write_text(before + flow + after.replace('alpha = "1.1"', 'alpha = "1.0"', 1))
        python, path = json.loads(os.environ["_METAFLOW_ENVLOCK_LAUNCHER"])
        command = [python, "-m", "envlock", "lock", "--flow", "CardFlow"]
        subprocess.run(command, cwd=config.parent, env={**os.environ, "PYTHONPATH": path}, check=True)


if __name__ == "__main__":
    CardFlow()
