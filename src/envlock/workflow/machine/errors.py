"""Why a name or a kernel of this machine is not given, found or installed, and which limits of `env gc` are none."""

from __future__ import annotations

from collections.abc import Sequence

from envlock.errors import ConfigError, HydrateError, Location, ResolveError
from envlock.words import did_you_mean


class BadName(ConfigError):
    """A name that an environment of this machine cannot have."""

    code = "bad-name"
    message = "`{name}` cannot be the name of an environment"
    details = ("names have letters, digits, `.`, `_` and `-`, and begin with a letter or a digit",)
    hint = "envlock create --name train"

    def __init__(self, name: str) -> None:
        super().__init__(name=name)


class NoSuchName(ConfigError):
    """No environment of this machine has that name."""

    code = "no-such-name"
    message = "no environment is called `{name}` on this machine"
    details = ("names: {names}",)
    hint = "envlock create --name {name} --step STEP"

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(name=name, names=", ".join(names) or "none", hint=did_you_mean(name, names))


class NameTaken(ConfigError):
    """Another environment on this machine has this name already."""

    code = "name-taken"
    message = "`{name}` is the name of another environment"
    details = ("it is {target}",)
    hint = "to move the name to the new environment: {command} --force"

    def __init__(self, name: str, place: str, target: str, command: str) -> None:
        super().__init__(locations=(Location(place),), name=name, target=target, command=command)


class BadKernelName(ConfigError):
    """A name that a Jupyter kernel cannot have."""

    code = "bad-kernel-name"
    message = "`{name}` cannot be the name of a kernel"
    details = ("names have letters, digits, `.`, `_` and `-`; `python3` is the name of Jupyter's own kernel",)
    hint = "--name {near}"

    def __init__(self, name: str, near: str) -> None:
        super().__init__(name=name, near=near)


class KernelTaken(ConfigError):
    """Another Jupyter kernel has this name already."""

    code = "kernel-taken"
    message = "`{name}` is the name of another kernel: {whose}"
    hint = "choose another one with `--name`"

    def __init__(self, name: str, place: str, whose: str, remove: str) -> None:
        hint = f"{self.hint}; {remove}" if remove else None
        super().__init__(name=name, whose=whose, locations=(Location(place),), hint=hint)


class NoSuchKernel(ConfigError):
    """envlock has installed no kernel of that name."""

    code = "no-such-kernel"
    message = "envlock has installed no kernel `{name}` on this machine"
    details = ("kernels: {names}",)
    hint = "envlock kernel ls"

    def __init__(self, name: str, names: Sequence[str]) -> None:
        super().__init__(name=name, names=", ".join(names) or "none", hint=did_you_mean(name, names))


class JupyterFolderUnusable(HydrateError):
    """The folder where Jupyter looks for kernels cannot be written."""

    code = "jupyter-folder-unusable"
    message = "the kernel cannot be written into `{folder}`: {reason}"
    hint = "name another Jupyter with `--prefix PREFIX`, or another folder with the variable JUPYTER_DATA_DIR"

    def __init__(self, folder: str, reason: str) -> None:
        super().__init__(folder=folder, reason=reason)


class IpykernelDoesNotFit(ResolveError):
    """What a kernel needs does not go with the locked packages of an environment."""

    code = "ipykernel-does-not-fit"
    message = "{packages} cannot be added to the locked packages of {subject}: {reason}"
    hint = "add ipykernel to the environment in envlock.toml: `envlock lock` then chooses versions of both that fit"

    def __init__(self, packages: str, subject: str, reason: str, details: tuple[str, ...]) -> None:
        super().__init__(packages=packages, subject=subject, reason=reason, details=details)


class BadSize(ConfigError):
    """An option is not an amount of bytes."""

    code = "bad-size"
    message = "`{found}` is not a size for `--size`"
    details = ("write a number with its unit, such as `500MB`, `20GB` or `20GiB`",)
    hint = "--size 20GB"

    def __init__(self, found: str) -> None:
        super().__init__(found=found)
