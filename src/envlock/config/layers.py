"""The layers of settings. Of two that say something of the same key, the later one wins; tables are merged by key.

They are: built-in defaults, the file of the machine, that of the user, the one that ENVLOCK_CONFIG names, team files
(`extends`), envlock.toml, and variables.

Ids and locks are the same on every machine, so what is not of the repository may only set places (`settings.PLACES`).
A file that is not there costs one `stat`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import tomli

from envlock.config.project import CONFIG_NAME, OF_METAFLOW, KeyPath
from envlock.config.settings import MACHINE, PLACES, PROJECT, Shape
from envlock.config.shape import Misfit, fits, misfits
from envlock.errors import Location
from envlock.files import CONFIG_BYTES, is_of, read_file, toml_of
from envlock.model.url import strip_channel_credentials
from envlock.places import expanded
from envlock.revisions import real
from envlock.settings_files import read_settings, settings_files
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

TEAM_FILE = "team file"
VARIABLE = "variable"
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Layer(NamedTuple):
    """What one file, or one variable, says of `[envlock]`."""

    kind: str
    """`machine file`, `user file`, `ENVLOCK_CONFIG`, `team file`, `envlock.toml` or `variable`."""
    name: str
    """As messages name it: a path, or the variable."""
    table: Mapping[str, Any]
    """Its `[envlock]`, as TOML has it; a relative path of another file than envlock.toml is made absolute."""
    text: str = ""
    path: str = ""
    """The file itself; empty for a variable."""
    first: Mapping[str, Any] = {}
    """Its `[init]`: the settings that `init` writes into a first envlock.toml. They count nowhere else."""

    @property
    def is_of_repository(self) -> bool:
        """Whether it is envlock.toml or a team file."""
        return self.kind in {CONFIG_NAME, TEAM_FILE}

    def has(self, key: KeyPath) -> bool:
        """Whether it has a key, such as `("envlock", "cache")`."""
        found: Any = self.table
        for part in key[1:]:
            if not isinstance(found, Mapping):
                return isinstance(found, list)
            if part not in found:
                return False
            found = found[part]
        return key[:1] == ("envlock",)

    def locate(self, key: KeyPath) -> Location:
        """Where it has a key. Scans the text: for messages."""
        if self.kind == VARIABLE:
            return Location(self.name)
        from envlock.config.toml_source import location

        return location(self.text, self.name, key)


class Layers(NamedTuple):
    """The layers of a project, the first of all first, and what they say together."""

    every: tuple[Layer, ...] = ()
    table: Mapping[str, Any] = {}
    """The `[envlock]` that counts."""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that was read beside envlock.toml, or that would be read if it were there."""
        return (*(path for _, path in settings_files()), *self.team_files)

    @property
    def team_files(self) -> tuple[str, ...]:
        """The team files, the one that all others extend first."""
        return tuple(layer.path for layer in self.every if layer.kind == TEAM_FILE)

    def that_have(self, key: KeyPath) -> tuple[Layer, ...]:
        """The layers that have a key; the last one counts."""
        return tuple(layer for layer in self.every if layer.has(key))

    def is_of_repository(self, key: str) -> bool:
        """Whether envlock.toml or a team file sets a setting."""
        return any(layer.is_of_repository and key in layer.table for layer in self.every)

    def locate(self, key: KeyPath) -> Location | None:
        """Where the value of a key of `[envlock]` was written; None if no layer has it, or it is no such key."""
        found = self.that_have(key) if key[:1] == ("envlock",) else ()
        return found[-1].locate(key) if found else None


def layers_of(path: Path, text: str, table: Mapping[str, Any]) -> Layers:
    """All layers around the `[envlock]` of an envlock.toml at `path`. The table has the right shape.

    Of a revision, the team files of that revision count. Raises BadTeamFile, ExtendsCycle, SettingEntersIds,
    UntrustedSettings, UnreadableConfig, BadChannelMirror, and the errors of an envlock.toml.
    """
    own = Layer(CONFIG_NAME, path.name, table, text, str(path))
    every = (*machine_layers(), *(_team_layers(own) if "extends" in table else ()), own, *_variables())
    return Layers(every, table if len(every) == 1 else _merged(every))


