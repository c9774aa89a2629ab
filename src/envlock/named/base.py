"""What a `named_env` says, and the requirements of the environments that are named ones, or extend them.

Imported only for projects that name an environment.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from envlock.errors import EnvlockError
from envlock.model.requirements import Requirements
from envlock.named.alias import BadAlias, MissingVariable, has_variables, parse_alias, substituted
from envlock.named.errors import BadNamedEnv, NamedEnvVariableUnset
from envlock.named.pin import read_pin

if TYPE_CHECKING:
    from pathlib import Path

    from envlock.config.project import Environment, Project
    from envlock.model.arch import Arch
    from envlock.named.pin import Pin

IDENTITY = re.compile(r"([0-9a-f]{40}):([0-9a-f]{40})\Z")
_PATHSPEC = re.compile(
    r"[A-Za-z_]\w*/[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z_]\w*(?:/[A-Za-z0-9][A-Za-z0-9_.-]*)?\Z", re.ASCII
)


def named(kind: str, text: str) -> str:
    """What a `name` or a `pathspec` without variables means, in its one spelling. Raises BadAlias.

    >>> named("name", "team/base"), named("pathspec", "TrainFlow/142/train")
    ('team/base:latest', 'TrainFlow/142/train')
    """
    if kind == "name":
        return text if IDENTITY.match(text) else str(parse_alias(text))
    if not _PATHSPEC.match(text) or ".." in text:
        raise BadAlias(text, "a pathspec is `Flow/run/step`, or `Flow/run/step/task`")
    return text


def check_named(kind: str, text: str) -> None:
    """Raise BadAlias for what means nothing, whatever the values of the variables in it.

    `kind` may be `aliases` too: names that are given, which ids are not.
    """
    if has_variables(text):
        return
    if kind == "aliases":
        parse_alias(text)
    else:
        named(kind, text)


def attached(environment: Environment, folder: Path) -> Environment:
    """The environment with the requirements that its base gives it, as it is pinned in the lock folder.

    Where there is no pin, they are such as nothing is locked for; `trouble` says whether there can be one.
    """
    base = environment.base
    if base is None:
        return environment
    if base.fetch_at_exec:
        return environment._replace(requirements=Requirements(base=f"at-exec:{base.written}"))
    try:
        meant = named(base.kind, substituted(base.written, os.environ))
    except (BadAlias, MissingVariable):
        meant, pin = "", None
    else:
        environment = environment._replace(base=base._replace(reference=meant))
        try:
            pin = read_pin(folder, base.kind, meant)
        except EnvlockError:
            pin = None
    if pin is not None:
        return with_pin(environment, pin)
    return environment._replace(requirements=base.own._replace(base=f"unpinned:{base.kind}:{meant or base.written}"))


def trouble(project: Project, environment: Environment) -> EnvlockError | None:
    """Why it cannot be known what an environment's base is or was pinned to; None where nothing is wrong.

    NamedEnvVariableUnset, BadNamedEnv, DamagedPin or NewerPinFormat.
    """
    base = environment.base
    if base is None or base.fetch_at_exec or base.pin is not None:
        return None
    try:
        read_pin(project.lock_folder, base.kind, named(base.kind, substituted(base.written, os.environ)))
    except MissingVariable as missing:
        return NamedEnvVariableUnset(base.written, missing.variable, project.locate(base.key))
    except BadAlias as bad:
        return BadNamedEnv(base.kind, bad.text, bad.reason, project.locate(base.key))
    except EnvlockError as damage:
        return damage
    return None


def with_pin(environment: Environment, pin: Pin) -> Environment:
    """The environment, its name standing for what the pin says."""
    base = environment.base
    assert base is not None
    requirements = extended(base.own, pin) if base.extends else pin.requirements
    return environment._replace(base=base._replace(pin=pin), requirements=requirements)


def extended(asked: Requirements, pin: Pin) -> Requirements:
    """The requirements of an environment that asks for more than the pinned one."""
    adds_conda = bool(asked.all_conda)
    return asked._replace(
        base=pin.base,
        python_from=pin.requirements.python_from,
        channels=asked.channels if adds_conda else (),
        channel_priority=asked.channel_priority if adds_conda else "",
        system=_greater(asked, pin.requirements),
    )


def _greater(asked: Requirements, base: Requirements) -> tuple[tuple[Arch, str, str], ...]:
    """Of what two environments need of a machine, what serves both: the greater version of each."""
    rows = {(arch, name): version for arch, name, version in base.system}
    for arch, name, version in asked.system:
        rows[arch, name] = max(rows.get((arch, name), version), version, key=_numbers)
    return tuple((arch, name, rows[arch, name]) for arch, name in sorted(rows))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
