"""The full reader of envlock.toml: it finds everything that is wrong with the text, each error with its line.

It is slow to import (pydantic, packaging), so it runs only if the light reader (`read`) finds that something is wrong,
and before envlock writes the file. Errors about several keys at once, and the steps of a flow, are left to `read`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.markers import InvalidMarker, Marker

from envlock.config.conda_tables import NoChannel, entry_of, python_of
from envlock.config.contradictions import SettingEntersIds
from envlock.config.errors import (
    BadChannel,
    BadCondaEntry,
    BadMarker,
    BadPythonSpecifier,
    BadValue,
    NotToml,
    UnknownKey,
)
from envlock.config.json_schema import node_at
from envlock.config.pypi_entries import EntryParts, entry_parts, requirement_of_key
from envlock.config.settings import MACHINE, PROJECT, Shape
from envlock.config.shape_errors import shape_errors
from envlock.config.system_packages import VIRTUAL_PACKAGES, BadSystemVersion, packages_of, system_version
from envlock.config.toml_source import decoded, dotted_names, location, parsed
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors, as_one
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.marker import is_marker
from envlock.model.requirement import (
    BadPackageName,
    BadVersionSpecifier,
    CredentialsInDirectUrl,
    DirectUrlOfThisMachine,
    PythonIsNoPackage,
    normalize_specifier,
)
from envlock.redaction import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from envlock.config.project import KeyPath


def explain(source: str | bytes, path: Path) -> None:
    """Raise all errors in the text of an envlock.toml: one ConfigError, or ManyErrors, in the order of the lines.

    `path` is only named, never read.
    """
    errors = sorted(_errors(source, path.name), key=_line)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors(tuple[EnvlockError, ...](errors))


def explain_settings(source: str | bytes, name: str, *, is_machine: bool) -> None:
    """Raise all errors in the text of a team file, or of a settings file of a machine or a user, as `explain` does.

    `name` is what messages call it.
    """
    errors = sorted(_settings_errors(source, name, is_machine=is_machine), key=_line)
    if errors:
        raise as_one(errors)


def _settings_errors(source: str | bytes, name: str, *, is_machine: bool) -> Iterator[ConfigError]:
    try:
        text = decoded(source, name)
        document = parsed(text, name)
    except ConfigError as error:
        yield error
        return
    assert isinstance(MACHINE, dict)
    tables = ("envlock", "init") if is_machine else ("envlock",)
    for key in document:
        if key not in tables:
            is_known = key in MACHINE or bool(node_at(("envlock", key)))
            advice = _NO_FLOWS if key in {"flow", "env"} else "it belongs in `[envlock]`" if is_known else None
            yield UnknownKey(key, shown(name, 200), list(tables), location(text, name, (key,)), advice=advice)
    table = document.get("envlock", {})
    if is_machine and isinstance(table, dict):
        for key in table.keys() - MACHINE.keys():
            at = location(text, name, ("envlock", key))
            known = node_at(("envlock", key))
            yield SettingEntersIds(key, at) if known else UnknownKey(key, "`[envlock]`", list(MACHINE), at)
        table = {key: value for key, value in table.items() if key in MACHINE}
    shape: Shape = {"envlock": MACHINE, "init": PROJECT} if is_machine else {"envlock": PROJECT}
    inner = {"init": document["init"]} if is_machine and "init" in document else {}
    yield from shape_errors({"envlock": table, **inner}, text, name, shape)
    yield from _Values({"envlock": table}, text, name).errors()


_NO_FLOWS = "write flows and environments into envlock.toml: other files have settings alone"


def _line(error: ConfigError) -> int:
    return (error.locations[0].line or 0) if error.locations else 0


def _errors(source: str | bytes, name: str) -> list[ConfigError]:
    try:
        text = decoded(source, name)
    except ConfigError as error:
        return [error]
    try:
        document = parsed(text, name)
    except NotToml as error:
        return [*dotted_names(text, name)] or [error]
    except ConfigError as error:
        return [error]
    dotted = dotted_names(text, name, _table(_table(document, "envlock"), "indexes"))
    tables = tuple((each.locations[0].key or "").rpartition(".")[0] for each in dotted)
    others = (*shape_errors(document, text, name), *_Values(document, text, name).errors())
    return [*dotted, *(each for each in others if not (tables and _key(each).startswith(tables)))]


def _key(error: ConfigError) -> str:
    return (error.locations[0].key or "") if error.locations else ""


class _Values:
    """The errors of entries whose key and value have to be read together. Values of a wrong type are skipped."""

    def __init__(self, document: Mapping[str, Any], text: str, name: str) -> None:
        self.document = document
        self.text = text
        self.name = name

    def errors(self) -> Iterator[ConfigError]:
        table = _table(self.document, "envlock")
        for arch, floors in _tables(_table(table, "system-requirements")):
            yield from self.system(floors, ("envlock", "system-requirements", arch), packages_of(arch))
        for kind in ("flow", "env"):
            for name, level in _tables(_table(self.document, kind)):
                yield from self.level(level, (kind, name))
                for step, own in _tables(_table(level, "step")) if kind == "flow" else ():
                    yield from self.level(own, (kind, name, "step", step))

    def system(self, packages: Mapping[str, Any], key: KeyPath, right: tuple[str, ...]) -> Iterator[ConfigError]:
        for package, version in packages.items():
            at = self.at((*key, package))
            if right and package not in right and package in VIRTUAL_PACKAGES:
                yield UnknownKey(package, f"`[{'.'.join(key)}]`", list(right), at)
            elif package in right and isinstance(version, str):
                try:
                    system_version(package, version)
                except BadSystemVersion as bad:
                    yield BadValue(package, version, bad.reason, at, hint=f'write it as `{package} = "{bad.example}"`')

    def level(self, table: Mapping[str, Any], key: KeyPath) -> Iterator[ConfigError]:
        pypi, conda = _table(table, "pypi"), _table(table, "conda")
        for name, value in _table(pypi, "packages").items():
            place = (*key, "pypi", "packages", name)
            for number, item in enumerate(value if isinstance(value, list) else [value]):
                yield from self.package(name, item, (*place, str(number)) if isinstance(value, list) else place)
        for kind in ("constraints", "overrides"):
            for name, value in _table(pypi, kind).items():
                yield from self.package(name, value, (*key, "pypi", kind, name))
        for name, value in _table(conda, "libraries").items():
            yield from self.conda_package(name, value, (*key, "conda", "libraries", name))
        for name, value in _table(pypi, "conda_only").items():
            yield from self.conda_package(name, value, (*key, "pypi", "conda_only", name))
        packages = _table(_table(table, "sys_packages"), "packages")
        yield from self.system(packages, (*key, "sys_packages", "packages"), tuple(VIRTUAL_PACKAGES))

    def conda_package(self, name: str, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if not isinstance(value, str):
            return
        try:
            requirement, _ = entry_of(name, value)
        except BadCondaRequirement as bad:
            yield BadCondaEntry(name, value, bad.reason, self.at(key))
        except NoChannel as bad:
            yield BadChannel(bad.channel, self.at(key))
        else:
            if requirement.name == "python":
                try:
                    python_of(requirement, value)
                except BadVersionSpecifier:
                    yield BadPythonSpecifier(value, self.at(key))

    def package(self, name: str, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if isinstance(value, dict):
            value = {part: text for part, text in value.items() if isinstance(text, str)}
        elif not isinstance(value, str):
            return
        entry = entry_parts(value)
        if ";" in entry.specifier:
            reason = "the marker belongs to `marker`"
            yield BadVersionSpecifier(shown(entry.specifier), reason, locations=(self.at((*key, "version")),))
        else:
            yield from self.requirement(name, entry, key)
        if entry.from_index and "@" in name:
            at, hint = self.at((*key, "index")), "leave `index` out"
            yield BadValue("index", entry.from_index, "a URL is one file already", at, hint=hint)

    def requirement(self, name: str, entry: EntryParts, key: KeyPath) -> Iterator[ConfigError]:
        specifier, marker, _, is_empty = entry
        at = (self.at(key),)
        if "@" in name and specifier.strip():
            yield BadValue(
                name, specifier.strip(), "a URL is one version already", at[0], hint='leave the value empty: ""'
            )
        else:
            try:
                normalize_specifier(specifier)
            except BadVersionSpecifier:
                yield BadVersionSpecifier(shown(specifier.strip()), locations=at)
        try:
            requirement_of_key(name, alone=is_empty)
        except BadPackageName:
            yield BadPackageName(shown(name), locations=at)
        except PythonIsNoPackage:
            yield PythonIsNoPackage(specifier.strip(), locations=at)
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine) as error:
            yield error.at(*at)
        if marker.strip():
            reason = "" if is_marker(marker) else "it is nested too deeply, has too long a text, or a backslash"
            try:
                Marker(marker)
            except InvalidMarker as error:
                reason = str(error).partition("\n")[0].lower()
            except RecursionError:
                pass
            if reason:
                yield BadMarker(marker.strip(), reason, at[0])

    def at(self, key: KeyPath) -> Location:
        return location(self.text, self.name, key)


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _tables(parent: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, table) for name, table in parent.items() if isinstance(table, dict))
