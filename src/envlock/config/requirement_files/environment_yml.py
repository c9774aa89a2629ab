"""environment.yml: conda's packages and channels, pip's lines, system packages and variables.

What conda, conda-lock and Metaflow's extension write there has the meaning that it has for them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from envlock.config.errors import BadChannel, BadIndexUrl
from envlock.config.requirement_files.contents import FileContents, RequirementFile, joined
from envlock.config.requirement_files.errors import BadEnvironmentYml
from envlock.config.requirement_files.requirements_txt import read_lines
from envlock.config.requirement_files.yaml_tree import List, Node, Table, Text, tree_of
from envlock.config.rules import variable
from envlock.config.system_packages import VIRTUAL_PACKAGES
from envlock.model.arch import ARCHS, LINUX_64, LINUX_AARCH64, OSX_64, OSX_ARM64, Arch
from envlock.model.url import is_channel, is_web
from envlock.redaction import shown
from envlock.words import did_you_mean, listed

_DEFAULTS = ("main", "r")
"""The channels that `defaults` means to conda outside of Windows, in its order."""
_SECTIONS = ("name", "prefix", "channels", "dependencies", "pypi-indices", "variables", "platforms")
_USELESS = {
    "name": "`name` is not used: envlock.toml names the environment",
    "prefix": "`prefix` is not used: envlock chooses the folder of an environment",
    "platforms": "`platforms` is not used: `archs` in envlock.toml says what to lock for",
}
_PACKAGE = re.compile(r"((?:\S+?::)?[^\s<>=!~\[;]+)\s*(.*)", re.DOTALL)
_BRACKETS = re.compile(r"(?P<head>[^\[\]]*?)\s*\[(?P<inside>.*)\]", re.DOTALL)
_IN_BRACKETS = re.compile(r"""\s*([a-z_0-9]+)\s*=\s*(?:'([^']*)'|"([^"]*)"|([^'",]*))\s*(?:,|\Z)""")
_DOUBLED = re.compile(r"={1,2}\s*(?=[<>!~])")
"""`=>=1.2`, which Metaflow's extension writes for `>=1.2`."""
_PIP_EQUALS = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?)\s*=\s*([0-9][^=;]*?)\s*(;.*)?")
_SUBDIR = re.compile(r"(?:linux|osx|win|freebsd|zos|emscripten|wasi)-[a-z0-9_]+|noarch")
_SELECTOR = re.compile(r"\s*[^\s#].*?\s#.*\[([^\[\]]+)\]\s*")
_WORD = re.compile(r"[A-Za-z0-9_-]+|\S")
_LINUX, _OSX = frozenset({LINUX_64, LINUX_AARCH64}), frozenset({OSX_64, OSX_ARM64})
_PLATFORMS: Mapping[str, frozenset[Arch]] = {
    "unix": _LINUX | _OSX,
    "linux": _LINUX,
    "osx": _OSX,
    "linux64": frozenset({LINUX_64}),
    "osx64": frozenset({OSX_64}),
    "x86": frozenset({LINUX_64, OSX_64}),
    "x86_64": frozenset({LINUX_64, OSX_64}),
    "aarch64": frozenset({LINUX_AARCH64}),
    "arm64": frozenset({OSX_ARM64}),
    **{str(arch): frozenset({arch}) for arch in ARCHS},
    **dict.fromkeys(("win", "win32", "win64", "linux32", "ppc64le", "s390x", "armv6l", "armv7l"), frozenset()),
}
"""What the selectors of conda-build and conda-lock select, of the archs that there are."""
_OF_PYTHON = re.compile(r"(?:not\s+)?(?:py|np)(?:[0-9]|2k\b|3k\b|\s*[<>=!])")
_MARKERS: Mapping[Arch, str] = {
    LINUX_64: "sys_platform == 'linux' and platform_machine == 'x86_64'",
    LINUX_AARCH64: "sys_platform == 'linux' and platform_machine == 'aarch64'",
    OSX_64: "sys_platform == 'darwin' and platform_machine == 'x86_64'",
    OSX_ARM64: "sys_platform == 'darwin' and platform_machine == 'arm64'",
}


def read_environment_yml(file: RequirementFile) -> FileContents:
    """What an environment.yml says.

    Raises BadEnvironmentYml, BadChannel or BadIndexUrl, and what `read_lines` raises of the lines below `pip`, each
    with the line.
    """
    return _Reading(file).contents()


