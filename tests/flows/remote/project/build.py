"""A flow that makes the environments of its later steps itself: its own steps have envlock, and the nodes do not."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from metaflow import FlowSpec, Parameter, current, kubernetes, step


def what_is_here():
    import alpha

    return {"alpha": alpha.__version__, "in_pod": "WITHIN_A_POD" in os.environ}


class BuildFlow(FlowSpec):
    my_var = Parameter("my-var", default=123)

    def build(self, alpha):
        """Resolve an environment, and give it the alias of this run and its parameter."""
        with tempfile.TemporaryDirectory() as folder:
            made = f"[env.built]\npypi = {{ python = '{os.environ['SERIES']}', packages = {{ alpha = '{alpha}' }} }}\n"
            Path(folder, "envlock.toml").write_text(os.environ["SETTINGS"] + made)
            alias = f"team/built/id_{current.run_id}_{self.my_var}"
            for command in (["lock"], ["alias", alias, "--env", "built"]):
                subprocess.run([sys.executable, "-m", "envlock", *command], cwd=folder, check=True)

    @step
    def start(self):
        self.build("1.0")
        self.next(self.first)

    @kubernetes
    @step
    def first(self):
        self.seen = what_is_here()
        self.next(self.move)

    @step
    def move(self):
        self.build("1.1")
        self.next(self.end)

    @kubernetes
    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    BuildFlow()
