# ruff: noqa
"""PyPI packages of a flow and of its steps, as Metaflow's own documentation shows them."""

from metaflow import FlowSpec, kubernetes, pypi, pypi_base, resources, step


@pypi_base(python="3.11.9", packages={"pandas": "2.2.3", "pyarrow": ">=15,<20"})
class TrainFlow(FlowSpec):
    @step
    def start(self):
        self.next(self.train)

    @kubernetes(memory=16000)
    @resources(gpu=1)
    @pypi(packages={"scikit-learn": "1.5.2", "xgboost": ">=2,<3", "pandas": "2.1.4"})
    @step
    def train(self):
        self.next(self.report)

    @pypi(
        python="3.12",
        packages={
            "requests[socks]": ">=2.31",
            "tomli": ">=2 ; python_version < '3.11'",
            "demo@https://index.example/wheels/demo-1.0-py3-none-any.whl": "",
            "matplotlib": "",
        },
    )
    @step
    def report(self):
        self.next(self.end)

    @pypi(disabled=True)
    @step
    def end(self):
        pass


if __name__ == "__main__":
    TrainFlow()
