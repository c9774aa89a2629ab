"""The code that a task ran with: Metaflow's code package of its run, unpacked, to be run in its environment.

```
<folder>/...        the flow's own files
         .mf_code/  Metaflow, and what else it packed
         python     the interpreter of the task's environment, with this code
         enter.sh   for a shell: `. ./enter.sh`
```
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from envlock.activation import STEERS_PYTHON, scripts_of, shell_for_scripts, variables_set_in
from envlock.build.errors import BadSdist, UnsafeArchive
from envlock.build.sdists import unpack
from envlock.errors import HydrateError
from envlock.in_use import note_of
from envlock.stage import temporary_folder
from envlock.workflow.errors import CannotUnpack, DamagedCodePackage, NoCodePackage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

_PYTHON, _ENTER = "python", "enter.sh"
_DESCRIPTOR = 9
"""By which a shell holds the prefix. Not every shell knows descriptors of two digits."""


@dataclass(frozen=True)
class CodePackage:
    """The archive of a run's code."""

    task: str
    """The task, or the step, that it was asked for."""
    data: bytes
    """A tar.gz."""
    metadata: str
    """What Metaflow says of the archive, for itself; empty where it says nothing."""

    def variables(self, folder: Path) -> dict[str, str]:
        """What Metaflow and the flow's own modules need to be found in a folder. Raises DamagedCodePackage."""
        found = {"PYTHONPATH": str(folder), "METAFLOW_EXTRACTED_ROOT": str(folder)}
        if self.metadata:
            from metaflow.package import MetaflowPackage

            try:
                said = MetaflowPackage.get_post_extract_env_vars(self.metadata, str(folder))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:  # no JSON, or of a later version
                raise DamagedCodePackage(self.task, f"Metaflow cannot read what it noted of it ({error})") from None
            found.update({name.rstrip(":"): str(value) for name, value in said.items()})
        paths = [*found["PYTHONPATH"].split(":"), str(folder)]
        return {**found, "PYTHONPATH": ":".join(dict.fromkeys(paths))}


def code_package(task: str) -> CodePackage:
    """The code of the run of a task or a step, by Metaflow's own settings.

    Raises NoCodePackage if the run has none, or Metaflow does not know it; DamagedCodePackage.
    """
    try:
        from metaflow.client.core import Run, Step, Task
        from metaflow.exception import MetaflowException
    except ImportError as error:
        from envlock.named.errors import MetaflowMissing

        raise MetaflowMissing(reason=error) from None
    parts = task.split("/")
    try:
        found = Task(task, _namespace_check=False) if len(parts) == 4 else Step(task, _namespace_check=False).task
        # All tasks of a run have the same code; those that ran on this machine do not name it.
        code: Any = (found.code if found else None) or Run("/".join(parts[:2]), _namespace_check=False).code
        data = bytes(code._code_obj.getvalue()) if code else b""  # noqa: SLF001  `tarball` would have been opened already
    except MetaflowException as error:
        raise NoCodePackage(task, f"Metaflow cannot read it ({error})") from None
    except OSError as error:
        raise NoCodePackage(task, f"it cannot be read ({error.strerror or error})") from None
    if code is None:
        raise NoCodePackage(task, "Metaflow keeps one only if a step of the run was sent to another machine")
    if hashlib.sha1(data, usedforsecurity=False).hexdigest() != code._sha:  # noqa: SLF001  by which Metaflow names it
        raise DamagedCodePackage(task, "its bytes are not those that Metaflow stored")
    return CodePackage(task, data, getattr(code, "_code_metadata", ""))


def check_folder(folder: Path) -> None:
    """Raise CannotUnpack unless a folder is empty, or is not there and can be made."""
    try:
        if any(folder.iterdir()):
            raise CannotUnpack(str(folder), "it is not empty")
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotUnpack(str(folder), error.strerror or str(error)) from None


def unpack_code(package: CodePackage, folder: Path, prefix: Path, command: str) -> None:
    """Unpack a code package into a folder, with the scripts that run it in a prefix. All of it, or nothing.

    Nothing is written outside of the folder, whatever the archive holds. `command` is what makes the prefix again.
    Raises CannotUnpack, DamagedCodePackage; ActivationFailed for variables of the prefix that cannot be read.
    """
    folder = folder.absolute()
    check_folder(folder)
    variables = package.variables(folder)
    lines = [*_entering(prefix, variables, command)]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(".envlock-", folder.parent) as stage:
            archive, made = stage / "code.tar.gz", stage / "code"
            archive.write_bytes(package.data)
            made.mkdir(mode=0o755)
            unpack(archive, archive.name, made, f"the code of {package.task}")
            taken = [name for name in (_PYTHON, _ENTER) if os.path.lexists(made / name)]
            if taken:
                raise CannotUnpack(str(folder), f"the flow has a file of its own called `{taken[0]}` there")
            title = f"# The environment of {package.task}, for a shell that reads this: . ./{_ENTER}"
            _write_script(made / _ENTER, [title, *lines])
            own = (f"#!{shell_for_scripts(os.defpath)}", f". {shlex.quote(str(folder / _ENTER))} || exit $?")
            _write_script(made / _PYTHON, [*own, f'exec {shlex.quote(str(prefix / "bin" / "python"))} "$@"'])
            (made / _PYTHON).chmod(0o755)
            if folder.is_dir():
                folder.rmdir()
            shutil.move(made, folder)
    except (UnsafeArchive, BadSdist) as error:
        raise DamagedCodePackage(package.task, error.message.partition(": ")[2]) from None
    except OSError as error:
        raise CannotUnpack(str(folder), error.strerror or str(error)) from None


def _write_script(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join([*lines, ""]), encoding="utf-8", errors="surrogateescape")


def _entering(prefix: Path, variables: Mapping[str, str], command: str) -> Iterator[str]:
    """The lines by which a shell enters a prefix, holds it, and sets these variables."""
    python, place = shlex.quote(str(prefix / "bin" / "python")), shlex.quote(str(prefix))
    gone = f"envlock: the environment {prefix} is no longer on this machine. Create it again: {command}"
    yield f"[ -x {python} ] || {{ echo {shlex.quote(gone)} >&2; return {HydrateError.exit_status}; }}"
    lock = f"import fcntl; fcntl.flock({_DESCRIPTOR}, fcntl.LOCK_SH)"
    yield f"exec {_DESCRIPTOR}<{place} && {python} -I -S -c {shlex.quote(lock)} 2>/dev/null || :"
    yield f"touch -c {shlex.quote(note_of(str(prefix)))} 2>/dev/null || :"
    yield f"unset {' '.join(STEERS_PYTHON)}"
    for name, value in {**variables_set_in(str(prefix)), **variables}.items():
        yield f"export {name}={shlex.quote(value)}"
    programs = shlex.quote(str(prefix / "bin"))
    yield f'case ":$PATH:" in *:{programs}:*) ;; *) export PATH={programs}:"$PATH" ;; esac'
    for script in scripts_of(str(prefix)):
        yield f". {shlex.quote(script)} >&2"
    yield ":"
