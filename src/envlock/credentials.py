"""Who envlock is to a host: from the configured URL, netrc, or the environment. Read when needed, kept nowhere.

Nothing here is imported before it is asked: the good path of most commands needs no credentials.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from envlock.errors import ConfigError, Location
from envlock.files import json_of
from envlock.model.url import VARIABLE, host, is_web, strip_credentials, variable_fault
from envlock.redaction import URL_IN_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from netrc import netrc

_PORTS = {"http": "80", "https": "443"}
_OF_A_PATH = "/%:@!$&'()*+,;=~"
"""What stands in a path as it is, beside letters and digits."""
_LONG = 8
"""How many signs a value has at least that is looked for on every host."""


class UnsetVariable(ConfigError):
    """A variable that a URL, or a pair of variables, relies on is not set, or holds nothing."""

    code = "unset-variable"

    def __init__(
        self, variable: str, needed_by: str, *, is_empty: bool = False, locations: tuple[Location, ...] = ()
    ) -> None:
        super().__init__(
            f"the environment variable `{variable}` is {'empty' if is_empty else 'not set'}",
            locations=locations,
            details=(f"needed by {needed_by}",),
            hint=f"export {variable}=...",
        )


class BadVariable(ConfigError):
    """A URL with variables is not what it has to be, once they are filled in. What they hold is never told."""

    code = "bad-variable"

    def __init__(
        self, variables: Sequence[str], needed_by: str, expected: str, *, locations: tuple[Location, ...] = ()
    ) -> None:
        names = list(dict.fromkeys(variables))
        holding = f"with what {_listed(names)} hold{'s' if len(names) == 1 else ''}" if names else "as it is written"
        super().__init__(
            f"`{needed_by}` is not {expected}, {holding}",
            locations=locations,
            details=("what a variable holds is not shown: it may be a secret",) if names else (),
            hint=f"export {names[0]}={'https://' if needed_by.startswith('${') else ''}..."
            if names
            else "write a variable as ${NAME}",
        )


def _listed(names: Sequence[str]) -> str:
    kind = "the environment variable" + ("s" if len(names) > 1 else "")
    return f"{kind} {' and '.join(f'`{name}`' for name in names)}"


class BadNetrc(ConfigError):
    """The netrc file cannot be read."""

    code = "bad-netrc"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be read: {reason}",
            hint="correct the file, or point NETRC at another one",
        )


class BadAuthFile(ConfigError):
    """The file in which conda's tools keep credentials cannot be read."""

    code = "bad-auth-file"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be read: {reason}",
            hint="correct the file, or point RATTLER_AUTH_FILE at another one",
        )


class Credential(NamedTuple):
    """A user name and a password; either may be empty, not both."""

    username: str
    password: str

    def __repr__(self) -> str:
        """Names no secret, so that none can reach a log or a traceback."""
        return "Credential(...)"


def credentials_for(url: str, environment: Mapping[str, str] | None = None) -> Credential | None:
    """The credentials for a URL as it is configured: its own, else those of netrc, else those of the environment.

    `${VARIABLE}` in the URL's user name or password stands for the variable's value, as it is; what is written out is
    percent-decoded.

    >>> credentials_for("https://me:p%40ss@index.example/simple/", {}).password
    'p@ss'
    >>> credentials_for("https://me:${PASSWORD}@index.example/simple/", {"PASSWORD": "p%40ss"}).password
    'p%40ss'
    >>> variables = {"ENVLOCK_INDEX_INDEX_EXAMPLE_USERNAME": "me", "ENVLOCK_INDEX_INDEX_EXAMPLE_PASSWORD": "pw"}
    >>> credentials_for("https://index.example/simple/", {"NETRC": "/dev/null", **variables}).username
    'me'

    Raises UnsetVariable and BadNetrc.
    """
    return Credentials([url], environment).for_url(url)


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
    """A URL as envlock.toml has it, with its variables filled in, and what of it may be kept."""

    url: str
    """What is asked: every variable filled in, user name and password percent-encoded."""
    kept: str
    """As locks name it: without credentials, and with the variables of its path, which may be secrets, as written."""
    values: tuple[tuple[str, str], ...] = ()
    """The variables of its path, each with the text that stands for it in `url`."""

    @property
    def asked(self) -> str:
        """The URL without user name, password and query."""
        return strip_credentials(self.url)

    @property
    def hidden(self) -> tuple[str, str] | None:
        """The beginning of the URL that no lock and no message may hold, and what stands there in its place."""
        if "${" not in self.kept:
            return None
        end = self.kept.rindex("}") + 1
        return self.asked[: len(self.asked) - len(self.kept) + end], self.kept[:end]


