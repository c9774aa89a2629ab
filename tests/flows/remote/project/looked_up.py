"""A flow whose steps have environments that are looked up when they start, by every kind of variable."""

from importlib.metadata import version

from metaflow import FlowSpec, Parameter, step


def what_is_here():
    from metaflow import current

    return {"packaging": version("packaging"), "identity": list(current.envlock)}


class LookedUpFlow(FlowSpec):
    env_tag = Parameter("env-tag", default="v1")

    @step
    def start(self):
        self.seen = what_is_here()
        self.next(self.env)

    @step
    def env(self):
        self.seen = what_is_here()
        self.next(self.again)

    @step
    def again(self):
        self.seen = what_is_here()
        self.next(self.end)

    @step
    def end(self):
        self.seen = None


if __name__ == "__main__":
    LookedUpFlow()
