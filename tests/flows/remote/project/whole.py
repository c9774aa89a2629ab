"""Every kind of step, in one flow: what each task sees of where it runs.

`--hold b` lets the task of that part wait at its first attempt, to be killed; `--fail-at-end` lets `end` fail until the
run is resumed.
"""

from metaflow import FlowSpec, Parameter, catch, current, environment, retry, step


def what_is_here():
    import os
    import sys
    from importlib.metadata import distributions

    here = {each.metadata["Name"]: each.version for each in distributions()}
    identity = getattr(current, "envlock", None)
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "prefix": sys.prefix,
        "packages": {name: here[name] for name in ("alpha", "beta", "lam") if name in here},
        "identity": list(identity) if identity else None,
        "in_pod": "WITHIN_A_POD" in os.environ,
        "activated": os.environ.get("ACTIVATES_HOME"),
        "said": os.environ.get("SAID"),
        "first_on_path": os.environ["PATH"].split(os.pathsep)[0],
        "attempt": current.retry_count,
    }


class WholeFlow(FlowSpec):
    release = Parameter("release-tag", default="v1")
    hold = Parameter("hold", default="")
    fail_at_end = Parameter("fail-at-end", default=False, is_flag=True)

    @step
    def start(self):
        self.seen = what_is_here()
        self.parts = ["a", "b"]
        self.next(self.work, foreach="parts")

    @retry(times=1, minutes_between_retries=0)
    @step
    def work(self):
        import time

        self.seen = what_is_here()
        self.part = self.input
        if self.input == self.hold and current.retry_count == 0:
            print("waiting to be killed", flush=True)
            time.sleep(600)
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.seen = what_is_here()
        self.parts = sorted(each.part for each in inputs)
        self.next(self.mixed)

    @environment(vars={"SAID": "the step's"})
    @step
    def mixed(self):
        self.seen = what_is_here()
        self.next(self.late)

    @step
    def late(self):
        self.seen = what_is_here()
        self.next(self.broken)

    @catch(var="caught")
    @step
    def broken(self):
        import os

        os._exit(42)  # so that Metaflow cannot catch it here
        self.next(self.end)

    @step
    def end(self):
        self.seen = what_is_here()
        if self.fail_at_end and current.origin_run_id is None:
            raise ValueError("may not end yet")


if __name__ == "__main__":
    WholeFlow()
