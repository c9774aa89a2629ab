"""What a process can tell of the environment that it runs in, and of its lock of today."""

import glob
import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections import namedtuple

from ..envlock_environment import LAUNCHER_VARIABLE, Identity, is_inside

_SECONDS = 20

Package = namedtuple("Package", ["name", "version", "kind"])
"""`kind` is `PyPI`, or `conda` with the build and the channel."""

Today = namedtuple("Today", ["reason", "aliases", "changes"])
"""`reason` says why nothing is known, or is empty; `aliases` are those of the environment, and the one that it is or
extends; `changes` are what differs in today's lock: `(package, version before, version today)`, None where it is not.
"""


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


def packages_in(prefix):
    """The packages of a prefix of this interpreter's series, by name: wheels, and what conda's own records say."""
    return sorted(_wheels(prefix) + _conda_packages(prefix), key=lambda package: (package.name.lower(), package.kind))


def _wheels(prefix):
    from importlib.metadata import distributions

    places = {"base": prefix, "platbase": prefix}
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


def today_of(step, identity):
    """What the project has today for a step, `Flow/step`, that ran in an environment, as a Today.

    The envlock that launched the run is asked. On a node there is none, and no project.
    """
    launcher = os.environ.get(LAUNCHER_VARIABLE)
    if not launcher:
        return Today("this task ran where there is no envlock.toml", [], [])
    python, path = json.loads(launcher)
    try:
        (project,) = _answer(python, path, "list")["projects"]
        (own,) = [each for each in project["environments"] if each["name"] == step]
        aliases = own["aliases"] + ([own["base"]] if own["base"] else [])
        changes = []
        if own["identity"] != "%s:%s" % (identity.req_id, identity.full_id):
            for environment in _answer(python, path, "diff", sys.prefix, step)["environments"]:
                for arch in environment["archs"]:
                    changes += [(each["name"], each["before"], each["after"]) for each in arch["changes"]]
    except _NoAnswer as reason:
        return Today(str(reason), [], [])
    except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError):
        return Today("envlock gave no answer", [], [])
    return Today("", aliases, changes)


class _NoAnswer(Exception):
    """The error that envlock answers with."""


def _answer(python, path, *command):
    done = subprocess.run(
        [python, "-m", "envlock"] + list(command) + ["--json"],
        cwd=os.path.dirname(os.path.abspath(sys.argv[0])),
        env=dict(os.environ, PYTHONPATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_SECONDS,
        check=False,
    )
    answer = json.loads(done.stdout.decode("utf-8"))
    for each in (answer,) + tuple(answer.get("projects", ())):
        if each.get("error"):
            raise _NoAnswer(each["error"]["message"].rstrip("."))
    return answer
