"""`envlock config`: the settings that count, and where each was written."""

from __future__ import annotations

import os
from pathlib import Path

from envlock.cli.command import Argument, CommandLine, Group, command
from envlock.cli.options import CONFIG, JSON, config_given
from envlock.config.layers import Layer, Layers, variable_of, without_project
from envlock.config.settings import MACHINE, PLACES
from envlock.config.settings_in_force import SettingInForce, of_key, resolved, settings_in_force
from envlock.redaction import without_credentials
from envlock.settings_files import settings_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_KEY = Argument("key", "[KEY]", "Only this setting, such as `cache` or `cache-options.endpoint`.", complete="settings")


@command(_KEY, JSON, CONFIG)
def show(line: CommandLine) -> int:
    """Show each setting, and where it was written: a file with its line, a variable, or the default.

    If several files have a setting, the last one counts; the others are listed below it. Credentials are not
    shown. With a KEY, print its value alone. It works without an envlock.toml, too.

    For example:

    - `envlock config show`
    - `envlock config show cache`
    - `envlock config show --json`
    """
    from envlock.cli.console import write, write_err, write_json, write_table
    from envlock.errors import EnvlockError

    folder, layers = _layers(config_given(line))
    found = list(settings_in_force(layers))
    if line.has(_KEY):
        found = of_key(found, line.value(_KEY))
    try:
        found = [resolved(each, folder, layers) for each in found]
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
            write_err("unset" if _is_unset(each) else f"from {_place(each, each.by)}")
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


def _rows(setting: SettingInForce) -> Iterator[tuple[str, str, str]]:
    meaning = f" ({setting.resolved})" if setting.resolved else ""
    value = "unset" if _is_unset(setting) else _text(setting.value)
    yield without_credentials(setting.name), value + meaning, _place(setting, setting.by)
    for layer, value in setting.others:
        yield "", _text(value), f"{_place(setting, layer)}, overridden"


def _is_unset(setting: SettingInForce) -> bool:
    """Whether nothing sets it, and its default is to be without."""
    return setting.by is None and setting.value == ""


def _text(value: Any, *, is_alone: bool = False) -> str:
    from envlock.config.edit.toml_edit import value_text

    return value if is_alone and isinstance(value, str) else value_text(value)


def _place(setting: SettingInForce, layer: Layer | None) -> str:
    if layer is None:
        return "default"
    return str(layer.locate(("envlock", *setting.key))._replace(key=None))


def _as_document(found: list[SettingInForce]) -> dict[str, object]:
    return {
        "settings": [
            {
                "key": without_credentials(each.name),
                "value": None if _is_unset(each) else each.value,
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


def _source(setting: SettingInForce, layer: Layer | None) -> dict[str, object]:
    if layer is None:
        return {"kind": "default", "path": None, "line": None}
    at = layer.locate(("envlock", *setting.key))
    return {"kind": layer.kind, "path": at.path, "line": at.line}
