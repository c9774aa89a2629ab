"""One requirement of a PyPI package, in its canonical spelling.

envlock.toml, requirements files, decorators, `add`, pins and locks all go through `parse_requirement`: only what it
accepts stands in an id, a lock and a cache.

Parsing here is light (no `packaging`, which costs 60 ms to import) and exact for what it accepts; the full reader of
envlock.toml puts every requirement through `packaging` too, and a property test holds both to one verdict.
"""

from __future__ import annotations

import re
from functools import lru_cache

from envlock.errors import ConfigError, Location
from envlock.model.marker import FOREIGN, NotAMarker, is_marker
from envlock.model.url import direct_url_fault
from envlock.values import NamedTuple

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z"
_SEPARATORS = re.compile(r"[-_.]+")
_PUBLIC = (
    r"v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?"
)
_CLAUSE = (
    rf"(?:(?P<ordered><=|>=|<|>)\s*{_PUBLIC}"
    rf"|(?P<same>==|!=)\s*(?:v?(?:\d+!)?\d+(?:\.\d+)*\.\*|{_PUBLIC}(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?)"
    rf"|~=\s*(?=v?(?:\d+!)?\d+\.\d){_PUBLIC}"
    r"|===\s*[^\s,;)\\\x00]+)\Z"
)
"""One clause of a PEP 440 specifier set."""
_BEGINNING = r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[(?P<extras>[^\]]*)\]\s*)?"
_URL = r"@\s*(?P<url>\S+)(?:\s+;(?P<marker>.*))?\Z"
"""What may follow; else it is clauses, and a marker after the first `;`. Nothing here is tried in more than one way."""
_LONGEST = 255
"""Characters that one clause may have. No version is as long, and a number of thousands of digits cannot be read."""
_PLAIN = re.compile(r"(==|!=|<=|>=|<|>)(\d+(?:\.\d+)*)")
_SPACE = r"""('[^']*'|"[^"]*")|\s+"""


class BadPackageName(ConfigError):
    """A name that no package can have (PEP 508)."""

    code = "bad-package-name"
    message = "`{found}` is not a package name"
    details = ("letters, digits, `-`, `_` and `.`, first and last a letter or digit; extras as `name[extra]`",)
    hint = "write the name as its index has it, such as `scikit-learn`"

    def __init__(self, found: str, *, locations: tuple[Location, ...] = ()) -> None:
        super().__init__(found=found, locations=locations)


class BadVersionSpecifier(ConfigError):
    """A version specifier that PEP 440 does not know."""

    code = "bad-version-specifier"
    message = "`{found}` is not a version specifier{reason}"
    details = ("examples: `2.2.3`, `>=2,<3`, `~=1.4`, `==1.4.*`",)
    hint = "write a version or a range of versions; an empty text means any version"

    def __init__(self, found: str, reason: str = "", *, locations: tuple[Location, ...] = ()) -> None:
        super().__init__(found=found, reason=f": {reason}" if reason else "", locations=locations)


class CredentialsInDirectUrl(ConfigError):
    """A package's own URL carries a user name, a password or a query, which would have to be kept in the lock."""

    code = "credentials-in-direct-url"
    message = "the URL of a package carries credentials, or a query"
    details = ("a lock keeps the URL, and never a credential",)
    hint = "remove them from the URL and keep them in ~/.netrc"


class DirectUrlOfThisMachine(ConfigError):
    """A package's own URL names a place that other machines cannot reach, or is no URL."""

    code = "direct-url-not-web"
    message = "the URL of a package names neither a file on a web server nor a git repository"
    details = (
        "a lock is used on other machines too, so all must reach it: http://, https://, git+https:// or git+ssh://",
        "a branch, tag or commit of a repository is `@main`, a folder in it `#subdirectory=libs/common`",
    )
    hint = 'for a file or a folder of the project write `{{ path = "libs/common" }}` in envlock.toml'


class PythonIsNoPackage(ConfigError):
    """Python is listed as if it were a package of PyPI."""

    code = "python-is-no-package"
    message = "`python` is not a package of PyPI"
    details = ("the key `python` of a `pypi` or `conda` table says which Python an environment has",)
    hint = 'write `pypi.python = "{specifier}"` in envlock.toml in its place'

    def __init__(self, specifier: str, *, locations: tuple[Location, ...] = ()) -> None:
        super().__init__(specifier=specifier or "3.12", locations=locations)


