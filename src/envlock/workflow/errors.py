"""Why locks cannot be used, and why a flow is not started: raised before any task runs, with the repair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envlock.errors import ConfigError, DamageError, HydrateError, Location, StaleError
from envlock.model.identity import ids_of_prefix
from envlock.words import did_you_mean, first_of, listed

_NAMES_SHOWN = 6


class FlowNotInConfig(ConfigError):
    """The flow that is started is not in the nearest envlock.toml."""

    code = "flow-not-in-config"
    message = "the flow `{flow}` is not in envlock.toml"
    details = ("flows there: {flows}",)
    hint = '{near}add `[flow.{flow}]` with `file = "{file}"`, then run `envlock lock`'

    def __init__(self, flow: str, config: str, flows: Sequence[str], file: str) -> None:
        near = did_you_mean(flow, flows)
        super().__init__(
            flow=flow,
            flows=", ".join(flows) or "none",
            file=file,
            near=f"{near} Else " if near else "",
            locations=(Location(config),),
        )


class StepNotInConfig(ConfigError):
    """The flow that is started has a step that envlock does not find in the project's files."""

    code = "step-not-in-config"
    message = "envlock does not know the {steps} of `{flow}`"
    details = (
        "steps that envlock finds: {known}",
        "envlock cannot find steps that come from files outside of the project, or are made at run time",
    )
    hint = "write `steps = [{every}]` in `[flow.{flow}]`, then run `envlock lock`"

    def __init__(self, flow: str, steps: Sequence[str], known: Sequence[str], location: Location) -> None:
        super().__init__(
            flow=flow,
            steps=f"step{'' if len(steps) == 1 else 's'} {_quoted(steps)}",
            known=", ".join(known) or "none",
            every=", ".join(f'"{step}"' for step in (*known, *steps)),
            locations=(location,),
        )


class PrefixGone(HydrateError):
    """There is no environment at the path that was given."""

    code = "prefix-gone"
    message = "there is no environment at `{path}`: {reason}"
    hint = "name the environment by its step, `[env.*]` table, alias or ids"

    def __init__(self, path: str, name: str, *, is_there: bool) -> None:
        ids = ids_of_prefix(name)
        super().__init__(
            path=path,
            reason="the folder has no receipt, which envlock writes last" if is_there else "nothing is there",
            details=(f"it was {':'.join(ids)}",) if ids else (),
        )


class NothingToCompareWith(ConfigError):
    """Only one environment is named to compare, and the project has no earlier revision of it."""

    code = "nothing-to-compare-with"
    message = "`{reference}` alone cannot be compared: only a revision, or an environment of this project, can"
    hint = "name two, such as `envlock diff {reference} STEP`"


class NotThisArch(ConfigError):
    """Something that a machine does for its own arch alone was asked for another."""

    code = "not-this-arch"
    message = "packages are built for the arch of this machine, {here}, not for {asked}"
    hint = "run the command on a machine of that arch, or leave `--arch` out"

    def __init__(self, asked: str, here: str) -> None:
        super().__init__(asked=asked, here=here)


