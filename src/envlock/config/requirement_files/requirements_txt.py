"""requirements.txt, as pip reads it, and with the options of Metaflow's Conda extension for conda packages.

A line has the same meaning, and the same rules, as in envlock.toml. Where pip passes over a part of a line, or an
option would have no effect on a lock, that is an error with the line. Only two things differ from pip: paths are
relative to the file that has them, and a variable stays in the URL as it is written, so that no lock holds its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from envlock.config.errors import BadChannel, BadIndexUrl, BadSource
from envlock.config.requirement_files.contents import FileContents, RequirementFile, joined
from envlock.config.requirement_files.errors import BadRequirementsFile
from envlock.config.requirement_files.pip_requirement import URL, Found, Line, NoName, logical_lines, pip_requirement
from envlock.config.rules import pip_flag_of
from envlock.config.tables import Hashes, normalize_python
from envlock.errors import ConfigError, EnvlockError, as_one
from envlock.model.requirement import (
    CredentialsInDirectUrl,
    DirectUrlOfThisMachine,
    PythonIsNoPackage,
    is_package_name,
    normalized,
)
from envlock.model.url import is_channel, is_web
from envlock.redaction import shown, without_credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from envlock.config.project import LineOfFile

_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_SPACES = re.compile(r"[ \t\r\n]+")
_QUOTING = re.compile(r"[\\'\"]")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ALGORITHMS = ("sha256", "sha384", "sha512")

_WITH_VALUE = {
    "-r": "--requirement",
    "-c": "--constraint",
    "-e": "--editable",
    "-i": "--index-url",
    "-f": "--find-links",
    "-C": "--config-settings",
}
"""The options that pip knows by one letter; all of them take a value."""
_VALUES = frozenset(
    {
        *_WITH_VALUE.values(),
        *("--extra-index-url", "--pypi-url", "--no-binary", "--only-binary", "--trusted-host", "--use-feature"),
        *("--hash", "--config-setting", "--global-option", "--all-releases", "--only-final"),
    }
)
_FLAGS = frozenset({"--no-index", "--pre", "--prefer-binary", "--require-hashes", "--no-require-hashes"})
_OF_CONDA = ("--conda-pkg", "--conda-channel", "--sys-pkg")
"""The options of Metaflow's Conda extension: the rest of the line is the value."""
_SAME = {"--pypi-url": "--index-url", "--config-setting": "--config-settings"}
_LONG = {**{name: name for name in (*_VALUES, *_FLAGS)}, **_WITH_VALUE, **_SAME}
"""The name that is used here for each way to write an option out."""
_ALONE = ("--requirement", "--constraint", "--editable")
"""The options beside which pip reads no other."""
_ONCE = ("--index-url", "--find-links")
"""Those of which pip reads one in a line."""
_OF_REQUIREMENTS = ("--hash", "--config-settings", "--global-option")
_OPPOSITES = {"--no-binary": "--only-binary", "--all-releases": "--only-final"}
_CHOICES = {**_OPPOSITES, **{other: one for one, other in _OPPOSITES.items()}}
"""The options that take names of packages, or `:all:` or `:none:`, each with its opposite: the last one counts."""
_REFUSED = {
    "--trusted-host": (
        "envlock checks the certificate of every host",
        "remove it, and name the certificate of your own authority by the variable SSL_CERT_FILE",
    ),
    "--config-settings": ("a wheel is built with the settings of its project", "remove it, and build the wheel first"),
    "--global-option": ("a wheel is built with the settings of its project", "remove it, and build the wheel first"),
}
"""What has no meaning for a lock: the reason, and what to write instead."""


def read_requirements_txt(file: RequirementFile) -> FileContents:
    """What a requirements.txt says, with the files that it includes.

    Raises BadRequirementsFile, BadIndexUrl, RequirementFileCycle, UnsafeFile, and what a requirement of envlock.toml
    raises, each with the line; ManyErrors where several lines are wrong.
    """
    return read_lines(file, _numbered(file))


def read_lines(file: RequirementFile, lines: Iterable[tuple[str, int]]) -> FileContents:
    """What lines of a requirements.txt say, each with its number in the file, which may have another format.

    Raises what `read_requirements_txt` raises, with the error of the file's format in place of BadRequirementsFile.
    """
    reading = _Reading()
    found = _read(file, lines, reading, is_constraint=False)
    found = found._replace(pip_flags=(*found.pip_flags, *reading.flags()))
    if reading.needs_hashes and reading.hashless:
        reason, hint = "`--require-hashes` asks for the hash of each requirement", "add `--hash=sha256:...` to the line"
        raise as_one([of.fault(reason, line.number, line=line.text, hint=hint) for of, line in reading.hashless])
    return found