def address(
    written: str,
    environment: Mapping[str, str] | None = None,
    *,
    fits: Callable[[str], bool] = is_web,
    expected: str = "the URL of a package index",
) -> Address:
    """The URL that a text of envlock.toml means: the one place where variables are filled in, and the result judged.

    A variable of the user name or the password stands for what it holds, whatever signs are in it; everywhere else for
    a piece of the URL's text.

    >>> variables = {"WHO": "me", "TOKEN": "p@ss", "HOST": "index.example", "TEAM": "tk-1"}
    >>> address("https://${WHO}:${TOKEN}@${HOST}/${TEAM}/simple/", variables)
    Address(url='https://me:p%40ss@index.example/tk-1/simple/', kept='https://index.example/${TEAM}/simple/', \
values=(('TEAM', 'tk-1'),))

    Raises UnsetVariable for a variable that is not set or empty, and BadVariable where the result does not fit.
    """
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
    return made


def hide(text: str, addresses: Iterable[Address]) -> str:
    """The text with what no lock and no message may hold put back as it is written.

    What a variable holds is found in every URL, however it is spelled there. A short value, or one that is a word, is
    put back at the address's own place only, and none where it is a part of a file's name.

    >>> hide("https://index.example/tk-1/rich is gone", [address("https://index.example/${T}/simple", {"T": "tk-1"})])
    'https://index.example/${T}/rich is gone'
    >>> team = address("https://index.example/${T}/simple", {"T": "t0ken+x=="})
    >>> hide("https://index.example//t0ken%2Bx%3D%3D/a.whl, https://files.example/x/t0ken+x==/a.whl", [team])
    'https://index.example//${T}/a.whl, https://files.example/x/${T}/a.whl'
    """
    secret = [each for each in addresses if each.hidden is not None]
    for each in secret:
        if each.hidden is not None:
            begins, written = each.hidden
            text = re.sub(re.escape(begins), written.replace("\\", r"\\"), text, flags=re.IGNORECASE)
    found = [
        (each, name, value, spelled)
        for each in secret
        for name, value in each.values
        if (spelled := _spelled(value)) and re.search(spelled, text, re.IGNORECASE)
    ]
    if found:
        text = URL_IN_TEXT.sub(lambda match: _hidden_in(match[0], found), text)
    for _, name, value, spelled in found:
        if _is_secret(value):
            text = re.sub(f"(?<=/){spelled}(?=/)", f"${{{name}}}", text, flags=re.IGNORECASE)
    return text


def _hidden_in(url: str, found: Iterable[tuple[Address, str, str, str]]) -> str:
    place = _place(url)
    start = url.index("://") + 3
    begin = url.find("/", start) + 1
    if not begin:
        return url
    end = re.search(r"[?#]|\Z", url[begin:])
    path, query = (url[begin : begin + end.start()], url[begin + end.start() :]) if end else (url[begin:], "")
    folders, slash, name = path.rpartition("/")
    folders = f"/{folders}{slash}"
    for each, variable, value, spelled in found:
        written, is_own = f"${{{variable}}}", place == _place(each.url)
        if _is_secret(value) or (is_own and len(value) >= _LONG):
            folders = re.sub(spelled, written, folders, flags=re.IGNORECASE)
            name = re.sub(rf"\A{spelled}(?![\w+-]|\.\w)", written, name, flags=re.IGNORECASE)
            query = re.sub(spelled, written, query, flags=re.IGNORECASE)
        elif is_own and written not in folders:
            folders = re.sub(f"(?<=/){spelled}(?=/)", written, folders, flags=re.IGNORECASE)
    return url[:begin] + folders[1:] + name + query


