"""The entry of the kernel: make an environment of conda packages on a node, where no envlock is installed.

    python -I envlock-kernel.zip --plan FILE --files FOLDER --stage STAGE --place PLACE --unpacked FOLDER
                                 --uv FILE --rattler FOLDER [--options JSON]

The node, which starts it, has fetched everything and compared each file with its SHA-256. It holds the lock of the
place, and writes the receipt. This fills the stage, renames it to its place, and does what can be done only there.

Notes and warnings are lines on stderr. So is an error: the last line, whole, whatever it has to say.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from envlock.cache.errors import PlanDamaged
from envlock.cache.layout import EnvironmentPlace, PlanPlace, environment_place
from envlock.cache.plan import parse_plan
from envlock.errors import EnvlockError, Location, one_line
from envlock.files import LOCK_BYTES, json_of, read_file
from envlock.hydration.errors import ChangedArtifact, ForeignArch, storage_error
from envlock.hydration.port import InstallOptions
from envlock.hydration.prefix import check_place, name_of
from envlock.lockfile.document import parse
from envlock.lockfile.errors import DamagedLock
from envlock.model.arch import Arch, host_arch
from envlock.reporter import Reporter
from envlock.trust import Closed
from metaflow_extensions.envlock.plugins.node.errors import described

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from envlock.model.lock import Lock

_DEFECT = 70
_PR_SET_PDEATHSIG = 1


class _Ended(BaseException):
    """A signal came that ends the process."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Lines(Reporter):
    """Writes notes and warnings to stderr, each as one line."""

    def noted(self, message: str) -> None:
        _say(f"note: {message}")

    def warned(self, message: str) -> None:
        _say(f"warning: {message}")


class Planned(NamedTuple):
    """What a plan says of an environment whose Python is a conda package."""

    lock: Lock
    files: dict[str, Path]
    """Each package's file on this machine, by its SHA-256."""


def run() -> int:
    """Make one environment as a process of its own, which ends with the one that started it. Returns the exit status.

    That process holds the lock of the place: once it is killed, another may fill the place, and this must not.
    """
    with suppress(ImportError, OSError, AttributeError):  # no Linux
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    return main()


def main(argv: Sequence[str] | None = None) -> int:
    """Make one environment, and return the exit status: envlock's, or that of a process that a signal ended."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    arguments = _arguments(argv)
    try:
        _make(arguments)
    except _Ended as ended:
        return 128 + ended.number
    except EnvlockError as error:
        return _failed(error)
    except OSError as error:
        return _failed(storage_error(error, arguments.place))
    except Exception as error:  # noqa: BLE001  the one place where a failure of ours ends
        _say(f"error[defect]: this is a defect in envlock: {described(error)}")
        return _DEFECT
    return 0


def read_plan(path: Path, folder: Path) -> Planned:
    """The lock of a plan, verified, and where its packages are below `folder`, which is laid out as the cache is.

    Raises PlanDamaged, NewerPlan, NewerLockFormat, ChangedArtifact for a package that is not there, and OSError.
    """
    data = read_file(path, LOCK_BYTES)
    plan = parse_plan(data, _place_of(data, path), str(path))
    named = {package.file.sha256: package.file.path for package in plan.packages}
    try:
        lock = parse(plan.lock.encode(), path.name)
    except DamagedLock as error:
        raise _damaged(path, f"its lock: {error.reason}") from None
    if plan.environment != environment_place(lock):
        raise _damaged(path, f"its lock is of {lock.identity} on {lock.arch}")
    files: dict[str, Path] = {}
    for package in lock.packages:
        if package.sha256 not in named:
            raise _damaged(path, f"it does not say where `{package.filename}` is")
        file = files[package.sha256] = folder / named[package.sha256]
        if not file.is_file():
            found = "nothing that can be read (there is no such file)"
            raise ChangedArtifact(package.name, package.version, file, expected=package.sha256, found=found)
    return Planned(lock, files)


def _place_of(data: bytes, path: Path) -> PlanPlace:
    """The place that a plan claims to be from: who fetched it has compared its hash."""
    try:
        document = json_of(data)
        ids = EnvironmentPlace(Arch(document["arch"]), document["req_id"], document["full_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"a part is missing or malformed: {error}") from None
    return PlanPlace(ids, hashlib.sha256(data).hexdigest())


def _damaged(path: Path, reason: str) -> PlanDamaged:
    return PlanDamaged(reason=reason, locations=(Location(str(path)),))


def _make(arguments: argparse.Namespace) -> None:
    lock, files = read_plan(arguments.plan, arguments.files)
    if lock.arch != host_arch():
        raise ForeignArch(environment=name_of(lock), arch=lock.arch, host=host_arch())
    check_place(lock, arguments.place)
    # Behind the zip and before what this Python has installed.
    sys.path.insert(1, str(arguments.rattler))
    from envlock.hydration.conda_rattler import CondaInstaller

    options = InstallOptions(
        compile_bytecode=arguments.options.get("compile-bytecode") is True,
        link_scripts=tuple(arguments.options.get("link-scripts", ())),
        remake="the next deployment of the flow",
        uv=arguments.uv,
    )
    stage, place = arguments.stage, arguments.place
    with Closed():
        arguments.unpacked.mkdir(parents=True, exist_ok=True)
        installer = CondaInstaller(arguments.unpacked, _Lines(), options)
        installer.install(lock, files, None, stage, place)
        stage.rename(place)
        try:
            installer.finish(lock, place)
        except BaseException:
            place.rename(stage)
            raise


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="envlock-kernel", description="Make an environment of conda packages.")
    for name, meaning in (
        ("plan", "the plan of the environment"),
        ("files", "the folder of its packages, laid out as the cache is"),
        ("stage", "an empty folder, on the file system of the place"),
        ("place", "where the environment belongs"),
        ("unpacked", "the folder of unpacked conda packages"),
        ("uv", "the uv executable"),
        ("rattler", "the folder that contains py-rattler"),
    ):
        parser.add_argument(f"--{name}", type=_path, required=True, help=meaning)
    parser.add_argument("--options", type=_options, default={}, help="what the manifest says to nodes, as JSON")
    return parser.parse_args(argv)


def _path(text: str) -> Path:
    return Path(os.path.abspath(text))  # noqa: PTH100  pathlib's own keeps `..`


def _options(text: str) -> dict[str, Any]:
    found = json_of(text)  # argparse makes a usage error of a ValueError
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("not a JSON object")
    return found


def _end(number: int, _: FrameType | None) -> None:
    raise _Ended(number)


def _failed(error: EnvlockError) -> int:
    facts = [error.message, *(f"at {location}" for location in error.locations), *error.details]
    if error.hint:
        facts.append(f"hint: {error.hint}")
    _say(f"error[{error.code}]: {'; '.join(facts)}")
    return error.exit_status


def _say(text: str) -> None:
    sys.stderr.write(f"{one_line(text)}\n")
    sys.stderr.flush()
