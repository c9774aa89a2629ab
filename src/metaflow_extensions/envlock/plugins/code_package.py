"""Metaflow, its extensions and the flow's code, in a folder from which interpreters without Metaflow import them."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading

from metaflow.packaging_sys import ContentType

from .envlock_environment import EnvlockException


class CodePackage(object):
    """What Metaflow packages for a run, as a folder of links, and the variables that let a task import from it."""

    def __init__(self, package, home):
        """Start to fill the folder, and do not wait. `home` is envlock's folder on this machine."""
        if os.pathsep in tempfile.gettempdir():
            text = "%s cannot be on PYTHONPATH: it contains `%s`\n\nhint: export TMPDIR=/tmp"
            raise EnvlockException(text % (tempfile.gettempdir(), os.pathsep))
        self.folder, self._handle = folder_of_this_run()
        self._package = package
        self._home = home
        self._variables = None
        self._failure = None
        self._thread = threading.Thread(target=self._extract, daemon=True)
        self._thread.start()

    def variables(self):
        """The variables of a task. Waits until the folder is ready."""
        self.settle()
        if self._failure is not None:
            raise self._failure
        return self._variables

    def settle(self):
        """Wait until nothing more is put into the folder."""
        self._thread.join()

    def _extract(self):
        try:
            self._package.extract_into(self.folder, ContentType.ALL_CONTENT.value)
            given = self._package.get_post_extract_env_vars(self._package.package_metadata, self.folder)
            # A colon at the end of a name is Metaflow's mark for a variable that replaces any other value.
            variables = {name.rstrip(":"): value for name, value in given.items()}
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], self.folder])
            share_bytecode(self.folder, self._home)
            self._variables = variables
        except Exception as failure:  # noqa: BLE001  raised again by `variables`
            self._failure = failure


def folder_of_this_run():
    """A new temporary folder, and what keeps it open.

    Its lock tells envlock's other commands that it is in use, as long as this process lives.
    """
    folder = tempfile.mkdtemp(prefix="envlock-metaflow-%d-" % os.getpid())
    handle = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(OSError):  # some network mounts have no locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, handle


def share_bytecode(folder, home):
    """Share the bytecode of what `folder` links to among all runs.

    Each run has another folder, so the first task of each Python would compile all of Metaflow again, which takes a
    second. Python itself checks that bytecode belongs to its source.
    """
    for current, _, files in os.walk(folder):
        links = [os.path.join(current, name) for name in files if name.endswith(".py")]
        origins = {os.path.dirname(os.readlink(link)) for link in links if os.path.islink(link)}
        if len(origins) != 1:
            continue
        shared = os.path.join(home, "bytecode", hashlib.sha256(origins.pop().encode()).hexdigest()[:20])
        try:
            os.makedirs(shared, 0o755, exist_ok=True)
            os.symlink(shared, os.path.join(current, "__pycache__"))
        except FileExistsError:  # the code package brings it
            continue
        except OSError:
            return  # tasks start slower without it
