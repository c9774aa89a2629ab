"""Running uv so that only envlock's arguments decide: no variable or file of the user changes what it does."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from envlock.errors import HydrateError
from envlock.places import folder_in_home
from envlock.reporter import running
from envlock.trust import distrust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_KEPT = frozenset(
    {
        # where things are
        "PATH", "HOME", "TMPDIR", "TEMP", "TMP", "LANG", "LC_ALL", "XDG_CACHE_HOME", "XDG_DATA_HOME", "UV_CACHE_DIR",
        # how to reach a network
        "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES",
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    }
)  # fmt: skip

_NUMBERS = frozenset({"UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES"})

# Finding uv fills sysconfig's variables; other threads could see them half filled (Python 3.11 and older).
_FINDING = threading.Lock()


class NoUv(HydrateError):
    """The uv executable that is installed with envlock is missing."""

    code = "no-uv"
    message = "there is no `uv` executable in envlock's installation or on PATH"
    hint = "pip install --force-reinstall uv"


def uv_executable() -> Path:
    """The absolute path of uv: the one that is installed with envlock, else the first on PATH. Raises NoUv."""
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return beside
    import uv

    try:
        with _FINDING:
            return Path(uv.find_uv_bin())
    except FileNotFoundError:
        import shutil

        found = shutil.which("uv")
        if found is None:
            raise NoUv from None
        return Path(found)


def uv_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables for uv: a few of this process, and `extra`; never a user's `UV_*`, `PIP_*` or `PYTHON*`.

    >>> os.environ["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    >>> "UV_INDEX_STRATEGY" in uv_environment()
    False
    >>> del os.environ["UV_INDEX_STRATEGY"]
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT and (name not in _NUMBERS or value.isdecimal())  # uv refuses to run with anything else
    }
    return {**kept, **_own_cache(), "NO_COLOR": "1", "UV_NO_PROGRESS": "1", **(extra or {})}


def uv_cache() -> str:
    """Where uv keeps unpacked wheels, as the user chose it."""
    chosen = os.environ.get("UV_CACHE_DIR")
    return chosen or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "uv")  # noqa: PTH111, PTH118


def _own_cache() -> dict[str, str]:
    """A cache of envlock's own, if others may write into uv's: environments are hard links into it."""
    return {"UV_CACHE_DIR": str(folder_in_home("uv", is_private=True))} if distrust(uv_cache()) else {}


def run_uv(
    arguments: Sequence[str],
    *,
    extra: Mapping[str, str] | None = None,
    executable: Path | None = None,
    folder: Path | None = None,
    settings: Sequence[str] = ("--no-config",),
    meanwhile: Callable[[], object] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run uv with these arguments and no input, in a folder. Captures the output, ignores the status.

    `settings` say which configuration file it reads, by default none. `executable` is by default that of
    `uv_executable`. `meanwhile` is called once uv runs; what it raises ends uv, and is raised. Costs 5 ms on top of
    uv's own time. Raises NoUv.
    """
    command = [str(executable or uv_executable()), *arguments, *settings]
    with (
        running(command) as told,
        subprocess.Popen(
            command,
            cwd=folder,
            env=uv_environment(extra),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        try:
            meanwhile()
            output, errors = process.communicate()
        except BaseException:
            process.kill()
            raise
        told.ended(f"status {process.returncode}")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def default_index() -> str:
    """The index that uv asks where none is configured, as its own output says it. Costs a start of uv. Raises NoUv."""
    from envlock.stage import temporary_folder

    with temporary_folder() as folder:
        (folder / "requirements.in").touch()
        told = run_uv(
            ["pip", "compile", "requirements.in", "--emit-index-url", "--offline", "--directory", str(folder)]
        )
    lines = (line.partition("--index-url ")[2].strip() for line in told.stdout.splitlines())
    return next(filter(None, lines), "")


def uv_reason(stderr: str) -> tuple[str, ...]:
    r"""The lines of uv's error text that matter: without warnings and labels, and only the last line of a traceback.

    >>> uv_reason("warning: slow\nerror: Failed to install a\n  cause: No space left\n")
    ('Failed to install a', 'No space left')
    >>> uv_reason("error: Querying failed\n[stderr]\nTraceback (most recent call last):\n  File 1\nImportError: ssl")
    ('Querying failed', 'ImportError: ssl')
    """
    head, _, output = stderr.partition("[stderr]")
    lines = [line.strip() for line in head.splitlines() + output.strip().splitlines()[-1:]]
    return tuple(
        line.removeprefix("error: ").removeprefix("cause: ")
        for line in lines
        if line and not line.startswith("warning: ")
    )
