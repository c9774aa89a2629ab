"""What a process can tell of the environment that it runs in, and of its lock of today."""

import glob
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections import namedtuple

from ..envlock_environment import IDENTITY_VARIABLE, LAUNCHER_VARIABLE, Identity, is_inside

_SECONDS = 20

Package = namedtuple("Package", ["name", "version", "kind"])
"""`kind` is `PyPI`, or `conda` with the build and the channel."""


def identity_of(task):
    """The environment that a finished task ran in; None if its step is disabled, or ran without envlock."""
    recorded = task.metadata_dict.get("envlock_env_id")
    return Identity(*json.loads(recorded)) if recorded else None


def is_here(identity):
    """Whether this process runs in that environment."""
    return is_inside(json.dumps(identity))


def python_here():
    """This interpreter, for a reader."""
    return "%s %s" % (platform.python_implementation(), platform.python_version())


def packages_here(prefix=None):
    """The packages in the prefix of this process, by name: wheels as they are installed, and conda's own records."""
    conda = _conda_packages(prefix or sys.prefix)
    return sorted(_wheels(prefix) + conda, key=lambda package: (package.name.lower(), package.kind))


def _wheels(prefix):
    from importlib.metadata import distributions

    places = {"base": prefix, "platbase": prefix} if prefix else {}
    folders = {sysconfig.get_path(name, vars=places) for name in ("purelib", "platlib")}
    found = {}
    for each in distributions(path=sorted(folders)):
        name = each.metadata["Name"]
        if name and (each.read_text("INSTALLER") or "").strip() != "conda":
            found.setdefault(name, Package(name, each.version or "", "PyPI"))
    return list(found.values())


def _conda_packages(prefix):
    paths = glob.glob(os.path.join(glob.escape(prefix), "conda-meta", "*.json"))
    return [package for package in map(_conda_package, paths) if package is not None]


def _conda_package(path):
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        channel = str(record.get("channel") or "").rstrip("/").split("/")
        named = [part for part in channel if part and part != record.get("subdir")]
        kind = "conda %s %s" % (record["build"], named[-1] if named else "")
        return Package(record["name"], record["version"], kind.strip())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Today(object):
    """What the project of a flow has today for a step, `Flow/step`, by the envlock that launched the run.

    On a node there is no project to ask: then `reason` says so, as it does if envlock gives no answer.
    """

    def __init__(self, step, identity):
        self.reason = ""
        self.aliases = []
        """The aliases of the environment, and the one that it is or extends."""
        self.changes = []
        """What has changed since, as `(package, version here, version today)`."""
        told = os.environ.get(LAUNCHER_VARIABLE)
        if not told or not os.environ.get(IDENTITY_VARIABLE):
            self.reason = "this task ran where there is no envlock.toml"
            return
        try:
            self._ask(step, identity, *json.loads(told))
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
            self.reason = self.reason or "envlock gave no answer"

    def _ask(self, step, identity, python, path):
        (project,) = self._answer(python, path, "list")["projects"]
        (own,) = [each for each in project["environments"] if each["name"] == step]
        self.aliases = own["aliases"] + ([own["base"]] if own["base"] else [])
        if own["identity"] == "%s:%s" % (identity.req_id, identity.full_id):
            return
        for environment in self._answer(python, path, "diff", sys.prefix, step)["environments"]:
            for arch in environment["archs"]:
                self.changes += [(each["name"], each["before"], each["after"]) for each in arch["changes"]]

    def _answer(self, python, path, *command):
        folder = os.path.dirname(os.path.abspath(sys.argv[0]))
        done = subprocess.run(
            [python, "-m", "envlock"] + list(command) + ["--json"],
            cwd=folder,
            env=dict(os.environ, PYTHONPATH=path),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout.decode("utf-8"))
        errors = [answer.get("error")] + [each.get("error") for each in answer.get("projects", ())]
        for error in filter(None, errors):
            self.reason = error["message"]
            raise ValueError
        return answer