class _Reading:
    """Reads the sections of one file."""

    def __init__(self, file: RequirementFile) -> None:
        self.file = file
        self.found = FileContents(files=(file.path,))
        self.selectors = {
            number: match[1].strip()
            for number, line in enumerate(file.text.splitlines(), start=1)
            if (match := _SELECTOR.fullmatch(line)) and _is_meant(match[1])
        }
        """The selectors, by line; those of packages are taken from here."""

    def fault(self, reason: str, line: int, *, quoted: str = "", hint: str = "") -> BadEnvironmentYml:
        made = self.file.fault(reason, line, line=quoted, hint=hint)
        assert isinstance(made, BadEnvironmentYml)
        return made

    def contents(self) -> FileContents:
        tree = tree_of(self.file)
        if not isinstance(tree, Table):
            hint = "write `dependencies:` and below it, each in a line that begins with `- `, the packages"
            raise self.fault("it is not a mapping of sections", tree.line if tree else 1, hint=hint)
        sections = {key.text: (key, value) for key, value in tree.entries}
        if not sections.keys() & {"dependencies", "channels", "variables"}:
            raise self.fault("it has no `dependencies`", tree.line, hint="name the environment.yml of conda")
        for name in _SECTIONS:
            if name in sections:
                self.section(name, *sections[name])
        for name, (key, _) in sections.items():
            if name not in _SECTIONS:
                self.note(f"`{shown(name)}` is not a section that envlock knows, and was left out", key.line)
        for line in self.selectors:
            raise self.fault("only a package can have a selector", line, hint="move it to the lines of the packages")
        return self.found

    def section(self, name: str, key: Text, value: Node) -> None:
        if name in _USELESS:
            self.note(_USELESS[name], key.line)
        elif name == "variables":
            for variable_name, item in self.mapping(value, name):
                self.variable(variable_name, item)
        elif name == "channels":
            for each in self.texts(value, name):
                self.channel(each)
        elif name == "pypi-indices":
            for each in self.texts(value, name):
                if not is_web(each.text):
                    raise BadIndexUrl(each.text, *self.file.places(each.line))
                self.add(indexes=((each.text, self.file.line(each.line)),))
        else:
            for item in self.items(value, name):
                if isinstance(item, Table):
                    for group, below in item.entries:
                        self.group(group, below)
                else:
                    self.package(self.text(item, name))

    def group(self, key: Text, value: Node) -> None:
        """A mapping among the dependencies: `pip:` or `sys:`."""
        if key.text == "pip":
            self.pip(self.texts(value, "pip"))
        elif key.text == "sys":
            for each in self.texts(value, "sys"):
                self.system(each)
        elif isinstance(value, Text) and value.text:
            hint = f"write a package and its version as `{shown(key.text)}={shown(value.text)}`"
            raise self.fault("a dependency is a text, not a mapping", key.line, quoted=key.text, hint=hint)
        else:
            hint = did_you_mean(key.text, ("pip", "sys")) or "move the packages to `dependencies` or to `pip`"
            raise self.fault("of dependencies, only `pip` and `sys` are lists", key.line, quoted=key.text, hint=hint)

    def channel(self, item: Text) -> None:
        name, line = item.text, self.file.line(item.line)
        if name == "nodefaults":
            self.add(own_channels=(line,))
        elif name == "defaults":
            self.add(channels=tuple((each, line) for each in _DEFAULTS))
        elif name == "local" or not is_channel(name):
            raise BadChannel(name).at(*self.file.places(item.line))
        else:
            self.add(channels=((name, line),))

    def package(self, item: Text) -> None:
        archs = self.archs_of(item.line)
        if not archs:
            return
        if item.text.startswith("__"):
            self.system(item)
            return
        name, constraint = self.name_and_constraint(item)
        if archs != set(ARCHS):
            constraint = f"{constraint} ; {' '.join(arch for arch in ARCHS if arch in archs)}"
        self.add(conda=((name, constraint, self.file.line(item.line)),))

    def name_and_constraint(self, item: Text) -> tuple[str, str]:
        """The name, with its channel, and the constraint of a match specification."""
        text = item.text
        if text.endswith((".conda", ".tar.bz2")):
            hint = "name the package and its channel: `channel::name=version=build`"
            raise self.fault("a package's file is not supported", item.line, quoted=text, hint=hint)
        brackets = self.brackets(item, text)
        if brackets is not None:
            text = brackets
        match = _PACKAGE.fullmatch(text)
        if match is None:
            raise self.fault("this is not a package", item.line, quoted=text)
        name, constraint = match[1], match[2]
        if _DOUBLED.match(constraint):
            constraint = constraint.lstrip("=").strip()
            self.note(f"`{shown(text)}` is read as `{shown(name + constraint)}`", item.line)
        channel, separator, bare = name.rpartition("::")
        if channel == "defaults":
            hint = f"write {listed((f'`{each}::{bare}`' for each in _DEFAULTS), 'or')}"
            raise self.fault("`defaults` is several channels", item.line, quoted=text, hint=hint)
        above, _, last = channel.rpartition("/")
        if separator and _SUBDIR.fullmatch(last) and above and "://" not in f"{above}/"[-3:]:
            hint = f"write `{shown(above)}::{shown(bare)}`"
            raise self.fault("a channel with a platform is not supported", item.line, quoted=text, hint=hint)
        return name, constraint

    def brackets(self, item: Text, text: str) -> str | None:
        """`name[version=">=1", build=py*, channel=team]` as `team::name >=1 py*`; None if it has no brackets."""
        match = _BRACKETS.fullmatch(text)
        if match is None:
            return None
        head, inside = match["head"], match["inside"]
        found: dict[str, str] = {}
        position = 0
        while position < len(inside):
            part = _IN_BRACKETS.match(inside, position)
            if part is None or part[1] in found or part[1] not in {"version", "build", "channel"}:
                hint = "between brackets stand `version=`, `build=` and `channel=`, each once, with commas between them"
                raise self.fault("what stands between the brackets is not supported", item.line, quoted=text, hint=hint)
            found[part[1]] = (part[2] or part[3] or part[4] or "").strip()
            position = part.end()
        before = _PACKAGE.fullmatch(head)
        if (
            before is None
            or ("channel" in found and "::" in head)
            or (found.keys() & {"version", "build"} and before[2])
        ):
            raise self.fault("the brackets and what is before them do not go together", item.line, quoted=text)
        if found.keys() & {"version", "build"}:
            head = f"{head} {found.get('version') or '*'} {found.get('build', '')}"
        return f"{found['channel']}::{head}" if "channel" in found else head

    def system(self, item: Text) -> None:
        """A system package: `__glibc >=2.17`, `__cuda=12.4`, `__archspec=*=x86_64_v3`."""
        words = re.sub(r"\s*([<>=!~,|]+)\s*", r"\1", item.text)
        match = re.fullmatch(r"(__[a-z]+)\s*(=?>=|==?|)([^\s<>=!~,|]*)(?:[\s=]([^\s=]+))?", words)
        name = match[1] if match else ""
        if match is None or (name not in VIRTUAL_PACKAGES and name != "__unix"):
            hint = f"write one of {', '.join(VIRTUAL_PACKAGES)} with its oldest version, such as `__glibc >=2.17`"
            raise self.fault("this is not a system package and its oldest version", item.line, quoted=words, hint=hint)
        version = match[4] if name == "__archspec" and match[4] else match[3]
        if name == "__unix":
            return
        if not version and name in {"__linux", "__osx"}:
            self.note(
                f"`{name}` without a version is not used: `archs` in envlock.toml says what to lock for", item.line
            )
            return
        self.add(system=((name, version, self.file.line(item.line)),))

    def pip(self, items: Iterator[Text]) -> None:
        """The lines below `pip`, which conda writes into a requirements.txt beside the file."""
        lines = []
        for item in items:
            text = item.text
            if equals := _PIP_EQUALS.fullmatch(text):
                name, version, marker = equals.groups("")
                text = f"{name}=={version} {marker}".strip()
                self.note(f"`{shown(item.text)}` is read as `{shown(text)}`", item.line)
            archs = self.archs_of(item.line)
            if not archs:
                continue
            if archs != set(ARCHS):
                text = self.with_marker(text, _marker(archs), item.line)
            lines.append((text, item.line))
        self.found = joined((self.found, read_lines(self.file, lines)))

    def with_marker(self, text: str, marker: str, line: int) -> str:
        if text.startswith("-"):
            raise self.fault("only a package can have a selector", line, quoted=text)
        body, semicolon, own = text.partition(" ;" if "@" in text else ";")
        return f"{body} ; ({own.strip()}) and ({marker})" if semicolon else f"{body} ; {marker}"

    def variable(self, key: Text, value: Node) -> None:
        if not isinstance(value, Text):
            raise self.fault("the value of a variable is a text", value.line, quoted=key.text)
        if fault := variable(key.text, value.text):
            raise self.fault(f"`{shown(key.text)}` cannot be one of `variables`: {fault}", key.line, hint="remove it")
        if value.is_plain and _as_conda_says(value.text) != value.text:
            hint = f'write it with quotes: `{key.text}: "{shown(value.text)}"`'
            raise self.fault("conda would change this value, which is not a text for YAML", value.line, hint=hint)
        if "'" in value.text:
            said = f"`{shown(key.text)}` has a `'`, which conda's own `activate` does not quote: enter with envlock"
            self.note(said, value.line)
        self.add(variables=((key.text, value.text, self.file.line(key.line)),))

    def archs_of(self, line: int) -> set[Arch]:
        """The archs that the selector of a line selects; all if it has none."""
        selector = self.selectors.pop(line, "")
        if not selector:
            return set(ARCHS)
        words = _WORD.findall(selector)
        found: set[Arch] = set()
        for clause in " ".join(words).split(" or "):
            selected = set(ARCHS)
            for term in clause.split(" and "):
                name = term.removeprefix("not ")
                if name not in _PLATFORMS:
                    hint = "envlock knows names of platforms, such as `linux` and `osx`, with `and`, `or` and `not`"
                    raise self.fault("this selector is not supported", line, quoted=f"[{selector}]", hint=hint)
                selected &= _PLATFORMS[name] if name == term else set(ARCHS) - _PLATFORMS[name]
            found |= selected
        return found

    def note(self, text: str, line: int) -> None:
        self.add(notes=((text, self.file.line(line)),))

    def add(self, **entries: tuple[object, ...]) -> None:
        self.found = self.found._replace(
            **{name: (*getattr(self.found, name), *added) for name, added in entries.items()}
        )

    def items(self, value: Node, name: str) -> Iterator[Node]:
        """The items of a list; of nothing, none."""
        if isinstance(value, List):
            yield from value.items
        elif not _is_nothing(value):
            hint = "write each in a line of its own that begins with `- `"
            raise self.fault(f"`{name}` is not a list", value.line, hint=hint)

    def texts(self, value: Node, name: str) -> Iterator[Text]:
        return (self.text(item, name) for item in self.items(value, name))

    def text(self, item: Node, name: str) -> Text:
        if isinstance(item, Text) and not _is_nothing(item) and "\n" not in item.text.strip():
            return item._replace(text=item.text.strip())
        raise self.fault(f"an item of `{name}` is not a text of one line", item.line, hint="write it in one line")

    def mapping(self, value: Node, name: str) -> list[tuple[Text, Node]]:
        if isinstance(value, Table):
            return value.entries
        if _is_nothing(value):
            return []
        raise self.fault(
            f"`{name}` is not a mapping", value.line, hint="write each in a line of its own: `NAME: value`"
        )


