"""A flow with a conda step, a mixed step and a PyPI step; `envlock.toml` beside it says which is which.

python flow.py --environment=envlock run
"""

from metaflow import FlowSpec, step


def installers():
    """Who installed each distribution that this step sees, as the distribution itself says."""
    from importlib.metadata import distributions

    return {each.metadata["Name"].lower(): (each.read_text("INSTALLER") or "").strip() for each in distributions()}


class MixedFlow(FlowSpec):
    """Makes a number with conda's numpy, signs it with PyPI's itsdangerous, and checks the signature."""

    @step
    def start(self):
        import numpy

        self.total = float(numpy.arange(10).sum())
        self.seen = {"start": installers()}
        self.next(self.sign)

    @step
    def sign(self):
        import numpy
        from itsdangerous import Signer

        self.signed = Signer("a key").sign(str(numpy.float64(self.total)).encode())
        self.seen = {**self.seen, "sign": installers()}
        self.next(self.end)

    @step
    def end(self):
        from itsdangerous import Signer

        self.checked = float(Signer("a key").unsign(self.signed))
        self.seen = {**self.seen, "end": installers()}
        for name in ("start", "sign", "end"):
            found = {package: by for package, by in self.seen[name].items() if package in ("numpy", "itsdangerous")}
            print(f"{name}: {found}")


if __name__ == "__main__":
    MixedFlow()
