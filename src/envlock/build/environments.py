"""Build environments: what the build of a source needs, resolved and installed for this machine, and kept.

Two builds that need the same files share one environment. It has the wheels of indexes only, each with the SHA-256 that
uv resolved, and nothing writes into it later but bytecode.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tomli_w
from packaging.requirements import InvalidRequirement, Requirement

from envlock.addresses import address, hide
from envlock.build.errors import BadBuildSystem, NoBuildRequirements
from envlock.credentials import credentials_for
from envlock.files import CONFIG_BYTES, NotPlain, read_file, toml_of, write_atomically
from envlock.model.url import is_local
from envlock.places import folder_in_home
from envlock.redaction import shown
from envlock.stage import make_once, temporary_folder
from envlock.uv_command import run_uv, uv_reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from envlock.build.port import Recipe

_WITHOUT_BUILD_SYSTEM = (("setuptools>=40.8.0",), "setuptools.build_meta:__legacy__")
"""What PEP 517 and PEP 518 assume where a pyproject.toml says nothing."""
_MODULE = "envlock_build"
"""What `in_environment.py` is called in a build environment."""
_COMPLETE = ".envlock-build.json"
_LINES = 8


class BuildSystem(NamedTuple):
    """The `[build-system]` of a pyproject.toml (PEP 518)."""

    requires: tuple[str, ...]
    backend: str
    path: tuple[str, ...]
    """Folders of the source that hold the backend, absolute."""


class Environment(NamedTuple):
    """A virtual environment that builds can be made in."""

    python: Path
    requires: tuple[str, ...]
    """What is in it, as `setuptools==80.9.0`, sorted."""


def build_system(folder: Path, source: str) -> BuildSystem:
    """The build system of the project in a folder. Raises BadBuildSystem."""
    try:
        text = read_file(folder / "pyproject.toml", CONFIG_BYTES).decode()
        table = toml_of(text).get("build-system")
    except FileNotFoundError:
        table = None
    except NotPlain as error:
        raise BadBuildSystem(source, reason=f"its pyproject.toml cannot be read: {error.reason}") from None
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError
        raise BadBuildSystem(source, reason=f"its pyproject.toml is not valid TOML: {error}") from None
    requires, backend = _WITHOUT_BUILD_SYSTEM
    if table is None:
        return BuildSystem(requires, backend, ())
    if not isinstance(table, dict):
        raise BadBuildSystem(source, reason="`build-system` in its pyproject.toml is not a table")
    asked = table.get("requires")
    if not isinstance(asked, list) or not all(isinstance(each, str) for each in asked):
        raise BadBuildSystem(source, reason="`build-system.requires` in its pyproject.toml is not a list of texts")
    named = table.get("build-backend", backend)
    if not isinstance(named, str) or not all(part.isidentifier() for part in named.replace(":", ".").split(".")):
        raise BadBuildSystem(source, reason="`build-system.build-backend` in its pyproject.toml names no object")
    path = table.get("backend-path", [])
    if not isinstance(path, list) or not all(isinstance(each, str) and each.isprintable() for each in path):
        raise BadBuildSystem(source, reason="`build-system.backend-path` in its pyproject.toml is not a list of texts")
    top = folder.resolve()
    folders = [(top / each).resolve() for each in path]
    if not all(each.is_relative_to(top) for each in folders):
        raise BadBuildSystem(source, reason="`build-system.backend-path` in its pyproject.toml leads out of it")
    return BuildSystem(tuple(asked), named, tuple(map(str, folders)))


def environment_for(recipe: Recipe, requires: Sequence[str], constraints: Sequence[str] = ()) -> Environment:
    """The environment that holds these requirements, within the constraints, made unless this machine has it.

    Costs one solve of uv, and some 100 ms the first time. Raises BadBuildSystem,
    NoBuildRequirements, NoUv, OSError.
    """
    asked = [_checked(each, recipe.said) for each in requires]
    with temporary_folder() as folder:
        settings, variables = _settings(recipe, folder)
        (folder / "constraints.txt").write_text("".join(f"{each}\n" for each in constraints), encoding="utf-8")
        names = _resolved(recipe, asked, folder, settings, variables) if asked else {}
        locked = tuple(sorted(f"{name}=={version}" for name, (version, _) in names.items()))
        key = [str(recipe.python.resolve()), recipe.python_version, _guard(), sorted(names.items())]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        place = folder_in_home("builds", "environments") / name
        python = place / "bin" / "python"

        def is_whole() -> bool:
            return (place / _COMPLETE).is_file() and python.exists()

        if not is_whole():
            make_once(
                place,
                is_whole=is_whole,
                build=lambda stage: _make(recipe, stage, folder, settings, variables, has_packages=bool(names)),
                seal=lambda: write_atomically(place / _COMPLETE, b"{}\n"),
            )
        return Environment(python, locked)


def _checked(text: str, source: str) -> str:
    """A requirement of a source that others wrote, in one line, without what only one machine has.

    Raises BadBuildSystem.
    """
    try:
        found = Requirement(text)
    except InvalidRequirement:
        raise BadBuildSystem(source, reason=f"its build requirement `{shown(text)}` is not valid (PEP 508)") from None
    if found.url and is_local(found.url):
        raise BadBuildSystem(source, reason=f"its build requirement `{shown(text)}` is on one machine only")
    return str(found)


def _guard() -> str:
    return resources.files("envlock.build").joinpath("in_environment.py").read_text(encoding="utf-8")


def _settings(recipe: Recipe, folder: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Arguments and variables of uv: the indexes, and no file or variable of the user."""
    variables: dict[str, str] = {"UV_PYTHON_DOWNLOADS": "never"}
    indexes: list[dict[str, str | bool]] = []
    urls = [*((url, False) for url in recipe.index_urls), (recipe.default_index_url, True)]
    if recipe.no_index:
        urls = []
        nothing = folder / "nothing"
        nothing.mkdir(exist_ok=True)
        indexes.append({"name": "nothing", "url": nothing.as_uri(), "default": True})
    for number, (url, is_default) in enumerate(urls):
        if not url:
            continue
        place = address(url)
        found = credentials_for(place.url)
        if found is not None:
            variables[f"UV_INDEX_BUILD_{number}_USERNAME"], variables[f"UV_INDEX_BUILD_{number}_PASSWORD"] = found
        indexes.append({"name": f"build-{number}", "url": place.asked, **({"default": True} if is_default else {})})
    for number, url in enumerate(recipe.find_links_urls):
        place = address(url)
        found = credentials_for(place.url)
        if found is not None:
            variables[f"UV_INDEX_LINKS_{number}_USERNAME"], variables[f"UV_INDEX_LINKS_{number}_PASSWORD"] = found
        indexes.append({"name": f"links-{number}", "url": place.asked, "format": "flat"})
    configuration: dict[str, object] = {"index-strategy": "first-index", **({"index": indexes} if indexes else {})}
    if recipe.exclude_newer:
        configuration["exclude-newer"] = recipe.exclude_newer
    file = folder / "uv.toml"
    file.write_text(tomli_w.dumps(configuration), encoding="utf-8")
    arguments = ("--config-file", str(file), "--no-progress", "--color", "never")
    return (*arguments, "--offline") if recipe.offline else arguments, variables


