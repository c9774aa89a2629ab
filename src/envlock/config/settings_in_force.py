"""What counts of each setting and where it is from: for people who ask, without credentials."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from envlock.config.layers import VARIABLE, Layer, Layers
from envlock.config.project import CONFIG_NAME, OF_METAFLOW, KeyPath
from envlock.config.settings import PROJECT, Settings
from envlock.redaction import without_credentials
from envlock.settings_files import DEFAULT_HOME, HOME_VARIABLE
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


class SettingInForce(NamedTuple):
    """One setting, or one key of a setting that is a table."""

    key: KeyPath
    value: Any
    """The value that counts, without credentials; the default where no layer has one."""
    by: Layer | None
    """The layer that it is from; None for a default."""
    others: tuple[tuple[Layer, Any], ...] = ()
    """What earlier layers say, which does not count."""
    resolved: str = ""
    """What the value means here, where that is something else."""

    @property
    def name(self) -> str:
        """The key as it is written in `[envlock]`."""
        return ".".join(self.key)


def settings_in_force(layers: Layers) -> Iterator[SettingInForce]:
    """Every setting, in the order of the reference; a table by its keys."""
    assert isinstance(PROJECT, dict)
    for key in PROJECT:
        value, default = layers.table.get(key), _plain(key, Settings._field_defaults[key.replace("-", "_")])
        if isinstance(value, dict) and value:
            leaves = _leaves({**default, **value})
            yield from (_found_in((key, *inner), each, layers) for inner, each in leaves)
        else:
            yield _found_in((key,), default, layers)
    chosen = os.environ.get(HOME_VARIABLE, "")
    home = _found_in(("home",), DEFAULT_HOME, layers)
    if chosen:
        variable = Layer(VARIABLE, HOME_VARIABLE, {"home": chosen})
        others = ((home.by, home.value), *home.others) if home.by is not None else ()
        home = SettingInForce(("home",), without_credentials(chosen), variable, others)
    yield home


def _leaves(table: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from (((key, *inner), each) for inner, each in _leaves(value))
        else:
            yield (key,), value


def _found_in(key: KeyPath, default: Any, layers: Layers) -> SettingInForce:
    having = layers.that_have(("envlock", *key))
    values = [_redacted(_value_in(each, key)) for each in having]
    others = tuple(zip(having[:-1], values[:-1], strict=True))
    if not having:
        return SettingInForce(key, _redacted(default), None)
    return SettingInForce(key, values[-1], having[-1], others[::-1])


def _value_in(layer: Layer, key: KeyPath) -> Any:
    found: Any = layer.table
    for part in key:
        found = found[part]
    return found


def _plain(key: str, default: Any) -> Any:
    """A default as TOML has it."""
    if hasattr(default, "_asdict"):
        return {key: value for key, value in default._asdict().items() if value}
    if _is_table(key):
        return {}
    return list(default) if isinstance(default, tuple) else default


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {without_credentials(key): _redacted(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_redacted, value))
    if isinstance(value, str):
        return without_credentials(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def of_key(found: Sequence[SettingInForce], wanted: str) -> list[SettingInForce]:
    """The setting that is called so, or all keys of a table. Raises NoSuchSelection."""
    chosen = [each for each in found if each.name == wanted or each.name.startswith(f"{wanted}.")]
    top, _, rest = wanted.partition(".")
    if not chosen and rest and _is_table(top):
        return []
    if not chosen:
        from envlock.config.errors import NoSuchSelection

        raise NoSuchSelection("setting", wanted, [each.name for each in found], CONFIG_NAME)
    return chosen


def _is_table(key: str) -> bool:
    assert isinstance(PROJECT, dict)
    shape = PROJECT.get(key, "")
    return isinstance(shape, dict) or shape[:1] == ("table",)


def resolved(setting: SettingInForce, folder: Path, layers: Layers) -> SettingInForce:
    """With the place of a cache that is in Metaflow's datastore. Raises NoMetaflowDatastore."""
    if setting.key != ("cache",) or setting.value != OF_METAFLOW:
        return setting
    from envlock.config.metaflow_datastore import datastore
    from envlock.errors import ConfigError

    try:
        return setting._replace(resolved=without_credentials(datastore(str(folder)).cache))
    except ConfigError as error:
        at = layers.locate(("envlock", "cache"))
        raise error.at(*((at,) if at else ())) from None
