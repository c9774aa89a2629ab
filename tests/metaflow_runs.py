"""Commands of Metaflow that are over, and how its client is asked what a run did."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What Python 3.13.0 itself complains of when Metaflow packages code.
OF_GZIP = re.compile(
    r"Exception ignored in: <gzip .*\nTraceback.*\n(?: .*\n)+ValueError: I/O operation on closed file\.\n"
)

# Prints every task of some runs: what it saw, and what was recorded of it.
TASKS = """
import json, sys
from metaflow import Run, namespace
namespace(None)
tasks = []
for pathspec in sys.argv[1:]:
    for step in Run(pathspec):
        for task in step:
            tasks.append({
                "step": step.id,
                "pathspec": task.pathspec,
                "recorded": json.loads(task.metadata_dict.get("envlock_env_id", "null")),
                "attempt": task.current_attempt,
                "successful": task.successful,
                "origin": task.origin_pathspec,
                "seen": task["seen"].data if "seen" in task else None,
            })
print(json.dumps(tasks))
"""


@dataclass(frozen=True)
class Ended:
    """A command of Metaflow that is over."""

    status: int
    text: str

    @property
    def run_id(self) -> str:
        """The run that it began."""
        run_id = self.text.partition("(run-id ")[2].partition(")")[0]
        assert run_id, self.text
        return run_id