def machine_layers() -> Iterator[Layer]:
    """What the settings files of the machine and the user say."""
    for kind, place in settings_files():
        data = read_settings(kind, place)
        if data is not None:
            yield _layer(kind, place, place, data, MACHINE)


def without_project() -> Layers:
    """The layers where there is no envlock.toml."""
    every = (*machine_layers(), *_variables())
    return Layers(every, _merged(every))


def of_first_file() -> dict[str, Any]:
    """The settings that a first envlock.toml gets, as the settings files of the machine and the user say.

    Raises as `machine_layers`, and BadValue for a password, which everybody could read there.
    """
    found: dict[str, Any] = {}
    for layer in machine_layers():
        for key, value in layer.first.items():
            if any(map(_has_secret, _texts(value))):
                from envlock.config.errors import BadValue

                reason = "it has a password, which everybody who reads envlock.toml could read"
                raise BadValue(
                    key,
                    str(value),
                    reason,
                    layer.locate(("init", key)),
                    hint="write `${VARIABLE}` in place of the password",
                )
        found = _over(found, layer.first)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        yield from (text for each in (value.values() if isinstance(value, dict) else value) for text in _texts(each))
    elif isinstance(value, str):
        yield value


def _has_secret(text: str) -> bool:
    from envlock.credentials import has_password

    return "://" in text and (has_password(text) or ("${" not in text and strip_channel_credentials(text) != text))


def _team_layers(own: Layer) -> Iterator[Layer]:
    """The team files, the last one that is extended first."""
    last, found = own, {real(own.path): own}
    while "extends" in last.table:
        last = _team_file(last, found, os.path.dirname(own.path))
    yield from [*found.values()][:0:-1]


def _team_file(last: Layer, found: dict[str, Layer], folder: str) -> Layer:
    """The team file that the last one extends, noted among those `found`, by their paths without links."""
    key = ("envlock", "extends")
    place = os.path.normpath(os.path.join(os.path.dirname(last.path), last.table["extends"]))
    itself = real(place)
    if itself in found:
        from envlock.config.contradictions import ExtendsCycle

        cycle = [*found.values()][[*found].index(itself) :]
        raise ExtendsCycle([each.name for each in cycle], [each.locate(key) for each in cycle])
    reason = ""
    data = b""
    try:
        if is_of(place, folder):
            data = read_file(place, CONFIG_BYTES, within=folder)
        else:
            reason = "it is not in this repository"
    except FileNotFoundError:
        reason = "there is no such file"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        from envlock.config.contradictions import BadTeamFile

        raise BadTeamFile(last.table["extends"], reason, last.locate(key))
    found[itself] = _layer(TEAM_FILE, os.path.relpath(place, folder), place, data, PROJECT)
    return found[itself]


def _layer(kind: str, name: str, path: str, data: bytes, shape: Shape) -> Layer:
    try:
        text = data.decode()
        document = toml_of(text)
    except (UnicodeDecodeError, tomli.TOMLDecodeError):
        text, document = "", {"": ""}
    if not fits(document, {"envlock": shape, **({"init": PROJECT} if shape is MACHINE else {})}):
        from envlock.config.errors import Unexplained
        from envlock.config.validate import explain_settings

        explain_settings(data, name, is_machine=shape is MACHINE)
        raise Unexplained(name)
    table = dict(document.get("envlock", {}))
    if "cache" in table:
        table["cache"] = _cache_below(table["cache"], os.path.dirname(path))
    return Layer(kind, name, table, text, path, document.get("init", {}))


def _cache_below(written: str, folder: str) -> str:
    """A cache as it is written in a file of `folder`: a relative path begins there."""
    if "://" in written or written.startswith("${") or written == OF_METAFLOW:
        return written
    return os.path.normpath(os.path.join(folder, expanded(written)))


