"""A flow that makes the environments of its later steps itself: its first steps have envlock, and the nodes do not."""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from metaflow import FlowSpec, Parameter, current, kubernetes, step


def what_is_here():
    return {"packaging": version("packaging"), "identity": list(current.envlock)}


class BuiltFlow(FlowSpec):
    team = Parameter("team", required=True)

    def build(self, packaging):
        """Resolve an environment, and give it the alias of this run."""
        with tempfile.TemporaryDirectory() as folder:
            packages = f'packages = {{ packaging = "=={packaging}" }}'
            Path(folder, "envlock.toml").write_text(f"{os.environ['BUILT_SETTINGS']}\n{packages}\n")
            for command in (["lock"], ["alias", f"{self.team}/run-{current.run_id}", "--env", "built"]):
                subprocess.run([sys.executable, "-m", "envlock", *command], cwd=folder, check=True)

    @step
    def start(self):
        self.build("24.0")
        self.next(self.first)

    @kubernetes
    @step
    def first(self):
        self.seen = what_is_here()
        self.next(self.move)

    @step
    def move(self):
        self.build("24.2")
        self.next(self.second)

    @kubernetes
    @step
    def second(self):
        self.seen = what_is_here()
        self.next(self.missing)

    @kubernetes
    @step
    def missing(self):
        self.next(self.end)

    @step
    def end(self):
        pass


if __name__ == "__main__":
    BuiltFlow()
