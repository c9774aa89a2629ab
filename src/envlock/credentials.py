"""Who envlock is to a host: from the configured URL, netrc, or the environment. Read when needed, kept nowhere.

Nothing here is imported before it is asked: the good path of most commands needs no credentials.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from envlock.errors import ConfigError
from envlock.files import json_of
from envlock.model.url import host, strip_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from netrc import netrc

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A URL in prose: a password may hold what elsewhere ends it.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?:[^\s/?#@]*@)*[^\s\"'`<>|\\^]*")
_PORTS = {"http": "80", "https": "443"}


class UnsetVariable(ConfigError):
    """A variable that an index URL, or a pair of variables, relies on is not set."""

    code = "unset-variable"

    def __init__(self, variable: str, needed_by: str) -> None:
        super().__init__(
            f"the environment variable `{variable}` is not set",
            details=(f"needed by {needed_by}",),
            hint=f"export {variable}=...",
        )


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


def redact(text: str) -> str:
    """The text, each URL in it without user name, password, query and fragment.

    >>> redact("error: https://me:pw@index.example/simple/?token=1 answered 401 (see `git+ssh://me@code.example/x`)")
    'error: https://index.example/simple/ answered 401 (see `git+ssh://code.example/x`)'
    """
    return _URL.sub(lambda match: strip_credentials(match[0]), text)


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


def with_variables(text: str, needed_by: str, environment: Mapping[str, str] | None = None) -> str:
    """The text, each `${VARIABLE}` in it replaced by the variable's value; `needed_by` is a URL to complain of.

    >>> with_variables("https://channel.example/t/${TOKEN}/team", "...", {"TOKEN": "tk-1"})
    'https://channel.example/t/tk-1/team'

    Raises UnsetVariable.
    """
    known = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        try:
            return known[match[1]]
        except KeyError:
            raise UnsetVariable(match[1], needed_by) from None

    return _VARIABLE.sub(value, text)


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
        return url.lower().startswith("https://") or any(_place(index) == _place(url) for index in self._index_urls)

    def _from_index_urls(self, url: str) -> Credential | None:
        same = [
            index for index in self._index_urls if "@" in index and _place(index) == _place(url) and _userinfo(index)
        ]
        if not same:
            return None
        path = strip_credentials(url)
        best = max(same, key=lambda index: len(os.path.commonpath([strip_credentials(index), path])))
        raw = _userinfo(best)
        username, separator, password = raw.partition(":")
        if separator:
            return Credential(self._expanded(username, best), self._expanded(password, best))
        username, _, password = self._expanded(raw, best).partition(":")
        return Credential(username, password)

    def _expanded(self, text: str, url: str) -> str:
        return with_variables(unquote(text), strip_credentials(url), self._environment)

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


def _place(url: str) -> tuple[str, str]:
    """Scheme, and host with port: what credentials belong to."""
    scheme, _, rest = strip_credentials(url).lower().partition("://")
    authority = rest.partition("/")[0]
    name, separator, port = authority.rpartition(":")
    if not separator or port.endswith("]"):
        name, port = authority, ""
    return scheme, f"{name}:{port or _PORTS.get(scheme, '')}"
