"""The steps of a flow that start on nodes: what must be there before the flow starts, and the manifest that it takes.

A node has its image's Python, the code package and the cache, and no envlock. So what it lacks is found here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from envlock.config.settings import CacheOptions, Settings
from envlock.errors import EnvlockError
from envlock.model.arch import ARCHS, LINUX_64, Arch
from envlock.remote.manifest import StepOnNode, render_manifest
from envlock.reporter import Reporter
from envlock.words import byte_size, count, listed
from metaflow_extensions.envlock.plugins.node.manifest import Target

if TYPE_CHECKING:
    from envlock.cache.images import ImageRecord
    from envlock.cache.port import Store
    from envlock.config.project import Environment, Project
    from envlock.model.lock import Lock

LOOKING = "looking for plans"
_QUIET_SECONDS = 1.0
_EVERY_SECONDS = 5.0
_OPTIONS = ("endpoint", "region", "account", "anonymous")
"""What a node needs to reach the cache. A `profile` is of this machine's configuration."""


class Place(NamedTuple):
    """Where a step starts, if that is another machine."""

    backend: str
    """The decorator or the command that sends it there."""
    arch: Arch = LINUX_64


def place(backend: str, platform: str | None) -> Place:
    """The place of a step that a backend starts on `platform`, conda's name of its arch. Raises BadNodeArch."""
    if not platform:
        return Place(backend)
    if platform not in ARCHS or not platform.startswith("linux-"):
        from envlock.workflow.errors import BadNodeArch

        raise BadNodeArch(backend, platform)
    return Place(backend, Arch(platform))


def refuse_names(flow: str, steps: Sequence[str]) -> None:
    """Raise BadStepName for what cannot stand between quotes in the command of a container."""
    wrong = [name for name in (flow, *steps) if not name.isidentifier()]
    if wrong:
        from envlock.workflow.errors import BadStepName

        raise BadStepName(flow, wrong)


class Remote(NamedTuple):
    """The steps of a flow that start on nodes."""

    flow: str
    environments: Mapping[str, Environment | None]
    """None for a disabled step."""
    places: Mapping[str, Place]
    parameters: Mapping[str, str]
    """The variable of each parameter, by its name in `@{METAFLOW_INIT_...}`."""
    own: Mapping[str, Sequence[str]] = {}
    """The variables that Metaflow's @environment sets, by step."""


def checked(
    project: Project, remote: Remote, locks: Mapping[str, Lock], datastore: str, reporter: Reporter
) -> tuple[str, list[EnvlockError]]:
    """The manifest of the remote steps, and what has to be mended before a node can make their environments.

    `locks` has the lock of each step that has a fresh one. The manifest is empty if any is missing. With
    `push-on-deploy`, missing plans are pushed first. Raises CacheUnusable, NewerCache, and what pushing raises.
    """
    locked = {step: each for step, each in remote.environments.items() if each is not None and not each.is_fetched}
    errors = _out_of_reach(project, remote, datastore)
    plans: dict[str, Target] = {}
    if not errors:
        known = {step: (each, locks[step]) for step, each in locked.items() if step in locks}
        plans, errors = _plans(project, known, reporter) if known else (plans, errors)
    is_whole = not errors and plans.keys() == locked.keys()
    return _manifest(project, remote, plans) if is_whole else "", errors


def _out_of_reach(project: Project, remote: Remote, datastore: str) -> list[EnvlockError]:
    """Why nodes could reach neither the cache nor the datastore: both have to be in a bucket."""
    from envlock.cache.open import BUCKETS
    from envlock.workflow.errors import CacheOutOfReach, DatastoreOutOfReach

    errors: list[EnvlockError] = []
    backends = {step: remote.places[step].backend for step, each in remote.environments.items() if each is not None}
    if backends and datastore == "local":
        errors.append(DatastoreOutOfReach(backends, project.locate(("envlock", "datastore"))))
    try:
        scheme, separator, _ = project.cache_url.partition("://")
        if backends and (not separator or scheme.lower() not in BUCKETS):
            errors.append(CacheOutOfReach(backends, project.settings.cache, project.locate(("envlock", "cache"))))
    except EnvlockError as error:
        errors += [error] if backends else []
    return errors


