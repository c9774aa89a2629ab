"""The CPython interpreters of this machine: found by their files, and run only to learn their version.

uv always gets the absolute path of a real interpreter. Its own search trips over shims (scripts named `python3.12` that
start something else), and depends on the user's uv configuration.

Paths are plain strings here: `lock` waits while hundreds of names are checked, and `pathlib` would take most of it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from envlock.activation import without_python
from envlock.errors import HydrateError
from envlock.files import MEMO_BYTES, json_of, read_file, write_atomically
from envlock.places import folder_in_home, home
from envlock.trust import Closed
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "ENVLOCK_PYTHONS"
_ONLY = "only:"
_BINARIES = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xfe\xed\xfa\xcf", b"\xca\xfe\xba\xbe", b"\xca\xfe\xba\xbf")
_OTHERS = ("pypy", "graalpy", "pyston", "rustpython")
_QUESTION = (
    "import os, sys; v = sys.version_info; p = {'alpha': 'a', 'beta': 'b', 'candidate': 'rc'}.get(v[3]);"
    "print(sys.implementation.name, '%d.%d.%d' % v[:3] + (p + str(v[4]) if p else ''),"
    " sys.abiflags or '-', sys.maxsize > 2**32, os.uname()[4])"
)


class Interpreter(NamedTuple):
    """A CPython that runs here."""

    path: Path
    """Absolute; not a shim."""
    version: str
    """Three numbers; a pre-release has `a1`, `b1` or `rc1` after them."""


class NoInterpreter(HydrateError):
    """This machine has no CPython of the locked series that fits."""

    code = "no-interpreter"
    message = "there is no CPython {series}{fits} on this machine"
    hint = (
        "install CPython {series} (`uv python install {series}` does), or name its folder in ${variable}, "
        'or set `python-from = "uv"` in envlock.toml and run `envlock lock`'
    )

    def __init__(self, series: str, wanted: str, found: tuple[str, ...], *, more: tuple[str, ...] = ()) -> None:
        self.series = series
        self.wanted = wanted
        self.found = found
        fits = f" that fits `{wanted}`" if wanted else ""
        super().__init__(series=series, fits=fits, variable=VARIABLE, details=(*found, *more))


class _Candidate(NamedTuple):
    path: str
    series: str
    """From the file's name; empty if that has none."""
    chosen: bool
    """Whether the user's variable names it, so that it comes before all others."""
    real: str
    """Where links at its path lead."""


def machine_series() -> tuple[str, ...]:
    """The minor series of CPython here, oldest first, by file name. Runs nothing; takes a few milliseconds."""
    found = {candidate.series for candidate in _candidates() if candidate.series and not _refusal(candidate.real)}
    return tuple(sorted(found, key=_numbers))


def find_interpreter(
    series: str, accepts: Callable[[str], bool], *, wanted: str = "", downloads: Path | None = None
) -> Interpreter:
    """The interpreter of `series` with the highest version that `accepts`; one in `$ENVLOCK_PYTHONS` before any other.

    `wanted` describes the accepted versions for the error. `downloads` is the folder of Pythons that uv downloaded for
    envlock, by default the home's. Runs each candidate once, and again only after its file changed. Raises
    NoInterpreter, which lists what was found and why it does not fit.
    """
    fitting: list[tuple[bool, list[int], Interpreter]] = []
    found: list[str] = []
    others: set[str] = set()
    for candidate in _candidates(downloads):
        if candidate.series not in {"", series}:
            others.add(candidate.series)
            continue
        version, refusal = "", _refusal(candidate.real)
        if not refusal:
            version, refusal = _ask(candidate.path)
        if not refusal and not version.startswith(f"{series}."):
            refusal = f"is {version}"
        if not refusal and not accepts(version):
            refusal = f"is {version}, which does not fit"
        if refusal:
            found.append(f"{candidate.path} {refusal}")
        else:
            fitting.append((candidate.chosen, _numbers(version), Interpreter(Path(candidate.path), version)))
    if fitting:
        return max(fitting, key=lambda entry: entry[:2])[2]
    if others:
        found.append("other series here: " + ", ".join(sorted(others, key=_numbers)))
    places = dict.fromkeys(place for place, _ in _places(downloads) if os.path.exists(place))
    raise NoInterpreter(series, wanted, (*found, "looked in: " + (", ".join(places) or f"nothing (${VARIABLE})")))


def version_of(path: Path) -> str | None:
    """The version of the CPython at `path`; None if there is none that runs here."""
    return _ask(str(path))[0] or None


def only_chosen() -> bool:
    """Whether `$ENVLOCK_PYTHONS` forbids all other interpreters."""
    return os.environ.get(VARIABLE, "").startswith(_ONLY)


