"""Metaflow, its extensions and the flow's code, put where interpreters that have no Metaflow can import them."""

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
        """Begins to make the folder, and does not wait. `home` is envlock's folder on this machine."""
        if os.pathsep in tempfile.gettempdir():
            text = "%s cannot be on PYTHONPATH, for it holds `%s`\n\nhint: export TMPDIR=/tmp"
            raise EnvlockException(text % (tempfile.gettempdir(), os.pathsep))
        self.folder = tempfile.mkdtemp(prefix="envlock-metaflow-%d-" % os.getpid())
        # As long as this process lives, no command of envlock takes the folder for one that was left behind.
        self._handle = os.open(self.folder, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network mounts have no locks
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._package = package
        self._home = home
        self._variables = None
        self._failure = None
        self._thread = threading.Thread(target=self._extract, daemon=True)
        self._thread.start()

    def variables(self):
        """The variables of a task; waits for the folder."""
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
            # A name that ends with a colon is Metaflow's way to say: set it, whatever it was.
            variables = {name.rstrip(":"): value for name, value in given.items()}
            variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], self.folder])
            share_bytecode(self.folder, self._home)
            self._variables = variables
        except Exception as failure:  # noqa: BLE001  raised again where it is waited for
            self._failure = failure


def share_bytecode(folder, home):
    """Let the interpreters of all runs share the bytecode of what `folder` links to.

    The folder is another one for each run, so the first task of each Python would compile all of Metaflow again (a
    second). Python itself makes sure that bytecode is of the source that it stands for.
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
        except OSError:
            return  # the tasks are slower then, and that is all
