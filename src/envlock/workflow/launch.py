"""Launching a flow: which lock each step has, and making their environments while the launcher schedules tasks.

`launch_of` finds the locks, or says why the flow must not start. `serve` is a process beside the flow's launcher. The
launcher may have another interpreter than envlock (a flow that a locked step starts), and must go on scheduling while
environments are made. So it speaks with this process, in lines of JSON:

    to it:    {"flow", "file", "steps", "datastore", "command", "parameters", "own": {step: [variable]},
               "remote": {step: [backend, arch]}, "imageless": [steps that take an image, and name none]}  once, then
              {"hydrate": "<req_id>:<full_id>"}                        for each environment that is needed here,
              {"here": "<step>", "as": "<name>"}                       for a remote step of which a task runs here,
              {"fetch": "<step>", "as": "<name>", "variables"}         for a task whose environment is looked up now,
              {"started": "<step>", "as": "<name>", "run": "<run_id>"} when the first task of a step enters that
                                                                       environment (<req_id>:<full_id>, or the name
                                                                       under which it was fetched), and
              {"remove": "<folder>"}                                   at the end: nobody has to wait for it
    from it:  {"event": "ready", "steps": {step: [req_id, full_id, arch] or null}, "home",
              "fetched": {step: the name of its environment}, "remote": [steps that start on nodes],
              "manifest": the text that they need in the code package, "images": {step: its image}}, or
              {"event": "refused", "text"}                                       and the end, then
              {"event": "hydrated", "identity", "ids", "prefix", "variables", "seconds"}, with null for a variable that
              must not be there, or {"event": "failed", "identity", "text"}, and
              {"event": "said", "text"}                                          at any time

It ends when its input does. All of this stands between the user and the first task, so it imports only light modules
while all is well.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from envlock.activation import activated, changes
from envlock.config.metaflow_needs import NEEDS, metaflow_requirements
from envlock.config.project import Environment, Flow, Project
from envlock.config.read import find_config, load_project
from envlock.errors import ConfigError, EnvlockError, ManyErrors, as_one
from envlock.in_use import hold
from envlock.model.arch import Arch, host_arch
from envlock.model.lock import Lock
from envlock.named.run_record import RunRecorder
from envlock.places import folder_in_home, home
from envlock.reporter import Reporter
from envlock.workflow.fresh_locks import fresh_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from envlock.workflow.nodes import Place

_AT_ONCE = 4


@dataclass(frozen=True)
class Start:
    """A flow that is about to start, as Metaflow knows it."""

    flow: str
    """The name of its class."""
    file: Path
    steps: tuple[str, ...]
    datastore: str = "local"
    remote: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """The decorator that sends a step to another machine, and the arch there, by step."""
    command: str = ""
    """The Metaflow command, if it deploys the flow instead of running it (`argo-workflows create`)."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """The variable of each parameter, by its name in `@{METAFLOW_INIT_...}`."""
    own: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The variables that Metaflow's @environment sets, by step."""
    imageless: tuple[str, ...] = ()
    """The steps whose decorator takes an image, and names none."""