def _plans(
    project: Project, locks: Mapping[str, tuple[Environment, Lock]], reporter: Reporter
) -> tuple[dict[str, Target], list[EnvlockError]]:
    """The plan of each step's lock, and what is wrong where one has none. One listing for each lock, in parallel."""
    from envlock.cache.format import check_format
    from envlock.cache.open import open_store
    from envlock.workflow.errors import PlanMissing

    store = open_store(project.cache_url, project.cache_options)
    check_format(store)
    settings, reporter = project.settings, _Lines(reporter)
    needed = {_key(lock): lock for _, lock in locks.values()}
    with_python = settings.remote_python == "kit"
    found = _find(store, needed.values(), with_python, reporter)
    missing = [needed[key] for key, plan in found.items() if not isinstance(plan, Target)]
    why: Sequence[EnvlockError] = ()
    if missing and settings.push_on_deploy and settings.remote:
        from envlock.workflow.push import push_locks

        reporter.noted(f"pushing {count(len(missing), 'environment')} of the flow to {store.url}")
        pushed = push_locks(project, store, missing, reporter=reporter)
        pushed.raise_failures()
        why = pushed.plans.errors
        found |= _find(store, missing, with_python, reporter)
    errors = [plan for plan in found.values() if isinstance(plan, EnvlockError)]
    lacking = {environment.name: lock.arch for environment, lock in locks.values() if found[_key(lock)] is None}
    if lacking:
        errors += why or [PlanMissing(lacking, store.url, is_off=not settings.remote)]
    plans = {step: found[_key(lock)] for step, (_, lock) in locks.items()}
    return {step: plan for step, plan in plans.items() if isinstance(plan, Target)}, errors


def images_for(project: Project, locks: Mapping[str, Lock], reporter: Reporter) -> dict[str, str]:
    """The image of each of these steps, by digest: the last one that was pushed with its lock. One read for each lock.

    Says which; a step without one starts in the image that it has, and that is said too. Raises ImageRecordDamaged,
    ImageNotAllowed, CacheUnusable.
    """
    from envlock.cache.images import Images
    from envlock.cache.layout import environment_place
    from envlock.cache.open import open_store
    from envlock.cache.parallel import all_in_parallel

    images = Images(open_store(project.cache_url, project.cache_options))
    needed = {_key(lock): lock for lock in locks.values()}
    found = {
        _key(lock): record
        for lock, record in all_in_parallel(lambda lock: images.read(environment_place(lock)), needed.values())
    }
    _refuse_strange_registries(project, {step: found[_key(lock)] for step, lock in locks.items()})
    steps: dict[tuple[str, str], list[str]] = {}
    for step, lock in locks.items():
        steps.setdefault(_key(lock), []).append(f"`{step}`")
    for key, named in steps.items():
        record, arch = found[key], needed[key].arch
        if record is not None:
            reporter.noted(f"{listed(named)} on {arch}: the image is {record.reference} (tag {record.tag})")
        else:
            reporter.noted(
                f"{listed(named)} on {arch}: no image with this environment was pushed (run `envlock image`), so tasks "
                "start in their usual image and make the environment there"
            )
    records = {step: found[_key(lock)] for step, lock in locks.items()}
    return {step: record.reference for step, record in records.items() if record is not None}


def _refuse_strange_registries(project: Project, images: Mapping[str, ImageRecord | None]) -> None:
    """Raise ImageNotAllowed for steps whose image is in a registry on a host that is not among `hosts`."""
    from envlock.model.url import strange_hosts

    hosts = {step: f"https://{image.name}" for step, image in images.items() if image is not None}
    strange = strange_hosts(hosts.values(), project.settings.hosts)
    if strange:
        from envlock.workflow.errors import ImageNotAllowed

        steps = [step for step, url in hosts.items() if strange_hosts([url], project.settings.hosts)]
        reasons = [f"{host} is not among the hosts of envlock.toml" for host in strange]
        hint = "if you trust the registry, add its host to `hosts` in envlock.toml; else ask who pushed the image"
        raise ImageNotAllowed(steps, reasons, project.locate(("envlock", "hosts")), hint)