def _merged(every: tuple[Layer, ...]) -> Mapping[str, Any]:
    """What the layers say together. The options beside a `cache` are those of that cache, and go with it."""
    table: dict[str, Any] = {}
    of_cache: set[str] = set()
    for layer in every:
        if "cache" in layer.table and of_cache:
            kept = {key: value for key, value in table.get("cache-options", {}).items() if key not in of_cache}
            table, of_cache = {**table, "cache-options": kept}, set()
        if "cache" in layer.table:
            of_cache.update(layer.table.get("cache-options", ()))
        table = _over(table, layer.table)
    table.pop("home", None)  # of machines: no setting of a project
    return table


def _over(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(before)
    for key, value in after.items():
        are_tables = isinstance(value, dict) and isinstance(made.get(key), dict)
        made[key] = _over(made[key], value) if are_tables else value
    return made


def variable_of(key: str) -> str:
    """The variable of a setting that is a place.

    >>> variable_of("cache-options")
    'ENVLOCK_CACHE_OPTIONS'
    """
    return f"ENVLOCK_{key.upper().replace('-', '_')}"


def _variables() -> Iterator[Layer]:
    assert isinstance(PROJECT, dict)
    for key in PLACES:
        name = variable_of(key)
        text = os.environ.get(name, "")
        if text:
            value = _value_of(text, PROJECT[key])
            if not fits(value, PROJECT[key]):
                raise _bad_variable(key, name, text, next(misfits(value, PROJECT[key])))
            yield Layer(VARIABLE, name, {key: _cache_below(value, os.getcwd()) if key == "cache" else value})


def _value_of(text: str, shape: Shape) -> Any:
    """What a variable says, as TOML would have it.

    A table is words such as `region=eu-1 anonymous=true`, a list is split at its commas.

    >>> _value_of("conda-forge=https://mirror.example/main", ("table", "string", "string"))
    {'conda-forge': 'https://mirror.example/main'}
    >>> _value_of("mia, joe", ("any", ("choice", ":any:"), ("list", "string")))
    ['mia', 'joe']
    >>> _value_of("yes", ("any", "boolean", ("choice", "auto")))
    True
    """
    if shape == "boolean" or (isinstance(shape, tuple) and "boolean" in shape):
        word = text.strip().lower()
        return True if word in _YES else False if word in _NO else text
    if isinstance(shape, dict) or shape[0] == "table":
        words = (word.partition("=") for word in text.split())
        of_key = (lambda key: shape.get(key, "string")) if isinstance(shape, dict) else lambda _: shape[2]
        return {key: _value_of(value, of_key(key)) if equals else None for key, equals, value in words}
    if shape[0] == "any" and not text.startswith(":"):
        return [each.strip() for each in text.split(",")]
    return text


def _bad_variable(key: str, name: str, text: str, misfit: Misfit) -> Exception:
    if key == "channel-mirrors":
        from envlock.conda.errors import BadChannelMirror
        from envlock.redaction import shown

        word = "=".join((*misfit.path[:1], *([misfit.value] if misfit.value and not misfit.is_key else ())))
        return BadChannelMirror(shown(word), name, misfit.fault or "each word is a channel, `=` and a URL")
    from envlock.config.errors import BadValue
    from envlock.config.json_schema import node_at

    example = node_at(("envlock", key))["examples"][0]
    if isinstance(example, dict):
        example = " ".join(f"{each}={value}" for each, value in example.items())
    right = ",".join(example) if isinstance(example, list) else str(example).lower() if example is True else example
    fault = misfit.fault or ("there is no such option" if misfit.kind == "unknown" else "it is of another kind")
    found = misfit.value if isinstance(misfit.value, str) else text
    if misfit.kind == "unknown":  # such as `secret`: what is written behind it may be one
        found = f"{misfit.path[0]}=..." if isinstance(misfit.value, str) else "..."
    return BadValue(name, found, fault, Location(name), hint=f"export {name}='{right}'")