@dataclass(frozen=True)
class Launch:
    """The environments of a flow that may start."""

    project: Project
    arch: Arch
    """This machine's."""
    steps: Mapping[str, Lock | None]
    """The lock of each step for the arch where it runs, None if it is disabled. Without the steps in `fetched`."""
    fetched: Mapping[str, Environment] = field(default_factory=dict)
    """The environments that are looked up when their step starts."""
    datastore: str = "local"
    environments: Mapping[str, Environment | None] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where the steps start that do not start here."""
    manifest: str = ""
    """What the code package has to say of those."""
    images: Mapping[str, str] = field(default_factory=dict)
    """The image of each step that gets that of its environment."""


def launch_of(start: Start, reporter: Reporter | None = None) -> Launch:
    """The lock of every step, fresh and verified; for steps on nodes also the manifest, with their plans.

    Reads envlock.toml (the nearest at or above the flow's file, or its target if that is a link), the flow's file, and
    the locks of each arch that a step runs on. Uses the network only if steps run on nodes, to look for their plans.
    Writes nothing, except with `push-on-deploy`. Raises ConfigError, StaleError, DamageError, or ManyErrors with all
    that is wrong; CacheUnusable.
    """
    places = _places(start)
    project = _project(start)
    environments = _environments(project, _flow(project, start), start.steps)
    fetched = {step: each for step, each in environments.items() if each is not None and each.is_fetched}
    needed = {step: each for step, each in environments.items() if each is not None and step not in fetched}
    locks, errors = _locks(project, needed, places)
    try:
        _refuse_unserved_datastore(project, start.datastore, {needed[step]: lock for step, lock in locks.items()})
    except EnvlockError as error:
        errors += _parts(error)
    manifest, images = "", {}
    if places:
        from envlock.workflow.nodes import Remote, checked, images_for

        chosen = {step: environments[step] for step in places}
        remote = Remote(start.flow, chosen, places, start.parameters, start.own)
        manifest, wrong = checked(project, remote, locks, start.datastore, reporter or Reporter())
        errors = [*errors, *wrong]
        if not errors and project.settings.image == "auto":
            lacking = {step: locks[step] for step in start.imageless if step in places and step in locks}
            images = images_for(project, lacking, reporter or Reporter())
    if errors:
        raise as_one(errors)
    steps = {step: locks.get(step) for step in environments if step not in fetched}
    return Launch(project, host_arch(), steps, fetched, start.datastore, environments, places, manifest, images)


def _places(start: Start) -> dict[str, Place]:
    """Where the steps start that do not start here. Raises BadStepName, BadNodeArch."""
    if not start.remote and not start.command:
        return {}
    from envlock.workflow.nodes import place, refuse_names

    backend = start.command.partition(" ")[0]
    sent = {
        step: start.remote.get(step, (backend, None)) for step in start.steps if start.command or step in start.remote
    }
    refuse_names(start.flow, tuple(sent))
    return {step: place(*each) for step, each in sent.items()}


def _locks(
    project: Project, needed: Mapping[str, Environment], places: Mapping[str, Place]
) -> tuple[dict[str, Lock], list[EnvlockError]]:
    """The lock of each step for the arch where it runs, and what is wrong with the others."""
    archs: dict[Arch, list[str]] = {}
    for step in needed:
        archs.setdefault(places[step].arch if step in places else host_arch(), []).append(step)
    locks: dict[str, Lock] = {}
    errors: list[EnvlockError] = []
    for arch, steps in archs.items():
        try:
            found = fresh_locks(project, tuple(needed[step] for step in steps), arch)
        except EnvlockError as error:  # noqa: PERF203  all archs are tried
            errors += _parts(error)
        else:
            locks |= {step: found[needed[step].name] for step in steps}
    return locks, errors


def _parts(error: EnvlockError) -> tuple[EnvlockError, ...]:
    return error.errors if isinstance(error, ManyErrors) else (error,)


def _project(start: Start) -> Project:
    """The project of a flow's file; if that is a link, the first of its two places whose envlock.toml has the flow."""
    file = start.file.absolute()
    found: list[Project] = []
    missing: list[ConfigError] = []
    for folder in dict.fromkeys((file.parent, file.resolve().parent)):
        try:
            project = load_project(find_config(folder))
        except ConfigError as error:
            if error.code != "no-config":
                raise
            missing.append(error)
            continue
        if project.flow(start.flow) is not None:
            return project
        found.append(project)
    if not found:
        raise missing[0]
    return found[0]


def _flow(project: Project, start: Start) -> Flow:
    flow = project.flow(start.flow)
    if flow is None:
        from envlock.workflow.errors import FlowNotInConfig

        file = project.shown(start.file)
        raise FlowNotInConfig(start.flow, str(project.path), [each.name for each in project.flows], file)
    return flow


def _environments(project: Project, flow: Flow, steps: Sequence[str]) -> dict[str, Environment | None]:
    known = {step.name: step.environment for step in flow.steps}
    unknown = [step for step in steps if step not in known]
    if unknown:
        from envlock.workflow.errors import StepNotInConfig

        raise StepNotInConfig(flow.name, unknown, tuple(known), project.locate(("flow", flow.name)))
    return {step: known[step] for step in steps}


def _refuse_unserved_datastore(project: Project, datastore: str, locks: Mapping[Environment, Lock]) -> None:
    """Raise DatastoreNotLocked for locks without Metaflow's client of the datastore: all their tasks would fail."""
    wanted = [each.name for each in metaflow_requirements((datastore,) if datastore in NEEDS else ())]
    lacking: dict[tuple[tuple[str, ...], bool, str], list[str]] = {}
    for environment, lock in locks.items():
        have = {package.name for package in lock.packages}
        missing = tuple(name for name in wanted if name not in have)
        if missing:
            base = environment.base
            named = base.written if base is not None and not base.extends else ""
            added = bool(environment.requirements.metaflow)
            lacking.setdefault((missing, added, named), []).append(environment.name)
    if lacking:
        from envlock.workflow.errors import DatastoreNotLocked

        at = project.locate(("envlock", "datastore"))
        raise as_one(
            [
                DatastoreNotLocked(names, datastore, missing, at, added=added, named=named)
                for (missing, added, named), names in lacking.items()
            ]
        )


class _ChannelReporter(Reporter):
    """Passes on notes and warnings."""

    def __init__(self, channel: _Channel) -> None:
        self._channel = channel

    def noted(self, message: str) -> None:
        self._channel.send(event="said", text=message)

    def warned(self, message: str) -> None:
        self._channel.send(event="said", text=f"warning: {message}")


class _Channel:
    """Lines of JSON to the launcher, from any thread."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def send(self, **message: object) -> None:
        with self._lock:
            self._output.write(json.dumps(message) + "\n")
            self._output.flush()


def serve(lines: Iterable[str], output: TextIO) -> None:
    """Answer a launcher until `lines` end. Sends failures to it instead of raising them."""
    channel = _Channel(output)
    requests = iter(lines)
    start = next(requests, None)
    request = json.loads(start) if start else {}
    launch = _ready(request, channel) if start else None
    if launch is None:
        return
    recorder = RunRecorder(launch.project, request["flow"])
    # By the launcher's name of each environment: its identity, or the name of one task whose environment is looked up.
    locks = {lock.identity: lock for lock in launch.steps.values() if lock is not None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for line in requests:
            request = json.loads(line)
            if "remove" in request:
                shutil.rmtree(request["remove"], ignore_errors=True)
            elif "started" in request:
                recorder.record(request["run"], request["started"], locks[request["as"]])
            elif "fetch" in request:
                pool.submit(_fetch, launch, request, locks, channel)
            elif "here" in request:
                pool.submit(_hydrate_here, launch, request, locks, channel)
            else:
                name = request["hydrate"]
                pool.submit(_hydrate, launch, name, partial(locks.__getitem__, name), channel)
        pool.shutdown(cancel_futures=True)  # the launcher needs nothing more, or is gone
    recorder.end()


def _ready(request: dict[str, Any], channel: _Channel) -> Launch | None:
    try:
        launch = launch_of(
            Start(
                flow=request["flow"],
                file=Path(request["file"]),
                steps=tuple(request["steps"]),
                datastore=request["datastore"],
                remote={step: (backend, platform) for step, (backend, platform) in request["remote"].items()},
                command=request["command"],
                parameters=request["parameters"],
                own=request.get("own", {}),
                imageless=tuple(request.get("imageless", ())),
            ),
            _ChannelReporter(channel),
        )
        place = str(home())
        with suppress(OSError):  # in a home that cannot be written, tasks only start slower
            folder_in_home("bytecode")
    except EnvlockError as error:
        channel.send(event="refused", text=error.render())
        return None
    fetched = {step: each.base.written for step, each in launch.fetched.items() if each.base is not None}
    steps = {step: [lock.req_id, lock.full_id, lock.arch] if lock else None for step, lock in launch.steps.items()}
    channel.send(
        event="ready",
        steps=steps,
        fetched=fetched,
        home=place,
        remote=list(launch.places),
        manifest=launch.manifest,
        images=dict(launch.images),
    )
    return launch


def _fetch(launch: Launch, request: dict[str, Any], locks: dict[str, Lock], channel: _Channel) -> None:
    """Make the environment that the name of a step's environment means now."""

    def looked_up() -> Lock:
        from envlock.named.bases import lock_at_exec

        environment = launch.fetched[request["fetch"]]
        lock = lock_at_exec(launch.project, environment, launch.arch, request["variables"])
        _refuse_unserved_datastore(launch.project, launch.datastore, {environment: lock})
        locks[request["as"]] = lock
        return lock

    _hydrate(launch, request["as"], looked_up, channel)


def _hydrate_here(launch: Launch, request: dict[str, Any], locks: dict[str, Lock], channel: _Channel) -> None:
    """Make the environment of a remote step on this machine, for a task that has to run here."""

    def locked() -> Lock:
        environment = launch.environments[request["here"]]
        assert environment is not None
        lock = fresh_locks(launch.project, (environment,), launch.arch)[environment.name]
        _refuse_unserved_datastore(launch.project, launch.datastore, {environment: lock})
        locks[request["as"]] = lock
        return lock

    _hydrate(launch, request["as"], locked, channel)


def _hydrate(launch: Launch, name: str, lock_of: Callable[[], Lock], channel: _Channel) -> None:
    from envlock.workflow.hydrate import hydrate

    began = time.monotonic()
    reporter = _ChannelReporter(channel)
    try:
        lock = lock_of()
        prefix = hydrate(launch.project, lock, reporter)
        if not hold(str(prefix)):  # as long as this process: `env gc` leaves what a run needs
            prefix = hydrate(launch.project, lock, reporter)
            hold(str(prefix))
        variables = changes(os.environ, activated(str(prefix), os.environ, warn=reporter.warned))
    except EnvlockError as error:
        channel.send(event="failed", identity=name, text=error.render())
    except BaseException as error:  # the launcher waits for an answer in any case
        channel.send(event="failed", identity=name, text=f"envlock failed: {type(error).__name__}: {error}")
        raise
    else:
        channel.send(
            event="hydrated",
            identity=name,
            ids=[lock.req_id, lock.full_id, lock.arch],
            prefix=str(prefix),
            variables=variables,
            seconds=time.monotonic() - began,
        )


def main() -> None:
    """Serve on stdin and stdout; whatever else prints to stdout is sent to stderr."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, output)


if __name__ == "__main__":
    main()
