"""The full reader: everything that is wrong with the text of envlock.toml, each with its line.

Dear to import (pydantic, packaging), so it runs when the light reader meets something that it does not expect, and
where time does not matter: `lock`, `init`, `add`. What concerns several places at once (merging, the steps of a flow
file) is the light reader's.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from packaging.markers import InvalidMarker, Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from envlock.config.conda_tables import NoChannel, entry_of, python_of, python_range
from envlock.config.errors import (
    BadChannel,
    BadCondaEntry,
    BadIndexUrl,
    BadInstant,
    BadMarker,
    BadPythonSpecifier,
    BadValue,
    NotToml,
    UnknownKey,
)
from envlock.config.instants import absolute_instant, span_of
from envlock.config.quoting import shown
from envlock.config.read import is_conda_name, is_user
from envlock.config.shape_errors import shape_errors
from envlock.config.system_packages import VIRTUAL_PACKAGES, BadSystemVersion, packages_of, system_version
from envlock.config.tables import PIP_FLAGS, is_index_name, normalize_python, requirement_of
from envlock.config.toml_source import decoded, dotted_names, location, parsed
from envlock.errors import ConfigError, EnvlockError, Location, ManyErrors
from envlock.model.conda_requirement import BadCondaRequirement
from envlock.model.marker import is_marker
from envlock.model.requirement import (
    BadPackageName,
    BadVersionSpecifier,
    CredentialsInDirectUrl,
    DirectUrlOfThisMachine,
    PythonIsNoPackage,
    is_package_name,
    normalize_specifier,
)
from envlock.model.url import (
    is_channel,
    is_endpoint,
    is_host_pattern,
    is_mirror,
    is_web,
    strip_credentials,
    variable_fault,
)
from envlock.named.alias import BadAlias
from envlock.named.base import check_named
from envlock.named.errors import BadNamedEnv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from envlock.config.project import KeyPath


def explain(source: str | bytes, path: Path) -> None:
    """Raise what is wrong with the text of an envlock.toml; return where nothing is.

    `path` is only named, never read. Raises one ConfigError, or ManyErrors, in the order of the file's lines.
    """
    errors = sorted(_errors(source, path.name), key=_line)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ManyErrors(tuple[EnvlockError, ...](errors))


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
    """The checks of values that have the right type; values of another type are passed over."""

    def __init__(self, document: Mapping[str, Any], text: str, name: str) -> None:
        self.document = document
        self.text = text
        self.name = name

    def errors(self) -> Iterator[ConfigError]:
        table = _table(self.document, "envlock")
        yield from self.project(table, ("envlock",))
        for kind in ("flow", "env"):
            for name, level in _tables(_table(self.document, kind)):
                yield from self.level(level, (kind, name))
                for place, step in _strings(level, (kind, name), "steps") if kind == "flow" else ():
                    if not step.isidentifier():
                        hint = 'write it as `steps = ["start", "train", "end"]`'
                        yield BadValue("steps", step, "it takes names of steps", self.at(place), hint=hint)
                for step, own in _tables(_table(level, "step")) if kind == "flow" else ():
                    yield from self.level(own, (kind, name, "step", step))

    def project(self, table: Mapping[str, Any], key: KeyPath) -> Iterator[ConfigError]:
        yield from self.instant(table.get("exclude-newer"), (*key, "exclude-newer"))
        yield from self.index(table.get("index-url"), (*key, "index-url"))
        for place, url in _strings(table, key, "extra-indices"):
            yield from self.index(url, place)
        yield from self.indexes(_table(table, "indexes"), (*key, "indexes"))
        for place, host in _strings(table, key, "hosts"):
            if not is_host_pattern(host):
                hint = 'write it as `hosts = ["index.example"]`'
                yield BadValue("hosts", host, "a host has no scheme and no path", self.at(place), hint=hint)
        for place, channel in _strings(table, key, "channels"):
            yield from self.channel(channel, place)
        yield from self.names(table, key)
        yield from self.users(table, key)
        for channel, url in _table(table, "channel-mirrors").items():
            place = (*key, "channel-mirrors", channel)
            yield from self.channel(channel, place)
            if isinstance(url, str) and not is_mirror(url):
                hint = 'write it as `conda-forge = "https://mirror.example/conda-forge"`'
                yield BadValue(channel, url, variable_fault(url) or "a mirror is a URL", self.at(place), hint=hint)
        cache = table.get("cache")
        if isinstance(cache, str) and (fault := variable_fault(cache)):
            hint = "a variable is written as `${NAME}`, and nothing else begins with `${`"
            yield BadValue("cache", cache, fault, self.at((*key, "cache")), hint=hint)
        elif isinstance(cache, str) and "\0" in cache:
            hint = 'write it as `cache = "s3://bucket/envlock"`, or as the path of a folder'
            reason = "no place has the character U+0000 in its name"
            yield BadValue("cache", cache, reason, self.at((*key, "cache")), hint=hint)
        mirror = table.get("python-mirror")
        if isinstance(mirror, str) and not is_mirror(mirror):
            hint = 'write it as `python-mirror = "https://mirror.example/python"`'
            reason = variable_fault(mirror) or "a mirror is a URL"
            yield BadValue("python-mirror", mirror, reason, self.at((*key, "python-mirror")), hint=hint)
        endpoint = _table(table, "cache-options").get("endpoint")
        if isinstance(endpoint, str) and endpoint and not is_endpoint(endpoint):
            yield BadValue(
                "endpoint",
                strip_credentials(endpoint),
                variable_fault(endpoint) or "it takes the URL of a web server, without user, password and query",
                self.at((*key, "cache-options", "endpoint")),
                hint='write it as `endpoint = "https://objects.example"`; credentials come from the environment',
            )
        for arch, floors in _tables(_table(table, "system-requirements")):
            right = packages_of(arch)
            yield from self.system(floors, (*key, "system-requirements", arch), right)

    def names(self, table: Mapping[str, Any], key: KeyPath) -> Iterator[ConfigError]:
        for name, kind, is_one, example in (
            ("allow-older", "PyPI", is_package_name, "hydra-core"),
            ("link-scripts", "conda", is_conda_name, "font-ttf-ubuntu"),
        ):
            for place, package in _strings(table, key, name):
                if not is_one(package):
                    hint = f'write it as `{name} = ["{example}"]`'
                    yield BadValue(name, package, f"it takes names of {kind} packages", self.at(place), hint=hint)

    def indexes(self, named: Mapping[str, Any], key: KeyPath) -> Iterator[ConfigError]:
        for name, url in named.items():
            yield from self.index(url, (*key, name))
            if not is_index_name(name):
                hint = 'write it as `indexes.pytorch = "https://index.example/cu121/"`'
                reason = "a name has letters, digits, `-`, `_` and `.`"
                yield BadValue("indexes", name, reason, self.at((*key, name)), hint=hint)

    def users(self, table: Mapping[str, Any], key: KeyPath) -> Iterator[ConfigError]:
        for place, user in _strings(table, key, "use-remote-latest"):
            if not is_user(user):
                hint = (
                    'write it as `use-remote-latest = ["mia", "joe"]`, or `use-remote-latest = ":any:"` without a list'
                )
                yield BadValue(
                    "use-remote-latest", user, "a list of it takes names of users", self.at(place), hint=hint
                )

    def system(self, asked: Mapping[str, Any], key: KeyPath, right: tuple[str, ...]) -> Iterator[ConfigError]:
        for package, version in asked.items():
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
        for place, url in _strings(pypi, (*key, "pypi"), "extra_indices"):
            yield from self.index(url, place)
        for place, flag in _strings(pypi, (*key, "pypi"), "extras"):
            if flag not in PIP_FLAGS:
                hint = 'write `extras = ["pre"]`; the extras of a package belong to its name: `"requests[socks]" = ""`'
                yield BadValue("extras", flag, "it takes `pre`, which allows pre-releases", self.at(place), hint=hint)
        for name, value in _table(conda, "libraries").items():
            yield from self.conda_package(name, value, (*key, "conda", "libraries", name))
        for name, value in _table(pypi, "conda_only").items():
            yield from self.conda_package(name, value, (*key, "pypi", "conda_only", name))
        for place, channel in _strings(conda, (*key, "conda"), "channels"):
            yield from self.channel(channel, place)
        asked = _table(_table(table, "sys_packages"), "packages")
        yield from self.system(asked, (*key, "sys_packages", "packages"), tuple(VIRTUAL_PACKAGES))
        for kind in ("name", "pathspec"):
            yield from self.named(kind, _table(table, "named_env").get(kind), (*key, "named_env", kind))
        for place, alias in _strings(table, key, "aliases"):
            yield from self.named("aliases", alias, place)
        yield from self.python(pypi.get("python"), (*key, "pypi", "python"), normalize_python)
        yield from self.python(conda.get("python"), (*key, "conda", "python"), python_range)

    def named(self, kind: str, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if isinstance(value, str):
            try:
                check_named(kind, value)
            except BadAlias as bad:
                yield BadNamedEnv(kind, value, bad.reason, self.at(key))

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
                yield from self.python(value, key, lambda text: python_of(requirement, text)[0])

    def channel(self, value: str, key: KeyPath) -> Iterator[ConfigError]:
        if not is_channel(value):
            yield BadChannel(value, self.at(key))

    def package(self, name: str, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if isinstance(value, str):
            yield from self.requirement(name, value, key)
        if not isinstance(value, dict):
            return
        said = {part: text for part, text in value.items() if isinstance(text, str)}
        version, marker, index = (said.get(part, "") for part in ("version", "marker", "index"))
        if ";" in version:
            yield BadVersionSpecifier(
                shown(version), "a table says its marker as `marker`", locations=(self.at((*key, "version")),)
            )
        elif not marker.strip():
            yield from self.requirement(name, version, key)
        else:
            yield from self.requirement(name, f"{version} ; {marker}", key)
        for place, extra in _strings(value, key, "extras"):
            if not is_package_name(extra):
                yield BadPackageName(shown(extra), locations=(self.at(place),))
        if index and "@" in name:
            hint = "leave `index` out"
            yield BadValue("index", index, "a URL is one file already", self.at((*key, "index")), hint=hint)
        elif index and not is_index_name(index):
            yield from self.index(index, (*key, "index"))

    def requirement(self, name: str, value: str, key: KeyPath) -> Iterator[ConfigError]:
        specifier, _, marker = value.partition(";")
        at = (self.at(key),)
        if "@" in name and specifier.strip():
            yield BadValue(
                name, specifier.strip(), "a URL is one version already", at[0], hint='leave the value empty: ""'
            )
        elif not _is_specifier(specifier):
            yield BadVersionSpecifier(shown(specifier.strip()), locations=at)
        try:
            requirement_of(name, "")
        except (BadPackageName, BadVersionSpecifier):
            yield BadPackageName(shown(name), locations=at)
        except PythonIsNoPackage:
            yield PythonIsNoPackage(specifier.strip(), locations=at)
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine) as error:
            yield type(error)(locations=at)
        if marker.strip():
            reason = "" if is_marker(marker) else "it nests too deeply, or has a text that is too long"
            try:
                Marker(marker)
            except InvalidMarker as error:
                reason = str(error).partition("\n")[0].lower()
            except RecursionError:
                pass
            if reason:
                yield BadMarker(marker.strip(), reason, at[0])

    def python(self, value: Any, key: KeyPath, range_of: Callable[[str], str]) -> Iterator[ConfigError]:
        if not isinstance(value, str):
            return
        try:
            right = _is_specifier(range_of(value))
        except BadVersionSpecifier:
            right = False
        if not right:
            yield BadPythonSpecifier(value, self.at(key))

    def index(self, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if isinstance(value, str) and not is_web(value):
            yield BadIndexUrl(value, self.at(key))

    def instant(self, value: Any, key: KeyPath) -> Iterator[ConfigError]:
        if isinstance(value, date):
            value = value.isoformat()
        if not isinstance(value, str) or not value or span_of(value) is not None:
            return
        try:
            absolute_instant(value)
        except ValueError:
            yield BadInstant(value, self.at(key))

    def at(self, key: KeyPath) -> Location:
        return location(self.text, self.name, key)


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = parent.get(key)
    return found if isinstance(found, dict) else {}


def _tables(parent: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((name, table) for name, table in parent.items() if isinstance(table, dict))


def _strings(table: Mapping[str, Any], key: KeyPath, name: str) -> Iterator[tuple[KeyPath, str]]:
    found = table.get(name)
    items = found if isinstance(found, list) else []
    return (((*key, name, str(index)), item) for index, item in enumerate(items) if isinstance(item, str))


def _is_specifier(text: str) -> bool:
    try:
        SpecifierSet(normalize_specifier(text))
    except (InvalidSpecifier, BadVersionSpecifier):
        return False
    return True
