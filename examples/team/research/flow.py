"""A flow in somebody else's environment; `envlock.toml` beside it says whose.

python flow.py --environment=envlock run
"""

from metaflow import FlowSpec, step


def versions():
    """The packages of this step that the example is about."""
    from importlib.metadata import distributions

    found = {each.metadata["Name"].lower(): each.version for each in distributions()}
    return {name: found[name] for name in ("itsdangerous", "colorama") if name in found}


class ResearchFlow(FlowSpec):
    """Signs in the base, shows in the base with a package more, and tells what both had."""

    @step
    def start(self):
        from itsdangerous import Signer

        self.signed = Signer("a key").sign(b"a finding").decode()
        self.base = versions()
        self.next(self.show)

    @step
    def show(self):
        from colorama import Fore
        from itsdangerous import Signer

        self.finding = Signer("a key").unsign(self.signed).decode()
        self.painted = f"{Fore.GREEN}{self.finding}{Fore.RESET}"
        self.extended = versions()
        self.next(self.end)

    @step
    def end(self):
        print(f"base: {self.base}")
        print(f"extended: {self.extended}")


if __name__ == "__main__":
    ResearchFlow()
