# ruff: noqa
"""Decorators that are repeated, disagree, or ask for what envlock does not take."""

from metaflow import FlowSpec, conda, conda_base, named_env, named_env_base, pypi, pypi_base, step


@named_env_base(name="team/base:v1")
@pypi_base(packages={"pandas": "2.2.3"}, python="3.11")
@conda_base(libraries={"ffmpeg": ""})
class RepeatedFlow(FlowSpec):
    @pypi(packages={"numpy": ">=1.20", "Pandas": "2.2.3"}, python="3.11")
    @pypi(packages={"NumPy": "<2", "pandas": "2.2.3", "requests": ">=2"}, python="3.12")
    @pypi(packages={"requests[socks]": ">=2", "rich": "", "numpy": "1.26.4"})
    @pypi(packages={"rich": "13"}, extra_indices=["https://index.example/a"])
    @pypi(extra_indices=["https://index.example/b", "https://index.example/a"])
    @step
    def start(self):
        self.next(self.named)

    @named_env(name="team/special:v2", pathspec="Flow/1/start")
    @step
    def named(self):
        self.next(self.fetched)

    @named_env(name="team/special", fetch_at_exec=True)
    @pypi(packages={"rich": "13"})
    @step
    def fetched(self):
        self.next(self.numbers)

    @pypi(packages={"rich": 13, "click": 8.1, "none": None, "list": ["1"], 5: "x", "bad name": "1", "bad": "=>1"})
    @conda(libraries={"numpy": "1.26=py311_0"}, packages={"numpy": "1.26.4"}, channels="conda-forge")
    @step
    def numbers(self):
        self.next(self.both)

    @conda(libraries={"ffmpeg": ">=5"}, python="3.11", disabled=True)
    @pypi(packages={"rich": "13"}, disabled=False)
    @step
    def both(self):
        self.next(self.credentials)

    @pypi(
        packages={"private@https://me:s3cr3t@index.example/private-1.whl": ""},
        extra_indices=["https://me:s3cr3t@index.example/simple"],
        python="three",
    )
    @step
    def credentials(self):
        self.next(self.end)

    @pypi(packages="pandas", extra_indices="https://me:s3cr3t@index.example/simple")
    @step
    def end(self):
        pass


if __name__ == "__main__":
    RepeatedFlow()