def _spelled(value: str) -> str:
    """A pattern of every spelling of a variable's value in a path: each sign as it is, or percent-encoded."""
    signs = (
        f"(?:{re.escape(sign)}|{''.join(f'%(?:25)*{byte:02x}' for byte in sign.encode())})"
        for sign in unquote(value).strip("/")
    )
    return "".join(signs)


def _is_secret(value: str) -> bool:
    """Whether a value cannot be an ordinary word, such as the name of a team, that other URLs have too."""
    return len(value) >= _LONG and (len(value) >= 2 * _LONG or not value.isalpha())


def revealed(url: str, addresses: Iterable[Address]) -> str:
    """The URL to ask, of one that a lock holds: `hide` undone, at these addresses' own places and nowhere else."""
    for each in addresses:
        if "${" in url and each.values and _place(url) == _place(each.url):
            values = dict(each.values)
            found = re.sub(VARIABLE, lambda written: values.get(written[1], written[0]), url)  # noqa: B023  used at once
            if found != url:
                return found
    return url


class Credentials:
    """What is known of who we are, for the hosts of these index URLs and any other."""

    def __init__(self, index_urls: Iterable[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._index_urls = tuple(dict.fromkeys(index_urls))
        self._environment = os.environ if environment is None else environment
        self._netrc: netrc | None = None

    def for_url(self, url: str) -> Credential | None:
        """The credentials that may be sent to `url`; none that belong to another host, port or scheme.

        Of several index URLs of one place, the one that has most of its path in common with `url` is taken. Raises
        UnsetVariable and BadNetrc.
        """
        if not host(url):
            return None
        own = self._from_index_urls(url)
        if own is not None and own.password:
            return own
        other = (self._from_netrc(url) or self._from_environment(url)) if self._may_be_told(url) else None
        if own is not None and (other is None or other.username != own.username):
            return own
        return other

    def authorization(self, url: str) -> str | None:
        """The `Authorization` header for `url`, where there is something to say: `for_url`'s, else a conda client's.

        What conda's tools keep for a host (`RATTLER_AUTH_FILE`, else `~/.rattler/credentials.json`) may be a bearer
        token. Raises as `for_url` does, and BadAuthFile.

        >>> Credentials(["https://me:pw@index.example/simple/"], {}).authorization("https://index.example/a.whl")
        'Basic bWU6cHc='
        """
        found = self.for_url(url)
        if found is None and host(url) and self._may_be_told(url):
            entry = self._from_rattler(url)
            if isinstance(entry, str):
                return f"Bearer {entry}"
            found = entry
        if found is None:
            return None
        from base64 import b64encode

        return "Basic " + b64encode(f"{found.username}:{found.password}".encode()).decode()

    def _may_be_told(self, url: str) -> bool:
        """Whether what is kept by host alone may be sent: encrypted, or to an index that is configured as it is."""
        return url.lower().startswith("https://") or any(_place(index) == _place(url) for index in self._filled_in(url))

    def _from_index_urls(self, url: str) -> Credential | None:
        same = [index for index in self._filled_in(url) if _place(index) == _place(url) and _userinfo(index)]
        if not same:
            return None
        path = strip_credentials(url)
        best = max(same, key=lambda index: len(os.path.commonpath([strip_credentials(index), path])))
        username, _, password = _userinfo(best).partition(":")
        return Credential(unquote(username), unquote(password))

    def _filled_in(self, url: str) -> Iterator[str]:
        """The index URLs that may be of the place of `url`, their variables filled in.

        One whose place is only known by a variable that is not set is of no place.
        """
        for index in self._index_urls:
            place = strip_credentials(index).partition("://")[2].partition("/")[0]
            is_open = "${" in place or "://" not in index
            if not is_open and _place(index) != _place(url):
                continue
            try:
                yield address(index, self._environment, fits=lambda _: True).url
            except UnsetVariable:
                if not is_open:
                    raise

    def _from_netrc(self, url: str) -> Credential | None:
        if self._netrc is None:
            self._netrc = _read_netrc(self._environment)
        # An entry for the host itself: `default` would send a password to whatever host a lock or a redirect names.
        entry = self._netrc.hosts.get(host(url))
        return Credential(entry[0], entry[2]) if entry is not None and (entry[0] or entry[2]) else None

    def _from_rattler(self, url: str) -> Credential | str | None:
        """A bearer token or a user's name and password, as rattler's authentication file keeps them by host."""
        entry = _read_auth_file(self._environment).get(host(url))
        if not isinstance(entry, dict):
            return None
        bearer, basic = entry.get("BearerToken"), entry.get("BasicHTTP")
        if isinstance(bearer, str):
            return bearer
        if isinstance(basic, dict):
            return Credential(str(basic.get("username", "")), str(basic.get("password", "")))
        return None

    def _from_environment(self, url: str) -> Credential | None:
        stem = "ENVLOCK_INDEX_" + re.sub(r"[^A-Z0-9]", "_", host(url).upper())
        names = (f"{stem}_USERNAME", f"{stem}_PASSWORD")
        values = [self._environment.get(name) for name in names]
        if values == [None, None]:
            return None
        for name, value, other in zip(names, values, reversed(names), strict=True):
            if value is None:
                raise UnsetVariable(name, f"{host(url)}, for which {other} is set")
        return Credential(values[0] or "", values[1] or "")


def _read_netrc(environment: Mapping[str, str]) -> netrc:
    from netrc import NetrcParseError, netrc

    chosen = environment.get("NETRC")
    path = Path(chosen or f"{environment.get('HOME') or os.path.expanduser('~')}/.netrc")  # noqa: PTH111  never raises
    try:
        return netrc(path)
    except (FileNotFoundError, NotADirectoryError):
        return netrc(os.devnull)
    except NetrcParseError as error:
        # Not its own words alone: those of some releases quote what stands in the file.
        raise BadNetrc(str(path), f"line {error.lineno} is not netrc") from None
    except UnicodeDecodeError:
        raise BadNetrc(str(path), "it is not text") from None
    except OSError as error:
        raise BadNetrc(str(path), error.strerror or type(error).__name__) from None


def _read_auth_file(environment: Mapping[str, str]) -> dict[str, object]:
    """What conda's tools keep for each host, a port not being part of it; empty where there is no such file."""
    chosen = environment.get("RATTLER_AUTH_FILE")
    home = environment.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  never raises
    path = Path(chosen or f"{home}/.rattler/credentials.json")
    try:
        found = json_of(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise BadAuthFile(str(path), error.strerror or type(error).__name__) from None
    except ValueError:
        raise BadAuthFile(str(path), "it is not JSON") from None
    if not isinstance(found, dict):
        raise BadAuthFile(str(path), "it is no table of hosts")
    return found


def _userinfo(url: str) -> str:
    """What stands before the host, as written."""
    authority = url.partition("://")[2].partition("/")[0]
    return authority.rpartition("@")[0]


def _userinfo_span(text: str) -> tuple[int, int]:
    """Where in a URL, as it is written, user name and password stand; nowhere is (0, 0)."""
    head, separator, rest = text.partition("://")
    start = len(head) + len(separator)
    place = strip_credentials(text)[start:].partition("/")[0]
    end = rest.find(f"@{place}") if separator else -1
    return (start, start + end) if end > 0 else (0, 0)


def _place(url: str) -> tuple[str, str]:
    """Scheme, and host with port: what credentials belong to."""
    scheme, _, rest = strip_credentials(url).lower().partition("://")
    authority = rest.partition("/")[0]
    name, separator, port = authority.rpartition(":")
    if not separator or port.endswith("]"):
        name, port = authority, ""
    return scheme, f"{name}:{port or _PORTS.get(scheme, '')}"
