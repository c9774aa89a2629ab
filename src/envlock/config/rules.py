"""What the value of one key must be beyond its type. Each rule returns what is wrong with a value, or an empty text.

The models name the rules (`schema`), so that both readers keep to one truth: the light reader asks whether there is any
fault, the full reader tells it. What concerns several keys at once is no rule of this kind: see `tables` and `inherit`.
"""

from __future__ import annotations

import re

from envlock.model.requirement import BadVersionSpecifier, is_package_name, normalized
from envlock.model.url import is_channel, is_endpoint, is_git_ref, is_host_pattern, is_mirror, is_web, variable_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PIP_FLAGS = ("pre", "no-index")
"""What `extras` of `pypi` takes: the flags of pip, without dashes, that have a meaning when locking."""
PACKAGE_FLAGS = ("all-releases", "only-final", "no-binary")
"""What it takes with `=` and a package, or `:all:`."""
_AMOUNT = r"([0-9]{1,9})(?:\.([0-9]{1,3}))? ?(kB|MB|GB|TB)\Z"
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SENSITIVE = r"(?:.*_)?(?:TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIALS?|API_?KEY|ACCESS_KEY)(?:_.*)?"
_CACHE_SCHEMES = ("file", "s3", "gs", "gcs", "az", "abfs", "abfss")


def index_url(text: str) -> str:
    """The URL of a package index.

    >>> index_url("https://index.example/simple/"), index_url("pypi")
    ('', 'an index begins with https:// or http://')
    """
    return "" if is_web(text) else variable_fault(text) or "an index begins with https:// or http://"


def index_name(text: str) -> str:
    """What `[envlock.indexes]` may call an index.

    >>> index_name("pytorch-cu121"), index_name("https://index.example/simple/")
    ('', 'a name has letters, digits, `-`, `_` and `.`')
    """
    is_name = text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum()
    return "" if is_name else "a name has letters, digits, `-`, `_` and `.`"


def index(text: str) -> str:
    """The index of one package: a name, a URL, or nothing.

    >>> index("pytorch"), index("https://index.example/cu121/"), index("")
    ('', '', '')
    """
    return index_url(text) if text and index_name(text) else ""


def host(text: str) -> str:
    """A host that a lock may name, or `*.` and a domain."""
    return "" if is_host_pattern(text) else "a host has no scheme and no path"


def channel(text: str) -> str:
    """A conda channel: a name or a URL."""
    return "" if is_channel(text) else variable_fault(text) or "a channel is a name or a URL"


def mirror(text: str) -> str:
    """A URL that stands in for a host or a channel."""
    return "" if is_mirror(text) else variable_fault(text) or "a mirror is a URL"


def endpoint(text: str) -> str:
    """The URL of a bucket's service; empty for the one that the bucket's scheme means."""
    if not text or is_endpoint(text):
        return ""
    expected = (
        "it takes the URL of a web server, without user, password and query; credentials come from the environment"
    )
    return variable_fault(text) or expected


def cache(text: str) -> str:
    """Where a cache is: a folder, or the URL of a bucket.

    >>> cache("s3://team/envlock"), cache("C:/cache"), cache("s3:/team/envlock")
    ('', '', 'a URL has two slashes: `s3://`')
    """
    if "\0" in text:
        return variable_fault(text) or "no place has the character U+0000 in its name"
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in _CACHE_SCHEMES and not rest.startswith("//"):  # else it would be a folder `s3:`
        return variable_fault(text) or f"a URL has two slashes: `{scheme}://`"
    return variable_fault(text)


def team_file(text: str) -> str:
    """The path of a settings file in the repository.

    >>> team_file("../team.toml"), team_file("/srv/team.toml")
    ('', 'it takes a relative path, to a file of the repository')
    """
    is_path = bool(text.strip()) and "\0" not in text and "://" not in text and not text.startswith(("/", "~"))
    return "" if is_path else "it takes a relative path, to a file of the repository"


def some_text(text: str) -> str:
    """Anything but nothing."""
    return "" if text.strip() else "it is empty"


def git_ref(text: str) -> str:
    """A commit, a tag or a branch of git.

    >>> git_ref("release/1.2"), git_ref("--upload-pack=x")
    ('', 'it takes a commit, a tag or a branch')
    """
    return "" if is_git_ref(text) else "it takes a commit, a tag or a branch"


def package(text: str) -> str:
    """The name of a PyPI package."""
    return "" if is_package_name(text) else "it takes names of PyPI packages"


def extra(text: str) -> str:
    """An extra of a PyPI package."""
    return "" if is_package_name(text) else "it takes names of extras"


