# ruff: noqa
"""Steps and decorators that come from base classes and mixins of the same file."""

from abc import ABC
from typing import Generic, TypeVar

import metaflow
from metaflow import FlowSpec, conda_base, pypi, pypi_base, step

T = TypeVar("T")


class Loading(Generic[T]):
    @pypi(packages={"pyarrow": "17.0.0"})
    @step
    def start(self):
        self.next(self.train)


@pypi_base(packages={"pandas": "1.5.3"}, python="3.10")
@conda_base(disabled=False)
class BaseFlow(FlowSpec, Loading, ABC):
    @metaflow.pypi(packages={"scikit-learn": "1.4"})
    @metaflow.step
    def train(self):
        self.next(self.end)

    @step
    def end(self):
        pass


@pypi_base(packages={"pandas": "2.2.3"})
class NightlyFlow(BaseFlow):
    @pypi(packages={"scikit-learn": "1.5"})
    @step
    def train(self):
        self.next(self.check)

    @step
    def check(self):
        self.next(self.end)


class WeeklyFlow(BaseFlow):
    check = None


if __name__ == "__main__":
    NightlyFlow()
