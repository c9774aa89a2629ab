"""Packages into a prefix, on a node: wheels by the kit's uv, conda packages by the kit's py-rattler and node kernel.

uv runs as on a workstation (`envlock.hydration.pypi_uv`): offline, from local files, each with its hash, in a
whitelisted environment. What `hydrate` makes of the lock there, this makes of the plan here, file by file.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import zipfile
import zlib

from . import home as homes
from . import stage
from .errors import Damaged, NodeError
from .kept import find, unpack_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Mapping, Sequence

    from .plan import Object, Package, Plan
    from .report import Reporter

FILES = "files"
"""In the folder of a stage: what was fetched, laid out as the cache is."""

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL")
"""The only variables of the task that uv sees."""

_PYLOCK = "pylock.toml"
_NO_WHEEL = (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, KeyError, ValueError)


# The kit.


def unpack_tool(tool: Object, wheel: str, home: str) -> str:
    """The folder of a tool of the kit: its wheel, whose bytes have been verified, unpacked below `tools`, once.

    Raises Damaged, OSError.
    """

    def unpack(folder: str) -> None:
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.infolist():
                    path = archive.extract(member, folder)  # which keeps every member in the folder
                    if "/scripts/" in member.filename and not member.is_dir():
                        os.chmod(path, 0o755)  # noqa: S103  programs
        except _NO_WHEEL as error:
            raise Damaged(
                "%s of the kit is the file that the plan names, and no wheel (%s): run `envlock push` and deploy again"
                % (tool.filename, error)
            ) from None

    return unpack_once(home, _place_of(tool), unpack)


def unpacked_tool(tool: Object, home: str) -> str | None:
    """The folder of a tool that was unpacked here before; None if it was not."""
    return find(home, _place_of(tool))


def _place_of(tool: Object) -> str:
    return "%s/%s" % (homes.TOOLS, tool.sha256)


def uv_in(folder: str, tool: Object) -> str:
    """The executable in the unpacked wheel of uv. Raises Damaged."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name, "scripts", "uv")
        if name.endswith(".data") and os.access(path, os.X_OK):
            return path
    raise Damaged("there is no uv in %s of the kit: run `envlock push` and deploy the flow again" % tool.filename)


# Wheels.


