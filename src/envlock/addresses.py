"""The URLs of envlock.toml, which may have variables: filled in to be used, and hidden where they are shown or kept.

What a variable holds may be a secret. The user name and the password are never kept; a variable of the path is kept as
it is written.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from envlock.errors import ConfigError
from envlock.model.url import VARIABLE, is_web, strip_credentials, variable_fault
from envlock.redaction import URL_IN_TEXT
from envlock.words import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_PORTS = {"http": "80", "https": "443"}
_OF_A_PATH = "/%:@!$&'()*+,;=~"
"""Characters of a path that are not percent-encoded, beside letters and digits."""
_LONG = 8
"""Characters that a value needs to be hidden on every host; a shorter one may be an ordinary word."""


class UnsetVariable(ConfigError):
    """An environment variable that a URL needs is not set or empty, or one of a pair of variables is."""

    code = "unset-variable"

    def __init__(self, variable: str, needed_by: str, *, is_empty: bool = False) -> None:
        super().__init__(
            f"the environment variable `{variable}` is {'empty' if is_empty else 'not set'}",
            details=(f"needed by {needed_by}",),
            hint=f"export {variable}=...",
        )


class BadVariable(ConfigError):
    """A URL is not valid once its variables are filled in. Their values are never shown."""

    code = "bad-variable"

    def __init__(self, variables: Sequence[str], needed_by: str, expected: str) -> None:
        names = list(dict.fromkeys(variables))
        when = "as it is written"
        if names:
            when = f"once {listed(f'`{name}`' for name in names)} {'is' if len(names) == 1 else 'are'} filled in"
        super().__init__(
            f"`{needed_by}` is not {expected}, {when}",
            details=("the value of a variable is not shown: it may be a secret",) if names else (),
            hint=f"export {names[0]}={'https://' if needed_by.startswith('${') else ''}..."
            if names
            else "write a variable as ${NAME}",
        )


def with_variables(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text, each `${VARIABLE}` in it replaced by the variable's value.

    >>> with_variables("s3://team/${BRANCH}", {"BRANCH": "main"})
    's3://team/main'

    Raises UnsetVariable for one that is not set or empty, and BadVariable for what is not written as a variable.
    """
    known = os.environ if environment is None else environment
    needed_by = strip_credentials(text)
    for variable in re.findall(VARIABLE, text):
        if not known.get(variable):
            raise UnsetVariable(variable, needed_by, is_empty=variable in known)
    if variable_fault(text):
        raise BadVariable((), needed_by, "the place of a cache")
    return re.sub(VARIABLE, lambda found: known[found[1]], text)


class Address(NamedTuple):
    """A URL of envlock.toml, with its variables filled in, and what of it may be kept."""

    url: str
    """The URL to use: all variables filled in, user name and password percent-encoded."""
    kept: str
    """The URL in locks: without credentials, and with the variables of its path, which may be secrets, as written."""
    values: tuple[tuple[str, str], ...] = ()
    """The variables of its path, each with the text in `url`."""
    mirrors: tuple[tuple[str, str], ...] = ()
    """If `url` is a mirror's: all mirrors, each with the URL that locks have in its place, the one in use first. All
    are without a final slash."""
    mirror: str = ""
    """The mirror as it is written, without credentials; empty if `url` is none."""

    @property
    def shown(self) -> str:
        """What messages call it: its name in locks, and the mirror that is used."""
        return f"{self.kept} (from its mirror {self.mirror})" if self.mirror else self.kept

    @property
    def asked(self) -> str:
        """The URL without user name, password and query."""
        return strip_credentials(self.url)

    @property
    def hidden(self) -> tuple[str, str] | None:
        """The beginning of the URL that no lock and no message may have, and what they have instead."""
        if self.mirrors:
            return self.mirrors[0]
        if "${" not in self.kept:
            return None
        end = self.kept.rindex("}") + 1
        return self.asked[: len(self.asked) - len(self.kept) + end], self.kept[:end]


