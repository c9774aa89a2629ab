# ruff: noqa
"""Packages that are put together from constants."""

from metaflow import FlowSpec as Flow
from metaflow import pypi as packages_of
from metaflow import pypi_base, step

PANDAS = "2.2.3"
MAJOR: int = 2
BASE = {"pandas": PANDAS, "rich": f">={MAJOR + 0 if False else 13}"}
CORE = {"pandas": PANDAS, "numpy": f">={MAJOR},<{'3'}"}
GPU = CORE | {"torch": "2." + "4.1"}
MORE = {**CORE, "numpy": "==%s.1.0" % MAJOR, "click": "{}.{minor}".format(8, minor=1)}
AGAIN = dict(CORE, rich="13.7")
INDEXES = ["https://index.example/a"] + ["https://index.example/b"]
BY_STEP = {"fit": {"scipy": "1.14"}}
ARGUMENTS = {"packages": GPU, "python": "3.12"}

TWICE = {"pandas": "1"}
TWICE = {"pandas": "2"}
GROWS = {"pandas": "1"}
GROWS["numpy"] = "2"
FILLED = {}


def fill(table):
    table["pandas"] = "1"


fill(FILLED)
LOOP = LOOP_TOO = "1"
SELF = [SELF] if False else SELF


@pypi_base(packages=CORE, extra_indices=INDEXES)
class ConstantFlow(Flow):
    OWN = {"httpx": "0.27"}

    @packages_of(packages=GPU)
    @step
    def start(self):
        self.next(self.more)

    @packages_of(packages=MORE, python=f"3.{10 + 0}" if False else "3.11")
    @step
    def more(self):
        self.next(self.own)

    @packages_of(packages={**OWN, "rich": AGAIN["rich"]})
    @step
    def own(self):
        self.next(self.fit)

    @packages_of(packages=BY_STEP["fit"].copy())
    @step
    def fit(self):
        self.next(self.starred)

    @packages_of(**ARGUMENTS)
    @step
    def starred(self):
        self.next(self.twice)

    @packages_of(packages=TWICE)
    @step
    def twice(self):
        self.next(self.grows)

    @packages_of(packages=GROWS)
    @step
    def grows(self):
        self.next(self.filled)

    @packages_of(packages=FILLED)
    @step
    def filled(self):
        self.next(self.outer)

    @packages_of(packages=BASE)
    @step
    def outer(self):
        self.next(self.end)

    @packages_of(packages={"self": SELF})
    @step
    def end(self):
        pass


if __name__ == "__main__":
    ConstantFlow()
