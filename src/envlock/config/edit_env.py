"""`[env.*]` tables put into envlock.toml, with everything else in the file left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli

from envlock.config import toml_text
from envlock.config.project import Project
from envlock.config.toml_tables import tables_text, value_text
from envlock.errors import ConfigError, Location


class NamesAnother(ConfigError):
    """An `[env.*]` table was to name an environment, and names another."""

    code = "names-another"

    def __init__(self, name: str, written: str, at: Location) -> None:
        super().__init__(
            f"`[env.{name}]` names `{written}` already",
            locations=(at,),
            hint="change that line and run `envlock lock`, or say another name after `--env`",
        )


class EnvironmentExists(ConfigError):
    """An `[env.*]` table was to be written, and is there."""

    code = "environment-exists"

    def __init__(self, name: str, at: Location) -> None:
        super().__init__(
            f"`[env.{name}]` is there already",
            locations=(at,),
            hint="say another name after `--env`, or take that table out",
        )


def new_environment(text: str, name: str, tables: Mapping[str, Any]) -> str:
    r"""The text with an `[env.*]` table that it does not have, after the others.

    >>> print(new_environment("", "base", {"named_env": {"name": "team/base:v1"}}), end="")
    [env.base]
    named_env = { name = "team/base:v1" }
    """
    path = ("env", name)
    edited = toml_text.insert_section(text, path, tables_text(path, tables), value_text(tables))
    expected, found = tomli.loads(text), tomli.loads(edited)
    expected.setdefault("env", {})[name] = tables
    if expected != found:
        raise AssertionError(f"writing [env.{name}] changed something else")
    return edited


def name_base(project: Project, name: str, kind: str, written: str) -> str:
    """The text of envlock.toml in which `[env.<name>]` has this `name` or `pathspec` as its `named_env`.

    The table is made where there is none; one that names it already stays as it is. Raises NamesAnother.
    """
    text = project.text
    tables = tomli.loads(text).get("env", {})
    if name not in tables:
        return new_environment(text, name, {"named_env": {kind: written}})
    base = next(each.base for each in project.named if each.name == name)
    if base is not None:
        if base.kind != kind or (written != base.written and base.meant not in {written, f"{written}:latest"}):
            raise NamesAnother(name, base.written, project.locate(base.key))
        return text
    path = ("env", name, "named_env", kind)
    edited = toml_text.insert(text, path, toml_text.quoted(written), header=2)
    expected = tomli.loads(text)
    expected["env"][name].setdefault("named_env", {})[kind] = written
    if expected != tomli.loads(edited):
        raise AssertionError(f"writing named_env into [env.{name}] changed something else")
    return edited
