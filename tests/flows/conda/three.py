"""A flow with conda steps, a mixed one, one of wheels and a disabled one."""

from pathlib import Path

from metaflow import FlowSpec, Runner, environment, parallel, retry, step
from told import what_is_here


class ThreeFlow(FlowSpec):
    @step
    def start(self):
        self.seen = what_is_here()
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        from metaflow import current

        self.seen = what_is_here()
        if self.input == "b" and current.retry_count == 0:
            raise ValueError("fails once")
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = what_is_here()
        self.next(self.own)

    @environment(vars={"ACTIVATES_NAME": "the user's"})
    @step
    def own(self):
        self.seen = what_is_here()
        file = Path(__file__).with_name("within.py")
        with Runner(str(file), environment="envlock", show_output=False).run() as running:
            self.inner = running.run.pathspec
        self.next(self.many, num_parallel=2)

    @parallel
    @step
    def many(self):
        self.seen = what_is_here()
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()


if __name__ == "__main__":
    ThreeFlow()
