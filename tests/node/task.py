"""A task that starts, in a process of its own, with a folder for its cache. It runs on Python 3.8, as a node does.

`python task.py FOLDER FLOW STEP` is the command of `bootstrap_commands`, except that the cache is FOLDER. While a file
`FOLDER/gate` is there, it stands still where it would fetch the packages, or the parts of a pack; each fetching is a
line of `FOLDER/fetched`. While `FOLDER/down` is there, the cache does not answer.
"""

# ruff: noqa: PTH100, PTH110, PTH118, PTH120, PTH123, UP031

import os
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "src"))

from metaflow_extensions.envlock.plugins.node import fetch, start, transport  # noqa: E402


class Folder:
    """A client of a folder, in place of a bucket's."""

    raises = (OSError,)

    def __init__(self, folder):
        self.folder = folder

    def get(self, path, start, end, take):
        if os.path.exists(os.path.join(self.folder, "down")):
            raise ConnectionError
        with open(os.path.join(self.folder, path), "rb") as file:
            file.seek(start)
            while True:
                size = 1 << 20 if end is None else min(1 << 20, end - file.tell())
                piece = file.read(size) if size > 0 else b""
                if not piece:
                    return
                take(piece)

    def list(self, folder):
        return []

    def put_new(self, path, data):
        return False

    def fault(self, error):
        if isinstance(error, ConnectionError):
            return transport.Fault(transport.CUT, "it is down")
        kind = transport.GONE if isinstance(error, FileNotFoundError) else transport.REFUSED
        return transport.Fault(kind, str(error))


def use(folder):
    """Let nodes in this process find their cache in a folder; the function that was there."""

    def open_transport(manifest):
        return transport.Transport(manifest.cache, lambda: Folder(folder))

    transport.open_transport = open_transport
    return noted(folder, fetch.fetch)


def noted(folder, fetching):
    """A function that fetches, as the one above says."""

    def fetch(*arguments, **options):
        with open(os.path.join(folder, "fetched"), "a") as file:
            file.write("%d\n" % os.getpid())
        while os.path.exists(os.path.join(folder, "gate")):
            time.sleep(0.005)
        return fetching(*arguments, **options)

    return fetch


if __name__ == "__main__":
    from metaflow_extensions.envlock.plugins.node import make

    transport.LONGEST_PAUSE = 0.01
    make.fetch = use(sys.argv[1])
    make.unpack = noted(sys.argv[1], make.unpack)
    sys.exit(start.start(sys.argv[2:]))