def _places(downloads: Path | None) -> Iterator[tuple[str, bool]]:
    """The folders to search, in order, and whether the user named them. The user may name an executable too."""
    chosen = os.environ.get(VARIABLE, "").removeprefix(_ONLY)
    for place in filter(None, chosen.split(os.pathsep)):
        path = os.path.abspath(os.path.expanduser(place))
        inner = os.path.join(path, "bin")
        yield inner if os.path.isdir(inner) else path, True
    if only_chosen():
        return
    user = os.path.expanduser("~")
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(user, ".local", "share")
    yield from ((folder, False) for folder in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(folder))
    yield os.path.dirname(os.path.realpath(sys.executable)), False
    for root, prefix in (
        (os.path.join(os.environ.get("PYENV_ROOT") or os.path.join(user, ".pyenv"), "versions"), ""),
        (os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv", "python"), "cpython-"),
        (str(downloads or home() / "pythons"), "cpython-"),
        ("/usr/local/opt", "python@3."),
        ("/opt/homebrew/opt", "python@3."),
    ):
        yield from (
            (os.path.join(root, name, "bin"), False) for name in sorted(_names(root)) if name.startswith(prefix)
        )
    yield from ((folder, False) for folder in ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"))


def _candidates(downloads: Path | None = None) -> list[_Candidate]:
    """Every file with the name of an interpreter, each real file once, in the order of the places."""
    seen: set[str] = set()
    folders: set[str] = set()
    candidates = []
    for place, chosen in _places(downloads):
        named = chosen and os.path.isfile(place)
        folder = os.path.realpath(os.path.dirname(place) if named else place)
        if not named and folder in folders:  # as `/bin`, which leads to `/usr/bin`, and what PATH names twice
            continue
        if not named:
            folders.add(folder)
        for path in [place] if named else _interpreters_in(place):
            real = os.path.join(folder, os.path.basename(path))
            if os.path.islink(real):
                real = os.path.realpath(real)
            series = _series(os.path.basename(path)) or _series(os.path.basename(real))
            if real in seen or not (series or named) or not os.access(real, os.X_OK):
                continue
            seen.add(real)
            # The interpreter of a virtual environment is a link to the one that it was made from.
            candidates.append(_Candidate(real if _in_environment(path) else path, series, chosen, real))
    return candidates


def _interpreters_in(folder: str) -> list[str]:
    # A folder of programs has thousands of other names.
    names = [name for name in _names(folder) if name.startswith("python3") and (name == "python3" or _series(name))]
    # `python3` may lead to another series one day, so it comes last.
    return [os.path.join(folder, name) for name in sorted(names, reverse=True)]


def _refusal(real: str) -> str:
    """Why this file is not run at all; empty if it may be an interpreter."""
    if os.path.basename(real).startswith(_OTHERS):
        return "is not CPython"
    if _in_environment(real):
        return "is a copy inside a virtual environment"
    try:
        if not os.path.isfile(real):  # a device, a pipe
            return "is not a file"
        with open(real, "rb") as file:
            return "" if file.read(4) in _BINARIES else "is a script, not an interpreter"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _in_environment(path: str) -> bool:
    return os.path.exists(os.path.join(os.path.dirname(os.path.dirname(path)), "pyvenv.cfg"))


def _ask(path: str) -> tuple[str, str]:
    """The version of the interpreter at `path`, and why it cannot be used here; one of the two is empty."""
    try:
        status = os.stat(path)
    except OSError as error:
        return "", f"cannot be read ({error.strerror})"
    key = f"{status.st_mtime_ns} {status.st_size}"
    known_key, _, answer = _read_known().get(path, "").partition(": ")
    if known_key != key:
        answer, refusal = _run(path)
        if refusal:
            return "", refusal
        # Another process may write at the same time: a lost answer costs only another run.
        _write_known({**_read_known(), path: f"{key}: {answer}"})
    implementation, version, flags, wide, machine = answer.split()
    if implementation != "cpython":
        return "", f"is {implementation}, not CPython"
    if wide != "True" or machine != os.uname().machine:
        return "", f"is built for another processor than {os.uname().machine}"
    if "t" in flags or "d" in flags:
        return "", f"is a special build of CPython ({'free-threaded' if 't' in flags else 'debug'})"
    return version, ""


def _run(path: str) -> tuple[str, str]:
    """The interpreter's answer to _QUESTION, and why it has none; one of the two is empty."""
    import subprocess

    from envlock.reporter import running

    try:
        with running([path, "-I", "-S", "-c", _QUESTION]):
            ran = subprocess.run(
                [path, "-I", "-S", "-c", _QUESTION],
                env=without_python(os.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=60,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"does not run ({error})"
    if ran.returncode == 0 and len(ran.stdout.split()) == 5:
        return ran.stdout.strip(), ""
    lines = ran.stderr.strip().splitlines()
    return "", f"does not run ({lines[-1] if lines else f'exit status {ran.returncode}'})"


def _read_known() -> dict[str, str]:
    """The answers so far: by path, the file's mtime and size, and the answer. Empty if the memo is unusable."""
    try:
        known = json_of(read_file(home() / "interpreters.json", MEMO_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {path: entry for path, entry in known.items() if isinstance(entry, str) and len(entry.split()) == 7}


def _write_known(known: dict[str, str]) -> None:
    import contextlib
    import json

    with contextlib.suppress(OSError), Closed():  # without the memo it only takes longer
        write_atomically(folder_in_home() / "interpreters.json", json.dumps(known, indent=1, sort_keys=True).encode())


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _series(name: str) -> str:
    """The series in an interpreter's file name.

    >>> _series("python3.12"), _series("python3"), _series("python3.12-config"), _series("python3.13t")
    ('3.12', '', '', '')
    """
    minor = name.removeprefix("python3.")
    return f"3.{minor}" if minor != name and minor.isdigit() else ""


def _numbers(version: str) -> list[int]:
    """The sort key of a version; a pre-release comes before its release.

    >>> sorted(["3.9", "3.14.0", "3.14.0rc1", "3.10"], key=_numbers)
    ['3.9', '3.10', '3.14.0rc1', '3.14.0']
    """
    stem = version.rstrip("0123456789")
    if stem.endswith("."):
        return [*(int(part) for part in version.split(".")), 1]
    return [*(int(part) for part in stem.rstrip("abrc").split(".")), 0]
