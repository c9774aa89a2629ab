"""A step that makes an environment and names it after its run, and one on another machine that looks it up."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from metaflow import FlowSpec, Parameter, current, kubernetes, step


class BuildFlow(FlowSpec):
    my_var = Parameter("my-var", default=123)

    @step
    def start(self):
        self.name = f"team/built/id_{current.run_id}_{self.my_var}"
        with tempfile.TemporaryDirectory() as folder:
            made = f"[env.built]\npypi = {{ python = '{os.environ['SERIES']}', packages = {{ alpha = '1.1' }} }}\n"
            Path(folder, "envlock.toml").write_text(os.environ["SETTINGS"] + made)
            for command in (["lock"], ["push"], ["alias", self.name, "--env", "built"]):
                subprocess.run([sys.executable, "-m", "envlock", *command], cwd=folder, check=True)
        self.next(self.end)

    @kubernetes
    @step
    def end(self):
        import alpha

        self.seen = {"alpha": alpha.__version__, "in_pod": "WITHIN_A_POD" in os.environ}


if __name__ == "__main__":
    BuildFlow()