def _is_nothing(value: Node) -> bool:
    return isinstance(value, Text) and (not value.text.strip() or (value.is_plain and value.text in {"~", "null"}))


def _is_meant(selector: str) -> bool:
    """Whether brackets at the end of a comment are meant as a selector."""
    return any(word in _PLATFORMS for word in _WORD.findall(selector)) or _OF_PYTHON.match(selector.strip()) is not None


def _marker(archs: set[Arch]) -> str:
    """The marker that is true on some archs.

    >>> _marker({OSX_64, OSX_ARM64}), _marker({LINUX_AARCH64})
    ("sys_platform == 'darwin'", "sys_platform == 'linux' and platform_machine == 'aarch64'")
    """
    parts = []
    for system, both in (("linux", _LINUX), ("darwin", _OSX)):
        if both <= archs:
            parts.append(f"sys_platform == '{system}'")
        else:
            parts += [_MARKERS[arch] for arch in ARCHS if arch in both & archs]
    return parts[0] if len(parts) == 1 else " or ".join(f"({part})" if " and " in part else part for part in parts)


def _as_conda_says(text: str) -> str:
    """What conda sets a variable to whose value stands without quotes: Python's text of what YAML takes it for.

    >>> _as_conda_says("debug"), _as_conda_says("4"), _as_conda_says("1.10"), _as_conda_says("true")
    ('debug', '4', '1.1', 'True')
    """
    try:
        return str(YAML(typ="safe", pure=True).load(text))
    except (YAMLError, ValueError):
        return text
