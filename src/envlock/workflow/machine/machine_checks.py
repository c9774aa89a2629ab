"""What `doctor` looks at on any machine: Pythons, uv, the home, Metaflow, the system, proxies."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from envlock import __version__
from envlock.activation import without_python
from envlock.places import UntrustedHome, home
from envlock.trust import distrust
from envlock.words import byte_size, count, listed
from envlock.workflow.machine.doctor import ERROR, NOTE, OK, WARNING, Check, Finding, of_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envlock.model.lock import Lock
    from envlock.workflow.machine.doctor import Given

_LITTLE = 2 << 30
"""Bytes that are soon not enough: a large environment needs them."""
_NETWORK_FILES = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs")
_SECONDS = 12.0
_EXTENSIONS = "metaflow-extensions"
# Which environments Metaflow offers, and what extends it, by Metaflow itself.
_ASK_METAFLOW = (
    "import json; from importlib.metadata import distributions, version\n"
    "from metaflow.plugins import ENVIRONMENTS\n"
    "found = {each.metadata['Name'] for each in distributions()\n"
    "         if any(str(file).startswith('metaflow_extensions/') for file in each.files or ())}\n"
    "print('\\n' + json.dumps([version('metaflow'), [each.TYPE for each in ENVIRONMENTS], sorted(found)]))\n"
)


def python(_: Given) -> Iterator[Finding]:
    """The Python that runs envlock."""
    found = f"envlock {__version__} on Python {platform.python_version()}"
    place = sys.executable or "unknown"
    if sys.version_info.releaselevel != "final":
        yield Finding("python", place, found, NOTE, "it is a pre-release: its bytecode and wheels may change")
    else:
        yield Finding("python", place, found)


def settings(given: Given) -> Iterator[Finding]:
    """The settings files of the machine and the user, and the variables of envlock: their names, not what they say."""
    from envlock.config.layers import without_project
    from envlock.settings_files import misspelt, settings_files

    if given.project is None:
        without_project()  # raises what is wrong with them; where there is a project, reading it has
    files = [path for _, path in settings_files() if os.path.exists(path)]
    variables = sorted(name for name in os.environ if name.startswith("ENVLOCK_"))
    looked_at = listed([path for _, path in settings_files()]) if settings_files() else "no settings file"
    yield Finding("settings", looked_at, listed([*files, *variables]) if files or variables else "none")
    for name, right in misspelt(os.environ):
        yield Finding(
            "settings", name, "envlock has no such variable", WARNING, "it has no effect", f"export {right}=..."
        )


def interpreters(given: Given) -> Iterator[Finding]:
    """The CPythons from which environments can be made, and those that locks ask for."""
    from envlock.interpreters import VARIABLE, NoInterpreter, find_interpreter, machine_series, only_chosen

    here: set[str] = set()
    for series in machine_series():
        with suppress(NoInterpreter):
            interpreter = find_interpreter(series, lambda _: True)
            here.add(series)
            yield Finding("interpreters", str(interpreter.path), f"CPython {interpreter.version}")
    looked_at = f"CPython on PATH, of pyenv, of uv, in {VARIABLE}" if not only_chosen() else f"CPython in {VARIABLE}"
    missing = sorted(_series_of_locks(given) - here, key=lambda each: int(each.partition(".")[2]))
    if missing and only_chosen():
        said = f"locks of this project need it, and {VARIABLE} forbids all others"
        repair = f"add a folder with CPython {missing[0]} to {VARIABLE}"
        yield Finding("interpreters", looked_at, f"no CPython {listed(missing, 'or')}", ERROR, said, repair)
    elif missing:
        said = "locks of this project need it: uv downloads it when an environment is created"
        repair = f"uv python install {missing[0]}"
        yield Finding("interpreters", looked_at, f"no CPython {listed(missing, 'or')}", NOTE, said, repair)
    elif not here:
        said = "uv downloads one when an environment is created"
        yield Finding("interpreters", looked_at, "no CPython", WARNING if only_chosen() else NOTE, said)


def _series_of_locks(given: Given) -> set[str]:
    """The series that locks for this arch take from the machine."""
    return {lock.python.series for lock in _locks_here(given) if lock.python.source == "machine"}


def _locks_here(given: Given) -> Iterator[Lock]:
    """The locks of the project for this arch that can be read."""
    if given.project is None:
        return
    from envlock.errors import EnvlockError
    from envlock.lockfile.folder import lock_files, read_lock
    from envlock.model.arch import host_arch

    for path in lock_files(given.project.lock_folder):
        if path.parts[-3] == host_arch():
            with suppress(EnvlockError):  # `locks` tells
                yield read_lock(path)


def uv(_: Given) -> Iterator[Finding]:
    """uv, its cache, and whether environments can be hard links into it."""
    from envlock.uv_command import run_uv, uv_cache, uv_executable

    path = uv_executable()
    ran = run_uv(["--version"])
    if ran.returncode != 0:
        said = "nothing can be locked or created"
        yield Finding("uv", str(path), f"it ends with status {ran.returncode}", ERROR, said, _REINSTALL)
        return
    yield Finding("uv", str(path), ran.stdout.strip())
    cache = uv_cache()
    untrusted = distrust(cache)
    if untrusted is not None:
        said = "envlock uses a cache of its own in its home, because others may write into uv's"
        yield Finding("uv-cache", cache, "others may write into it", NOTE, said, f"chmod -R go-w {cache}")
    elif _device(cache) != _device(str(home())):
        said = "environments cannot be hard links into uv's cache: each is a copy, and takes longer to create"
        repair = f"export UV_CACHE_DIR={_on_disk_of_home()}"
        yield Finding("uv-cache", cache, "it is on another disk than envlock's home", NOTE, said, repair)
    else:
        yield Finding("uv-cache", cache, "on the same disk as envlock's home")


_REINSTALL = "pip install --force-reinstall uv"


def _on_disk_of_home() -> str:
    return os.path.join(os.path.dirname(str(home())), "uv-cache")


def _device(path: str) -> int:
    return os.stat(_nearest(path)).st_dev


def _nearest(path: str) -> str:
    """The path, or the nearest folder above it that exists."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def home_folder(_: Given) -> Iterator[Finding]:
    """Envlock's home: whether it can be written, what file system it is on, how much space is left."""
    try:
        place = str(home())
    except UntrustedHome as error:
        yield of_error("home", "ENVLOCK_HOME, or ~/.envlock", error)
        return
    there = _nearest(place)
    status = os.statvfs(there)
    kind = _file_system(there)
    said = ", ".join(filter(None, (kind, f"{byte_size(status.f_bavail * status.f_frsize)} free")))
    named = f"export ENVLOCK_HOME=<a folder on {{}}>, or {_SETTING}"
    if status.f_flag & os.ST_RDONLY or not os.access(there, os.W_OK | os.X_OK):
        meaning = "existing environments work, but no new ones can be created, and nothing is remembered"
        yield Finding(
            "home", place, f"{said}; it cannot be written", ERROR, meaning, named.format("a disk to write to")
        )
    elif status.f_flag & os.ST_NOEXEC:
        meaning = "no program starts there, so no environment works"
        yield Finding("home", place, f"{said}; mounted with noexec", ERROR, meaning, named.format("another disk"))
    elif not os.path.isdir(place):
        yield Finding("home", place, f"not there yet; {said}", OK)
    else:
        yield Finding("home", place, said)
    if not status.f_flag & os.ST_RDONLY and status.f_bavail * status.f_frsize < _LITTLE:
        meaning = "the next environment may not fit"
        yield Finding("space", place, said, WARNING, meaning, "envlock env gc --packages --delete")
    if kind in _NETWORK_FILES:
        meaning = "creating environments takes long, and `env gc` cannot see processes on other machines"
        yield Finding("home", place, f"on a network file system ({kind})", NOTE, meaning, named.format("a local disk"))


