from importlib.metadata import distributions

from metaflow import FlowSpec, Parameter, current, step


def what_is_here():
    here = {each.metadata["Name"]: each.version for each in distributions()}
    packages = {name: here[name] for name in ("alpha", "beta", "lam") if name in here}
    return {"packages": packages, "identity": list(current.envlock)}


class NamedFlow(FlowSpec):
    release = Parameter("release-tag", default="v1")

    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.extended)

    @step
    def extended(self):
        self.seen = what_is_here()
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    NamedFlow()
