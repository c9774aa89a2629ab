"""Run a pod from another program: `python -m tests.pods KIND FOLDER`, with `name`, `image`, `command` and `variables`
as JSON on stdin. What it says goes to stderr, and what it wrote into /mnt/out/return.json to stdout."""

from __future__ import annotations

import json
import sys

from tests.pods import pods_in
from tests.pods.pod import wait_for


def main() -> int:
    kind, folder = sys.argv[1:]
    pod = pods_in(kind, folder).start(**json.load(sys.stdin))
    status = wait_for(pod, 3600)
    sys.stderr.write(pod.said)
    if status == 0:
        sys.stdout.write(pod.output("return.json"))
    return status


if __name__ == "__main__":
    sys.exit(main())