def _resolved(
    recipe: Recipe, requires: Sequence[str], folder: Path, settings: tuple[str, ...], variables: dict[str, str]
) -> dict[str, tuple[str, str]]:
    """The version and the SHA-256 of each package, by name; they are written to `pylock.toml`."""
    (folder / "requires.in").write_text("".join(f"{each}\n" for each in requires), encoding="utf-8")
    output = folder / "pylock.toml"
    kept = [each.partition("==") for each in recipe.requires]
    if kept:
        packages = [{"name": name, "version": version} for name, _, version in kept]
        text = tomli_w.dumps({"lock-version": "1.0", "created-by": "envlock", "packages": packages})
        output.write_text(text, encoding="utf-8")
    _run(
        recipe,
        "resolved",
        [
            "pip", "compile", "requires.in", "--constraints", "constraints.txt",
            "--python", str(recipe.python), "--only-binary", ":all:",
            "--format", "pylock.toml", "--output-file", "pylock.toml", "--no-header", "--no-annotate", "--quiet",
        ],
        folder,
        settings,
        variables,
    )  # fmt: skip
    found: dict[str, tuple[str, str]] = {}
    for each in toml_of(output.read_text(encoding="utf-8")).get("packages", []):
        hashes = [wheel["hashes"].get("sha256", "") for wheel in each.get("wheels", ())]
        hashes += [each["archive"]["hashes"].get("sha256", "")] if "archive" in each else []
        found[each["name"]] = (each.get("version", ""), ",".join(sorted(hashes)))
    return found


def _make(
    recipe: Recipe,
    stage: Path,
    folder: Path,
    settings: tuple[str, ...],
    variables: dict[str, str],
    *,
    has_packages: bool,
) -> None:
    python = str(recipe.python)
    _run(
        recipe,
        "installed",
        ["venv", str(stage), "--relocatable", "--allow-existing", "--no-project", "--python", python],
        folder,
        settings,
        variables,
    )
    if has_packages:
        install = [
            "pip",
            "sync",
            "pylock.toml",
            "--python",
            str(stage / "bin" / "python"),
            "--preview-features",
            "pylock",
        ]
        _run(recipe, "installed", install, folder, settings, variables)
    modules = next((stage / "lib").glob("python3*")) / "site-packages"
    (modules / f"{_MODULE}.py").write_text(_guard(), encoding="utf-8")
    # A `.pth` file, since a sitecustomize of the machine's Python would come first. Its name sorts before others.
    (modules / f"_{_MODULE}.pth").write_text(f"import {_MODULE}\n", encoding="utf-8")


def _run(
    recipe: Recipe,
    what: str,
    arguments: Sequence[str],
    folder: Path,
    settings: tuple[str, ...],
    variables: dict[str, str],
) -> None:
    ran = run_uv(arguments, extra=variables, folder=folder, settings=settings)
    if ran.returncode != 0:
        urls = filter(None, (*recipe.index_urls, *recipe.find_links_urls, recipe.default_index_url))
        lines = uv_reason(hide(ran.stderr, map(address, urls)))[:_LINES]
        limit = (f"`exclude-newer` is {recipe.exclude_newer}",) if recipe.exclude_newer else ()
        raise NoBuildRequirements(recipe.said, what=what, details=(*lines, *limit))


def command(environment: Environment, task: dict[str, object]) -> list[str]:
    """The command that runs the hooks in an environment."""
    code = f"import {_MODULE}, sys; sys.exit({_MODULE}.main(sys.argv[1]))"
    return [os.fspath(environment.python), "-c", code, json.dumps(task)]