class MirroredUrl(str):
    """The URL of an index that has a mirror, as envlock.toml has it; `address` returns the URL of the mirror.

    To everything else it is the text that is written, so ids, locks and messages know no mirror.
    """

    mirrors: tuple[tuple[str, str], ...]
    """All mirrors as they are written, each as upstream's URL and the mirror's; the first is its own."""

    def __new__(cls, written: str, mirrors: tuple[tuple[str, str], ...]) -> MirroredUrl:
        """The URL `written`, whose mirror is the first of `mirrors`."""
        made = super().__new__(cls, written)
        made.mirrors = mirrors
        return made


def mirrored(written: str, mirrors: Sequence[tuple[str, str]]) -> str:
    """The URL as it is written, and as a MirroredUrl if one of the mirrors is for it.

    >>> mirrors = [("https://index.example/simple", "https://me:pw@mirror.example/simple")]
    >>> found = address(mirrored("https://index.example/simple/", mirrors))
    >>> found.asked, found.kept
    ('https://mirror.example/simple/', 'https://index.example/simple/')
    """
    place = _plain(written)
    own = [row for row in mirrors if _plain(row[0]) == place]
    return MirroredUrl(written, (*own[-1:], *(row for row in mirrors if row not in own))) if own and place else written


def written_as_asked(url: str) -> str:
    """The URL to send requests to, as it is written: that of the mirror, if there is one."""
    return url.mirrors[0][1] if isinstance(url, MirroredUrl) else url


def mirrors_of(indexes: Iterable[str], written: Iterable[str]) -> tuple[str, ...]:
    """A sentence for each of these indexes, as locks name them, that has a mirror."""
    known = {_plain(url): strip_credentials(url.mirrors[0][1]) for url in written if isinstance(url, MirroredUrl)}
    return tuple(f"{url} has the mirror {known[_plain(url)]}" for url in indexes if _plain(url) in known)


def upstream_rows(
    mirrors: Iterable[tuple[str, str]], environment: Mapping[str, str] | None = None
) -> tuple[tuple[str, str], ...]:
    """The URL of each mirror, and the URL that locks have in its place. Raises UnsetVariable and BadVariable."""
    filled = ((upstream, address(mirror, environment, expected="the URL of a mirror")) for upstream, mirror in mirrors)
    return tuple((found.asked.rstrip("/"), _plain(upstream)) for upstream, found in filled)


def _plain(url: str) -> str:
    return strip_credentials(url).rstrip("/")


def _of_mirror(written: MirroredUrl, environment: Mapping[str, str] | None) -> Address:
    mirror = written.mirrors[0][1]
    found = address(mirror, environment, expected="the URL of a mirror")
    kept = strip_credentials(str(written))
    if "${" in kept.partition("://")[2].partition("/")[0]:  # a host is in locks as it is
        kept = address(str(written), environment).kept
    url = found.url.rstrip("/") + ("/" if kept.endswith("/") else "")
    rows = ((found.asked.rstrip("/"), kept.rstrip("/")), *upstream_rows(written.mirrors[1:], environment))
    return Address(url, kept, found.values, rows, strip_credentials(mirror))


