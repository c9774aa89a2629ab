# ruff: noqa
"""A flow whose base class, and some of whose decorators, are a team's own."""

import functools

from metaflow import pypi, step
from team.flows import TeamFlow, logged
from team.metaflow import pypi_base


class Failure(Exception):
    pass


@pypi_base(packages={"pandas": "2.2.3"})
class ScoreFlow(TeamFlow):
    @logged("debug")
    @pypi(packages={"lightgbm": "4.5.0"})
    @step
    def score(self):
        self.next(self.end)

    @functools.lru_cache
    def helper(self):
        pass


class EmptyFlow(TeamFlow):
    pass


class NoFlow(TeamFlow):
    pass


if __name__ == "__main__":
    ScoreFlow()
    EmptyFlow()
