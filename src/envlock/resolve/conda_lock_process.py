"""conda-lock's pipeline, in a process of its own: `python -m envlock.resolve.conda_lock_process`.

conda-lock takes seconds to import, sets variables of its process and replaces parts of the standard library, so nothing
else of envlock imports it. The parent writes one job as a line of JSON. Where the job names no executable, conda-lock's
one question, the solve, goes back to the parent, which has the channels and their credentials. The last line is what
was locked, as conda-lock read it back from its own file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TextIO

_SOURCE = "environment.yml"
_VIRTUAL = "virtual-packages.yml"
_LOCK = "conda-lock.yml"
_NO_NAMES = "names.json"
_SOLVES_WITH = ("conda", "channels", "specs", "platform")
"""The parameters of the private function of conda-lock that is replaced; checked first."""


class OtherCondaLock(Exception):
    """This conda-lock's internals differ from those of the supported release."""


def main() -> int:
    """Do the job on stdin, in the current folder."""
    # conda-lock prints: stdout is for the parent alone.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what conda-lock started is ended too
    job = json.loads(sys.stdin.readline())
    try:
        packages = lock(job, lambda question: _ask(answers, question))
    except subprocess.CalledProcessError as error:
        _say(answers, {"failed": f"{error.stdout or ''}\n{error.stderr or ''}"})
    except OtherCondaLock as error:
        _say(answers, {"unknown": str(error)})
    else:
        _say(answers, {"packages": packages})
    return 0


def lock(job: dict[str, Any], ask: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Lock a job with conda-lock, one row for each package. `ask` solves if the job names no executable."""
    from conda_lock import conda_lock, conda_solver
    from conda_lock.lockfile import parse_conda_lock_file

    arch = job["arch"]
    # JSON is YAML.
    Path(_SOURCE).write_text(
        json.dumps({"channels": job["channels"], "dependencies": job["specifications"]}), encoding="utf-8"
    )
    Path(_VIRTUAL).write_text(json.dumps({"subdirs": {arch: {"packages": job["system"]}}}), encoding="utf-8")
    Path(_NO_NAMES).write_text("{}", encoding="utf-8")
    if not job["executable"]:
        _replace_solver(conda_solver, ask)
    conda_lock.make_lock_files(
        conda=job["executable"] or "envlock",
        src_files=[Path(_SOURCE)],
        kinds=["lock"],
        lockfile_path=Path(_LOCK),
        platform_overrides=[arch],
        virtual_package_spec=Path(_VIRTUAL),
        mapping_url=Path(_NO_NAMES).absolute().as_uri(),
    )
    return [
        {
            "name": each.name,
            "version": each.version,
            "url": each.url,
            "md5": each.hash.md5 or "",
            "sha256": each.hash.sha256 or "",
        }
        for each in parse_conda_lock_file(Path(_LOCK)).package
        if each.manager == "conda" and not each.name.startswith("__")
    ]


def _replace_solver(conda_solver: Any, ask: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> None:
    known = getattr(conda_solver, "solve_specs_for_arch", None)
    found = tuple(signature(known).parameters) if known is not None else ()
    if found != _SOLVES_WITH:
        raise OtherCondaLock(f"`solve_specs_for_arch` takes ({', '.join(found)})")

    def solve_specs_for_arch(**given: Any) -> dict[str, dict[str, list[Any]]]:
        fetched = ask({"specifications": list(given["specs"]), "arch": given["platform"]})
        return {"actions": {"LINK": [], "FETCH": fetched}}

    conda_solver.solve_specs_for_arch = solve_specs_for_arch


def _say(answers: TextIO, words: dict[str, Any]) -> None:
    answers.write(json.dumps(words) + "\n")
    answers.flush()


def _ask(answers: TextIO, question: dict[str, Any]) -> list[dict[str, Any]]:
    _say(answers, {"solve": question})
    answer: list[dict[str, Any]] = json.loads(sys.stdin.readline())
    return answer


if __name__ == "__main__":
    sys.exit(main())
