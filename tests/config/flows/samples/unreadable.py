# ruff: noqa
"""Nothing here is fixed in the text, or almost nothing."""

import os

from deps import BASE, load
from metaflow import (
    Config,
    FlowMutator,
    FlowSpec,
    config_expr,
    pypi,
    pypi_base,
    requirements_txt_parser,
    resolved_uv,
    step,
)


class AddPackages(FlowMutator):
    def pre_mutate(self, flow):
        pass


def gpu(function):
    return pypi(packages={"torch": "2.4.1"})(function)


@AddPackages
@resolved_uv()
@pypi_base(packages=config_expr("config.packages"), python=os.environ["PYTHON"])
class DynamicFlow(FlowSpec):
    config = Config("config", default="config.json")

    @pypi(packages={"pandas": "2.2.3", "numpy": load("numpy"), **BASE, "rich": "13"})
    @step
    def start(self):
        self.next(self.train)

    @gpu
    @step
    def train(self):
        self.next(self.parsed)

    @pypi(**requirements_txt_parser("requirements.txt"))
    @step
    def parsed(self):
        self.next(self.configured)

    @pypi(packages=config.packages, extra_indices=["https://index.example/a", os.environ["INDEX"]])
    @step
    def configured(self):
        self.next(self.listed)

    @pypi(packages={name: "" for name in ["a", "b"]})
    @step
    def listed(self):
        self.next(self.end)

    @pypi({"pandas": "2"}, environment="x", disabled="yes", python=3.11)
    @pypi_base(packages={"wrong": "place"})
    @step
    def end(self):
        pass


if __name__ == "__main__":
    DynamicFlow()