class PypiRequirement(NamedTuple):
    """A requirement of one PyPI package; equal requirements have equal text.

    >>> str(parse_requirement("Scikit_Learn[b,a] >= 1.0 , <2 ; python_version<'3.12'"))
    "scikit-learn[a,b]<2,>=1.0 ; python_version<'3.12'"
    """

    name: str
    extras: tuple[str, ...] = ()
    specifier: str = ""
    marker: str = ""
    url: str = ""
    """Where it comes from, if from no index: a wheel or an sdist of a web server, `git+https://host/repo@ref`, or, by
    its content, `folder+sha256:<64 hex>` or `file+sha256:<64 hex>/<file name>` (`model.url.direct_url`)."""
    from_index: str = ""
    """The URL, without credentials, of the one index that it comes from; empty for the project's indexes."""

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        body = f"{self.name}{extras} @ {self.url}" if self.url else f"{self.name}{extras}{self.specifier}"
        return f"{body} ; {self.marker}" if self.marker else body

    @property
    def said(self) -> str:
        """The requirement as messages show it: lower limits first, as people write them, and the index that it names.

        >>> parse_requirement("pandas >=2, <3").said
        'pandas>=2,<3'

        >>> parse_requirement("torch==2.3.1")._replace(from_index="https://index.example/cu121").said
        'torch==2.3.1 (from https://index.example/cu121)'
        >>> parse_requirement(f"common @ folder+sha256:{'ab' * 32}").said
        'common @ folder abababababab'
        """
        if self.url.startswith(("folder+sha256:", "file+sha256:")):
            kind, _, digest = self.url.partition("+sha256:")
            said = f"{kind} {digest[:12]}" if kind == "folder" else digest.partition("/")[2]
            return str(self._replace(url=said))
        from envlock.words import limits_in_order

        text = limits_in_order(str(self))
        return f"{text} (from {self.from_index})" if self.from_index else text


def contradict(one: PypiRequirement, other: PypiRequirement) -> bool:
    """Whether no version can meet both requirements, as far as that is plain without an index.

    Plain are versions that consist of numbers, and markers that are spelt alike; all else is left to the resolver.

    >>> contradict(parse_requirement("x==1.0"), parse_requirement("x==1.0.0"))
    False
    >>> contradict(parse_requirement("x>=2"), parse_requirement("x<1.5"))
    True
    >>> linux, mac = "x==1 ; sys_platform=='linux'", "x==2 ; sys_platform=='darwin'"
    >>> contradict(parse_requirement(linux), parse_requirement(mac))
    False
    """
    if one.name != other.name or one.marker != other.marker:
        return False
    if (one.url and other.url and one.url != other.url) or (
        one.from_index and other.from_index and one.from_index != other.from_index
    ):
        return True
    if (one.url and other.from_index) or (other.url and one.from_index):
        return True
    return bool(one.specifier and other.specifier) and _is_empty(f"{one.specifier},{other.specifier}")


def rules_out(specifier: str, version: str) -> bool:
    """Whether a specifier plainly does not allow a version; one that is not numbers alone is never judged.

    >>> rules_out("<3,>=1.1", "1.0"), rules_out("<3,>=1.1", "1.1.0"), rules_out(">=2", "1.0rc1")
    (True, False, False)
    """
    return _is_empty(f"{specifier},=={version}") if specifier and _PLAIN.fullmatch(f"=={version}") else False


