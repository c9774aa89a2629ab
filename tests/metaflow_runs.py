"""Commands of Metaflow that are over, and how its client is asked what a run did."""

from __future__ import annotations

import re
from dataclasses import dataclass

# What Python 3.13.0 itself complains of when Metaflow packages code.
OF_GZIP = re.compile(
    r"Exception ignored in: <gzip .*\nTraceback.*\n(?: .*\n)+ValueError: I/O operation on closed file\.\n"
)

# Prints every task of some runs, or of the latest run of a flow: what it saw, and what was recorded of it.
# The runs are arguments, or else lines of JSON that come one after the other.
TASKS = """
import json, sys
from metaflow import Flow, Run, namespace
namespace(None)

def tasks(pathspecs):
    for pathspec in pathspecs:
        for step in Run(pathspec) if "/" in pathspec else Flow(pathspec).latest_run:
            for task in step:
                yield {
                    "step": step.id,
                    "pathspec": task.pathspec,
                    "recorded": json.loads(task.metadata_dict.get("envlock_env_id", "null")),
                    "attempt": task.current_attempt,
                    "successful": task.successful,
                    "origin": task.origin_pathspec,
                    "seen": task["seen"].data if "seen" in task else None,
                }

for pathspecs in [sys.argv[1:]] if sys.argv[1:] else map(json.loads, sys.stdin):
    print(json.dumps(list(tasks(pathspecs))), flush=True)
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
