"""Projects of one flow with two steps, from the text of an envlock.toml."""

from __future__ import annotations

from pathlib import Path

from envlock.config.project import Project
from envlock.config.read import load_project

FLOW = """
from metaflow import FlowSpec, step

class Train(FlowSpec):
    @step
    def start(self):
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def load(folder: Path, text: str) -> Project:
    """The project of an envlock.toml with this text, beside the flow."""
    (folder / "flow.py").write_text(FLOW)
    path = folder / "envlock.toml"
    path.write_text(text)
    return load_project(path)