class Wheels:
    """uv at work on the wheels of one plan, in the environment `prefix`, a stage. It verifies the SHA-256 of each.

    Each method raises NodeError.
    """

    def __init__(self, plan: Plan, files: Mapping[str, str], prefix: str, uv: str, home: str) -> None:
        self._plan = plan
        self._files = files
        self._prefix = prefix
        self._uv = uv
        self._home = home
        self._site = os.path.join(prefix, "lib", "python%s" % plan.python.series, "site-packages")

    def install(self, python: str) -> list[str]:
        """Make the prefix an environment of `python` with these wheels; sentences about paths that several contain."""
        options = ["--relocatable", "--allow-existing", "--no-project", "--offline", "--python", python]
        self._run("venv", *options, self._prefix)
        if not self._plan.packages:
            return []
        self._pip("sync", self._plan.packages)
        return self._settle()

    def _settle(self) -> list[str]:
        """Give each path that several wheels contain to the last of them in the lock.

        uv links wheels side by side, so without this, whichever happens to come last would get the path.
        """
        records = _records(self._site)
        owners: dict[str, list[tuple[str, str]]] = {}
        for package in self._plan.packages:
            for path, digest in _paths(records[package.name], self._prefix) if package.name in records else ():
                if homes.is_reserved(path):
                    raise NodeError(
                        "`%s` contains `%s`, which belongs to the environment itself: lock a release without it"
                        % (package.name, path)
                    )
                owners.setdefault(path, []).append((package.name, digest))
        shared = {
            path: [name for name, _ in each]
            for path, each in owners.items()
            if len(each) > 1 and (len({digest for _, digest in each}) > 1 or not each[0][1])
        }
        winners = {names[-1] for names in shared.values()}
        for package in self._plan.packages:
            if package.name in winners:
                # uv would first remove the files of an installed wheel, even those that other wheels contain: hide it.
                shutil.rmtree(os.path.dirname(records[package.name]))
                self._pip("install", [package], "--no-deps")
        groups: dict[tuple[str, ...], str] = {}
        for path, names in sorted(shared.items()):
            groups.setdefault(tuple(names), path)
        return [
            "%s all contain %s: the one of %s is used, which is later in the lock" % (", ".join(names), path, names[-1])
            for names, path in sorted(groups.items())
        ]

    def _pip(self, command: str, packages: Sequence[Package], *options: str) -> None:
        pylock = os.path.join(self._prefix, _PYLOCK)
        with open(pylock, "w", encoding="utf-8") as file:
            file.write(pylock_of(self._plan, packages, self._files))
        python = os.path.join(self._prefix, "bin", "python")
        offline = ["--preview-features", "pylock", "--offline", "--no-index", "--no-build", "--python", python]
        requirements = [pylock] if command == "sync" else ["--requirements", pylock]
        self._run("pip", command, *options, *offline, *requirements)
        os.unlink(pylock)

    def _run(self, *arguments: str) -> None:
        work = os.path.dirname(self._prefix)
        completed = subprocess.run(
            [self._uv, *arguments, "--quiet", "--no-config"],
            env=uv_environment(os.environ, work),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        if completed.returncode == 0:
            return
        said = completed.stderr.decode("utf-8", "replace")
        raise failure(said, 5, self._home, "uv could not make the environment (a defect, if the lock fits this image)")


def uv_environment(environ: Mapping[str, str], work: str) -> dict[str, str]:
    """The variables for uv: a few of the task's, and never `UV_*`, `PIP_*`, `PYTHON*` or anything of a network."""
    kept = {name: environ[name] for name in _KEPT if name in environ}
    return {
        **kept,
        "NO_COLOR": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": os.path.join(work, "uv"),
        "TMPDIR": work,
    }


def pylock_of(plan: Plan, packages: Sequence[Package], files: Mapping[str, str]) -> str:
    """A PEP 751 document in which each package is one file on this node."""
    lines = ['lock-version = "1.0"', 'created-by = "envlock"', 'requires-python = "==%s.*"' % plan.python.series]
    for package in packages:
        lines += ["", "[[packages]]", "name = %s" % _toml(package.name), "version = %s" % _toml(package.version)]
        path, sha256 = _toml(files[package.sha256]), _toml(package.sha256)
        lines += ["[[packages.wheels]]", "path = %s" % path, "[packages.wheels.hashes]", "sha256 = %s" % sha256]
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    r"""A text as a basic string of TOML.

    >>> print(_toml('a "b" \\ é \x7f'))
    "a \"b\" \\ é \u007f"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _records(site: str) -> dict[str, str]:
    """The RECORD of each wheel that uv installed, by the wheel's normalised name."""
    found = {}
    for name in sorted(os.listdir(site)):
        stem, ending = os.path.splitext(name)
        record = os.path.join(site, name, "RECORD")
        if ending == ".dist-info" and os.path.exists(record):
            found[re.sub(r"[-_.]+", "-", stem.partition("-")[0]).lower()] = record
    return found


def _paths(record: str, prefix: str) -> Iterator[tuple[str, str]]:
    """The files in a RECORD, relative to the prefix, each with its digest as spelled there; without bytecode."""
    site = os.path.relpath(os.path.dirname(os.path.dirname(record)), prefix)
    is_linked = os.path.islink(os.path.join(prefix, "lib64"))
    with open(record, encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            rows = [row for row in csv.reader(file) if row]
        except csv.Error as error:
            raise NodeError("%s is no RECORD (%s): lock another release" % (record, error)) from None
    for row in rows:
        path = os.path.normpath(os.path.join(site, row[0]))
        if is_linked and path.startswith("lib64/"):
            path = "lib" + path[len("lib64") :]
        if path.startswith(("../", "/")) or (path.endswith(".pyc") and "/__pycache__/" in path):
            continue
        yield path, row[1] if len(row) > 1 else ""


def compile_bytecode(folder: str, python: str, reporter: Reporter) -> None:
    """Compile every module below a folder with the environment's own interpreter, on all processors.

    Modules that do not compile are skipped: packages contain templates, and modules for other Pythons.
    """
    reporter.began("compiling the modules of the environment")
    command = [python, "-I", "-m", "compileall", "-q", "--invalidation-mode", "timestamp"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "__PYVENV"))}
    for workers in ("0", "1"):  # some containers have no shared memory for several processes
        completed = subprocess.run(
            [*command, "-j", workers, folder],
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        output = (completed.stdout + completed.stderr).decode("utf-8", "replace")
        if homes.is_full(output):
            raise homes.disk_full(folder)
        if b"Traceback" not in completed.stderr:
            return
    reporter.said("could not compile the modules of the environment; Python does it at the first import")


# Conda packages.


def link_conda(
    plan: Plan,
    tools: Mapping[str, str],
    rattler: Sequence[str],
    work: str,
    place: str,
    options: Mapping[str, object],
    home: str,
) -> list[str]:
    """Make `place` the environment of a plan with conda packages: notes and warnings of that.

    The kernel does it, which is envlock's own code for them, run by a Python that has py-rattler. `tools` are the paths
    of `python`, `kernel` and `uv`, `rattler` the folders of unpacked wheels. In `work`, the folder of the stage, are
    `files`, laid out as the cache is, and `new`, which is empty. Raises NodeError, and leaves nothing at the place.
    """
    completed = subprocess.run(
        _kernel_command(plan, tools, rattler, work, place, options),
        env={**uv_environment(os.environ, work), homes.HOME_VARIABLE: work},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    said = completed.stderr.decode("utf-8", "replace")
    if completed.returncode != 0:
        if os.path.isdir(place):  # the kernel was killed after it had renamed its stage
            os.rename(place, os.path.join(work, "killed"))
        raise failure(said, completed.returncode, home, "the conda packages could not be installed")
    return said.splitlines()


def _kernel_command(
    plan: Plan, tools: Mapping[str, str], rattler: Sequence[str], work: str, place: str, options: Mapping[str, object]
) -> list[str]:
    """The command that runs the kernel (`envlock.remote.on_node`), with the plan and py-rattler where it looks."""
    path = os.path.join(work, "plan.json")
    with open(path, "wb") as file:
        file.write(plan.data)
    modules = os.path.join(work, "rattler")
    os.mkdir(modules)
    for folder in rattler:
        for name in os.listdir(folder):
            os.symlink(os.path.join(folder, name), os.path.join(modules, name))
    arguments = {
        "plan": path,
        "files": os.path.join(work, FILES),
        "stage": os.path.join(work, stage.NEW),
        "place": place,
        "unpacked": os.path.join(work, "unpacked"),
        "uv": tools["uv"],
        "rattler": modules,
        "options": json.dumps(options, sort_keys=True),
    }
    command = [tools["python"], "-I", tools["kernel"]]
    for name, value in arguments.items():
        command += ["--%s" % name, value]
    return command


def failure(said: str, status: int, home: str, what: str) -> NodeError:
    """The error for a program that failed, from its last lines and its exit status."""
    if homes.is_full(said):
        return homes.disk_full(home)
    lines = [line.strip() for line in said.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("warning:", "Traceback", "File "))]
    reason = "; ".join(lines[-3:]) or "it ended with status %d and said nothing" % status
    return NodeError("%s: %s" % (what, reason), status if status in (1, 2, 3, 70) else 5)