@lru_cache(maxsize=4096)  # locks repeat each other's requirements, and `check` asks this of every one
def _is_empty(specifier: str) -> bool:
    """Whether no version fits all clauses; the clauses that are not about plain numbers are passed over."""
    clauses = [found.groups() for found in map(_PLAIN.fullmatch, specifier.split(",")) if found is not None]
    exact = [_numbers(version) for operator, version in clauses if operator == "=="]
    if exact:
        return any(not _fits(exact[0], operator, _numbers(version)) for operator, version in clauses)
    lowest = max(
        ((_numbers(version), operator == ">") for operator, version in clauses if operator[0] == ">"), default=None
    )
    highest = min(
        ((_numbers(version), operator != "<") for operator, version in clauses if operator[0] == "<"), default=None
    )
    if lowest is None or highest is None:
        return False
    return lowest[0] > highest[0] or (lowest[0] == highest[0] and (lowest[1] or not highest[1]))


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, without the zeros at its end: 1.0 and 1.0.0 are one."""
    numbers = [int(number) for number in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _fits(version: tuple[int, ...], operator: str, other: tuple[int, ...]) -> bool:
    return {
        "==": version == other,
        "!=": version != other,
        "<": version < other,
        "<=": version <= other,
        ">": version > other,
        ">=": version >= other,
    }[operator]


def normalize_name(name: str) -> str:
    """The normalised name of a package (PEP 503).

    >>> normalize_name("Foo__Bar.baz")
    'foo-bar-baz'

    Raises BadPackageName.
    """
    if not re.match(_NAME, name):
        raise BadPackageName(name)
    return normalized(name)


def normalized(name: str) -> str:
    """As `normalize_name`, of what need not be a name."""
    return _SEPARATORS.sub("-", name).lower()


def is_package_name(name: str) -> bool:
    """Whether a package of PyPI may be called so (PEP 508).

    >>> is_package_name("Zope.Interface"), is_package_name("rich>=1")
    (True, False)
    """
    return re.match(_NAME, name) is not None


def name_in_either(name: str) -> str:
    """The normalised name of a package of PyPI or of conda, where names may begin and end with underscores.

    >>> name_in_either("Foo__Bar.baz"), name_in_either("_OpenMP_mutex")
    ('foo-bar-baz', '_openmp-mutex')

    Raises BadPackageName.
    """
    bare = name.strip("_")
    if not re.match(_NAME, bare):
        raise BadPackageName(name)
    before, _, after = name.partition(bare)
    return f"{before}{normalize_name(bare)}{after}"


def normalize_specifier(text: str) -> str:
    """A PEP 440 specifier set without spaces, its clauses sorted. A bare version is an exact pin.

    >>> normalize_specifier(">= 1.2, <2"), normalize_specifier("2.2.3"), normalize_specifier("")
    ('<2,>=1.2', '==2.2.3', '')

    Raises BadVersionSpecifier.
    """
    return _normalize_specifier(text, bare_is_pin=True)


def _normalize_specifier(text: str, *, bare_is_pin: bool) -> str:
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        text = text[1:-1].strip()
    if not text or (bare_is_pin and text == "*"):
        return ""
    if "===" in text and "," in text:
        raise BadVersionSpecifier(text, "`===` stands alone")
    clauses = set()
    for part in text.removesuffix(",").split(","):
        clause = part.strip()
        if bare_is_pin and clause[:1].isalnum():
            clause = f"=={clause}"
        if len(clause) > _LONGEST:
            raise BadVersionSpecifier(f"{clause[:40]}...", f"it has more than {_LONGEST} characters")
        # Compiling the whole grammar takes a millisecond, and most clauses are plain.
        plain = clause.removesuffix(".*") if clause.startswith(("==", "!=")) else clause
        if _PLAIN.fullmatch(plain) is None and re.match(_CLAUSE, clause, re.IGNORECASE) is None:
            raise BadVersionSpecifier(text)
        clauses.add("".join(clause.split()))
    return ",".join(sorted(clauses))


def normalize_marker(text: str) -> str:
    """A marker with one space wherever there is white space outside of its texts.

    >>> normalize_marker(" sys_platform  == 'linux'")
    "sys_platform == 'linux'"

    Raises NotAMarker.
    """
    marker = re.sub(_SPACE, lambda found: found[1] or " ", text).strip()
    if not is_marker(marker):
        raise NotAMarker(marker)
    return marker


@lru_cache(maxsize=4096)
def parse_requirement(text: str) -> PypiRequirement:
    """A PEP 508 requirement, normalised.

    >>> parse_requirement("rich").name
    'rich'
    >>> str(parse_requirement("demo @ https://index.example/demo-1.0-py3-none-any.whl"))
    'demo @ https://index.example/demo-1.0-py3-none-any.whl'

    Raises BadPackageName, BadVersionSpecifier, NotAMarker, CredentialsInDirectUrl, DirectUrlOfThisMachine or
    PythonIsNoPackage.
    """
    text = text.strip()
    match = re.match(_BEGINNING, text)
    rest = text[match.end() :] if match is not None else ""
    at = re.match(_URL, rest, re.DOTALL)
    specifier, semicolon, after = ("", "", "") if at is not None else rest.partition(";")
    if match is None or "@" in specifier or FOREIGN.search(text):
        raise BadPackageName(" ".join(text.split()))
    inside = (match["extras"] or "").strip()
    extras = {normalize_name(extra.strip()) for extra in inside.split(",")} if inside else set()
    written = at["marker"] if at is not None else after if semicolon else None
    requirement = PypiRequirement(
        name=normalize_name(match["name"]),
        extras=tuple(sorted(extras)),
        specifier=_normalize_specifier(specifier, bare_is_pin=False),
        marker=normalize_marker(written) if written is not None else "",
        url=at["url"] if at is not None else "",
    )
    if requirement.name == "python":
        raise PythonIsNoPackage(requirement.specifier)
    if requirement.url and not set(requirement.url) & set(":/$"):
        raise BadVersionSpecifier(f"@{requirement.url}", f"for a version write `{requirement.name}=={requirement.url}`")
    if requirement.url and (fault := direct_url_fault(requirement.url)):
        raise CredentialsInDirectUrl if fault == "secret" else DirectUrlOfThisMachine
    return requirement
