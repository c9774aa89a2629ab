# ruff: noqa
"""The decorators that metaflow-netflixext adds to Metaflow's, with their old parameters too."""

import metaflow as mf
from metaflow import FlowSpec, conda, conda_base, named_env, pip, pypi, step, sys_packages, sys_packages_base


@conda_base(libraries={"conda-forge::ffmpeg": "6.*"}, channels=["conda-forge", "nodefaults"], python=">=3.10,<3.11")
@sys_packages_base(packages={"__glibc": "2.27"})
class MediaFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.encode, self.score)

    @conda(libraries={"numpy": "1.26.4"}, pip_packages={"av": "12.0.0"}, pip_sources=["https://index.example/simple"])
    @sys_packages(packages={"__cuda": "12.4"})
    @step
    def encode(self):
        self.next(self.join)

    @named_env(name="media/scoring:v2.1")
    @pypi(
        packages={"shap": "0.46.0"},
        sources=["https://index.example/more"],
        extras=["pre"],
        conda_only={"libsndfile": ""},
    )
    @step
    def score(self):
        self.next(self.join)

    @conda(name="media/join", fetch_at_exec=True)
    @step
    def join(self, inputs):
        self.next(self.fetch)

    @mf.named_env(pathspec="MediaFlow/142/encode")
    @step
    def fetch(self):
        self.next(self.old)

    @pip(packages={"old": "1"})
    @step
    def old(self):
        self.next(self.end)

    @named_env(name="media/@{STAGE}/end:latest", fetch_at_exec=True)
    @step
    def end(self):
        pass


if __name__ == "__main__":
    MediaFlow()