def _numbered(file: RequirementFile) -> Iterator[tuple[str, int]]:
    return ((text, number) for number, text in enumerate(file.text.splitlines(), start=1))


class _Reading:
    """What the reading of a file knows of all files that it includes."""

    def __init__(self) -> None:
        self.done: set[tuple[Path, bool]] = set()
        """The files that were read, each as what it was: to read one again would add nothing."""
        self.needs_hashes = False
        self.hashless: list[tuple[RequirementFile, Line]] = []
        """The requirements without a hash."""
        self.chosen: dict[str, set[str]] = {option: set() for option in _CHOICES}
        """The packages of each option that takes names, as pip has them after the last line."""

    def choose(self, option: str, value: str) -> None:
        """Add the packages of an option, as pip does: what is chosen is no longer chosen by the opposite."""
        chosen, others = self.chosen[option], self.chosen[_CHOICES[option]]
        for name in value.split(","):
            if name == ":none:":
                chosen.clear()
            elif name == ":all:":
                others.clear()
                chosen.clear()
                chosen.add(name)
            else:
                others.discard(normalized(name))
                chosen.update([normalized(name)] if ":all:" not in chosen else [])

    def flags(self) -> list[str]:
        """The flags that the chosen packages make. A package that is never built is that without a flag."""
        options = ("--no-binary", "--all-releases", "--only-final")
        return [pip_flag_of(f"{option[2:]}={name}") for option in options for name in sorted(self.chosen[option])]


def _read(
    file: RequirementFile, lines: Iterable[tuple[str, int]], reading: _Reading, *, is_constraint: bool
) -> FileContents:
    reading.done.add((file.path, is_constraint))
    parts = [FileContents(files=(file.path,))]
    errors: list[EnvlockError] = []
    for line in logical_lines(lines):
        try:
            parts.append(_LineReader(file, line, reading, is_constraint=is_constraint).contents())
        except EnvlockError as error:  # noqa: PERF203  all wrong lines are reported, not only the first
            errors.append(error)
    if errors:
        raise as_one(errors)
    return joined(parts)