class StaleLock(StaleError):
    """The requirements of some steps changed in envlock.toml since they were locked."""

    code = "stale-lock"
    message = "{environments} changed in envlock.toml after {they_were} locked for {arch}"

    def __init__(
        self, environments: Sequence[str], arch: str, reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            environments=_quoted(environments),
            they_were="it was" if len(environments) == 1 else "they were",
            arch=arch,
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


class NotAllowed(DamageError):
    """A lock has something that envlock.toml does not allow: the kind of all such errors."""

    def __init__(
        self, environments: Sequence[str], reasons: Sequence[str], location: Location | None, repair: str
    ) -> None:
        super().__init__(
            environments=_quoted(environments),
            locations=(location,) if location else (),
            details=tuple(reasons),
            hint=repair,
        )


class HostNotAllowed(NotAllowed):
    """A lock has a URL on a host that envlock.toml does not allow."""

    code = "host-not-allowed"
    message = "the lock of {environments} names a host that is not allowed"


class ImageNotAllowed(NotAllowed):
    """The cache names an image in a registry on a host that envlock.toml does not allow."""

    code = "image-not-allowed"
    message = "the image of {environments} is in a registry that is not allowed"


class BuildNotAllowed(NotAllowed):
    """A lock has a package that was built from an sdist of an index, and envlock.toml does not allow that."""

    code = "build-not-allowed"
    message = "the lock of {environments} has a package that may not be built"


class DatastoreNotLocked(StaleError):
    """A flow is started with a datastore, and the locked environments lack the client for it."""

    code = "datastore-not-locked"
    message = "{environments} {lack} what Metaflow needs for the datastore `{datastore}`"
    details = ("not locked: {missing}",)
    hint = "{change}, then run `envlock lock`"

    def __init__(
        self,
        environments: Sequence[str],
        datastore: str,
        missing: Sequence[str],
        location: Location,
        *,
        added: bool,
        named: str = "",
    ) -> None:
        """`added` is whether envlock adds Metaflow's requirements to these environments.

        `named` is the named environment that they are, if they are one: nothing is added to that.
        """
        packages = ", ".join(missing)
        if named:
            tables = ", ".join(f'{name} = ""' for name in missing)
            change = f"add it to `{named}`: `pypi = {{ packages = {{ {tables} }} }}` beside `named_env`"
        elif added:
            change = f'write `datastore = "{datastore}"` in `[envlock]` of envlock.toml'
        else:
            change = f"remove `metaflow-requirements = false` from envlock.toml, or require {packages} yourself"
        super().__init__(
            environments=_quoted(environments),
            lack="lacks" if len(environments) == 1 else "lack",
            datastore=datastore,
            missing=packages,
            change=change,
            locations=(location,),
        )


class PlanMissing(StaleError):
    """The cache has no plan for the environments of remote steps, so nodes could not make them."""

    code = "plan-missing"
    message = "{environments} {have} no plan in the cache at {cache}"
    details = ("{why}",)

    def __init__(self, environments: Mapping[str, str], cache: str, *, is_off: bool) -> None:
        """`environments` has the arch of each; `is_off` is whether `remote = false` keeps push from making plans."""
        archs = listed(sorted(set(environments.values())))
        super().__init__(
            environments=first_of([f"`{name}`" for name in environments], _NAMES_SHOWN),
            have="has" if len(environments) == 1 else "have",
            cache=cache,
            why=f"without one, a node cannot make an environment; needed for {archs}",
            hint=f"{'remove `remote = false` from envlock.toml, then run ' if is_off else ''}envlock push",
        )


class CacheOutOfReach(ConfigError):
    """Steps run on other machines, and the cache is a folder of this one."""

    code = "cache-out-of-reach"
    message = "remote steps cannot reach the cache, which is the folder `{cache}`"
    details = ("{remote}",)
    hint = 'set `cache` in `[envlock]` to a bucket, such as `cache = "s3://team/envlock"`, then run `envlock push`'

    def __init__(self, remote: Mapping[str, str], cache: str, location: Location) -> None:
        """`remote` has the backend of each step."""
        super().__init__(cache=cache, remote=_backends(remote), locations=(location,))


class DatastoreOutOfReach(ConfigError):
    """Steps run on other machines, and Metaflow's datastore is a folder of this one."""

    code = "datastore-out-of-reach"
    message = "remote steps cannot reach the datastore, which is local"
    details = ("{remote}", 'steps need its client too: `datastore = "s3"` in `[envlock]`')
    hint = "start the flow with `--datastore=s3`, or set METAFLOW_DEFAULT_DATASTORE"

    def __init__(self, remote: Mapping[str, str], location: Location) -> None:
        """`remote` has the backend of each step."""
        super().__init__(remote=_backends(remote), locations=(location,))


class BadNodeArch(ConfigError):
    """A backend starts steps on an arch for which no node can have an environment."""

    code = "bad-node-arch"
    message = "{backend} starts steps on `{platform}`, for which envlock makes no environments"
    details = ("nodes are linux-64 or linux-aarch64",)
    hint = "set METAFLOW_KUBERNETES_CONDA_ARCH, or `target_platform` of the decorator, to one of them"

    def __init__(self, backend: str, platform: str) -> None:
        super().__init__(backend=backend, platform=platform)


class BadStepName(ConfigError):
    """A step or a flow has a name that cannot stand in the command of a container."""

    code = "bad-step-name"
    message = "{names} cannot run on other machines: a name has letters, digits and `_`"
    hint = "rename it in the file of `{flow}`"

    def __init__(self, flow: str, names: Sequence[str]) -> None:
        super().__init__(flow=flow, names=_quoted(names))


def _backends(remote: Mapping[str, str]) -> str:
    """Which steps run on which backend, in a line each."""
    steps: dict[str, list[str]] = {}
    for step, backend in remote.items():
        steps.setdefault(backend, []).append(f"`{step}`")
    return "\n".join(
        f"{first_of(names, _NAMES_SHOWN)} {'runs' if len(names) == 1 else 'run'} on {backend}"
        for backend, names in steps.items()
    )


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


class ImportContradictsSettings(ConfigError):
    """The packages of an imported lock do not serve what the settings of the project ask of every environment."""

    code = "import-contradicts-settings"
    message = "the packages of `{file}` are not what {config} asks for on {arch}"
    details = ("{fault}",)
    hint = (
        "if Metaflow needs that package, add it to what `{file}` is made of, or write `metaflow-requirements = false` "
        "in [envlock] of {config}"
    )

    def __init__(self, file: str, arch: str, fault: str, config: str) -> None:
        super().__init__(file=file, arch=arch, fault=fault, config=config, locations=(Location(config),))


class OtherLocksExist(ConfigError):
    """The locks to be imported would stand beside others, of the same requirements and with other packages."""

    code = "other-locks-exist"
    message = "there are locks of the same requirements as `{name}` will have, with other packages"
    hint = (
        "`--force` replaces them, for every environment with these requirements; "
        "or remove what asks for them, and run `envlock lock`"
    )

    def __init__(self, name: str, paths: Sequence[str]) -> None:
        super().__init__(name=name, locations=tuple(Location(path) for path in paths))


class PackageNotLocked(ConfigError):
    """A package is in none of the locks that were searched."""

    code = "package-not-locked"
    message = "no lock of {where} has a package `{name}`"

    def __init__(self, name: str, names: Sequence[str], environments: Sequence[str]) -> None:
        most = 3
        near = did_you_mean(name, names)
        if name.strip().lower() == "python":
            near = "their Python is no package: `envlock show` says where it is from"
        super().__init__(
            name=name,
            where=first_of(list(dict.fromkeys(environments)), most),
            hint=near or "envlock tree",
        )


class NoCodePackage(ConfigError):
    """The run of a task has no code package that could be unpacked."""

    code = "no-code-package"
    message = "there is no code package of {task}: {reason}"
    hint = (
        "set METAFLOW_FEAT_ALWAYS_UPLOAD_CODE_PACKAGE=1 for the next run; "
        "for the environment alone: envlock create --pathspec {task}"
    )

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task=task, reason=reason)


class DamagedCodePackage(DamageError):
    """A code package is not what Metaflow stored, or is not safe to unpack."""

    code = "damaged-code-package"
    message = "the code package of {task} is not unpacked: {reason}"
    hint = "nothing of it was written; take a run whose code you trust"

    def __init__(self, task: str, reason: str) -> None:
        super().__init__(task=task, reason=reason)


class CannotUnpack(ConfigError):
    """The code of a task cannot be written into a folder."""

    code = "cannot-unpack"
    message = "the code cannot be unpacked into `{folder}`: {reason}"
    hint = "name a folder that is empty, or a new one"

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder=folder, reason=reason)
