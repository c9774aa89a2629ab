"""`envlock config`: the settings that count, and where each was written."""

from __future__ import annotations

import os
from pathlib import Path

from envlock.cli.command import Argument, CommandLine, Group, command
from envlock.cli.options import CONFIG, JSON, config_given
from envlock.config.layers import Layer, Layers, variable_of, without_project
from envlock.config.project import CONFIG_NAME, OF_METAFLOW, KeyPath
from envlock.config.settings import MACHINE, PLACES, PROJECT, Settings
from envlock.redaction import without_credentials
from envlock.settings_files import DEFAULT_HOME, HOME_VARIABLE, settings_files
from envlock.values import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_KEY = Argument("key", "[KEY]", "Only this setting, such as `cache` or `cache-options.endpoint`.", complete="settings")


class Shown(NamedTuple):
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


@command(_KEY, JSON, CONFIG)
def show(line: CommandLine) -> int:
    """Show each setting, and where it was written: a file with its line, a variable, or the default.

    Of a setting that several files have, the last one counts; the others are listed below it. Credentials are not
    shown. With a KEY, print its value alone. It works without an envlock.toml, too.

    For example:

    - `envlock config show`
    - `envlock config show cache`
    - `envlock config show --json`
    """
    from envlock.cli.console import write, write_err, write_json, write_table
    from envlock.errors import EnvlockError

    folder, layers = _layers(config_given(line))
    found = list(_settings(layers))
    if line.has(_KEY):
        found = _of_key(found, line.value(_KEY))
    try:
        found = [_resolved(each, folder, layers) for each in found]
    except EnvlockError as error:
        if line.has(_KEY):
            raise
        write_err(f"warning: {error.message}")
    if line.has(JSON):
        write_json(_as_document(found))
    elif line.has(_KEY):
        for each in found:
            name = f"{each.name} = " if len(found) > 1 else ""
            write(f"{name}{each.resolved or _text(each.value, is_alone=len(found) == 1)}")
            write_err(f"from {_place(each, each.by)}")
    else:
        rows = [row for each in found for row in _rows(each)]
        write_table(("setting", "value", "from"), rows)
    return 0


config = Group("config", "Show settings: what counts, and where it comes from.", (show,))


def _layers(given: str) -> tuple[Path, Layers]:
    """The folder of the project, or else the working folder, and the layers."""
    from envlock.config.errors import NoConfig
    from envlock.config.read import find_config, load_layers

    try:
        path = Path(given).absolute() if given else find_config(Path.cwd())
    except NoConfig:
        return Path.cwd(), without_project()
    return path.parent, load_layers(path)


def _settings(layers: Layers) -> Iterator[Shown]:
    """Every setting, in the order of the reference; a table by its keys."""
    assert isinstance(PROJECT, dict)
    for key in PROJECT:
        value, default = layers.table.get(key), _plain(key, Settings._field_defaults[key.replace("-", "_")])
        if isinstance(value, dict) and value:
            leaves = _leaves({**default, **value})
            yield from (_shown((key, *inner), each, layers) for inner, each in leaves)
        else:
            yield _shown((key,), default, layers)
    chosen = os.environ.get(HOME_VARIABLE, "")
    shown = _shown(("home",), DEFAULT_HOME, layers)
    if chosen:
        variable = Layer("variable", HOME_VARIABLE, {"home": chosen})
        others = ((shown.by, shown.value), *shown.others) if shown.by is not None else ()
        shown = Shown(("home",), without_credentials(chosen), variable, others)
    yield shown


def _leaves(table: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from (((key, *inner), each) for inner, each in _leaves(value))
        else:
            yield (key,), value


def _shown(key: KeyPath, default: Any, layers: Layers) -> Shown:
    having = layers.that_have(("envlock", *key))
    values = [_redacted(_value_in(each, key)) for each in having]
    others = tuple(zip(having[:-1], values[:-1], strict=True))
    if not having:
        return Shown(key, _redacted(default), None)
    return Shown(key, values[-1], having[-1], others[::-1])


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


def _of_key(found: list[Shown], wanted: str) -> list[Shown]:
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


def _resolved(shown: Shown, folder: Path, layers: Layers) -> Shown:
    """With the place of a cache that is in Metaflow's datastore. Raises NoMetaflowDatastore."""
    if shown.key != ("cache",) or shown.value != OF_METAFLOW:
        return shown
    from envlock.config.metaflow_datastore import datastore
    from envlock.errors import ConfigError

    try:
        return shown._replace(resolved=without_credentials(datastore(str(folder)).cache))
    except ConfigError as error:
        at = layers.locate(("envlock", "cache"))
        raise error.at(*((at,) if at else ())) from None


def _rows(shown: Shown) -> Iterator[tuple[str, str, str]]:
    meaning = f" ({shown.resolved})" if shown.resolved else ""
    yield without_credentials(shown.name), _text(shown.value) + meaning, _place(shown, shown.by)
    for layer, value in shown.others:
        yield "", _text(value), f"{_place(shown, layer)}, overridden"


def _text(value: Any, *, is_alone: bool = False) -> str:
    from envlock.config.edit.toml_edit import value_text

    return value if is_alone and isinstance(value, str) else value_text(value)


def _place(shown: Shown, layer: Layer | None) -> str:
    if layer is None:
        return "default"
    return str(layer.locate(("envlock", *shown.key))._replace(key=None))


def _as_document(found: list[Shown]) -> dict[str, object]:
    return {
        "settings": [
            {
                "key": without_credentials(each.name),
                "value": each.value,
                **({"resolved": each.resolved} if each.resolved else {}),
                "from": _source(each, each.by),
                "place": each.key[0] in MACHINE,
                "variable": _variable(each.key[0]),
                "overridden": [{"value": value, "from": _source(each, layer)} for layer, value in each.others],
            }
            for each in found
        ],
        "files": [{"kind": kind, "path": path, "exists": os.path.lexists(path)} for kind, path in settings_files()],
    }


def _variable(key: str) -> str | None:
    return variable_of(key) if key in {*PLACES, "home"} else None


def _source(shown: Shown, layer: Layer | None) -> dict[str, object]:
    if layer is None:
        return {"kind": "default", "path": None, "line": None}
    at = layer.locate(("envlock", *shown.key))
    return {"kind": layer.kind, "path": at.path, "line": at.line}