def address(
    written: str,
    environment: Mapping[str, str] | None = None,
    *,
    fits: Callable[[str], bool] = is_web,
    expected: str = "the URL of a package index",
) -> Address:
    """A URL of envlock.toml with its variables filled in: the one place where that is done, and the result checked.

    In the user name and the password, a value may have any characters; everywhere else, it is a part of the URL.

    >>> variables = {"WHO": "me", "TOKEN": "p@ss", "HOST": "index.example", "TEAM": "tk-1"}
    >>> address("https://${WHO}:${TOKEN}@${HOST}/${TEAM}/simple/", variables)[:3]
    ('https://me:p%40ss@index.example/tk-1/simple/', 'https://index.example/${TEAM}/simple/', (('TEAM', 'tk-1'),))

    Raises UnsetVariable for a variable that is not set or empty, and BadVariable if the result does not fit.
    """
    if isinstance(written, MirroredUrl):
        return _of_mirror(written, environment)
    if "${" not in written:
        return Address(written, strip_credentials(written))
    known = os.environ if environment is None else environment
    needed_by = strip_credentials(written)
    start, end = _userinfo_span(written)
    url, kept, at = "", "", 0
    values: dict[str, str] = {}
    for found in re.finditer(VARIABLE, written):
        value = known.get(found[1], "")
        if not value:
            raise UnsetVariable(found[1], needed_by, is_empty=found[1] in known)
        url, kept, at = url + written[at : found.start()], kept + written[at : found.start()], found.end()
        is_of_path = found.start() > 0 and "/" in url.partition("://")[2]
        if start <= found.start() < end:
            # One variable may hold both, the user name and the password.
            value = quote(value, safe="" if ":" in written[start:end] else ":")
        elif is_of_path:
            value = values[found[1]] = quote(value, safe=_OF_A_PATH)
        url, kept = url + value, kept + (found[0] if is_of_path else value)
    place = strip_credentials(kept + written[at:])
    of_path = tuple((name, value) for name, value in values.items() if f"${{{name}}}" in place)
    made = Address(url + written[at:], place, of_path)
    if "${" in made.url or not fits(made.url):
        raise BadVariable(re.findall(VARIABLE, written), needed_by, expected)
    remember(made)
    return made


_FILLED_IN: dict[Address, None] = {}


def remember(found: Address) -> None:
    """Let `hide_all` hide what was filled into the path of a URL."""
    if found.hidden is not None:
        _FILLED_IN[found] = None


def hide_all(text: str) -> str:
    """As `hide`, of all URLs whose variables this process has filled in: for what is not about one of them."""
    return hide(text, tuple(_FILLED_IN))