def _manifest(project: Project, remote: Remote, plans: Mapping[str, Target]) -> str:
    steps: dict[str, StepOnNode] = {}
    for step, environment in remote.environments.items():
        base = environment.base if environment is not None and environment.is_fetched else None
        steps[step] = plans.get(step) if base is None else f"{'/' if base.kind == 'pathspec' else ''}{base.written}"
    if not any(steps.values()):
        return render_manifest(remote.flow, steps)
    from envlock.config.rules import bytes_of

    settings, options, default = project.settings, project.cache_options, CacheOptions()
    reaching = {name: value for name in _OPTIONS if (value := getattr(options, name)) != getattr(default, name)}
    node: dict[str, object] = {}
    if settings.keep_on_node != Settings().keep_on_node:
        node["keep"] = bytes_of(settings.keep_on_node)
    if settings.remote_python != Settings().remote_python:
        node["python"] = settings.remote_python
    if settings.compile_bytecode:
        node["compile-bytecode"] = True
    if settings.link_scripts:
        node["link-scripts"] = sorted(settings.link_scripts)
    return render_manifest(
        remote.flow,
        steps,
        cache=project.cache_url,
        options=reaching,
        node=node,
        parameters=remote.parameters,
        own=remote.own,
    )


def _find(
    store: Store, locks: Collection[Lock], with_python: bool, reporter: Reporter
) -> dict[tuple[str, str], Target | EnvlockError | None]:
    """The newest plan of each lock that this envlock can read, what is wrong with all of them, or None."""
    from envlock.cache.errors import CacheUnusable
    from envlock.cache.parallel import in_parallel
    from envlock.cache.plans import find_plan

    found: dict[tuple[str, str], Target | EnvlockError | None] = {}
    reporter.began(LOOKING, len(locks), "plans")
    for lock, plan in in_parallel(partial(find_plan, store, with_python=with_python), locks):
        if isinstance(plan, CacheUnusable):
            raise plan
        reporter.advanced(LOOKING, lock.identity)
        if plan is None or isinstance(plan, EnvlockError):
            found[_key(lock)] = plan
        else:
            found[_key(lock)] = Target(lock.arch, lock.req_id, lock.full_id, plan.sha256)
    return found


class _Lines(Reporter):
    """Tells in lines, for those who cannot draw, how far a phase is that takes longer than a second."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._guard = threading.Lock()
        self._phases: dict[str, tuple[int, int, str]] = {}
        self._next = time.monotonic() + _QUIET_SECONDS

    def noted(self, message: str) -> None:
        self._reporter.noted(message)

    def warned(self, message: str) -> None:
        self._reporter.warned(message)

    def began(self, phase: str, total: int, unit: str) -> None:
        with self._guard:
            self._phases[phase] = (0, total, unit)

    def grew(self, phase: str, amount: int) -> None:
        with self._guard:
            done, total, unit = self._phases.get(phase, (0, 0, ""))
            self._phases[phase] = (done, total + amount, unit)

    def advanced(self, phase: str, item: str, amount: int = 1) -> None:  # noqa: ARG002
        with self._guard:
            done, total, unit = self._phases.get(phase, (0, 0, ""))
            done += amount
            self._phases[phase] = (done, total, unit)
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _EVERY_SECONDS
        of_all = f"{byte_size(done)} of {byte_size(total)}" if unit == "bytes" else f"{done} of {total} {unit}"
        self._reporter.noted(f"{phase}: {of_all}")


def _key(lock: Lock) -> tuple[str, str]:
    return lock.arch, lock.identity
