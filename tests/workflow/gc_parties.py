"""Who takes part in the races of pushes and sweeps, each in a process of its own.

`writer PROJECT NUMBER ROUNDS`   lets its own name move from one environment to another, writes a plan for it, and looks
                                 after each move whether all of the environment that the name names, and of the plan,
                                 is there
`sweeper PROJECT STOP`           sweeps with nothing spared but the last move of each name, until a file STOP is there
`careless ...`                   a writer that announces nothing, and ends when one of them found something missing
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path

import envlock.named.give as alias_module
import envlock.workflow.push as push_module
from envlock.cache.environments import Environments
from envlock.cache.gc import Limits, delete_garbage
from envlock.cache.gc_lock import Needs
from envlock.cache.gc_roots import Roots
from envlock.cache.packages import Packages
from envlock.cache.plans import Plans
from envlock.config.read import load_project
from envlock.model.artifact import artifacts_of
from envlock.model.lock import Lock
from envlock.named.alias import parse_alias
from envlock.named.give import give
from envlock.named.lookup import Lookup
from envlock.reporter import Reporter
from tests.forked import run_python
from tests.workflow.made_up import made_up_plan, write_plan

_RUN = f"import runpy; runpy.run_module({__name__!r}, run_name='__main__', alter_sys=True)"


def party(pool: Executor, *arguments: object) -> Future[tuple[int, str, str]]:
    """Let one take part in a process of its own: its exit status, and what it prints."""
    return pool.submit(run_python, _RUN, *map(str, arguments))


def write(project_folder: str, number: str, rounds: str, *, is_careless: bool = False) -> int:
    """The exit status: how many of the rounds found something missing."""
    project = load_project(Path(project_folder) / "envlock.toml")
    lookup = Lookup(project)
    chance = random.Random(int(number))
    alias = parse_alias(f"writers/w{number}")
    wrong = 0
    lost = Path(project_folder) / "lost"
    for _ in range(int(rounds)):
        if is_careless and wrong:
            lost.touch()
        if is_careless and lost.exists():
            break
        environment = chance.choice(project.named)
        found = lookup.environment(environment)
        try:
            give(lookup, alias, found)
        except Exception as error:  # noqa: BLE001  a careless writer may meet anything
            print(f"{type(error).__name__}: {error}", flush=True)
            wrong += 1
            continue
        missing = []
        for arch in found.archs:
            try:
                lock = Environments(lookup.store).read(found.place(arch))
            except FileNotFoundError:
                missing.append(f"{environment.name} on {arch}")
                continue
            uv, python = f"uv{chance.randrange(3)}", f"python{chance.randrange(3)}"
            plan = made_up_plan(lock, uv, python)
            with push_module.announced(lookup.store, Needs(frozenset({plan.environment.path}), kits=plan.kits)):
                write_plan(lookup.store, lock, uv, python)
            missing += missing_of(lock, Packages(lookup.store))
            missing += [file.path for file in plan.files if lookup.store.entry(file.path) is None]
            missing += [] if Plans(lookup.store).has(plan) else [plan.place.path]
        if missing:
            print(f"missing of {environment.name}: {missing}", flush=True)
            wrong += 1
    return min(wrong, 100)


def missing_of(lock: Lock, packages: Packages) -> list[str]:
    return [artifact.filename for artifact in artifacts_of(lock) if not packages.has(artifact)]


def clean(project_folder: str, stop: str) -> int:
    """Sweep all the time; prints how often, and how much went."""
    lookup = Lookup(load_project(Path(project_folder) / "envlock.toml"))
    sweeps = gone = 0
    while not Path(stop).exists():
        swept = delete_garbage(lookup.store, Limits(grace=0.0, runs=0.0, moves=1), Roots(), Reporter())
        sweeps += 1
        gone += len(swept.doomed)
    print(f"{sweeps} {gone}", flush=True)
    return 0


class _Nothing:
    def stands(self) -> bool:
        return True


@contextmanager
def _unannounced(*_: object):  # type: ignore[no-untyped-def]
    yield _Nothing()


def main() -> int:
    role, *arguments = sys.argv[1:]
    if role == "careless":
        alias_module.announced = push_module.announced = _unannounced  # type: ignore[assignment]
    return clean(*arguments) if role == "sweeper" else write(*arguments, is_careless=role == "careless")


if __name__ == "__main__":
    sys.exit(main())
