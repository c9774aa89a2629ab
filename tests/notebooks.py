"""Notebooks: their files, and how a person runs them: cell by cell, in a real kernel."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client.blocking import BlockingKernelClient

SECONDS = 240


class Notebook:
    """A kernel that runs cells and says what they printed."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, cell: str, seconds: float = SECONDS) -> str:
        """What a cell prints. Raises AssertionError with that, if the cell fails."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] == "error":
                said.append("\n".join(content["traceback"]))

        answer = self._client.execute_interactive(cell, timeout=seconds, output_hook=hear, allow_stdin=False)
        assert answer["content"]["status"] == "ok", "".join(said)
        return "".join(said)


@contextmanager
def opened(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[Notebook]:
    """A notebook in a folder, on a kernel that a command starts: as in kernel.json, with `{connection_file}`."""
    from jupyter_client import KernelManager
    from jupyter_client.kernelspec import KernelSpec

    manager = KernelManager()
    manager._kernel_spec = KernelSpec(argv=list(command), display_name="", language="python")
    manager.start_kernel(cwd=str(folder), env={**os.environ, **variables})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield Notebook(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


OWN_KERNEL = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
"""A kernel of the Python that runs the tests, which has Metaflow."""


def notebook_of(*cells: str, indent: int | None = 1, in_lines: bool = True) -> bytes:
    """A notebook with these cells as Jupyter saves it; or with the source of each as one text, or all on one line."""
    document = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": cell.splitlines(keepends=True) if in_lines else cell,
            }
            for cell in cells
        ],
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(document, indent=indent, ensure_ascii=False).encode()


def cells_of(path: Path) -> list[str]:
    """The code cells of a notebook."""
    cells = json.loads(path.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