_SETTING = "`home` in ~/.config/envlock/config.toml"


def _file_system(path: str) -> str:
    """The type of the file system of a path, as the kernel names it; empty where the system does not say it."""
    best, kind = "", ""
    real = os.path.realpath(path)
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, place, found, *_ = line.split(" ")
                place = place.replace("\\040", " ")
                if (real == place or real.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
                    best, kind = place, found
    except (OSError, ValueError):
        return ""
    return kind


def names(_: Given) -> Iterator[Finding]:
    """Local names and kernels whose environment is gone, and projects that cannot be read."""
    from envlock.workflow.machine.environments import find_environments

    found = find_environments()
    for each in found.needs.missing:
        what = f"the kernel `{each.what}`" if each.kind == "kernel" else f"the name `{each.what}`"
        repair = f"envlock kernel install --name {each.what}" if each.kind == "kernel" else "envlock sync"
        yield Finding("names", what, "its environment is gone", WARNING, "it does not start", repair)
    for unread in found.needs.unread:
        said = "its environments are kept until it can be read, or its note is deleted"
        repair = f"mount its disk, or: rm {unread.project.note}"
        yield Finding("names", unread.project.config, f"cannot be read: {unread.reason}", NOTE, said, repair)
    if not found.needs.missing and not found.needs.unread:
        every = [need for needs in found.needs.needs.values() for need in needs]
        local, kernels, projects = (
            count(len({need.what for need in every if need.kind == kind}), noun)
            for kind, noun in (("name", "local name"), ("kernel", "kernel"), ("project", "project"))
        )
        said = f"{count(len(found.prefixes), 'environment')}, for {projects}, {local}, {kernels}"
        yield Finding("names", "local names, kernels, known projects", said)


def metaflow(_: Given) -> Iterator[Finding]:
    """Metaflow beside envlock, whether it has found envlock, and what else extends it."""
    import json

    try:
        ran = subprocess.run(
            [sys.executable, "-c", _ASK_METAFLOW],
            env=without_python(os.environ) | _path_of_python(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        version, offered, extensions = json.loads(ran.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
        meaning = "flows need Metaflow in the same Python as envlock; locking and running commands do not"
        repair = f'{sys.executable} -m pip install "envlock[metaflow]"'
        yield Finding("metaflow", sys.executable, "Metaflow is not there, or does not start", NOTE, meaning, repair)
        return
    if "envlock" in offered:
        yield Finding("metaflow", sys.executable, f"Metaflow {version}, with --environment=envlock")
    else:
        meaning = "flows do not start with --environment=envlock"
        repair = f'{sys.executable} -m pip install --force-reinstall --no-deps "envlock"'
        found = f"Metaflow {version} has not loaded envlock's extension"
        yield Finding("metaflow", sys.executable, found, ERROR, meaning, repair)
    for name in extensions:
        if name == "metaflow-netflixext":
            meaning = (
                "its @conda, @pypi and @named_env ask for environments of its own: --environment=envlock refuses flows "
                "that have them, and its own --environment=conda still works"
            )
            yield Finding(_EXTENSIONS, "extensions of Metaflow", name, NOTE, meaning, "envlock migrate FLOW.py")
        elif name != "envlock":
            yield Finding(_EXTENSIONS, "extensions of Metaflow", name)


def _path_of_python() -> dict[str, str]:
    given = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": given} if given else {}


def system(given: Given) -> Iterator[Finding]:
    """glibc, kernel, CUDA: what this machine has of what packages require."""
    from metaflow_extensions.envlock.plugins.node.machine import found_here as here

    parts = []
    for package, said in (("__glibc", "glibc"), ("__osx", "macOS"), ("__linux", "Linux"), ("__cuda", "CUDA")):
        version = here(package)
        if version:
            parts.append(f"{said} {version}")
    overridden = sorted(name for name in os.environ if name.startswith("CONDA_OVERRIDE_"))
    looked_at = "libraries and drivers of this machine" + (f", {listed(overridden)}" if overridden else "")
    found = listed(parts) if parts else "nothing that packages require"
    if overridden:
        meaning = "envlock uses these values: packages may not start if they say more than this machine has"
        yield Finding("system", looked_at, found, NOTE, meaning, f"unset {' '.join(overridden)}")
    elif os.uname().sysname == "Linux" and not here("__glibc"):
        meaning = "packages are made for glibc, and this machine has another C library, such as musl"
        yield Finding("system", looked_at, found, WARNING, meaning, "use a machine or an image with glibc")
    else:
        yield Finding("system", looked_at, found)
    yield from _unmet(given)


def _unmet(given: Given) -> Iterator[Finding]:
    """What the locks of the project require of this machine, and it lacks."""
    from envlock.hydration.machine_checks import unmet

    lacking: dict[str, list[str]] = {}
    for lock in _locks_here(given):
        for package, required, here in unmet(lock):
            text = f"{package} {required} is required, {here or 'none'} is here"
            lacking.setdefault(text, []).extend(lock.asked_by)
    for text, asked_by in lacking.items():
        meaning = f"not created here without --force: {', '.join(dict.fromkeys(asked_by))}"
        yield Finding("system", "system requirements of the locks", text, WARNING, meaning)


def proxies(_: Given) -> Iterator[Finding]:
    """The variables of proxies, without what is in them before a host."""
    from envlock.redaction import without_credentials

    given = {
        name: os.environ[name]
        for each in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
        for name in (each, each.lower())
        if os.environ.get(name)
    }
    if not given:
        yield Finding("proxies", "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY", "none")
        return
    found = ", ".join(f"{name}={without_credentials(value)}" for name, value in given.items())
    meaning = "uv, py-rattler and clients of buckets go through it, except to the hosts of NO_PROXY"
    yield Finding("proxies", ", ".join(given), found, NOTE, meaning)


def git(_: Given) -> Iterator[Finding]:
    """git, which locks after merges, references to revisions, and packages from repositories need."""
    import shutil

    path = shutil.which("git")
    if path is None:
        meaning = "envlock cannot sort out locks after a merge, and cannot build packages from git repositories"
        yield Finding("git", "git on PATH", "none", NOTE, meaning, "install git")
        return
    ran = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    yield Finding("git", path, ran.stdout.strip() or "it does not start")


CHECKS = (
    Check("python", "the Python that runs envlock", python),
    Check("settings", "settings files and variables", settings),
    Check("interpreters", "CPythons of this machine", interpreters),
    Check("uv", "uv", uv),
    Check("git", "git", git),
    Check("home", "envlock's home", home_folder),
    Check("names", "local names and kernels", names),
    Check("metaflow", "Metaflow", metaflow),
    Check("system", "libraries and drivers of this machine", system),
    Check("proxies", "variables of proxies", proxies),
)
