"""A flow for other machines: conda, mixed and PyPI steps, a foreach of eight, and a step on the image's own Python.

python flow.py --environment=envlock run --with kubernetes
"""

from metaflow import FlowSpec, current, retry, step


def what_is_here():
    """What this step sees: its Python, two packages, and the prefix."""
    import sys
    from importlib.metadata import distributions

    here = {each.metadata["Name"].lower(): each.version for each in distributions()}
    packages = {name: here.get(name, "-") for name in ("numpy", "itsdangerous")}
    return {"python": "{}.{}.{}".format(*sys.version_info[:3]), "prefix": sys.prefix, **packages}


class RemoteFlow(FlowSpec):
    """Squares eight numbers with conda's numpy, and signs their sum with PyPI's itsdangerous."""

    @step
    def start(self):
        self.seen = what_is_here()
        self.numbers = list(range(8))
        self.next(self.work, foreach="numbers")

    @retry(times=2, minutes_between_retries=0)
    @step
    def work(self):
        import time

        import numpy

        self.seen = what_is_here()
        print(f"squaring {self.input}, attempt {current.retry_count}", flush=True)
        time.sleep(2)  # long enough for somebody to kill it
        self.square = float(numpy.square(self.input))
        self.next(self.join)

    @step
    def join(self, inputs):
        self.seen = what_is_here()
        self.total = sum(each.square for each in inputs)
        self.next(self.sign)

    @step
    def sign(self):
        import numpy
        from itsdangerous import Signer

        self.seen = what_is_here()
        self.signed = Signer("a key").sign(str(numpy.float64(self.total)).encode())
        self.next(self.end)

    @step
    def end(self):
        from itsdangerous import Signer

        self.seen = what_is_here()
        self.checked = float(Signer("a key").unsign(self.signed))
        print(f"the sum of the squares is {self.checked}")


if __name__ == "__main__":
    RemoteFlow()