def hide(text: str, addresses: Iterable[Address]) -> str:
    """The text for a lock or a message: with variables in place of their values, and upstream's URLs for mirrors'.

    Values are found in every URL, however they are spelled there. A short value, or a word, is replaced only in URLs of
    the address's own host, and never inside the name of a file.

    >>> hide("https://index.example/tk-1/rich is gone", [address("https://index.example/${T}/simple", {"T": "tk-1"})])
    'https://index.example/${T}/rich is gone'
    >>> team = address("https://index.example/${T}/simple", {"T": "t0ken+x=="})
    >>> hide("https://index.example//t0ken%2Bx%3D%3D/a.whl, https://files.example/x/t0ken+x==/a.whl", [team])
    'https://index.example//${T}/a.whl, https://files.example/x/${T}/a.whl'
    >>> first, longer = ({"A": "tk-1", "B": ""}, {"A": "", "B": "tk-1-2"})
    >>> both = [address("https://a.example/${A}", first), address("https://b.example/${B}", longer)]
    >>> hide("https://b.example/tk-1-2/rich, https://a.example/tk-1/rich", both)
    'https://b.example/${B}/rich, https://a.example/${A}/rich'
    """
    secret = [each for each in addresses if each.hidden is not None]
    rows = dict.fromkeys(row for each in secret for row in each.mirrors)
    for begins, upstream in sorted(rows, key=lambda row: -len(row[0])):  # the most exact first
        of_upstream = upstream.replace("\\", r"\\")
        text = re.sub(rf"{re.escape(begins)}(?![\w.~%-])", of_upstream, text, flags=re.IGNORECASE)
    for each in secret:
        if each.hidden is not None and not each.mirrors:
            begins, written = each.hidden
            text = re.sub(re.escape(begins), written.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    found = [
        (each, name, value, spelled)
        for each in secret
        for name, value in each.values
        if (spelled := _spelled(value)) and re.search(spelled, text, re.IGNORECASE)
    ]
    found.sort(key=lambda each: -len(each[2]))  # a value may begin with another one
    if found:
        text = URL_IN_TEXT.sub(lambda match: _hidden_in(match[0], found), text)
    for _, name, value, spelled in found:
        if _is_secret(value):
            text = re.sub(f"(?<=/){spelled}(?=/)", f"${{{name}}}", text, flags=re.IGNORECASE)
    return text


def _hidden_in(url: str, found: Iterable[tuple[Address, str, str, str]]) -> str:
    place = place_of(url)
    start = url.index("://") + 3
    begin = url.find("/", start) + 1
    if not begin:
        return url
    end = re.search(r"[?#]|\Z", url[begin:])
    path, query = (url[begin : begin + end.start()], url[begin + end.start() :]) if end else (url[begin:], "")
    folders, slash, name = path.rpartition("/")
    folders = f"/{folders}{slash}"
    for each, variable, value, spelled in found:
        written, is_own = f"${{{variable}}}", place == place_of(each.url)
        if _is_secret(value) or (is_own and len(value) >= _LONG):
            folders = re.sub(spelled, written, folders, flags=re.IGNORECASE)
            name = re.sub(rf"\A{spelled}(?![\w+-]|\.\w)", written, name, flags=re.IGNORECASE)
            query = re.sub(spelled, written, query, flags=re.IGNORECASE)
        elif is_own and written not in folders:
            folders = re.sub(f"(?<=/){spelled}(?=/)", written, folders, flags=re.IGNORECASE)
    return url[:begin] + folders[1:] + name + query


def _spelled(value: str) -> str:
    """A pattern of every spelling of a value in a path: each character as it is, or percent-encoded."""
    signs = (
        f"(?:{re.escape(sign)}|{''.join(f'%(?:25)*{byte:02x}' for byte in sign.encode())})"
        for sign in unquote(value).strip("/")
    )
    return "".join(signs)


def _is_secret(value: str) -> bool:
    """Whether a value is no ordinary word, such as the name of a team, that other URLs may have."""
    return len(value) >= _LONG and (len(value) >= 2 * _LONG or not value.isalpha())


def at_mirror(url: str, rows: Iterable[tuple[str, str]]) -> str:
    """The URL of a mirror, of one in a lock, by `upstream_rows`; empty if none is for it.

    >>> at_mirror("https://files.example/a/x.whl", [("https://mirror.example/pypi", "https://files.example")])
    'https://mirror.example/pypi/a/x.whl'
    """
    fitting = [(to, begins) for to, begins in rows if url == begins or url.startswith(f"{begins}/")]
    to, begins = max(fitting, key=lambda row: len(row[1]), default=("", ""))
    return to + url[len(begins) :] if to else ""


def revealed(url: str, addresses: Iterable[Address]) -> str:
    """The URL to use, of one in a lock: `hide` undone, only for the hosts of these addresses."""
    for each in addresses:
        if each.mirrors and (found := at_mirror(url, each.mirrors)):
            return found
        if "${" in url and each.values and place_of(url) == place_of(each.url):
            values = dict(each.values)
            found = re.sub(VARIABLE, lambda written: values.get(written[1], written[0]), url)  # noqa: B023  used at once
            if found != url:
                return found
    return url


def _userinfo_span(text: str) -> tuple[int, int]:
    """Where user name and password are in a URL as written; (0, 0) if it has none."""
    head, separator, rest = text.partition("://")
    start = len(head) + len(separator)
    place = strip_credentials(text)[start:].partition("/")[0]
    end = rest.find(f"@{place}") if separator else -1
    return (start, start + end) if end > 0 else (0, 0)


def place_of(url: str) -> tuple[str, str]:
    """Scheme, and host with port: credentials belong to these."""
    scheme, _, rest = strip_credentials(url).lower().partition("://")
    authority = rest.partition("/")[0]
    name, separator, port = authority.rpartition(":")
    if not separator or port.endswith("]"):
        name, port = authority, ""
    return scheme, f"{name}:{port or _PORTS.get(scheme, '')}"