class _LineReader:
    """Reads one line."""

    def __init__(self, file: RequirementFile, line: Line, reading: _Reading, *, is_constraint: bool) -> None:
        self.file = file
        self.line = line
        self.reading = reading
        self.number = line.number
        self.text = line.text
        self.key: LineOfFile = file.line(line.number)
        self.is_constraint = is_constraint

    def fault(self, reason: str, hint: str = "") -> ConfigError:
        return self.file.fault(reason, self.number, line=self.text, hint=hint)

    def contents(self) -> FileContents:
        """What the line says. Raises ConfigError with the place, or UnsafeFile."""
        if self.text.startswith(_OF_CONDA):
            return self.of_conda()
        words = self.text.split(" ")
        begin = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
        requirement, options = " ".join(words[:begin]).strip(), self.options(" ".join(words[begin:]))
        names = [name for name, _ in options]
        if requirement or "--editable" in names:
            others = [name for name in names if name not in (*_OF_REQUIREMENTS, "--editable")]
            if others:
                raise self.fault(f"`{others[0]}` has no effect behind a requirement", "give it a line of its own")
            return self.requirement(requirement, options)
        cut = (
            name for name in names if len(names) > 1 and (name in _ALONE or (name in _ONCE and names.count(name) > 1))
        )
        if twice := next(cut, ""):
            raise self.fault(f"pip reads only a part of a line with `{twice}` and more", "give each a line of its own")
        return joined(self.option(name, value) for name, value in options)

    def options(self, text: str) -> list[tuple[str, str]]:
        """The options, under their long names, each with its value; a flag's is empty."""
        words = _SPACES.split(text) if text else []
        if _QUOTING.search(text):  # only then, because shlex takes a second for a few thousand hashes
            import shlex

            try:
                words = shlex.split(text)
            except ValueError:
                raise self.fault("a quotation mark has no second one", "close it") from None
        found: list[tuple[str, str]] = []
        rest = iter(words)
        for word in rest:
            name, equals, value = word.partition("=")
            if not word.startswith("--"):
                name, equals, value = word[:2], word[2:], word[2:]
            name = self.long_name(name, word)
            if name in _FLAGS:
                if equals:
                    raise self.fault(f"`{name}` takes no value", f"write `{name}`")
            elif not equals:
                value = next(rest, "")
                if not value or (name in _CHOICES and value.startswith("-")):
                    raise self.fault(f"`{name}` has no value", f"write it as `{name} VALUE`")
            if name in _REFUSED:
                reason, hint = _REFUSED[name]
                raise self.fault(f"`{name}` is not supported: {reason}", hint)
            found.append((name, value))
        return found

    def long_name(self, name: str, word: str) -> str:
        if name in _LONG:
            return _LONG[name]
        alike = {_SAME.get(each, each) for each in _VALUES | _FLAGS if len(name) > 2 and each.startswith(name)}
        if not word.startswith("-"):
            own = "without `-e`: `NAME @ PATH ; MARKER`" if word.startswith(";") else "in a line of its own"
            raise self.fault("pip reads nothing that follows an option but more of them", f"write it {own}")
        if len(alike) != 1 or not name.startswith("--"):
            raise self.unknown(name)
        return alike.pop()

    def unknown(self, name: str) -> ConfigError:
        said = f"`{shown(name)}`" if self.file.is_quoted else "this"
        return self.fault(f"{said} is not an option that pip reads in a file", "remove it")

    def option(self, name: str, value: str) -> FileContents:
        """What an option says that stands alone."""
        if name in {"--requirement", "--constraint"}:
            return self.included(value, is_constraint=name == "--constraint")
        if name in {"--index-url", "--extra-index-url", "--find-links"}:
            if name == "--find-links" and not is_web(value) and (not URL.match(value) or value.startswith("file:")):
                return self.links_of_folder(value)
            if not is_web(value):
                raise BadIndexUrl(value if self.file.is_quoted else "this line", *self.file.places(self.number))
            if name == "--find-links":
                return FileContents(find_links=((value, self.key),))
            return (
                FileContents(default_index=(value, self.key))
                if name == "--index-url"
                else FileContents(indexes=((value, self.key),))
            )
        if name == "--hash":
            raise self.fault("a hash belongs behind its requirement", "write it as `NAME==VERSION --hash=sha256:...`")
        if name == "--require-hashes":
            self.reading.needs_hashes = True
        if name == "--use-feature":
            said = f"`{shown(value)}` of pip" if self.file.is_quoted else "this feature of pip"
            return FileContents(notes=((f"{said} is not used: it changes nothing of what is locked", self.key),))
        if name in _CHOICES:
            return self.choice(name, value)
        flags = {"--pre": "pre", "--no-index": "no-index"}
        return FileContents(pip_flags=(flags[name],) if name in flags else ())

    def choice(self, option: str, value: str) -> FileContents:
        """What an option says that takes names of packages: it counts once all lines are read."""
        names = value.split(",")
        if not all(name in {":all:", ":none:"} or is_package_name(name) for name in names):
            raise self.fault(f"`{option}` takes names of packages", f"write it as `{option} NAME`")
        self.reading.choose(option, value)
        if ":all:" in self.reading.chosen["--no-binary"] and option == "--only-binary" and set(names) != {":none:"}:
            reason = "`--only-binary` of single packages has no meaning beside `--no-binary :all:`"
            raise self.fault(reason, "name the packages to build behind `--no-binary`")
        return FileContents()

    def links_of_folder(self, written: str) -> FileContents:
        from envlock.config.local_sources import NotALinkFolder, link_folder

        try:
            url, local = link_folder(written, folder=self.file.path.parent, project=self.file.project)
        except NotALinkFolder as error:
            raise self.fault(error.reason, error.hint) from None
        return FileContents(find_links=((url, self.key),), local=local)

    def included(self, written: str, *, is_constraint: bool) -> FileContents:
        self.refuse_variables(written)
        if URL.match(written):
            raise self.fault("a file of the web can change at any time", "download it, and name the file")
        file = self.file.include(written, self.number, BadRequirementsFile)
        if (file.path, is_constraint) in self.reading.done:
            return FileContents()
        return _read(file, _numbered(file), self.reading, is_constraint=is_constraint)

    def refuse_variables(self, text: str) -> None:
        if found := _VARIABLE.search(text):
            variable = f"`{found[0]}`" if self.file.is_quoted else "a variable"
            raise self.fault(f"{variable} would mean something else on another machine", "write its value")

    def of_conda(self) -> FileContents:
        """What an option says of Metaflow's Conda extension."""
        found = re.match(r"(--[a-z-]+)(?:\s*=\s*|\s+|\Z)(.*)", self.text)
        assert found is not None
        name, value = found[1], found[2].strip()
        if name not in _OF_CONDA:
            raise self.unknown(name)
        self.refuse_variables(value if name != "--conda-channel" else "")
        parted = re.match(r"((?:\S+?::)?[^\s<>=!~\[]+)\s*(.*)\Z", value)
        if parted is None:
            raise self.fault(f"`{name}` has no value", f"write it as `{name} VALUE`")
        if name == "--conda-channel" and is_channel(value):
            return FileContents(channels=((value, self.key),))
        if not self.file.is_quoted and not self.is_of_conda(name, parted[1], parted[2]):
            raise self.fault(f"`{name}` has another value than conda knows")
        if name == "--conda-channel":
            raise BadChannel(value).at(*self.file.places(self.number))
        if name == "--sys-pkg":
            return FileContents(system=((parted[1], parted[2], self.key),))
        return FileContents(conda_only=((parted[1], parted[2], self.key),))

    def is_of_conda(self, option: str, name: str, constraint: str) -> bool:
        """Whether conda knows the value of an option: else an error shows it."""
        from envlock.config.conda_tables import entry_of, python_of
        from envlock.config.system_packages import VIRTUAL_PACKAGES, system_version

        try:
            if option == "--sys-pkg":
                return name in VIRTUAL_PACKAGES and bool(system_version(name, constraint))
            requirement, _ = entry_of(name, constraint)
            return option == "--conda-pkg" and (
                requirement.name != "python" or bool(python_of(requirement, constraint))
            )
        except (ValueError, ConfigError):
            return False

    def requirement(self, text: str, options: list[tuple[str, str]]) -> FileContents:
        """What a requirement says, with its hashes."""
        editable = [value for name, value in options if name == "--editable"]
        if editable and (text or len(editable) > 1):
            raise self.fault("pip reads only a part of a line with `-e` and more", "give each a line of its own")
        if editable and self.is_constraint:
            raise self.fault("a constraint names versions, and no folder", "require the folder, by `-r`")
        if "://" not in text:
            self.refuse_variables(text)
        try:
            found, local = self.read(editable[0] if editable else text)
        except PythonIsNoPackage as error:
            return self.python(error, text)
        hashes = self.hashes([value for name, value in options if name == "--hash"])
        self.refuse_variables("" if found.url else str(found))
        kept = (Hashes(found.name, found.marker, hashes, self.key),) if hashes else ()
        if self.is_constraint:
            if found.extras:
                raise self.fault("a constraint has no extras", "require the package with its extras, by `-r`")
            return FileContents(constraints=((found, self.key),), hashes=kept)
        if not kept:
            self.reading.hashless.append((self.file, self.line))
        note = "`-e` has no effect: the package is locked as it is, and a change of it makes the lock stale"
        return FileContents(
            pypi=((found, "", self.key),),
            hashes=kept,
            local=(local,) if local else (),
            notes=((note, self.key),) if editable and local else (),
        )

    def read(self, text: str) -> Found:
        """The requirement in a text, an error of which has the place. Raises PythonIsNoPackage without it."""
        try:
            return pip_requirement(text, folder=self.file.path.parent, project=self.file.project)
        except PythonIsNoPackage:
            raise
        except (CredentialsInDirectUrl, DirectUrlOfThisMachine) as error:
            raise error.at(*self.file.places(self.number)) from None
        except BadSource as error:
            if self.file.is_quoted:
                raise error.at(*self.file.places(self.number)) from None
            raise self.fault("this line names no source") from None
        except NoName as error:
            raise self.fault(error.reason, error.hint) from None
        except ConfigError as error:
            reason = without_credentials(error.message) if self.file.is_quoted else "this line is not a requirement"
            raise self.file.fault(reason, self.number) from None

    def hashes(self, written: list[str]) -> frozenset[str]:
        parted = [value.partition(":")[::2] for value in written]
        for algorithm, digest in parted:
            if algorithm not in _ALGORITHMS or (algorithm == "sha256" and not _SHA256.fullmatch(digest)):
                raise self.fault("not a hash", "write it as `--hash=sha256:` and 64 hexadecimal digits")
        found = frozenset(digest.lower() for algorithm, digest in parted if algorithm == "sha256")
        if parted and not found:
            raise self.fault("a lock has SHA-256 hashes", "add the hash with `--hash=sha256:...`")
        return found

    def python(self, error: PythonIsNoPackage, text: str) -> FileContents:
        """The Python of the environment, as files of Metaflow's Conda extension have it."""
        specifier = re.match(r"python\s*(?P<range>[^\[;@]*)\Z", text, re.IGNORECASE)
        if specifier is None or self.is_constraint or self.file.error is not BadRequirementsFile:
            raise error.at(*self.file.places(self.number)) from None
        series = re.fullmatch(r"==\s*(\d+\.\d+)", specifier["range"].strip())
        written = specifier["range"].strip()
        return FileContents(python=(normalize_python(series[1] if series else written), written, self.key))