def conda_package(text: str) -> str:
    """The name of a conda package, without a channel and a version.

    >>> conda_package("nvidia-nccl"), conda_package("numpy >=1")
    ('', 'it takes names of conda packages')
    """
    from envlock.model.conda_requirement import BadCondaRequirement, conda_requirement

    try:
        is_name = str(conda_requirement(text)) == text.lower() and "::" not in text
    except BadCondaRequirement:
        is_name = False
    return "" if is_name else "it takes names of conda packages"


def user(text: str) -> str:
    """Whose locks may be taken, in a list where `:any:` would look like a name.

    >>> user("mia"), bool(user(":any:")), bool(user(" "))
    ('', True, True)
    """
    return "" if text.strip() and not text.startswith(":") else 'a list takes names of users; `":any:"` stands alone'


def step(text: str) -> str:
    """The name of a step."""
    return "" if text.isidentifier() else "it takes names of steps"


def amount(text: str) -> str:
    """So many bytes, with a unit."""
    return "" if re.match(_AMOUNT, text) else "it takes a number with `kB`, `MB`, `GB` or `TB`"


def bytes_of(text: str) -> int:
    """The number of bytes in what keeps the rule `amount`.

    >>> bytes_of("20 GB"), bytes_of("1.5MB")
    (20000000000, 1500000)
    """
    found = re.match(_AMOUNT, text)
    assert found is not None
    whole, rest, unit = found.groups("")
    return int(whole) * _UNITS[unit] + int(rest.ljust(3, "0")) * _UNITS[unit] // 1000


def pip_flag(text: str) -> str:
    """A flag of pip.

    >>> pip_flag("pre"), pip_flag("no-binary=lxml"), pip_flag("only-final=:all:"), bool(pip_flag("no-binary"))
    ('', '', '', True)
    """
    name, _, package = text.partition("=")
    if text in PIP_FLAGS or (name in PACKAGE_FLAGS and (package == ":all:" or is_package_name(package))):
        return ""
    with_package = ", ".join(f"`{each}=PACKAGE`" for each in PACKAGE_FLAGS)
    return f'it takes `pre`, `no-index`, {with_package}; extras belong to a package\'s name: `"requests[socks]" = ""`'


def pip_flag_of(text: str) -> str:
    """A flag that keeps the rule `pip_flag`, in its one spelling.

    >>> pip_flag_of("no-binary=Zope.Interface"), pip_flag_of("all-releases=:all:")
    ('no-binary=zope-interface', 'pre')
    """
    name, equals, package = text.partition("=")
    if text == "all-releases=:all:":
        return "pre"
    return f"{name}={package if package == ':all:' else normalized(package)}" if equals else text


def python(text: str) -> str:
    """The range of Pythons of `pypi`: PEP 440."""
    from envlock.config.tables import normalize_python

    return _version_fault(normalize_python, text)


def conda_python(text: str) -> str:
    """The range of Pythons of `conda`, in conda's spelling or that of PEP 440."""
    from envlock.config.conda_tables import python_range

    return _version_fault(python_range, text)


def _version_fault(read: Callable[[str], str], text: str) -> str:
    try:
        read(text)
    except BadVersionSpecifier:
        return "it takes a range of Python versions"
    return ""


def variable(name: str, value: str) -> str:
    """An environment variable, with its value, that an environment may set where it is entered.

    >>> variable("OMP_NUM_THREADS", "4"), variable("PATH", "/opt/bin") == ""
    ('', False)
    >>> variable("HF_TOKEN", "x"), variable("TOKENIZERS_PARALLELISM", "false")
    ("it would be in the lock for everybody to read: use Metaflow's `@secrets`", '')
    """
    from metaflow_extensions.envlock.plugins.node.home import variable_fault

    if re.fullmatch(_SENSITIVE, name, re.IGNORECASE) is not None:
        return "it would be in the lock for everybody to read: use Metaflow's `@secrets`"
    return variable_fault(name, value)


def env_name(text: str) -> str:
    """What `named_env` may name: a name with or without its tag, or ids."""
    return _name_fault("name", text)


def pathspec(text: str) -> str:
    """The step of a run, or a task of it."""
    return _name_fault("pathspec", text)


def alias(text: str) -> str:
    """A name that an environment is given."""
    return _name_fault("aliases", text)


def _name_fault(kind: str, text: str) -> str:
    from envlock.named.alias import check_reference
    from envlock.named.errors import BadReference

    try:
        check_reference(kind, text)
    except BadReference as bad:
        return bad.reason
    return ""


def instant(text: str) -> str:
    """An instant, a day, or a span before the moment of locking; empty for none.

    >>> instant("2026-11-01"), instant("7d"), instant("soon")
    ('', '', 'it takes an instant, a day or a span of time')
    """
    from envlock.config.instants import absolute_instant, span_of

    if text and span_of(text) is None:
        try:
            absolute_instant(text)
        except ValueError:
            return "it takes an instant, a day or a span of time"
    return ""
