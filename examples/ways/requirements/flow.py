"""A flow with a requirements.txt beside it: `envlock init --with requirements.txt` takes it over."""

from metaflow import FlowSpec, step


class ReportFlow(FlowSpec):
    """Renders a report and signs it."""

    @step
    def start(self):
        from jinja2 import Template

        self.report = Template("{{ n }} rows").render(n=3)
        self.next(self.end)

    @step
    def end(self):
        from itsdangerous import Signer

        print(Signer("a key").sign(self.report).decode())


if __name__ == "__main__":
    ReportFlow()
