"""A flow of a project that uv manages: `envlock import uv.lock` takes its lock over without solving."""

from metaflow import FlowSpec, step


class ServeFlow(FlowSpec):
    """Renders a message and signs it."""

    @step
    def start(self):
        from jinja2 import Template

        self.message = Template("hello {{ who }}").render(who="uv")
        self.next(self.end)

    @step
    def end(self):
        from itsdangerous import Signer

        print(Signer("a key").sign(self.message).decode())


if __name__ == "__main__":
    ServeFlow()
